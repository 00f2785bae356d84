"""Reads stored objects: headers into plain records, pixels into arrays.

Scanners and archives write empty, padded and impossible values; each costs that one value, never the image. Only what
is not DICOM at all, or lacks the UIDs that say where it belongs, cannot be read.
"""

import hashlib
import logging
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence, Sized
from datetime import MAXYEAR, MINYEAR, date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import iter_pixels, pixel_array
from pydicom.tag import BaseTag

from analytics.reasons import Reason
from analytics.vbq.header import ImageHeader
from node.dicom.codestreams import coded_with_loss
from node.dicom.content import content_faults
from node.dicom.contexts import LOSSLESS, LOSSY, is_private_syntax
from node.dicom.contrast import OfContrast, of_contrast
from node.dicom.elements import Elements, clean, items_of, sequence_of, text_of, texts_of, value_of
from node.dicom.frames import PER_FRAME, SHARED, Frame, frames_of
from node.dicom.header import MAX_FRAMES, Header, Slice
from node.dicom.native_pixels import made_native
from node.dicom.part10 import read_identity, require_bounded
from node.dicom.rejection import Rejection, rejection_of
from node.dicom.twice import MOST, UpToPixels, first_of
from node.errors import DicomReadError
from node.names import PersonName

MAX_UID_LENGTH = 64
MAX_INTEGER = 2**31 - 1
"""Largest of DICOM's integer strings (PS3.5, table 6.2-1); the database takes no number of any length, either."""
UNDECODABLE = "\N{REPLACEMENT CHARACTER}"
"""Stands for bytes that are not of the character set that the image names."""

MAX_PIXELS = 8192 * 8192
"""Largest slice, in pixels; a few bytes of a compressed image can claim any number of them."""

PLACEHOLDER_YEARS = frozenset({MINYEAR, MAXYEAR})
"""The first and the last of the calendar stand for no date; some of their moments have none in another time zone."""

LOSSY_DERIVATION = "113040"
"""Lossy Compression, of DCM (PS3.16, CID 7203)."""

OF_PIXELS = (
    "SpecificCharacterSet", "NumberOfFrames", "PlanarConfiguration", "BitsAllocated", "PixelRepresentation",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "ModalityLUTSequence",
)  # fmt: skip
"""What is read with the pixels, beside what a header tells; and how its texts are."""

# pydicom logs the values that it stumbles over, and a value may be a patient's name or number.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)


def read_header(path: Path) -> Header:
    """The header of a stored object; pixels are not read.

    Raises
    ------
    DicomReadError
        It is not DICOM, or its instance, series or study UID is missing or impossible.
    FileNotFoundError
        There is no such file.
    """
    noted = UpToPixels()
    try:
        dataset = _read(path, stop_when=noted)
        with _quiet():
            header = _header(dataset, path)
    except DicomReadError as error:
        syntax = _syntax(path)
        if not is_private_syntax(syntax):
            raise
        raise DicomReadError(Reason("syntax-not-read", {"syntax": syntax})) from error
    with _quiet():
        if noted.repeated and not _means_one_thing(dataset, path, header, noted.repeated):
            names = [keyword_for_tag(tag) or str(tag) for tag in sorted(noted.repeated)]
            raise DicomReadError(Reason("elements-twice", {"elements": tuple(names[:MOST])}))
    return header


def _header(dataset: Dataset, path: Path) -> Header:
    number = _number_of_frames(dataset)
    of_object = of_contrast(dataset)
    return Header(
        sop_instance_uid=_uid(dataset, "SOPInstanceUID"),
        series_instance_uid=_uid(dataset, "SeriesInstanceUID"),
        study_instance_uid=_uid(dataset, "StudyInstanceUID"),
        instance_number=_integer(dataset, "InstanceNumber"),
        patient_id=_identifier(dataset, "PatientID"),
        issuer=_issuer(dataset),
        birth_date=_date(dataset, "PatientBirthDate"),
        sex=_sex(dataset),
        names=tuple(_names(dataset)),
        study_date=_date(dataset, "StudyDate"),
        accession_number=text_of(dataset, "AccessionNumber"),
        began_at=_began_at(dataset),
        image=_image_header(dataset, of_object),
        frames=() if number > MAX_FRAMES else tuple(_frame_headers(dataset, of_object)),
        lossy=_is_lossy(dataset, path),
        rejection=_rejection(dataset),
        frames_left_out=number if number > MAX_FRAMES else 0,
    )


