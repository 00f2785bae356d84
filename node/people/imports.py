"""Import of a site's retrospective cohort: the file is a fact, its rows and problems are derived from it.

Rules: the newest file that names an id decides that id's row; inside one file the first row of an id counts and the
others are problems; a row that cannot be taken is a problem, never silently left out. The problems of a row go when a
newer file decides its id, those of a whole file when none of its rows is in effect any more.
"""

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import structlog
from sqlite_utils import Database

from analytics.episodes.cohort import COLUMNS, DATE_COLUMNS, OPTIONAL_COLUMNS, CheckedRow, check_row, unclear_coding
from analytics.reasons import Reason
from node import __version__
from node.clock import to_text
from node.errors import CohortError
from node.store.database import writing
from node.store.failures import barrier, in_words, tried
from node.store.problems import note_problem
from node.store.reasons import stored

log = structlog.get_logger()

SEPARATORS = (",", ";")
"""Tried in this order; the one that splits the header into known columns is the file's."""

STORED = (*COLUMNS, *OPTIONAL_COLUMNS)
ALWAYS_CHECKED = (*COLUMNS, *DATE_COLUMNS)

FAILED = "failed"
"""Code of the problem of a row on which the software failed."""

INSERT_ROW = (
    f"INSERT OR REPLACE INTO derived_import_row ({', '.join(STORED)}, site, import_id, line, eligible, "
    f"exclusion_reasons) VALUES ({', '.join('?' * (len(STORED) + 5))})"
)


UNDERIVED = """
    SELECT count(*) FROM fact_import AS f
    WHERE f.import_id = (SELECT max(import_id) FROM fact_import)
      AND NOT EXISTS (SELECT 1 FROM derived_import_row AS r WHERE r.import_id = f.import_id)
      AND NOT EXISTS (SELECT 1 FROM derived_problem AS p
                      WHERE p.step = 'import' AND p.unit_kind = 'import' AND p.unit_key = CAST(f.import_id AS TEXT)
                        AND p.unit_part = 0)"""
"""1 while imported files are to be derived, else 0."""


@dataclass(frozen=True, kw_only=True)
class ImportSummary:
    """What an import did.

    ``rows`` = ``new`` + ``unchanged`` + ``changed`` + ``refused``; those not refused are ``eligible`` or
    ``excluded``. For a file that was imported before nothing changes and all of its rows count as unchanged.
    """

    rows: int
    new: int
    unchanged: int
    changed: int
    refused: int
    eligible: int
    excluded: int
    problems: tuple[str, ...]
    already_imported: bool

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class CohortRow:
    """A row of the file that is taken; ``line`` is 1-based, the header's line included."""

    id: str
    line: int
    checked: CheckedRow
    others: Mapping[str, str]
    """The cells of columns that a cohort table need not have, but for the dates, as text."""


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """What a person should look at, and the line that it is filed under."""

    line: int
    code: str
    reason: Reason


@dataclass(frozen=True, kw_only=True)
class CohortTable:
    """A file as read and checked; ``refused`` rows are in ``problems`` only."""

    rows: tuple[CohortRow, ...]
    refused: int
    problems: tuple[_Problem, ...]

    def problem_lines(self) -> list[str]:
        """Each problem in words, with its line."""
        return [f"line {problem.line}: {problem.reason}" for problem in self.problems]


def import_cohort(db: Database, path: Path, *, site: str, now: datetime) -> ImportSummary:
    """Store a cohort table as a fact and derive its rows, in one transaction.

    Parameters
    ----------
    path
        CSV in UTF-8 (a byte order mark is accepted), comma or semicolon between the cells, a decimal point in the
        numbers, the promised columns and optionally dates, scanner and outcomes, in any order.
    site
        Name of the site that the rows belong to.
    now
        When it is imported, aware.

    Raises
    ------
    CohortError
        The file as a whole cannot be read; nothing is stored.
    """
    content, table = read_cohort(path)
    digest = hashlib.sha256(content).hexdigest()
    with writing(db):
        if _underived(db):
            _derive_all(db, site=site)
        known = db.execute("SELECT import_id FROM fact_import WHERE sha256 = ?", [digest]).fetchone()
        if known is not None:
            return _summary(table, new=0, changed=0, superseded=_superseded(db, table, known[0]))
        (import_id,) = db.execute(
            "INSERT INTO fact_import (sha256, file_name, content, imported_at) VALUES (?, ?, ?, ?) RETURNING import_id",
            [digest, path.name, content, to_text(now)],
        ).fetchone()
        before = {row[0]: row[1:] for row in db.execute(f"SELECT {', '.join(STORED)} FROM derived_import_row")}
        _derive(db, import_id, table, site=site)
    new = sum(row.id not in before for row in table.rows)
    changed = sum(row.id in before and before[row.id] != _cells(row)[1:] for row in table.rows)
    summary = _summary(table, new=new, changed=changed)
    log.info(
        "cohort imported", import_id=import_id, rows=summary.rows, eligible=summary.eligible, refused=table.refused
    )
    return summary


