"""What a PACS has taken back by rejection notes, and whether it has restored it since.

A note holds for the images that it names whether it came before or after them. Who sent it, or may correct it, undoes
it: by dcm4chee's own revoking note, or by sending an image again, with another header after the note, or as it was (in
whatever transfer syntax) once the study had been quiet. Sooner it is one burst of sending, in whatever order and of any
length, and a scanner that repeats itself has restored nothing. Receipts alone decide, in the order of their numbers: a
clock may have been wrong.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from sqlite_utils import Database

from analytics.reasons import Reason
from node.clock import from_text
from node.dicom.rejection import PATIENT_SAFETY, QUALITY, RETENTION_EXPIRED, REVOKED, WRONG_WORKLIST_ENTRY
from node.measure.study import ReceivedImage
from node.settings import Dicom
from node.steps.resent import Sender, may_correct, sender_of

STRENGTH = {QUALITY: 1, PATIENT_SAFETY: 2, WRONG_WORKLIST_ENTRY: 3}
"""Order of several notes about one image, of which the strongest holds; one for retention (113039) changes nothing."""

OF_STUDY = """
SELECT DISTINCT sop_instance_uid FROM derived_instance
WHERE series_instance_uid IN (SELECT series_instance_uid FROM derived_instance WHERE study_instance_uid = ?)
  AND (rejected IS NOT NULL OR sop_instance_uid IN (SELECT sop_instance_uid FROM derived_rejection))
"""
NOTES = """
SELECT j.object_id, j.code, r.receipt_id, r.received_at, r.peer_address, r.calling_ae
FROM derived_rejection AS j JOIN derived_instance AS n ON n.object_id = j.object_id
JOIN fact_object_receipt AS r ON r.object_id = j.object_id
WHERE j.sop_instance_uid = ? ORDER BY r.receipt_id
"""
# The studies in which an image lies, as a JSON array: of whichever it is judged, the same comes of it.
OF_IMAGE = """
SELECT json_group_array(uid) FROM (
    SELECT study_instance_uid AS uid FROM derived_instance WHERE sop_instance_uid = :uid
    UNION SELECT study_instance_uid FROM derived_superseded WHERE sop_instance_uid = :uid ORDER BY 1)
"""
# Of all images of their series, and of the notes about them.
OF_BURSTS = """
WITH study (uid) AS (SELECT value FROM json_each(:studies)),
standing AS (SELECT * FROM derived_instance WHERE study_instance_uid IN (SELECT uid FROM study)),
image (object_id, sop_instance_uid) AS (
    SELECT object_id, sop_instance_uid FROM standing
    UNION SELECT object_id, sop_instance_uid FROM derived_superseded
          WHERE series_instance_uid IN (SELECT series_instance_uid FROM standing)
)
SELECT receipt_id, received_at FROM fact_object_receipt WHERE object_id IN (
    SELECT object_id FROM image
    UNION SELECT j.object_id FROM image JOIN derived_rejection AS j USING (sop_instance_uid))
ORDER BY receipt_id
"""
RECEIPTS = """
SELECT i.headers, r.receipt_id, r.received_at, r.peer_address, r.calling_ae
FROM (SELECT object_id, headers FROM derived_instance WHERE sop_instance_uid = :uid
      UNION ALL SELECT object_id, headers FROM derived_superseded WHERE sop_instance_uid = :uid) AS i
JOIN fact_object_receipt AS r USING (object_id)
ORDER BY r.receipt_id
"""


@dataclass(frozen=True, kw_only=True)
class Note:
    """A rejection note about an image: its code, number and time of its newest receipt, and who has sent it."""

    code: str
    place: int
    at: str
    senders: Collection[Sender | None]


@dataclass(frozen=True, kw_only=True)
class ImageReceipt:
    """A receipt of the image: what its header said, the number and time of the receipt, and who sent it."""

    header: str
    place: int
    at: str
    sender: Sender | None


def note_rejections(db: Database, study_uid: str, settings: Dicom) -> None:
    """Note, within a unit of work of the caller, which images of a study are taken back now."""
    if not db.execute("SELECT EXISTS (SELECT 1 FROM derived_rejection)").fetchone()[0]:
        return
    bursts: dict[str, list[int]] = {}
    for (uid,) in db.execute(OF_STUDY, [study_uid]).fetchall():
        (studies,) = db.execute(OF_IMAGE, {"uid": uid}).fetchone()
        if studies not in bursts:
            bursts[studies] = bursts_of(db.execute(OF_BURSTS, {"studies": studies}), settings)
        receipts = [
            ImageReceipt(header=header, place=place, at=at, sender=sender_of(settings, address=address, calling_ae=ae))
            for header, place, at, address, ae in db.execute(RECEIPTS, {"uid": uid}).fetchall()
        ]
        code = rejected(_notes(db, settings, uid), receipts, settings, bursts[studies])
        db.execute("UPDATE derived_instance SET rejected = ? WHERE sop_instance_uid = ?", [code, uid])


def bursts_of(receipts: Iterable[tuple[int, str]], settings: Dicom) -> list[int]:
    """The receipts with which a burst of sending begins, of these in their order: the study had been quiet."""
    quiet = timedelta(seconds=settings.quiet_s)
    pairs = pairwise((place, from_text(at)) for place, at in receipts)
    return [place for (_, before), (place, at) in pairs if at - before >= quiet > timedelta()]


def _notes(db: Database, settings: Dicom, uid: str) -> list[Note]:
    """The notes about an image, in the order of their newest receipts."""
    found: dict[int, Note] = {}
    for object_id, code, place, at, address, ae in db.execute(NOTES, [uid]).fetchall():
        before = found.pop(object_id, None)
        senders = {*(before.senders if before else ()), sender_of(settings, address=address, calling_ae=ae)}
        found[object_id] = Note(code=code, place=place, at=at, senders=senders)
    return list(found.values())


def rejected(
    notes: Iterable[Note], receipts: Sequence[ImageReceipt], settings: Dicom, bursts: Sequence[int]
) -> str | None:
    """The code by which an image is taken back now, or ``None``; notes and receipts in the order of their receipts.

    ``bursts``: as of :func:`bursts_of`.
    """
    held: list[Note] = []
    for note in notes:
        if note.code == REVOKED:
            held = [one for one in held if not any(_may_restore(sender, one, settings) for sender in note.senders)]
        elif note.code != RETENTION_EXPIRED and not _restored(note, receipts, settings, bursts):
            held.append(note)
    return max((one.code for one in held), key=lambda code: STRENGTH.get(code, 0), default=None)


def _restored(note: Note, receipts: Sequence[ImageReceipt], settings: Dicom, bursts: Sequence[int]) -> bool:
    before = {one.header for one in receipts if one.place <= note.place}
    after = [one for one in receipts if one.place > note.place]
    again = [one for one in after if _may_restore(one.sender, note, settings)]
    if not again:
        return False
    if before and any(one.header not in before for one in again):
        return True
    since = note.place if before else after[0].place
    return any(since < burst <= again[-1].place for burst in bursts)


def _may_restore(sender: Sender | None, note: Note, settings: Dicom) -> bool:
    return sender is not None and (sender in note.senders or may_correct(settings, sender, note.senders))


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
