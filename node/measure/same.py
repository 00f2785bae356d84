"""Whether two objects show the same image, whatever their headers and transfer syntaxes say."""

from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID

from node.dicom.header import MAX_FRAMES
from node.dicom.reader import read_dataset
from node.errors import DecodingError, DicomReadError
from node.measure.decoding import stored_sha256

SHAPE = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")


def same_pixels(first: Path, second: Path) -> bool:
    """Whether both hold the same pixels, or both none. What cannot be decoded, or has more frames than
    are read, is the same only byte for byte.

    Raises
    ------
    DicomReadError
        One of them cannot be read.
    FileNotFoundError
        There is no such file.
    """
    one, other = read_dataset(first), read_dataset(second)
    if ("PixelData" in one) != ("PixelData" in other):
        return False
    if "PixelData" not in one:
        return True
    if any(_number(one, name) != _number(other, name) for name in SHAPE[:4]):
        return False
    if _coding(one) == _coding(other) and all(_number(one, name) == _number(other, name) for name in SHAPE):
        if bytes(one.PixelData).rstrip(b"\0") == bytes(other.PixelData).rstrip(b"\0"):
            return True
        if _coding(one) == "":
            return False
    frames = _number(one, "NumberOfFrames") or 1
    del one, other
    return frames <= MAX_FRAMES and _decoded_same(first, second)


def _decoded_same(first: Path, second: Path) -> bool:
    try:
        return stored_sha256(first) == stored_sha256(second)
    except (DicomReadError, DecodingError):
        return False


def _coding(dataset: Dataset) -> str:
    """Of the pixels: empty for uncompressed ones in the usual order of bytes."""
    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", "")))
    native = syntax.is_transfer_syntax and not syntax.is_encapsulated and syntax.is_little_endian
    return "" if native else str(syntax)


def _number(dataset: Dataset, keyword: str) -> int | None:
    try:
        return int(dataset.get(keyword))
    except (TypeError, ValueError):
        return None
