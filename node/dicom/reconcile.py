"""The archive and its records brought together when the receiver starts, beside its work.

A receiver that was killed between the renaming of a file and the commit of its row leaves a file without a record: it
is taken in (its sender got no answer and will send it again, which then is the same bytes again). A record without its
file, or with one of another size, needs a person.
"""

import os
import threading
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.clock import now
from node.dicom.part10 import read_identity
from node.dicom.recorder import Receipt, insert_receipt
from node.errors import DicomReadError, StoreError
from node.store.archive import Archive, StoredObject, digest_of
from node.store.database import insert, open_database, writing
from node.store.problems import forget_problems
from node.store.removed import removed_images

UNKNOWN_SENDER = ""
"""Stands in the receipt of a file that was taken in: who sent it died with the receiver."""

RETRY_S = 60.0
"""Pause between two attempts, where the archive or the database could not be used."""

log = structlog.get_logger()


def finish_interrupted(folder: Path, archive: Archive) -> int:
    """Put files under their name that a power failure has left in ``incoming/`` although they are recorded.

    Before :meth:`Archive.prepare`, which removes what else is there. Returns how many; errors as of :func:`reconcile`.
    """
    leftovers = archive.leftovers()
    if not leftovers:
        return 0
    db = open_database(folder, create=True)
    try:
        named = [(path, _name_of(path)) for path in leftovers]
        recorded = [(path, sha256) for path, sha256 in named if sha256 and _is_recorded(db, sha256)]
    finally:
        db.close()
    lost = [(path, sha256) for path, sha256 in recorded if not archive.path(sha256).exists()]
    for path, sha256 in lost:
        archive.adopt(path, sha256)
    if lost:
        log.warning("files put under their name", files=len(lost))
    return len(lost)


def _name_of(path: Path) -> str | None:
    """What a file should be called by its content; ``None`` when it is not complete enough to say."""
    try:
        identity = read_identity(path)
    except DicomReadError:
        return None
    return digest_of(path, identity.transfer_syntax_uid, offset=identity.dataset_offset)


def _is_recorded(db: Database, sha256: str) -> bool:
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM fact_object WHERE sha256 = ?)", [sha256]).fetchone()[0])


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    """What was found: files taken in, and objects with a problem (missing, damaged or foreign)."""

    taken_in: int
    problems: int


def reconcile(
    folder: Path, archive: Archive, *, run_began_ns: int | None = None, stop: threading.Event | None = None
) -> Reconciled:
    """Take in files without a record and note what is missing or damaged.

    Parameters
    ----------
    run_began_ns
        As of :meth:`Archive.begin_run` where a receiver is at work meanwhile: a file without a record that is younger
        is on its way, and not looked at. Without it nobody may receive.
    stop
        Set from another thread: it ends after the folder that it is at.

    Raises
    ------
    OSError
        The archive cannot be read.
    sqlite3.Error, StoreError
        The database cannot be used.
    """
    db = open_database(folder, create=True)
    try:
        (newest,) = db.execute("SELECT coalesce(max(object_id), 0) FROM fact_object").fetchone()
        found = []
        for shelf in archive.shelves():
            if stop is not None and stop.is_set():
                break
            found.append(_reconcile_shelf(db, archive, shelf, newest, run_began_ns))
    finally:
        db.close()
    total = Reconciled(taken_in=sum(one.taken_in for one in found), problems=sum(one.problems for one in found))
    if total.taken_in or total.problems:
        log.warning("archive reconciled", taken_in=total.taken_in, problems=total.problems)
    return total


@contextmanager
def reconciling(folder: Path, archive: Archive, *, run_began_ns: int) -> Iterator[None]:
    """Reconcile in a thread beside the receiver, which a large archive must not hold up; tried until it is done."""
    stop = threading.Event()
    thread = threading.Thread(target=_until_done, args=[folder, archive, run_began_ns, stop], name="reconcile")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _until_done(folder: Path, archive: Archive, run_began_ns: int, stop: threading.Event) -> None:
    while True:
        try:
            reconcile(folder, archive, run_began_ns=run_began_ns, stop=stop)
        except (OSError, sqlite3.Error, StoreError) as error:
            log.error("archive not reconciled for now", error=str(error))
            if stop.wait(RETRY_S):
                return
        else:
            return


