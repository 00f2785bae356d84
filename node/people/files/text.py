"""Text files: encoding, separator, records."""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence

import charset_normalizer

from analytics.reasons import Reason
from node.errors import CohortError
from node.people.files.raw import RawRow, RawTable

SEPARATORS = (",", ";", "\t", "|", " ")
"""Tried in this order; the one that splits the header into most known names is the file's."""

LEGACY = ("cp1252", "gb18030", "big5", "shift_jis", "euc_kr", "cp1250", "cp1251", "cp1253", "cp1254")
"""What spreadsheets of the world save CSV in when it is not Unicode."""

_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)

HEADER_WITHIN = 30
"""Records among which the names of the columns are looked for; titles and comments may stand above them."""
ENOUGH_NAMES = 5
"""Known names that make a record the header."""

Known = Callable[[str], bool]
"""Whether a cell of a header names a column."""


def read_text(content: bytes, *, known: Known, encoding: str = "", separator: str = "") -> RawTable:
    """Read a text table; ``encoding`` and ``separator`` are found where they are not given.

    Raises
    ------
    CohortError
        It is not text, is empty, or is not CSV.
    """
    name, text = _decoded(content, known, encoding)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise CohortError(Reason("file-empty"))
    if "\0" in text:
        raise CohortError(Reason("file-with-nul"))
    skipped = 0
    if stated := re.match(r"\s*sep=(.)[ \t]*\n", text):
        separator = separator or stated[1]
        skipped, text = text[: stated.end()].count("\n"), text[stated.end() :]
    separator = separator or best_separator(text, known)
    records = list(_records(text, separator, skipped))
    filled = [one for one in records if any(cell.strip() for cell in one.cells)]
    if not filled:
        raise CohortError(Reason("file-empty"))
    start = header_place([one.cells for one in filled], known) or 0
    header, *rows = filled[start:]
    names = header.cells
    if rows and all(len(row.cells) == len(names) + 1 for row in rows):
        names = ("", *names)  # R's write.table: the row names have no name
    return RawTable(
        form="CSV", header=tuple(cell.strip() for cell in names), rows=tuple(rows), encoding=name, separator=separator
    )


def header_place(rows: Sequence[Sequence[str]], known: Known) -> int | None:
    """The first of the rows in which enough columns are named; titles may stand above it."""
    named = (sum(known(cell) for cell in row) for row in rows[:HEADER_WITHIN])
    return next((place for place, names in enumerate(named) if names >= ENOUGH_NAMES), None)


def best_separator(text: str, known: Known) -> str:
    """The separator by which the header has most known names; of equal ones the first of :data:`SEPARATORS`."""
    *usual, blank = SEPARATORS
    counts = {one: _most_names(text, one, known) for one in SEPARATORS}
    best = max(usual, key=lambda one: (counts[one], -usual.index(one)))
    # Names have blanks in them, so a blank separates only where nothing else does.
    return blank if counts[best] <= 1 < counts[blank] else best


def _most_names(text: str, separator: str, known: Known) -> int:
    """Of the first lines, how many names the one with most has."""
    lines = text.lstrip("\n")[:100_000].split("\n")[:HEADER_WITHIN]
    return max(_known_cells(line, separator, known) for line in lines)


def _known_cells(line: str, separator: str, known: Known) -> int:
    try:
        cells = next(csv.reader([line], delimiter=separator, skipinitialspace=separator != "\t"), [])
    except csv.Error:
        return 0
    return sum(known(cell) for cell in cells)


def _decoded(content: bytes, known: Known, encoding: str) -> tuple[str, str]:
    if encoding:
        try:
            return encoding, content.decode(encoding).removeprefix("\ufeff")
        except (UnicodeDecodeError, LookupError) as error:
            raise CohortError(
                Reason("file-of-another-encoding", {"encoding": encoding, "fault": str(error)})
            ) from error
    name = next((codec for mark, codec in _MARKS if content.startswith(mark)), None)
    name = name or _without_mark(content)
    if name is not None:
        try:
            return name.removesuffix("-sig"), content.decode(name)
        except UnicodeDecodeError as error:
            raise CohortError(Reason("file-not-as-it-begins", {"encoding": name, "fault": error.reason})) from error
    return _legacy(content, known)


def _without_mark(content: bytes) -> str | None:
    """UTF-8, or UTF-16 by its zero bytes: every second one in the ASCII of a header."""
    sample = content[:200]
    for start, codec in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = sample[start::2]
        if len(zeros) >= 4 and zeros.count(0) > 0.7 * len(zeros) and sample[1 - start :: 2].count(0) == 0:
            return codec
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return "utf-8"


def _legacy(content: bytes, known: Known) -> tuple[str, str]:
    """Of the encodings that fit, the one in which most of the header is known, then the most likely one."""
    matches = [one.encoding for one in charset_normalizer.from_bytes(content, cp_isolation=list(LEGACY))]
    fitting: list[tuple[int, int, str, str]] = []
    for name in dict.fromkeys([*(("cp1252",) if "cp1250" in matches or not matches else ()), *matches]):
        try:
            text = content.decode(name)
        except UnicodeDecodeError:
            continue
        score = max(_most_names(text, one, known) for one in SEPARATORS)
        fitting.append((-score, len(fitting), name, text))
    if not fitting:
        raise CohortError(Reason("file-encoding-unknown"))
    _, _, name, text = min(fitting)
    return name, text


def _records(text: str, separator: str, skipped: int) -> Iterator[RawRow]:
    """Each record with the line (1-based) it begins on; a quoted cell may hold line breaks."""
    # White space may follow a comma; several blanks in a row are one separator.
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=separator in ",; "
    )
    while True:
        line = reader.line_num + 1 + skipped
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise CohortError(Reason("file-record-broken", {"line": line, "fault": str(error)})) from error
        yield RawRow(line=line, cells=tuple(cells))
