"""The steps role: index, interpret, measure, link, over and over, and the snapshot for people who query.

There is no queue: each step asks the database what is missing. One process at a time derives (a lock on a file of
the data folder says which), so that no two do the same work.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from time import monotonic

import structlog
from sqlite_utils import Database

from analytics.vbq.automatic import AutomaticMeasurement, SagittalImage, T2At
from node.clock import now
from node.memory import Freed
from node.people.imports import derive_imports
from node.people.quarantine import mirror
from node.settings import Settings
from node.steps.completeness import doubt_incomplete, take_answers
from node.steps.index import catalogue_studies, index_objects
from node.steps.interpret import interpret_frames
from node.steps.link import link_persons
from node.steps.lock import deriving
from node.steps.measure import measure_readings
from node.steps.measure_automatic import measure_automatically
from node.steps.pending import pending
from node.steps.retry import retry_failed
from node.steps.senders import judge_senders
from node.steps.shared_pixels import hold_shared_pixels
from node.steps.two_readers import hold_unsettled
from node.store.archive import Archive
from node.store.database import StopWorkError, bound_wal, open_database, writing
from node.store.derivation import again_since, finish
from node.store.failures import ALL, barrier, failing_steps, note_recovery
from node.store.snapshot import publish, share_research

POLL_S = 0.5
"""How often the database is asked whether anything has changed."""

LONGEST_PAUSE_S = 5.0
"""How long nothing is asked while nothing changes; only the quiet period of a study can end meanwhile."""

SNAPSHOT_SHARE = 0.1
"""The most of its time that the role spends on the snapshot: a large one is renewed less often than is set."""

SNAPSHOT_LATE_S = 60.0
"""How much later than it is due the snapshot is renewed while there is always more to derive, which goes first."""

log = structlog.get_logger()


def run_steps(
    settings: Settings,
    stop: threading.Event,
    *,
    ready: Callable[[], None] | None = None,
    took: Callable[[float], None] = lambda seconds: None,
) -> None:
    """Derive what is missing until told to stop; ``took`` is told how long each measured study took, in seconds.

    Raises
    ------
    StoreError
        The database cannot be used.
    """
    db = open_database(settings.storage.folder, create=True)
    # A backlog holds up the end of the role by one unit of work, not by all of it.
    db.stop = stop
    if ready:
        ready()
    try:
        with suppress(StopWorkError):
            _derive(db, settings, stop, took)
    finally:
        db.close()


def _derive(db: Database, settings: Settings, stop: threading.Event, took: Callable[[float], None]) -> None:
    folder = settings.storage.folder
    archive = Archive(folder)
    longest_pause_s = min(LONGEST_PAUSE_S, settings.dicom.quiet_s / 20)
    settled: tuple[int, int] | None = None
    published: tuple[int, int] | None = None
    round_at, publish_at = float("-inf"), monotonic()
    freed = Freed()
    while not stop.is_set():
        done = 0
        before = _changes(db)
        if before != settled or monotonic() >= round_at:
            with deriving(folder) as mine:
                if mine:
                    done = run_pending(db, archive, settings, at=now(), took=took)
                    mirror(db, archive, folder)
                    again = _derives_again(db, done)
                    # People see what was there before until everything is derived again.
                    due = publish_at + (SNAPSHOT_LATE_S if done else 0.0)
                    if not again and _changes(db) != published and monotonic() >= due:
                        # The snapshot holds other connections' changes from before this round, and all of our own.
                        publish_at = _publish(db, settings)
                        published = before[0], _changes(db)[1]
                    if not done:
                        settled, round_at = (before[0], _changes(db)[1]), monotonic() + longest_pause_s
        freed.after(work=bool(done))
        if not done:
            bound_wal(db, folder)
            stop.wait(POLL_S)


def run_pending(
    db: Database,
    archive: Archive,
    settings: Settings,
    *,
    at: datetime,
    took: Callable[[float], None] = lambda seconds: None,
) -> int:
    """Do everything that is missing now, once through all steps; returns how many units were done."""
    steps: dict[str, Callable[[], int]] = {
        "again": partial(retry_failed, db, settings, at=at),
        "imports": partial(derive_imports, db, site=settings.site.name),
        "objects": partial(index_objects, db, archive),
        "studies": partial(catalogue_studies, db, settings, now=at),
        "answers": partial(take_answers, db),
        "messages": partial(interpret_frames, db, settings),
        "readings": partial(measure_readings, db, archive),
        "measurements": partial(measure_automatically, db, archive, settings, measure_stack, took),
        "doubts": partial(doubt_incomplete, db, settings.readers),
        "second readings": partial(hold_unsettled, db, settings.readers),
        "pixels": partial(hold_shared_pixels, db),
        "patients": partial(link_persons, db, settings),
        "senders": partial(judge_senders, db),
    }
    done = {name: _step(db, name, step) for name, step in steps.items()}
    if any(done.values()):
        log.info("derived", **{name: number for name, number in done.items() if number})
    return sum(done.values())


def measure_stack(
    images: Sequence[SagittalImage], *, t1_stated: bool = True, t2_at: T2At | None = None
) -> AutomaticMeasurement:
    """:func:`analytics.vbq.measure.measure_stack`; its networks are loaded when the first series comes."""
    from analytics.vbq import measure

    return measure.measure_stack(images, t1_stated=t1_stated, t2_at=t2_at)


def _derives_again(db: Database, done: int) -> bool:
    """Whether everything is still being derived again; a round that finds nothing more to do ends it."""
    since = again_since(db)
    if since is None:
        return False
    if done or failing_steps(db):
        left = {name: number for name, number in pending(db).items() if number}
        log.info("deriving everything again", since=since, left=left)
        return True
    with writing(db):
        finish(db)
    log.info("everything derived again", since=since)
    return False


def _step(db: Database, name: str, step: Callable[[], int]) -> int:
    """One step; one that fails as a whole is said, and tried again in the next round, but the others are done."""
    done = 0
    with barrier(db, name, ALL):
        done = step()
        note_recovery(db, name, ALL)
    return done


def _publish(db: Database, settings: Settings) -> float:
    """Publish the snapshot; returns the monotonic time before which there shall be no further one."""
    began = monotonic()
    _step(db, "snapshot", lambda: bool(publish(db, settings.storage.folder)))
    if why := share_research(settings.storage):
        log.warning("research.db is not shared", why=why)
    took = monotonic() - began
    return began + max(settings.storage.snapshot_every_s, took / SNAPSHOT_SHARE)


def _changes(db: Database) -> tuple[int, int]:
    """Changes when anybody has committed: other connections by data_version, this one by its own count."""
    return int(db.execute("PRAGMA data_version").fetchone()[0]), int(db.conn.total_changes)
