"""What the receiver takes: SOP classes and transfer syntaxes.

A study brings more than the MR images that are measured; what is not measured is kept and set aside, so that a mixed
study does not fail at the sender: many end with the first object that is not taken.
"""

from collections.abc import Iterable, Sequence

from analytics.vbq.header import MR_IMAGES
from node.dicom.part10 import UID_TEXT
from node.settings import Accept

VERIFICATION = "1.2.840.10008.1.1"
"""C-ECHO."""
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model (PS3.4, annex J)."""

ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
JPEG_XL_LOSSLESS = "1.2.840.10008.1.2.4.110"
JPEG_XL_RECOMPRESSION = "1.2.840.10008.1.2.4.111"
"""Of a JPEG image, which stays as lossy as it was."""
JPEG_XL = "1.2.840.10008.1.2.4.112"

UNCOMPRESSED: tuple[str, ...] = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
)
LOSSLESS: tuple[str, ...] = (
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, Non-Hierarchical, First-Order Prediction (Selection Value 1)
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless, Non-Hierarchical (Process 14)
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless Image Compression
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Image Compression (Lossless Only)
    "1.2.840.10008.1.2.4.201",  # High-Throughput JPEG 2000 Image Compression (Lossless Only)
    "1.2.840.10008.1.2.4.202",  # High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)
    "1.2.840.10008.1.2.5",  # RLE Lossless
    JPEG_XL_LOSSLESS,
    DEFLATED_FRAMES,
    ENCAPSULATED_UNCOMPRESSED,
)
"""All of them are decoded, and made uncompressed for who takes nothing else."""
LOSSY: tuple[str, ...] = (
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline (Process 1)
    "1.2.840.10008.1.2.4.51",  # JPEG Extended (Process 2 and 4)
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Lossy (Near-Lossless) Image Compression
    "1.2.840.10008.1.2.4.91",  # JPEG 2000 Image Compression
    "1.2.840.10008.1.2.4.203",  # High-Throughput JPEG 2000 Image Compression
    JPEG_XL_RECOMPRESSION,
    JPEG_XL,
)
"""Kept as sent. The score of such an image waits for a person; ``accept`` other than ``"all"`` takes no MR in them."""
LOSSY_NOT_DECODED: tuple[str, ...] = ("1.2.840.10008.1.2.4.93",)
DECODED = frozenset((*UNCOMPRESSED, *LOSSLESS, *LOSSY))
"""What pixels are read from; an image in anything else (JPEG 2000 Part 2, video) is kept, and that is said of it."""

OTHER_IMAGES: tuple[str, ...] = (
    "1.2.840.10008.5.1.4.1.1.4.3",  # Enhanced MR Color Image Storage
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture Image Storage
    "1.2.840.10008.5.1.4.1.1.7.2",  # Multi-frame Grayscale Byte Secondary Capture Image Storage
    "1.2.840.10008.5.1.4.1.1.7.3",  # Multi-frame Grayscale Word Secondary Capture Image Storage
    "1.2.840.10008.5.1.4.1.1.7.4",  # Multi-frame True Color Secondary Capture Image Storage
)
WITHOUT_PIXELS: tuple[str, ...] = (
    "1.2.840.10008.5.1.4.1.1.4.2",  # MR Spectroscopy Storage
    "1.2.840.10008.5.1.4.1.1.66",  # Raw Data Storage
    "1.2.840.10008.5.1.4.1.1.88.11",  # Basic Text SR Storage
    "1.2.840.10008.5.1.4.1.1.88.22",  # Enhanced SR Storage
    "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR Storage
    "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR Storage
    "1.2.840.10008.5.1.4.1.1.88.59",  # Key Object Selection Document Storage
    "1.2.840.10008.5.1.4.1.1.11.1",  # Grayscale Softcopy Presentation State Storage
    "1.2.840.10008.5.1.4.1.1.11.2",  # Color Softcopy Presentation State Storage
    "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF Storage
    "1.3.12.2.1107.5.9.1",  # CSA Non-Image Storage, which Siemens scanners send along with their series
)

_STANDARD = "1.2.840.10008."
_STANDARD_STORAGE = "1.2.840.10008.5.1.4.1.1."
"""The Storage SOP classes of PS3.4, annex B, stand under this, private ones outside of the standard's root."""
STORAGE_ELSEWHERE: frozenset[str] = frozenset(
    {
        "1.2.840.10008.5.1.1.27",  # Stored Print, retired, and the two kinds of hardcopy images
        "1.2.840.10008.5.1.1.29",
        "1.2.840.10008.5.1.1.30",
        "1.2.840.10008.5.1.4.34.7",  # RT Beams Delivery Instruction
        "1.2.840.10008.5.1.4.34.10",  # RT Brachy Application Setup Delivery Instruction
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol
        "1.2.840.10008.5.1.4.39.1",  # Color Palette
        "1.2.840.10008.5.1.4.43.1",  # Generic Implant Template, Implant Assembly Template, Implant Template Group
        "1.2.840.10008.5.1.4.44.1",
        "1.2.840.10008.5.1.4.45.1",
    }
)
"""Storage SOP classes of the standard that stand elsewhere (PS3.6, table A-1)."""

