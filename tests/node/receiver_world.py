"""A sender to a running receiver of images, and what was stored and recorded."""

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    MRImageStorage,
)
from pynetdicom import AE
from pynetdicom.association import Association

from node.settings import Settings
from node.store.archive import Archive
from node.store.database import open_database
from tests.node.dicom_samples import (
    write_file,
)


@contextmanager
def association(settings: Settings, *sop_classes: str, syntax: str = ExplicitVRLittleEndian) -> Iterator[Association]:
    entity = AE(ae_title="SENDER")
    for uid in sop_classes or (MRImageStorage,):
        entity.add_requested_context(uid, syntax)
    one = entity.associate("127.0.0.1", settings.dicom.port)
    try:
        yield one
    finally:
        if one.is_established:
            one.release()


def rows(settings: Settings, sql: str) -> list[tuple[object, ...]]:
    db = open_database(settings.storage.folder)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def files(settings: Settings) -> list[Path]:
    return sorted(path for path in (settings.storage.folder / "dicom").rglob("*") if path.is_file())


def assert_stored(settings: Settings, uids: set[str]) -> None:
    """Each of these is recorded exactly once, and its file is there, whole, under the hash of its content."""
    recorded = rows(settings, "SELECT sop_instance_uid, sha256, transfer_syntax_uid, size_bytes FROM fact_object")
    by_uid = {str(uid): row for uid, *row in recorded}
    assert len(by_uid) == len(recorded)
    assert uids <= set(by_uid)
    for sha256, syntax, size in by_uid.values():
        path = Archive(settings.storage.folder).path(str(sha256))
        content = path.read_bytes()
        assert len(content) == size
        (meta_length,) = struct.unpack("<L", content[140:144])
        dataset = content[144 + meta_length :]
        assert hashlib.sha256(str(syntax).encode() + b"\0" + dataset).hexdigest() == sha256


def sendable(folder: Path, datasets: list[Dataset]) -> list[str]:
    folder.mkdir()
    return [str(write_file(folder / f"{number:03}.dcm", one)) for number, one in enumerate(datasets)]
