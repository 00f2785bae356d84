"""The DICOM Part 10 header: written in front of a data set that was received, and read again.

Encoded here, byte for byte, because it stands on the receiving path: the data set behind it is never parsed.
"""

import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from analytics.reasons import Reason
from node.errors import DicomReadError
from node.store.archive import CHUNK_BYTES, GROUP_END

IMPLEMENTATION_CLASS_UID = "2.25.210780607288283241281697353487713777114"
"""Names this software in File Meta Information and in associations (a UUID-derived UID, PS3.5 annex B.2)."""

IMPLEMENTATION_VERSION_NAME = "VBQ-NODE"

_PREAMBLE = b"\0" * 128 + b"DICM"
MAX_INFLATED_BYTES = 512 * 1024 * 1024
"""Largest size of a deflated data set once inflated: half a megabyte can grow to this. A multi-frame MR of 1,000 frames
of 512 × 512 is that."""

UID_TEXT = re.compile(r"[0-9.]{1,64}")
"""What a UID is made of; leading zeros and the like occur and do no harm."""

DEFLATED = "1.2.840.10008.1.2.1.99"
"""Deflated Explicit VR Little Endian."""

_LONG_VR = frozenset({b"OB"})


@dataclass(frozen=True, kw_only=True)
class FileIdentity:
    """What the header of a Part 10 file says about its data set, and at which byte that begins.

    A UID is empty where :func:`file_header` was given something that is none.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset_offset: int


def read_identity(path: Path) -> FileIdentity:
    """The header that :func:`file_header` wrote.

    Raises
    ------
    DicomReadError
        It is none.
    """
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_file_meta_info

    try:
        meta = read_file_meta_info(path)
        return FileIdentity(
            sop_class_uid=str(meta.MediaStorageSOPClassUID),
            sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
            transfer_syntax_uid=str(meta.TransferSyntaxUID),
            dataset_offset=GROUP_END + int(meta.FileMetaInformationGroupLength),
        )
    except (InvalidDicomError, AttributeError, EOFError, LookupError, TypeError, ValueError, struct.error) as error:
        raise DicomReadError(Reason("not-part-10")) from error


def file_header(*, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble, prefix and File Meta Information (Explicit VR Little Endian) for a data set.

    What a sender calls it by and is no UID is left empty.

    References
    ----------
    DICOM PS3.10, section 7.1, table 7.1-1.
    """
    elements = b"".join(
        (
            _element(0x0001, b"OB", b"\0\x01"),
            _element(0x0002, b"UI", _uid(sop_class_uid)),
            _element(0x0003, b"UI", _uid(sop_instance_uid)),
            _element(0x0010, b"UI", _text(transfer_syntax_uid, padding=b"\0")),
            _element(0x0012, b"UI", _text(IMPLEMENTATION_CLASS_UID, padding=b"\0")),
            _element(0x0013, b"SH", _text(IMPLEMENTATION_VERSION_NAME, padding=b" ")),
        )
    )
    return _PREAMBLE + _element(0x0000, b"UL", struct.pack("<L", len(elements))) + elements


def require_bounded(path: Path) -> None:
    """Refuse a deflated data set that would grow beyond :data:`MAX_INFLATED_BYTES`, without ever holding it.

    Raises
    ------
    DicomReadError
        It would, or it lacks the header that says where it begins.
    zlib.error
        It is not deflated at all.
    """
    from pydicom.filereader import read_file_meta_info

    if read_file_meta_info(path).get("TransferSyntaxUID") != DEFLATED:
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    with path.open("rb") as file:
        file.seek(read_identity(path).dataset_offset)
        while chunk := file.read(CHUNK_BYTES):
            while chunk:
                size += len(inflater.decompress(chunk, CHUNK_BYTES))
                chunk = inflater.unconsumed_tail
                if size > MAX_INFLATED_BYTES:
                    raise DicomReadError(Reason("inflated-too-large", {"limit": MAX_INFLATED_BYTES}))


def misnamed(sop_class_uid: str, sop_instance_uid: str) -> Reason | None:
    """Why an object cannot be filed under what its sender called it, or ``None``: both are UIDs."""
    wrong = [
        f"a {what}"
        for what, given in (("SOP Class UID", sop_class_uid), ("SOP Instance UID", sop_instance_uid))
        if not UID_TEXT.fullmatch(given)
    ]
    return Reason("misnamed", {"by": tuple(wrong)}) if wrong else None


def _uid(value: str) -> bytes:
    return _text(value, padding=b"\0") if UID_TEXT.fullmatch(value) else b""


def _text(value: str, *, padding: bytes) -> bytes:
    encoded = value.encode("ascii")
    return encoded + padding if len(encoded) % 2 else encoded


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    length = struct.pack("<HL", 0, len(value)) if vr in _LONG_VR else struct.pack("<H", len(value))
    return struct.pack("<HH", 0x0002, number) + vr + length + value
