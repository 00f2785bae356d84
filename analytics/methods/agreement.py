"""Agreement between readers, or between a reader and the automatic measurement.

Verification
------------
Shrout and Fleiss' printed table 4 (to the two decimals printed) and R 4.2.2 ``psych::ICC`` on it and on 60 pairs of
VBQ readings, all coefficients, F tests and intervals to 1e-7 relative (tests/analytics/test_agreement.py). Intervals
of the limits of agreement: numerical integration over the distribution of the variance, to 1e-7 in probability.

References
----------
Shrout PE, Fleiss JL. Intraclass correlations. Psychol Bull 1979;86:420–428. McGraw KO, Wong SP. Psychol Methods
1996;1:30–46. Bland JM, Altman DG. Lancet 1986;1:307–310; Stat Methods Med Res 1999;8:135–160. Carkeet A. Optom Vis
Sci 2015;92:e71–e80 (exact intervals of the limits). Weir JP. J Strength Cond Res 2005;19:231–240 (SEM, MDC).
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from analytics.methods.linear import CONFIDENCE, Array
from analytics.methods.plain import to_plain
from analytics.reasons import Reason

MINIMUM_SUBJECTS = 5
"""Fewest subjects for which an interval says anything."""

ROUNDING = 16 * float(np.finfo(np.float64).eps)
"""Values that lie this close together, as a share of the largest, differ by rounding only."""


@dataclass(frozen=True, kw_only=True)
class Icc:
    """An intraclass correlation with its F test and 95 % interval."""

    icc: float
    f: float
    df1: int
    df2: int
    p: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far k raters of the same n subjects agree.

    ``single_agreement`` is ICC(2,1), two-way random, absolute agreement; ``single_consistency`` is ICC(3,1), two-way
    mixed, consistency; ``one_way`` is ICC(1,1); the ``average_…`` are those of the mean of the k ratings. The
    standard errors of measurement (SEM) and the minimal detectable change (MDC, 95 %) are in the unit of the ratings.
    """

    n: int
    k: int
    omitted: int
    ms_subjects: float
    ms_raters: float
    ms_error: float
    ms_within: float
    one_way: Icc
    single_agreement: Icc
    single_consistency: Icc
    average_one_way: Icc
    average_agreement: Icc
    average_consistency: Icc
    sem_agreement: float
    sem_consistency: float
    mdc95_consistency: float

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers."""
        return to_plain(self)


@dataclass(frozen=True, kw_only=True)
class BlandAltman:
    """Mean difference (second less first, or whatever order was given), its SD, and the 95 % limits of agreement.

    Each limit has its exact 95 % interval for normal differences (Carkeet), from the noncentral t. ``slope_p`` is the
    p value of the regression of the difference on the mean: small, and the bias depends on the size of the score.
    Differences that are the same but for rounding have an SD of 0, limits at the bias and no ``slope_p``.
    """

    n: int
    bias: float
    bias_ci_low: float
    bias_ci_high: float
    sd: float
    lower_limit: float
    lower_limit_ci_low: float
    lower_limit_ci_high: float
    upper_limit: float
    upper_limit_ci_low: float
    upper_limit_ci_high: float
    slope_p: float | None


@dataclass(frozen=True, kw_only=True)
class NoAgreement:
    """Why no agreement can be given."""

    reason: Reason
    n: int


def agreement(ratings: ArrayLike) -> Agreement | NoAgreement:
    """Intraclass correlations of a table of ratings.

    Parameters
    ----------
    ratings
        (n subjects, k raters); subjects without a finite rating of every rater are left out and counted.

    Raises
    ------
    ValueError
        ``ratings`` is not a table with at least two raters.
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"ratings of shape {table.shape} are not a table of subjects by at least two raters")
    complete = table[np.isfinite(table).all(axis=1)]
    n, k = complete.shape
    if n < MINIMUM_SUBJECTS:
        return NoAgreement(reason=Reason("too-few-subjects", {"subjects": n, "needed": MINIMUM_SUBJECTS}), n=n)
    subjects, raters, error, within = _mean_squares(complete)
    if subjects == 0:
        return NoAgreement(reason=Reason("subjects-alike"), n=n)
    if error <= np.finfo(np.float64).eps * subjects:
        return NoAgreement(reason=Reason("raters-copies"), n=n)
    return Agreement(
        n=n,
        k=k,
        omitted=len(table) - n,
        ms_subjects=subjects,
        ms_raters=raters,
        ms_error=error,
        ms_within=within,
        **_coefficients(n, k, subjects, raters, error, within),
        sem_agreement=sqrt(within),  # equals raters' and residual variance together, and cannot be negative
        sem_consistency=sqrt(error),
        mdc95_consistency=_normal_quantile() * sqrt(2 * error),
    )


