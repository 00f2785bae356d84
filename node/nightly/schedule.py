"""The nightly role: every night once at the set local time, what was missed at start, and the outbox every minute.

APScheduler only wakes the role; the ledger in the database decides what is due. So it does not matter that a job is
fired twice in a repeated hour, late after a suspend, or not at all because the node was down. A night that was missed
is caught up at start with the data as they are now; of several missed nights the newest is run, its report names the
others and the ledger says of them that they are done with it, each once: an older night's report on today's data would
say something that was never true.
"""

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger
from sqlite_utils import Database

from node.clock import from_text
from node.clock import now as clock_now
from node.errors import NightError, NodeError
from node.nightly import ledger
from node.nightly.analysis import publish_analysis
from node.nightly.counts import left_to_derive
from node.nightly.night import run_night
from node.nightly.report import publish_report
from node.nightly.restarts import report_restarts
from node.outgoing.mail import deliver
from node.settings import Settings
from node.steps.lock import deriving
from node.store.database import open_database
from node.store.derivation import again_since
from node.store.failures import Unit, barrier, note_recovery
from node.store.snapshot import publish

PATIENCE = timedelta(minutes=30)
"""How long a night waits for the steps to derive what has arrived; then it is run and says what is missing."""

CHECK_EVERY_S = 60
"""How often the ledger is asked whether a night is due, and the outbox whether a mail is."""

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


def _moment(night: date, at: time, zone: ZoneInfo) -> datetime:
    # Through UTC, because two local times of one zone are compared by their wall clocks.
    return datetime.combine(night, at, zone).astimezone(UTC)


def watch(settings: Settings, stop: threading.Event, *, ready: Callable[[], None] | None = None) -> None:
    """Run the nights and the outbox until told to stop.

    Raises
    ------
    StoreError
        The database cannot be used.
    """
    open_database(settings.storage.folder, create=True).close()
    scheduler = BackgroundScheduler(timezone=settings.site.zone)
    scheduler.add_job(
        check,
        IntervalTrigger(seconds=CHECK_EVERY_S, timezone=settings.site.zone),
        args=[settings, clock_now()],
        next_run_time=clock_now(),
        coalesce=True,
        misfire_grace_time=None,
        max_instances=1,
    )
    scheduler.start()
    if ready:
        ready()
    stop.wait()
    scheduler.shutdown(wait=True)


def check(settings: Settings, started_at: datetime) -> None:
    """Do the night that is due, if one is, and send what waits in the outbox; a failure is logged and tried again.

    Parameters
    ----------
    started_at
        When the role was started; the steps, started with it, may have a backlog.
    """
    db = open_database(settings.storage.folder)
    work: dict[str, Callable[[], object]] = {
        "clock": partial(ledger.note_clock, db, clock_now()),
        "restarts": partial(report_restarts, db, settings, now=clock_now()),
        "night": partial(_run_due, db, settings, started_at),
        "report": partial(publish_report, db, settings.storage.folder, now=clock_now()),
        "mails": partial(deliver, db, settings, now=clock_now()),
    }
    if settings.nightly.analysis:
        work["analysis"] = partial(publish_analysis, db, settings.storage.folder, now=clock_now())
    try:
        for name, do in work.items():
            _do(db, name, do)
    except NodeError as error:
        log.error("nightly check failed", error=str(error))
    finally:
        db.close()


def _do(db: Database, name: str, do: Callable[[], object]) -> None:
    """One part of the work; what it raises stands in ``problems`` until it goes well again, and the others are done."""
    with barrier(db, "nightly", Unit(name)):
        try:
            do()
        except NightError as error:
            # The ledger and the administrator know already.
            log.error("nightly check failed", error=str(error))
        note_recovery(db, "nightly", Unit(name))


def _run_due(db: Database, settings: Settings, started_at: datetime) -> None:
    night = _due(db, settings)
    if night is not None and not _better_later(db, settings, night, started_at):
        run_night(db, settings, night=night, now=clock_now())
        # Where the steps are at work, they publish what has changed by themselves.
        with deriving(settings.storage.folder) as mine:
            if mine:
                publish(db, settings.storage.folder)


def _better_later(db: Database, settings: Settings, night: date, started_at: datetime) -> bool:
    """Whether the steps are still deriving and the night can wait; a rebuild must not look like an empty hospital.

    After an upgrade or a rebuild it waits until everything is derived again, however long that takes.
    """
    again = again_since(db)
    if again is not None:
        log.info("the night waits until everything is derived again", since=again, left=left_to_derive(db))
        return True
    since = max(_moment(night, settings.nightly.at, settings.site.zone), started_at)
    return clock_now() - since < PATIENCE and bool(left_to_derive(db))


def _due(db: Database, settings: Settings) -> date | None:
    # A night that failed is not tried again every minute: a person looks first, or the next night comes.
    now = clock_now()
    done = {night for night, status in ledger.nights(db, by=now).items() if status in ("done", "failed")}
    (made_at,) = db.execute("SELECT value FROM fact_site WHERE name = 'made_at'").fetchone()
    since = from_text(made_at)
    if since > now:
        # Made while the clock was ahead, nobody knows when.
        since = now - timedelta(days=1)
    return due_night(at=settings.nightly.at, zone=settings.site.zone, now=now, since=since, done=done)
