"""Group commit: one thread writes the frames of all connections, as many in one transaction as are waiting."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.clock import now, to_text
from node.errors import StoreError
from node.store.database import open_database, writing

WRITE_PATIENCE_MS = 5_000
"""How long a frame waits for another writer before its sender is told to send it again (AE)."""
MAX_GROUP_BYTES = 32 * 1024 * 1024
"""The frames of one transaction together; more wait for the next."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A frame to be stored; ``done`` gets ``None`` once it is durable, or why it is not."""

    raw: bytes
    sha256: str
    peer_address: str
    ack: str
    done: Future[str | None]


class FrameWriter:
    """Stores frames durably. Every frame handed in gets its answer, also at the end and when storage fails."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._arrivals: queue.SimpleQueue[Arrival | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="hl7-writer")

    @property
    def failed(self) -> bool:
        """Whether the writing thread has ended by itself: nothing can be stored any more."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def start(self) -> None:
        """Start the writing thread."""
        self._thread.start()

    def store(self, *, raw: bytes, sha256: str, peer_address: str, ack: str) -> Future[str | None]:
        """Hand a frame in. The future is done when the frame is committed with an fsync, or has failed to be."""
        done: Future[str | None] = Future()
        if not self._thread.is_alive():
            done.set_result("the message could not be stored")
            return done
        self._arrivals.put(Arrival(raw=raw, sha256=sha256, peer_address=peer_address, ack=ack, done=done))
        return done

    def close(self) -> None:
        """Store what was handed in, then stop."""
        self._arrivals.put(None)
        self._thread.join()

    def _run(self) -> None:
        db: Database | None = None
        open_for_more = True
        while open_for_more:
            group, open_for_more = self._next_group()
            if not group:
                continue
            failure: str | None = None
            try:
                db = db or self._open()
                _write(db, group)
            except (StoreError, sqlite3.Error, OSError) as error:
                # The next group starts with a fresh connection: after a full disk an old one may be unusable.
                failure = "the message could not be stored"
                log.error("frames not stored", frames=len(group), error=f"{type(error).__name__}: {error}")
                _close(db)
                db = None
            for arrival in group:
                if arrival.done.running():
                    arrival.done.set_result(failure)
        _close(db)

    def _next_group(self) -> tuple[list[Arrival], bool]:
        """Everything that waits now; whether more may come."""
        group: list[Arrival] = []
        size = 0
        take: Callable[[], Arrival | None] = self._arrivals.get
        while size < MAX_GROUP_BYTES:
            try:
                arrival = take()
            except queue.Empty:
                break
            if arrival is None:
                return group, False
            # From here on nobody can cancel it; one whose sender has gone is stored all the same.
            arrival.done.set_running_or_notify_cancel()
            group.append(arrival)
            size += len(arrival.raw)
            take = self._arrivals.get_nowait
        return group, True

    def _open(self) -> Database:
        db = open_database(self._folder)
        db.execute(f"PRAGMA busy_timeout = {WRITE_PATIENCE_MS}")
        return db


def _write(db: Database, group: list[Arrival]) -> None:
    received_at = to_text(now())
    with writing(db):
        for arrival in group:
            db.execute("INSERT OR IGNORE INTO fact_frame (sha256, raw) VALUES (?, ?)", [arrival.sha256, arrival.raw])
            db.execute(
                "INSERT INTO fact_frame_receipt (frame_id, received_at, peer_address, ack) "
                "SELECT frame_id, ?, ?, ? FROM fact_frame WHERE sha256 = ?",
                [received_at, arrival.peer_address, arrival.ack, arrival.sha256],
            )


def _close(db: Database | None) -> None:
    if db is None:
        return
    try:
        db.close()
    except sqlite3.Error as error:
        log.warning("connection not closed", error=str(error))
