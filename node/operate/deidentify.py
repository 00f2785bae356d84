"""An MR image without whose it is: what leaves is named here, element by element; all else stays.

The Basic Application Level Confidentiality Profile of PS3.15 says what must go. Here an element must be in a list to
leave, so that what the profile does not know (private elements, new ones, text that somebody typed) goes as well.
Pixels are given as they are; Clean Pixel Data is not claimed, and an image that may have something burnt in is refused.

References
----------
DICOM PS3.15, annex E: table E.1-1 (a test compares the list with it), E.2 (basic profile), E.3.6 (longitudinal
temporal information); CID 7050 of PS3.16 (codes). PS3.5, B.2 (UIDs from UUIDs); RFC 9562, 5.8 (UUID version 8).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from node import __version__
from node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.errors import DecodingError, DicomReadError, NodeError
from node.outgoing.transcode import UNCOMPRESSED, uncompressed

KEPT = (
    "SOPClassUID", "ImageType", "Modality", "Manufacturer", "ManufacturerModelName", "BodyPartExamined",
    "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "SliceThickness", "RepetitionTime",
    "EchoTime", "InversionTime", "NumberOfAverages", "ImagingFrequency", "ImagedNucleus", "EchoNumbers",
    "MagneticFieldStrength", "SpacingBetweenSlices", "NumberOfPhaseEncodingSteps", "EchoTrainLength",
    "PercentSampling", "PercentPhaseFieldOfView", "PixelBandwidth", "AcquisitionMatrix",
    "InPlanePhaseEncodingDirection", "FlipAngle", "VariableFlipAngleFlag", "PatientPosition", "SeriesNumber",
    "AcquisitionNumber", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "SliceLocation",
    "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "PixelSpacing", "PixelAspectRatio",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "WindowCenter",
    "WindowWidth", "RescaleIntercept", "RescaleSlope", "RescaleType", "LossyImageCompression",
    "LossyImageCompressionRatio", "LossyImageCompressionMethod", "BurnedInAnnotation",
)  # fmt: skip
"""Leave as they are: none of them is in table E.1-1."""
UIDS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
EMPTY = (
    "PatientBirthDate", "PatientSex", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID",
    "PositionReferenceIndicator",
)  # fmt: skip
"""Have to be there, and may say nothing (type 2)."""
NAMING = (
    "PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName",
    "PatientBirthDate", "AccessionNumber", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName",
    "InstitutionName", "PatientAddress",
)  # fmt: skip
"""Whose words must not stand in what leaves."""
SHORTEST_WORD = 3

PROFILE = ("113100", "Basic Application Confidentiality Profile")
MODIFIED = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
UNMODIFIED = ("113106", "Retain Longitudinal Temporal Information Full Dates Option")


class KeptHereError(NodeError):
    """An image does not leave; the message is why, in a few words that are the same for all such images."""


@dataclass(frozen=True, kw_only=True)
class Cover:
    """What stands in the place of what leads to a patient."""

    patient: str
    uid: Callable[[str], bytes]
    """16 bytes for each UID, keyed, the same whenever it is asked for."""
    days_back: timedelta
    shifted: bool


def deidentified(path: Path, cover: Cover) -> FileDataset:
    """The image in a file, with nothing in it but the elements that are named here, uncompressed.

    Raises
    ------
    KeptHereError
        It may have something burnt in, is no single slice, or cannot be given away without a doubt.
    FileNotFoundError
        There is no such file.
    """
    try:
        given = uncompressed(path)
    except (DicomReadError, DecodingError) as error:
        raise KeptHereError("not decodable") from error
    _require_clean(given)
    made = Dataset()
    for keyword in KEPT:
        _copy(given, made, keyword)
    for keyword in UIDS:
        if given.get(keyword):
            setattr(made, keyword, new_uid(cover.uid(str(given[keyword].value))))
    for keyword in DATES:
        if moved := _moved(str(given.get(keyword) or ""), cover.days_back):
            setattr(made, keyword, moved)
    for keyword in EMPTY:
        setattr(made, keyword, "")
    made.setdefault("StudyDate", "")
    made.PatientName = cover.patient
    made.PatientID = cover.patient
    _say_how(made, shifted=cover.shifted)
    made.PixelData = _pixels(given)
    made["PixelData"].VR = "OW"
    _require_no_word(made, words_of(given))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return FileDataset("", made, file_meta=meta, preamble=b"\0" * 128)


def new_uid(digest: bytes) -> str:
    """A UID of 16 bytes, as that of a UUID of version 8."""
    fields = bytearray(digest[:16])
    fields[6] = (fields[6] & 0x0F) | 0x80
    fields[8] = (fields[8] & 0x3F) | 0x80
    return f"2.25.{UUID(bytes=bytes(fields)).int}"


def words_of(given: Dataset) -> set[str]:
    """The words by which an image names people and places, in lower case."""
    return {word for keyword in NAMING for word in _words(given, keyword) if len(word) >= SHORTEST_WORD}


def _words(given: Dataset, keyword: str) -> Iterator[str]:
    value = given.get(keyword)
    values = value if isinstance(value, pydicom.multival.MultiValue) else [value]
    for one in values:
        yield from str("" if one is None else one).replace("^", " ").replace("=", " ").casefold().split()


def _require_clean(given: Dataset) -> None:
    if given.get("SOPClassUID") != MRImageStorage or int(given.get("NumberOfFrames") or 1) > 1:
        raise KeptHereError("no single MR slice")
    if given.file_meta.TransferSyntaxUID not in UNCOMPRESSED:
        raise KeptHereError("compressed with loss, or by bytes in the other order")
    burnt_in, kind = given.get("BurnedInAnnotation"), list(given.get("ImageType") or ())[:2]
    if burnt_in == "YES" or given.get("RecognizableVisualFeatures") == "YES":
        raise KeptHereError("says that something is burnt in or recognisable")
    if burnt_in != "NO" and kind != ["ORIGINAL", "PRIMARY"]:
        raise KeptHereError("is derived, and does not say that nothing is burnt in")
    if not all(given.get(name) for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")):
        raise KeptHereError("has no UIDs")


def _copy(given: Dataset, made: Dataset, keyword: str) -> None:
    """An element of its proper kind, in plain characters; any other stays here."""
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in given:
        return
    element = given[tag]
    if element.VR in dictionary_VR(tag).split(" or ") and str(element.value).isascii():
        made.add(element)


def _moved(value: str, days_back: timedelta) -> str | None:
    try:
        return (date.fromisoformat(value) - days_back).strftime("%Y%m%d") if len(value) == len("20260301") else None
    except (ValueError, OverflowError):
        return None


def _say_how(made: Dataset, *, shifted: bool) -> None:
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethod = [f"vbq-node {__version__}", "PS3.15 Basic Profile, elements by a list"]
    made.DeidentificationMethodCodeSequence = [_code(*PROFILE), _code(*(MODIFIED if shifted else UNMODIFIED))]
    made.LongitudinalTemporalInformationModified = "MODIFIED" if shifted else "UNMODIFIED"


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _pixels(given: Dataset) -> bytes:
    """The pixels alone: no bits beside those that are stored, in which something may have been drawn, and no rest."""
    try:
        if given.SamplesPerPixel != 1 or given.BitsAllocated not in (8, 16) or given.HighBit != given.BitsStored - 1:
            raise KeptHereError("its pixels are not laid out plainly")
        allocated, stored = int(given.BitsAllocated), int(given.BitsStored)
        size = given.Rows * given.Columns
        values = np.frombuffer(given.PixelData, dtype=f"<u{allocated // 8}", count=size)
    except (AttributeError, TypeError, ValueError) as error:
        raise KeptHereError("its pixels are not laid out plainly") from error
    spare = allocated - stored
    if given.PixelRepresentation == 1:
        signed = values.view(f"<i{allocated // 8}")
        content = ((signed << spare) >> spare).tobytes()
    else:
        content = (values & ((1 << stored) - 1)).astype(values.dtype).tobytes()
    return content + b"\0" * (len(content) % 2)


def _require_no_word(made: Dataset, words: set[str]) -> None:
    """A maker that writes a name into an element for something else is found out."""
    for element in made:
        if keyword_for_tag(element.tag) in (*EMPTY, *UIDS, "PixelData"):
            continue
        said = str(element.value).casefold()
        if any(word in said for word in words):
            raise KeptHereError("names its patient where no name belongs")
