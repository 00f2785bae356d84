"""What compressed pixels say of themselves: a transfer syntax without loss may hold a codestream with loss.

An encoder is asked for JPEG 2000 or JPEG-LS with loss and the wrong identifier written beside it; decoders take both.

References
----------
ISO/IEC 15444-1, A.6.1 (COD: transformation 0 is the irreversible one); ISO/IEC 14495-1, C.2.3 (scan header: NEAR);
ISO/IEC 10918-1, B.2.2 (frame headers: which of them are of DCT); DICOM PS3.5, A.4 (fragments).
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

PIXELS = b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff"
"""Pixel Data in fragments, which are in Explicit VR Little Endian always."""
ITEM_BYTES = 8
HEAD_BYTES = 65536
"""Headers of a codestream are shorter."""
JPEG_2000, JPEG = b"\xff\x4f", b"\xff\xd8"
CODING_STYLE, TRANSFORMATION, IRREVERSIBLE = 0x52, 9, 0
OF_DCT = frozenset({0xC0, 0xC1, 0xC2, 0xC5, 0xC6, 0xC9, 0xCA})
START_OF_SCAN = 0xDA


def coded_with_loss(path: Path) -> bool:
    """Whether the first frame of a file, where it is JPEG, JPEG-LS or JPEG 2000, says that it was made with loss.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    head = _first_frame(path)
    for marker, content in _segments(head):
        if head.startswith(JPEG_2000) and marker == CODING_STYLE:
            return content[TRANSFORMATION : TRANSFORMATION + 1] == bytes([IRREVERSIBLE])
        if head.startswith(JPEG) and marker in OF_DCT:
            return True
        if head.startswith(JPEG) and marker == START_OF_SCAN:
            # Number of components, two bytes for each, then NEAR; in JPEG without loss the predictor stands there.
            near = 1 + 2 * content[0] if content else 0
            return b"\xff\xf7" in head and content[near : near + 1] not in (b"", b"\0")
    return False


def _first_frame(path: Path) -> bytes:
    """The beginning of the first fragment; empty where there is none."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        table = content.rfind(PIXELS) + len(PIXELS)
        if table < len(PIXELS):
            return b""
        # The first item is the table of offsets.
        begins = table + ITEM_BYTES + int.from_bytes(content[table + 4 : table + ITEM_BYTES], "little") + ITEM_BYTES
        return bytes(content[begins : begins + HEAD_BYTES])


def _segments(head: bytes) -> Iterator[tuple[int, bytes]]:
    """The marker segments before the coded data: (second byte of the marker, content without its length)."""
    place = 2
    while place + 4 <= len(head) and head[place] == 0xFF:
        length = int.from_bytes(head[place + 2 : place + 4], "big")
        yield head[place + 1], head[place + 4 : place + 2 + length]
        place += 2 + max(length, 2)
