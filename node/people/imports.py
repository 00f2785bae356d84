"""Import of a site's retrospective cohort: the file is a fact, its rows and problems are derived from it.

Rules: the newest file that names an id decides that id's row; inside one file the first row of an id counts and the
others are problems; a row that cannot be taken is a problem, never silently left out. The problems of a row go when a
newer file decides its id, those of a whole file when none of its rows is in effect any more.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from sqlite_utils import Database

from analytics.episodes.cohort import COLUMNS, DATE_COLUMNS, OPTIONAL_COLUMNS, CheckedRow, check_row
from analytics.episodes.whole_table import row_doubts
from analytics.reasons import Reason, codes
from node.clock import to_text
from node.errors import CohortError
from node.people.cohort_rows import CohortRow, CohortTable, Problem, by_reason, exclusions_by_reason, in_lines
from node.store.database import insert, writing
from node.store.failures import Unit, barrier, in_words, note_outcome, tried
from node.store.pending import UNDERIVED_IMPORTS
from node.store.problems import note_problem
from node.store.reasons import stored

if TYPE_CHECKING:
    from node.people.files.tables import Understood  # with pandas, for which there is no need before a file is read

log = structlog.get_logger()

STORED = (*COLUMNS, *OPTIONAL_COLUMNS)

FAILED = "failed"
"""Code of the problem of a row on which the software failed."""

INSERT_ROW = (
    f"INSERT OR REPLACE INTO derived_import_row ({', '.join(STORED)}, site, import_id, line, eligible, "
    f"exclusion_reasons) VALUES ({', '.join('?' * (len(STORED) + 5))})"
)


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
    problem_codes: tuple[str, ...]
    """The code of each problem, in the same order."""
    problems_by_reason: tuple[dict[str, Any], ...]
    excluded_by_reason: tuple[dict[str, Any], ...]
    """Counts with a code and one example each; a row is counted by the first reason that keeps it out."""
    already_imported: bool
    superseded: int = 0
    """1 where the last problem is that a newer file decides rows of this one."""

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        return asdict(self)

    def lines(self) -> list[str]:
        """What happened, for a person: problems and exclusions counted by reason, with one example each."""
        known = " (this file had been imported before)" if self.already_imported else ""
        return [
            f"{self.rows} rows: {self.new} new, {self.changed} changed, {self.unchanged} unchanged, "
            f"{self.refused} refused; {self.eligible} eligible for the model, {self.excluded} excluded{known}",
            *in_lines(self.problems_by_reason, self.excluded_by_reason),
            *self.problems[len(self.problems) - self.superseded :],
        ]


def import_cohort(db: Database, path: Path, *, site: str, now: datetime, mapping: str = "") -> ImportSummary:
    """Store a cohort table as a fact and derive its rows, in one transaction.

    Parameters
    ----------
    path
        CSV of any usual dialect, a spreadsheet, SPSS, Stata, SAS transport or Parquet: the promised columns and
        optionally dates, scanner and outcomes, in any order.
    site
        Name of the site that the rows belong to.
    now
        When it is imported, aware.
    mapping
        What a person says about the columns (TOML); kept with the file.

    Raises
    ------
    CohortError
        The file as a whole cannot be read, or was erased; nothing is stored.
    """
    content, table = read_cohort(path, mapping=mapping)
    # The same file with another mapping is another import.
    digest = hashlib.sha256(content + (b"\0" + mapping.encode() if mapping else b"")).hexdigest()
    with writing(db):
        if erased_at := _erased_at(db, digest):
            raise of_table(path, Reason("import-erased", {"date": erased_at[:10]}))
        if _underived(db):
            _derive_all(db, site=site)
        known = db.execute("SELECT import_id FROM fact_import WHERE sha256 = ?", [digest]).fetchone()
        if known is not None:
            return _summary(table, new=0, changed=0, superseded=_superseded(db, table, known[0]))
        (import_id,) = db.execute(
            "INSERT INTO fact_import (sha256, file_name, content, imported_at) VALUES (?, ?, ?, ?) RETURNING import_id",
            [digest, path.name, content, to_text(now)],
        ).fetchone()
        if mapping:
            insert(db, "fact_import_mapping", [{"import_id": import_id, "content": mapping}])
        before = {row[0]: row[1:] for row in db.execute(f"SELECT {', '.join(STORED)} FROM derived_import_row")}
        _derive(db, import_id, table, site=site)
    new = sum(row.id not in before for row in table.rows)
    changed = sum(row.id in before and before[row.id] != _cells(row)[1:] for row in table.rows)
    summary = _summary(table, new=new, changed=changed)
    log.info(
        "cohort imported", import_id=import_id, rows=summary.rows, eligible=summary.eligible, refused=table.refused
    )
    return summary


def _erased_at(db: Database, digest: str) -> str | None:
    row = db.execute(
        "SELECT max(e.erased_at) FROM fact_erasure AS e, json_each(e.hashes) AS h WHERE h.value = ?", [digest]
    ).fetchone()
    return None if row[0] is None else str(row[0])


def read_cohort(path: Path, *, mapping: str = "") -> tuple[bytes, CohortTable]:
    """Read and check a cohort table without storing it; its bytes and what they say.

    Raises
    ------
    CohortError
        The file as a whole cannot be read.
    """
    content = read_bytes(path)
    try:
        return content, _read_table(content, mapping)
    except CohortError as error:
        raise of_table(path, error.reason) from error


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises
    ------
    CohortError
        It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise of_table(path, Reason("file-unreadable", {"fault": error.strerror or str(error)})) from error


def of_table(path: Path, why: Reason) -> CohortError:
    """The error that a table as a whole cannot be used, with its path."""
    return CohortError(Reason("cohort-table", {"path": str(path), "why": why}))


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
    return bool(db.execute(UNDERIVED_IMPORTS).fetchone()[0])


def _derive_all(db: Database, *, site: str) -> int:
    db.execute("DELETE FROM derived_problem WHERE step = 'import'")
    db.execute("DELETE FROM state_failure WHERE step = 'import'")
    db.execute("DELETE FROM derived_import_row")
    files = db.execute(
        "SELECT f.import_id, f.content, coalesce(m.content, '') FROM fact_import AS f "
        "LEFT JOIN fact_import_mapping AS m USING (import_id) ORDER BY f.import_id"
    ).fetchall()
    for import_id, content, mapping in files:
        with barrier(db, "import", Unit("import", str(import_id)), instead=partial(_unreadable, db, import_id)):
            try:
                table = _read_table(content, mapping)
            except CohortError as error:
                _unreadable(db, import_id, error.reason)
            else:
                _derive(db, import_id, table, site=site)
    return len(files)


def _unreadable(db: Database, import_id: int, why: Reason) -> None:
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
    for failed in (problem for problem in table.problems if problem.code == FAILED):
        note_outcome(db, "import", Unit("import", str(import_id), str(failed.line)), failed.reason)
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
    problems, problem_codes = table.problem_lines(), codes(problem.cause for problem in table.problems)
    if superseded:
        reason = Reason("rows-superseded", {"rows": superseded})
        problems.append(str(reason))
        problem_codes.append(reason.code)
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
        problem_codes=tuple(problem_codes),
        problems_by_reason=tuple(by_reason(table.problems)),
        excluded_by_reason=tuple(exclusions_by_reason(table.rows)),
        already_imported=superseded is not None,
        superseded=int(bool(superseded)),
    )


def _read_table(content: bytes, mapping: str = "") -> CohortTable:
    from node.people.files.mapping import read_mapping
    from node.people.files.tables import understand

    return checked_table(understand(content, read_mapping(mapping) if mapping else None))


def checked_table(table: "Understood") -> CohortTable:
    """The rows of a file as far as they can be used, each doubt a problem.

    Raises
    ------
    CohortError
        A column cannot be right as a whole, or no row can be used.
    """
    from node.people.files.tables import is_summary

    if table.doubts:
        raise CohortError(Reason("file-columns-in-doubt", {"doubts": table.doubts}))
    malformed = [Problem(line=line, code="malformed", reason=reason) for line, reason in table.malformed]
    empty = [Problem(line=1, code="value", reason=reason) for reason in table.empty]
    summed = {index for index in range(len(table.lines)) if is_summary(table, index)}
    taken = []
    for index, values in enumerate(table.rows()):
        if index in summed:
            reason = Reason("row-sums-up", {"id": values["id"]})
            malformed.append(Problem(line=table.lines[index], code="malformed", reason=reason))
        else:
            taken.append((table.lines[index], values))
    checked = _checked(taken, malformed, settled=table.settled)
    return replace(checked, problems=(*empty, *checked.problems))


def _checked(
    taken: Sequence[tuple[int, Mapping[str, str]]], malformed: Sequence[Problem], *, settled: frozenset[str]
) -> CohortTable:
    rows: dict[str, CohortRow] = {}
    problems = list(malformed)
    refused = len(malformed)
    for line, values in taken:
        row = tried(partial(check_row, values))
        if row.error is not None:
            reason = Reason("row-failed", {"fault": in_words(row.error)})
            problems.append(Problem(line=line, code=FAILED, reason=reason))
            refused += 1
            continue
        checked = row.result()
        name = checked.values["id"]
        if not isinstance(name, str):
            problems.append(Problem(line=line, code="no-id", reason=Reason("row-without-id")))
            refused += 1
        elif name in rows:
            # Filed under the first row, so that it goes when a newer file decides the id.
            reason = Reason("row-repeated", {"id": name, "line": line})
            problems.append(Problem(line=rows[name].line, code="repeated-id", reason=reason))
            refused += 1
        else:
            others = {
                column: cell.strip() for column, cell in values.items() if column not in (*COLUMNS, *DATE_COLUMNS)
            }
            rows[name] = CohortRow(id=name, line=line, checked=_by_table(checked, others), others=others)
    if not rows:
        raise CohortError(Reason("file-without-rows"))
    held = _held(tuple(rows.values()), settled)
    problems += [
        Problem(line=row.line, code="value", reason=Reason("value-of-row", {"id": row.id, "why": reason}))
        for row in held
        for reason in row.checked.problems
    ]
    ordered = sorted(problems, key=lambda problem: (problem.line, problem.code, str(problem.reason)))
    return CohortTable(rows=held, refused=refused, problems=tuple(ordered))


def _by_table(checked: CheckedRow, others: Mapping[str, str]) -> CheckedRow:
    """An export of the view ``cohort`` knows more than its values show."""
    if not checked.eligible or others.get("eligible") != "0":
        return checked
    reason = Reason("not-eligible-by-table", {"why": others.get("exclusion_reasons", "")})
    return replace(checked, eligible=False, exclusion_reasons=(reason,))


def _held(rows: tuple[CohortRow, ...], settled: frozenset[str]) -> tuple[CohortRow, ...]:
    """The rows, those kept out of the model that cannot be right among the others."""
    doubts = row_doubts([row.checked for row in rows], settled=settled)
    return tuple(
        replace(
            row,
            checked=replace(
                row.checked,
                problems=(*row.checked.problems, *doubts[index]),
                eligible=False,
                exclusion_reasons=(*doubts[index], *row.checked.exclusion_reasons),
            ),
        )
        if index in doubts
        else row
        for index, row in enumerate(rows)
    )
