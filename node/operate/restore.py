"""``vbq-node restore`` and ``backup verify``: a backup is what was stored, and comes back whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlite_utils.utils import sqlite3

from node.errors import StoreError
from node.operate.backup import BESIDE
from node.operate.erase import erase_again
from node.operate.generations import OF_THE_DISK, Generation, generation, names
from node.operate.sealing import SEALED, Written, get, identities
from node.settings import Settings
from node.store.archive import ARCHIVE_FOLDER, FILE_MODE
from node.store.database import DATABASE_NAME, RESTORING, open_database
from node.store.derivation import again_since
from node.store.presence import locked
from node.store.private import make_folder, require_owner
from node.store.schema import newest
from node.store.whole_file import syncing

ROOM_BYTES = 64 * 1024**2
"""Free space that a restored node needs beside what is restored, to be started."""


def verify(
    folder: Path,
    *,
    name: str | None = None,
    all_of_them: bool = False,
    key: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Generation]:
    """Read every stored byte of a generation (the newest without a name) and see that it is what was stored.

    With the key of an encrypted one its database is opened too, and checked.

    Raises
    ------
    StoreError
        Something is missing, altered or cut off; the first such thing is named.
    """
    keys = identities(key)
    last = generation(folder, name)
    chosen = [generation(folder, one) for one in names(folder)] if all_of_them else [last]
    seen: set[str] = set()
    for one in chosen:
        entries = list(one.entries())
        one.require_index()
        for number, entry in enumerate(entries):
            if entry.stored not in seen:
                get(folder / entry.stored, None, expected=entry.written, keys=keys)
                seen.add(entry.stored)
            if progress and number % 50 == 0:
                progress(number, len(entries))
        stored, expected = one.database
        get(stored, None, expected=expected, keys=keys)
        if stored.suffix == SEALED and keys:
            _require_opens(stored, expected, keys)
        elif stored.suffix != SEALED:
            _require_sound(stored)
    return chosen


def restore(
    folder: Path,
    data: Path,
    *,
    name: str | None = None,
    key: Path | None = None,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Generation:
    """Bring a generation (the newest without a name) back to an empty data folder.

    All of it is written and checked in a folder of its own there before anything gets its name; the database last.
    Until then, and after a kill, the node refuses to use the folder, and a further restore begins anew. Who was erased
    after this backup, by the newest one in the folder, is erased again before that.

    Parameters
    ----------
    settings
        Of the node, by which messages are read when somebody is erased again; the defaults without them.

    Raises
    ------
    StoreError
        The data folder is not empty, another restore is at work there, it has no room, or the backup is not whole or
        not for this key.
    OSError
        The disk is full or fails; nothing is left.
    """
    chosen = generation(folder, name)
    keys = identities(key)
    if chosen.manifest.schema > newest():
        raise StoreError(
            f"the backup {chosen.name} is of vbq-node {chosen.manifest.version} with schema {chosen.manifest.schema}, "
            f"this version knows {newest()}: install that version and restore with it; nothing was done"
        )
    make_folder(data)
    require_owner(data)
    with _alone(data):
        _require_empty(data)
        _require_room(data, chosen)
        _restore(chosen, folder, data, keys, settings or Settings(), progress)
    return chosen


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Hold the folder itself: a restore begins by clearing what another has left.

    Raises
    ------
    StoreError
        Another one is at work there.
    """
    descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            mine = locked(descriptor, within_s=0.0)
        except OSError:  # of a file system that has no locks on folders
            mine = True
        if not mine:
            raise StoreError(f"another restore to {data} is at work")
        yield
    finally:
        os.close(descriptor)


def _restore(
    chosen: Generation,
    folder: Path,
    data: Path,
    keys: list[object],
    settings: Settings,
    progress: Callable[[int, int], None] | None,
) -> None:
    place = data / RESTORING
    make_folder(place)
    try:
        with syncing(place) as sync:
            _bring_back(chosen, folder, place, keys, progress)
            sync()
        later = [one for one in generation(folder).manifest.erasures if one not in chosen.manifest.erasures]
        if later:
            _erase_again(place, settings, later)
        _put_in_place(place, data)
    except BaseException:
        _clear(data)
        raise


