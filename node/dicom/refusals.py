"""Who was not let in and what was not taken: counted in the database, within bounds, and shown in ``problems``.

A scanner on the port, or a sender that tries again every second, must neither fill the database nor cost a commit each
time: what happened is gathered in memory and written once a second, one row for each peer and reason with how often.
Counts of the last second before a kill are lost; the log has every single one.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import structlog
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.clock import now, to_text
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

PAUSE_S = 1.0
"""Pause between two times of writing."""
PAUSE_AFTER_FAILURE_S = 30.0
MAX_PENDING = 200
"""Rows gathered between two times of writing; what goes beyond is counted under :data:`OTHERS`."""
MAX_PENDING_CONTEXTS = 2000
"""Refused contexts gathered between two times of writing; what goes beyond is not counted."""
MAX_ROWS_OF_ADDRESS = 20
"""Most rows of one address; what else it calls itself and asks for is counted together under :data:`OTHERS`."""
MAX_ROWS = 500
"""Most rows in all; the oldest go first."""
KEPT_FOR = timedelta(days=30)
"""How long a row is kept after it was last seen."""
OTHERS = "(others)"

REJECTED, TOO_MANY, NO_ASSOCIATION, NOTHING_TAKEN, NOT_STORED = (
    "rejected", "too-many", "no-association", "nothing-taken", "not-stored",
)  # fmt: skip
"""Codes: rejected for who it is, or for now; did not ask for an association, or not over TLS as it should; proposes
nothing that is taken; an object that was answered with a failure."""

UPSERT = """
INSERT INTO state_refusal (peer_address, calling_ae, called_ae, reason, code, times, first_at, last_at)
VALUES (:address, :calling, :called, :reason, :code, :times, :first, :last)
ON CONFLICT DO UPDATE SET times = times + excluded.times, last_at = excluded.last_at, settled_at = NULL
"""
IS_NEW_OF_MANY = """
SELECT (SELECT count(*) FROM state_refusal WHERE peer_address = :address) >= :most
   AND NOT EXISTS (SELECT 1 FROM state_refusal WHERE peer_address = :address AND calling_ae = :calling
                   AND called_ae = :called AND reason = :reason)
"""
# Whoever is let in later has been helped; that there was no room, or that something talked no DICOM, is not undone.
SETTLE = f"""
UPDATE state_refusal SET settled_at = :at
WHERE settled_at IS NULL AND code IN ('{REJECTED}', '{NOTHING_TAKEN}', '{NOT_STORED}')
  AND peer_address = :address AND calling_ae = :calling AND last_at <= :at
"""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Who was refused, and why; the AE titles are empty where it came to none."""

    address: str
    calling_ae: str = ""
    called_ae: str = ""
    code: str
    reason: str


@dataclass(kw_only=True)
class _Count:
    """How often, and when first and last."""

    times: int
    first_at: datetime
    last_at: datetime


@dataclass(kw_only=True)
class _Gathered:
    """What is to be written: refusals, who was let in, and what was refused and taken in negotiations."""

    counts: dict[Refusal, _Count] = field(default_factory=dict)
    let_in: dict[tuple[str, str], datetime] = field(default_factory=dict)
    contexts: dict[RefusedContext, ContextCount] = field(default_factory=dict)
    taken: dict[tuple[Sender, str], datetime] = field(default_factory=dict)
    ended: dict[Sender, datetime] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.counts or self.let_in or self.contexts or self.taken or self.ended)

    def add(self, later: "_Gathered") -> None:
        """What was gathered after it."""
        for refusal, count in later.counts.items():
            known = self.counts.setdefault(refusal, count)
            if known is not count:
                known.times += count.times
                known.last_at = count.last_at
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
            counts = self._gathered.counts
            if refusal not in counts and len(counts) >= MAX_PENDING:
                refusal = Refusal(address=OTHERS, code=refusal.code, reason=refusal.reason)
            count = counts.setdefault(refusal, _Count(times=0, first_at=moment, last_at=moment))
            count.times += 1
            count.last_at = moment
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
    _store(db, gathered.counts, gathered.let_in, at=at)


def _store(
    db: Database, counts: Mapping[Refusal, _Count], let_in: Mapping[tuple[str, str], datetime], *, at: datetime
) -> None:
    for refusal, count in counts.items():
        row = {
            "address": refusal.address,
            "calling": _printable(refusal.calling_ae),
            "called": _printable(refusal.called_ae),
            "reason": refusal.reason,
            "code": refusal.code,
            "times": count.times,
            "first": to_text(count.first_at),
            "last": to_text(count.last_at),
        }
        if db.execute(IS_NEW_OF_MANY, row | {"most": MAX_ROWS_OF_ADDRESS}).fetchone()[0]:
            row |= {"calling": OTHERS, "called": OTHERS}
        db.execute(UPSERT, row)
    for (address, calling_ae), moment in let_in.items():
        db.execute(SETTLE, {"address": address, "calling": _printable(calling_ae), "at": to_text(moment)})
    if counts:
        db.execute("DELETE FROM state_refusal WHERE last_at < ?", [to_text(at - KEPT_FOR)])
        db.execute(
            "DELETE FROM state_refusal WHERE rowid IN "
            "(SELECT rowid FROM state_refusal ORDER BY last_at DESC LIMIT -1 OFFSET ?)",
            [MAX_ROWS],
        )


def _printable(text: str) -> str:
    """An AE title as sent by a stranger, for a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def list_refusals(db: Database) -> list[dict[str, object]]:
    """All that is kept, the latest first; ``settled_at``: since then the same peer was let in, or the class taken."""
    found = [
        *db.query(
            "SELECT peer_address, calling_ae, called_ae, code, reason, times, first_at, last_at, settled_at "
            "FROM state_refusal ORDER BY last_at DESC, peer_address, calling_ae"
        ),
        *list_contexts(db),
    ]
    return sorted(found, key=lambda row: str(row["last_at"]), reverse=True)


def forget_refusals(db: Database) -> int:
    """Begin to count anew; returns how many rows there were."""
    with writing(db):
        gone = db.execute("DELETE FROM state_refusal RETURNING 1").fetchall()
        return len(gone) + len(db.execute("DELETE FROM state_refused_context RETURNING 1").fetchall())