def _reconcile_shelf(db: Database, archive: Archive, shelf: str, newest: int, run_began_ns: int | None) -> Reconciled:
    """One folder of the archive at a time, so that memory does not grow with the archive."""
    # A record is younger than its file: those of before have theirs, and of the files seen then the later records tell.
    before = _recorded(db, shelf, newest)
    files = archive.files(shelf)
    recorded = _recorded(db, shelf, None)
    problems = dict.fromkeys(before.keys() - files.keys() - removed_images(db, shelf=shelf), "missing")
    receipts = []
    erased = _erased(db, files.keys() - recorded.keys())
    for sha256, state in sorted(files.items()):
        if sha256 in erased:
            # What an erasure left when it was killed.
            archive.path(sha256).unlink(missing_ok=True)
            continue
        if recorded.get(sha256) == state.st_size or _is_arriving(state, sha256 in recorded, run_began_ns):
            continue
        receipt = _receipt(archive, sha256, state.st_size)
        if receipt is None:
            problems[sha256] = "damaged" if sha256 in recorded else "foreign"
        elif sha256 not in recorded:
            receipts.append(receipt)
    noted = db.execute("SELECT count(*) FROM state_archive WHERE substr(sha256, 1, 2) = ?", [shelf]).fetchone()[0]
    if receipts or problems or noted:
        _store(db, shelf, receipts, problems)
    return Reconciled(taken_in=len(receipts), problems=len(problems))


def _erased(db: Database, found: Set[str]) -> set[str]:
    """Those of the files without a record that were erased with their person."""
    if not found:
        return set()
    rows = db.execute("SELECT hash.value FROM fact_erasure, json_each(hashes) AS hash")
    return {sha256 for (sha256,) in rows} & found


def _is_arriving(state: os.stat_result, is_recorded: bool, run_began_ns: int | None) -> bool:
    """Whether a file may have been put there by the receiver that is at work; one of the future was not."""
    if is_recorded or run_began_ns is None:
        return False
    return run_began_ns <= state.st_ctime_ns <= time.time_ns()


def _recorded(db: Database, shelf: str, newest: int | None) -> dict[str, int]:
    """SHA-256 and size of the objects of a folder that are recorded, up to a number."""
    return dict(
        db.execute(
            "SELECT sha256, size_bytes FROM fact_object "
            "WHERE sha256 >= :from AND sha256 < :to AND (:newest IS NULL OR object_id <= :newest)",
            {"from": shelf, "to": shelf + "g", "newest": newest},
        ).fetchall()
    )


def _receipt(archive: Archive, sha256: str, size_bytes: int) -> Receipt | None:
    """For a file; ``None`` when it is not, byte for byte, what a receiver stored under this name."""
    try:
        identity = read_identity(archive.path(sha256))
    except DicomReadError:
        return None
    if archive.digest(sha256, identity.transfer_syntax_uid, offset=identity.dataset_offset) != sha256:
        return None
    return Receipt(
        stored=StoredObject(sha256=sha256, size_bytes=size_bytes),
        sop_class_uid=identity.sop_class_uid,
        sop_instance_uid=identity.sop_instance_uid,
        transfer_syntax_uid=identity.transfer_syntax_uid,
        received_at=now(),
        calling_ae=UNKNOWN_SENDER,
        peer_address=UNKNOWN_SENDER,
    )


def _store(db: Database, shelf: str, receipts: list[Receipt], problems: dict[str, str]) -> None:
    with writing(db):
        for receipt in receipts:
            # Its sender may have sent it again meanwhile.
            if not _is_recorded(db, receipt.stored.sha256):
                insert_receipt(db, receipt)
        before = db.execute(
            "DELETE FROM state_archive WHERE substr(sha256, 1, 2) = ? RETURNING sha256", [shelf]
        ).fetchall()
        insert(db, "state_archive", [{"sha256": sha256, "state": state} for sha256, state in sorted(problems.items())])
        # What was missing and is there again may not have been readable in the meantime: have it indexed anew.
        for (sha256,) in before:
            if sha256 not in problems:
                forget_problems(db, "index", "object", sha256)
