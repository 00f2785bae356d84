"""Where the paper's printed numbers do not follow from each other, with the arithmetic.

Everything is computed from what is printed (:mod:`analytics.paper.printed`); nothing of it is used elsewhere.

Verification
------------
Each number by scipy's own tests and by hand (tests/analytics/test_inconsistencies.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import log, sqrt

import numpy as np

from analytics.methods.two_groups import chi_squared
from analytics.paper.printed import (
    AGE_IN_THE_ABSTRACT,
    LOG_NLR,
    P_DIAGNOSIS,
    P_SMOKING,
    SEX_OF_THE_LOW_GROUP,
    TABLE_1_BINARY,
    TABLE_1_CONTINUOUS,
    TABLE_1_DIAGNOSIS,
    TABLE_2,
    N,
)

RESIDUAL_DF = N - len(TABLE_2) - 1


@dataclass(frozen=True, kw_only=True)
class Inconsistency:
    """What is printed, what follows from the rest of the print, and how."""

    what: str
    printed: str
    follows: str
    arithmetic: str


def inconsistencies() -> tuple[Inconsistency, ...]:
    """All that are known."""
    return tuple(_all())


def _all() -> Iterator[Inconsistency]:
    yield _sex()
    yield _diagnosis()
    yield _smoking()
    yield _age()
    yield _log_nlr()


def _sex() -> Inconsistency:
    high_men, high_women, low_men, _, p = TABLE_1_BINARY["sex_male"]
    _, women = SEX_OF_THE_LOW_GROUP
    low = sum(TABLE_1_BINARY["smoking"][2:4])
    fits, printed = (
        chi_squared(np.array([[high_men, high_women], [low_men, other]], dtype=np.float64), yates=True).p
        for other in (low - low_men, women)
    )
    return Inconsistency(
        what="Table 1, sex of the low group",
        printed=f"{low_men} men, {women} women; p {p}",
        follows=f"{low_men} men, {low - low_men} women",
        arithmetic=f"{low_men} + {women} = {low_men + women}, but the group has {low}; {low} − {low_men} = "
        f"{low - low_men}. χ² with Yates' correction: p {fits:.4f} with {low - low_men}, {printed:.3f} with {women}.",
    )


def _diagnosis() -> Inconsistency:
    test = chi_squared(np.array(list(TABLE_1_DIAGNOSIS.values()), dtype=np.float64))
    counts = ", ".join(f"{high} | {low}" for high, low in TABLE_1_DIAGNOSIS.values())
    return Inconsistency(
        what="Table 1, p of the diagnoses",
        printed=f"p {P_DIAGNOSIS}",
        follows=f"p {test.p:.3f}",
        arithmetic=f"χ²({test.df}) of {counts} is {test.statistic:.2f}, p {test.p:.3f}.",
    )


def _smoking() -> Inconsistency:
    from scipy import stats

    b, _, t, low, high, *_ = TABLE_2["smoking"]
    se = (high - low) / 2 / float(stats.t.ppf(0.975, RESIDUAL_DF))
    p, of_interval = (2 * float(stats.t.sf(value, RESIDUAL_DF)) for value in (t, b / se))
    return Inconsistency(
        what="Table 2, p of smoking",
        printed=f"p {P_SMOKING}",
        follows=f"p {p:.3f}",
        arithmetic=f"t {t} on {RESIDUAL_DF} df gives p {p:.3f}; b {b} with the interval {low} to {high} has an SE of "
        f"{se:.4f}, t {b / se:.3f}, p {of_interval:.3f}.",
    )


def _age() -> Inconsistency:
    mean, sd = together("age")
    printed_mean, printed_sd = AGE_IN_THE_ABSTRACT
    high, high_sd, low, low_sd, _ = TABLE_1_CONTINUOUS["age"]
    n_high, n_low = _groups()
    return Inconsistency(
        what="Abstract, age",
        printed=f"{printed_mean} ± {printed_sd}",
        follows=f"{mean:.1f} ± {sd:.1f}",
        arithmetic=f"Table 1: ({n_high} × {high} + {n_low} × {low}) / {N} = {mean:.1f}; variance ({n_high - 1} × "
        f"{high_sd}² + {n_low - 1} × {low_sd}² + {n_high} × {n_low} / {N} × ({high} − {low})²) / {N - 1} = {sd:.1f}².",
    )


def _log_nlr() -> Inconsistency:
    from scipy import stats

    b, p = LOG_NLR
    se = b / float(stats.t.isf(p / 2, RESIDUAL_DF))
    mean, sd = together("nlr")
    plain_se = TABLE_2["nlr"][0] / TABLE_2["nlr"][2]
    needed = plain_se * sd / se
    of_table = sqrt(log(1 + (sd / mean) ** 2))
    expected_se = plain_se * sd / of_table
    expected_p = 2 * float(stats.t.sf(b / expected_se, RESIDUAL_DF))
    return Inconsistency(
        what="Sensitivity analysis, ln NLR",
        printed=f"b {b:.4f}, p {p}",
        follows=f"an SE of {expected_se:.4f}, p {expected_p:.2f}",
        arithmetic=f"b {b:.4f} with p {p} has an SE of {se:.4f}. With the residuals and VIF of Table 2 (NLR: SE "
        f"{plain_se:.5f}, SD {sd:.2f}) that needs SD(ln NLR) = {plain_se:.5f} × {sd:.2f} / {se:.4f} = {needed:.2f}; "
        f"NLR {mean:.2f} ± {sd:.2f} of Table 1 gives about √ln(1 + {sd / mean:.2f}²) = {of_table:.2f}.",
    )


def together(variable: str) -> tuple[float, float]:
    """Mean and SD of both groups of Table 1 as one."""
    high, high_sd, low, low_sd = (float(text) for text in TABLE_1_CONTINUOUS[variable][:4])
    n_high, n_low = _groups()
    between = n_high * n_low / N * (high - low) ** 2
    variance = ((n_high - 1) * high_sd**2 + (n_low - 1) * low_sd**2 + between) / (N - 1)
    return (n_high * high + n_low * low) / N, sqrt(variance)


def _groups() -> tuple[int, int]:
    yes_high, no_high, yes_low, no_low, _ = TABLE_1_BINARY["smoking"]
    return yes_high + no_high, yes_low + no_low
