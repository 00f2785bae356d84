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
from typing import Generic, TypeVar

import structlog
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from analytics.reasons import Reason
from node import __version__
from node.clock import to_text
from node.errors import NodeError, StoreError
from node.store.database import writing

ON_REQUEST = ""
"""Stands in the place of the version of a unit that a person wants to be tried again."""
OF_THE_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EROFS, errno.ENOLCK})
"""System errors that no content of a unit can cause."""

DEATHS_AT_ONCE = 6
"""Times that a unit on which the process ended is tried again at once: an operator or the system may have ended it. The
supervisor waits longer each time before it starts the role again."""
AT_WORK, RESTED = "at work", "rested"
"""Details of a unit that is being worked on, or on which the process ended, and of one to be tried after that."""
FIRST_REST = timedelta(seconds=10)
LONGEST_REST = timedelta(hours=4)
MOST_DOUBLINGS = 20
ALL = "all"
"""Names the unit of work that a step is as a whole."""

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
    db: Database, step: str, unit: str, *, instead: Callable[[Reason], None] = lambda reason: None
) -> Iterator[None]:
    """Let what is raised in a unit of work cost that unit only; within a transaction or outside of one.

    Parameters
    ----------
    unit
        Names it, as the source of a problem: ``study 1.2.3``. No patient's number or name.
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


def _settle(db: Database, step: str, unit: str, error: Exception, instead: Callable[[Reason], None]) -> None:
    """Note the failure and do what was asked for in its place; should that fail too, the failure stands by itself."""
    reason = note_failure(db, step, unit, error)
    db.conn.execute("SAVEPOINT instead")
    try:
        instead(reason)
    except Exception as second:
        if of_the_machine(second):
            raise
        db.conn.execute("ROLLBACK TO instead")
        log.error("and so did what should stand in its place", step=step, unit=unit, error=in_words(second))
    db.conn.execute("RELEASE instead")


def note_failure(db: Database, step: str, unit: str, error: Exception) -> Reason:
    """Note within a unit of work that this version failed on something; returns that as a reason."""
    words = in_words(error)
    log.error("a unit of work failed", step=step, unit=unit, error=words)
    reason = Reason("unit-failed", {"fault": words})
    db.execute(
        "INSERT INTO state_failure (step, unit, version, attempts, final, detail) VALUES (?, ?, ?, 1, 1, ?) "
        "ON CONFLICT DO UPDATE SET version = excluded.version, attempts = attempts + 1, final = 1, "
        "detail = excluded.detail, next_attempt_at = NULL",
        [step, unit, __version__, str(reason)],
    )
    return reason


def begin_attempt(db: Database, step: str, unit: str, *, at: datetime) -> bool:
    """Note, durably, that work on a unit begins that may end this process; whether it is to be done now.

    Whoever finishes the work forgets the note. A unit that has it already has ended its process: after
    :data:`DEATHS_AT_ONCE` times it rests, ever longer, and the others are done meanwhile.
    """
    with writing(db):
        deaths, before = db.execute(
            "SELECT coalesce(max(attempts), 0), max(detail) FROM state_failure WHERE step = ? AND unit = ?",
            [step, unit],
        ).fetchone()
        rests = deaths >= DEATHS_AT_ONCE and before == AT_WORK
        rest = (
            min(FIRST_REST * float(2 ** min(deaths - DEATHS_AT_ONCE, MOST_DOUBLINGS)), LONGEST_REST) if rests else None
        )
        again = at + rest if rest else None
        detail = (
            f"this process ended {deaths} times while it was at work on it; it is left out until it is tried again at "
            f"{to_text(again)[:19].replace('T', ' ')} UTC, or by `vbq-node problems --retry`"
            if again
            else AT_WORK
        )
        values = [step, unit, __version__, deaths + (not rests), int(rests), detail, to_text(again) if again else None]
        db.execute(
            "INSERT OR REPLACE INTO state_failure (step, unit, version, attempts, final, detail, next_attempt_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            values,
        )
    if rests:
        log.error("a unit of work ends its process", step=step, unit=unit, times=deaths)
    return not rests


def rested(db: Database, *, at: datetime) -> int:
    """Have the units that have rested long enough tried again, with the count of their deaths; returns how many."""
    due = [to_text(at)]
    if not db.execute("SELECT EXISTS (SELECT 1 FROM state_failure WHERE next_attempt_at <= ?)", due).fetchone()[0]:
        return 0
    with writing(db):
        return len(
            db.execute(
                "UPDATE state_failure SET final = 0, next_attempt_at = NULL, detail = ? WHERE next_attempt_at <= ? "
                "RETURNING unit",
                [RESTED, *due],
            ).fetchall()
        )


def forget_failure(db: Database, step: str, *units: str) -> None:
    """Units that are done, or changed: they are no problem any more. Inside a unit of work."""
    db.conn.executemany("DELETE FROM state_failure WHERE step = ? AND unit = ?", [(step, unit) for unit in units])


def note_recovery(db: Database, step: str, unit: str) -> None:
    """Forget the failure of a unit that goes well again, if there is one."""
    found = db.execute("SELECT EXISTS (SELECT 1 FROM state_failure WHERE step = ? AND unit = ?)", [step, unit])
    if found.fetchone()[0]:
        with writing(db):
            forget_failure(db, step, unit)


def failing_steps(db: Database) -> list[str]:
    """The steps that failed as a whole in their last round."""
    return [step for (step,) in db.execute("SELECT step FROM state_failure WHERE unit = ? ORDER BY step", [ALL])]


def outdated(db: Database) -> list[tuple[str, str]]:
    """Step and unit of the failures to be tried again: those of another version, or that a person asked for."""
    return db.execute(
        "SELECT step, unit FROM state_failure WHERE final = 1 AND version <> ? ORDER BY step, unit", [__version__]
    ).fetchall()


def ask_again(db: Database) -> int:
    """Have everything that this version failed on tried again by the roles; returns how many units."""
    with writing(db):
        return len(
            db.execute("UPDATE state_failure SET version = ? WHERE final = 1 RETURNING unit", [ON_REQUEST]).fetchall()
        )
