"""``vbq-node backup``: everything that cannot be derived again, copied while the node writes.

The database comes first, as of one moment (SQLite's backup), then the files that it names: whatever it names was in the
archive before. An object that is stored already is not read again, and what the list of the last backup says of a
thousand objects that are still the same is taken over as it stands. Of an object whose file is not what was received
nothing is stored, and it is named.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from analytics.reasons import Reason
from node import __version__
from node.clock import now, to_text
from node.errors import NodeError, StoreError
from node.operate.generations import (
    ABOUT,
    FILES,
    LIST,
    PARTS,
    Generation,
    Manifest,
    begun_folder,
    generation,
    name_after,
    names,
    prepare,
    prune,
    publish,
)
from node.operate.parts import OBJECTS, Entry, Part, index_of, key_of, part_of
from node.operate.sealing import SEALED, put, recipient
from node.people.quarantine import FOLDER as QUARANTINE_FOLDER
from node.results.files import RESULTS_FOLDER
from node.settings import Backup, Settings
from node.store.archive import ARCHIVE_FOLDER, GROUP_END, Archive, files_alone
from node.store.audit import newest_seal
from node.store.database import DATABASE_NAME, REPORT_FOLDER, insert, writing
from node.store.presence import FOLDER as RUN_FOLDER
from node.store.private import make_file, make_folder
from node.store.pseudonym import pseudonym, pseudonym_key
from node.store.reasons import stored
from node.store.removed import removed_images
from node.store.schema import newest
from node.store.whole_file import syncing

COPY_NAME = ".backup.db"
"""The copy of the database in ``run/`` of the data folder, for as long as it takes to store it."""
BESIDE = (REPORT_FOLDER, QUARANTINE_FOLDER, RESULTS_FOLDER)
"""Folders with files that people were shown or work on."""
TURNS = 8
"""That the file of an object is stored is seen by each backup, its size by one of so many."""
REMEMBERED = 400
"""Backups that are remembered in the database."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class BackedUp:
    """What a backup did."""

    generation: Generation
    new_files: int
    """Stored now; the others were there from an earlier backup."""
    pruned: tuple[str, ...]
    not_pruned: str
    """Why those beyond ``backup.keep`` could not be deleted; empty where they could."""


