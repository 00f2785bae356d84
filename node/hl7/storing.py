"""Group commit: the frames of all connections that are waiting are written in one transaction, with one fsync."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.clock import now, to_text
from node.errors import StoreError
from node.store.database import leave_checkpoints, open_database, writing

PROMPT_MS = 20
"""How long the first attempt waits for another writer: less than anybody notices."""
WRITE_PATIENCE_MS = 5_000
"""How long the second one waits before the senders are told to send again (AE)."""
NOT_STORED = "the message could not be stored"

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A frame to be stored."""

    raw: bytes
    sha256: str
    peer_address: str
    ack: str


class FrameStore:
    """Stores frames durably. Threads may share it, one after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._db: Database | None = None
        self._patience_ms = 0

    def store_promptly(self, arrivals: Sequence[Arrival]) -> bool:
        """Store frames, unless another writer is in the way for longer than :data:`PROMPT_MS`.

        Returns whether they are committed with an fsync. If not, :meth:`store` says why.
        """
        try:
            self._write(arrivals, PROMPT_MS)
        except (StoreError, sqlite3.Error, OSError):
            self.close()
            return False
        return True

    def store(self, arrivals: Sequence[Arrival]) -> str | None:
        """Store frames; ``None`` when they are committed with an fsync, else why none of them is."""
        try:
            self._write(arrivals, WRITE_PATIENCE_MS)
        except (StoreError, sqlite3.Error, OSError) as error:
            # The next frames start with a fresh connection: after a full disk an old one may be unusable.
            log.error("frames not stored", frames=len(arrivals), error=f"{type(error).__name__}: {error}")
            self.close()
            return NOT_STORED
        return None

    def close(self) -> None:
        """Close the connection to the database; the next frame opens it again."""
        db, self._db = self._db, None
        if db is None:
            return
        try:
            db.close()
        except sqlite3.Error as error:
            log.warning("connection not closed", error=str(error))

    def _write(self, arrivals: Sequence[Arrival], patience_ms: int) -> None:
        if self._db is None:
            self._db = open_database(self._folder, any_thread=True)
            leave_checkpoints(self._db)
            self._patience_ms = 0
        if patience_ms != self._patience_ms:
            self._db.conn.execute(f"PRAGMA busy_timeout = {patience_ms}")
            self._patience_ms = patience_ms
        _write(self._db, arrivals)


def _write(db: Database, arrivals: Sequence[Arrival]) -> None:
    received_at = to_text(now())
    with writing(db):
        for arrival in arrivals:
            db.conn.execute(
                "INSERT OR IGNORE INTO fact_frame (sha256, raw) VALUES (?, ?)", [arrival.sha256, arrival.raw]
            )
            db.conn.execute(
                "INSERT INTO fact_frame_receipt (frame_id, received_at, peer_address, ack) "
                "SELECT frame_id, ?, ?, ? FROM fact_frame WHERE sha256 = ?",
                [received_at, arrival.peer_address, arrival.ack, arrival.sha256],
            )
