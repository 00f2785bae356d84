"""The ledger of nights (``state_run``): which are done, and the lock of the one process that does one.

A row that says 'running' while nobody holds the lock was left by a process that died; that night is not done.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep

from sqlite_utils import Database

from node.clock import to_text
from node.errors import NightError
from node.store.database import writing

KIND = "nightly"
CLOCK = "clock"
"""Stands in the place of the kind for a clock that was ahead."""
AHEAD_BY = timedelta(hours=1)
"""A night that was done by a clock so much ahead, or less, is done: as good as nothing has come since."""
DONE_AHEAD = (
    "it was done before it came, by a clock that was ahead; what has come since is in the report of the next night, "
    "which names this one"
)
LOCK_NAME = "nightly.lock"
LOCK_WAIT_S = 120.0
"""How long one night waits for another that a second process is doing; a night takes seconds."""


@contextmanager
def one_at_a_time(folder: Path, *, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold the lock of the one process that does a night; the system frees it when the process dies.

    Raises
    ------
    NightError
        Another process has held it for ``wait_s`` seconds.
    """
    with (folder / LOCK_NAME).open("a") as file:
        deadline = monotonic() + wait_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() >= deadline:
                    raise NightError(
                        f"another process has been doing a night for more than {wait_s:g} s; "
                        f"find out which one holds {folder / LOCK_NAME}"
                    ) from None
                sleep(0.05)
        yield


def nights(db: Database, *, by: datetime | None = None) -> dict[date, str]:
    """Every night in the ledger and how it stands.

    Parameters
    ----------
    by
        Only what was entered by then: what a clock that was ahead has entered in the future does not count.
    """
    rows = db.execute(
        "SELECT night, status FROM state_run WHERE kind = :kind "
        "AND (:by IS NULL OR coalesce(finished_at, started_at) <= :by)",
        {"kind": KIND, "by": to_text(by) if by else None},
    ).fetchall()
    return {date.fromisoformat(night): status for night, status in rows}


def note_clock(db: Database, now: datetime) -> None:
    """Keep a problem in the ledger for as long as it holds nights that were entered in the future.

    One of them that has its record cannot be done again, and is not done: the next night catches it up. It is entered
    so while it can be told from others.
    """
    _mark_done_ahead(db, now)
    count, last = db.execute(
        "SELECT count(*), max(night) FROM state_run WHERE kind = ? AND coalesce(finished_at, started_at) > ?",
        [KIND, to_text(now)],
    ).fetchone()
    noted = db.execute("SELECT detail FROM state_run WHERE kind = ?", [CLOCK]).fetchone()
    detail = (
        f"the clock of this machine was ahead: nights up to {last} were entered before they came ({count} of them "
        "still); each is done in its turn all the same. Check how the machine sets its clock"
        if count
        else None
    )
    if detail == (noted[0] if noted else None):
        return
    with writing(db):
        db.execute("DELETE FROM state_run WHERE kind = ?", [CLOCK])
        if detail:
            db.execute(
                "INSERT INTO state_run (kind, night, started_at, finished_at, status, detail) "
                "VALUES (?, ?, ?, ?, 'failed', ?)",
                [CLOCK, last, to_text(now), to_text(now), detail],
            )


def _mark_done_ahead(db: Database, now: datetime) -> None:
    which = (
        "kind = :kind AND status = 'done' AND finished_at > :moment "
        "AND night IN (SELECT night FROM record_report WHERE kind = :kind)"
    )
    values = {"kind": KIND, "moment": to_text(now + AHEAD_BY), "detail": DONE_AHEAD}
    if db.execute(f"SELECT EXISTS (SELECT 1 FROM state_run WHERE {which})", values).fetchone()[0]:
        with writing(db):
            db.execute(f"UPDATE state_run SET status = 'failed', detail = :detail WHERE {which}", values)


def last_done(ledger: dict[date, str]) -> date | None:
    """The newest night that is done."""
    return max((night for night, status in ledger.items() if status == "done"), default=None)


def missed_before(ledger: dict[date, str], night: date) -> tuple[date, ...]:
    """The nights between the last one done and this one, on which the node did not run or failed.

    Before the first night that was ever done only those count that were tried.
    """
    before = {day: status for day, status in ledger.items() if day < night}
    last = last_done(before)
    first = last + timedelta(days=1) if last else min(before, default=night)
    return tuple(first + timedelta(days=offset) for offset in range((night - first).days))


def require_turn(ledger: dict[date, str], night: date, *, today: date) -> None:
    """Check that a night may be run now.

    Raises
    ------
    NightError
        It has not come yet, or a later one is done: an earlier one on today's data would record what was never true.
    """
    last = last_done(ledger)
    if night > today:
        raise NightError(f"the night of {night} has not come yet; today is {today}")
    if last is not None and night < last:
        raise NightError(
            f"the night of {last} is done, an earlier one can no longer be run; the view reports has what was said, "
            "--dry-run shows what the data of today would say"
        )


def start(db: Database, night: date, now: datetime) -> None:
    """Say that this night is running; call inside a unit of work, with the lock held."""
    db.execute(
        "INSERT INTO state_run (kind, night, started_at, status) VALUES (?, ?, ?, 'running') "
        "ON CONFLICT (kind, night) DO UPDATE SET started_at = excluded.started_at, finished_at = NULL, "
        "status = 'running', detail = NULL",
        [KIND, night.isoformat(), to_text(now)],
    )


def finish(db: Database, night: date, now: datetime, *, status: str, detail: str | None = None) -> None:
    """Say how this night ended ('done' or 'failed'); call inside the unit of work of what it stores."""
    db.execute(
        "INSERT INTO state_run (kind, night, started_at, finished_at, status, detail) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (kind, night) DO UPDATE SET finished_at = excluded.finished_at, status = excluded.status, "
        "detail = excluded.detail",
        [KIND, night.isoformat(), to_text(now), to_text(now), status, detail],
    )
