"""The nightly role: every night once at the set local time, what was missed at start, and the outbox every minute.

APScheduler only wakes the role; the ledger in the database decides what is due. So it does not matter that a job is
fired twice in a repeated hour, late after a suspend, or not at all because the node was down. A night that was missed
is caught up at start with the data as they are now; of several missed nights the newest is run, its report names the
others and the ledger says of them that they are done with it, each once: an older night's report on today's data would
say something that was never true.

The night itself is run by a process of its own, which ends with it: the libraries of the statistics, and what they
keep, would else lie in memory all day for a minute's work.
"""

import threading
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from node.apart import command, do_apart
from node.clock import now as clock_now
from node.clock import to_text
from node.errors import NodeError
from node.nightly import ledger
from node.nightly.due import is_something_due
from node.nightly.parts import do_all
from node.nightly.restarts import report_restarts
from node.nightly.retention import tidy_daily
from node.outgoing.mail import deliver
from node.settings import Settings
from node.store.database import open_database

CHECK_EVERY_S = 60
"""How often the ledger is asked whether a night is due, and the outbox whether a mail is."""

COMMAND = command("node.nightly.child")

log = structlog.get_logger()

Check = Callable[[Settings, datetime], None]
"""As :func:`node.nightly.check.check`."""


def check_apart(settings: Settings, started_at: datetime) -> None:
    """Do :func:`node.nightly.check.check` in a process of its own, which ends should this one end."""
    do_apart(COMMAND, "the night", to_text(started_at), settings=settings)


def watch(
    settings: Settings,
    stop: threading.Event,
    *,
    ready: Callable[[], None] | None = None,
    check: Check = check_apart,
) -> None:
    """Run the nights and the outbox until told to stop.

    Parameters
    ----------
    check
        Does the work once something of the night is due.

    Raises
    ------
    StoreError
        The database cannot be used.
    """
    open_database(settings.storage.folder, create=True).close()
    scheduler = BackgroundScheduler(timezone=settings.site.zone)
    job = scheduler.add_job(
        _look,
        IntervalTrigger(seconds=CHECK_EVERY_S, timezone=settings.site.zone),
        args=[settings, clock_now(), check],
        next_run_time=clock_now(),
        coalesce=True,
        misfire_grace_time=None,
        max_instances=1,
    )
    scheduler.start()
    if ready:
        ready()
    while not stop.wait(CHECK_EVERY_S):
        # It sleeps until a time of day: after a clock that was ahead is set right, until that time comes again.
        if job.next_run_time - clock_now() > 2 * timedelta(seconds=CHECK_EVERY_S):
            job.modify(next_run_time=clock_now())
    scheduler.shutdown(wait=True)


def _look(settings: Settings, started_at: datetime, check: Check) -> None:
    """Do what needs no statistics; where more is due, have all of it done."""
    try:
        with closing(open_database(settings.storage.folder)) as db:
            if not is_something_due(db, settings, started_at):
                work: dict[str, Callable[[], object]] = {
                    "clock": partial(ledger.note_clock, db, clock_now()),
                    "restarts": partial(report_restarts, db, settings, now=clock_now()),
                    "mails": partial(deliver, db, settings, now=clock_now()),
                    "retention": partial(tidy_daily, db, settings, now=clock_now()),
                }
            else:
                # What ends the process of the night is a problem like any other that the night may have.
                work = {"night": partial(check, settings, started_at)}
            do_all(db, work)
    except NodeError as error:
        log.error("nightly check failed", error=str(error))
