"""Days as people write them, read column by column: which of two numbers is the month shows in the others."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Literal

from node.people.files.numbers import plain
from node.people.files.raw import SPREADSHEET_DAY_0
from node.people.files.vocabulary import word

Order = Literal["dmy", "mdy", "ymd"]

ORDERS: Mapping[str, Order] = {"dd/mm/yyyy": "dmy", "mm/dd/yyyy": "mdy", "yyyy/mm/dd": "ymd"}
"""As a mapping names them; the sign between the numbers does not matter."""

_TIME = re.compile(r"[T ]+\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?\s*([ap]\.?m\.?)?\s*(Z|[+-]\d\d:?\d\d)?$", re.IGNORECASE)
_YEAR_FIRST = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})")
_COMPACT = re.compile(r"((?:19|20)\d\d)(\d\d)(\d\d)")
_CHARACTERS = re.compile(r"(\d{4})\s*[年년]\s*(\d{1,2})\s*[月월]\s*(\d{1,2})\s*[日일]?")
_YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d{2})")
_DAY_NAME = re.compile(r"(\d{1,2})(?:st|nd|rd|th|\.|º)?[-/\s]*(?:de\s+)?([^\W\d_]+)\.?[-/,\s]*(?:de\s+)?(\d{4}|\d{2})")
_NAME_DAY = re.compile(r"([^\W\d_]+)\.?\s+(\d{1,2})(?:st|nd|rd|th)?,?\s+(\d{4})")
_SERIAL = re.compile(r"[2-5]\d{4}(?:\.0+)?")
"""Days since the end of 1899 as spreadsheets count them: 1954 to 2064."""
_WEEKDAY = re.compile(r"[^\W\d_]+\.?,?\s+(?=\d{1,4}[-/.]\d)")


def day_part(text: str) -> str:
    """A cell without a time of day and the name of the weekday."""
    cell = _TIME.sub("", plain(text)).strip()
    weekday = _WEEKDAY.match(cell)
    return cell[weekday.end() :] if weekday else cell


def stated_orders(cells: Iterable[str]) -> frozenset[Order]:
    """The orders that the days of a column leave possible only one by one; both where they contradict each other."""
    found: set[Order] = set()
    for cell in cells:
        match = _YEAR_LAST.fullmatch(day_part(cell))
        if match:
            first, second = int(match[1]), int(match[3])
            if first > 12 >= second:
                found.add("dmy")
            elif second > 12 >= first:
                found.add("mdy")
    return frozenset(found)


def is_open(cells: Iterable[str]) -> bool:
    """Whether a day of the column reads differently by the order; with points the day comes first everywhere."""
    matches = (_YEAR_LAST.fullmatch(day_part(cell)) for cell in cells)
    return any(m and m[2] != "." and m[1] != m[3] and int(m[1]) <= 12 and int(m[3]) <= 12 for m in matches)


def read_day(text: str, order: Order, months: Mapping[str, int], day_0: date = SPREADSHEET_DAY_0) -> str | None:
    """A day as an ISO date; ``None`` where it is none."""
    cell = day_part(text)
    if _SERIAL.fullmatch(cell):
        return (day_0 + timedelta(days=int(cell.partition(".")[0]))).isoformat()
    for pattern in (_YEAR_FIRST, _COMPACT, _CHARACTERS):
        if match := pattern.fullmatch(cell):
            return _iso(match[1], match[2], match[3])
    if match := _YEAR_LAST.fullmatch(cell):
        day, month = (match[3], match[1]) if order == "mdy" else (match[1], match[3])
        return _iso(match[4], month, day)
    if match := _DAY_NAME.fullmatch(cell):
        return _iso(match[3], months.get(word(match[2]), 0), match[1])
    if match := _NAME_DAY.fullmatch(cell):
        return _iso(match[3], months.get(word(match[1]), 0), match[2])
    return None


def serials(cells: Sequence[str]) -> int:
    """How many cells are the day numbers of a spreadsheet."""
    return sum(_SERIAL.fullmatch(cell.strip()) is not None for cell in cells)


def _iso(year: str, month: str | int, day: str) -> str | None:
    number = int(year)
    if len(year) == 2:
        number += 2000 if number < 70 else 1900
    try:
        return date(number, int(month), int(day)).isoformat()
    except ValueError:
        return None
