"""``vbq-node erase``: a person is taken out of everything, and a tombstone stays; also the legal hold against it."""

import itertools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import structlog
from sqlite_utils import Database

from node.clock import from_text, to_text
from node.errors import InputError, StoreError
from node.hl7.context import PatientNumber
from node.nightly.ledger import one_at_a_time
from node.operate.backup import alone
from node.operate.erased_rows import erase_rows, tombstone
from node.operate.generations import ABOUT, GENERATIONS, generation, names
from node.operate.named import given_away, still_named
from node.operate.person import Whole, find, items
from node.operate.words import seeking
from node.people.quarantine import FOLDER as QUARANTINE_FOLDER
from node.people.quarantine import mirror
from node.results.files import RESULTS_FOLDER, ResultFiles
from node.settings import Settings
from node.steps.link import link_persons
from node.steps.lock import deriving
from node.steps.senders import judge_senders
from node.steps.shared_pixels import hold_shared_pixels
from node.store.archive import Archive, files_alone
from node.store.database import DATABASE_NAME, REPORT_FOLDER, insert, writing
from node.store.derivation import again_since
from node.store.migrate import BACKUP_FOLDER, ROOM
from node.store.pending import person_key
from node.store.pseudonym import pseudonym, pseudonym_key
from node.store.public_id import public_id
from node.store.snapshot import SNAPSHOT_FOLDER, publish
from node.store.unguarded import erasing
from node.store.whole_file import write_whole

