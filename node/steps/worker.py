"""The steps role: index, interpret, measure, link, over and over, and the snapshot for people who query.

There is no queue: each step asks the database what is missing. One process at a time derives (a lock on a file of
the data folder says which), so that no two do the same work.
"""

import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import monotonic

import structlog
from sqlite_utils import Database

from node.archive import Archive
from node.clock import now
from node.cohort_import import derive_imports
from node.metrics import serve_metrics
from node.settings import Settings
from node.steps.index import catalogue_studies, index_objects
from node.steps.interpret import interpret_frames
from node.steps.link import link_persons
from node.steps.measure import measure_series
from node.store.database import open_database
from node.store.snapshot import publish

POLL_S = 0.5
"""How often the database is asked what is missing."""

LOCK_NAME = "steps.lock"

log = structlog.get_logger()


def run_steps(settings: Settings, stop: threading.Event, *, ready: Callable[[], None] | None = None) -> None:
    """Derive what is missing until told to stop.

    Raises
    ------
    StoreError
        The database cannot be used.
    ListenError
        The port of the metrics cannot be opened.
    """
    folder = settings.storage.folder
    db = open_database(folder, create=True)
    archive = Archive(folder)
    with serve_metrics(settings):
        if ready:
            ready()
        published: tuple[int, int] | None = None
        published_at = float("-inf")
        while not stop.is_set():
            with deriving(folder) as mine:
                done = run_pending(db, archive, settings, at=now()) if mine else 0
            state = _state(db)
            if state != published and monotonic() - published_at >= settings.storage.snapshot_every_s:
                publish(db, folder)
                published, published_at = state, monotonic()
            if not done:
                stop.wait(POLL_S)
    db.close()


def run_pending(db: Database, archive: Archive, settings: Settings, *, at: datetime) -> int:
    """Do everything that is missing now, once through all steps; returns how many units were done."""
    done = {
        "imports": derive_imports(db, site=settings.site.name),
        "objects": index_objects(db, archive),
        "studies": catalogue_studies(db, settings, now=at),
        "messages": interpret_frames(db, settings),
        "measurements": measure_series(db, archive, settings),
        "patients": link_persons(db, settings),
    }
    if any(done.values()):
        log.info("derived", **{name: number for name, number in done.items() if number})
    return sum(done.values())


@contextmanager
def deriving(folder: Path) -> Iterator[bool]:
    """Hold the lock of the one process that derives; yields whether it could be had."""
    with (folder / LOCK_NAME).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _state(db: Database) -> tuple[int, int]:
    """Changes when anybody has committed: other connections by data_version, this one by its own count."""
    return int(db.execute("PRAGMA data_version").fetchone()[0]), int(db.conn.total_changes)
