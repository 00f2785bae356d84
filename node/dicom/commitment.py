"""Storage Commitment (Push Model): a sender asks whether objects are kept, and is told what lies on the disk.

The request is a fact, durable before it is answered. Its answer is made when it is delivered, from the files
themselves: each is read and its checksum compared. It is delivered over the association of the request where that
stays open, else over a new one by the outgoing role; until it is confirmed as heard the request is pending.

References
----------
DICOM PS3.4, annex J.
"""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import structlog
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from analytics.reasons import Reason
from node.clock import now, to_text
from node.dicom import dimse
from node.dicom.content import content_faults
from node.dicom.intake import Answer, Peer
from node.dicom.part10 import UID_TEXT, read_identity
from node.dicom.recorder import Recorder
from node.errors import DicomReadError
from node.store.archive import Archive
from node.store.database import open_database, writing
from node.store.removed import removed_since

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST_ACTION = 1
ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event types (PS3.4, table J.3-3)."""
DAMAGED, NOT_HERE, CLASS_CONFLICT = 0x0110, 0x0112, 0x0119
"""Failure reasons: processing failure, no such object instance, class/instance conflict (PS3.3, C.14.1.1)."""
MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""Largest data set of a request: about a hundred thousand objects."""

PENDING = """
SELECT request_id, transaction_uid, calling_ae, peer_address, instances
FROM fact_commitment_request WHERE request_id = ? AND request_id NOT IN (SELECT request_id FROM record_commitment)
"""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Request:
    """A stored request: who asked about which instances (SOP class and instance UID of each)."""

    request_id: int
    transaction_uid: str
    calling_ae: str
    peer_address: str
    instances: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The answer to a request, as the disk was when it was made."""

    request: Request
    committed: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str, int], ...]
    """SOP class, instance and reason."""

    @property
    def event_type(self) -> int:
        """Of the N-EVENT-REPORT."""
        return SOME_FAILED if self.failed else ALL_COMMITTED

    def dataset(self, *, retrieve_ae: str) -> "Dataset":
        """What the N-EVENT-REPORT says (PS3.4, table J.3-2)."""
        from pydicom.dataset import Dataset

        event = Dataset()
        event.TransactionUID = self.request.transaction_uid
        event.RetrieveAETitle = retrieve_ae
        if self.committed:
            event.ReferencedSOPSequence = [_reference(*one) for one in self.committed]
        if self.failed:
            event.FailedSOPSequence = [_reference(name, instance) for name, instance, _ in self.failed]
            for item, (_, _, reason) in zip(event.FailedSOPSequence, self.failed, strict=True):
                item.FailureReason = reason
        return event


def _reference(sop_class_uid: str, sop_instance_uid: str) -> "Dataset":
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def encoded(dataset: "Dataset", transfer_syntax_uid: str) -> bytes:
    """A data set in one of the uncompressed transfer syntaxes."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset
    from pydicom.uid import UID

    syntax = UID(transfer_syntax_uid)
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def decoded(content: BinaryIO, transfer_syntax_uid: str) -> "Dataset":
    """A data set in one of the uncompressed transfer syntaxes; raises whatever pydicom raises for it."""
    from pydicom.filereader import read_dataset
    from pydicom.uid import UID

    syntax = UID(transfer_syntax_uid)
    return read_dataset(content, syntax.is_implicit_VR, syntax.is_little_endian)


