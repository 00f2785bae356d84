"""The outbox: mails leave it at least once, in the order they were queued, and never block a night.

A mail is claimed (leased) in a short transaction before it is sent, so that two processes do not send it at once; a
process that dies while sending leaves a lease that runs out. SMTP is at-least-once: the stable Message-ID lets the
receiver drop a double.

What the server says about a mail (its sender, recipient or content) decides about that mail: 5xx is for good. What
goes wrong before that (no server, no encryption, no login) is about the server: all mails wait for another round.
"""

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal

import structlog
from sqlite_utils import Database

from node.clock import from_text, to_text
from node.nightly.mail import notify_administrator
from node.settings import Mail, Settings
from node.store.database import writing
from node.store.failures import in_words, of_the_machine

SHORTEST_LEASE = timedelta(minutes=10)
STEPS_OF_A_DIALOGUE = 12
"""Answers a server may take its time-out for, while one mail is sent; a lease outlasts them."""

FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=4)
GIVE_UP_AFTER = timedelta(hours=24)
"""A mail that could not be delivered for this long is dead: a person has to look at it."""
JITTER_SHARE = 0.2

UNDELIVERABLE = "undeliverable"
"""Kind of the notice to the administrator."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class DeliveryOutcome:
    """How many mails were sent, put off, and given up."""

    sent: int
    postponed: int
    dead: int


@dataclass(frozen=True, kw_only=True)
class _Claim:
    mail_id: int
    message_id: str
    recipient: str
    kind: str
    mime: bytes
    attempts: int
    queued_at: datetime


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    """How sending one mail went; ``server_down``: there is no use in trying the next one now."""

    status: Literal["sent", "waiting", "dead"]
    error: str | None = None
    server_down: bool = False


def deliver(db: Database, settings: Settings, *, now: datetime) -> DeliveryOutcome:
    """Send every mail that is due; when the server cannot be used, the others are put off without asking it again."""
    done = {"sent": 0, "waiting": 0, "dead": 0}
    down: _Verdict | None = None
    while (claim := _claim(db, settings.mail, now)) is not None:
        verdict = down or _send(settings.mail, claim)
        down = verdict if verdict.server_down else None
        if verdict.status == "waiting" and now - claim.queued_at >= GIVE_UP_AFTER:
            verdict = _Verdict(status="dead", error=f"given up after {GIVE_UP_AFTER}: {verdict.error}")
        _record(db, settings, claim, verdict, now=now)
        done[verdict.status] += 1
    return DeliveryOutcome(sent=done["sent"], postponed=done["waiting"], dead=done["dead"])


def _claim(db: Database, mail: Mail, now: datetime) -> _Claim | None:
    lease = max(SHORTEST_LEASE, STEPS_OF_A_DIALOGUE * timedelta(seconds=mail.timeout_s))
    with writing(db):
        row = db.execute(
            "SELECT m.mail_id, m.message_id, m.recipient, r.kind, m.mime, d.attempts, d.queued_at "
            "FROM state_delivery AS d JOIN record_mail AS m USING (mail_id) JOIN record_report AS r USING (report_id) "
            "WHERE d.status = 'waiting' AND d.next_attempt_at <= :now "
            "AND (d.leased_until IS NULL OR d.leased_until <= :now) ORDER BY m.mail_id LIMIT 1",
            {"now": to_text(now)},
        ).fetchone()
        if row is None:
            return None
        mail_id, message_id, recipient, kind, mime, attempts, queued_at = row
        db.execute(
            "UPDATE state_delivery SET leased_until = ?, attempts = attempts + 1 WHERE mail_id = ?",
            [to_text(now + lease), mail_id],
        )
    return _Claim(
        mail_id=mail_id,
        message_id=message_id,
        recipient=recipient,
        kind=kind,
        mime=mime,
        attempts=attempts + 1,
        queued_at=from_text(queued_at),
    )


def _send(mail: Mail, claim: _Claim) -> _Verdict:
    try:
        with _session(mail) as server:
            return _hand_over(server, mail, claim)
    except (OSError, smtplib.SMTPException, UnicodeError) as error:
        return _Verdict(status="waiting", error=_words(error), server_down=True)
    except Exception as error:
        if of_the_machine(error):
            raise
        # One mail must not keep the others from being sent.
        return _Verdict(status="waiting", error=f"the software fails on it ({in_words(error)})")


def _hand_over(server: smtplib.SMTP, mail: Mail, claim: _Claim) -> _Verdict:
    """Send over an open session; a server that vanishes meanwhile is the caller's."""
    try:
        server.sendmail(mail.sender, [claim.recipient], claim.mime)
    except smtplib.SMTPRecipientsRefused as error:
        code, said = error.recipients[claim.recipient]
        text = said.decode(errors="replace")
    except smtplib.SMTPResponseException as error:
        code, answer = error.smtp_code, error.smtp_error
        text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    else:
        return _Verdict(status="sent")
    return _Verdict(status="dead" if code >= 500 else "waiting", error=f"the mail server answered {code} {text}")


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


def _record(db: Database, settings: Settings, claim: _Claim, verdict: _Verdict, *, now: datetime) -> None:
    next_attempt = min(now + _pause(claim), max(claim.queued_at + GIVE_UP_AFTER, now + FIRST_PAUSE))
    with writing(db):
        db.execute(
            "UPDATE state_delivery SET status = :status, leased_until = NULL, last_error = :error, "
            "next_attempt_at = :next, sent_at = :sent WHERE mail_id = :mail_id",
            {
                "status": verdict.status,
                "error": verdict.error,
                "next": to_text(next_attempt),
                "sent": to_text(now) if verdict.status == "sent" else None,
                "mail_id": claim.mail_id,
            },
        )
        if verdict.status == "dead" and claim.kind != UNDELIVERABLE:
            _tell_administrator(db, settings, now)
    write = log.error if verdict.status == "dead" else log.info
    write("mail", message_id=claim.message_id, status=verdict.status, attempts=claim.attempts, error=verdict.error)


def _tell_administrator(db: Database, settings: Settings, now: datetime) -> None:
    day = now.astimezone(settings.site.zone).date()
    text = (
        "A mail of this node could not be delivered and is not tried again. On the node, `vbq-node problems` lists\n"
        "every such mail and what the mail server said; the reports themselves are in the view reports and in the\n"
        "folder reports/. This notice comes at most once a day.\n"
    )
    subject = f"VBQ {settings.site.name} {day}: mail could not be delivered"
    notify_administrator(db, settings, kind=UNDELIVERABLE, day=day, subject=subject, text=text, now=now)


def _pause(claim: _Claim) -> timedelta:
    """Doubles from a minute to four hours; spread a little, so that mails put off together do not return together."""
    doubled = FIRST_PAUSE * float(2 ** min(claim.attempts - 1, 12))
    spread = sha256(f"{claim.message_id}/{claim.attempts}".encode()).digest()[0] / 255
    return min(doubled * (1 + JITTER_SHARE * spread), LONGEST_PAUSE)