def _means_one_thing(dataset: Dataset, path: Path, header: Header, repeated: Mapping[BaseTag, int]) -> bool:
    """Whether it says the same by the first as by the last of the elements that it has more than once."""
    if len(repeated) > MOST or max(repeated.values()) > 2:
        return False
    last = [_raw(dataset.get_item(keyword)) for keyword in OF_PIXELS]
    try:
        with content_faults(Reason("not-readable-as-dicom", {"fault": ""})):
            for tag, element in first_of(lambda: path.open("rb"), repeated).items():
                dataset[tag] = element
            other = _header(dataset, path)
    except DicomReadError:
        return False
    first = [_raw(dataset.get_item(keyword)) for keyword in OF_PIXELS]
    return first == last and (other, other.names) == (header, header.names)


def _raw(element: DataElement | RawDataElement | None) -> object:
    return None if element is None else element.value


def read_dataset(path: Path) -> Dataset:
    """The whole data set of a stored object; its pixels are not decoded.

    Raises
    ------
    DicomReadError
        It is not DICOM.
    FileNotFoundError
        There is no such file.
    """
    return _read(path)


def read_slice(path: Path, *, frame: int | None = None) -> Slice:
    """The pixels of one slice of a stored image.

    Parameters
    ----------
    path
        A file of the archive.
    frame
        Which frame (1-based) of a multi-frame image; ``None`` for a single-frame one.

    Raises
    ------
    DicomReadError
        It cannot be read or decoded, or is not one monochrome slice with a pixel spacing.
    FileNotFoundError
        There is no such file.
    """
    (found,) = read_slices(path, [frame])
    return found


def read_slices(path: Path, frames: Sequence[int | None]) -> list[Slice]:
    """The pixels of several frames of one stored image, in the order asked for; raises as :func:`read_slice`.

    The pixels are decoded in this process; of images that strangers sent, :mod:`node.measure.decoding` reads them in a
    process of their own.
    """
    return [
        Slice(signal=stored.astype(np.float64), spacing_mm=spacing_mm) for stored, spacing_mm in decode(path, frames)
    ]


def decode(path: Path, frames: Sequence[int | None]) -> Iterator[tuple["NDArray[Any]", tuple[float, float]]]:
    """Each of these frames after the modality LUT, in the type that it is stored in, with its spacing in mm.

    Raises as :func:`read_slice`, also in the midst of it. The effort grows with the number of frames of the object.
    """
    dataset = _read(path)
    with _quiet():
        _require_pixels(dataset)
        if None in frames and (_integer(dataset, "NumberOfFrames") or 1) > 1:
            frames_in_all = _integer(dataset, "NumberOfFrames") or 1
            raise DicomReadError(Reason("many-frames-for-one-slice", {"frames": frames_in_all}))
        with content_faults(Reason("pixels-not-decodable", {"fault": ""})):
            made_native(dataset)
        sources = _slice_elements(dataset, frames)
        spacings = [_spacing_mm(source) for source in sources]
        pixels = _frame_pixels(dataset, frames)
    for source, spacing_mm in zip(sources, spacings, strict=True):
        with _quiet(), content_faults(Reason("pixels-not-decodable", {"fault": ""})):
            stored = with_sign(next(pixels), dataset)
            signal = np.asarray(_rescaled(stored, dataset, source))
        if signal.ndim != 2:
            raise DicomReadError(Reason("not-one-slice", {"shape": str(signal.shape)}))
        signal = _without_padding(signal, stored, dataset, source)
        yield signal, spacing_mm


def _require_pixels(dataset: Dataset) -> None:
    if "PixelData" not in dataset:
        raise DicomReadError(Reason("pixels-missing"))
    if (_integer(dataset, "Rows") or 0) * (_integer(dataset, "Columns") or 0) > MAX_PIXELS:
        raise DicomReadError(Reason("too-many-pixels", {"limit": MAX_PIXELS}))


