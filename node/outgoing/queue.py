"""The queue of all that leaves this node: one row for each thing and receiver, and what became of it.

A row is enrolled (``waiting``), claimed under a lease, and settled: ``done``, ``waiting`` again after a pause, or
``dead`` when it is given up. A process that dies while sending leaves a lease that runs out, or is released when its
role starts again. Whoever has lost the lease of a row no longer settles it: so everything is sent at least once, and
twice only after a kill or past a lease.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime

import structlog
from sqlite_utils import Database

from node.clock import from_text, to_text
from node.outgoing.kind import Batch, Item, Kind, Limits, Outcome, Pauses, Verdict
from node.settings import Settings
from node.store.database import writing

DUE = """
kind = :kind AND peer = :peer AND status = 'waiting' AND next_attempt_at <= :now
AND (leased_until IS NULL OR leased_until <= :now)
"""

CLAIM = f"""
UPDATE state_outgoing SET leased_until = :lease WHERE item_id IN (
    SELECT item_id FROM state_outgoing WHERE {DUE} ORDER BY item_id LIMIT :batch)
RETURNING item_id, key, attempts, enrolled_at, leased_until
"""

COUNT = "SELECT count(*) FROM state_outgoing AS o WHERE o.kind = p.kind AND o.peer = p.peer"

NO_LIMIT = -1
"""As SQLite has it."""

log = structlog.get_logger()


# ---- receivers -------------------------------------------------------------------------------------------------
def register(db: Database, kind: Kind, settings: Settings) -> None:
    """Take note of receivers that are new in the settings, or gone from them.

    What waits for a receiver that is gone is dropped; should it come back, it gets what arrives from then on.
    """
    wanted = kind.receivers(settings)
    values = [kind.name, json.dumps(wanted)]
    others = "kind = ? AND peer NOT IN (SELECT value FROM json_each(?))"
    with writing(db):
        db.execute(f"DELETE FROM state_outgoing WHERE {others} AND status <> 'done'", values)
        db.execute(f"DELETE FROM state_outgoing_peer WHERE {others}", values)
        for name in wanted:
            db.execute(
                "INSERT INTO state_outgoing_peer (kind, peer, enrolled_up_to) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                [kind.name, name, _position(db, kind)],
            )


def _position(db: Database, kind: Kind) -> int:
    asked = kind.position or kind.since
    if asked is None:
        return 0
    (newest,) = db.execute(asked).fetchone()
    return newest or 0


def set_up_at(db: Database, kind: Kind, peer: str) -> int:
    """The number (``Kind.since``) at which a receiver was set up."""
    (number,) = db.execute(
        "SELECT enrolled_up_to FROM state_outgoing_peer WHERE kind = ? AND peer = ?", [kind.name, peer]
    ).fetchone()
    return int(number)


def _rest(batch: Batch, kind: Kind, rest: Pauses, *, error: str, at: datetime) -> None:
    """Let a receiver rest; that counts against none of its items."""
    (failures,) = batch.db.execute(
        "SELECT failures + 1 FROM state_outgoing_peer WHERE kind = ? AND peer = ?", [kind.name, batch.peer]
    ).fetchone()
    batch.db.execute(
        "UPDATE state_outgoing_peer SET failures = :failures, failing_since = coalesce(failing_since, :now), "
        "next_attempt_at = :next, last_error = :error WHERE kind = :kind AND peer = :peer",
        {
            "kind": kind.name,
            "peer": batch.peer,
            "failures": failures,
            "now": to_text(at),
            "next": to_text(at + rest.after(failures)),
            "error": error,
        },
    )


def _resting(db: Database, kind: Kind, peer: str, at: datetime) -> bool:
    found = db.execute(
        "SELECT 1 FROM state_outgoing_peer WHERE kind = ? AND peer = ? AND next_attempt_at > ?",
        [kind.name, peer, to_text(at)],
    ).fetchone()
    return found is not None


def overview(db: Database, kind: Kind) -> list[dict[str, object]]:
    """Each receiver with how much is waiting, sent and given up, and since when it cannot be reached."""
    return list(
        db.query(
            "SELECT p.peer, "
            f"({COUNT} AND o.status = 'waiting') AS waiting, "
            f"({COUNT} AND o.status = 'done') AS sent, "
            f"({COUNT} AND o.status = 'dead') AS given_up, "
            "p.failing_since, p.last_error FROM state_outgoing_peer AS p WHERE p.kind = ? ORDER BY p.peer",
            [kind.name],
        )
    )


# ---- enrolling -------------------------------------------------------------------------------------------------
def newly_due(
    db: Database, kind: Kind, settings: Settings, peer: str, *, at: datetime, after: int = 0, up_to: int = 0
) -> list[str]:
    """The keys of what is to be sent to a receiver and is not in the queue yet."""
    if kind.enrol is None:
        return []
    values = {"peer": peer, "now": to_text(at), "after": after, "up_to": up_to, **kind.values(settings, peer, at)}
    return [str(key) for (key,) in db.execute(kind.enrol, values).fetchall()]


def enrol(db: Database, kind: Kind, settings: Settings, peer: str, *, at: datetime) -> None:
    """Put what has become due for a receiver into the queue."""
    after = up_to = 0
    if kind.position is not None:
        (after,) = db.execute(
            "SELECT enrolled_up_to FROM state_outgoing_peer WHERE kind = ? AND peer = ?", [kind.name, peer]
        ).fetchone()
        up_to = _position(db, kind)
        if up_to <= after:
            return
    keys = newly_due(db, kind, settings, peer, at=at, after=after, up_to=up_to)
    if keys or up_to > after:
        with writing(db):
            put(db, kind, keys, peer=peer, at=at)
            db.execute(
                "UPDATE state_outgoing_peer SET enrolled_up_to = max(enrolled_up_to, ?) WHERE kind = ? AND peer = ?",
                [up_to, kind.name, peer],
            )


def put(db: Database, kind: Kind, keys: Iterable[str], *, at: datetime, peer: str = "") -> None:
    """Enrol things that are not in the queue yet, due at once; inside a unit of work."""
    for key in keys:
        db.execute(
            "INSERT INTO state_outgoing (kind, peer, key, status, attempts, enrolled_at, next_attempt_at) "
            "VALUES (:kind, :peer, :key, 'waiting', 0, :now, :now) ON CONFLICT DO NOTHING",
            {"kind": kind.name, "peer": peer, "key": key, "now": to_text(at)},
        )


# ---- claiming --------------------------------------------------------------------------------------------------
def claim(db: Database, kind: Kind, settings: Settings, peer: str, *, at: datetime) -> tuple[Item, ...]:
    """Lease what is due for a receiver, in the order it was enrolled; nothing while the receiver is at rest."""
    values = {"kind": kind.name, "peer": peer, "now": to_text(at)}
    anything = f"SELECT 1 FROM state_outgoing WHERE {DUE}"
    idle = _resting(db, kind, peer, at) or not db.execute(anything, values).fetchone()
    if idle or kind.limits.life:
        # Of long queues not with every batch: it looks at all that waits.
        _set_right(db, kind, settings, peer, at)
        idle = _resting(db, kind, peer, at) or not db.execute(anything, values).fetchone()
    if idle:
        return ()
    with writing(db):
        if kind.limits.expires_after is not None:
            db.execute(
                f"UPDATE state_outgoing SET status = 'dead' WHERE {DUE} AND enrolled_at <= :expired",
                values | {"expired": to_text(at - kind.limits.expires_after)},
            )
        lease = to_text(at + kind.lease(settings))
        rows = db.execute(CLAIM, values | {"lease": lease, "batch": kind.batch}).fetchall()
    return _items(rows)


def _set_right(db: Database, kind: Kind, settings: Settings, peer: str, at: datetime) -> None:
    """Take back what only the clock says: what a clock that was ahead has put off, leased, or let grow old.

    An item whose attempt comes later than its whole life was not waiting: the clock was set, or the node was down.
    """
    life = kind.limits.life
    values = {
        "kind": kind.name,
        "peer": peer,
        "now": to_text(at),
        "pause": to_text(at + kind.pauses.longest),
        "lease": to_text(at + kind.lease(settings)),
        "rest": to_text(at + kind.rest.longest) if kind.rest else None,
        "life": to_text(at - life) if life else None,
    }
    ahead = "next_attempt_at > :pause OR leased_until > :lease OR enrolled_at > :now"
    wrong = f"kind = :kind AND peer = :peer AND status = 'waiting' AND ({ahead} OR next_attempt_at < :life)"
    resting = "kind = :kind AND peer = :peer AND next_attempt_at > :rest"
    if db.execute(f"SELECT EXISTS (SELECT 1 FROM state_outgoing WHERE {wrong})", values).fetchone()[0]:
        with writing(db):
            db.execute(
                "UPDATE state_outgoing SET enrolled_at = :now, next_attempt_at = min(next_attempt_at, :now), "
                f"leased_until = iif(leased_until > :lease, NULL, leased_until) WHERE {wrong}",
                values,
            )
    if db.execute(f"SELECT EXISTS (SELECT 1 FROM state_outgoing_peer WHERE {resting})", values).fetchone()[0]:
        with writing(db):
            db.execute(f"UPDATE state_outgoing_peer SET next_attempt_at = :now WHERE {resting}", values)


def _items(rows: Iterable[tuple[int, str, int, str, str]]) -> tuple[Item, ...]:
    return tuple(
        Item(item_id=item_id, key=key, attempts=attempts, enrolled_at=from_text(enrolled_at), lease=lease)
        for item_id, key, attempts, enrolled_at, lease in sorted(rows)
    )


def release(db: Database, items: Sequence[Item]) -> None:
    """Give claimed items back untried."""
    if items:
        with writing(db):
            for item in items:
                db.execute(
                    "UPDATE state_outgoing SET leased_until = NULL WHERE item_id = ? AND leased_until = ?",
                    [item.item_id, item.lease],
                )


def release_all(db: Database, kinds: Iterable[Kind]) -> None:
    """Release what a process that has died had claimed; by the one process that may send these kinds."""
    with writing(db):
        for kind in kinds:
            db.execute(
                "UPDATE state_outgoing SET leased_until = NULL WHERE kind = ? AND leased_until IS NOT NULL", [kind.name]
            )


# ---- settling --------------------------------------------------------------------------------------------------
def settle(batch: Batch, kind: Kind, outcomes: Sequence[tuple[Item, Outcome]], *, at: datetime) -> list[str]:
    """Store what became of claimed items; returns the new status of each, ``""`` for one that is still due or gone."""
    if not outcomes:
        return []
    with writing(batch.db):
        statuses = [_settle(batch, kind, item, outcome, at) for item, outcome in outcomes]
        if kind.rest is not None:
            batch.db.execute(
                "UPDATE state_outgoing_peer SET failures = 0, failing_since = NULL, next_attempt_at = NULL, "
                "last_error = NULL WHERE kind = ? AND peer = ? AND failing_since IS NOT NULL",
                [kind.name, batch.peer],
            )
    return statuses


def settle_unreachable(batch: Batch, kind: Kind, *, error: str, at: datetime) -> list[str]:
    """Store that a receiver cannot be reached: it rests, or all that is due for it has failed once more.

    To be called once the batch has been released; returns the new status of each item that it cost an attempt.
    """
    unreachable = Outcome(verdict=Verdict.UNREACHABLE, error=error)
    values = {"kind": kind.name, "peer": batch.peer, "now": to_text(at), "lease": to_text(at), "batch": NO_LIMIT}
    with writing(batch.db):
        if kind.rest is not None:
            _rest(batch, kind, kind.rest, error=error, at=at)
            return []
        due = _items(batch.db.execute(CLAIM, values).fetchall())
        return [_settle(batch, kind, item, unreachable, at) for item in due]


def _settle(batch: Batch, kind: Kind, item: Item, outcome: Outcome, at: datetime) -> str:
    held = batch.db.execute(
        "UPDATE state_outgoing SET leased_until = NULL WHERE item_id = ? AND leased_until = ? RETURNING 1",
        [item.item_id, item.lease],
    ).fetchone()
    if held is None:
        log.warning("lease lost", kind=kind.name, key=item.key, verdict=outcome.verdict)
        return ""
    if outcome.verdict == Verdict.LATER:
        return ""
    if outcome.store is not None:
        outcome.store(batch.db)
    if outcome.verdict == Verdict.WITHDRAWN or (outcome.verdict == Verdict.DONE and not kind.keeps_done):
        batch.db.execute("DELETE FROM state_outgoing WHERE item_id = ?", [item.item_id])
        return "done" if outcome.verdict == Verdict.DONE else ""
    return _mark(batch, kind, item, outcome, at)


def _mark(batch: Batch, kind: Kind, item: Item, outcome: Outcome, at: datetime) -> str:
    attempts = item.attempts + 1
    status, error = _judged(kind.limits, item, outcome, attempts, at)
    pause = kind.pauses.after(attempts, salt=f"{kind.name}/{batch.peer}/{item.key}")
    next_attempt = at + pause
    if kind.limits.age is not None:
        next_attempt = min(next_attempt, max(item.enrolled_at + kind.limits.age, at + kind.pauses.first))
    batch.db.execute(
        "UPDATE state_outgoing SET status = :status, attempts = :attempts, next_attempt_at = :next, "
        "last_error = :error, done_at = :done WHERE item_id = :item",
        {
            "status": status,
            "attempts": attempts,
            "next": to_text(next_attempt),
            "error": error,
            "done": to_text(at) if status == "done" else None,
            "item": item.item_id,
        },
    )
    if status == "dead":
        kind.given_up(batch, item, at)
    return status


def _judged(limits: Limits, item: Item, outcome: Outcome, attempts: int, at: datetime) -> tuple[str, str | None]:
    """The new status of an item, and what is kept of the error."""
    if outcome.verdict in (Verdict.DONE, Verdict.HOPELESS):
        return ("done" if outcome.verdict == Verdict.DONE else "dead"), outcome.error
    if limits.age is not None and at - item.enrolled_at >= limits.age:
        return "dead", f"given up after {limits.age}: {outcome.error}"
    refusals_over = limits.attempts is not None and attempts >= limits.attempts
    return ("dead" if refusals_over and outcome.verdict == Verdict.REFUSED else "waiting"), outcome.error


# ---- trying again ----------------------------------------------------------------------------------------------
def retry(db: Database, kind: Kind, peer: str, *, at: datetime) -> int | None:
    """Have everything that waits for a receiver, or was given up, tried again now.

    Returns how many items; ``None``: there is no such receiver.
    """
    with writing(db):
        known = db.execute(
            "UPDATE state_outgoing_peer SET next_attempt_at = NULL WHERE kind = ? AND peer = ? RETURNING 1",
            [kind.name, peer],
        ).fetchall()
        if not known:
            return None
        done = db.execute(
            "UPDATE state_outgoing SET status = 'waiting', attempts = 0, enrolled_at = :now, next_attempt_at = :now "
            "WHERE kind = :kind AND peer = :peer AND status IN ('waiting', 'dead') RETURNING 1",
            {"kind": kind.name, "peer": peer, "now": to_text(at)},
        ).fetchall()
    return len(done)


def send_again(db: Database, kind: Kind, keys: Iterable[str], *, at: datetime, peer: str = "") -> None:
    """Send things once more that are in the queue, whatever became of them; inside a unit of work."""
    for key in keys:
        db.execute(
            "UPDATE state_outgoing SET status = 'waiting', attempts = 0, enrolled_at = :now, next_attempt_at = :now, "
            "leased_until = NULL, last_error = NULL, done_at = NULL "
            "WHERE kind = :kind AND peer = :peer AND key = :key",
            {"kind": kind.name, "peer": peer, "key": key, "now": to_text(at)},
        )