_SYNTAXES = "1.2.840.10008.1.2."
_NO_FILES = ("1.2.840.10008.1.2.6.", "1.2.840.10008.1.2.7.")
"""MIME and XML, and live video: transfer syntaxes in which no data set is stored."""

NEWER_NAMES = {
    ENCAPSULATED_UNCOMPRESSED: "Encapsulated Uncompressed Explicit VR Little Endian",
    JPEG_XL_LOSSLESS: "JPEG XL Lossless",
    JPEG_XL_RECOMPRESSION: "JPEG XL JPEG Recompression",
    JPEG_XL: "JPEG XL",
    DEFLATED_FRAMES: "Deflated Image Frame Compression",
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.66.8": "Height Map Segmentation Storage",
}
"""Names of the standard (PS3.6, table A-1, 2024 and 2025), not in the dictionary of every pydicom yet."""


def uid_name(text: str) -> str:
    """The standard's name of a SOP class or transfer syntax, or the UID itself where it has none."""
    # Loaded here, and in the modules that a receiver knows: it takes objects without ever reading one.
    from pydicom.uid import UID

    return NEWER_NAMES.get(text) or UID(text).name


def in_private_alone(proposals: Iterable[tuple[str, Sequence[str]]]) -> frozenset[str]:
    """SOP classes that are proposed in no transfer syntax of the standard: they come so, or not at all.

    Parameters
    ----------
    proposals
        SOP class and transfer syntaxes of each presentation context.
    """
    offered: dict[str, list[str]] = {}
    for sop_class_uid, syntaxes in proposals:
        offered.setdefault(sop_class_uid, []).extend(syntaxes)
    return frozenset(uid for uid, syntaxes in offered.items() if all(map(is_private_syntax, syntaxes)))


def transfer_syntaxes(
    sop_class_uid: str, *, accept: Accept, proposed: Sequence[str] = (), private: bool = False
) -> tuple[str, ...]:
    """The transfer syntaxes taken of a SOP class, the preferred one first; none when the class is not taken.

    Parameters
    ----------
    accept
        Setting ``dicom.accept``: ``"mr"`` the images that could be measured, ``"study"`` also what comes along with
        them, ``"all"`` every Storage SOP class and every private one, in every transfer syntax of the standard.
    proposed
        Those that the other side proposes. With ``"all"`` one of the standard that is newer than this software, or of
        which it decodes nothing, is taken after the others: what cannot be decoded is kept all the same.
    private
        Whether private ones are taken, too. Not where the class is proposed in others as well: the sender would make
        the image legible for who takes those alone.
    """
    if accept == "all" and _is_storage(sop_class_uid):
        known = UNCOMPRESSED + LOSSLESS + LOSSY
        others = (name for name in proposed if name not in known)
        return known + tuple(name for name in others if _stores(name) or (private and is_private_syntax(name)))
    if sop_class_uid in MR_IMAGES:
        return UNCOMPRESSED + LOSSLESS
    if sop_class_uid in (VERIFICATION, STORAGE_COMMITMENT):
        return UNCOMPRESSED
    if accept != "mr" and sop_class_uid in WITHOUT_PIXELS:
        return UNCOMPRESSED
    if accept != "mr" and sop_class_uid in OTHER_IMAGES:
        return UNCOMPRESSED + LOSSLESS + LOSSY
    return ()


def _is_storage(sop_class_uid: str) -> bool:
    """Of the standard, or private: nothing tells private classes for storage from others."""
    if sop_class_uid.startswith(_STANDARD):
        return sop_class_uid.startswith(_STANDARD_STORAGE) or sop_class_uid in STORAGE_ELSEWHERE
    return UID_TEXT.fullmatch(sop_class_uid) is not None


def is_private_syntax(transfer_syntax_uid: str) -> bool:
    """Of a manufacturer: nothing says how a data set is written in it."""
    return not transfer_syntax_uid.startswith(_STANDARD) and UID_TEXT.fullmatch(transfer_syntax_uid) is not None


def _stores(transfer_syntax_uid: str) -> bool:
    return transfer_syntax_uid.startswith(_SYNTAXES) and not transfer_syntax_uid.startswith(_NO_FILES)
