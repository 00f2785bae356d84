"""Table 1 of the paper: the patients with high VBQ beside the others, variable by variable.

The usual tests are all computed; ``used`` names the one whose p value the table shows, chosen by a stated rule as the
paper describes: t or Mann–Whitney for a continuous variable, χ² or Fisher's exact test for a categorical one.

Verification
------------
As for :mod:`analytics.methods.two_groups`; the paper's own Table 1 is met on the synthetic cohort to the digits
printed, misprints aside (tests/analytics/test_tables.py).

References
----------
Table 1 of the paper and its notes: "t-test or Mann–Whitney U for continuous variables and χ² or Fisher's exact test
for categorical variables". Its 2 × 2 tables carry Yates' correction, its mean differences Welch's standard error with
the normal quantile, its odds ratios Wald's interval.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analytics.methods.exact import conditional_odds_ratio, fisher_2x2_p, fisher_p
from analytics.methods.linear import Array
from analytics.methods.plain import to_plain
from analytics.methods.rows import Refusal, complete_rows
from analytics.methods.two_groups import (
    MeanDifference,
    RankComparison,
    Result,
    Summary,
    chi_squared,
    compare_means,
    compare_ranks,
    compare_variances,
    expected_counts,
    odds_ratio,
    share_difference,
    summary,
)
from analytics.reasons import Reason

CONTINUOUS = ("age", "bmi", "nlr", "plr")
BINARY = ("hypertension", "diabetes", "calcium", "sex_male", "smoking")
CLASSES = ("diagnosis",)

MINIMUM_PER_GROUP = 3
"""Patients with a value that each group needs for a line of the table."""

SIGNIFICANT = 0.05
"""A variable is not normal where Shapiro and Wilk's p is below this in a group; variances differ where Brown and
Forsythe's is."""

EXPECTED_FOR_CHI2 = 5.0
"""Fisher's exact test is used where a cell's expected count is below this."""

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ContinuousLine:
    """A continuous variable, high less low.

    ``used`` is ``student`` (normal in both groups), ``welch`` (normal, but the variances differ) or ``mann_whitney``
    (not normal). Groups too large for Shapiro and Wilk's test count as normal: so do the means of so many.
    """

    variable: str
    missing: int
    high: Summary
    low: Summary
    means: MeanDifference
    ranks: RankComparison
    levene: Result | None
    brown_forsythe: Result | None
    used: str
    p: float


@dataclass(frozen=True, kw_only=True)
class BinaryLine:
    """A yes/no variable; odds ratio of yes in the high group over the low (Wald), and Fisher's conditional one.

    ``used`` is ``chi2_yates``, or ``fisher`` where an expected count is small.
    """

    variable: str
    missing: int
    high_yes: int
    high_no: int
    low_yes: int
    low_no: int
    smallest_expected: float
    chi2: Result
    chi2_yates: Result
    fisher_p: float
    odds_ratio: float | None
    odds_ratio_ci: Interval | None
    conditional_odds_ratio: float | None
    conditional_odds_ratio_ci: Interval | None
    smd: float | None
    used: str
    p: float


@dataclass(frozen=True, kw_only=True)
class ClassLine:
    """A variable of several classes; ``counts`` has high and low by class.

    ``used`` is ``chi2``, ``fisher`` where an expected count is small, or ``chi2_sparse``: one is small, but so many
    patients are in so many classes that the exact test is not computed.
    """

    variable: str
    missing: int
    counts: dict[str, tuple[int, int]]
    smallest_expected: float
    chi2: Result
    fisher_p: float | None
    used: str
    p: float


