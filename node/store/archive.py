"""The archive: DICOM data sets as received, one file per distinct content, durable before they are acknowledged.

A data set is written as a DICOM Part 10 file to ``dicom/incoming/``, fsynced, renamed to
``dicom/ab/ab12….dcm`` (the SHA-256 of its transfer syntax and data set) and the directory fsynced. The name comes
from the content, so no UID or other text of a sender ever becomes a path, the same bytes are one file, and a file
under its final name is always complete. The record of a file may be committed while its directory is being fsynced:
should the power fail in between, the complete file is still in ``incoming/``, and is put under its name at the next
start (:meth:`Archive.adopt`).
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from tempfile import mkstemp

from node.errors import StoreError
from node.store.whole_file import sync_folder

ARCHIVE_FOLDER = "dicom"
INCOMING_FOLDER = "incoming"
REMOVED_FOLDER = "removed"
"""Where a file waits that retention takes away, for as long as a receiver may still be taking it for stored."""
LOCK_NAME = "dicom.lock"
FILES_LOCK_NAME = "backup.lock"
FILE_MODE = 0o440
FINAL_NAME = re.compile(r"([0-9a-f]{64})\.dcm")
CHUNK_BYTES = 1024 * 1024
GROUP_END = 144
"""Where File Meta Information begins to count its length, and that length is the four bytes before: preamble, prefix
and the first element of it (PS3.10, section 7.1)."""


@contextmanager
def files_alone(folder: Path) -> Iterator[bool]:
    """Hold the lock of those who copy or delete files of a data folder; yields whether it could be had."""
    with (folder / FILES_LOCK_NAME).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """A file of the archive."""

    sha256: str
    size_bytes: int
    """Size of the file: preamble, File Meta Information and data set."""


class Archive:
    """The folder ``dicom/`` under the data folder."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / ARCHIVE_FOLDER
        self._incoming = self._root / INCOMING_FOLDER

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Hold the archive as its only receiver; the operating system lets go of it when the process dies.

        Raises
        ------
        StoreError
            Another receiver is at work on it.
        OSError
            The data folder cannot be used.
        """
        self._root.parent.mkdir(parents=True, exist_ok=True)
        with (self._root.parent / LOCK_NAME).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(
                    f"another DICOM receiver is at work on {self._root}; end it, or set another storage.folder"
                ) from error
            yield

    def prepare(self) -> None:
        """Make the folders and remove what an interrupted receiver left in ``incoming/`` (never acknowledged).

        Only the receiver calls this, while it holds the archive alone (:meth:`receiving`) and before it takes a
        connection.
        """
        self._incoming.mkdir(parents=True, exist_ok=True)
        there = {entry.name for entry in os.scandir(self._root) if entry.is_dir()}
        for shelf in self.shelves():
            if shelf not in there:
                (self._root / shelf).mkdir(exist_ok=True)
        sync_folder(self._root)
        sync_folder(self._root.parent)
        for leftover in self.leftovers():
            leftover.unlink()

    def require_folders(self) -> None:
        """Make the folders, unless a receiver is at work, which has made them.

        Raises
        ------
        StoreError
            The archive cannot be used.
        """
        try:
            with self.receiving():
                self.prepare()
        except StoreError:
            return
        except OSError as error:
            raise StoreError(
                f"cannot use the archive: {error}; check the data folder, its owner and free space"
            ) from error

    def path(self, sha256: str) -> Path:
        """Where the file of this content is (or would be)."""
        return self._root.joinpath(sha256[:2], f"{sha256}.dcm")

    def shelves(self) -> Iterator[str]:
        """The names of the folders that hold the files: the first two digits of their SHA-256."""
        return (f"{number:02x}" for number in range(256))

    def files(self, shelf: str) -> dict[str, os.stat_result]:
        """The SHA-256 and state of every file of one folder; what has another name is not the archive's."""
        with os.scandir(self._root / shelf) as entries:
            named = [(FINAL_NAME.fullmatch(entry.name), entry) for entry in entries]
            return {name[1]: entry.stat() for name, entry in named if name and name[1].startswith(shelf)}

    def begin_run(self) -> int:
        """When this run of the receiver begins, by the clock of the file system (nanoseconds).

        A file that is renamed later has no smaller ``st_ctime_ns``. Only the receiver calls it, while it holds the
        archive.
        """
        lock = self._root.parent / LOCK_NAME
        os.utime(lock)
        return lock.stat().st_ctime_ns

    def digest(self, sha256: str, transfer_syntax_uid: str, *, offset: int) -> str:
        """The SHA-256 that a stored file should have by its content, whose data set begins at ``offset``."""
        return digest_of(self.path(sha256), transfer_syntax_uid, offset=offset)

    def free_bytes(self) -> int:
        """What may still be written to the disk of the archive."""
        found = os.statvfs(self._incoming)
        return found.f_bavail * found.f_frsize

    def store(self, *, header: bytes, dataset: bytes, transfer_syntax_uid: str) -> StoredObject:
        """Make a data set durable; when this returns, the file and its directory entry survive power loss.

        Several threads and processes may store at once, the same content too.

        Parameters
        ----------
        header
            Preamble and File Meta Information as encoded bytes; not part of the identity of the content.
        dataset
            The data set as received.
        transfer_syntax_uid
            How ``dataset`` is encoded; part of the identity, as the same bytes mean something else in another one.

        Raises
        ------
        OSError
            Nothing is left behind under a final name nor in ``incoming/``.
        """
        incoming = self.begin(header=header, transfer_syntax_uid=transfer_syntax_uid)
        incoming.write(dataset)
        stored = incoming.finish()
        self.settle(stored.sha256)
        return stored

    def settle(self, sha256: str) -> None:
        """Make the directory entry of a finished file durable.

        Raises
        ------
        OSError
            The disk fails.
        """
        sync_folder(self.path(sha256).parent)

    def leftovers(self) -> list[Path]:
        """Files in ``incoming/``; while nobody receives, those that an interrupted receiver left there."""
        return list(self._incoming.iterdir()) if self._incoming.is_dir() else []

    def adopt(self, leftover: Path, sha256: str) -> None:
        """Put a complete file that was left in ``incoming/`` under its name."""
        leftover.rename(self.path(sha256))
        self.settle(sha256)

    def set_aside(self, sha256: str) -> int:
        """Take a file out of its place, to be deleted or put back; its size, 0 where there is none."""
        folder = self._root / REMOVED_FOLDER
        folder.mkdir(exist_ok=True)
        path = self.path(sha256)
        try:
            size = path.stat().st_size
            path.rename(folder / path.name)
        except FileNotFoundError:
            return 0
        self.settle(sha256)
        return size

    def aside(self) -> dict[str, os.stat_result]:
        """The SHA-256 and state of the files that were set aside."""
        folder = self._root / REMOVED_FOLDER
        if not folder.is_dir():
            return {}
        named = [(FINAL_NAME.fullmatch(path.name), path) for path in folder.iterdir()]
        return {name[1]: path.stat() for name, path in named if name}

    def put_back(self, sha256: str) -> None:
        """Put a file that was set aside back into its place, unless there is one."""
        path = self._root / REMOVED_FOLDER / f"{sha256}.dcm"
        if self.path(sha256).exists():
            path.unlink(missing_ok=True)
        else:
            self.adopt(path, sha256)

    def delete_aside(self, sha256: str) -> None:
        """Delete a file that was set aside."""
        (self._root / REMOVED_FOLDER / f"{sha256}.dcm").unlink(missing_ok=True)

    def begin(self, *, header: bytes, transfer_syntax_uid: str) -> "Incoming":
        """Begin to store a data set that comes in pieces; parameters and errors as of :meth:`store`."""
        return Incoming(self, self._incoming, header, transfer_syntax_uid)


