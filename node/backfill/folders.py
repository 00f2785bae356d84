"""Images of folders taken into the archive as if they had been sent: then they are facts, and measured like others.

What is here already is known from the database, so that a run which was ended goes on where it was. All MR images of a
study are taken, not only the series that will be measured: what a study was given before, a contrast agent say, only
its other series tell. The files in the folders are never changed.
"""

import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import structlog
from pydicom import FileDataset, dcmread
from pydicom.filereader import read_dataset, read_preamble
from sqlite_utils import Database

from node.backfill.cut_off import is_cut_off
from node.dicom.intake import Intake, Peer
from node.dicom.part10 import FileIdentity
from node.dicom.recorder import Recorder
from node.errors import InputError
from node.settings import Settings
from node.store.archive import CHUNK_BYTES, Archive
from node.store.database import open_database
from node.store.failures import of_the_machine, tried

OWN_ADDRESS = "127.0.0.1"
MODALITY = "MR"
META_GROUP = 0x0002
TAKEN, HERE, OTHER, UNREADABLE = "taken", "here already", "no MR image", "not readable"
CUT_OFF = "cut off"
"""To be tried again: it may be on its way still."""
UNLISTED = "folders that cannot be listed"
LINKS = "links to folders, not followed"

log = structlog.get_logger()


class Folders:
    """Takes in the images below folders, in a thread of its own.

    ``counts`` has files by what became of them.
    """

    def __init__(self, settings: Settings, folders: Sequence[Path], stop: threading.Event) -> None:
        for folder in folders:
            if not folder.exists():
                raise InputError(f"{folder}: there is no such file or folder")
        self._settings, self._folders, self._stop = settings, folders, stop
        self.counts: Counter[str] = Counter()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="folders", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def bringing(self) -> bool:
        """Whether more images come.

        Raises
        ------
        OSError, sqlite3.Error, TimeoutError, NodeError
            No more can be taken in.
        """
        if self._error is not None:
            raise self._error
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._take_all()
        except Exception as error:  # noqa: BLE001  # told to the thread that asks
            self._error = error

    def _take_all(self) -> None:
        folder = self._settings.storage.folder
        archive = Archive(folder)
        archive.require_folders()
        db = open_database(folder)
        try:
            with Recorder(folder) as recorder:
                intake = Intake(self._settings, archive, recorder)
                for path in self._files():
                    if self._stop.is_set():
                        return
                    self.counts[self._take(db, intake, path)] += 1
        finally:
            db.close()

    def _files(self) -> Iterator[Path]:
        for folder in self._folders:
            if folder.is_file():
                yield folder
                continue
            for place, inner, names in os.walk(folder, onerror=partial(self._not_listed, folder)):
                inner.sort()
                if links := sum((Path(place) / name).is_symlink() for name in inner):
                    self.counts[LINKS] += links
                yield from (Path(place) / name for name in sorted(names))

    def _not_listed(self, folder: Path, error: OSError) -> None:
        """A folder that was named must be readable; one inside, such as lost+found, costs itself."""
        if of_the_machine(error) or error.filename == str(folder):
            raise InputError(f"cannot list {error.filename}: {error.strerror}") from error
        self.counts[UNLISTED] += 1

    def _take(self, db: Database, intake: Intake, path: Path) -> str:
        try:
            # A pipe or a device would be waited for.
            if not path.is_file():
                return UNREADABLE
            with path.open("rb") as file:
                looked = tried(lambda: _to_be_taken(db, file))
                if isinstance(looked.value, FileIdentity):
                    return _store(intake, self._settings.dicom.ae_title, looked.value, file)
                if looked.error is not None:
                    # Its name may hold a patient's: only the kind is said.
                    log.debug("not taken", fault=type(looked.error).__name__)
                return looked.value or UNREADABLE
        except OSError as error:
            if of_the_machine(error):
                raise
            log.debug("not taken", fault=type(error).__name__)
            return UNREADABLE


def _to_be_taken(db: Database, file: BinaryIO) -> FileIdentity | str:
    """What is to be taken, or why a file is not; of one that is here already File Meta Information alone is read."""
    identity = _identity(file)
    if _known(db, identity):
        return HERE
    header = _header(file)
    if str(header.get("Modality", "")) != MODALITY:
        return OTHER
    return CUT_OFF if is_cut_off(file, header) else identity


def _identity(file: BinaryIO) -> FileIdentity:
    """Where the data set begins is seen: the length that File Meta Information tells of itself is wrong or missing in
    many an archive, as are its UIDs."""
    read_preamble(file, force=False)
    meta = read_dataset(
        file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, _vr, _length: tag.group != META_GROUP
    )
    begin = file.tell()
    return FileIdentity(
        sop_class_uid=str(meta.get("MediaStorageSOPClassUID") or _header(file).SOPClassUID),
        sop_instance_uid=str(meta.get("MediaStorageSOPInstanceUID") or _header(file).SOPInstanceUID),
        transfer_syntax_uid=str(meta.TransferSyntaxUID),
        dataset_offset=begin,
    )


def _header(file: BinaryIO) -> FileDataset:
    file.seek(0)
    return dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID", "Modality"])


def _known(db: Database, identity: FileIdentity) -> bool:
    return bool(
        db.execute(
            "SELECT EXISTS (SELECT 1 FROM fact_object WHERE sop_instance_uid = ?)", [identity.sop_instance_uid]
        ).fetchone()[0]
    )


def _store(intake: Intake, title: str, identity: FileIdentity, file: BinaryIO) -> str:
    named = {
        "sop_class_uid": identity.sop_class_uid,
        "sop_instance_uid": identity.sop_instance_uid,
        "transfer_syntax_uid": identity.transfer_syntax_uid,
    }
    incoming = intake.open(named)
    file.seek(identity.dataset_offset)
    try:
        for piece in _pieces(file):
            incoming.write(piece)
    except _CutOffError:
        incoming.discard()
        return UNREADABLE
    except OSError:
        incoming.discard()
        raise
    intake.record(incoming, named, Peer(address=OWN_ADDRESS, calling_ae=title, called_ae=title, name=None))
    return TAKEN


class _CutOffError(Exception):
    """The rest of a file cannot be read: a bad block of its medium, or a file server that is gone."""


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file; what goes wrong in reading it is told from what goes wrong where it is stored."""
    while True:
        try:
            piece = file.read(CHUNK_BYTES)
        except OSError as error:
            raise _CutOffError from error
        if not piece:
            return
        yield piece
