"""The archive: DICOM data sets as received, one file per distinct content, durable before they are acknowledged.

A data set is written as a DICOM Part 10 file to ``dicom/incoming/``, fsynced, renamed to
``dicom/ab/ab12….dcm`` (the SHA-256 of its transfer syntax and data set) and the directory fsynced. The name comes
from the content, so no UID or other text of a sender ever becomes a path, the same bytes are one file, and a file
under its final name is always complete.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

ARCHIVE_FOLDER = "dicom"
INCOMING_FOLDER = "incoming"
FILE_MODE = 0o440


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """A file of the archive."""

    sha256: str
    size_bytes: int
    """Of the file: preamble, File Meta Information and data set."""


class Archive:
    """The folder ``dicom/`` under the data folder."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / ARCHIVE_FOLDER
        self._incoming = self._root / INCOMING_FOLDER

    def prepare(self) -> None:
        """Make the folders and remove what an interrupted receiver left in ``incoming/`` (never acknowledged).

        Only the receiver calls this, after it has got its port (so that no other one is at work) and before it
        takes a connection.
        """
        self._incoming.mkdir(parents=True, exist_ok=True)
        for number in range(256):
            (self._root / f"{number:02x}").mkdir(exist_ok=True)
        _sync_folder(self._root)
        _sync_folder(self._root.parent)
        for leftover in self._incoming.iterdir():
            leftover.unlink()

    def path(self, sha256: str) -> Path:
        """Where the file of this content is (or would be)."""
        return self._root / sha256[:2] / f"{sha256}.dcm"

    def store(self, *, header: bytes, dataset: bytes, transfer_syntax_uid: str) -> StoredObject:
        """Make a data set durable; when this returns, the file and its directory entry survive power loss.

        Several threads may store at once, the same content too.

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
        digest = hashlib.sha256(transfer_syntax_uid.encode("ascii") + b"\0")
        digest.update(dataset)
        sha256 = digest.hexdigest()
        final = self.path(sha256)
        if not final.is_file():
            self._write(final, header, dataset)
        # Even a known file is synced again: the process that renamed it may have died before its fsync returned.
        _sync_folder(final.parent)
        return StoredObject(sha256=sha256, size_bytes=final.stat().st_size)

    def _write(self, final: Path, header: bytes, dataset: bytes) -> None:
        with NamedTemporaryFile(dir=self._incoming, delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(header)
                file.write(dataset)
                file.flush()
                os.fchmod(file.fileno(), FILE_MODE)
                os.fsync(file.fileno())
                temporary.rename(final)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
