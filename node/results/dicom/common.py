"""What all DICOM results have in common: whose they are, what they refer to, who made them, how they become bytes."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid4, uuid5

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from analytics.reasons import Reason
from node import __version__
from node.dicom.content import content_faults
from node.dicom.part10 import IMPLEMENTATION_CLASS_UID, require_bounded
from node.errors import DicomReadError
from node.results.content import Earlier, Result
from node.results.records import Rendered
from node.results.scheme import SCHEME_UID
from node.results.whose import OF_PATIENT

MANUFACTURER = MODEL = "vbq-node"
RESEARCH = "Research use only"
SERIES_DESCRIPTION = "VBQ, research use only"
"""Without the words by which the node would look for a series to be measured."""
SERIES_NUMBERS = {"sr": 9901, "sc": 9902, "seg": 9903, "gsps": 9904, "ko": 9905}
UTF_8 = "ISO_IR 192"

NEVER_ABSENT = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Of them those that may be empty but not missing (type 2)."""

# It logs, and warns with, the names that it is given.
logging.getLogger("highdicom").setLevel(logging.CRITICAL)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What an object refers to, and takes patient and study from.

    Attributes
    ----------
    header
        As received, without pixels.
    plain
        The same without patient and private elements, as a library that checks them is given it.
    """

    header: Dataset
    plain: Dataset


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing that a library says of values reaches a log."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def source_of(result: Result) -> Source:
    """The slice of a result; the version before where the images are gone, or lie in another study now.

    Raises
    ------
    DicomReadError
        It cannot be read.
    """
    earlier = result.replaces
    if result.finding.score is None and earlier is not None and earlier.path is not None:
        same_study = (
            result.whose is not None and result.whose.study_instance_uid == earlier.content["study_instance_uid"]
        )
        return read_source(result.image if same_study and result.image is not None else earlier.path)
    assert result.image is not None, "a score has a slice"
    return read_source(result.image)


def read_source(path: Path) -> Source:
    """The header of a DICOM file.

    Raises
    ------
    DicomReadError
        It cannot be read.
    """
    with content_faults(Reason("not-readable-as-dicom", {"fault": ""})):
        require_bounded(path)
        header = pydicom.dcmread(path, stop_before_pixels=True)
        plain = deepcopy(header)
        plain.remove_private_tags()
        plain.pop("SpecificCharacterSet", None)
        for keyword in OF_PATIENT:
            if keyword in plain and keyword != "StudyInstanceUID":
                delattr(plain, keyword)
        for keyword in NEVER_ABSENT:
            setattr(plain, keyword, "")
        plain.StudyDate = plain.StudyTime = None
        return Source(header=header, plain=plain)


def new_uid() -> UID:
    """A UID that nobody else has (PS3.5, B.2)."""
    return UID(f"2.25.{uuid4().int}")


def lasting_uid(*parts: str) -> UID:
    """The UID of a thing that is the same in every version, as a circle of a series."""
    return UID(f"2.25.{uuid5(NAMESPACE_OID, '|'.join((SCHEME_UID, *parts))).int}")


def equipment(result: Result, *, series: str) -> dict[str, Any]:
    """The arguments by which highdicom is told who makes an object, and in which series."""
    return {
        "series_instance_uid": series_uid(result.replaces),
        "series_number": SERIES_NUMBERS[series],
        "sop_instance_uid": new_uid(),
        "instance_number": result.version,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MODEL,
        "software_versions": __version__,
        "device_serial_number": result.site,
        "series_description": f"{before_all(result)}{SERIES_DESCRIPTION}",
    }


def series_uid(earlier: Earlier | None) -> UID:
    """All versions of a result are one series."""
    if earlier is None or earlier.path is None:
        return new_uid()
    return UID(pydicom.dcmread(earlier.path, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID)


def printed(result: Result) -> str:
    """What stands on every object."""
    return f"{before_all(result)}{RESEARCH}. Protocol: {result.protocol}"


def before_all(result: Result) -> str:
    """The banner of a test system, as it goes before other words."""
    return f"{result.banner}. " if result.banner else ""


def person_name(name: str) -> str:
    """A name as people give it, as one of DICOM: all of it the family name (PS3.5, 6.2.1.1)."""
    kept = "".join(" " if one in "\\^=" else one for one in name)
    return f"{' '.join(kept.split())[:60]}^"


def finished(made: Dataset, source: Source, result: Result) -> Rendered:
    """The bytes of an object: with patient and study as in the images, and the moment at which it was made.

    Raises
    ------
    DicomReadError
        It cannot be encoded.
    """
    header = source.header
    for keyword in OF_PATIENT:
        if keyword in made:
            delattr(made, keyword)
        if keyword in header:
            made[keyword] = deepcopy(header[keyword])
    for keyword in NEVER_ABSENT:
        if keyword not in made:
            setattr(made, keyword, "")
    for what in ("InstanceCreation", "Content", "PresentationCreation"):
        if f"{what}Date" in made:
            setattr(made, f"{what}Date", result.made_at.strftime("%Y%m%d"))
            setattr(made, f"{what}Time", result.made_at.strftime("%H%M%S"))
    made.SpecificCharacterSet = header.get("SpecificCharacterSet") or ""
    # Letters that the images' own character set may not have come from this node's settings and readers alone.
    own = (result.protocol, result.site, result.finding.approval.name if result.finding.approval else "")
    if not all(text.isascii() for text in own):
        made.SpecificCharacterSet = UTF_8
        for keyword in ("PatientName", "ReferringPhysicianName"):
            setattr(made, keyword, str(made[keyword].value or ""))
    return Rendered(identifier=str(made.SOPInstanceUID), content=_encoded(made))


def _encoded(made: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = made.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = made.SOPClassUID, made.SOPInstanceUID
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    made.file_meta = meta
    buffer = BytesIO()
    try:
        pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    except (ValueError, UnicodeError, TypeError, AttributeError) as error:
        raise DicomReadError(Reason("result-not-encodable", {"fault": type(error).__name__})) from error
    return buffer.getvalue()
