"""What a PACS answers when this node asks whether it keeps its results (Storage Commitment, the user's side).

The answer comes as N-EVENT-REPORT, over the association of the question or over one that the PACS opens. It is recorded
before it is confirmed.

References
----------
DICOM PS3.4, annex J.3.3.
"""

from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING

import structlog
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from analytics.reasons import Reason
from node.clock import now, to_text
from node.dicom import dimse
from node.dicom.commitment import MAX_REQUEST_BYTES, decoded
from node.dicom.content import content_faults
from node.dicom.intake import Answer, Peer
from node.dicom.recorder import Recorder
from node.errors import DicomReadError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

HOW = "commitment"
"""As ``record_result_answer.how`` has it."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An answer: which objects are kept, and which are not, with the reason code."""

    transaction_uid: str
    kept: tuple[str, ...]
    missing: tuple[tuple[str, int], ...]


def read_event(event: "Dataset") -> Kept:
    """An answer, of the data set of its N-EVENT-REPORT.

    Raises whatever pydicom raises for what it cannot make sense of.
    """
    return Kept(
        transaction_uid=str(event.TransactionUID),
        kept=tuple(str(item.ReferencedSOPInstanceUID) for item in event.get("ReferencedSOPSequence") or ()),
        missing=tuple(
            (str(item.ReferencedSOPInstanceUID), int(item.get("FailureReason") or 0))
            for item in event.get("FailedSOPSequence") or ()
        ),
    )


def record_answer(db: Database, told: Kept, *, at: datetime) -> int:
    """Record an answer inside a unit of work; returns how many results it is about.

    One about a transaction that this node has not begun, or that is answered already, is about none. Some answer in
    parts: what a part leaves out is still asked for.
    """
    asked = dict(
        db.execute(
            "SELECT r.identifier, r.result_id FROM state_result_commitment JOIN record_result AS r USING (result_id) "
            "WHERE transaction_uid = ?",
            [told.transaction_uid],
        ).fetchall()
    )
    answers = [(uid, "kept", "") for uid in told.kept]
    answers += [(uid, "missing", f"0x{code:04X}") for uid, code in told.missing]
    about = [one for one in answers if one[0] in asked]
    for uid, answer, detail in about:
        db.execute(
            "INSERT INTO record_result_answer (result_id, how, answer, detail, answered_at) VALUES (?, ?, ?, ?, ?)",
            [asked[uid], HOW, answer, detail, to_text(at)],
        )
        db.execute(
            "DELETE FROM state_result_commitment WHERE transaction_uid = ? AND result_id = ?",
            [told.transaction_uid, asked[uid]],
        )
    return len(about)


class EventSink:
    """An N-EVENT-REPORT about Storage Commitment, on its way in."""

    def __init__(self, recorder: Recorder, transfer_syntax_uid: str, peer: Peer) -> None:
        self._recorder = recorder
        self._syntax = transfer_syntax_uid
        self._peer = peer
        self._content = BytesIO()

    def write(self, piece: memoryview) -> None:
        """Keep it, up to a length that no answer has."""
        if self._content.tell() <= MAX_REQUEST_BYTES:
            self._content.write(piece)

    def discard(self) -> None:
        """It was in memory only."""

    def finish(self) -> Answer:
        """Record the answer; Success only when it is durable."""
        if self._content.tell() > MAX_REQUEST_BYTES:
            return Answer(status=dimse.RESOURCE_LIMITATION, comment="the report is too long")
        self._content.seek(0)
        try:
            with content_faults(Reason("request-not-readable", {"fault": ""})):
                told = read_event(decoded(self._content, self._syntax))
        except DicomReadError:
            return Answer(status=dimse.INVALID_ARGUMENT, comment="the report cannot be read")
        try:
            results = self._recorder.write(lambda db: record_answer(db, told, at=now()))
        except (sqlite3.Error, TimeoutError) as error:
            log.error("storage commitment not noted", error=str(error), peer=self._peer.address)
            return Answer(status=dimse.PROCESSING_FAILURE, comment="it could not be stored")
        log.info("storage commitment of results", calling_ae=self._peer.calling_ae, results=results)
        return Answer(status=dimse.SUCCESS)
