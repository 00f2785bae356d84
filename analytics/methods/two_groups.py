"""Comparisons of two groups: means, ranks, shifts, shares and classes, all as R computes them.

Verification
------------
R 4.2.2 (base, ``car``) on the synthetic cohort of 200: statistics, p values and intervals to 1e-7 relative,
Shapiro–Wilk to 1e-5, Hodges–Lehmann to R's own precision
(tests/analytics/test_tables.py).

References
----------
Welch BL. Biometrika 1947;34:28–35. Mann HB, Whitney DR. Ann Math Stat 1947;18:50–60. Hodges JL, Lehmann EL. Ann Math
Stat 1963;34:598–611. Cliff N. Psychol Bull 1993;114:494–509. Levene H, 1960; Brown MB, Forsythe AB. J Am Stat Assoc
1974;69:364–367. Yates F. Suppl J R Stat Soc 1934;1:217–235. Austin PC. Stat Med
2009;28:3083–3107 (standardised difference).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, log, sqrt
from typing import Literal

import numpy as np

from analytics.methods.linear import CONFIDENCE, Array

SHAPIRO_ROWS = (3, 5000)
"""Fewest and most values that Shapiro and Wilk's test has a p value for."""

SHIFT_PRECISION = 2.0**-50
"""Precision to which a shift is located, as a share of the range of all differences."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A continuous variable in one group; ``sd`` with n − 1, quartiles of type 7.

    ``shapiro_p`` is ``None`` where the values do not vary or are too many (:data:`SHAPIRO_ROWS`).
    """

    n: int
    mean: float
    sd: float
    median: float
    q1: float
    q3: float
    shapiro_p: float | None


@dataclass(frozen=True, kw_only=True)
class Result:
    """A statistic (t, F or χ²), its degrees of freedom (F: the second) and its two-sided p."""

    statistic: float
    df: float
    p: float


@dataclass(frozen=True, kw_only=True)
class MeanDifference:
    """First less second: Student's and Welch's tests and 95 % intervals, and Welch's with the normal quantile.

    ``smd`` is over the root of the mean variance, ``cohen_d`` over the pooled standard deviation.
    """

    difference: float
    student: Result
    student_ci: tuple[float, float]
    welch: Result
    welch_ci: tuple[float, float]
    welch_ci_normal: tuple[float, float]
    smd: float
    cohen_d: float


@dataclass(frozen=True, kw_only=True)
class RankComparison:
    """Mann–Whitney: W of the first group, p by the normal approximation with ties, with and without continuity
    correction; ``shift`` is Hodges and Lehmann's, first less second, with its 95 % interval. ``delta`` is Cliff's: the
    share of pairs in which the first is larger less that in which the second is."""

    w: float
    p: float
    p_uncorrected: float
    shift: float
    shift_ci: tuple[float, float]
    delta: float


def summary(values: Array) -> Summary:
    """Summarise at least two values."""
    from scipy import stats

    q1, median, q3 = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
    testable = SHAPIRO_ROWS[0] <= len(values) <= SHAPIRO_ROWS[1] and np.ptp(values) > 0
    return Summary(
        n=len(values),
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)),
        median=median,
        q1=q1,
        q3=q3,
        shapiro_p=float(stats.shapiro(values).pvalue) if testable else None,
    )


def compare_means(first: Array, second: Array) -> MeanDifference:
    """Compare the means of two groups, at least one of which varies."""
    from scipy import stats

    n1, n2 = len(first), len(second)
    v1, v2 = float(first.var(ddof=1)), float(second.var(ddof=1))
    difference = float(first.mean() - second.mean())
    pooled = ((n1 - 1) * v1 + (n2 - 1) * v2) / (n1 + n2 - 2)
    student_se, welch_se = sqrt(pooled * (1 / n1 + 1 / n2)), sqrt(v1 / n1 + v2 / n2)
    welch_df = welch_se**4 / ((v1 / n1) ** 2 / (n1 - 1) + (v2 / n2) ** 2 / (n2 - 1))
    normal = float(stats.norm.ppf(0.5 + CONFIDENCE / 2)) * welch_se
    student, student_ci = _t_test(difference, student_se, n1 + n2 - 2)
    welch, welch_ci = _t_test(difference, welch_se, welch_df)
    return MeanDifference(
        difference=difference,
        student=student,
        student_ci=student_ci,
        welch=welch,
        welch_ci=welch_ci,
        welch_ci_normal=(difference - normal, difference + normal),
        smd=difference / sqrt((v1 + v2) / 2),
        cohen_d=difference / sqrt(pooled),
    )


