"""``vbq-node erase``: a person is taken out of everything, and a tombstone stays; also the legal hold against it."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import structlog
from sqlite_utils import Database

from node.clock import from_text, to_text
from node.errors import InputError, StoreError
from node.nightly.ledger import one_at_a_time
from node.operate.backup import alone
from node.operate.erased_rows import Gone, erase_rows, tombstone
from node.operate.generations import generation, names
from node.operate.person import Whole, find
from node.people.quarantine import FOLDER as QUARANTINE_FOLDER
from node.people.quarantine import mirror
from node.results.files import RESULTS_FOLDER, ResultFiles
from node.settings import Settings
from node.steps.link import link_persons
from node.steps.lock import deriving
from node.steps.senders import judge_senders
from node.steps.shared_pixels import hold_shared_pixels
from node.store.archive import Archive
from node.store.database import DATABASE_NAME, REPORT_FOLDER, insert, writing
from node.store.derivation import again_since
from node.store.migrate import BACKUP_FOLDER, ROOM
from node.store.pending import person_key
from node.store.pseudonym import pseudonym, pseudonym_key
from node.store.public_id import public_id
from node.store.snapshot import SNAPSHOT_FOLDER, publish
from node.store.unguarded import erasing

PATIENCE_S = 60.0
"""How long readers of the database are waited for, who keep the write-ahead log from being cut."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Erased:
    """What an erasure did, and what it could not."""

    counts: dict[str, int]
    still: tuple[str, ...]
    """What still names the person and is left to a person: messages without the number, imported tables."""
    backups: tuple[str, ...]
    """Backups that still hold the person."""
    log_cut: bool
    """Whether nothing is left in the write-ahead log; false: somebody has been reading the database for long."""


def erase(db: Database, settings: Settings, patient: str, *, by: str, why: str, now: datetime) -> Erased:
    """Take a person out of the node: files, messages, readings, results, flags, mails, and all that was derived.

    Killed at any instant, it is done or not; files that were left over are deleted by the next erasure, and no receiver
    takes them in again.

    Parameters
    ----------
    patient
        A patient number, ``AUTHORITY|NUMBER``, or a study id (P…).
    by, why
        Who erases, and the reason; neither may name the patient.

    Raises
    ------
    InputError
        Nothing is known of the patient, a legal hold is on it, or ``why`` or ``by`` names it.
    StoreError
        A backup or another erasure is at work, or the disk has no room.
    NightError
        A night takes too long.
    """
    data = settings.storage.folder
    archive = Archive(data)
    with alone(data), one_at_a_time(data), deriving(data, wait=True):
        whole = find(db, archive, settings, patient)
        _require_free(db, whole, by=by, why=why)
        _require_room(data)
        with erasing(db):
            gone = erase_rows(db, settings, whole, now=now)
            # What is noted for the snapshots names whom it concerns: they are made whole.
            db.execute("DELETE FROM state_published")
            db.execute("DELETE FROM state_changed")
            key = pseudonym_key(db)
            persons = [pseudonym(key, "X", person_key(*number)) for number in whole.numbers]
            insert(db, "fact_erasure", [tombstone(persons, gone, why=why, by=by, at=now)])
        _erase_files(db, archive, data, whole, gone)
        while link_persons(db, settings) + judge_senders(db) + hold_shared_pixels(db):
            pass
        mirror(db, archive, data)
        held = list(_snapshots_held(db, data))
        cut = _overwrite(db)
    log.info("person erased", **{name.replace(" ", "_"): number for name, number in gone.counts.items()})
    return Erased(
        counts=gone.counts,
        still=(*held, *_still_named(db, whole)),
        backups=tuple(_backups(settings, now)),
        log_cut=cut,
    )


def erase_again(db: Database, settings: Settings, erasures: Sequence[Mapping[str, Any]]) -> None:
    """Erase those whom an earlier state of the node still holds, with the words and the day of then."""
    key = pseudonym_key(db)
    for one in erasures:
        wanted = set(one["persons"])
        numbers = db.execute("SELECT authority, patient_id FROM derived_identifier").fetchall()
        there = next((number for number in numbers if pseudonym(key, "X", person_key(*number)) in wanted), None)
        if there is not None:
            erase(
                db, settings, person_key(*there), by=one["erased_by"], why=one["why"], now=from_text(one["erased_at"])
            )


