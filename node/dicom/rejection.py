"""Rejection notes: how a PACS or a modality says that images are taken back.

References
----------
IHE Radiology Technical Framework, Imaging Object Change Management (IOCM): RAD TF-3, 4.66; the codes are those of
DICOM PS3.16, CID 7011 "Rejected for …" of context group 7010.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"

QUALITY, PATIENT_SAFETY, WRONG_WORKLIST_ENTRY, RETENTION_EXPIRED = "113001", "113037", "113038", "113039"
"""Document titles of rejection notes, scheme DCM."""
REVOKED = "revoked"
"""Stands for dcm4chee's own title REVOKE_REJECTION (scheme 99DCM4CHEE): earlier notes no longer hold."""
TITLES = {
    ("DCM", QUALITY): QUALITY,
    ("DCM", PATIENT_SAFETY): PATIENT_SAFETY,
    ("DCM", WRONG_WORKLIST_ENTRY): WRONG_WORKLIST_ENTRY,
    ("DCM", RETENTION_EXPIRED): RETENTION_EXPIRED,
    ("99DCM4CHEE", "REVOKE_REJECTION"): REVOKED,
}
MEANINGS = {
    "rejected for quality reasons": QUALITY,
    "rejected for patient safety reasons": PATIENT_SAFETY,
    "incorrect modality worklist entry": WRONG_WORKLIST_ENTRY,
    "data retention policy expired": RETENTION_EXPIRED,
    "data retention period expired": RETENTION_EXPIRED,
}
"""The same titles by their meaning (PS3.16, annex D), where a system has codes of its own for them."""
MAX_INSTANCES = 50_000
"""Most images that one note may name; a study of 10,000 images is rare."""


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """What a note takes back: the code of its title, and the SOP Instance UIDs that it names."""

    code: str
    instances: tuple[str, ...]


def rejection_of(dataset: "Dataset") -> Rejection | None:
    """The rejection that a Key Object Selection document is, or ``None``: it is another object.

    Raises whatever pydicom raises for sequences that it cannot make sense of.
    """
    if str(dataset.get("SOPClassUID", "")) != KEY_OBJECT_SELECTION:
        return None
    code = next((found for item in dataset.get("ConceptNameCodeSequence") or () if (found := _title(item))), None)
    if code is None:
        return None
    named: dict[str, None] = {}
    for uid in (*_evidence(dataset), *_content(dataset)):
        named[uid] = None
        if len(named) > MAX_INSTANCES:
            break
    return Rejection(code=code, instances=tuple(named))


def _title(item: "Dataset") -> str | None:
    """By code and scheme, else by its meaning; a version of the scheme may be given, and says nothing else."""
    code = TITLES.get((_text(item, "CodingSchemeDesignator").upper(), _text(item, "CodeValue").upper()))
    return code or MEANINGS.get(_text(item, "CodeMeaning").casefold())


def _evidence(dataset: "Dataset") -> Iterator[str]:
    for study in dataset.get("CurrentRequestedProcedureEvidenceSequence") or ():
        for series in study.get("ReferencedSeriesSequence") or ():
            yield from _references(series)


def _content(dataset: "Dataset") -> Iterator[str]:
    for item in dataset.get("ContentSequence") or ():
        yield from _references(item)


def _references(holder: "Dataset") -> Iterator[str]:
    for reference in holder.get("ReferencedSOPSequence") or ():
        if uid := _text(reference, "ReferencedSOPInstanceUID"):
            yield uid


def _text(dataset: "Dataset", keyword: str) -> str:
    return str(dataset.get(keyword) or "").replace("\0", "").strip()
