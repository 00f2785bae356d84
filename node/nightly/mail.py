"""Mails as bytes, and their place in the outbox. The same report gives the same bytes for the same recipient.

The structure is mixed(alternative(plain, related(html, png …)), csv, pdf), the last two by the recipient's policy.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from sqlite_utils import Database

from node.clock import to_text
from node.nightly.report import Rendered
from node.settings import Settings
from node.store.database import insert

SEVEN_BIT = "quoted-printable"
"""How texts are encoded: not every server between here and the recipient passes 8 bits."""


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A file of a mail; ``kind`` is its main and sub type."""

    name: str
    kind: tuple[str, str]
    content: bytes


def report_mail(
    rendered: Rendered,
    settings: Settings,
    *,
    recipient: str,
    report_id: str,
    now: datetime,
    attached: Sequence[Attachment] = (),
) -> EmailMessage:
    """The report for one recipient: plain text, HTML with the figures inside, and attachments."""
    mail = _mail(
        settings, recipient=recipient, report_id=report_id, subject=rendered.subject, text=rendered.text, now=now
    )
    mail.add_alternative(rendered.mail_html, subtype="html", cte=SEVEN_BIT)
    html = mail.get_payload(1)
    for figure in rendered.figures:
        html.add_related(  # type: ignore[union-attr]  # the payload of a multipart is a message
            figure.png,
            maintype="image",
            subtype="png",
            cid=f"<{figure.content_id}>",
            filename=f"{figure.name}.png",
            disposition="inline",
        )
    mail.make_mixed()
    for one in attached:
        coded = {"charset": "utf-8"} if one.kind[0] == "text" else None
        mail.add_attachment(one.content, maintype=one.kind[0], subtype=one.kind[1], filename=one.name, params=coded)
    _fix_boundaries(mail)
    return mail


def notify_administrator(
    db: Database, settings: Settings, *, kind: str, day: date, subject: str, text: str, now: datetime
) -> None:
    """Record a notice, once per kind and day, and queue its mail; inside a unit of work.

    Without an administrator in the settings it stays a record.
    """
    report_id = f"{day.isoformat()}-{kind}"
    if db.execute("SELECT 1 FROM record_report WHERE report_id = ?", [report_id]).fetchone():
        return
    head = {"report_id": report_id, "night": day.isoformat(), "kind": kind, "made_at": to_text(now)}
    insert(db, "record_report", [head | {"subject": subject, "text": text, "html": "", "counts": "{}"}])
    recipient = settings.mail.administrator
    if recipient:
        mail = _mail(settings, recipient=recipient, report_id=report_id, subject=subject, text=text, now=now)
        queue(db, mail, recipient=recipient, report_id=report_id, now=now)


def queue(db: Database, mail: EmailMessage, *, recipient: str, report_id: str, now: datetime) -> None:
    """Put a mail into the outbox; inside the unit of work of what it reports."""
    row = {"report_id": report_id, "recipient": recipient, "message_id": mail["Message-ID"], "queued_at": to_text(now)}
    insert(db, "record_mail", [row | {"mime": mail.as_bytes(policy=SMTP)}])
    (mail_id,) = db.execute("SELECT last_insert_rowid()").fetchone()
    delivery = {"mail_id": mail_id, "status": "waiting", "attempts": 0}
    insert(db, "state_delivery", [delivery | {"queued_at": to_text(now), "next_attempt_at": to_text(now)}])


def _mail(
    settings: Settings, *, recipient: str, report_id: str, subject: str, text: str, now: datetime
) -> EmailMessage:
    mail = EmailMessage()
    # The text is part of the name: two nodes of one sender may not send mails that a server takes for doubles.
    name = hashlib.sha256("\0".join((report_id, recipient, settings.site.name, text)).encode()).hexdigest()[:32]
    mail["Message-ID"] = f"<{name}@{settings.mail.sender.rpartition('@')[2] or 'localhost'}>"
    mail["Date"] = format_datetime(now)
    mail["From"] = settings.mail.sender
    mail["To"] = recipient
    mail["Subject"] = subject
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail.set_content(text, cte=SEVEN_BIT)
    return mail


def _fix_boundaries(mail: EmailMessage) -> None:
    """Name the boundaries after the mail; the library's are random."""
    parts = [part for part in mail.walk() if part.is_multipart()]
    for number, part in enumerate(parts):
        name = hashlib.sha256(f"{mail['Message-ID']}/{number}".encode()).hexdigest()[:32]
        part.set_boundary(f"=_{name}")
