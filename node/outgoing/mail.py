"""Mails: the notices to the administrator, their place in the queue, and how a mail is sent.

A mail is enrolled in the unit of work of what it reports, leaves at least once, and never blocks a night. SMTP is
at-least-once: the stable Message-ID lets the receiver drop a double.

What the server says about a mail (its sender, recipient or content) decides about that mail: 5xx is for good. What
goes wrong before that (no server, no encryption, no login) is about the server: all mails wait for another round.
"""

import hashlib
import smtplib
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime, make_msgid

import structlog
from sqlite_utils import Database

from node.clock import to_text
from node.errors import UnreachableError
from node.outgoing import queue
from node.outgoing.delivery import Tally, send_due
from node.outgoing.kind import DONE, Batch, Item, Kind, Limits, Outcome, Pauses, Verdict, each, refused
from node.settings import Mail, Settings
from node.store.database import insert

SHORTEST_LEASE = timedelta(minutes=10)
STEPS_OF_A_DIALOGUE = 12
"""Answers a server may take its time-out for, while one mail is sent; a lease outlasts them."""
GIVE_UP_AFTER = timedelta(hours=24)
"""A mail that could not be delivered for this long is dead: a person has to look at it."""
SEVEN_BIT = "quoted-printable"
"""How texts are encoded: not every server between here and the recipient passes 8 bits."""
UNDELIVERABLE = "undeliverable"
"""Kind of the notice to the administrator."""

STORED = """
SELECT m.message_id, m.recipient, r.kind, m.mime FROM record_mail AS m JOIN record_report AS r USING (report_id)
WHERE m.mail_id = ?
"""

log = structlog.get_logger()


# ---- what is written and queued --------------------------------------------------------------------------------
def new_mail(
    settings: Settings, *, recipient: str, report_id: str, subject: str, text: str, now: datetime
) -> EmailMessage:
    """A mail with its plain text and the Message-ID that it keeps whenever it is sent."""
    subject, text = said_of_test(settings, subject=subject, text=text)
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


def said_of_test(settings: Settings, *, subject: str, text: str) -> tuple[str, str]:
    """Subject and text of a mail, of a test system with the words that say so before both, unless they are there."""
    banner = settings.site.banner
    if not banner:
        return subject, text
    return f"[TEST] {subject}", text if text.startswith(banner) else f"{banner}\n\n{text}"


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
        mail = new_mail(settings, recipient=recipient, report_id=report_id, subject=subject, text=text, now=now)
        put(db, mail, recipient=recipient, report_id=report_id, now=now)


def tell_administrator_now(settings: Settings, *, subject: str, text: str) -> bool:
    """Send the administrator a mail without the database, of which something may be wrong; false: there is none.

    Raises
    ------
    UnreachableError
        The mail server cannot be reached, or does not take it.
    """
    mail = settings.mail
    if not mail.administrator:
        return False
    subject, text = said_of_test(settings, subject=subject, text=text)
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = mail.sender, mail.administrator, subject
    message["Date"], message["Message-ID"] = localtime(), make_msgid(domain="vbq-node.invalid")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    try:
        with _session(mail) as server:
            outcome = _hand_over(server, mail, mail.administrator, message.as_bytes())
    except (OSError, smtplib.SMTPException, UnicodeError) as error:
        raise UnreachableError(_words(error)) from error
    if outcome.error is not None:
        raise UnreachableError(outcome.error)
    return True


def put(db: Database, mail: EmailMessage, *, recipient: str, report_id: str, now: datetime) -> None:
    """Store a mail and enrol it; inside the unit of work of what it reports."""
    row = {"report_id": report_id, "recipient": recipient, "message_id": mail["Message-ID"], "queued_at": to_text(now)}
    insert(db, "record_mail", [row | {"mime": mail.as_bytes(policy=SMTP)}])
    (mail_id,) = db.execute("SELECT last_insert_rowid()").fetchone()
    queue.put(db, MAIL, [str(mail_id)], at=now)


def send_again(db: Database, mail_ids: Sequence[int], *, now: datetime) -> None:
    """Send stored mails once more, whatever became of them; inside a unit of work."""
    queue.send_again(db, MAIL, [str(mail_id) for mail_id in mail_ids], at=now)


def without_content(mime: bytes, note: str) -> bytes:
    """A stored mail with its headers, and ``note`` in the place of all that it said."""
    before = message_from_bytes(mime, policy=SMTP)
    mail = EmailMessage(policy=SMTP)
    for name in ("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"):
        if before[name] is not None:
            mail[name] = before[name]
    mail.set_content(note)
    return mail.as_bytes()


