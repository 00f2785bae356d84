"""Elements that stand twice in a data set, which DICOM forbids (PS3.5, 7.1): pydicom takes the last, DCMTK the first.

A sender that wrote its own patient number behind the earlier one would be one patient here and another in its PACS.
Elements of sequences are not looked through: none of those that is read there says whose an image is.
"""

from collections.abc import Callable, Iterable
from typing import BinaryIO

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
MOST = 32
"""Elements that stand more than once whose first values are read, each by a run through the data set."""


class UpToPixels:
    """Has pydicom stop before the pixels (``stop_when``), and counts what stands more than once before them.

    Private elements are not counted: none is read. Nor are lengths of groups.
    """

    def __init__(self) -> None:
        self.repeated: dict[BaseTag, int] = {}
        self._seen: set[BaseTag] = set()
        self._looked_at: BaseTag | None = None

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in PIXELS:
            return True
        again = tag in self._seen and tag != self._looked_at
        # The first one is shown beforehand, without its length, where its type is not of the transfer syntax.
        self._looked_at = tag if not self._seen and length == 0 else None
        if again and not tag.is_private and tag.element != 0:
            self.repeated[tag] = self.repeated.get(tag, 1) + 1
        self._seen.add(tag)
        return False


class _BeforeSecond(UpToPixels):
    """Has pydicom stop where an element stands for the second time."""

    def __init__(self, wanted: BaseTag) -> None:
        super().__init__()
        self._wanted = wanted

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        return super().__call__(tag, vr, length) or self._wanted in self.repeated


def first_of(
    opened: Callable[[], BinaryIO], repeated: Iterable[BaseTag], *, force: bool = False
) -> dict[BaseTag, DataElement | RawDataElement]:
    """Elements that stand more than once as they stand first, of :data:`MOST` of them at most.

    Parameters
    ----------
    opened
        Opens the file anew.
    force
        Whether what lacks the header of Part 10 is read, too.
    """
    found = {}
    for tag in sorted(repeated)[:MOST]:
        with opened() as file:
            found[tag] = read_partial(file, stop_when=_BeforeSecond(tag), force=force).get_item(tag)
    return {tag: element for tag, element in found.items() if element is not None}
