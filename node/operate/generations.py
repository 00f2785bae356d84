"""The folder of a node's backups: what lies where in it, and what each generation of it holds.

::

    backup.json                      whose backups these are, and for which key they are sealed
    dicom/ab/ab12….dcm               each object once, for all generations
    files/ab/ab34…                   reports and the like by their SHA-256, each content once
    generations/20260301T021500Z/    one backup: manifest.json, files.jsonl.gz (a line a file), parts.json, node.db

Sealed files end in ``.age``. A generation appears under its name when all of it is on the disk.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from node.errors import StoreError
from node.operate.parts import Entry, Part, split, undivided
from node.operate.sealing import Written
from node.store.archive import ARCHIVE_FOLDER
from node.store.private import make_folder
from node.store.whole_file import sync_folder, write_whole

FORMAT = 1
ABOUT = "backup.json"
GENERATIONS = "generations"
FILES = "files"
MANIFEST = "manifest.json"
LIST = "files.jsonl.gz"
PARTS = "parts.json"
GONE = ".gone"
"""End of the name of a generation whose files are being deleted."""
OF_THE_DISK = "lost+found"
"""Stands in an empty file system of ext4 from the beginning."""
NAME = re.compile(r"\d{8}T\d{6}Z")
NAME_FORMAT = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a generation is; nothing of it is of a patient."""

    made_at: str
    version: str
    schema: int
    database: str
    """Name of the stored database."""
    database_bytes: int
    database_sha256: str
    files: int
    bytes: int
    """Of the files as they lie in the data folder."""
    list_sha256: str
    lacking: tuple[str, ...]
    """Objects that the archive had lost, or holds otherwise than received: they are in no backup of this day."""
    audit_rows: int
    audit_sha256: str
    """The last seal of the audit: that rows behind it were cut off is found by it."""
    erasures: tuple[dict[str, Any], ...]
    """Persons (keyed hashes) who had been erased, when, by whom and why: no earlier backup brings them back."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One backup that is whole."""

    name: str
    folder: Path
    manifest: Manifest

    def parts(self) -> list[Part]:
        """The list of its files, in the parts in which it was stored.

        Raises
        ------
        StoreError
            The list is missing, altered or cut off.
        """
        content = self._list()
        try:
            index = (self.folder / PARTS).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            index = None
        found = split(content, index)
        return [undivided(content)] if found is None else found

    def require_index(self) -> None:
        """See that what is said of the parts is what was stored; a backup of before there were parts has none.

        Raises
        ------
        StoreError
            It was altered, or cut off: the next backup would list all files anew.
        """
        path = self.folder / PARTS
        if not path.exists():
            return
        try:
            whole = split(self._list(), path.read_text(encoding="utf-8")) is not None
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError:
            whole = False
        if not whole:
            raise StoreError(f"{path} is not what was stored: altered, or cut off")

    def _list(self) -> bytes:
        path = self.folder / LIST
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != self.manifest.list_sha256:
            raise StoreError(f"{path} is not what was stored: altered, or cut off")
        return content

    def entries(self) -> Iterator[Entry]:
        """Every file of it; errors as of :meth:`parts`."""
        for part in self.parts():
            yield from part.entries()

    @property
    def database(self) -> tuple[Path, Written]:
        """Where its database is stored, and what that must be."""
        one = self.manifest
        return self.folder / one.database, Written(size_bytes=one.database_bytes, sha256=one.database_sha256)


def prepare(folder: Path, *, node: str, sealed_for: str) -> None:
    """Make the folder of the backups, or see that it is this node's and for this key.

    Raises
    ------
    StoreError
        It belongs to another node, holds something else, or was begun for another key.
    OSError
        It cannot be made.
    """
    make_folder(folder)
    wanted = {"format": FORMAT, "node": node, "encrypted_to": sealed_for}
    if (folder / ABOUT).is_file():
        found = about(folder)
        if found["node"] != node:
            raise StoreError(f"{folder} holds the backups of another node; name another folder")
        if found["encrypted_to"] != sealed_for:
            state = f"encrypted to {found['encrypted_to']}" if found["encrypted_to"] else "not encrypted"
            raise StoreError(
                f"the backups in {folder} are {state}, and backup.encrypt_to says otherwise; name another folder"
            )
    elif any(entry.name != OF_THE_DISK and not entry.name.startswith(f".{ABOUT}.") for entry in folder.iterdir()):
        raise StoreError(
            f"{folder} holds something else than backups; name an empty folder, or one that is not there yet"
        )
    else:
        write_whole(folder / ABOUT, json.dumps(wanted, indent=2).encode(), durable=True)
    for left in folder.glob(f".{ABOUT}.*"):  # of the first backup, when it was killed at its very beginning
        left.unlink()
    for shelves in (ARCHIVE_FOLDER, FILES):
        for number in range(256):
            (folder / shelves / f"{number:02x}").mkdir(parents=True, exist_ok=True)
    (folder / GENERATIONS).mkdir(exist_ok=True)
    for left in (folder / GENERATIONS).glob(".*"):  # of a backup that was killed; what prune() has left it does itself
        if not left.name.endswith(GONE):
            shutil.rmtree(left)