def compare_variances(first: Array, second: Array, *, about: Literal["mean", "median"]) -> Result | None:
    """Levene's test (``about="mean"``) or Brown and Forsythe's (``about="median"``).

    ``None`` where every value lies equally far from its group's centre.
    """
    from scipy import stats

    one, two = (np.abs(group - (group.mean() if about == "mean" else np.median(group))) for group in (first, second))
    if np.ptp(one) == 0 and np.ptp(two) == 0:
        return None
    test = stats.f_oneway(one, two)
    return Result(statistic=float(test.statistic), df=len(first) + len(second) - 2, p=float(test.pvalue))


def compare_ranks(first: Array, second: Array) -> RankComparison:
    """Compare the ranks of two groups that are not all tied."""
    from scipy import stats

    n1, n2 = len(first), len(second)
    ranks = stats.rankdata(np.concatenate([first, second]))
    w = float(ranks[:n1].sum() - n1 * (n1 + 1) / 2)
    sigma = _rank_sigma(n1, n2, _ties(ranks))
    away = abs(w - n1 * n2 / 2)
    return RankComparison(
        w=w,
        p=min(1.0, 2 * float(stats.norm.sf((away - 0.5) / sigma))),
        p_uncorrected=2 * float(stats.norm.sf(away / sigma)),
        shift=_median_difference(first, second),
        shift_ci=_shift_interval(first, second),
        delta=2 * w / (n1 * n2) - 1,
    )


def chi_squared(table: Array, *, yates: bool = False) -> Result:
    """Pearson's χ² of a table of counts, rows by columns, none of them empty; Yates' correction for 2 × 2."""
    from scipy import stats

    expected = expected_counts(table)
    away = np.abs(table - expected)
    if yates:
        away = away - min(0.5, float(away.min()))
    chi2, df = float(np.sum(away**2 / expected)), (table.shape[0] - 1) * (table.shape[1] - 1)
    return Result(statistic=chi2, df=df, p=float(stats.chi2.sf(chi2, df)))


def expected_counts(table: Array) -> Array:
    """What the margins of a table make expect in each cell."""
    return np.asarray(np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum(), dtype=np.float64)


def odds_ratio(table: Array) -> tuple[float, tuple[float, float]] | None:
    """Odds ratio of a 2 × 2 table with Wald's 95 % interval; ``None`` where a cell is empty."""
    from scipy import stats

    if table.min() == 0:
        return None
    (a, b), (c, d) = table.tolist()
    middle = log(a * d / (b * c))
    half = float(stats.norm.ppf(0.5 + CONFIDENCE / 2)) * sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    return exp(middle), (exp(middle - half), exp(middle + half))


def share_difference(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Standardised difference of two shares, given as (yes, no) counts; ``None`` where both groups are all alike."""
    p1, p2 = (yes / (yes + no) for yes, no in (first, second))
    variance = (p1 * (1 - p1) + p2 * (1 - p2)) / 2
    return (p1 - p2) / sqrt(variance) if variance > 0 else None


def _t_test(difference: float, se: float, df: float) -> tuple[Result, tuple[float, float]]:
    from scipy import stats

    t = difference / se
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, df)) * se
    result = Result(statistic=t, df=df, p=float(2 * stats.t.sf(abs(t), df)))
    return result, (difference - half, difference + half)


def _ties(values: Array) -> float:
    """Sum of t³ − t over the sets of t equal values."""
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float(np.sum(counts**3 - counts))


def _rank_sigma(n1: int, n2: int, ties: float) -> float:
    """Standard deviation of W under no difference, corrected for ties."""
    n = n1 + n2
    return sqrt(n1 * n2 / 12 * (n + 1 - ties / (n * (n - 1))))


def _median_difference(first: Array, second: Array) -> float:
    pairs = len(first) * len(second)
    lower, upper = (_ordered_difference(first, second, k) for k in ((pairs + 1) // 2, pairs // 2 + 1))
    return (lower + upper) / 2


def _shift_interval(first: Array, second: Array) -> tuple[float, float]:
    """The shifts at which the test with continuity correction begins to reject."""
    from scipy import stats

    n1, n2 = len(first), len(second)
    reach = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))
    # Off the very shifts that tie a patient of one group with one of the other, only ties within the groups remain.
    sigma = _rank_sigma(n1, n2, _ties(first) + _ties(second))
    rank = max(1, ceil(n1 * n2 / 2 - 0.5 - reach * sigma))
    return _ordered_difference(first, second, rank), _ordered_difference(first, second, n1 * n2 + 1 - rank)


def _ordered_difference(first: Array, second: Array, k: int) -> float:
    """The ``k``-th smallest (1-based) of all differences between a value of each, without listing them."""
    one, two = np.sort(first), np.sort(second)

    def up_to(limit: float) -> int:
        return len(one) * len(two) - int(np.searchsorted(two, one - limit, side="left").sum())

    low, high = float(one[0] - two[-1]), float(one[-1] - two[0])
    precision = SHIFT_PRECISION * (high - low)
    while high - low > precision:
        middle = (low + high) / 2
        low, high = (low, middle) if up_to(middle) >= k else (middle, high)
    return high
