"""Readings of several readers as a table: from a CSV file, or those that this node has stored.

A file has one column per reader, or, in long format, one line per reading: subject, reader, VBQ.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Literal

import pandas as pd
from sqlite_utils import Database

from analytics.paper.readers import AUTOMATIC
from node.errors import InputError

LONG = re.compile(r"(?i)(reader|rater|observer|examiner|untersucher|lecteur|观察者|阅片者)(_?id)?")
"""Name of the column that makes a table of three columns one in long format."""


@dataclass(frozen=True, kw_only=True)
class StoredReadings:
    """``table`` has one row per series (sorted) and one column per reader, NaN where one has not read it.

    ``approved`` counts readings that are the automatic circles taken over by a person: they agree by making, so they
    are not in the table.
    """

    table: pd.DataFrame
    approved: int


def read_readings(path: Path) -> pd.DataFrame:
    """Read a table of readings: the subject first, then one column of VBQ per reader, a blank where one is missing.

    A table of three columns, the second of which is called reader (:data:`LONG`), has one line per reading: subject,
    reader, VBQ.

    Returns
    -------
    DataFrame
        float64, one column per reader, the subjects as index; :data:`analytics.paper.readers.AUTOMATIC` is a name
        for the automatic measurement.

    Raises
    ------
    InputError
        The file cannot be read, has fewer than two readers, a cell that is no number, or two readings of a subject by
        the same reader; the line is named.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"readings {path}: {reason or error}") from error
    separator = ";" if text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",") else ","
    lines = [(number, row) for number, row in _rows(text, separator, path) if any(cell.strip() for cell in row)]
    if not lines:
        raise InputError(f"readings {path}: the file is empty")
    header = [cell.strip() for cell in lines[0][1]]
    numbered = lines[1:]
    for number, row in numbered:
        if len(row) != len(header):
            raise InputError(f"readings {path}, line {number}: {len(row)} cells, the header has {len(header)}")
    if len(header) == 3 and LONG.fullmatch(header[1]) and header[2] != AUTOMATIC:
        return _long(numbered, path)
    return _wide(header[1:], numbered, path)


def _wide(readers: list[str], lines: list[tuple[int, list[str]]], path: Path) -> pd.DataFrame:
    """A table of a subject a line, a column per reader."""
    if len(readers) < 2 or len(set(readers)) < len(readers) or "" in readers:
        raise InputError(
            f"readings {path}: the header needs a subject column and at least two readers of different names, "
            f"not {', '.join(readers)}"
        )
    values: dict[str, list[float]] = {}
    for number, row in lines:
        subject = row[0].strip()
        if not subject or subject in values:
            raise InputError(f"readings {path}, line {number}: subject {subject!r} is blank or stands there twice")
        values[subject] = [
            _number(cell, f"readings {path}, line {number}, {reader}")
            for reader, cell in zip(readers, row[1:], strict=True)
        ]
    return pd.DataFrame.from_dict(values, orient="index", columns=readers, dtype="float64").sort_index()


def _long(lines: list[tuple[int, list[str]]], path: Path) -> pd.DataFrame:
    """A table of subject, reader and VBQ as one column per reader, in the order in which they come."""
    values: dict[str, dict[str, float]] = {}
    readers: dict[str, None] = {}
    for number, row in lines:
        subject, reader, cell = (text.strip() for text in row)
        if not subject or not reader:
            raise InputError(f"readings {path}, line {number}: subject or reader is blank")
        of_subject = values.setdefault(subject, {})
        if reader in of_subject:
            raise InputError(f"readings {path}, line {number}: {reader!r} has read {subject!r} twice")
        of_subject[reader] = _number(cell, f"readings {path}, line {number}, {reader}")
        readers[reader] = None
    if len(readers) < 2:
        raise InputError(f"readings {path}: at least two readers are needed, not {', '.join(readers) or 'none'}")
    return pd.DataFrame.from_dict(values, orient="index", columns=list(readers), dtype="float64").sort_index()


def _rows(text: str, separator: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise InputError(f"readings {path}, line {reader.line_num}: not CSV: {error}") from error


def _number(cell: str, where: str) -> float:
    text = cell.strip()
    if not text or text.upper() == "NA":
        return nan
    try:
        value = float(text)
    except ValueError as error:
        raise InputError(f"{where}: {text!r} is no number") from error
    if not isfinite(value) or value <= 0:
        raise InputError(f"{where}: {text!r} is no VBQ")
    return value


USABLE = """
SELECT m.reading_id, m.series_instance_uid, r.reader, m.vbq_mean, m.vbq_median, {value}
FROM derived_measurement AS m
LEFT JOIN fact_reading AS r USING (reading_id)
LEFT JOIN fact_reading_step AS t USING (reading_id)
-- One that waits for a second reader, or differs from the other, is as good as any; who settled two has seen both.
WHERE m.current = 1 AND t.step IS NOT 'settling'
  AND (m.status = 'measured' OR (m.doubts = 1 AND m.reasons ->> '$[#-1].code' IN ({waiting})))
ORDER BY m.series_instance_uid, m.reading_id, m.rowid
"""
WAITING = ("reading-missing", "second-reading-missing", "readings-differ")

Usable = tuple[int | None, str, str | None, float, float, float]
"""Reading, series, reader (both ``None``: the automatic measurement), mean and median form, and what is asked for."""


def _usable(db: Database, form: Literal["mean", "median"]) -> list[Usable]:
    codes = ", ".join(f"'{code}'" for code in WAITING)
    return list(db.execute(USABLE.format(value=f"m.vbq_{form}", waiting=codes)).fetchall())


def against_automatic(db: Database, *, form: Literal["mean", "median"]) -> dict[str, list[float]]:
    """Each reader's scores less the automatic ones (VBQ units), in the order in which they were read.

    Of a series the newest of a reader; approved automatic circles are no reading of their own.
    """
    rows = _usable(db, form)
    automatic = {series: (mean, median, vbq) for _, series, reader, mean, median, vbq in rows if reader is None}
    newest = {
        (series, reader): (number, vbq - automatic[series][2])
        for number, series, reader, mean, median, vbq in rows
        if reader is not None and series in automatic and automatic[series][:2] != (mean, median)
    }
    found: dict[str, list[float]] = {}
    for (_, reader), (_, difference) in sorted(newest.items(), key=lambda one: one[1][0] or 0):
        found.setdefault(reader, []).append(difference)
    return found


def stored_readings(db: Database, *, form: Literal["mean", "median"]) -> StoredReadings:
    """The newest usable measurement of each series by each reader and by the automatic measurement.

    Raises
    ------
    InputError
        There are fewer than two readers.
    """
    newest = {(series, reader): (mean, median, vbq) for _, series, reader, mean, median, vbq in _usable(db, form)}
    cells: dict[str, dict[str, float]] = {}
    approved = 0
    for (series, reader), (mean, median, vbq) in newest.items():
        automatic = newest.get((series, None))
        if reader is not None and automatic is not None and automatic[:2] == (mean, median):
            approved += 1
            continue
        cells.setdefault(series, {})[AUTOMATIC if reader is None else reader] = vbq
    readers = sorted({reader for row in cells.values() for reader in row})
    if len(readers) < 2:
        raise InputError(
            f"agreement needs two readers of the same series; measured so far by: {', '.join(readers) or 'nobody'}"
            + (f"; {approved} readings are approved automatic ones, which are not independent" if approved else "")
        )
    table = pd.DataFrame.from_dict(cells, orient="index", columns=readers, dtype="float64").sort_index()
    return StoredReadings(table=table, approved=approved)
