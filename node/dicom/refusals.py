"""Who was not let in and what was not taken: counted in the database, within bounds, and shown in ``problems``.

A scanner on the port, or a sender that tries again every second, must neither fill the database nor cost a commit each
time: what happened is gathered in memory and written once a second, one row for each peer and reason with how often.
Counts of the last second before a kill are lost; the log has every single one.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import structlog
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.clock import now, to_text
from node.dicom.recorder import Recorder
from node.errors import StoreError
from node.store.database import writing

PAUSE_S = 1.0
"""Between two times of writing."""
PAUSE_AFTER_FAILURE_S = 30.0
MAX_PENDING = 200
"""Rows gathered between two times of writing; what goes beyond is counted under :data:`OTHERS`."""
MAX_ROWS_OF_ADDRESS = 20
"""Of one address; what else it calls itself and asks for is counted together under :data:`OTHERS`."""
MAX_ROWS = 500
"""In all; the longest ago go first."""
KEPT_FOR = timedelta(days=30)
"""After the last time."""
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


class Refusals:
    """A context in which refusals are counted, from any thread."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._lock = threading.Lock()
        self._counts: dict[Refusal, _Count] = {}
        self._let_in: dict[tuple[str, str], datetime] = {}
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
            if refusal not in self._counts and len(self._counts) >= MAX_PENDING:
                refusal = Refusal(address=OTHERS, code=refusal.code, reason=refusal.reason)
            count = self._counts.setdefault(refusal, _Count(times=0, first_at=moment, last_at=moment))
            count.times += 1
            count.last_at = moment
        self._news.set()

    def let_in(self, *, address: str, calling_ae: str) -> None:
        """Whoever calls itself so and comes from there is served now: what it was refused for before is settled."""
        with self._lock:
            self._let_in[address, calling_ae] = now()
        self._news.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._news.wait()
            self._news.clear()
            self._stop.wait(PAUSE_S if self._write() else PAUSE_AFTER_FAILURE_S)
        self._write()

    def _write(self) -> bool:
        """Write what was gathered; false: the database could not be written, and it is gathered on."""
        with self._lock:
            counts, let_in = self._counts, self._let_in
            self._counts, self._let_in = {}, {}
        if not counts and not let_in:
            return True
        try:
            self._recorder.require_alive()
            self._recorder.write(lambda db: _store(db, counts, let_in, at=now()))
        except (sqlite3.Error, StoreError, TimeoutError) as error:
            log.error("refusals not counted for now", error=str(error))
            self._take_back(counts, let_in)
            return False
        return True

    def _take_back(self, counts: dict[Refusal, _Count], let_in: dict[tuple[str, str], datetime]) -> None:
        with self._lock:
            for refusal, later in self._counts.items():
                count = counts.setdefault(refusal, later)
                if count is not later:
                    count.times += later.times
                    count.last_at = later.last_at
            self._counts, self._let_in = counts, let_in | self._let_in
        self._news.set()


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
    """All that is kept, the latest first; ``settled_at``: since then the same peer was let in."""
    return list(
        db.query(
            "SELECT peer_address, calling_ae, called_ae, code, reason, times, first_at, last_at, settled_at "
            "FROM state_refusal ORDER BY last_at DESC, peer_address, calling_ae"
        )
    )


def forget_refusals(db: Database) -> int:
    """Begin to count anew; returns how many rows there were."""
    with writing(db):
        return len(db.execute("DELETE FROM state_refusal RETURNING 1").fetchall())