class RequestSink:
    """An N-ACTION that asks for Storage Commitment, on its way in.

    Parameters
    ----------
    stored
        Called with the number of the request once it is durable.
    """

    def __init__(
        self,
        recorder: Recorder,
        command: dimse.Command,
        transfer_syntax_uid: str,
        peer: Peer,
        stored: Callable[[int], None],
    ) -> None:
        self._recorder = recorder
        self._command = command
        self._syntax = transfer_syntax_uid
        self._peer = peer
        self._stored = stored
        self._content = BytesIO()

    def write(self, piece: memoryview) -> None:
        """Keep it, up to a length that no request has."""
        if self._content.tell() <= MAX_REQUEST_BYTES:
            self._content.write(piece)

    def discard(self) -> None:
        """It was in memory only."""

    def finish(self) -> Answer:
        """Store the request; Success only when it is durable."""
        if self._command.number(dimse.ACTION_TYPE) != REQUEST_ACTION:
            return Answer(status=dimse.NO_SUCH_ACTION)
        if self._content.tell() > MAX_REQUEST_BYTES:
            return Answer(status=dimse.RESOURCE_LIMITATION, comment="the request is too long")
        try:
            with content_faults(Reason("request-not-readable", {"fault": ""})):
                transaction, instances = self._read()
        except DicomReadError:
            return Answer(status=dimse.INVALID_ARGUMENT, comment="the request cannot be read")
        if not instances or not all(UID_TEXT.fullmatch(uid) for uid in (transaction, *sum(instances, ()))):
            return Answer(status=dimse.INVALID_ARGUMENT, comment="the request names nothing, or by what is no UID")
        try:
            number = self._recorder.write(lambda db: self._insert(db, transaction, instances))
        except (sqlite3.Error, TimeoutError) as error:
            log.error("request for storage commitment not stored", error=str(error), peer=self._peer.address)
            return Answer(status=dimse.PROCESSING_FAILURE, comment="it could not be stored")
        log.info("storage commitment requested", calling_ae=self._peer.calling_ae, objects=len(instances))
        self._stored(number)
        return Answer(status=dimse.SUCCESS)

    def _read(self) -> tuple[str, list[tuple[str, ...]]]:
        self._content.seek(0)
        dataset = decoded(self._content, self._syntax)
        return str(dataset.TransactionUID), [
            (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
            for item in dataset.ReferencedSOPSequence
        ]

    def _insert(self, db: Database, transaction_uid: str, instances: list[tuple[str, ...]]) -> int:
        found = db.execute(
            "INSERT INTO fact_commitment_request (transaction_uid, requested_at, calling_ae, peer_address, instances) "
            "VALUES (?, ?, ?, ?, ?) RETURNING request_id",
            [transaction_uid, to_text(now()), self._peer.calling_ae, self._peer.address, json.dumps(instances)],
        ).fetchone()
        return int(found[0])


def pending_request(db: Database, request_id: int) -> Request | None:
    """A request; ``None`` once its answer has been heard."""
    found = db.execute(PENDING, [request_id]).fetchone()
    if found is None:
        return None
    number, transaction_uid, calling_ae, peer_address, instances = found
    return Request(
        request_id=number,
        transaction_uid=transaction_uid,
        calling_ae=calling_ae,
        peer_address=peer_address,
        instances=tuple((name, instance) for name, instance in json.loads(instances)),
    )


def examine(db: Database, archive: Archive, request: Request) -> Report:
    """Answer a request from the files: read each and compare its checksum."""
    committed, failed = [], []
    for sop_class_uid, sop_instance_uid in request.instances:
        reason = _failure(db, archive, sop_class_uid, sop_instance_uid)
        if reason is None:
            committed.append((sop_class_uid, sop_instance_uid))
        else:
            failed.append((sop_class_uid, sop_instance_uid, reason))
    return Report(request=request, committed=tuple(committed), failed=tuple(failed))


def _failure(db: Database, archive: Archive, sop_class_uid: str, sop_instance_uid: str) -> int | None:
    """Why an instance cannot be vouched for; all that came under its UID must be there, whole."""
    kept = db.execute(
        "SELECT sha256, sop_class_uid FROM fact_object WHERE sop_instance_uid = ?", [sop_instance_uid]
    ).fetchall()
    if not kept or all(removed_since(db, sha256) for sha256, _ in kept):
        return NOT_HERE
    if all(name != sop_class_uid for _, name in kept):
        return CLASS_CONFLICT
    return None if all(is_whole(archive, sha256) for sha256, _ in kept) else DAMAGED


def is_whole(archive: Archive, sha256: str) -> bool:
    """Whether a file is, byte for byte, what was received."""
    try:
        identity = read_identity(archive.path(sha256))
        return archive.digest(sha256, identity.transfer_syntax_uid, offset=identity.dataset_offset) == sha256
    except (OSError, DicomReadError):
        return False


def note_heard(db: Database, report: Report, *, at: datetime) -> None:
    """Store an answer that the other side has confirmed; the request is no longer pending."""
    with writing(db):
        record_heard(db, report=report, at=at)


def record_heard(db: Database, *, report: Report, at: datetime) -> None:
    """As :func:`note_heard`, inside the caller's unit of work."""
    db.execute(
        "INSERT OR IGNORE INTO record_commitment (request_id, answered_at, committed, failed) VALUES (?, ?, ?, ?)",
        [report.request.request_id, to_text(at), len(report.committed), json.dumps(report.failed)],
    )
    db.execute(
        "DELETE FROM state_outgoing WHERE kind = 'commitment' AND peer = '' AND key = CAST(? AS TEXT)",
        [report.request.request_id],
    )
    log.info(
        "storage commitment answered",
        calling_ae=report.request.calling_ae,
        committed=len(report.committed),
        failed=len(report.failed),
    )


def report_now(folder: Path, archive: Archive, request_id: int) -> Report | None:
    """The answer to a request that is still pending.

    Raises
    ------
    StoreError, sqlite3.Error
        The database cannot be read.
    """
    with closing(open_database(folder)) as db:
        request = pending_request(db, request_id)
        return None if request is None else examine(db, archive, request)


def heard_now(folder: Path, report: Report) -> None:
    """As :func:`note_heard`, with a connection of its own.

    Raises
    ------
    StoreError, sqlite3.Error
        The database cannot be written.
    """
    with closing(open_database(folder)) as db:
        note_heard(db, report, at=now())