def hold(
    db: Database, settings: Settings, patient: str, *, by: str, why: str, release: bool, now: datetime
) -> list[str]:
    """Forbid that a patient is erased, or allow it again; returns the numbers it holds for.

    Raises
    ------
    InputError
        Nothing is known of the patient.
    """
    whole = find(db, Archive(settings.storage.folder), settings, patient)
    with writing(db):
        for authority, patient_id in whole.numbers:
            row = {"authority": authority, "patient_id": patient_id, "decision": "released" if release else "held"}
            insert(db, "fact_hold", [{**row, "why": why, "decided_at": to_text(now), "decided_by": by}])
    return [person_key(*number) for number in whole.numbers]


def _require_free(db: Database, whole: Whole, *, by: str, why: str) -> None:
    for authority, patient_id in whole.numbers:
        row = db.execute(
            "SELECT decision, decided_by FROM fact_hold WHERE authority = ? AND patient_id = ? "
            "ORDER BY hold_id DESC LIMIT 1",
            [authority, patient_id],
        ).fetchone()
        if row and row[0] == "held":
            raise InputError(f"{row[1]} has put a legal hold on this patient; `vbq-node hold --release` lifts it")
    if any(word in text for word in whole.words for text in (by, why)):
        raise InputError("--by and --why stay for ever; do not name the patient in them")


def _require_room(data: Path) -> None:
    """To make the database anew takes its size twice: in a temporary file and in the log."""
    needed, free = ROOM * (data / DATABASE_NAME).stat().st_size, shutil.disk_usage(data).free
    if free < needed:
        raise StoreError(f"to erase takes {needed / 1e6:.0f} MB in {data}, {free / 1e6:.0f} are free; nothing was done")


def _erase_files(db: Database, archive: Archive, data: Path, whole: Whole, gone: Gone) -> None:
    """Files of what has no row any more, also those that an erasure that was killed has left."""
    tombstones = [sha256 for (text,) in db.execute("SELECT hashes FROM fact_erasure") for sha256 in json.loads(text)]
    kept = {sha256 for (sha256,) in db.execute("SELECT sha256 FROM fact_object")}
    for sha256 in {*tombstones} - kept:
        archive.path(sha256).unlink(missing_ok=True)
        archive.delete_aside(sha256)
        for path in (data / QUARANTINE_FOLDER).glob(f"{public_id(sha256)}*"):
            path.unlink()
    results = {sha256 for (sha256,) in db.execute("SELECT sha256 FROM record_result")}
    for sha256 in {*gone.result_files} - results:
        ResultFiles(data).path(sha256).unlink(missing_ok=True)
    words = [word.encode() for word in (*whole.study_ids, *whole.words)]
    for path in _files(data / REPORT_FOLDER, data / RESULTS_FOLDER, data / QUARANTINE_FOLDER):
        if any(word in path.read_bytes() for word in words):
            path.unlink()
            gone.add("files", 1)
    # Copies of the database from before its last migrations: they hold everything.
    for path in (data / BACKUP_FOLDER).glob("node-schema-*.db"):
        path.unlink()
        gone.add("copies of the database", 1)
    for left in (data / SNAPSHOT_FOLDER).glob(".*.new"):
        left.unlink()


def _files(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def _snapshots_held(db: Database, data: Path) -> Iterator[str]:
    """Renew the snapshots; what keeps them as they were until the steps can renew them."""
    if not (data / SNAPSHOT_FOLDER).is_dir():
        return
    if again_since(db) is not None:
        yield "the snapshots, until everything is derived again"
        return
    try:
        publish(db, data)
    except StoreError as error:
        yield f"the snapshots, for {error}"


def _overwrite(db: Database) -> bool:
    """Make the database file anew, without the pages that were freed, and cut the write-ahead log."""
    db.execute("VACUUM")
    deadline = monotonic() + PATIENCE_S
    while True:
        busy, *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy or monotonic() > deadline:
            return not busy
        sleep(0.2)


def _still_named(db: Database, whole: Whole) -> Iterator[str]:
    """What is not of the person by its number, and names it all the same: a person has to look."""
    words = [word for word in whole.words if len(word) > 4]
    for sha256, raw in db.execute("SELECT sha256, raw FROM fact_frame"):
        if _in(bytes(raw), words):
            yield f"message {public_id(sha256)}"
    ids = [*words, *whole.study_ids]
    for import_id, content in db.execute("SELECT import_id, content FROM fact_import"):
        if _in(bytes(content), ids):
            yield f"imported table {import_id}"


def _in(content: bytes, words: Iterable[str]) -> bool:
    return any(word.encode() in content for word in words)


def _backups(settings: Settings, now: datetime) -> Iterator[str]:
    """All that were made before: which of them hold the person cannot be seen in an encrypted one."""
    folder = settings.backup.folder
    if folder is None or not folder.is_dir():
        return
    for name in names(folder):
        if generation(folder, name).manifest.made_at <= to_text(now):
            yield str(generation(folder, name).folder)
