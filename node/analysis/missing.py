"""Missing values by variable, and who is left out beside who is analysed (STROBE items 12c, 13c, 14b)."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analytics.episodes.cohort import BINARY_COLUMNS, CheckedRow
from analytics.episodes.eligibility import ESSENTIAL
from node.analysis.cells import LABELS, Table, number

VARIABLES = (*ESSENTIAL, "diagnosis")
"""What the model and the criteria need."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """A variable in one group: how many have it, and the median with quartiles, or the share of yes in %."""

    n: int
    missing: int
    median: float | None = None
    q1: float | None = None
    q3: float | None = None
    percent_yes: float | None = None

    def in_words(self) -> str:
        """The summary as a cell of a table."""
        if self.percent_yes is not None:
            return f"{number(self.percent_yes, 0)} %"
        if self.median is None or self.q1 is None or self.q3 is None:
            return "–"
        return f"{number(self.median, 2)} ({number(self.q1, 2)}–{number(self.q3, 2)})"


@dataclass(frozen=True, kw_only=True)
class Missing:
    """One variable among those analysed and those left out."""

    variable: str
    analysed: Described
    left_out: Described

    @property
    def missing(self) -> int:
        """Rows of the table without it."""
        return self.analysed.missing + self.left_out.missing


@dataclass(frozen=True, kw_only=True)
class MissingReport:
    """Every variable of the model."""

    analysed: int
    left_out: int
    variables: tuple[Missing, ...]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        return {
            "analysed": self.analysed,
            "left_out": self.left_out,
            "variables": {
                one.variable: {
                    "missing": one.missing, "analysed": asdict(one.analysed), "left_out": asdict(one.left_out),
                }
                for one in self.variables
            },
        }  # fmt: skip

    def table(self) -> Table:
        """The report for people."""
        total = self.analysed + self.left_out
        rows = [
            (
                LABELS.get(one.variable, one.variable),
                f"{one.missing} ({number(100 * one.missing / total, 1)} %)",
                one.analysed.in_words(),
                one.left_out.in_words(),
                str(one.left_out.n),
            )
            for one in self.variables
        ]
        return Table(
            name="missing",
            title="Missing values, and who is left out",
            columns=(
                "",
                "Missing",
                f"Analysed (n = {self.analysed})",
                f"Left out (n = {self.left_out})",
                "of them given",
            ),
            rows=tuple(rows),
            note="Median (quartiles) or share of yes. Ratios that the counts give are computed and not missing.",
        )


def missing_report(rows: Sequence[CheckedRow]) -> MissingReport:
    """Missing values of all rows of a table; a row is analysed or left out as it is eligible."""
    analysed = [row for row in rows if row.eligible]
    left_out = [row for row in rows if not row.eligible]
    return MissingReport(
        analysed=len(analysed),
        left_out=len(left_out),
        variables=tuple(
            Missing(variable=name, analysed=_described(name, analysed), left_out=_described(name, left_out))
            for name in VARIABLES
        ),
    )


def _described(name: str, rows: Sequence[CheckedRow]) -> Described:
    given = list(_given(name, rows))
    counts = {"n": len(given), "missing": len(rows) - len(given)}
    numbers = [float(value) for value in given if not isinstance(value, str)]
    if not numbers:
        return Described(**counts)
    if name in BINARY_COLUMNS:
        return Described(**counts, percent_yes=100 * float(np.mean(numbers)))
    q1, median, q3 = (float(one) for one in np.quantile(numbers, (0.25, 0.5, 0.75)))
    return Described(**counts, median=median, q1=q1, q3=q3)


def _given(name: str, rows: Sequence[CheckedRow]) -> Iterator[float | str]:
    for row in rows:
        value = row.values[name]
        if value is not None:
            yield value