def bland_altman(first: ArrayLike, second: ArrayLike) -> BlandAltman | NoAgreement:
    """Bias and limits of agreement of ``first`` less ``second``; pairs that are not finite are left out.

    Raises
    ------
    ValueError
        The two are not equally long.
    """
    from scipy import stats

    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if left.shape != right.shape:
        raise ValueError(f"{left.shape} and {right.shape} are not pairs")
    both = np.isfinite(left) & np.isfinite(right)
    difference, middle = (left - right)[both], ((left + right) / 2)[both]
    n = len(difference)
    if n < MINIMUM_SUBJECTS:
        return NoAgreement(reason=Reason("too-few-pairs", {"pairs": n, "needed": MINIMUM_SUBJECTS}), n=n)
    size = float(np.abs(np.concatenate([left[both], right[both]])).max())
    constant = bool(np.ptp(difference) <= ROUNDING * size)
    bias, sd = float(difference.mean()), 0.0 if constant else float(difference.std(ddof=1))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * sd / sqrt(n)
    near, far = _limit_factors(n)
    varies = np.ptp(middle) > ROUNDING * size and not constant
    return BlandAltman(
        n=n,
        bias=bias,
        bias_ci_low=bias - half,
        bias_ci_high=bias + half,
        sd=sd,
        lower_limit=bias - _normal_quantile() * sd,
        lower_limit_ci_low=bias - far * sd,
        lower_limit_ci_high=bias - near * sd,
        upper_limit=bias + _normal_quantile() * sd,
        upper_limit_ci_low=bias + near * sd,
        upper_limit_ci_high=bias + far * sd,
        slope_p=float(stats.linregress(middle, difference).pvalue) if varies else None,
    )


def _limit_factors(n: int) -> tuple[float, float]:
    """Standard deviations from the bias to both ends of a limit's interval: √n times them is noncentral t."""
    from scipy import stats

    noncentrality = _normal_quantile() * sqrt(n)
    near, far = (float(stats.nct.ppf(0.5 + side * CONFIDENCE / 2, n - 1, noncentrality)) for side in (-1, 1))
    return near / sqrt(n), far / sqrt(n)


def _mean_squares(table: Array) -> tuple[float, float, float, float]:
    """Between subjects, between raters, residual, and within subjects."""
    n, k = table.shape
    grand = table.mean()
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    subjects = k * float(np.sum((rows - grand) ** 2)) / (n - 1)
    raters = n * float(np.sum((columns - grand) ** 2)) / (k - 1)
    error = float(np.sum((table - rows[:, None] - columns + grand) ** 2)) / ((n - 1) * (k - 1))
    within = float(np.sum((table - rows[:, None]) ** 2)) / (n * (k - 1))
    return subjects, raters, error, within


def _coefficients(n: int, k: int, subjects: float, raters: float, error: float, within: float) -> dict[str, Icc]:
    """The six forms; intervals of the average forms follow from those of the single ones (Spearman–Brown)."""
    one_way = _by_f(subjects / within, n - 1, n * (k - 1), k)
    consistency = _by_f(subjects / error, n - 1, (n - 1) * (k - 1), k)
    single = _absolute(n, k, subjects, raters, error)
    return {
        "one_way": one_way,
        "single_agreement": single,
        "single_consistency": consistency,
        "average_one_way": _averaged(one_way, k),
        "average_agreement": _averaged(single, k),
        "average_consistency": _averaged(consistency, k),
    }


def _by_f(f: float, df1: int, df2: int, k: int) -> Icc:
    """ICC(1,1) or ICC(3,1): both are (F − 1)/(F + k − 1), with the interval from F's."""
    from scipy import stats

    tail = (1 - CONFIDENCE) / 2
    low = f / float(stats.f.ppf(1 - tail, df1, df2))
    high = f * float(stats.f.ppf(1 - tail, df2, df1))
    return Icc(
        icc=(f - 1) / (f + k - 1),
        f=f,
        df1=df1,
        df2=df2,
        p=float(stats.f.sf(f, df1, df2)),
        ci_low=(low - 1) / (low + k - 1),
        ci_high=(high - 1) / (high + k - 1),
    )


def _absolute(n: int, k: int, subjects: float, raters: float, error: float) -> Icc:
    """ICC(2,1) with the Satterthwaite interval of Shrout and Fleiss."""
    from scipy import stats

    df1, df2 = n - 1, (n - 1) * (k - 1)
    icc = (subjects - error) / (subjects + (k - 1) * error + k * (raters - error) / n)
    tail = (1 - CONFIDENCE) / 2
    fj = raters / error
    numerator = df2 * (k * icc * fj + n * (1 + (k - 1) * icc) - k * icc) ** 2
    denominator = df1 * k**2 * icc**2 * fj**2 + (n * (1 + (k - 1) * icc) - k * icc) ** 2
    v = numerator / denominator
    upper, lower = float(stats.f.ppf(1 - tail, df1, v)), float(stats.f.ppf(1 - tail, v, df1))
    spread = k * raters + (k * n - k - n) * error
    return Icc(
        icc=icc,
        f=subjects / error,
        df1=df1,
        df2=df2,
        p=float(stats.f.sf(subjects / error, df1, df2)),
        ci_low=n * (subjects - upper * error) / (upper * spread + n * subjects),
        ci_high=n * (lower * subjects - error) / (spread + n * lower * subjects),
    )


def _averaged(single: Icc, k: int) -> Icc:
    def raised(value: float) -> float:
        return k * value / (1 + (k - 1) * value)

    return Icc(
        icc=raised(single.icc),
        f=single.f,
        df1=single.df1,
        df2=single.df2,
        p=single.p,
        ci_low=raised(single.ci_low),
        ci_high=raised(single.ci_high),
    )


def _normal_quantile() -> float:
    from scipy import stats

    return float(stats.norm.ppf(0.5 + CONFIDENCE / 2))