def stored_sha256(path: Path) -> str:
    """SHA-256 of the pixels of all frames as they are stored, of colours, too: before any LUT, whatever the syntax.

    Raises as :func:`read_slice`, but needs no pixel spacing.
    """
    found = hashlib.sha256()
    dataset = _read(path)
    with _quiet(), content_faults(Reason("pixels-not-decodable", {"fault": ""})):
        _require_pixels(dataset)
        made_native(dataset)
        for stored in iter_pixels(dataset):
            signed = with_sign(stored, dataset) if stored.ndim == 2 else stored
            found.update(f"{signed.shape}".encode("ascii") + signed.astype("<i8").tobytes())
    return found.hexdigest()


def with_sign(stored: "NDArray[np.integer[Any]]", dataset: Dataset) -> "NDArray[np.integer[Any]]":
    """Signed pixels with their sign extended from Bits Stored: what is above says nothing (PS3.5, 8.1.1).

    Some encoders leave those bits zero, and not every decoder sets them; extending twice changes nothing.
    """
    bits = _integer(dataset, "BitsStored") or 0
    spare = 8 * stored.dtype.itemsize - bits
    if _integer(dataset, "PixelRepresentation") != 1 or not bits > 0 or spare <= 0:
        return stored
    signed = stored.astype(f"i{stored.dtype.itemsize}")
    extended: NDArray[np.integer[Any]] = np.right_shift(np.left_shift(signed, spare), spare)
    return extended


def _spacing_mm(source: Elements) -> tuple[float, float]:
    spacing = _numbers(source, "PixelSpacing")
    if spacing is None or len(spacing) != 2:
        raise DicomReadError(Reason("no-pixel-spacing"))
    return spacing[0], spacing[1]


def _frame_pixels(dataset: Dataset, frames: Sequence[int | None]) -> Iterator["NDArray[np.integer[Any]]"]:
    """The stored pixels of frames, in the order asked for.

    Several are taken from one run through all frames: pydicom looks for each by itself from the first one on.
    """
    if len(frames) == 1 or None in frames:
        for frame in frames:
            yield dataset.pixel_array if frame is None else pixel_array(dataset, index=frame - 1)
        return
    places: dict[int, list[int]] = {}
    for place, frame in enumerate(frames):
        places.setdefault(frame or 0, []).append(place)
    waiting: dict[int, NDArray[np.integer[Any]]] = {}
    place = 0
    for number, stored in enumerate(iter_pixels(dataset), start=1):
        waiting.update(dict.fromkeys(places.pop(number, ()), stored))
        while place in waiting:
            yield waiting.pop(place)
            place += 1
        if not places:
            return
    raise ValueError("fewer frames than it says")


def _number_of_frames(dataset: Dataset) -> int:
    """By what it says and by what it describes, whichever is more."""
    described = value_of(dataset, PER_FRAME, lambda items: len(items) if isinstance(items, Sized) else 0)
    return max(_integer(dataset, "NumberOfFrames") or 1, described or 0)


def _frames(dataset: Dataset) -> list[Frame]:
    with content_faults(Reason("frames-not-readable", {"fault": ""})):
        return frames_of(dataset)


def _slice_elements(dataset: Dataset, wanted: Sequence[int | None]) -> list[Elements]:
    """The elements of each of these frames; the object's own where it has none."""
    if all(frame is None for frame in wanted):
        return [dataset for _ in wanted]
    frames = _frames(dataset)
    if len(frames) != (_integer(dataset, "NumberOfFrames") or 1):
        raise DicomReadError(Reason("frames-contradict"))
    for frame in wanted:
        if frame is not None and not 1 <= frame <= len(frames):
            raise DicomReadError(Reason("no-such-frame", {"frame": frame, "frames": len(frames)}))
    return [dataset if frame is None else frames[frame - 1] for frame in wanted]


