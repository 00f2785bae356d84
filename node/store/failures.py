"""The barrier around a unit of work: whatever is raised in one costs that one, and the others are done.

A unit (an object, study, series, message, person, line, question …) in which something unforeseen is raised is noted
in ``state_failure``, shown in ``problems``, and left out until another version of this software or ``vbq-node problems
--retry`` tries it again. What lies with the machine (a full disk, a database that cannot be used) is no unit's fault:
it is raised on.
"""

import errno
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import structlog
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from analytics.reasons import Reason
from node import __version__
from node.clock import to_text
from node.errors import NodeError, StoreError
from node.store.database import writing
from node.store.public_id import public_id
from node.store.reasons import stored

ON_REQUEST = ""
"""Stands in the place of the version of a unit that a person wants to be tried again."""
OF_THE_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EROFS, errno.ENOLCK})
"""System errors that no content of a unit can cause."""

DEATHS_AT_ONCE = 6
"""Times that a unit on which the process ended is tried again at once: an operator or the system may have ended it. The
supervisor waits longer each time before it starts the role again."""
FIRST_REST = timedelta(seconds=10)
LONGEST_REST = timedelta(hours=4)
MOST_DOUBLINGS = 20
OF_BYTES = ("object", "message")
"""Kinds whose key is the SHA-256 of bytes, of which people see the first digits."""


class Unit(NamedTuple):
    """A unit of work as problems name it; without a key there is one of the kind. No patient's number or name."""

    kind: str
    key: str = ""
    part: str = ""
    """A message of a frame, a line of a file, a specimen of a patient; empty: all of it."""

    def __str__(self) -> str:
        key = public_id(self.key) if self.kind in OF_BYTES else self.key
        return " ".join(one for one in (self.kind, key, self.part) if one)