# ---- how it is sent --------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class DeliveryOutcome:
    """How many mails were sent, put off, and given up."""

    sent: int
    postponed: int
    dead: int


def deliver(db: Database, settings: Settings, *, now: datetime) -> DeliveryOutcome:
    """Send every mail that is due; when the server cannot be used, the others are put off without asking it again."""
    tallies = [_round(db, settings, now)]
    while tallies[-1].attempted and tallies[-1].reached:
        tallies.append(_round(db, settings, now))
    return DeliveryOutcome(
        sent=sum(one.done for one in tallies),
        postponed=sum(one.waiting for one in tallies),
        dead=sum(one.dead for one in tallies),
    )


def _round(db: Database, settings: Settings, now: datetime) -> Tally:
    return send_due(MAIL, db, settings, "", threading.Event(), clock=lambda: now)


def _send(batch: Batch, item: Item) -> Outcome:
    message_id, recipient, _, mime = batch.db.execute(STORED, [int(item.key)]).fetchone()
    mail = batch.settings.mail
    try:
        with _session(mail) as server:
            outcome = _hand_over(server, mail, recipient, mime)
    except (OSError, smtplib.SMTPException, UnicodeError) as error:
        raise UnreachableError(_words(error)) from error
    log.info("mail", message_id=message_id, outcome=outcome.verdict, error=outcome.error)
    return outcome


def _hand_over(server: smtplib.SMTP, mail: Mail, recipient: str, mime: bytes) -> Outcome:
    """Send over an open session; a server that vanishes meanwhile is the caller's."""
    try:
        server.sendmail(mail.sender, [recipient], mime)
    except smtplib.SMTPRecipientsRefused as error:
        code, said = error.recipients[recipient]
        text = said.decode(errors="replace")
    except smtplib.SMTPResponseException as error:
        code, answer = error.smtp_code, error.smtp_error
        text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    else:
        return DONE
    said_of_it = f"the mail server answered {code} {text}"
    return Outcome(verdict=Verdict.HOPELESS, error=said_of_it) if code >= 500 else refused(said_of_it)


@contextmanager
def _session(mail: Mail) -> Iterator[smtplib.SMTP]:
    """A session that is encrypted and logged in as the settings say; certificates are verified."""
    if mail.security == "tls":
        context = ssl.create_default_context()
        server: smtplib.SMTP = smtplib.SMTP_SSL(mail.host, mail.port, timeout=mail.timeout_s, context=context)
    else:
        server = smtplib.SMTP(mail.host, mail.port, timeout=mail.timeout_s)
    try:
        if mail.security == "starttls":
            server.starttls(context=ssl.create_default_context())
        if mail.user:
            server.login(mail.user, _password(mail))
        server.ehlo_or_helo_if_needed()
        yield server
        # The mail is handed over: what happens to the farewell must not have it sent again.
        with suppress(OSError, smtplib.SMTPException):
            server.quit()
    finally:
        server.close()


def _password(mail: Mail) -> str:
    return "" if mail.password_file is None else mail.password_file.read_text(encoding="utf-8").strip()


def _words(error: Exception) -> str:
    """What smtplib or the system says, which may name a recipient or a file but never a patient."""
    return f"{type(error).__name__}: {error}"


def _given_up(batch: Batch, item: Item, at: datetime) -> None:
    _, _, kind, _ = batch.db.execute(STORED, [int(item.key)]).fetchone()
    if kind != UNDELIVERABLE:
        _tell_administrator(batch.db, batch.settings, at)


def _tell_administrator(db: Database, settings: Settings, now: datetime) -> None:
    day = now.astimezone(settings.site.zone).date()
    text = (
        "A mail of this node could not be delivered and is not tried again. On the node, `vbq-node problems` lists\n"
        "every such mail and what the mail server said; the reports themselves are in the view reports and in the\n"
        "folder reports/. This notice comes at most once a day.\n"
    )
    subject = f"VBQ {settings.site.name} {day}: mail could not be delivered"
    notify_administrator(db, settings, kind=UNDELIVERABLE, day=day, subject=subject, text=text, now=now)


def _lease(settings: Settings) -> timedelta:
    return max(SHORTEST_LEASE, STEPS_OF_A_DIALOGUE * timedelta(seconds=settings.mail.timeout_s))


MAIL = Kind(
    name="mail",
    role="nightly",
    opened=each(_send),
    pauses=Pauses(first=timedelta(minutes=1), longest=timedelta(hours=4), jitter_share=0.2),
    limits=Limits(age=GIVE_UP_AFTER),
    lease=_lease,
    given_up=_given_up,
)