def _rescaled(stored: "NDArray[np.integer[Any]]", dataset: Dataset, source: Elements) -> "NDArray[Any]":
    """After the modality LUT: of the image, or of the frame (Pixel Value Transformation, PS3.3, C.7.6.16.2.9).

    Empty elements are none: archives write them where nothing was given.
    """
    if source is dataset and dataset.get("ModalityLUTSequence"):
        return apply_modality_lut(stored, dataset)
    slope, intercept = (_given(source.get(name)) for name in ("RescaleSlope", "RescaleIntercept"))
    if slope == 0:
        raise DicomReadError(Reason("rescale-slope-zero"))
    if slope is None and intercept is None:
        return stored
    return stored.astype(np.float64) * (1.0 if slope is None else slope) + (intercept or 0.0)


def _given(value: object) -> float | None:
    return None if value is None or not str(value).strip() else _float(value)


def _without_padding(
    signal: "NDArray[Any]", stored: "NDArray[np.integer[Any]]", dataset: Dataset, source: Elements
) -> "NDArray[Any]":
    """Padding at the edge of the image as zeros, which is how scanners blank what they did not measure.

    Pixel Padding Value (0028,0120), up to Pixel Padding Range Limit (0028,0121) (PS3.3, C.7.5.1.1.2). The same value
    in the midst of the image is signal.
    """
    value = _integer(source, "PixelPaddingValue")
    if value is None:
        return signal
    limit = _integer(source, "PixelPaddingRangeLimit")
    bits = 8 * stored.dtype.itemsize
    # Its sign follows Pixel Representation, but not every sender's does.
    low, high = sorted(
        int(np.array(one % 2**bits, dtype=f"u{stored.dtype.itemsize}").astype(stored.dtype))
        for one in (value, value if limit is None else limit)
    )
    candidates = (stored >= low) & (stored <= high)
    if not signal[candidates].any():
        return signal
    # Few images have any, and every process that decodes would wait for the import.
    from scipy import ndimage

    regions, _ = ndimage.label(candidates)
    edges = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    padding = np.isin(regions, np.unique(edges[edges > 0]))
    signal = signal.copy()
    signal[padding] = 0
    return signal


def _read(path: Path, *, stop_when: UpToPixels | None = None) -> Dataset:
    with _quiet(), content_faults(Reason("not-readable-as-dicom", {"fault": ""})):
        try:
            require_bounded(path)
            with path.open("rb") as file:
                return read_partial(file, stop_when=stop_when)
        except InvalidDicomError as error:
            raise DicomReadError(Reason("not-part-10")) from error


def _syntax(path: Path) -> str:
    """The transfer syntax by File Meta Information; empty where that cannot be read."""
    try:
        return read_identity(path).transfer_syntax_uid
    except DicomReadError:
        return ""


def _quiet() -> warnings.catch_warnings:
    """pydicom's warnings quote values, too."""
    return warnings.catch_warnings(action="ignore")


def _frame_headers(dataset: Dataset, of_object: OfContrast) -> Iterator[ImageHeader]:
    frames = _frames(dataset)
    shared = sum((of_contrast(item) for item in dataset.get(SHARED) or ()), of_object)
    return (_image_header(frame, shared + of_contrast(frame.groups)) for frame in frames)