class Incoming:
    """A data set on its way into the archive, written to ``incoming/`` piece by piece as it comes.

    It ends with :meth:`finish` or :meth:`discard`; whatever fails discards it by itself.
    """

    def __init__(self, archive: Archive, folder: Path, header: bytes, transfer_syntax_uid: str) -> None:
        self._archive = archive
        self._digest = _begun(transfer_syntax_uid)
        self.dataset_bytes = 0
        descriptor, name = mkstemp(dir=folder)
        self._file, self._path = FileIO(descriptor, "wb"), Path(name)
        self._put(header)

    def write(self, piece: bytes | memoryview) -> None:
        """Append to the data set.

        Raises
        ------
        OSError
            The disk is full or fails; nothing of the data set is left.
        """
        self._digest.update(piece)
        self.dataset_bytes += len(piece)
        self._put(piece)

    def finish(self) -> StoredObject:
        """Make the file durable and give it its name; that survives power loss after :meth:`Archive.settle` only.

        A known file is to be settled, too: the process that renamed it may have died before it could.

        Raises
        ------
        OSError
            As :meth:`write`.
        """
        sha256 = self._digest.hexdigest()
        final = self._archive.path(sha256)
        try:
            if _is_whole(final, self.dataset_bytes):
                self.discard()
            else:
                os.fchmod(self._file.fileno(), FILE_MODE)
                os.fsync(self._file.fileno())
                self._path.rename(final)
                self._file.close()
            return StoredObject(sha256=sha256, size_bytes=final.stat().st_size)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Leave nothing of it."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _put(self, piece: bytes | memoryview) -> None:
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except BaseException:
            self.discard()
            raise


def digest_of(path: Path, transfer_syntax_uid: str, *, offset: int) -> str:
    """The SHA-256 of the content of any file, whose data set begins at ``offset``."""
    digest = _begun(transfer_syntax_uid)
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _begun(transfer_syntax_uid: str) -> "hashlib._Hash":
    return hashlib.sha256(transfer_syntax_uid.encode("ascii") + b"\0")


def _is_whole(final: Path, dataset_bytes: int) -> bool:
    """Whether the file is there and holds a data set of this length; one that a disk has cut off is written anew."""
    try:
        with final.open("rb") as file:
            start = file.read(GROUP_END)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return False
    return len(start) == GROUP_END and size == GROUP_END + int.from_bytes(start[-4:], "little") + dataset_bytes
