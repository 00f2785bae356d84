"""Whether there is something to do for the night: asked every minute, so with nothing that the night itself needs.

The ledger in the database decides. Of several missed nights the newest is due, with the data as they are now.
"""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog
from sqlite_utils import Database

from node.clock import from_text, to_text
from node.clock import now as clock_now
from node.nightly import ledger
from node.settings import Settings
from node.steps.pending import pending
from node.store.database import REPORT_FOLDER
from node.store.derivation import again_since

PATIENCE = timedelta(minutes=30)
"""How long a night waits for the steps to derive what has arrived; then it is run and says what is missing."""

NOT_YET_DUE = "studies arriving"
"""The one kind of pending work that is merely waiting out its quiet period."""

ANALYSIS_FOLDER = "analysis"
"""Beside the report of a night."""

log = structlog.get_logger()


def due_night(*, at: time, zone: ZoneInfo, now: datetime, since: datetime, done: set[date]) -> date | None:
    """The newest night whose time has come and that is not done.

    Parameters
    ----------
    at
        Local time of the night's work. In the hour that daylight saving skips it comes at the first moment after; in
        the repeated hour at its first occurrence.
    since
        When this node's database was made; nothing before it was missed.
    done
        The nights that need nothing more, by the ledger.
    """
    today = now.astimezone(zone).date()
    newest = today if now >= _moment(today, at, zone) else today - timedelta(days=1)
    return newest if newest not in done and _moment(newest, at, zone) > since else None


def is_something_due(db: Database, settings: Settings, started_at: datetime) -> bool:
    """Whether a night is to be run, or what came of the newest one is not among the files yet."""
    night, folder, now = due(db, settings), settings.storage.folder, clock_now()
    if night is not None and not better_later(db, settings, night, started_at):
        return True
    if unwritten_report(db, folder, now=now):
        return True
    return settings.nightly.analysis and unwritten_analysis(db, folder, now=now) is not None


def due(db: Database, settings: Settings) -> date | None:
    """The night that is to be run now, if one is; it may still have to wait (:func:`better_later`)."""
    # A night that failed is not tried again every minute: a person looks first, or the next night comes.
    now = clock_now()
    done = {night for night, status in ledger.nights(db, by=now).items() if status in ("done", "failed")}
    (made_at,) = db.execute("SELECT value FROM fact_site WHERE name = 'made_at'").fetchone()
    since = from_text(made_at)
    if since > now:
        # Made while the clock was ahead, nobody knows when.
        since = now - timedelta(days=1)
    return due_night(at=settings.nightly.at, zone=settings.site.zone, now=now, since=since, done=done)


def better_later(db: Database, settings: Settings, night: date, started_at: datetime) -> bool:
    """Whether the steps are still deriving and the night can wait; a rebuild must not look like an empty hospital.

    After an upgrade or a rebuild it waits until everything is derived again, however long that takes.
    """
    again = again_since(db)
    if again is not None:
        log.info("the night waits until everything is derived again", since=again, left=left_to_derive(db))
        return True
    since = max(_moment(night, settings.nightly.at, settings.site.zone), started_at)
    return clock_now() - since < PATIENCE and bool(left_to_derive(db))


def left_to_derive(db: Database) -> dict[str, int]:
    """What the steps have still to do now, by kind; empty when everything is derived."""
    return {name: number for name, number in pending(db).items() if number and name != NOT_YET_DUE}


def unwritten_report(db: Database, folder: Path, *, now: datetime) -> tuple[date, Path] | None:
    """The newest night and its folder, where its report is not there yet.

    One that was made in the future, by a clock that was ahead, is not the newest.
    """
    row = db.execute(
        "SELECT night FROM record_report WHERE kind = 'nightly' AND made_at <= ? ORDER BY night DESC LIMIT 1",
        [to_text(now)],
    ).fetchone()
    target = folder / REPORT_FOLDER / row[0] if row else folder
    return None if row is None or (target / "report.html").is_file() else (date.fromisoformat(row[0]), target)


def unwritten_analysis(db: Database, folder: Path, *, now: datetime) -> tuple[date, Path] | None:
    """The newest night that had a cohort and the folder of its analysis, where that is not there yet."""
    row = db.execute(
        "SELECT night, n_rows FROM record_fit WHERE made_at <= ? ORDER BY night DESC LIMIT 1", [to_text(now)]
    ).fetchone()
    target = folder / REPORT_FOLDER / row[0] / ANALYSIS_FOLDER if row else folder
    return None if row is None or row[1] == 0 or target.exists() else (date.fromisoformat(row[0]), target)


def _moment(night: date, at: time, zone: ZoneInfo) -> datetime:
    # Through UTC, because two local times of one zone are compared by their wall clocks.
    return datetime.combine(night, at, zone).astimezone(UTC)
