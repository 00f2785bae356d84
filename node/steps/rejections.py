"""What a PACS has taken back by rejection notes, and whether it has restored it since.

A note holds for the images that it names whether it came before or after them. It is undone by dcm4chee's own revoking
note, and when the PACS sends an image again: other bytes under its UID after the note, or the same bytes once the study
had been quiet (sooner it is one burst of sending, in whatever order). Receipts alone decide, in the order of their
numbers: a clock may have been wrong.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from sqlite_utils import Database

from analytics.reasons import Reason
from node.clock import from_text
from node.dicom.rejection import PATIENT_SAFETY, QUALITY, RETENTION_EXPIRED, REVOKED, WRONG_WORKLIST_ENTRY
from node.measure.study import ReceivedImage

STRENGTH = {QUALITY: 1, PATIENT_SAFETY: 2, WRONG_WORKLIST_ENTRY: 3}
"""Order of several notes about one image, of which the strongest holds; one for retention (113039) changes nothing."""

OF_STUDY = """
SELECT DISTINCT sop_instance_uid FROM derived_instance
WHERE series_instance_uid IN (SELECT series_instance_uid FROM derived_instance WHERE study_instance_uid = ?)
  AND (rejected IS NOT NULL OR sop_instance_uid IN (SELECT sop_instance_uid FROM derived_rejection))
"""
NOTES = """
SELECT j.code, max(r.receipt_id), r.received_at
FROM derived_rejection AS j JOIN derived_instance AS n ON n.object_id = j.object_id
JOIN fact_object_receipt AS r ON r.object_id = j.object_id
WHERE j.sop_instance_uid = ? GROUP BY j.object_id, j.code ORDER BY 2
"""
RECEIPTS = """
SELECT r.object_id, r.receipt_id, r.received_at FROM fact_object_receipt AS r
WHERE r.object_id IN (SELECT object_id FROM derived_instance WHERE sop_instance_uid = :uid
                      UNION SELECT object_id FROM derived_superseded WHERE sop_instance_uid = :uid)
ORDER BY r.receipt_id
"""


def note_rejections(db: Database, study_uid: str, *, quiet_s: float) -> None:
    """Note, within a unit of work of the caller, which images of a study are taken back now."""
    if not db.execute("SELECT EXISTS (SELECT 1 FROM derived_rejection)").fetchone()[0]:
        return
    for (uid,) in db.execute(OF_STUDY, [study_uid]).fetchall():
        notes = db.execute(NOTES, [uid]).fetchall()
        receipts = db.execute(RECEIPTS, {"uid": uid}).fetchall()
        code = rejected(notes, receipts, quiet=timedelta(seconds=quiet_s))
        db.execute("UPDATE derived_instance SET rejected = ? WHERE sop_instance_uid = ?", [code, uid])


def rejected(
    notes: Iterable[tuple[str, int, str]], receipts: Sequence[tuple[int, int, str]], *, quiet: timedelta
) -> str | None:
    """The code by which an image is taken back now, or ``None``.

    Parameters
    ----------
    notes
        Code, and number and time of the newest receipt, of each note about it, in their order.
    receipts
        Object, and number and time, of each receipt of the image, in their order.
    """
    held: dict[str, None] = {}
    for code, noted, noted_at in notes:
        if code == REVOKED:
            held.clear()
        elif code != RETENTION_EXPIRED and not _restored(noted, noted_at, receipts, quiet):
            held[code] = None
    return max(held, key=lambda code: STRENGTH.get(code, 0), default=None)


def _restored(noted: int, noted_at: str, receipts: Sequence[tuple[int, int, str]], quiet: timedelta) -> bool:
    before = {number for number, place, _ in receipts if place <= noted}
    after = [(number, at) for number, place, at in receipts if place > noted]
    if not after:
        return False
    if before and any(number not in before for number, _ in after):
        return True
    since = from_text(noted_at if before else after[0][1])
    return any(from_text(at) - since >= quiet > timedelta() for _, at in after)


def reasons_of(images: Iterable[ReceivedImage]) -> list[Reason]:
    """What of a series is taken back, by code."""
    codes = [image.rejected for image in images]
    counts = Counter(code for code in codes if code is not None)
    return [_reason(code, {"count": number, "of": len(codes)}) for code, number in sorted(counts.items())]


def _reason(code: str, values: Mapping[str, int]) -> Reason:
    if code == QUALITY:
        return Reason("rejected-for-quality", values)
    if code == PATIENT_SAFETY:
        return Reason("rejected-for-patient-safety", values)
    return Reason("rejected-for-wrong-worklist-entry", values)