def _image_header(dataset: Elements, contrast: OfContrast) -> ImageHeader:
    return ImageHeader(
        sop_class_uid=text_of(dataset, "SOPClassUID") or "",
        modality=text_of(dataset, "Modality"),
        image_type=texts_of(dataset, "ImageType"),
        orientation=_numbers(dataset, "ImageOrientationPatient"),
        position_mm=_numbers(dataset, "ImagePositionPatient"),
        pixel_spacing_mm=_numbers(dataset, "PixelSpacing"),
        rows=_integer(dataset, "Rows"),
        columns=_integer(dataset, "Columns"),
        samples_per_pixel=_integer(dataset, "SamplesPerPixel"),
        photometric=text_of(dataset, "PhotometricInterpretation"),
        slice_thickness_mm=_positive(dataset, "SliceThickness"),
        spacing_between_slices_mm=_number(dataset, "SpacingBetweenSlices"),
        repetition_time_ms=_positive(dataset, "RepetitionTime"),
        echo_time_ms=_positive(dataset, "EchoTime"),
        inversion_time_ms=_number(dataset, "InversionTime"),
        echo_train_length=_number(dataset, "EchoTrainLength"),
        flip_angle_deg=_number(dataset, "FlipAngle"),
        pixel_bandwidth_hz=_number(dataset, "PixelBandwidth"),
        field_strength_t=_number(dataset, "MagneticFieldStrength"),
        scanning_sequence=texts_of(dataset, "ScanningSequence"),
        sequence_variant=texts_of(dataset, "SequenceVariant"),
        scan_options=texts_of(dataset, "ScanOptions"),
        sequence_name=text_of(dataset, "SequenceName") or text_of(dataset, "PulseSequenceName"),
        contrast_agent=contrast.agent,
        body_part=text_of(dataset, "BodyPartExamined"),
        study_description=text_of(dataset, "StudyDescription"),
        series_description=text_of(dataset, "SeriesDescription"),
        protocol_name=text_of(dataset, "ProtocolName"),
        series_number=_integer(dataset, "SeriesNumber"),
        manufacturer=text_of(dataset, "Manufacturer"),
        model=text_of(dataset, "ManufacturerModelName"),
        station=text_of(dataset, "StationName"),
        device_serial=text_of(dataset, "DeviceSerialNumber"),
        coil=text_of(dataset, "ReceiveCoilName"),
        rescale_slope=_number(dataset, "RescaleSlope"),
        rescale_intercept=_number(dataset, "RescaleIntercept"),
        contrast_elements=contrast.elements,
        contrast_told=contrast.told,
        bits_stored=_integer(dataset, "BitsStored"),
        derivation=text_of(dataset, "DerivationDescription"),
        conversion_type=text_of(dataset, "ConversionType"),
        lossy_ratio=_lossy_ratio(dataset),
        burned_in=text_of(dataset, "BurnedInAnnotation"),
        frame_of_reference_uid=text_of(dataset, "FrameOfReferenceUID"),
    )


def _identifier(dataset: Elements, keyword: str) -> str | None:
    """A text that tells patients apart: one that is only partly legible could be that of several, and is none."""
    text = text_of(dataset, keyword)
    return None if text is None or UNDECODABLE in text else text


def _issuer(dataset: Dataset) -> str | None:
    """By its name, else by the universal ID of its qualifiers, as of a number in HL7 (CX.4)."""
    qualifiers = sequence_of(dataset, "IssuerOfPatientIDQualifiersSequence")
    universal = (_identifier(item, "UniversalEntityID") for item in qualifiers)
    return _identifier(dataset, "IssuerOfPatientID") or next(filter(None, universal), None)


def _float(value: object) -> float:
    number = float(str(value))
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _number(dataset: Elements, keyword: str) -> float | None:
    return value_of(dataset, keyword, _float)


def _positive(dataset: Elements, keyword: str) -> float | None:
    """A time or a length; headers that do not know it give 0 or −1."""
    number = _number(dataset, keyword)
    return number if number is None or number > 0 else None


def _numbers(dataset: Elements, keyword: str) -> tuple[float, ...] | None:
    return value_of(dataset, keyword, lambda value: tuple(_float(item) for item in items_of(value)))


def _whole(value: object) -> int:
    number = _float(value)
    if not number.is_integer() or abs(number) > MAX_INTEGER:
        raise ValueError("not a whole number as DICOM knows them")
    return int(number)


def _integer(dataset: Elements, keyword: str) -> int | None:
    return value_of(dataset, keyword, _whole)


def _day(value: object) -> date:
    # ACR-NEMA wrote 2026.11.23; DICOM writes 20261123; some systems write 2026-11-23.
    digits = re.sub(r"(?<=\d)[.-](?=\d)", "", clean(value))
    if len(digits) != 8 or not digits.isdigit():
        raise ValueError("not a date")
    found = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    if found.year in PLACEHOLDER_YEARS:
        raise ValueError("stands for no date")
    return found


def _date(dataset: Dataset, keyword: str) -> date | None:
    return value_of(dataset, keyword, _day)


