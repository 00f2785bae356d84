"""Files of spreadsheets and statistics programs, known by their first bytes, read by the libraries that know them."""

import io
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any

import numpy as np
import pandas as pd

from analytics.reasons import Reason
from node.errors import CohortError
from node.people.files.raw import MAC_DAY_0, SPREADSHEET_DAY_0, RawRow, RawTable
from node.people.files.text import HEADER_WITHIN, Known, header_place, read_text

_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0"
_PARQUET = b"PAR1"
_XPORT = b"HEADER RECORD*******"
_NO_TABLE = re.compile(rb"%PDF|\{\\rtf|<!doctype|<html|<table|<\?xml|<meta|[{\[]\s*[{\"]", re.IGNORECASE)
"""Beginnings of pages, documents and JSON, which some systems export under the names of tables."""
_OLD_STATA = range(0x69, 0x74)
"""First byte of Stata files of versions 4 to 12: the number of the format."""


def read_file(content: bytes, *, known: Known, encoding: str = "", separator: str = "", sheet: str = "") -> RawTable:
    """Read a table in any format; ``known`` tells whether a text names a column.

    Raises
    ------
    CohortError
        The format is not read here, or the file is damaged.
    """
    if content.startswith((_ZIP, _OLE)):
        return _spreadsheet(content, known, sheet)
    if content.startswith((b"$FL2", b"$FL3")):
        return _statistics(content, "SPSS", encoding)
    if content.startswith(b"<stata_dta>") or _is_old_stata(content):
        return _statistics(content, "Stata", encoding)
    if content.startswith(_XPORT):
        return _statistics(content, "SAS transport", encoding)
    if content.startswith(_PARQUET):
        return _parquet(content)
    if content.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"RDX", b"X\n\0\0")):
        raise CohortError(Reason("file-compressed"))
    if content[84:92] == b"SAS FILE":
        raise CohortError(Reason("file-sas-data-set"))
    if match := _NO_TABLE.match(content.lstrip(b"\xef\xbb\xbf \t\r\n")[:100]):
        raise CohortError(Reason("file-of-another-kind", {"begins": match[0].decode("ascii")}))
    return read_text(content, known=known, encoding=encoding, separator=separator)


def _is_old_stata(content: bytes) -> bool:
    return len(content) > 1 and content[0] in _OLD_STATA and content[1] in (1, 2)


def _spreadsheet(content: bytes, known: Known, sheet: str) -> RawTable:
    import python_calamine as calamine

    if content.startswith(_ZIP):
        try:
            zipfile.ZipFile(io.BytesIO(content)).close()
        except zipfile.BadZipFile as error:
            raise CohortError(Reason("file-spreadsheet-damaged", {"fault": str(error)})) from error
    try:
        book = calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
        sheets = {name: book.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in book.sheet_names}
    except (calamine.CalamineError, ValueError, OSError) as error:
        raise CohortError(Reason("file-spreadsheet-unreadable", {"fault": str(error)})) from error
    if sheet and sheet not in sheets:
        raise CohortError(Reason("file-without-sheet", {"sheet": sheet, "sheets": ", ".join(sheets)}))
    candidates = {sheet: sheets[sheet]} if sheet else sheets
    found = {name: start for name, grid in candidates.items() if (start := _header_row(grid, known)) is not None}
    if not found:
        raise CohortError(Reason("file-without-header", {"sheets": ", ".join(candidates)}))
    if len(found) > 1:
        raise CohortError(Reason("file-several-tables", {"sheets": ", ".join(found)}))
    ((name, start),) = found.items()
    grid = [[_text(cell) for cell in row] for row in sheets[name]]
    rows = (
        RawRow(line=start + 2 + index, cells=tuple(row))
        for index, row in enumerate(grid[start + 1 :])
        if any(cell.strip() for cell in row)
    )
    header = tuple(cell.strip() for cell in grid[start])
    return RawTable(
        form=f"spreadsheet, sheet {name}", header=header, rows=tuple(rows), typed=True, day_0=_first_day(content)
    )


