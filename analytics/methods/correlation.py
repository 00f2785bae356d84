"""Spearman's rank correlation with p value and interval.

Verification
------------
R 4.2.2 ``cor.test(method = "spearman", exact = FALSE)`` on the synthetic cohort of 200, with ties: ρ and p to 1e-9.

References
----------
Bonett DG, Wright TA. Sample size requirements for estimating Pearson, Kendall and Spearman correlations.
Psychometrika 2000;65:23–28 (variance of the transformed rank correlation: (1 + ρ²/2)/(n − 3)).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import atanh, sqrt, tanh

import numpy as np
from numpy.typing import NDArray

MINIMUM_PAIRS = 10
"""Fewest pairs for which the p value from t and the interval are good enough to be shown."""


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Spearman's ρ over ``n`` complete pairs.

    ``p`` is two-sided, from t on n − 2 degrees of freedom; the 95 % interval is Bonett and Wright's. All of them are
    ``None`` below :data:`MINIMUM_PAIRS` pairs or where one of the variables does not vary.
    """

    rho: float | None
    p: float | None
    n: int
    ci_low: float | None
    ci_high: float | None


def spearman(
    x: Sequence[float] | NDArray[np.float64],
    y: Sequence[float] | NDArray[np.float64],
) -> Correlation:
    """Correlate the ranks of the pairs that are finite in both; ties get their mean rank.

    Raises
    ------
    ValueError
        ``x`` and ``y`` are not equally long.
    """
    from scipy import stats

    left = np.asarray(x, dtype=np.float64)
    right = np.asarray(y, dtype=np.float64)
    if left.shape != right.shape:
        raise ValueError(f"{left.shape} and {right.shape} are not pairs")
    both = np.isfinite(left) & np.isfinite(right)
    left, right = left[both], right[both]
    n = len(left)
    if n < MINIMUM_PAIRS or np.ptp(left) == 0 or np.ptp(right) == 0:
        return Correlation(rho=None, p=None, n=n, ci_low=None, ci_high=None)
    rho = float(np.corrcoef(stats.rankdata(left), stats.rankdata(right))[0, 1])
    rho = max(-1.0, min(1.0, rho))
    # At ±1 (up to rounding) t and Fisher's transformation are infinite: p is 0 and the interval is the point.
    if 1 - rho**2 < n * np.finfo(np.float64).eps:
        return Correlation(rho=rho, p=0.0, n=n, ci_low=rho, ci_high=rho)
    t = rho * sqrt((n - 2) / (1 - rho**2))
    half = float(stats.norm.ppf(0.975)) * sqrt((1 + rho**2 / 2) / (n - 3))
    return Correlation(
        rho=rho,
        p=float(2 * stats.t.sf(abs(t), n - 2)),
        n=n,
        ci_low=tanh(atanh(rho) - half),
        ci_high=tanh(atanh(rho) + half),
    )
