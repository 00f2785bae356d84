"""Who was not let in and what was not taken: counted in the database, within bounds, and shown in ``problems``.

A scanner on the port, or a sender that tries again every second, must neither fill the database nor cost a commit each
time: what happened is gathered in memory and written once a second, one row for each peer and reason with how often.
Counts of the last second before a kill are lost; the log has every single one.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self

import structlog
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.clock import now
from node.dicom.cut_off import CutOff, list_cut_off, store_cut_off
from node.dicom.recorder import Recorder
from node.dicom.refused_contexts import (
    ContextCount,
    RefusedContext,
    Sender,
    list_contexts,
    settle_contexts,
    store_contexts,
)
from node.errors import StoreError
from node.store.database import writing
from node.store.refusals import MAX_PENDING, Count, Refusal, add_counts, gather, settle, store_counts

PAUSE_S = 1.0
"""Pause between two times of writing."""
PAUSE_AFTER_FAILURE_S = 30.0
MAX_PENDING_CONTEXTS = 2000
"""Refused contexts gathered between two times of writing; what goes beyond is not counted."""

REJECTED, TOO_MANY, NO_ASSOCIATION, NOTHING_TAKEN, NOT_STORED, BROKEN_OFF = (
    "rejected", "too-many", "no-association", "nothing-taken", "not-stored", "broken-off",
)  # fmt: skip
"""Codes: rejected for who it is, or for now; did not ask for an association, or not over TLS as it should; proposes
nothing that is taken; an object that was answered with a failure; an association that this node ended for what was said
in it, or because a message did not come to its end in time."""

SETTLED_BY_ENTRY = (REJECTED, NOTHING_TAKEN, NOT_STORED, BROKEN_OFF)
"""Whoever is let in later has been helped; that there was no room, or that something talked no DICOM, is not undone."""

log = structlog.get_logger()


@dataclass(kw_only=True)
class _Gathered:
    """What is to be written: refusals, who was let in, and what was refused and taken in negotiations."""

    counts: dict[Refusal, Count] = field(default_factory=dict)
    let_in: dict[tuple[str, str], datetime] = field(default_factory=dict)
    contexts: dict[RefusedContext, ContextCount] = field(default_factory=dict)
    taken: dict[tuple[Sender, str], datetime] = field(default_factory=dict)
    ended: dict[Sender, datetime] = field(default_factory=dict)
    cut_off: dict[CutOff, Count] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.counts or self.let_in or self.contexts or self.taken or self.ended or self.cut_off)

    def add(self, later: "_Gathered") -> None:
        """What was gathered after it."""
        add_counts(self.counts, later.counts)
        add_counts(self.cut_off, later.cut_off)
        for context, number in later.contexts.items():
            before = self.contexts.setdefault(context, number)
            if before is not number:
                before.times += number.times
                before.aborted += number.aborted
                before.last_at = number.last_at
        self.let_in |= later.let_in
        self.taken |= later.taken
        self.ended |= later.ended


class Refusals:
    """A context in which refusals are counted, from any thread."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._lock = threading.Lock()
        self._gathered = _Gathered()
        self._news, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="refusals")

    def __enter__(self) -> Self:
        """Begin to write what is noted."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._news.set()
        self._thread.join()

    def note(self, refusal: Refusal) -> None:
        """Count a refusal; never waits for the database."""
        moment = now()
        with self._lock:
            gather(self._gathered.counts, refusal, moment)
        self._news.set()

    def let_in(self, *, address: str, calling_ae: str) -> None:
        """Whoever calls itself so and comes from there is served now: what it was refused for before is settled."""
        with self._lock:
            self._gathered.let_in[address, calling_ae] = now()
        self._news.set()

    def negotiated(self, sender: Sender, refused: Iterable[RefusedContext], taken: Iterable[str]) -> None:
        """Count the contexts that were refused; what a SOP class was refused for before it was taken is settled."""
        moment = now()
        with self._lock:
            for class_uid in taken:
                self._gathered.taken[sender, class_uid] = moment
            for one in refused:
                self._count(one, times=1, aborted=0, moment=moment)
        self._news.set()

    def ended(self, sender: Sender, refused: Iterable[RefusedContext], *, aborted: bool) -> None:
        """An association with refused contexts has ended: by the sender's abort, which they may be the reason of."""
        moment = now()
        with self._lock:
            if aborted:
                for one in refused:
                    self._count(one, times=0, aborted=1, moment=moment)
            else:
                self._gathered.ended[sender] = moment
        self._news.set()

    def cut_off(self, one: CutOff) -> None:
        """Count an object that came in part only."""
        moment = now()
        with self._lock:
            known = self._gathered.cut_off
            if one in known or len(known) < MAX_PENDING:
                count = known.setdefault(one, Count(times=0, first_at=moment, last_at=moment))
                count.times += 1
                count.last_at = moment
        self._news.set()

    def _count(self, refused: RefusedContext, *, times: int, aborted: int, moment: datetime) -> None:
        contexts = self._gathered.contexts
        if refused in contexts or len(contexts) < MAX_PENDING_CONTEXTS:
            new = ContextCount(times=0, aborted=0, first_at=moment, last_at=moment)
            count = contexts.setdefault(refused, new)
            count.times += times
            count.aborted += aborted
            count.last_at = moment

    def _run(self) -> None:
        while not self._stop.is_set():
            self._news.wait()
            self._news.clear()
            self._stop.wait(PAUSE_S if self._write() else PAUSE_AFTER_FAILURE_S)
        self._write()

    def _write(self) -> bool:
        """Write what was gathered; false: the database could not be written, and it is gathered on."""
        with self._lock:
            gathered, self._gathered = self._gathered, _Gathered()
        if not gathered:
            return True
        try:
            self._recorder.require_alive()
            self._recorder.write(lambda db: _store_all(db, gathered, at=now()))
        except (sqlite3.Error, StoreError, TimeoutError) as error:
            log.error("refusals not counted for now", error=str(error))
            self._take_back(gathered)
            return False
        return True

    def _take_back(self, gathered: _Gathered) -> None:
        with self._lock:
            gathered.add(self._gathered)
            self._gathered = gathered
        self._news.set()


def _store_all(db: Database, gathered: _Gathered, *, at: datetime) -> None:
    store_contexts(db, gathered.contexts, at=at)
    settle_contexts(db, gathered.taken, gathered.ended)
    store_counts(db, gathered.counts, at=at)
    store_cut_off(db, gathered.cut_off, at=at)
    for (address, calling_ae), moment in gathered.let_in.items():
        settle(db, SETTLED_BY_ENTRY, address=address, calling_ae=calling_ae, at=moment)


def list_refusals(db: Database) -> list[dict[str, object]]:
    """All that is kept, the latest first; ``settled_at``: since then the same peer was let in, the class was taken, or
    the object came whole."""
    found = [
        *db.query(
            "SELECT peer_address, calling_ae, called_ae, code, reason, times, first_at, last_at, settled_at "
            "FROM state_refusal ORDER BY last_at DESC, peer_address, calling_ae"
        ),
        *list_contexts(db),
        *list_cut_off(db),
    ]
    return sorted(found, key=lambda row: str(row["last_at"]), reverse=True)


def forget_refusals(db: Database) -> int:
    """Begin to count anew; returns how many rows there were."""
    with writing(db):
        gone = db.execute("DELETE FROM state_refusal RETURNING 1").fetchall()
        gone += db.execute("DELETE FROM state_cut_off RETURNING 1").fetchall()
        return len(gone) + len(db.execute("DELETE FROM state_refused_context RETURNING 1").fetchall())