UNFINISHED = "erasing.json"
"""In the data folder while an erasure is at work, or when one has been killed."""
PATIENCE_S = 60.0
"""How long readers of the database are waited for, who keep the write-ahead log from being cut."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Erased:
    """What an erasure did, and what it could not."""

    counts: dict[str, int]
    still: tuple[str, ...]
    """What still names the person and is left to a person: messages without the number, imported tables."""
    elsewhere: tuple[str, ...]
    """What others may have of the person: results, images, exports. They have to be told."""
    backups: tuple[str, ...]
    """Backups that still hold the person."""
    log_cut: bool
    """Whether nothing is left in the write-ahead log; false: somebody has been reading the database for long."""


def erase(db: Database, settings: Settings, patient: str, *, by: str, why: str, now: datetime) -> Erased:
    """Take a person out of the node: files, messages, readings, results, flags, mails, and all that was derived.

    Killed at any instant, its rows are gone or all there; the next erasure, of the same person or another, then does
    what is left to do with files, snapshots and freed pages (:func:`unfinished`). No receiver takes in again what lies
    there until then.

    Parameters
    ----------
    patient
        A patient number, ``AUTHORITY|NUMBER``, or a study id (P…); or what an erasure has named because it is of others
        by its number, or of nobody: ``message ID``, ``object ID``, ``series UID``, ``imported table N``. That alone
        goes then.
    by, why
        Who erases, and the reason; neither may name the patient.

    Raises
    ------
    InputError
        Nothing is known of the patient, a legal hold is on it, or ``why`` or ``by`` names it.
    StoreError
        A backup or another erasure is at work, everything is being derived again, or the disk has no room.
    NightError
        A night takes too long.
    """
    data = settings.storage.folder
    archive = Archive(data)
    with alone(data), one_at_a_time(data), deriving(data, wait=True):
        if again_since(db) is not None:
            raise StoreError(
                "everything is being derived again, and who is who is not known before that is done; nothing was "
                "erased: try again when `vbq-node status` says no more of it"
            )
        before = _finish_killed(db, settings, now=now)
        try:
            whole = find(db, archive, settings, patient)
        except InputError:
            if before is not None and before.is_of(settings, patient):
                return before.done
            raise
        _require_free(db, whole, by=by, why=why)
        _require_room(data)
        elsewhere = tuple(given_away(db, settings, whole))
        with erasing(db):
            gone = erase_rows(db, settings, whole, now=now)
            # What is noted for the snapshots names whom it concerns: they are made whole.
            db.execute("DELETE FROM state_published")
            db.execute("DELETE FROM state_changed")
            key = pseudonym_key(db)
            persons = [pseudonym(key, "X", one) for one in (*map(_key, whole.numbers), *whole.items)]
            insert(db, "fact_erasure", [tombstone(persons, gone, why=why, by=by, at=now)])
            begun = _Begun(
                erased_at=to_text(now), numbers=whole.numbers, study_ids=(*whole.study_ids, *whole.items),
                words=whole.words, result_files=tuple(gone.result_files), counts=gone.counts, elsewhere=elsewhere,
            )  # fmt: skip
            begun.note(data)
        done = _finish(db, settings, begun, now=now)
    log.info("person erased", **{name.replace(" ", "_"): number for name, number in done.counts.items()})
    return done


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """An erasure whose rows are gone, or go with the commit to come: what its files are found by."""

    erased_at: str
    numbers: tuple[PatientNumber, ...]
    study_ids: tuple[str, ...]
    words: tuple[str, ...]
    result_files: tuple[str, ...]
    counts: dict[str, int]
    elsewhere: tuple[str, ...]

    def note(self, data: Path) -> None:
        """Keep it in the data folder until the erasure is done; not readable for others."""
        write_whole(data / UNFINISHED, json.dumps(asdict(self)).encode(), durable=True)


@dataclass(frozen=True, kw_only=True)
class _Finished:
    """What an earlier erasure, which was killed, has come to now."""

    numbers: tuple[PatientNumber, ...]
    study_ids: tuple[str, ...]
    done: Erased

    def is_of(self, settings: Settings, patient: str) -> bool:
        authority, _, number = patient.rpartition("|")
        return patient in self.study_ids or (settings.identity.authority(authority), number) in self.numbers


def unfinished(data: Path) -> str | None:
    """That an erasure has been killed, in a sentence; ``None``: none has, or one is at work."""
    begun = _begun(data)
    if begun is None:
        return None
    with files_alone(data) as mine:
        if not mine:
            return None
    return (
        f"an erasure that began at {begun.erased_at} was not finished: files and freed pages may still hold the "
        "person; the same `vbq-node erase` again ends it, and so does that of anybody else"
    )


def _begun(data: Path) -> _Begun | None:
    try:
        found: dict[str, Any] = json.loads((data / UNFINISHED).read_text(encoding="utf-8"))
        return _Begun(
            erased_at=found["erased_at"],
            numbers=tuple((authority, number) for authority, number in found["numbers"]),
            study_ids=tuple(found["study_ids"]),
            words=tuple(found["words"]),
            result_files=tuple(found["result_files"]),
            counts=found["counts"],
            elsewhere=tuple(found.get("elsewhere", ())),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _finish_killed(db: Database, settings: Settings, *, now: datetime) -> _Finished | None:
    """End an erasure that was killed; one that was killed before its commit has changed nothing, and is forgotten."""
    data = settings.storage.folder
    for left in data.glob(f".{UNFINISHED}.*"):  # killed while it was written: the person's names are in it
        left.unlink()
    begun = _begun(data)
    if begun is None:
        return None
    if not db.execute("SELECT 1 FROM fact_erasure WHERE erased_at = ?", [begun.erased_at]).fetchone():
        (data / UNFINISHED).unlink()
        return None
    log.info("an erasure that was killed is ended")
    done = _finish(db, settings, begun, now=now)
    return _Finished(numbers=begun.numbers, study_ids=begun.study_ids, done=done)


def _finish(db: Database, settings: Settings, begun: _Begun, *, now: datetime) -> Erased:
    """What is done once the rows are gone; to be done as often as one likes."""
    data = settings.storage.folder
    archive = Archive(data)
    counts = dict(begun.counts)
    _erase_files(db, archive, data, begun, counts)
    while link_persons(db, settings) + judge_senders(db) + hold_shared_pixels(db):
        pass
    mirror(db, archive, data)
    held = list(_snapshots_held(db, data))
    cut = _overwrite(db)
    done = Erased(
        counts=counts,
        still=(*held, *still_named(db, archive, words=begun.words, study_ids=begun.study_ids)),
        elsewhere=begun.elsewhere,
        backups=tuple(_backups(db, settings, now)),
        log_cut=cut,
    )
    (data / UNFINISHED).unlink()
    return done


def erase_again(db: Database, settings: Settings, erasures: Sequence[Mapping[str, Any]]) -> None:
    """Erase those whom an earlier state of the node still holds, with the words and the day of then."""
    key = pseudonym_key(db)
    for one in erasures:
        wanted = set(one["persons"])
        numbers = db.execute("SELECT authority, patient_id FROM derived_identifier").fetchall()
        known = itertools.chain(map(_key, numbers), items(db))
        there = next((named for named in known if pseudonym(key, "X", named) in wanted), None)
        if there is not None:
            erase(db, settings, there, by=one["erased_by"], why=one["why"], now=from_text(one["erased_at"]))


def _key(number: PatientNumber) -> str:
    return person_key(*number)


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
    for authority, patient_id in whole.owners:
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


def _erase_files(db: Database, archive: Archive, data: Path, begun: _Begun, counts: dict[str, int]) -> None:
    """Files of what has no row any more, also those that an erasure that was killed has left."""
    tombstones = [sha256 for (text,) in db.execute("SELECT hashes FROM fact_erasure") for sha256 in json.loads(text)]
    kept = {sha256 for (sha256,) in db.execute("SELECT sha256 FROM fact_object")}
    for sha256 in {*tombstones} - kept:
        archive.path(sha256).unlink(missing_ok=True)
        archive.delete_aside(sha256)
        for path in (data / QUARANTINE_FOLDER).glob(f"{public_id(sha256)}*"):
            path.unlink()
    results = {sha256 for (sha256,) in db.execute("SELECT sha256 FROM record_result")}
    for sha256 in {*begun.result_files} - results:
        ResultFiles(data).path(sha256).unlink(missing_ok=True)
    pattern = seeking((*begun.study_ids, *begun.words))
    for path in _files(data / REPORT_FOLDER, data / RESULTS_FOLDER, data / QUARANTINE_FOLDER):
        if pattern is not None and pattern.search(path.read_bytes()):
            path.unlink()
            counts["files"] = counts.get("files", 0) + 1
    # Copies of the database from before its last migrations: they hold everything.
    for path in (data / BACKUP_FOLDER).glob("*node-schema-*.db*"):
        path.unlink()
        counts["copies of the database"] = counts.get("copies of the database", 0) + 1
    for left in (data / SNAPSHOT_FOLDER).glob(".*.new"):
        left.unlink()


def _files(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def _snapshots_held(db: Database, data: Path) -> Iterator[str]:
    """Renew the snapshots; what keeps them as they were until the steps can renew them."""
    if not (data / SNAPSHOT_FOLDER).is_dir():
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


def _backups(db: Database, settings: Settings, now: datetime) -> Iterator[str]:
    """All that were made before, wherever: which of them hold the person cannot be seen in an encrypted one."""
    rows = db.execute("SELECT DISTINCT folder FROM state_backup WHERE status = 'done'").fetchall()
    known = {Path(folder) for (folder,) in rows}
    for folder in sorted(known | ({settings.backup.folder.resolve()} if settings.backup.folder else set())):
        if not (folder / ABOUT).is_file():
            if folder in known:
                yield f"in {folder}, which is not there now"
            continue
        for name in names(folder):
            try:
                made_at = generation(folder, name).manifest.made_at
            except StoreError:  # damaged, and a person can be in it all the same
                made_at = ""
            if made_at <= to_text(now):
                yield str(folder / GENERATIONS / name)
