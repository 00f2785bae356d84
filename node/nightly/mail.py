"""Mails as bytes, and their place in the outbox. The same report gives the same bytes for the same recipient."""

import hashlib
from datetime import date, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from sqlite_utils import Database

from node.clock import to_text
from node.nightly.report import Rendered
from node.settings import Mail, Settings
from node.store.database import insert


def report_mail(rendered: Rendered, settings: Mail, *, recipient: str, report_id: str, now: datetime) -> EmailMessage:
    """The report for one recipient: plain text, and HTML with the figures inside."""
    mail = _mail(settings, recipient=recipient, report_id=report_id, subject=rendered.subject, now=now)
    mail.set_content(rendered.text)
    mail.add_alternative(rendered.mail_html, subtype="html")
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
    _fix_boundaries(mail, report_id)
    return mail


def failure_mail(
    settings: Settings, *, night: date, detail: str, report_id: str, now: datetime
) -> tuple[str, str, EmailMessage]:
    """Subject, text and mail that tell the administrator that a night failed."""
    subject = f"VBQ {settings.site.name} {night}: the nightly run FAILED"
    text = (
        f"The nightly run of {night} failed ({detail}). No report was made; nobody was tiered tonight.\n"
        "On the node, `vbq-node problems` and the log say more. After the cause is removed run\n"
        f"`vbq-node nightly --date {night}`; nothing that arrived is lost.\n"
    )
    mail = _mail(settings.mail, recipient=settings.mail.administrator, report_id=report_id, subject=subject, now=now)
    mail.set_content(text)
    return subject, text, mail


def queue(db: Database, mail: EmailMessage, *, recipient: str, report_id: str, now: datetime) -> None:
    """Put a mail into the outbox; inside the unit of work of what it reports."""
    row = {"report_id": report_id, "recipient": recipient, "message_id": mail["Message-ID"], "queued_at": to_text(now)}
    insert(db, "record_mail", [row | {"mime": mail.as_bytes(policy=SMTP)}])
    (mail_id,) = db.execute("SELECT last_insert_rowid()").fetchone()
    delivery = {"mail_id": mail_id, "status": "waiting", "attempts": 0, "next_attempt_at": to_text(now)}
    insert(db, "state_delivery", [delivery])


def _mail(settings: Mail, *, recipient: str, report_id: str, subject: str, now: datetime) -> EmailMessage:
    mail = EmailMessage()
    name = hashlib.sha256(f"{report_id}\0{recipient}".encode()).hexdigest()[:24]
    mail["Message-ID"] = f"<{name}@{settings.sender.rpartition('@')[2] or 'localhost'}>"
    mail["Date"] = format_datetime(now)
    mail["From"] = settings.sender
    mail["To"] = recipient
    mail["Subject"] = subject
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    return mail


def _fix_boundaries(mail: EmailMessage, report_id: str) -> None:
    """Name the boundaries after the report; the library's are random."""
    parts = [part for part in mail.walk() if part.is_multipart()]
    for number, part in enumerate(parts):
        part.set_boundary(f"=_{hashlib.sha256(f'{report_id}/{number}'.encode()).hexdigest()[:32]}")
