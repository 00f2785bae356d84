"""Images of folders taken into the archive as if they had been sent: then they are facts, and measured like others.

What is here already is known from the database, so that a run which was ended goes on where it was. All MR images of a
study are taken, not only the series that will be measured: what a study was given before, a contrast agent say, only
its other series tell. The files in the folders are never changed.
"""

import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from sqlite_utils import Database

from node.dicom.intake import Intake, Peer
from node.dicom.part10 import FileIdentity, read_identity
from node.dicom.recorder import Recorder
from node.errors import DicomReadError, InputError
from node.settings import Settings
from node.store.archive import CHUNK_BYTES, Archive
from node.store.database import open_database

OWN_ADDRESS = "127.0.0.1"
MODALITY = "MR"
TAKEN, HERE, OTHER, UNREADABLE = "taken", "here already", "no MR image", "not readable"

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
                for path in _files(self._folders):
                    if self._stop.is_set():
                        return
                    self.counts[self._take(db, intake, path)] += 1
        finally:
            db.close()

    def _take(self, db: Database, intake: Intake, path: Path) -> str:
        try:
            identity = read_identity(path)
            if _known(db, identity):
                return HERE
            with path.open("rb") as file:
                found = dcmread(file, stop_before_pixels=True, specific_tags=["Modality"])
                if str(found.get("Modality", "")) != MODALITY:
                    return OTHER
        except (DicomReadError, InvalidDicomError, OSError, ValueError) as error:
            # Its name may hold a patient's: only the kind is said.
            log.debug("not taken", fault=type(error).__name__)
            return UNREADABLE
        _store(intake, self._settings.dicom.ae_title, identity, path)
        return TAKEN


def _known(db: Database, identity: FileIdentity) -> bool:
    return bool(
        db.execute(
            "SELECT EXISTS (SELECT 1 FROM fact_object WHERE sop_instance_uid = ?)", [identity.sop_instance_uid]
        ).fetchone()[0]
    )


def _store(intake: Intake, title: str, identity: FileIdentity, path: Path) -> None:
    named = {
        "sop_class_uid": identity.sop_class_uid,
        "sop_instance_uid": identity.sop_instance_uid,
        "transfer_syntax_uid": identity.transfer_syntax_uid,
    }
    incoming = intake.open(named)
    try:
        with path.open("rb") as file:
            file.seek(identity.dataset_offset)
            while piece := file.read(CHUNK_BYTES):
                incoming.write(piece)
    except OSError:
        incoming.discard()
        raise
    intake.record(incoming, named, Peer(address=OWN_ADDRESS, calling_ae=title, called_ae=title, name=None))


def _files(folders: Sequence[Path]) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"cannot list {error.filename}: {error.strerror}") from error

    for folder in folders:
        if folder.is_file():
            yield folder
        for place, inner, names in os.walk(folder, onerror=refuse):
            inner.sort()
            yield from (Path(place) / name for name in sorted(names))
