"""The outbox: mails leave it at least once, in the order they were queued, and never block a night.

A mail is claimed (leased) in a short transaction before it is sent, so that two processes do not send it at once; a
process that dies while sending leaves a lease that runs out. SMTP is at-least-once: the stable Message-ID lets the
receiver drop a double.
"""

import smtplib
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

import structlog
from sqlite_utils import Database

from node.clock import from_text, to_text
from node.errors import SettingsError
from node.settings import Mail, Settings
from node.store.database import writing

LEASE = timedelta(minutes=10)
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=4)
GIVE_UP_AFTER = timedelta(hours=24)
"""A mail that could not be delivered for this long is dead: a person has to look at it."""
JITTER_SHARE = 0.2

log = structlog.get_logger()


class _Permanent(Exception):  # noqa: N818  # a verdict of the server, not an error of ours
    """The server refused the mail for good (5xx)."""


@dataclass(frozen=True, kw_only=True)
class DeliveryOutcome:
    """How many mails were sent, put off, and given up."""

    sent: int
    postponed: int
    dead: int


@dataclass(frozen=True, kw_only=True)
class _Claim:
    mail_id: int
    recipient: str
    mime: bytes
    attempts: int
    queued_at: datetime


def deliver(db: Database, settings: Settings, *, now: datetime) -> DeliveryOutcome:
    """Send every mail that is due.

    Raises
    ------
    SettingsError
        The password file of the settings cannot be read.
    """
    outcome = {"sent": 0, "waiting": 0, "dead": 0}
    while (claim := _claim(db, now)) is not None:
        status, error = _try_to_send(settings.mail, claim)
        if status == "waiting" and now - claim.queued_at >= GIVE_UP_AFTER:
            status, error = "dead", f"given up after {GIVE_UP_AFTER}: {error}"
        _record(db, claim, status=status, error=error, now=now)
        outcome[status] += 1
    return DeliveryOutcome(sent=outcome["sent"], postponed=outcome["waiting"], dead=outcome["dead"])


def _claim(db: Database, now: datetime) -> _Claim | None:
    with writing(db):
        row = db.execute(
            "SELECT m.mail_id, m.recipient, m.mime, d.attempts, m.queued_at FROM state_delivery AS d "
            "JOIN record_mail AS m USING (mail_id) WHERE d.status = 'waiting' AND d.next_attempt_at <= :now "
            "AND (d.leased_until IS NULL OR d.leased_until <= :now) ORDER BY m.mail_id LIMIT 1",
            {"now": to_text(now)},
        ).fetchone()
        if row is None:
            return None
        mail_id, recipient, mime, attempts, queued_at = row
        db.execute(
            "UPDATE state_delivery SET leased_until = ?, attempts = attempts + 1 WHERE mail_id = ?",
            [to_text(now + LEASE), mail_id],
        )
    return _Claim(
        mail_id=mail_id, recipient=recipient, mime=mime, attempts=attempts + 1, queued_at=from_text(queued_at)
    )


def _try_to_send(settings: Mail, claim: _Claim) -> tuple[str, str | None]:
    try:
        _send(settings, claim)
    except _Permanent as error:
        return "dead", str(error)
    except (OSError, smtplib.SMTPException) as error:
        # smtplib's errors carry what the server said, which may name the recipient but never a patient.
        return "waiting", f"{type(error).__name__}: {error}"
    return "sent", None


def _send(settings: Mail, claim: _Claim) -> None:
    connect = smtplib.SMTP_SSL if settings.security == "tls" else smtplib.SMTP
    with connect(settings.host, settings.port, timeout=settings.timeout_s) as server:
        if settings.security == "starttls":
            server.starttls()
        if settings.user:
            server.login(settings.user, _password(settings))
        try:
            server.sendmail(settings.sender, [claim.recipient], claim.mime)
        except smtplib.SMTPRecipientsRefused as error:
            _judge(*error.recipients[claim.recipient])
            raise
        except smtplib.SMTPResponseException as error:
            _judge(error.smtp_code, error.smtp_error)
            raise


def _judge(code: int, said: bytes | str) -> None:
    if code >= 500:
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        raise _Permanent(f"refused by the mail server: {code} {text}")


def _password(settings: Mail) -> str:
    if settings.password_file is None:
        raise SettingsError("mail.user is set but mail.password_file is not")
    try:
        return settings.password_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"mail.password_file {settings.password_file}: {error.strerror}") from error


def _record(db: Database, claim: _Claim, *, status: str, error: str | None, now: datetime) -> None:
    with writing(db):
        db.execute(
            "UPDATE state_delivery SET status = :status, leased_until = NULL, last_error = :error, "
            "next_attempt_at = :next, sent_at = :sent WHERE mail_id = :mail_id",
            {
                "status": status,
                "error": error,
                "next": to_text(now + _pause(claim)),
                "sent": to_text(now) if status == "sent" else None,
                "mail_id": claim.mail_id,
            },
        )
    log.info("mail", mail_id=claim.mail_id, status=status, attempts=claim.attempts)


def _pause(claim: _Claim) -> timedelta:
    """Doubles from a minute to four hours; spread a little, so that mails put off together do not return together."""
    doubled = min(FIRST_PAUSE * float(2 ** min(claim.attempts - 1, 12)), LONGEST_PAUSE)
    spread = sha256(f"{claim.mail_id}/{claim.attempts}".encode()).digest()[0] / 255
    return doubled * (1 + JITTER_SHARE * spread)
