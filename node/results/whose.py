"""Whose images are and where they belong, from the header of one as it was received."""

from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from analytics.reasons import Reason
from node.dicom.content import content_faults
from node.dicom.part10 import require_bounded
from node.results.content import Whose

OF_PATIENT = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
)
"""Elements of patient and study, taken over as they are."""
TAGS = ("SpecificCharacterSet", *OF_PATIENT)


def read_whose(path: Path) -> Whose:
    """Whose a stored image is, by its own header.

    Raises
    ------
    DicomReadError
        It cannot be read.
    FileNotFoundError
        There is no such file.
    """
    with content_faults(Reason("not-readable-as-dicom", {"fault": ""})):
        require_bounded(path)
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
        issuers = header.get("IssuerOfAccessionNumberSequence") or []
        return Whose(
            patient_id=_text(header, "PatientID"),
            issuer=_text(header, "IssuerOfPatientID"),
            name=_text(header, "PatientName"),
            birth_date=_text(header, "PatientBirthDate"),
            sex=_text(header, "PatientSex"),
            study_instance_uid=_text(header, "StudyInstanceUID"),
            study_id=_text(header, "StudyID"),
            study_date=_text(header, "StudyDate"),
            study_time=_text(header, "StudyTime"),
            study_description=_text(header, "StudyDescription"),
            accession_number=_text(header, "AccessionNumber"),
            accession_issuer=_text(issuers[0], "LocalNamespaceEntityID") if issuers else "",
            referring_physician=_text(header, "ReferringPhysicianName"),
        )


def _text(header: Dataset, keyword: str) -> str:
    value = header.get(keyword)
    return "" if value is None else str(value).strip()
