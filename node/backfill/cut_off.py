"""Whether a file ends before its image does: one that is still being copied, or that a full disk has cut."""

import os
from typing import BinaryIO, Literal

from pydicom import FileDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRColorImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from analytics.vbq.header import MR_IMAGES

IMAGES = (*MR_IMAGES, EnhancedMRColorImageStorage)
"""SOP classes of MR that are never without pixels."""
PIXELS = (0x7FE0, (0x0008, 0x0009, 0x0010))
ITEM, END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
UNDEFINED = 0xFFFFFFFF
LONG = (b"OB", b"OW", b"OD", b"OF", b"OL", b"OV", b"UN")
"""Value representations whose length has four bytes behind two that are empty."""


def is_cut_off(file: BinaryIO, header: FileDataset) -> bool:
    """Whether the pixels of a file, which was read up to them, do not stand in it to their end.

    What is no image and has none is cut where an element ends behind the file.
    """
    syntax = str(header.file_meta.TransferSyntaxUID)
    if syntax == DeflatedExplicitVRLittleEndian:
        return False  # A stream that is cut cannot be inflated, and the header was not read.
    size = os.fstat(file.fileno()).st_size
    order: Literal["big", "little"] = "big" if syntax == ExplicitVRBigEndian else "little"

    def tag() -> tuple[int, int]:
        read = file.read(4)
        return int.from_bytes(read[:2], order), int.from_bytes(read[2:], order)

    def number() -> int:
        return int.from_bytes(file.read(4), order)

    if file.tell() > size:
        return True
    group, element = tag()
    if group != PIXELS[0] or element not in PIXELS[1]:
        return str(header.get("SOPClassUID")) in IMAGES
    if syntax != ImplicitVRLittleEndian:
        representation = file.read(4)[:2]
        if representation not in LONG:
            return False  # No pixels that anybody knows: whoever reads them says so.
    length = number()
    if length != UNDEFINED:
        return file.tell() + length > size
    items = 0
    while (found := tag()) == ITEM:
        items += 1
        file.seek(number(), os.SEEK_CUR)
    # Without an end behind the last frame a file is read all the same; the first item is the table of offsets.
    return found != END and not (file.tell() == size and items > 1)