def about(folder: Path) -> dict[str, Any]:
    """What the folder says of itself.

    Raises
    ------
    StoreError
        It is no folder of backups, or of a format that this version does not know.
    """
    path = folder / ABOUT
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        known = found["format"] == FORMAT and isinstance(found["node"], str) and isinstance(found["encrypted_to"], str)
    except OSError as error:
        raise StoreError(f"{folder} is no folder of backups: {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged") from error
    if not known:
        raise StoreError(f"{path} is of another format than this version knows ({FORMAT})")
    return dict(found)


def publish(folder: Path, name: str, manifest: Manifest, *, sync: Callable[[], None]) -> Generation:
    """Give a generation that is complete its name; what it is of is on the disk before.

    Parameters
    ----------
    sync
        As of :func:`node.store.whole_file.syncing`, from before anything of it was written.

    Raises
    ------
    OSError
        It cannot be written.
    """
    begun, final = begun_folder(folder, name), folder / GENERATIONS / name
    (begun / MANIFEST).write_text(sealed(manifest), encoding="utf-8")
    sync()
    begun.rename(final)
    sync_folder(final.parent)
    return Generation(name=name, folder=final, manifest=manifest)


def sealed(manifest: Manifest) -> str:
    """A manifest as it is stored: with its own hash."""
    return json.dumps({"sha256": _sha256(manifest), "manifest": asdict(manifest)}, indent=2)


def _sha256(manifest: Manifest) -> str:
    return hashlib.sha256(json.dumps(asdict(manifest), sort_keys=True).encode()).hexdigest()


def begun_folder(folder: Path, name: str) -> Path:
    """Where a generation is written before it is whole."""
    return folder / GENERATIONS / f".{name}"


def names(folder: Path) -> list[str]:
    """The generations, the oldest first."""
    place = folder / GENERATIONS
    return sorted(entry.name for entry in place.iterdir() if NAME.fullmatch(entry.name)) if place.is_dir() else []


def name_after(there: list[str], at: datetime) -> str:
    """The name of a generation that is begun at a time: after those that are there, wherever the clock has been."""
    last = datetime.strptime(there[-1], NAME_FORMAT).replace(tzinfo=UTC) if there else None
    return (max(at, last + timedelta(seconds=1)) if last else at).strftime(NAME_FORMAT)


def generation(folder: Path, name: str | None = None) -> Generation:
    """One generation, without a name the newest.

    Raises
    ------
    StoreError
        There is none, or its manifest is damaged.
    """
    about(folder)
    there = names(folder)
    if not there:
        raise StoreError(f"there is no backup in {folder}")
    if name is not None and name not in there:
        raise StoreError(f"there is no backup {name} in {folder}; there are: {', '.join(there)}")
    return _read(folder / GENERATIONS / (name or there[-1]))


def _read(place: Path) -> Generation:
    path = place / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        lists = {name: tuple(found["manifest"][name]) for name in ("lacking", "erasures")}
        manifest = Manifest(**{**found["manifest"], **lists})
        whole = found["sha256"] == _sha256(manifest)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is not what was stored: altered, or cut off") from error
    if not whole:
        raise StoreError(f"{path} is not what was stored: altered, or cut off")
    return Generation(name=place.name, folder=place, manifest=manifest)


def prune(folder: Path, *, keep: int) -> list[str]:
    """Delete the oldest generations beyond ``keep``, and the files that only they had; returns their names.

    One loses its name first and its list last, so that a kill leaves no generation without its files, and the next call
    finds the files that are left.

    Raises
    ------
    StoreError
        The list of a generation cannot be read: nothing is deleted.
    OSError
        Something cannot be deleted.
    """
    place, there = folder / GENERATIONS, names(folder)
    going, kept = there[: max(0, len(there) - keep)], there[max(0, len(there) - keep) :]
    left = sorted(place.glob(f".*{GONE}"))
    if not (going or left):
        return []
    lists = {name: generation(folder, name).parts() for name in [*going, kept[-1]]}
    for path in left:
        with suppress(StoreError):  # its list went, and before it its files
            lists[path.name] = _read(path).parts()
    # What is in each of these needs no look: a file is in one part of a list only.
    common = set.intersection(*({part.key for part in parts} for parts in lists.values())) - {""}
    leaving = lists.keys() - {kept[-1]}
    candidates = {entry.stored for name in leaving for entry in _entries(lists[name], common)}
    # The newest first: nearly all that an old one has is still in it.
    for name in reversed(kept):
        if candidates:
            parts = lists[name] if name in lists else generation(folder, name).parts()
            candidates -= {entry.stored for entry in _entries(parts, common)}
    for name in going:
        (place / name).rename(place / f".{name}{GONE}")
    sync_folder(place)
    for stored in candidates:
        (folder / stored).unlink(missing_ok=True)
    for path in place.glob(f".*{GONE}"):
        shutil.rmtree(path)
    return going


def _entries(parts: Iterable[Part], without: Collection[str]) -> Iterator[Entry]:
    return (entry for part in parts if part.key not in without for entry in part.entries())
