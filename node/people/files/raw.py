"""A file as a grid of text: what every format is turned into before anything is understood."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

SPREADSHEET_DAY_0 = date(1899, 12, 30)
MAC_DAY_0 = date(1904, 1, 1)


@dataclass(frozen=True, kw_only=True)
class RawRow:
    """One record; ``line`` is 1-based: the line of a text file it begins on, else the row of the sheet."""

    line: int
    cells: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RawTable:
    """Header and records of a file, everything as text.

    ``typed`` says that numbers come from the format itself and have a decimal point. ``labels`` are the value labels of
    a column by the text of the value, ``titles`` the labels of columns; day numbers count from ``day_0``.
    """

    form: str
    """Name of the format, for people."""
    header: tuple[str, ...]
    rows: tuple[RawRow, ...]
    encoding: str = ""
    separator: str = ""
    typed: bool = False
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    day_0: date = SPREADSHEET_DAY_0
