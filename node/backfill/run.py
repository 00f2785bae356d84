"""The back-fill: what is to be measured is a query, an engine measures it, this process alone writes.

Nothing is kept of what is in hand: whoever ends it, wherever, the next run asks the same query and goes on. A running
node goes on receiving, indexing and measuring beside it; the back-fill begins at the other end of what is to be done,
and in the transaction that stores a study it is seen that the study is still to be measured as it was.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

import structlog
from sqlite_utils import Database

from analytics.records import MeasurementStatus
from node.backfill.engine import Done, Engine
from node.backfill.folders import Folders
from node.clock import now
from node.measure.task import Row
from node.settings import Settings
from node.steps.index import catalogue_studies, index_objects
from node.steps.lock import deriving
from node.steps.measure_automatic import measured_elsewhere, store, task_of, without
from node.steps.pending import pending
from node.steps.unmeasured import ALGORITHM, PENDING, pending_studies
from node.store.archive import Archive
from node.store.database import writing
from node.store.failures import Unit, barrier, note_outcome

BATCH = 64
"""Studies stored in one transaction at most."""
BATCH_S = 2.0
"""How long a study that is measured waits for others to be stored with."""
WAIT_S = 0.25
LOOK_S = 1.0
SHARE = 10
"""What is to be done is looked for anew at most each second, and takes at most a tenth of the time."""
INDEXED_AT_ONCE = 512
"""Images indexed between two looks, so that the processes get studies meanwhile."""
TRIES = 3
"""Times that a study which changes while it is measured is measured in one run."""
FAILED = "failed"
GRACE_S = 60.0
"""How long after their quiet time studies of folders are waited for: a running node that is busy judges them later, and
measures them itself."""
ARRIVING = ("objects to index", "studies arriving", "images sent again")

log = structlog.get_logger()


@dataclass(kw_only=True)
class Progress:
    """How far a back-fill is: studies by what became of them (measured, review, rejected, failed), and what is left."""

    by_status: Counter[str] = field(default_factory=Counter)
    left: int = 0
    elsewhere: int = 0
    """Studies that the running node measured meanwhile, or that changed."""
    began: float = field(default_factory=monotonic)

    @property
    def done(self) -> int:
        """Studies that this run has settled."""
        return sum(self.by_status.values())

    @property
    def per_minute(self) -> float:
        """Studies a minute since the run began."""
        return 60 * self.done / max(1e-9, monotonic() - self.began)

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest takes at this rate; ``None`` before the first study."""
        return 60 * self.left / self.per_minute if self.done else None


Show = Callable[[Progress], None]


