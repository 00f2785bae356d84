"""A dry run of an import: what each column became, which rows would be used, and a mapping to look through."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analytics.reasons import Reason
from node.errors import CohortError
from node.people.cohort_rows import CohortTable, by_reason, exclusions_by_reason, in_lines
from node.people.files.mapping import read_mapping, to_toml
from node.people.files.summary import ColumnSummary, summaries, to_json
from node.people.files.tables import Understood, UnnamedColumnsError, understand
from node.people.imports import checked_table, of_table, read_bytes


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What an import would make of a file; without ``understood`` its columns are not found, without ``table`` it would
    be refused, for what ``refusal`` says."""

    understood: Understood | None
    table: CohortTable | None
    columns: tuple[ColumnSummary, ...]
    refusal: Reason | None
    proposal: str

    @property
    def exit_code(self) -> int:
        """As the import would have it."""
        if self.table is None:
            return CohortError.exit_code
        return 3 if self.table.problems else 0

    def lines(self) -> list[str]:
        """What would happen, for a person."""
        lines = []
        if self.understood is not None:
            raw = self.understood.raw
            separated = f"separator {raw.separator!r}" if raw.separator else ""
            lines.append(f"read as {', '.join(one for one in (raw.form, raw.encoding, separated) if one)}")
            if self.understood.others:
                lines.append(f"not used: {', '.join(self.understood.others)}")
        if self.table is None:
            return [*lines, f"would be refused: {self.refusal}"]
        eligible = sum(row.checked.eligible for row in self.table.rows)
        lines.append(
            f"{len(self.table.rows) + self.table.refused} rows: {self.table.refused} refused, {eligible} eligible for "
            f"the model, {len(self.table.rows) - eligible} excluded"
        )
        return [*lines, *in_lines(by_reason(self.table.problems), exclusions_by_reason(self.table.rows))]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        reasons = _row_reasons(self.table)
        shown = {} if self.understood is None else to_json(self.understood, reasons)
        rows: dict[str, Any] = {}
        if self.table is not None:
            eligible = sum(row.checked.eligible for row in self.table.rows)
            rows = {
                "rows": len(self.table.rows) + self.table.refused,
                "refused": self.table.refused,
                "eligible": eligible,
                "excluded": len(self.table.rows) - eligible,
                "problems_by_reason": by_reason(self.table.problems),
                "excluded_by_reason": exclusions_by_reason(self.table.rows),
            }
        refused = self.refusal
        said = {"refusal": refused and str(refused), "refusal_code": refused and refused.code}
        return {**shown, **rows, **said, "proposal": self.proposal}


def preview(path: Path, mapping: str = "") -> Preview:
    """Read and check a cohort table without storing it.

    Raises
    ------
    CohortError
        The file is no table that can be read at all, or the mapping is none.
    """
    content = read_bytes(path)
    try:
        understood = understand(content, read_mapping(mapping) if mapping else None)
    except UnnamedColumnsError as error:
        proposal = to_toml(error.proposal, {})
        return Preview(understood=None, table=None, columns=(), refusal=error.reason, proposal=proposal)
    except CohortError as error:
        raise of_table(path, error.reason) from error
    notes = {one.name: [str(doubt) for doubt in (*one.doubts, *one.notes)] for one in understood.columns}
    proposal = to_toml(understood.proposal(), notes)
    table, refusal = None, None
    try:
        table = checked_table(understood)
    except CohortError as error:
        refusal = error.reason
    columns = tuple(summaries(understood, _row_reasons(table)))
    return Preview(understood=understood, table=table, columns=columns, refusal=refusal, proposal=proposal)


def _row_reasons(table: CohortTable | None) -> list[Reason]:
    return [] if table is None else [problem.cause for problem in table.problems]