def read_cohort(path: Path, *, more_columns: bool = False) -> tuple[bytes, CohortTable]:
    """Read and check a cohort table without storing it; its bytes and what they say.

    Parameters
    ----------
    more_columns
        Whether columns that a cohort table does not have are taken along, rather than refused.

    Raises
    ------
    CohortError
        The file as a whole cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CohortError(f"cohort table {path}: {error.strerror or error}") from error
    try:
        return content, _read_table(content, more_columns=more_columns)
    except CohortError as error:
        raise CohortError(f"cohort table {path}: {error}") from error


def derive_imports(db: Database, *, site: str) -> int:
    """Derive the rows and problems of all imported files, if that has not been done; returns the files derived.

    The newest file always decides at least one row, or is a problem as a whole: everything is derived exactly when it
    has left a trace. A file that an earlier version took and this one cannot read is such a problem; the others count.
    """
    if not _underived(db):
        return 0
    with writing(db):
        return _derive_all(db, site=site) if _underived(db) else 0


def derive_again(db: Database, *, site: str) -> int:
    """Derive all imported files anew, within a unit of work of the caller; returns how many there are."""
    return _derive_all(db, site=site)


def _underived(db: Database) -> bool:
    return bool(db.execute(UNDERIVED).fetchone()[0])


def _derive_all(db: Database, *, site: str) -> int:
    db.execute("DELETE FROM derived_problem WHERE step = 'import'")
    db.execute("DELETE FROM state_failure WHERE step = 'import'")
    db.execute("DELETE FROM derived_import_row")
    files = db.execute("SELECT import_id, content FROM fact_import ORDER BY import_id").fetchall()
    for import_id, content in files:
        with barrier(db, "import", f"import {import_id}", instead=partial(_unreadable, db, import_id)):
            try:
                table = _read_table(content)
            except CohortError as error:
                _unreadable(db, import_id, str(error))
            else:
                _derive(db, import_id, table, site=site)
    return len(files)


def _unreadable(db: Database, import_id: int, why: Reason | str) -> None:
    log.error("imported file cannot be read any more", import_id=import_id)
    note_problem(db, "import", "import", str(import_id), "unreadable", [Reason("import-unreadable", {"why": why})])


def _derive(db: Database, import_id: int, table: CohortTable, *, site: str) -> None:
    """Let a file decide the rows of the ids it names; files are derived in the order of their import."""
    ids = [[row.id] for row in table.rows]
    db.conn.executemany(
        "DELETE FROM derived_problem WHERE step = 'import' AND unit_kind = 'import' AND (unit_key, unit_part) IN "
        "(SELECT CAST(import_id AS TEXT), line FROM derived_import_row WHERE id = ?)",
        ids,
    )
    db.conn.executemany(
        INSERT_ROW,
        [
            (
                *_cells(row),
                site,
                import_id,
                row.line,
                int(row.checked.eligible),
                stored(row.checked.exclusion_reasons),
            )
            for row in table.rows
        ],
    )
    for problem in table.problems:
        note_problem(db, "import", "import", str(import_id), problem.code, [problem.reason], part=problem.line)
    db.conn.executemany(
        "INSERT OR IGNORE INTO state_failure (step, unit, version, attempts, final, detail) "
        "VALUES ('import', ?, ?, 1, 1, ?)",
        [
            (f"import {import_id} line {problem.line}", __version__, str(problem.reason))
            for problem in table.problems
            if problem.code == FAILED
        ],
    )
    for (other,) in db.execute(
        "SELECT import_id FROM fact_import WHERE import_id NOT IN (SELECT import_id FROM derived_import_row) "
        "AND import_id < ?",
        [import_id],
    ).fetchall():
        db.execute(
            "DELETE FROM derived_problem WHERE step = 'import' AND unit_kind = 'import' AND unit_key = ? "
            "AND unit_part > 0",
            [str(other)],
        )


def _cells(row: CohortRow) -> tuple[object, ...]:
    return tuple(row.checked.values[name] for name in STORED)


def _superseded(db: Database, table: CohortTable, import_id: int) -> int:
    """How many rows of an imported file a newer file decides."""
    (held,) = db.execute("SELECT count(*) FROM derived_import_row WHERE import_id = ?", [import_id]).fetchone()
    return len(table.rows) - int(held)


def _summary(table: CohortTable, *, new: int, changed: int, superseded: int | None = None) -> ImportSummary:
    problems = table.problem_lines()
    if superseded:
        problems.append(f"{superseded} rows of this file are not in effect: a file imported later decides them")
    eligible = sum(row.checked.eligible for row in table.rows)
    return ImportSummary(
        rows=len(table.rows) + table.refused,
        new=new,
        unchanged=len(table.rows) - new - changed,
        changed=changed,
        refused=table.refused,
        eligible=eligible,
        excluded=len(table.rows) - eligible,
        problems=tuple(problems),
        already_imported=superseded is not None,
    )


def _read_table(content: bytes, *, more_columns: bool = False) -> CohortTable:
    text = _decode(content)
    separator, header = _header(text, more_columns=more_columns)
    taken: list[tuple[int, dict[str, str]]] = []
    malformed: list[_Problem] = []
    for line, cells in islice(_records(text, separator), 1, None):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) == len(header):
            taken.append((line, dict(zip(header, cells, strict=True))))
        else:
            reason = Reason("row-of-other-length", {"cells": len(cells), "header": len(header)})
            malformed.append(_Problem(line=line, code="malformed", reason=reason))
    if unclear := unclear_coding([values for _, values in taken]):
        raise CohortError(f"{'; '.join(unclear)}; recode to 1 (yes) and 0 (no) and import again")
    return _checked(taken, malformed)


def _checked(taken: Sequence[tuple[int, Mapping[str, str]]], malformed: Sequence[_Problem]) -> CohortTable:
    rows: dict[str, CohortRow] = {}
    problems = list(malformed)
    refused = len(malformed)
    for line, values in taken:
        row = tried(partial(check_row, values))
        if row.error is not None:
            reason = Reason("row-failed", {"fault": in_words(row.error)})
            problems.append(_Problem(line=line, code=FAILED, reason=reason))
            refused += 1
            continue
        checked = row.result()
        name = checked.values["id"]
        if not isinstance(name, str):
            problems.append(_Problem(line=line, code="no-id", reason=Reason("row-without-id")))
            refused += 1
        elif name in rows:
            # Filed under the first row, so that it goes when a newer file decides the id.
            reason = Reason("row-repeated", {"id": name, "line": line})
            problems.append(_Problem(line=rows[name].line, code="repeated-id", reason=reason))
            refused += 1
        else:
            others = {
                column: cell.strip() for column, cell in values.items() if column not in (*COLUMNS, *DATE_COLUMNS)
            }
            rows[name] = CohortRow(id=name, line=line, checked=checked, others=others)
            problems.extend(
                _Problem(line=line, code="value", reason=Reason("value-of-row", {"id": name, "why": why}))
                for why in checked.problems
            )
    if not rows:
        raise CohortError("it has no row that can be used (a row needs an id and as many cells as the header)")
    ordered = sorted(problems, key=lambda problem: (problem.line, problem.code, str(problem.reason)))
    return CohortTable(rows=tuple(rows.values()), refused=refused, problems=tuple(ordered))


def _decode(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CohortError("it is in UTF-16; save it as CSV in UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CohortError(
            f"line {line} is not UTF-8 (byte 0x{content[error.start]:02x}); save it as CSV in UTF-8"
        ) from error
    if not text.strip():
        raise CohortError("it is empty")
    if "\0" in text:
        raise CohortError("it holds NUL characters, so it is not a CSV file (is it a spreadsheet? save it as CSV)")
    return text


def _header(text: str, *, more_columns: bool) -> tuple[str, list[str]]:
    """The separator and the column names, none missing, and all of them known unless more are allowed."""
    first = next(csv.reader(io.StringIO(text, newline=""), delimiter=SEPARATORS[0], strict=False))
    separator = SEPARATORS[1] if len(first) == 1 and SEPARATORS[1] in first[0] else SEPARATORS[0]
    _, cells = next(_records(text, separator))
    header = [cell.strip() for cell in cells]
    missing = [name for name in COLUMNS if name not in header]
    unknown = sorted({name for name in header if name not in STORED})
    repeated = sorted({name for name in header if header.count(name) > 1})
    complaints = [
        f"{what} {', '.join(repr(name) for name in names)}"
        for what, names in (("missing", missing), ("unknown", [] if more_columns else unknown), ("repeated", repeated))
        if names
    ]
    if complaints:
        raise CohortError(
            f"its first line does not name the columns as it should: {'; '.join(complaints)}; "
            f"the columns are {', '.join(COLUMNS)}, and optionally {', '.join(OPTIONAL_COLUMNS)}"
        )
    return separator, header


def _records(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line (1-based) it begins on; a quoted cell may hold line breaks."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise CohortError(f"the record that begins on line {line} is not CSV: {error}") from error
        yield line, cells