class Backfill:
    """Measures all that is to be measured.

    Parameters
    ----------
    taking
        Takes in images of folders meanwhile.
    stop
        Ends the run after what is measured so far is stored.
    """

    def __init__(
        self,
        db: Database,
        settings: Settings,
        engine: Engine,
        *,
        show: Show = lambda _: None,
        taking: Folders | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._db, self._settings, self._engine = db, settings, engine
        self._archive = Archive(settings.storage.folder)
        self._show, self._taking = show, taking
        self._stop = stop or threading.Event()
        self._in_hand: set[str] = set()
        self._tries: Counter[str] = Counter()
        self._place: str | None = None
        self._look_at = float("-inf")
        self._found = 1
        """Studies that the last look at all that is to be done has found; more than none before the first."""
        self._brought_at = monotonic()
        self._behind = False
        """More images are to be indexed than are indexed at once."""
        self._waiting: list[Done] = []
        self._waiting_since = 0.0
        self.progress = Progress()

    def run(self) -> Progress:
        """Go on until nothing is left, or until told to stop.

        Raises
        ------
        StoreError, NodeError
            Nothing more can be measured or stored; what was stored stays.
        """
        while not self._stop.is_set():
            more = self._bringing()
            if self._engine.room():
                self._submit()
            if not (more or self._in_hand or self._place or self._found or self._arriving()):
                break
            self._take(self._engine.wait(WAIT_S))
        self._store()
        return self.progress

    def _catch_up(self) -> None:
        """Index and judge some of what came, unless a running node does."""
        with deriving(self._settings.storage.folder) as mine:
            if mine:
                self._behind = index_objects(self._db, self._archive, most=INDEXED_AT_ONCE) >= INDEXED_AT_ONCE
                catalogue_studies(self._db, self._settings, now=now())

    def _bringing(self) -> bool:
        bringing = self._taking is not None and self._taking.bringing()
        if bringing:
            self._brought_at = monotonic()
        return bringing

    def _arriving(self) -> bool:
        """Whether studies that were brought are still to become quiet; others may come to a running node for ever."""
        if self._behind:
            return True
        if self._taking is None or monotonic() > self._brought_at + self._settings.dicom.quiet_s + GRACE_S:
            return False
        found = pending(self._db)
        return any(found[name] for name in ARRIVING)

    def _submit(self) -> None:
        began = monotonic()
        if self._place is None:
            # What is in hand would be found again.
            if began < self._look_at or (self._in_hand and not (self._behind or self._bringing())):
                return
            self._catch_up()
            self._found = 0
            self.progress.left = pending_studies(self._db) - len(self._in_hand)
        room = self._engine.room()
        found = self._pending(room)
        self._place = found[-1] if len(found) == room else None
        self._look_at = max(self._look_at, monotonic() + max(LOOK_S, SHARE * (monotonic() - began)))
        for uid in found:
            if uid in self._in_hand or self._tries[uid] >= TRIES:
                continue
            self._found += 1
            self._tries[uid] += 1
            # What cannot even be told to a process is a problem of its own.
            with barrier(self._db, "measure", Unit("study", uid)):
                self._engine.submit(task_of(self._db, self._settings, uid))
                self._in_hand.add(uid)

    def _pending(self, number: int) -> list[str]:
        """Studies to be measured, from the end at which the step does not begin, on from where the last ones were."""
        place = "" if self._place is None else "AND s.study_instance_uid < ?"
        asked = self._db.execute(
            f"SELECT DISTINCT s.study_instance_uid {PENDING} {place} ORDER BY s.study_instance_uid DESC LIMIT ?",
            [*ALGORITHM, *([] if self._place is None else [self._place]), number],
        )
        return [uid for (uid,) in asked.fetchall()]

    def _take(self, done: Sequence[Done]) -> None:
        if done and not self._waiting:
            self._waiting_since = monotonic()
        self._waiting += done
        idle = self._engine.room() and not self._in_hand - {one.study_uid for one in self._waiting}
        if self._waiting and (
            len(self._waiting) >= BATCH or monotonic() - self._waiting_since >= BATCH_S or idle or self._stop.is_set()
        ):
            self._store()

    def _store(self) -> None:
        batch, self._waiting = self._waiting, []
        if not batch:
            return
        with writing(self._db):
            settled = [(one, self._settle(one)) for one in batch]
        self.progress.left = max(0, self.progress.left - len(batch))
        self._in_hand -= {one.study_uid for one in batch}
        for _, status in settled:
            if status is None:
                self.progress.elsewhere += 1
            else:
                self.progress.by_status[status] += 1
        self._show(self.progress)

    def _settle(self, done: Done) -> str | None:
        """Store what came of a study, within the transaction; ``None`` when it is no more what was to be measured."""
        uid = done.study_uid
        if measured_elsewhere(self._db, uid, done.outcome):
            return None
        status = FAILED
        with barrier(self._db, "measure", Unit("study", uid)):
            if done.outcome is not None:
                store(self._db, done.outcome)
                status = FAILED if done.outcome.fault else _status(done.outcome.rows)
            elif done.reason is not None:
                note_outcome(self._db, "measure", Unit("study", uid), done.reason)
                without(self._db, uid, done.reason)
        return status


def _status(rows: Sequence[Row]) -> str:
    """What a study came to: that of its best series."""
    found = {str(row["status"]) for row in rows if row["current"]}
    return next((one.value for one in MeasurementStatus if one.value in found), MeasurementStatus.REJECTED.value)
