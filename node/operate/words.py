"""The words by which a person is found: numbers, and names as they were sent, in whatever character set."""

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress

from node.errors import CohortError
from node.hl7.messages import CHARSETS

CODECS = tuple(dict.fromkeys(("utf-8", "utf-16-le", "utf-16-be", "iso8859-1", "iso2022_kr", *CHARSETS.values())))
"""In which a word may stand in a message or an object."""
LONG = 4
"""Characters of the Latin alphabet up to which a word is also found where nothing is said of the person."""


def name_forms(name: str) -> set[str]:
    """A name as it was sent, and without what may stand behind family and given name; of DICOM in each script."""
    found = set()
    for one in (part.strip(" ^") for part in name.split("=")):
        family, _, rest = one.partition("^")
        given = rest.partition("^")[0]
        found |= {one, f"{family}^{given}" if given else one}
    return {one for one in found if len(one) > 2 or not one.isascii()} - {""}


def seeking(words: Collection[str]) -> re.Pattern[bytes] | None:
    """What finds the words in bytes, letters of ASCII in either case; ``None`` without words."""
    forms = {form for word in words for form in _forms(word)}
    return re.compile(b"|".join(sorted(forms)), re.IGNORECASE) if forms else None


def spoken_forms(words: Iterable[str]) -> set[str]:
    """Names as people write them in a text: family and given name in either order, parted by a blank or a comma."""
    found = set()
    for word in words:
        family, _, rest = word.partition("^")
        given = rest.partition("^")[0]
        if family and given:
            found |= {form.format(family, given) for form in ("{} {}", "{}, {}", "{},{}", "{1} {0}", "{1}^{0}")}
    return found


def finding(words: Collection[str]) -> Callable[[bytes], bool]:
    """What says whether one of the words stands in bytes: :func:`seeking`, for very many of them that hold none."""
    pattern = seeking(words)
    needles = {one.lower() for word in words for codec in CODECS if (one := _encoded(word, codec))}

    def found(content: bytes) -> bool:
        low = content.lower()
        return any(one in low for one in needles) and pattern is not None and bool(pattern.search(content))

    return found


def _encoded(word: str, codec: str) -> bytes:
    with suppress(UnicodeEncodeError):
        return word.encode(codec)
    return b""


def telling(words: Iterable[str]) -> list[str]:
    """Those that are long enough to be of this person where nothing else says so."""
    return [word for word in words if len(word) > LONG or not word.isascii()]


def _forms(word: str) -> Iterator[bytes]:
    """Patterns for a word in each codec; a short one stands alone: 123 is not in 41234."""
    for codec in CODECS:
        with suppress(UnicodeEncodeError):
            form = word.encode(codec)
            if word.isascii() and len(form) == len(word) <= LONG:
                yield rb"(?<![0-9a-z])" + re.escape(form) + rb"(?![0-9a-z])"
            elif len(form) >= LONG:
                yield re.escape(form)


def in_table(content: bytes, words: Collection[str]) -> bool:
    """Whether a word stands in a cohort file, in a packed one too, or a cell is one."""
    pattern = seeking(telling(words))
    if pattern is not None and any(pattern.search(part) for part in _unpacked(content)):
        return True
    # With pandas, for which there is no need before there is such a file.
    from node.people.files.formats import read_file

    try:
        table = read_file(content, known=lambda _: True)
    except CohortError:
        return False
    cells = {cell.strip() for row in (table.header, *(one.cells for one in table.rows)) for cell in row}
    return any(cell in words or (pattern is not None and pattern.search(cell.encode())) for cell in cells)


def _unpacked(content: bytes) -> Iterator[bytes]:
    """The bytes themselves, and of a spreadsheet its parts, every sheet among them."""
    yield content
    with (
        suppress(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError),
        zipfile.ZipFile(io.BytesIO(content)) as packed,
    ):
        yield from (packed.read(name) for name in packed.namelist())
