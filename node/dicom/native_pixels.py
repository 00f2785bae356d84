"""Codings of pixels that pydicom does not decode, made native; and those that its decoders must not be asked.

References
----------
DICOM PS3.5, A.4 (encapsulation), and the JPEG XL, Deflated Image Frame Compression and Encapsulated Uncompressed
transfer syntaxes in it; 8.2 (native pixels, of one bit as well).
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from analytics.reasons import Reason
from node.dicom.contexts import (
    DECODED,
    DEFLATED_FRAMES,
    ENCAPSULATED_UNCOMPRESSED,
    JPEG_XL,
    JPEG_XL_LOSSLESS,
    JPEG_XL_RECOMPRESSION,
    uid_name,
)
from node.errors import DicomReadError

JPEG_LS = frozenset({uid.JPEGLSLossless, uid.JPEGLSNearLossless})
JPEG_XLS = frozenset({JPEG_XL_LOSSLESS, JPEG_XL_RECOMPRESSION, JPEG_XL})
START_OF_IMAGE, END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
MAX_NATIVE_BYTES = 512 * 1024 * 1024
"""Most bytes of all frames of an object made native, which are held in memory at once."""
CUT_OFF = Reason("pixels-missing")


def made_native(dataset: Dataset) -> None:
    """Put native pixels in the place of those that pydicom does not decode; others stay as they are.

    Raises
    ------
    DicomReadError
        They are cut off, are not what the header says, or nothing here decodes them.
    Exception
        Whatever pydicom and the codecs raise.
    """
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if syntax is None:
        return
    if syntax not in DECODED:
        raise DicomReadError(Reason("syntax-not-decoded", {"syntax": uid_name(str(syntax))}))
    if syntax in JPEG_LS and any(_cut_off(frame) for frame in _frames(dataset)):
        # Its decoders refuse such a frame as well, but first spend seconds behind its end.
        raise DicomReadError(CUT_OFF)
    if syntax in DECODERS:
        _make_native(dataset, DECODERS[syntax])


def _frames(dataset: Dataset) -> Iterator[bytes]:
    number = int(dataset.get("NumberOfFrames") or 1)
    offsets = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    extended = (offsets[0], offsets[1]) if offsets[0] and offsets[1] else None
    return islice(generate_frames(dataset.PixelData, number_of_frames=number, extended_offsets=extended), number)


def _cut_off(frame: bytes) -> bool:
    return frame.startswith(START_OF_IMAGE) and END_OF_IMAGE not in frame[-16:]


def _make_native(dataset: Dataset, decode: Callable[[bytes, Dataset], bytes]) -> None:
    frames = int(dataset.get("NumberOfFrames") or 1)
    bits = _bits(dataset)
    if frames * -(-bits // 8) > MAX_NATIVE_BYTES:
        raise DicomReadError(Reason("decompressed-too-large", {"limit": MAX_NATIVE_BYTES}))
    found = [decode(frame, dataset) for frame in _frames(dataset)]
    if len(found) != frames or any(len(frame) < -(-bits // 8) for frame in found):
        raise DicomReadError(CUT_OFF)
    dataset.PixelData = _joined(found, bits)
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
    dataset["PixelData"].is_undefined_length = False
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian


def _bits(dataset: Dataset) -> int:
    """Of one frame."""
    return int(dataset.Rows) * int(dataset.Columns) * int(dataset.SamplesPerPixel) * int(dataset.BitsAllocated)


def _joined(frames: list[bytes], bits: int) -> bytes:
    """One after the other; frames of single bits leave none between them (PS3.5, 8.1.1), encapsulated ones do."""
    if bits % 8 == 0:
        native = b"".join(frame[: bits // 8] for frame in frames)
    else:
        apart = [np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")[:bits] for frame in frames]
        native = np.packbits(np.concatenate(apart), bitorder="little").tobytes()
    return native + b"\0" * (len(native) % 2)


def _as_it_is(frame: bytes, _: Dataset) -> bytes:
    return frame


def _inflated(frame: bytes, dataset: Dataset) -> bytes:
    """No more than the header says: a few bytes can claim any number of them."""
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, -(-_bits(dataset) // 8))


def _by_libjxl(frame: bytes, dataset: Dataset) -> bytes:
    # Few images are of this kind, and every process that decodes would wait for the import.
    from imagecodecs import jpegxl_decode

    found = jpegxl_decode(frame, numthreads=1)
    if found.dtype.kind != "u" or found.size * dataset.BitsAllocated != _bits(dataset):
        raise DicomReadError(Reason("not-one-slice", {"shape": f"{found.shape} {found.dtype}"}))
    if dataset.SamplesPerPixel == 3:
        # Whatever was stored, a decoder gives these.
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    return bytes(found.astype(f"<u{dataset.BitsAllocated // 8}").tobytes())


DECODERS: Mapping[str, Callable[[bytes, Dataset], bytes]] = {
    ENCAPSULATED_UNCOMPRESSED: _as_it_is,
    DEFLATED_FRAMES: _inflated,
    **dict.fromkeys(JPEG_XLS, _by_libjxl),
}