ALL = Unit("all")
"""A step as a whole."""
THE_UNIT = "step = ? AND unit_kind = ? AND unit_key = ? AND unit_part = ?"

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Tried(Generic[T]):
    """What work outside of a transaction came to: its result, or what it raised."""

    value: T | None = None
    error: Exception | None = None

    def result(self) -> T:
        """The result; raises what the work raised. To be called within the :func:`barrier` of the unit."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # None only where T allows it


def tried(work: Callable[[], T]) -> Tried[T]:
    """Do some work now and let what it raises be dealt with later."""
    try:
        return Tried(value=work())
    except Exception as error:
        if of_the_machine(error):
            raise
        return Tried(error=error)


def of_the_machine(error: BaseException) -> bool:
    """Whether an error lies with the machine (disk, descriptors, database), so that every unit would meet it."""
    if isinstance(error, StoreError | sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError:
        return True
    return isinstance(error, OSError) and error.errno in OF_THE_MACHINE


def in_words(error: BaseException) -> str:
    """The kind of an error and the line that raised it; never its text, which may quote data of a patient.

    What this software raises on purpose quotes none, and says what is wrong.
    """
    if isinstance(error, NodeError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


@contextmanager
def barrier(
    db: Database, step: str, unit: Unit, *, instead: Callable[[Reason], None] = lambda reason: None
) -> Iterator[None]:
    """Let what is raised in a unit of work cost that unit only; within a transaction or outside of one.

    Parameters
    ----------
    instead
        Called with the reason when the unit has failed, in the transaction that notes it: for what must
        not stay as it was.
    """
    inside = db.conn.in_transaction
    if inside:
        db.conn.execute("SAVEPOINT unit")
    try:
        yield
    except Exception as error:
        if of_the_machine(error):
            raise
        if inside:
            db.conn.execute("ROLLBACK TO unit")
            _settle(db, step, unit, error, instead)
        else:
            with writing(db):
                _settle(db, step, unit, error, instead)
    finally:
        # After a full disk SQLite has rolled back the whole transaction by itself.
        if inside and db.conn.in_transaction:
            db.conn.execute("RELEASE unit")


def _settle(db: Database, step: str, unit: Unit, error: Exception, instead: Callable[[Reason], None]) -> None:
    """Note the failure and do what was asked for in its place; should that fail too, the failure stands by itself."""
    reason = note_failure(db, step, unit, error)
    db.conn.execute("SAVEPOINT instead")
    try:
        instead(reason)
    except Exception as second:
        if of_the_machine(second):
            raise
        db.conn.execute("ROLLBACK TO instead")
        log.error("and so did what should stand in its place", step=step, unit=str(unit), error=in_words(second))
    db.conn.execute("RELEASE instead")


def note_failure(db: Database, step: str, unit: Unit, error: Exception) -> Reason:
    """Note within a unit of work that this version failed on something; returns that as a reason."""
    words = in_words(error)
    log.error("a unit of work failed", step=step, unit=str(unit), error=words)
    reason = Reason("unit-failed", {"fault": words})
    note_outcome(db, step, unit, reason)
    return reason


def note_outcome(db: Database, step: str, unit: Unit, reason: Reason) -> None:
    """Note within a unit of work why this version fails on something."""
    db.execute(
        "INSERT INTO state_failure (step, unit_kind, unit_key, unit_part, version, attempts, at_work, final, reasons) "
        "VALUES (?, ?, ?, ?, ?, 1, 0, 1, ?) ON CONFLICT DO UPDATE SET version = excluded.version, "
        "attempts = attempts + 1, at_work = 0, final = 1, reasons = excluded.reasons, next_attempt_at = NULL",
        [step, *unit, __version__, stored([reason])],
    )


def begin_attempt(db: Database, step: str, unit: Unit, *, at: datetime) -> bool:
    """Note, durably, that work on a unit begins that may end this process; whether it is to be done now.

    Whoever finishes the work forgets the note. A unit that has it already has ended its process: after
    :data:`DEATHS_AT_ONCE` times it rests, ever longer, and the others are done meanwhile.
    """
    with writing(db):
        deaths, at_work = db.execute(
            f"SELECT coalesce(max(attempts), 0), max(at_work) FROM state_failure WHERE {THE_UNIT}", [step, *unit]
        ).fetchone()
        rests = deaths >= DEATHS_AT_ONCE and at_work == 1
        rest = (
            min(FIRST_REST * float(2 ** min(deaths - DEATHS_AT_ONCE, MOST_DOUBLINGS)), LONGEST_REST) if rests else None
        )
        again = to_text(at + rest) if rest else None
        reasons = []
        if again is not None:
            until = again[:19].replace("T", " ")
            reasons = [Reason("unit-ends-process", {"times": int(deaths), "until": until})]
        db.execute(
            "INSERT OR REPLACE INTO state_failure "
            "(step, unit_kind, unit_key, unit_part, version, attempts, at_work, final, reasons, next_attempt_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [step, *unit, __version__, deaths + (not rests), int(not rests), int(rests), stored(reasons), again],
        )
    if rests:
        log.error("a unit of work ends its process", step=step, unit=str(unit), times=deaths)
    return not rests


def rested(db: Database, *, at: datetime) -> int:
    """Have the units that have rested long enough tried again, with the count of their deaths; returns how many."""
    due = [to_text(at)]
    if not db.execute("SELECT EXISTS (SELECT 1 FROM state_failure WHERE next_attempt_at <= ?)", due).fetchone()[0]:
        return 0
    with writing(db):
        return len(
            db.execute(
                "UPDATE state_failure SET final = 0, next_attempt_at = NULL, reasons = '[]' WHERE next_attempt_at <= ? "
                "RETURNING step",
                due,
            ).fetchall()
        )


def forget_failure(db: Database, step: str, *units: Unit) -> None:
    """Units that are done, or changed: they are no problem any more. Inside a unit of work."""
    db.conn.executemany(f"DELETE FROM state_failure WHERE {THE_UNIT}", [(step, *unit) for unit in units])


def forget_failures(db: Database, step: str, kind: str, key: str) -> None:
    """A unit and all parts of it are done, or changed. Inside a unit of work."""
    db.execute("DELETE FROM state_failure WHERE step = ? AND unit_kind = ? AND unit_key = ?", [step, kind, key])


def note_recovery(db: Database, step: str, unit: Unit) -> None:
    """Forget the failure of a unit that goes well again, if there is one."""
    found = db.execute(f"SELECT EXISTS (SELECT 1 FROM state_failure WHERE {THE_UNIT})", [step, *unit])
    if found.fetchone()[0]:
        with writing(db):
            forget_failure(db, step, unit)


def failing_steps(db: Database) -> list[str]:
    """The steps that failed as a whole in their last round."""
    rows = db.execute("SELECT step FROM state_failure WHERE unit_kind = ? ORDER BY step", [ALL.kind])
    return [step for (step,) in rows]


def outdated(db: Database) -> list[tuple[str, Unit]]:
    """Step and unit of the failures to be tried again: those of another version, or that a person asked for."""
    rows = db.execute(
        "SELECT step, unit_kind, unit_key, unit_part FROM state_failure WHERE final = 1 AND version <> ? "
        "ORDER BY step, unit_kind, unit_key, unit_part",
        [__version__],
    )
    return [(step, Unit(*unit)) for step, *unit in rows.fetchall()]


def ask_again(db: Database) -> int:
    """Have everything that this version failed on tried again by the roles; returns how many units."""
    with writing(db):
        return len(
            db.execute("UPDATE state_failure SET version = ? WHERE final = 1 RETURNING step", [ON_REQUEST]).fetchall()
        )