def _names(dataset: Dataset) -> list[PersonName]:
    """Every name of the patient, by component group (alphabetic, ideographic, phonetic)."""
    texts = [texts_of(dataset, keyword) for keyword in ("PatientName", "OtherPatientNames", "PatientBirthName")]
    groups = [group.split("^") for text in texts for one in text for group in _as_utf_8(one).split("=")]
    return [
        PersonName(family=parts[0], given=" ".join(parts[1:3]))
        for parts in groups
        if any(parts[:3]) and UNDECODABLE not in "".join(parts)
    ]


def _as_utf_8(text: str) -> str:
    """A text of which the bytes are UTF-8 and were declared as Latin-1, which no name that is Latin-1 looks like."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _time_of_day(value: object) -> time:
    # ACR-NEMA wrote 09:30:00; DICOM writes 093000.ffffff, or fewer digits from the right.
    whole = clean(value).replace(":", "").partition(".")[0]
    if len(whole) not in (2, 4, 6) or not whole.isdigit():
        raise ValueError("not a time of day")
    hour, minute, second = (int(whole[place : place + 2] or 0) for place in (0, 2, 4))
    return time(hour, minute, second)


def _offset(value: object) -> timezone:
    text = clean(value)
    if len(text) != 5 or text[0] not in "+-" or not text[1:].isdigit():
        raise ValueError("not an offset")
    return timezone((1 if text[0] == "+" else -1) * timedelta(hours=int(text[1:3]), minutes=int(text[3:])))


def _began_at(dataset: Dataset) -> datetime | None:
    """When the series began, or ``None`` without a time of day; midnight to the second stands for none.

    A series does not begin before its study: of the two times the later holds. That of the acquisition (of this one
    image) counts where both are missing.
    """
    moments = {name: _moment(dataset, name) for name in ("Study", "Series", "Acquisition")}
    known = [moment for name, moment in moments.items() if moment is not None and name != "Acquisition"]
    return max(known, default=moments["Acquisition"])


def _moment(dataset: Dataset, name: str) -> datetime | None:
    """Date and time of the study, the series or the acquisition; where none of its own is given, the study's date."""
    day = _date(dataset, f"{name}Date" if text_of(dataset, f"{name}Date") else "StudyDate")
    moment = value_of(dataset, f"{name}Time", _time_of_day)
    if day is None or moment is None or moment == time():
        return None
    return datetime.combine(day, moment, value_of(dataset, "TimezoneOffsetFromUTC", _offset))


def _sex(dataset: Dataset) -> str | None:
    sex = (text_of(dataset, "PatientSex") or "").upper()
    return sex if sex in {"F", "M", "O"} else None


def _rejection(dataset: Dataset) -> Rejection | None:
    with content_faults(Reason("rejection-not-readable", {"fault": ""})):
        return rejection_of(dataset)


def _is_lossy(dataset: Dataset, path: Path) -> bool:
    """By its transfer syntax or what the pixels say themselves, or by what stays for ever (PS3.3, C.7.6.1.1.5).

    A ratio may be that of a compression without loss where Lossy Image Compression (0028,2110) is 00; a method is not.
    """
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    said = text_of(dataset, "LossyImageCompression")
    derived = {text_of(one, "CodeValue") for one in sequence_of(dataset, "DerivationCodeSequence")}
    return (
        syntax in LOSSY
        or said == "01"
        or text_of(dataset, "LossyImageCompressionMethod") is not None
        or (said is None and (_lossy_ratio(dataset) or 1.0) > 1.0)
        or LOSSY_DERIVATION in derived
        or (syntax in LOSSLESS and coded_with_loss(path))
    )


def _lossy_ratio(dataset: Elements) -> float | None:
    return value_of(dataset, "LossyImageCompressionRatio", lambda value: math.prod(map(_float, items_of(value))))


def _uid(dataset: Dataset, keyword: str) -> str:
    uid = text_of(dataset, keyword)
    if uid is None:
        raise DicomReadError(Reason("element-missing", {"keyword": keyword}))
    if len(uid) > MAX_UID_LENGTH or not set(uid) <= set("0123456789."):
        raise DicomReadError(Reason("element-not-a-uid", {"keyword": keyword}))
    return uid