def _header_row(grid: Sequence[Sequence[object]], known: Known) -> int | None:
    return header_place([[_text(cell) for cell in row] for row in grid[:HEADER_WITHIN]], known)


def _first_day(content: bytes) -> date:
    """The day that a workbook counts as 0: of those of old Macs the first of 1904."""
    if not content.startswith(_ZIP):
        return SPREADSHEET_DAY_0
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        about = book.read("xl/workbook.xml") if "xl/workbook.xml" in book.namelist() else b""
    return MAC_DAY_0 if re.search(rb'date1904="(1|true)"', about) else SPREADSHEET_DAY_0


def _statistics(content: bytes, form: str, encoding: str) -> RawTable:
    import pyreadstat

    readers: Mapping[str, Callable[..., Any]] = {
        "SPSS": pyreadstat.read_sav,
        "Stata": pyreadstat.read_dta,
        "SAS transport": pyreadstat.read_xport,
    }
    try:
        # Values that the file declares as missing come as missing; labels are taken up by column, not by the library.
        frame, about = readers[form](io.BytesIO(content), encoding=encoding or None)
    except (pyreadstat.ReadstatError, pyreadstat.PyreadstatError, UnicodeDecodeError, ValueError) as error:
        raise CohortError(Reason("file-format-unreadable", {"form": form, "fault": str(error)})) from error
    labels = {
        column: {_text(value): str(label) for value, label in values.items()}
        for column, values in about.variable_value_labels.items()
    }
    titles = {name: str(title) for name, title in about.column_names_to_labels.items() if title}
    return _of_frame(frame, form, labels=labels, titles=titles)


def _parquet(content: bytes) -> RawTable:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise CohortError(Reason("file-parquet-extra")) from error
    try:
        table = parquet.read_table(io.BytesIO(content))
    except (pyarrow.ArrowException, OSError) as error:
        raise CohortError(Reason("file-format-unreadable", {"form": "Parquet", "fault": str(error)})) from error
    return _of_frame(table.to_pandas(ignore_metadata=True), "Parquet", labels={}, titles={})


def _of_frame(
    frame: pd.DataFrame, form: str, *, labels: Mapping[str, Mapping[str, str]], titles: Mapping[str, str]
) -> RawTable:
    columns = [_column(frame.iloc[:, i]) for i in range(frame.shape[1])]
    rows = tuple(RawRow(line=i + 1, cells=cells) for i, cells in enumerate(zip(*columns, strict=True)))
    header = tuple(str(name).strip() for name in frame.columns)
    return RawTable(form=form, header=header, rows=rows, typed=True, labels=labels, titles=titles)


def _column(values: "pd.Series[Any]") -> list[str]:
    if values.dtype.kind == "f" and _single(values.to_numpy()):
        return ["" if np.isnan(one) else _text(float(str(np.float32(one)))) for one in values.to_numpy()]
    cells: Iterable[Any] = values.tolist()
    # Of a cell that holds several values there is no "missing".
    return ["" if pd.api.types.is_scalar(cell) and pd.isna(cell) else _text(cell) for cell in cells]


def _single(values: "np.ndarray[Any, Any]") -> bool:
    """Whether these are numbers of single precision: 2.7 in Stata's `float` is 2.70000005 in double precision."""
    given = values[np.isfinite(values)]
    return (
        bool(len(given))
        and bool(np.all(np.abs(given) < 1e30))
        and bool(np.all(given == given.astype(np.float32).astype(np.float64)))
    )


def _text(cell: object) -> str:
    """A value of a typed format as text: whole numbers without a point, days as ISO dates."""
    match cell:
        case None:
            return ""
        case bool() | np.bool_():
            return "1" if cell else "0"
        case datetime():
            return cell.date().isoformat() if cell.time() == time() else cell.isoformat(sep=" ")
        case date():
            return cell.isoformat()
        case float() | np.floating():
            number = float(cell)
            return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
        case _:
            return str(cell)
