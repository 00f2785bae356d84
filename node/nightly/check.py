"""What is done every minute, as far as it is due: the night, its report and analysis as files, and the outbox."""

from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from functools import partial

from sqlite_utils import Database

from node.clock import now as clock_now
from node.nightly import ledger
from node.nightly.analysis import publish_analysis
from node.nightly.due import better_later, due
from node.nightly.night import run_night
from node.nightly.parts import do_all
from node.nightly.report import publish_report
from node.nightly.restarts import report_restarts
from node.outgoing.mail import deliver
from node.settings import Settings
from node.steps.lock import deriving
from node.store.database import open_database
from node.store.snapshot import publish


def check(settings: Settings, started_at: datetime) -> None:
    """Do the night that is due, if one is, and send what waits in the outbox; a failure is logged and tried again.

    Parameters
    ----------
    started_at
        When the role was started; the steps, started with it, may have a backlog.
    """
    with closing(open_database(settings.storage.folder)) as db:
        work: dict[str, Callable[[], object]] = {
            "clock": partial(ledger.note_clock, db, clock_now()),
            "restarts": partial(report_restarts, db, settings, now=clock_now()),
            "night": partial(_run_due, db, settings, started_at),
            "report": partial(publish_report, db, settings.storage.folder, now=clock_now()),
            "mails": partial(deliver, db, settings, now=clock_now()),
        }
        if settings.nightly.analysis:
            work["analysis"] = partial(publish_analysis, db, settings.storage.folder, now=clock_now())
        do_all(db, work)


def _run_due(db: Database, settings: Settings, started_at: datetime) -> None:
    night = due(db, settings)
    if night is not None and not better_later(db, settings, night, started_at):
        run_night(db, settings, night=night, now=clock_now())
        # Where the steps are at work, they publish what has changed by themselves.
        with deriving(settings.storage.folder) as mine:
            if mine:
                publish(db, settings.storage.folder)
