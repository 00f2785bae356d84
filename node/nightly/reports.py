"""Past reports: which there are, exactly as they were, and once more on their way."""

from datetime import date, datetime
from email import message_from_bytes
from email.policy import SMTP
from typing import Any, Literal

from sqlite_utils import Database

from node.errors import InputError
from node.outgoing.mail import send_again
from node.store.database import writing

KIND = "nightly"


def list_reports(db: Database) -> list[dict[str, Any]]:
    """Every report and notice without its text, oldest first."""
    return list(
        db.query("SELECT night, kind, made_at, subject, mails, mails_sent FROM reports ORDER BY night, made_at, kind")
    )


def stored_report(db: Database, night: date, form: Literal["text", "html"]) -> str:
    """The report of a night as it was made, to the byte.

    Raises
    ------
    InputError
        There is none of that night.
    """
    row = db.execute(
        "SELECT text, html FROM record_report WHERE night = ? AND kind = ?", [night.isoformat(), KIND]
    ).fetchone()
    if row is None:
        raise InputError(f"there is no report of the night of {night}; `vbq-node report list` names those there are")
    return str(row[0] if form == "text" else row[1])


def stored_mail(db: Database, night: date, recipient: str, form: Literal["text", "html"]) -> str:
    """What a recipient was sent of a night's report; in the HTML the figures are named as ``cid:``.

    Raises
    ------
    InputError
        There is no report of that night, or none went to this recipient.
    """
    stored_report(db, night, form)
    row = db.execute(
        "SELECT m.mime FROM record_mail AS m JOIN record_report AS r USING (report_id) "
        "WHERE r.night = ? AND r.kind = ? AND m.recipient = ?",
        [night.isoformat(), KIND, recipient],
    ).fetchone()
    if row is None:
        raise InputError(f"the report of {night} was not mailed to {recipient}")
    mail = message_from_bytes(row[0], policy=SMTP)
    body = mail.get_body(("plain",) if form == "text" else ("html",))
    return "" if body is None else str(body.get_content()).replace("\r\n", "\n")


def resend(db: Database, night: date, *, now: datetime) -> tuple[str, ...]:
    """Queue the stored mails of a night's report once more; the recipients.

    The bytes and the Message-ID are the same, so a mailbox that still knows the first may hide the double.

    Raises
    ------
    InputError
        There is no report of that night, or it was mailed to nobody.
    """
    stored_report(db, night, "text")
    with writing(db):
        rows = db.execute(
            "SELECT m.mail_id, m.recipient FROM record_mail AS m JOIN record_report AS r USING (report_id) "
            "WHERE r.night = ? AND r.kind = ? ORDER BY m.mail_id",
            [night.isoformat(), KIND],
        ).fetchall()
        send_again(db, [mail_id for mail_id, _ in rows], now=now)
    if not rows:
        raise InputError(f"the report of {night} was mailed to nobody (mail.recipients was empty that night)")
    return tuple(recipient for _, recipient in rows)
