"""The snapshot a night works on: the eligible rows of the view ``cohort`` as one canonical text.

The text is what is hashed, stored with the fit and read back by the model, so that any past fit can be repeated from
its own record to the last digit.
"""

import csv
import hashlib
import io
from dataclasses import dataclass

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
    rows = db.execute(f"SELECT {', '.join(COLUMNS)} FROM cohort WHERE eligible = 1").fetchall()
    lines = sorted(tuple(_cell(value) for value in row) for row in rows)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(lines)
    text = buffer.getvalue()
    return Snapshot(text=text, sha256=hashlib.sha256(text.encode("utf-8")).hexdigest(), n=len(lines))


def _cell(value: float | str | None) -> str:
    if value is None:
        return ""
    # 82 and 82.0 are the same age: an imported one is REAL, a linked one INTEGER.
    return repr(float(value)).removesuffix(".0") if isinstance(value, int | float) else value


def cohort_frame(text: str) -> pd.DataFrame:
    """The snapshot's text as a table: numbers as float64 (NaN where empty), texts as they are."""
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    numbers = {name: [float(row[name]) if row[name] else float("nan") for row in rows] for name in NUMBERS}
    return pd.DataFrame(
        {
            name: pd.Series(numbers[name], dtype="float64")
            if name in numbers
            else pd.Series([row[name] for row in rows], dtype="str")
            for name in COLUMNS
        }
    )