def back_up(
    db: Database,
    settings: Settings,
    folder: Path,
    *,
    anew: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> BackedUp:
    """Back up everything to a folder, and note in the database how it went.

    Parameters
    ----------
    folder
        Of the backups; each call adds a generation.
    anew
        That the folder is empty although backups were made there is so on purpose: another disk, say.
    progress
        Called with how many files are done, of how many.

    Raises
    ------
    StoreError
        Another backup is at work, the database is damaged, the folder is not this node's, or the backups that were made
        there are gone.
    OSError
        A disk is full or fails; nothing half done is left under a name.
    """
    data, folder = settings.storage.folder, folder.resolve()
    with alone(data):
        begun = now()
        backup_id = _note_begin(db, folder, begun)
        try:
            if folder.is_relative_to(data.resolve()):
                raise StoreError(f"{folder} lies in the data folder and is lost with it; name one on another disk")
            if not anew and not (folder / ABOUT).is_file() and _was_used(db, folder):
                raise StoreError(
                    f"the backups that were made in {folder} are not there: is its disk mounted? Where they are gone "
                    "on purpose, begin with `vbq-node backup make --anew`"
                )
            turn = backup_id % TURNS
            done = _back_up(db, settings.backup, data, folder, begun, turn, progress)
        except (NodeError, OSError, sqlite3.Error) as error:
            failed = Reason("backup-failed", {"folder": str(folder), "error": _in_words(error)})
            _note_end(db, backup_id, None, [failed])
            raise
        lacking = len(done.generation.manifest.lacking)
        reasons = [Reason("backup-lacks", {"objects": lacking})] if lacking else []
        if done.not_pruned:
            reasons.append(Reason("backups-stay", {"folder": str(folder), "error": done.not_pruned}))
        _note_end(db, backup_id, done, reasons)
        log.info("backed up", files=done.generation.manifest.files, new=done.new_files, lacking=lacking)
        return done


def _in_words(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _was_used(db: Database, folder: Path) -> bool:
    return bool(
        db.execute("SELECT 1 FROM state_backup WHERE folder = ? AND status = 'done' LIMIT 1", [str(folder)]).fetchone()
    )


@contextmanager
def alone(data: Path) -> Iterator[None]:
    """Hold the lock of those who copy or erase files; left-overs of one that was killed are gone.

    Raises
    ------
    StoreError
        Another one is at work.
    """
    with files_alone(data) as mine:
        if not mine:
            raise StoreError(f"a backup, an erasure or retention of {data} is at work; try again when it is done")
        (data / RUN_FOLDER / COPY_NAME).unlink(missing_ok=True)
        yield


def _back_up(
    db: Database,
    choice: Backup,
    data: Path,
    folder: Path,
    begun: datetime,
    turn: int,
    progress: Callable[[int, int], None] | None,
) -> BackedUp:
    sealed_for = recipient(choice.encrypt_to) if choice.encrypt_to else None
    prepare(folder, node=pseudonym(pseudonym_key(db), "N", "backup"), sealed_for=choice.encrypt_to)
    name = name_after(names(folder), begun)
    place = begun_folder(folder, name)
    make_folder(place)
    with ExitStack() as ends:
        ends.callback(shutil.rmtree, place, ignore_errors=True)
        sync = ends.enter_context(syncing(folder))
        with _copied(db, data) as copy:
            database = place / (DATABASE_NAME + (SEALED if sealed_for else ""))
            of_database = put(copy, database, sealed_for=sealed_for, link=True)
            with closing(sqlite3.connect(copy)) as connection:
                removed = removed_images(Database(connection))
                rows = connection.execute(
                    "SELECT object_id, sha256, transfer_syntax_uid FROM fact_object ORDER BY object_id"
                )
                wanted = [_Wanted(*row) for row in rows if row[1] not in removed]
                audit_rows, audit_sha256 = newest_seal(Database(connection))
                erasures = erasures_of(Database(connection))
        storing = _Storing(data=data, folder=folder, sealed_for=sealed_for, before=_before(folder), turn=turn)
        parts = [*storing.objects(wanted, progress), part_of("", storing.beside())]
        content = b"".join(part.content for part in parts)
        (place / LIST).write_bytes(content)
        (place / PARTS).write_text(index_of(parts), encoding="utf-8")
        made = publish(
            folder,
            name,
            Manifest(
                made_at=to_text(begun),
                version=__version__,
                schema=newest(),
                database=database.name,
                database_bytes=of_database.size_bytes,
                database_sha256=of_database.sha256,
                files=sum(part.files for part in parts),
                bytes=sum(part.source_bytes for part in parts),
                list_sha256=hashlib.sha256(content).hexdigest(),
                lacking=tuple(sorted(storing.lacking)),
                audit_rows=audit_rows,
                audit_sha256=audit_sha256,
                erasures=erasures,
            ),
            sync=sync,
        )
    pruned, why = [], ""
    try:
        pruned = prune(folder, keep=choice.keep)
    except (StoreError, OSError) as error:
        # This one is whole all the same.
        why = _in_words(error)
        log.error("old backups are not deleted", folder=str(folder), error=why)
    return BackedUp(generation=made, new_files=storing.new, pruned=tuple(pruned), not_pruned=why)


def erasures_of(db: Database) -> tuple[dict[str, Any], ...]:
    """Who was erased: keyed hashes of the numbers, when, by whom, why."""
    rows = db.query("SELECT persons, erased_at, erased_by, why FROM fact_erasure ORDER BY erasure_id")
    return tuple({**row, "persons": json.loads(row["persons"])} for row in rows)


@contextmanager
def _copied(db: Database, data: Path) -> Iterator[Path]:
    """The database as of one moment in a file of its own, whole.

    Raises
    ------
    StoreError
        It is damaged: a backup of it would in the end take the place of the last good one.
    """
    copy = data / RUN_FOLDER / COPY_NAME
    copy.parent.mkdir(exist_ok=True)
    make_file(copy)
    try:
        with closing(sqlite3.connect(copy)) as connection:
            # In one step, as of one moment; writers go on meanwhile.
            db.conn.backup(connection)
            connection.execute("PRAGMA journal_mode = DELETE")
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            raise StoreError("the database is damaged; it was not backed up, so that the earlier backups stay")
        yield copy
    finally:
        for left in copy.parent.glob(f"{COPY_NAME}*"):
            left.unlink(missing_ok=True)


def _before(folder: Path) -> list[Part]:
    """The list of the newest generation; a damaged one has none, and all is stored anew."""
    for name in reversed(names(folder)):
        try:
            return generation(folder, name).parts()
        except StoreError as error:
            log.warning("an earlier backup is damaged", backup=name, error=str(error))
    return []


def _whole(folder: Path) -> list[str]:
    """The names of the files in a folder; what a backup that was killed had not stored to its end is deleted."""
    with os.scandir(folder) as entries:
        found = [entry.name for entry in entries]
    for name in found:
        if name.startswith("."):
            (folder / name).unlink()
    return [name for name in found if not name.startswith(".")]


class _Wanted(NamedTuple):
    """An object that belongs into a backup."""

    object_id: int
    sha256: str
    transfer_syntax_uid: str

    @property
    def path(self) -> str:
        return f"{ARCHIVE_FOLDER}/{self.sha256[:2]}/{self.sha256}.dcm"


class _Storing:
    """Files on their way into the folder of the backups."""

    def __init__(self, *, data: Path, folder: Path, sealed_for: object, before: list[Part], turn: int) -> None:
        self._data, self._folder, self._sealed_for, self._turn = data, folder, sealed_for, turn
        self._suffix = SEALED if sealed_for is not None else ""
        self._archive = Archive(data)
        self._parts = {part.key: part for part in before if part.key}
        self._before = {entry.path: entry for part in before if not part.key for entry in part.entries()}
        self.new = 0
        self.lacking: list[str] = []

    def objects(self, wanted: list[_Wanted], progress: Callable[[int, int], None] | None) -> Iterator[Part]:
        """Parts with each object whose file is what was received."""
        there = {name for shelf in self._archive.shelves() for name in _whole(self._shelf(shelf))}
        groups = [list(group) for _, group in groupby(wanted, key=lambda one: one.object_id // OBJECTS)]
        keys = [key_of((one.sha256 for one in group), suffix=self._suffix) for group in groups]
        for key in self._parts.keys() - set(keys):
            self._before |= {entry.path: entry for entry in self._parts[key].entries()}
        done = 0
        for number, (key, group) in enumerate(zip(keys, groups, strict=True)):
            known = self._parts.get(key)
            if known is None or not self._is_there(known, group, there, sizes=number % TURNS == self._turn):
                self._before |= {entry.path: entry for entry in known.entries()} if known else {}
                lacked = len(self.lacking)
                found = part_of(key, self._stored(group))
                known = replace(found, key="") if len(self.lacking) > lacked else found
            done += len(group)
            if progress:
                progress(done, len(wanted))
            yield known

    def _shelf(self, shelf: str) -> Path:
        return self._folder / ARCHIVE_FOLDER / shelf

    def _is_there(self, part: Part, group: Sequence[_Wanted], there: Collection[str], *, sizes: bool) -> bool:
        """Whether the files of a part are stored; asked for their sizes too, whether those add up."""
        files = [f"{one.sha256}.dcm{self._suffix}" for one in group]
        if not all(name in there for name in files):
            return False
        return not sizes or part.stored_bytes == sum((self._shelf(name[:2]) / name).stat().st_size for name in files)

    def _stored(self, group: Sequence[_Wanted]) -> Iterator[Entry]:
        """An entry for each object of a part whose file is what was received."""
        for one in group:
            known = self._before.get(one.path)
            if known is None or not self._has(known):
                known = self._object(one)
            if known is None:
                self.lacking.append(one.sha256)
            else:
                yield known

    def _has(self, known: Entry) -> bool:
        try:
            return (self._folder / known.stored).stat().st_size == known.size_bytes
        except FileNotFoundError:
            return False

    def beside(self) -> Iterator[Entry]:
        """An entry for each file of the other folders; one that went away meanwhile has none."""
        for shelf in (self._folder / FILES).iterdir():
            _whole(shelf)
        for name in BESIDE:
            for source in sorted((self._data / name).rglob("*")):
                if source.is_file() and not source.is_symlink() and not source.name.startswith("."):
                    path = str(source.relative_to(self._data))
                    try:
                        yield self._file(source, path)
                    except FileNotFoundError:
                        continue

    def _object(self, one: _Wanted) -> Entry | None:
        source = self._archive.path(one.sha256)
        stored_as = one.path + self._suffix
        content = _Content(one.transfer_syntax_uid)
        final = self._folder / stored_as
        try:
            written = put(source, final, sealed_for=self._sealed_for, link=True, digests=[content])
        except FileNotFoundError:
            if source.exists():
                raise
            return None
        if content.hexdigest() != one.sha256:
            final.unlink()
            return None
        self.new += 1
        return Entry(
            path=one.path, stored=stored_as, size_bytes=written.size_bytes, sha256=written.sha256,
            source_bytes=source.stat().st_size, changed_ns=0,
        )  # fmt: skip

    def _file(self, source: Path, path: str) -> Entry:
        state = source.stat()
        known = self._before.get(path)
        if (
            known is not None
            and (known.source_bytes, known.changed_ns) == (state.st_size, state.st_mtime_ns)
            and (self._folder / known.stored).is_file()
        ):
            return known
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        stored_as = f"{FILES}/{digest[:2]}/{digest}{self._suffix}"
        written = put(source, self._folder / stored_as, sealed_for=self._sealed_for)
        self.new += 1
        return Entry(
            path=path, stored=stored_as, size_bytes=written.size_bytes, sha256=written.sha256,
            source_bytes=state.st_size, changed_ns=state.st_mtime_ns,
        )  # fmt: skip


class _Content:
    """The SHA-256 by which an object is named, of its file as it is read: that of the archive, without the header."""

    def __init__(self, transfer_syntax_uid: str) -> None:
        self._digest = hashlib.sha256(transfer_syntax_uid.encode("ascii") + b"\0")
        self._head = b""
        self._skip: int | None = None

    def update(self, piece: bytes) -> None:
        if self._skip is None:
            self._head += piece
            if len(self._head) < GROUP_END:
                return
            piece, self._head = self._head, b""
            self._skip = GROUP_END + int.from_bytes(piece[GROUP_END - 4 : GROUP_END], "little")
        skipped = min(self._skip, len(piece))
        self._skip -= skipped
        self._digest.update(piece[skipped:])

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _note_begin(db: Database, folder: Path, at: datetime) -> int:
    with writing(db):
        row = {"folder": str(folder), "began_at": to_text(at), "status": "running", "reasons": "[]"}
        insert(db, "state_backup", [row])
        (backup_id,) = db.execute("SELECT last_insert_rowid()").fetchone()
        db.execute("DELETE FROM state_backup WHERE backup_id <= ?", [backup_id - REMEMBERED])
    return int(backup_id)


def _note_end(db: Database, backup_id: int, done: BackedUp | None, reasons: list[Reason]) -> None:
    one = done.generation if done else None
    with writing(db):
        db.execute(
            "UPDATE state_backup SET status = ?, finished_at = ?, generation = ?, files = ?, new_files = ?, bytes = ?, "
            "reasons = ? WHERE backup_id = ?",
            [
                "done" if done else "failed",
                to_text(now()),
                one.name if one else None,
                one.manifest.files if one else None,
                done.new_files if done else None,
                one.manifest.bytes if one else None,
                stored(reasons),
                backup_id,
            ],
        )
