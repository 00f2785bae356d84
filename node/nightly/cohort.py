"""The snapshot a night works on: the eligible rows of the view ``cohort`` as one canonical text.

The text is what is hashed, stored with the fit and read back by the model, so that any past fit can be repeated from
its own record to the last digit.
"""

import csv
import hashlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from operator import itemgetter

import numpy as np
import pandas as pd
from sqlite_utils import Database

from analytics.columns import columns

NUMBERS = columns("number", "flag", in_fit=True)
TEXTS = ("id", "diagnosis", "site", *columns("text"), *columns("date"))
COLUMNS = ("id", *NUMBERS, *TEXTS[1:])
"""Columns of the snapshot, in order. The tier is not one of them: it follows from earlier nights."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The eligible cohort as CSV (UTF-8, ``\\n``, sorted by id, numbers as Python's shortest exact form)."""

    text: str
    sha256: str
    n: int


def read_snapshot(db: Database) -> Snapshot:
    """Read the eligible cohort as it stands now; the same rows give the same text, in whatever order they came."""
    rows = db.execute(f"SELECT {', '.join(COLUMNS)} FROM cohort WHERE eligible = 1 ORDER BY id")
    text, n = _as_text(rows)
    return Snapshot(text=text, sha256=hashlib.sha256(text.encode("utf-8")).hexdigest(), n=n)


def read_lacking(db: Database, night: date) -> str:
    """Who would be eligible but for values that are missing, as a text of the same form; empty: nobody.

    Who has no VBQ says nothing of it, and what is held is in doubt. Of an operation to come the values may come, too.
    """
    rows = db.execute(
        f"SELECT {', '.join(COLUMNS)} FROM cohort WHERE eligible = 0 AND exclusion_reason_codes = ? "
        "AND vbq IS NOT NULL AND coalesce(surgery_date, '') < ? "
        "AND id NOT IN (SELECT episode FROM derived_link WHERE status = 'held') ORDER BY id",
        ['["incomplete-data"]', night.isoformat()],
    )
    text, n = _as_text(rows)
    return text if n else ""


def _as_text(rows: Iterable[tuple[float | str | None, ...]]) -> tuple[str, int]:
    lines = _Lines()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    n = 0
    # Row by row: the whole cohort as Python's objects takes ten times the room of its text.
    for _, same in groupby(rows, key=itemgetter(0)):
        cells = sorted(tuple(_cell(value) for value in row) for row in same)
        writer.writerows(cells)
        n += len(cells)
    return "".join(lines.written), n


class _Lines:
    """What a CSV writer writes, line by line."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, line: str) -> None:
        self.written.append(line)


def _cell(value: float | str | None) -> str:
    if value is None:
        return ""
    # 82 and 82.0 are the same age: an imported one is REAL, a linked one INTEGER.
    return repr(float(value)).removesuffix(".0") if isinstance(value, int | float) else value


def cohort_frame(text: str) -> pd.DataFrame:
    """The snapshot's text as a table: numbers as float64 (NaN where empty), texts as they are."""
    numbers: dict[str, array[float]] = {name: array("d") for name in NUMBERS}
    texts: dict[str, list[str]] = {name: [] for name in TEXTS}
    # The same few words again and again are kept once each.
    words: dict[str, str] = {}
    # Not at other line ends: a text may hold them.
    lines = csv.reader(f"{line}\n" for line in text.removesuffix("\n").split("\n"))
    header = next(lines)
    for row in lines:
        for name, cell in zip(header, row, strict=True):
            if name in numbers:
                numbers[name].append(float(cell) if cell else float("nan"))
            elif name in texts:
                texts[name].append(words.setdefault(cell, cell))
    return pd.DataFrame(
        {
            name: pd.Series(np.array(numbers[name], dtype=np.float64))
            if name in numbers
            else pd.Series(texts[name], dtype="str")
            for name in COLUMNS
        }
    )
