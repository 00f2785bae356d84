"""What is to be sent on, to whom, and what became of it: the bookkeeping of deliveries.

Every object that arrives after a destination was set up is due to it, unless it came from that destination. What is
due is a query.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlite_utils import Database

from node.clock import to_text
from node.errors import InputError
from node.pauses import doubled
from node.settings import Settings
from node.store.database import writing

BATCH = 100
"""Objects sent over one association, and in one commit what became of them."""
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=4)
"""Between two attempts for one object that the destination refuses."""
FIRST_PAUSE_UNREACHABLE = timedelta(seconds=5)
LONGEST_PAUSE_UNREACHABLE = timedelta(minutes=5)
"""Between two attempts to reach a destination."""
GIVE_UP_AFTER_ATTEMPTS = 12
"""Refusals of one object by a destination that could be reached: a day and a half with these pauses."""

ENROL = """
INSERT INTO state_forward (peer, object_id, status, attempts, next_attempt_at)
SELECT d.peer, o.object_id, 'waiting', 0, :now
FROM state_destination AS d JOIN fact_object AS o ON o.object_id > d.enrolled_object_id
WHERE d.peer = :peer
  AND (SELECT r.calling_ae FROM fact_object_receipt AS r WHERE r.object_id = o.object_id ORDER BY r.receipt_id LIMIT 1)
      NOT IN (SELECT value FROM json_each(:own))
  -- What its sender named by no UID cannot be sent under one; once it is corrected, that object goes on.
  AND o.sop_class_uid NOT GLOB '*[^0-9.]*' AND o.sop_class_uid <> ''
  AND o.sop_instance_uid NOT GLOB '*[^0-9.]*' AND o.sop_instance_uid <> ''
"""

DUE = """
SELECT f.object_id, o.sha256, o.sop_class_uid, o.transfer_syntax_uid, f.attempts
FROM state_forward AS f JOIN fact_object AS o USING (object_id)
WHERE f.peer = ? AND f.status = 'waiting' AND f.next_attempt_at <= ?
ORDER BY f.object_id LIMIT ?
"""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Due:
    """An object to be sent on, and how often it was tried."""

    object_id: int
    sha256: str
    sop_class_uid: str
    transfer_syntax_uid: str
    attempts: int

    @property
    def kind(self) -> tuple[str, str]:
        """What it is and how it is encoded: what a destination accepts or not."""
        return self.sop_class_uid, self.transfer_syntax_uid


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one object; ``error`` is ``None`` when the destination has it."""

    due: Due
    error: str | None
    transient: bool = False
    """The error is not about the object: the connection was lost, or the destination is full."""


def register(db: Database, wanted: Collection[str]) -> None:
    """Take note of destinations that are new in the settings, or gone from them.

    What is waiting for one that is gone is dropped; should it come back, it gets what arrives from then on.
    """
    with writing(db):
        known = {name for (name,) in db.execute("SELECT peer FROM state_destination").fetchall()}
        for name in known - set(wanted):
            db.execute("DELETE FROM state_forward WHERE peer = ? AND status <> 'sent'", [name])
            db.execute("DELETE FROM state_destination WHERE peer = ?", [name])
        for name in sorted(set(wanted) - known):
            db.execute(
                "INSERT INTO state_destination (peer, enrolled_object_id) "
                "SELECT ?, coalesce(max(object_id), 0) FROM fact_object",
                [name],
            )


def enrol(db: Database, settings: Settings, peer_name: str, *, at: datetime) -> None:
    """Settle which of the objects that have arrived since the last time go to the destination."""
    (news,) = db.execute(
        "SELECT (SELECT max(object_id) FROM fact_object) > enrolled_object_id FROM state_destination WHERE peer = ?",
        [peer_name],
    ).fetchone()
    if not news:
        return
    own = json.dumps(sorted(settings.dicom.peers[peer_name].own_ae_titles))
    with writing(db):
        db.execute(ENROL, {"peer": peer_name, "own": own, "now": to_text(at)})
        db.execute(
            "UPDATE state_destination SET enrolled_object_id = (SELECT max(object_id) FROM fact_object) WHERE peer = ?",
            [peer_name],
        )