def _bring_back(
    chosen: Generation, folder: Path, place: Path, keys: list[object], progress: Callable[[int, int], None] | None
) -> None:
    stored, expected = chosen.database
    get(stored, place / DATABASE_NAME, expected=expected, keys=keys)
    _require_sound(place / DATABASE_NAME)
    entries = list(chosen.entries())
    for number, entry in enumerate(entries):
        target = place / entry.path
        if not target.resolve().is_relative_to(place.resolve()):
            raise StoreError(f"the list of the backup {chosen.name} names a file outside the data folder: {entry.path}")
        target.parent.mkdir(parents=True, exist_ok=True)
        get(folder / entry.stored, target, expected=entry.written, keys=keys)
        if target.stat().st_size != entry.source_bytes:
            raise StoreError(f"{folder / entry.stored} does not hold what was stored")
        if entry.path.startswith(f"{ARCHIVE_FOLDER}/"):
            target.chmod(FILE_MODE)
        elif entry.changed_ns:
            os.utime(target, ns=(entry.changed_ns, entry.changed_ns))
        if progress and number % 50 == 0:
            progress(number, len(entries))


def _erase_again(place: Path, settings: Settings, later: list[dict[str, Any]]) -> None:
    """Erase whom the backup still holds although they have been erased since.

    Raises
    ------
    StoreError
        The backup is of a version that derived otherwise: who is who is not known before all is derived again.
    """
    storage = settings.storage.model_copy(update={"folder": place})
    with closing(open_database(place, create=True)) as db:
        if again_since(db) is not None:
            raise StoreError(
                f"{len(later)} persons were erased since this backup, and it is of another version of this software: "
                "restore a newer one, or this one with its own version"
            )
        erase_again(db, settings.model_copy(update={"storage": storage}), later)
    for entry in place.iterdir():
        if entry.name not in (DATABASE_NAME, ARCHIVE_FOLDER, *BESIDE):
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _put_in_place(place: Path, data: Path) -> None:
    with syncing(data) as sync:
        for entry in sorted(place.iterdir(), key=lambda one: one.name == DATABASE_NAME):
            entry.rename(data / entry.name)
        place.rmdir()
        sync()


def _require_empty(data: Path) -> None:
    """The folder is empty, or holds what a restore was killed over."""
    if (data / RESTORING).is_dir():
        _clear(data)
    if found := sorted(entry.name for entry in data.iterdir() if entry.name != OF_THE_DISK):
        raise StoreError(
            f"{data} is not empty ({', '.join(found[:5])}); a backup is restored to an empty folder: set another "
            "storage.folder, or move what is there away"
        )


def _clear(data: Path) -> None:
    """Remove what a restore has brought; the folder of the restore last, as it says that there was one."""
    (data / DATABASE_NAME).unlink(missing_ok=True)
    for name in (ARCHIVE_FOLDER, *BESIDE, RESTORING):
        if (data / name).exists():
            shutil.rmtree(data / name)


def _require_room(data: Path, chosen: Generation) -> None:
    needed = chosen.manifest.bytes + chosen.manifest.database_bytes + ROOM_BYTES
    free = shutil.disk_usage(data).free
    if free < needed:
        raise StoreError(
            f"to restore this backup takes {needed / 1e6:.0f} MB in {data}, {free / 1e6:.0f} are free; nothing was done"
        )


def _require_opens(stored: Path, expected: Written, keys: list[object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / DATABASE_NAME
        get(stored, copy, expected=expected, keys=keys)
        _require_sound(copy)


def _require_sound(database: Path) -> None:
    uri = f"{database.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            (answer,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        raise StoreError(f"the database in the backup is damaged ({error})") from error
    if answer != "ok":
        raise StoreError(f"the database in the backup is damaged ({answer})")
