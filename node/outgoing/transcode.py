"""Stored objects made uncompressed for a destination that takes them only so, every pixel as it was.

References
----------
DICOM PS3.5, annex A (transfer syntaxes); C.7.6.3.1.2 of PS3.3 (photometric interpretation).
"""

from io import BytesIO
from pathlib import Path

import pydicom
from pydicom import uid
from pydicom.dataset import Dataset

from analytics.reasons import Reason
from node.dicom.content import content_faults
from node.dicom.contexts import LOSSLESS
from node.dicom.part10 import require_bounded
from node.errors import DicomReadError
from node.measure.decoding import decoder

UNCOMPRESSED = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)
"""What is made of others; every DICOM node takes the second (PS3.5, 10.1)."""
CONVERTIBLE = frozenset((*UNCOMPRESSED, uid.DeflatedExplicitVRLittleEndian, *LOSSLESS))
"""Syntaxes whose images can be made uncompressed without change. Not lossy ones, whose pixels depend on the decoder,
and not of Explicit VR Big Endian (retired), where the bytes of private elements could not be told."""
EXACT_COLOURS = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_RCT"})
"""Photometric interpretations that come out of a decoder exactly, the last one as RGB."""
MAX_DECODED_BYTES = 512 * 1024 * 1024
"""Most bytes of all pixels of an object, which are held in memory at once."""


def uncompressed(path: Path) -> Dataset:
    """The data set of a stored object in one of :data:`CONVERTIBLE`, to be sent in any of :data:`UNCOMPRESSED`.

    Its UIDs stay: without loss it is the same image (PS3.3, C.12.4.1.2 asks for another UID only where pixels change).

    Raises
    ------
    DicomReadError
        It cannot be decoded, or not exactly, or would be too large.
    DecodingError
        Its pixels end or stall whoever decodes them.
    FileNotFoundError
        There is no such file.
    """
    with content_faults(Reason("not-decompressible", {"fault": ""})):
        require_bounded(path)
        dataset = pydicom.dcmread(path)
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax == uid.DeflatedExplicitVRLittleEndian:
            dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        elif syntax in LOSSLESS:
            _require_exact(dataset)
            dataset = pydicom.dcmread(BytesIO(decoder().decompressed(path)))
        return dataset


def _require_exact(dataset: Dataset) -> None:
    colours = dataset.PhotometricInterpretation
    if colours not in EXACT_COLOURS:
        raise DicomReadError(Reason("colours-not-exact", {"colours": str(colours)}))
    frames = int(dataset.get("NumberOfFrames") or 1)
    size = frames * dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * (dataset.BitsAllocated // 8)
    if size > MAX_DECODED_BYTES:
        raise DicomReadError(Reason("decompressed-too-large", {"limit": MAX_DECODED_BYTES}))