def due_objects(db: Database, peer_name: str, *, at: datetime) -> list[Due]:
    """What is to be sent to a destination now, in the order it arrived; nothing while the destination is at rest."""
    (resting,) = db.execute(
        "SELECT coalesce(next_attempt_at > ?, 0) FROM state_destination WHERE peer = ?", [to_text(at), peer_name]
    ).fetchone()
    if resting:
        return []
    return [
        Due(object_id=object_id, sha256=sha256, sop_class_uid=sop_class, transfer_syntax_uid=syntax, attempts=attempts)
        for object_id, sha256, sop_class, syntax, attempts in db.execute(DUE, [peer_name, to_text(at), BATCH])
    ]


def record(db: Database, peer_name: str, outcomes: Sequence[Outcome], *, at: datetime) -> None:
    """Store what became of the objects that were offered to a destination that could be reached."""
    if not outcomes:
        return
    with writing(db):
        for outcome in outcomes:
            _record_one(db, peer_name, outcome, at=at)
        db.execute(
            "UPDATE state_destination SET failures = 0, failing_since = NULL, next_attempt_at = NULL, "
            "last_error = NULL WHERE peer = ? AND failing_since IS NOT NULL",
            [peer_name],
        )
    refused = [outcome.error for outcome in outcomes if outcome.error]
    write = log.warning if refused else log.info
    taken = len(outcomes) - len(refused)
    write("sent on", peer=peer_name, objects=taken, refused=len(refused), errors=sorted(set(refused)))


def _record_one(db: Database, peer_name: str, outcome: Outcome, *, at: datetime) -> None:
    attempts = outcome.due.attempts + 1
    refused = "dead" if attempts >= GIVE_UP_AFTER_ATTEMPTS and not outcome.transient else "waiting"
    status = refused if outcome.error else "sent"
    db.execute(
        "UPDATE state_forward SET status = :status, attempts = :attempts, next_attempt_at = :next, "
        "last_error = :error, sent_at = :sent WHERE peer = :peer AND object_id = :object",
        {
            "status": status,
            "attempts": attempts,
            "next": to_text(at + doubled(FIRST_PAUSE, attempts, LONGEST_PAUSE)),
            "error": outcome.error,
            "sent": to_text(at) if status == "sent" else None,
            "peer": peer_name,
            "object": outcome.due.object_id,
        },
    )


def note_unreachable(db: Database, peer_name: str, *, error: str, at: datetime) -> None:
    """Store that a destination could not be reached; that counts against none of the objects."""
    log.warning("nothing can be sent on", peer=peer_name, error=error)
    with writing(db):
        (failures,) = db.execute("SELECT failures + 1 FROM state_destination WHERE peer = ?", [peer_name]).fetchone()
        db.execute(
            "UPDATE state_destination SET failures = :failures, failing_since = coalesce(failing_since, :now), "
            "next_attempt_at = :next, last_error = :error WHERE peer = :peer",
            {
                "failures": failures,
                "now": to_text(at),
                "next": to_text(at + doubled(FIRST_PAUSE_UNREACHABLE, failures, LONGEST_PAUSE_UNREACHABLE)),
                "error": error,
                "peer": peer_name,
            },
        )


def list_destinations(db: Database) -> list[dict[str, object]]:
    """Each destination with how much is waiting, sent and given up, and since when it cannot be reached."""
    return list(
        db.query(
            "SELECT d.peer, "
            "(SELECT count(*) FROM state_forward AS f WHERE f.peer = d.peer AND f.status = 'waiting') AS waiting, "
            "(SELECT count(*) FROM state_forward AS f WHERE f.peer = d.peer AND f.status = 'sent') AS sent, "
            "(SELECT count(*) FROM state_forward AS f WHERE f.peer = d.peer AND f.status = 'dead') AS given_up, "
            "d.failing_since, d.last_error FROM state_destination AS d ORDER BY d.peer"
        )
    )


def retry(db: Database, peer_name: str, *, at: datetime) -> int:
    """Have everything that waits for a destination, or was given up, tried again now; returns how many objects.

    Raises
    ------
    InputError
        Nothing is sent on to a peer of this name.
    """
    with writing(db):
        known = db.execute(
            "UPDATE state_destination SET next_attempt_at = NULL WHERE peer = ? RETURNING peer", [peer_name]
        ).fetchall()
        if not known:
            raise InputError(f"nothing is sent on to {peer_name!r}; dicom.peers names those with a `forward` address")
        done = db.execute(
            "UPDATE state_forward SET status = 'waiting', attempts = 0, next_attempt_at = ? "
            "WHERE peer = ? AND status IN ('waiting', 'dead') RETURNING object_id",
            [to_text(at), peer_name],
        ).fetchall()
    return len(done)
