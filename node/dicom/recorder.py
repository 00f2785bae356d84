"""Records what was received: one writer thread, one commit for everything that waits at that moment.

Associations run in threads of their own; each makes its file durable by itself and then waits here until the row is.
One connection serves them all, so that connecting costs nothing, and under load one fsync of the database covers
several images. The recorders of several processes take turns by a lock of their own: SQLite has a writer that waits for
another sleep and look again, for longer than the other takes.
"""

import fcntl
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.clock import to_text
from node.errors import StoreError
from node.store.archive import StoredObject
from node.store.database import BUSY_TIMEOUT_MS, leave_checkpoints, open_database, writing

LOCK_NAME = "recorder.lock"
MAX_GROUP = 64
"""Receipts in one commit at most."""

ANSWER_TIMEOUT_S = 2 * BUSY_TIMEOUT_MS / 1000
"""A receipt not committed by then is not acknowledged: its own wait for another writer, and one before it."""


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """A data set that is durable in the archive, and who sent it when."""

    stored: StoredObject
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    received_at: datetime
    calling_ae: str
    peer_address: str


Result = TypeVar("Result")


class _Waiting(Generic[Result]):
    """What inserts rows, and who waits for them to be committed."""

    def __init__(self, insert: Callable[[Database], Result]) -> None:
        self.insert = insert
        # Held until the commit begins: what of all that threads can wait for takes the least time.
        self.committing = threading.Lock()
        self.committing.acquire()
        self.done: Future[Result] = Future()


class Recorder:
    """A context in which receipts can be recorded, from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._queue: queue.SimpleQueue[_Waiting[Any] | None] = queue.SimpleQueue()
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="recorder")

    def __enter__(self) -> Self:
        """Open the database.

        Raises
        ------
        StoreError
            It cannot be used.
        """
        self._thread.start()
        try:
            self._opened.result()
        except StoreError:
            self._thread.join()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()

    def record(self, receipt: Receipt, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Return once the receipt is committed and survives power loss, and ``meanwhile`` has returned.

        Both wait for the disk, and begin at once: a file system that has a journal then writes it once for the two.
        Whatever ``meanwhile`` raises is raised here, and the receipt committed all the same.

        Raises
        ------
        sqlite3.Error, TimeoutError
            It is not known to be committed; it must not be acknowledged.
        """
        deadline = monotonic() + ANSWER_TIMEOUT_S
        waiting = self._put(lambda db: insert_receipt(db, receipt))
        waiting.committing.acquire(timeout=ANSWER_TIMEOUT_S)
        meanwhile()
        waiting.done.result(timeout=max(0.0, deadline - monotonic()))

    def write(self, insert: Callable[[Database], Result]) -> Result:
        """Return what a function that inserts rows returns, once they are committed and survive power loss.

        Raises
        ------
        sqlite3.Error, TimeoutError
            They are not known to be committed.
        """
        return self._put(insert).done.result(timeout=ANSWER_TIMEOUT_S)

    def _put(self, insert: Callable[[Database], Result]) -> _Waiting[Result]:
        waiting = _Waiting(insert)
        self._queue.put(waiting)
        return waiting

    def require_alive(self) -> None:
        """Raise when nothing can be recorded any more, so that the receiver ends instead of failing every image.

        Raises
        ------
        StoreError
            The thread that records has ended.
        """
        if not self._thread.is_alive():
            raise StoreError("the recorder of received images has ended; its error is in the log")

    def _run(self) -> None:
        try:
            db = open_database(self._folder, create=True)
            leave_checkpoints(db)
            turn = (self._folder / LOCK_NAME).open("a")
        except StoreError as error:
            self._opened.set_exception(error)
            return
        except OSError as error:
            self._opened.set_exception(StoreError(f"cannot write in {self._folder}: {error.strerror or error}"))
            return
        self._opened.set_result(None)
        with turn, closing(db):
            while (first := self._queue.get()) is not None:
                fcntl.flock(turn, fcntl.LOCK_EX)
                # What came while it waited for its turn goes into the same commit.
                self._commit(db, self._gather(first))
                fcntl.flock(turn, fcntl.LOCK_UN)

    def _gather(self, first: _Waiting[Any]) -> list[_Waiting[Any]]:
        group = [first]
        while len(group) < MAX_GROUP:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:
                self._queue.put(None)
                break
            group.append(item)
        return group

    def _commit(self, db: Database, group: list[_Waiting[Any]]) -> None:
        try:
            with writing(db):
                results = [waiting.insert(db) for waiting in group]
                for waiting in group:
                    waiting.committing.release()
        except sqlite3.Error as error:
            # A commit that failed (a full disk) may leave its transaction open; the next one must be able to begin.
            if db.conn.in_transaction:
                db.conn.execute("ROLLBACK")
            for waiting in group:
                if waiting.committing.locked():
                    waiting.committing.release()
                waiting.done.set_exception(error)
        else:
            for waiting, result in zip(group, results, strict=True):
                waiting.done.set_result(result)


def insert_receipt(db: Database, receipt: Receipt) -> None:
    """The rows of a receipt, within a unit of work of the caller; known content gets a further receipt only."""
    db.execute(
        "INSERT OR IGNORE INTO fact_object "
        "(sha256, size_bytes, sop_class_uid, sop_instance_uid, transfer_syntax_uid) VALUES (?, ?, ?, ?, ?)",
        [
            receipt.stored.sha256,
            receipt.stored.size_bytes,
            receipt.sop_class_uid,
            receipt.sop_instance_uid,
            receipt.transfer_syntax_uid,
        ],
    )
    db.execute(
        "INSERT INTO fact_object_receipt (object_id, received_at, calling_ae, peer_address) "
        "SELECT object_id, ?, ?, ? FROM fact_object WHERE sha256 = ?",
        [to_text(receipt.received_at), receipt.calling_ae, receipt.peer_address, receipt.stored.sha256],
    )