@dataclass(frozen=True, kw_only=True)
class TableOne:
    """The whole table; the high group is VBQ ≥ ``cut``.

    ``omitted`` counts the rows in neither group by reason; ``left_out`` says which variables have no line, and why.
    """

    cut: float
    n_rows: int
    high: int
    low: int
    continuous: tuple[ContinuousLine, ...]
    binary: tuple[BinaryLine, ...]
    classes: tuple[ClassLine, ...]
    omitted: dict[Reason, int]
    left_out: dict[str, str]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; every number is finite."""
        return to_plain(self)


def median_cut(cohort: pd.DataFrame) -> float | Refusal:
    """The median VBQ to two decimals, where the paper splits its cohort (2.90)."""
    rows = complete_rows(cohort, ("vbq",))
    if rows.frame.empty:
        return rows.refusal(Reason("nobody-has-vbq"))
    return round(float(rows.frame["vbq"].median()), 2)


def table_one(cohort: pd.DataFrame, *, cut: float) -> TableOne | Refusal:
    """Compare the patients at or above a VBQ cut with those below.

    Parameters
    ----------
    cohort
        One row per episode with ``id``, ``vbq`` and the variables of the paper's Table 1. The first row of an id
        counts. A variable is compared in the patients who have it; how many have not stands on its line.

    Raises
    ------
    ValueError
        ``cut`` is not finite.
    """
    if not isfinite(cut):
        raise ValueError(f"VBQ has no group at or above {cut}")
    rows = complete_rows(cohort, ("vbq",))
    patients = cohort[cohort["id"].astype(str).isin(rows.frame["id"])]
    patients = patients[~patients["id"].astype(str).duplicated()]
    high = rows.frame["vbq"].to_numpy(dtype=np.float64) >= cut
    counts = int(high.sum()), int((~high).sum())
    if min(counts) < MINIMUM_PER_GROUP:
        return rows.refusal(Reason("too-few-about-a-cut", {"high": counts[0], "low": counts[1], "cut": cut}))
    continuous = {name: _continuous(name, patients[name], high) for name in CONTINUOUS}
    binary = {name: _binary(name, patients[name], high) for name in BINARY}
    classes = {name: _classes(name, patients[name], high) for name in CLASSES}
    return TableOne(
        cut=cut,
        n_rows=rows.n_rows,
        high=counts[0],
        low=counts[1],
        continuous=tuple(line for line in continuous.values() if isinstance(line, ContinuousLine)),
        binary=tuple(line for line in binary.values() if isinstance(line, BinaryLine)),
        classes=tuple(line for line in classes.values() if isinstance(line, ClassLine)),
        omitted=rows.omitted,
        left_out={name: line for name, line in {**continuous, **binary, **classes}.items() if isinstance(line, str)},
    )


def _continuous(name: str, column: pd.Series, high: NDArray[np.bool_]) -> ContinuousLine | str:
    values = _numbers(column)
    there = np.isfinite(values)
    first, second = values[there & high], values[there & ~high]
    if (reason := _incomparable(first, second)) is not None:
        return reason
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        return "it is the same within each group"
    summaries = summary(first), summary(second)
    means, ranks = compare_means(first, second), compare_ranks(first, second)
    spread = compare_variances(first, second, about="median")
    if any(one.shapiro_p is not None and one.shapiro_p < SIGNIFICANT for one in summaries):
        used, p = "mann_whitney", ranks.p
    elif spread is not None and spread.p < SIGNIFICANT:
        used, p = "welch", means.welch.p
    else:
        used, p = "student", means.student.p
    return ContinuousLine(
        variable=name,
        missing=int((~there).sum()),
        high=summaries[0],
        low=summaries[1],
        means=means,
        ranks=ranks,
        levene=compare_variances(first, second, about="mean"),
        brown_forsythe=spread,
        used=used,
        p=p,
    )


def _binary(name: str, column: pd.Series, high: NDArray[np.bool_]) -> BinaryLine | str:
    values = _numbers(column)
    there = np.isin(values, (0, 1))
    first, second = values[there & high], values[there & ~high]
    if (reason := _incomparable(first, second)) is not None:
        return reason
    table = np.array([[group.sum(), len(group) - group.sum()] for group in (first, second)])
    smallest = float(expected_counts(table).min())
    exact, yates = fisher_2x2_p(table), chi_squared(table, yates=True)
    use_exact = smallest < EXPECTED_FOR_CHI2
    wald, conditional = odds_ratio(table), conditional_odds_ratio(table)
    return BinaryLine(
        variable=name,
        missing=int((~there).sum()),
        high_yes=int(table[0, 0]),
        high_no=int(table[0, 1]),
        low_yes=int(table[1, 0]),
        low_no=int(table[1, 1]),
        smallest_expected=smallest,
        chi2=chi_squared(table),
        chi2_yates=yates,
        fisher_p=exact,
        odds_ratio=wald[0] if wald else None,
        odds_ratio_ci=wald[1] if wald else None,
        conditional_odds_ratio=conditional[0] if conditional else None,
        conditional_odds_ratio_ci=conditional[1] if conditional else None,
        smd=share_difference(*table.tolist()),
        used="fisher" if use_exact else "chi2_yates",
        p=exact if use_exact else yates.p,
    )


def _classes(name: str, column: pd.Series, high: NDArray[np.bool_]) -> ClassLine | str:
    there = column.notna().to_numpy()
    labels = column.astype(str).to_numpy()
    counts = {
        label: (int((there & high & (labels == label)).sum()), int((there & ~high & (labels == label)).sum()))
        for label in sorted(set(labels[there]))
    }
    if (there & high).sum() < MINIMUM_PER_GROUP or (there & ~high).sum() < MINIMUM_PER_GROUP:
        return "too few patients of a group have it"
    if len(counts) < 2:
        return "it is the same in all patients"
    table = np.array(list(counts.values()), dtype=np.float64)
    smallest = float(expected_counts(table).min())
    exact, chi2 = fisher_p(table), chi_squared(table)
    sparse = smallest < EXPECTED_FOR_CHI2
    use_exact = exact is not None and sparse
    return ClassLine(
        variable=name,
        missing=int((~there).sum()),
        counts=counts,
        smallest_expected=smallest,
        chi2=chi2,
        fisher_p=exact,
        used="fisher" if use_exact else "chi2_sparse" if sparse else "chi2",
        p=exact if exact is not None and use_exact else chi2.p,
    )


def _incomparable(first: Array, second: Array) -> str | None:
    if min(len(first), len(second)) < MINIMUM_PER_GROUP:
        return "too few patients of a group have it"
    if np.ptp(np.concatenate([first, second])) == 0:
        return "it is the same in all patients"
    return None


def _numbers(column: pd.Series) -> Array:
    return np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
