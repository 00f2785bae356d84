"""The rows of a cohort table as taken, what is wrong with them, and both counted by reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analytics.episodes.cohort import CheckedRow
from analytics.reasons import Reason, words


@dataclass(frozen=True, kw_only=True)
class CohortRow:
    """A row of the file that is taken; ``line`` is 1-based, the header's line included."""

    id: str
    line: int
    checked: CheckedRow
    others: Mapping[str, str]
    """The cells of columns that a cohort table need not have, but for the dates, as text."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a person should look at, and the line that it is filed under; ``code`` is its kind in ``problems``."""

    line: int
    code: str
    reason: Reason

    @property
    def cause(self) -> Reason:
        """The reason without the id of the row, by which alike problems are counted."""
        why = self.reason.values.get("why")
        return why if isinstance(why, Reason) else self.reason

    @property
    def id(self) -> str:
        """The id of the row, where it has one."""
        return str(self.reason.values.get("id", ""))

    def in_words(self) -> str:
        """The same with its line."""
        return f"line {self.line}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class CohortTable:
    """A file as read and checked; ``refused`` rows are in ``problems`` only."""

    rows: tuple[CohortRow, ...]
    refused: int
    problems: tuple[Problem, ...]

    def problem_lines(self) -> list[str]:
        """Each problem in words, with its line."""
        return [problem.in_words() for problem in self.problems]


def by_reason(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """The problems counted by reason, the most frequent first, each with its code and one example."""
    groups: dict[str, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(problem.cause.short(), []).append(problem)
    return [
        {"code": group[0].cause.code, "reason": short, "n": len(group), "example": group[0].in_words()}
        for short, group in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def exclusions_by_reason(rows: Sequence[CohortRow]) -> list[dict[str, Any]]:
    """The rows kept out of the model, counted by their first reason, each with its code and one example."""
    groups: dict[str, list[CohortRow]] = {}
    for row in rows:
        if not row.checked.eligible:
            groups.setdefault(row.checked.exclusion_reasons[0].short(), []).append(row)
    return [
        {
            "code": group[0].checked.exclusion_reasons[0].code,
            "reason": short,
            "n": len(group),
            "example": f"id {group[0].id}: {'; '.join(words(group[0].checked.exclusion_reasons))}",
        }
        for short, group in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def in_lines(problems: Sequence[Mapping[str, Any]], excluded: Sequence[Mapping[str, Any]]) -> list[str]:
    """Counts of :func:`by_reason` and :func:`exclusions_by_reason`, a line each; what is both stands there once."""
    known = {one["reason"] for one in problems}
    others = [one for one in excluded if one["reason"] not in known]
    return [*(_line("problem", one) for one in problems), *(_line("left out", one) for one in others)]


def _line(what: str, group: Mapping[str, Any]) -> str:
    if group["n"] == 1:
        return f"  {what}: {group['example']}"
    return f"  {what}: {group['n']} × {group['reason']}; one of them: {group['example']}"


def detail_rows(table: CohortTable) -> list[tuple[str, ...]]:
    """Every problem and every reason that keeps a row out: line, id, what it does, code, words."""
    found: list[tuple[str, ...]] = [
        (str(one.line), one.id, "problem", one.cause.code, str(one.cause)) for one in table.problems
    ]
    for row in table.rows:
        found += [(str(row.line), row.id, "left out", one.code, str(one)) for one in row.checked.exclusion_reasons]
    return found
