"""The rows of a cohort table that a statistic can use, and why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analytics.methods.plain import to_plain
from analytics.reasons import Reason

LEAST_COMPARED = 6
"""Columns of which no two patients share all values; of fewer they may by chance."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why there is no result; ``omitted`` counts the rows left out by reason."""

    reason: Reason
    n_rows: int
    n_used: int
    omitted: dict[Reason, int]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, strings and numbers."""
        return to_plain(self)


@dataclass(frozen=True, kw_only=True)
class CompleteRows:
    """The rows of a cohort that a model can use: first of its id, finite in every column."""

    frame: pd.DataFrame
    n_rows: int
    omitted: dict[Reason, int]
    alerts: tuple[Reason, ...]

    def refusal(self, reason: Reason) -> Refusal:
        """Refuse a model on these rows."""
        return Refusal(reason=reason, n_rows=self.n_rows, n_used=len(self.frame), omitted=self.omitted)


def as_numbers(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of a table as float64; what is not a number is NaN."""
    return pd.DataFrame({name: _as_numbers(table[name]) for name in columns}, index=table.index, copy=False)


def _as_numbers(column: pd.Series) -> np.ndarray[Any, np.dtype[np.float64]]:
    # Asking what each value is takes as long as a fit; most columns are numbers.
    known = column if column.dtype == np.float64 else pd.to_numeric(column, errors="coerce")
    return known.to_numpy(dtype=np.float64)


def complete_rows(cohort: pd.DataFrame, columns: Sequence[str]) -> CompleteRows:
    """Leave out repeated ids, then rows without a finite number in each of ``columns``.

    Parameters
    ----------
    cohort
        One row per episode, with ``id`` and ``columns``; what is not a number counts as missing.
    """
    numbers = as_numbers(cohort, columns)
    ids = cohort["id"].astype(str)
    repeated = ids.duplicated(keep="first").to_numpy()
    finite = np.isfinite(numbers.to_numpy())
    used = ~repeated & finite.all(axis=1)
    omitted: dict[Reason, int] = {}
    for index in np.flatnonzero(~used):
        lacking = tuple(name for name, there in zip(columns, finite[index], strict=True) if not there)
        reason = Reason("row-of-repeated-id") if repeated[index] else Reason("no-finite-value", {"columns": lacking})
        omitted[reason] = omitted.get(reason, 0) + 1
    frame = numbers[used].reset_index(drop=True)
    frame.insert(0, "id", ids[used].to_numpy())
    return CompleteRows(
        frame=frame,
        n_rows=len(cohort),
        omitted=dict(sorted(omitted.items(), key=lambda one: str(one[0]))),
        alerts=_contradicting_repeats(ids, numbers),
    )


def _contradicting_repeats(ids: pd.Series, numbers: pd.DataFrame) -> tuple[Reason, ...]:
    alerts: list[Reason] = []
    for name in sorted(ids[ids.duplicated()].unique()):
        rows = numbers[(ids == name).to_numpy()].to_numpy()
        if not all(np.array_equal(rows[0], row, equal_nan=True) for row in rows[1:]):
            alerts.append(Reason("row-repeated-differently", {"id": str(name), "rows": len(rows)}))
    return tuple(alerts)


def alike(frame: pd.DataFrame) -> tuple[Reason, ...]:
    """Whether rows have every value of another one, under an id of their own: somebody may stand there twice."""
    values = [name for name in frame.columns if name != "id"]
    again = frame.duplicated(subset=values, keep="first")
    if len(values) < LEAST_COMPARED or not again.any():
        return ()
    return (Reason("rows-alike", {"rows": int(again.sum()), "id": str(frame.loc[again, "id"].iloc[0])}),)
