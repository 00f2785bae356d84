"""Who could not hand in messages, and why: counted in the database as the DICOM receiver counts its refusals.

What happens is gathered in memory and written once a second; the log has every single one.
"""

import threading
from pathlib import Path

import structlog
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.clock import now
from node.errors import StoreError
from node.store.database import open_database, writing
from node.store.refusals import Count, Refusal, add_counts, gather, settle, store_counts

PAUSE_S = 1.0
"""Pause between two times of writing."""

NOT_ALLOWED, TOO_MANY, NO_TLS, TOO_LONG, NOT_FRAMED, BROKEN_OFF = (
    "hl7-not-allowed", "hl7-too-many", "hl7-no-tls", "hl7-too-long", "hl7-not-framed", "hl7-broken-off",
)  # fmt: skip
"""Codes: not in ``hl7.allow``; no place left; no TLS where it is asked for; a message longer than is allowed; what
comes is not MLLP; a message whose end never came."""
SETTLED_BY_MESSAGE = (NOT_ALLOWED, NO_TLS, NOT_FRAMED, BROKEN_OFF)
"""Whoever hands in a message later has been helped; what was too long, or found no place, does not come by itself."""

log = structlog.get_logger()


class Refusals:
    """Counts refusals; noted in one thread, written in any, one after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counts: dict[Refusal, Count] = {}
        self._let_in: set[str] = set()
        self._open: set[str] = set()
        self._lock = threading.Lock()

    def load(self, db: Database) -> None:
        """Learn who has been refused before this start."""
        marks = ", ".join("?" * len(SETTLED_BY_MESSAGE))
        self._open |= {
            address
            for (address,) in db.execute(
                f"SELECT peer_address FROM state_refusal WHERE settled_at IS NULL AND code IN ({marks})",
                SETTLED_BY_MESSAGE,
            )
        }

    def note(self, address: str, code: str, reason: str) -> None:
        """Count a refusal; never waits for the database."""
        with self._lock:
            gather(self._counts, Refusal(address=address, code=code, reason=reason), now())
        if code in SETTLED_BY_MESSAGE:
            self._open.add(address)
            self._let_in.discard(address)

    def delivered(self, address: str) -> None:
        """A message came from there: what was refused before is settled."""
        if address in self._open:
            self._open.discard(address)
            self._let_in.add(address)

    @property
    def waiting(self) -> bool:
        """Whether anything is to be written."""
        return bool(self._counts or self._let_in)

    def write(self) -> None:
        """Write what was gathered; where the database cannot be written, it is gathered on."""
        with self._lock:
            counts, self._counts = self._counts, {}
            let_in, self._let_in = self._let_in, set()
        moment = now()
        try:
            db = open_database(self._folder, any_thread=True)
            try:
                with writing(db):
                    store_counts(db, counts, at=moment)
                    for address in let_in:
                        settle(db, SETTLED_BY_MESSAGE, address=address, calling_ae="", at=moment)
            finally:
                db.close()
        except (sqlite3.Error, StoreError, OSError) as error:
            log.error("refusals not counted for now", error=f"{type(error).__name__}: {error}")
            with self._lock:
                add_counts(counts, self._counts)
                self._counts = counts
                self._let_in |= let_in
