"""Least squares with a level of its own for each group, drawn from a normal distribution: REML.

With one variance ratio θ = σ²_between/σ²_within all else is least squares, so the criterion is a curve over √θ whose
lowest point is looked for. statsmodels' ``MixedLM`` searches all parameters by gradient, and ends beside 0, with a
warning, where the groups do not differ; here 0 is a value like others.

Verification
------------
R 4.2.2 (``lme4`` 1.1-31, ``lmer``): coefficients and standard errors to 1e-5 relative (lme4's own tolerance), standard
deviations to 1e-3 (tests/analytics/test_more_statistics.py).

References
----------
Patterson HD, Thompson R. Biometrika 1971; 58: 545–554. Bates D et al. J Stat Softw 2015; 67(1), section 3.4.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from analytics.methods.linear import Array

LARGEST_RATIO = 100.0
"""Most that the standard deviation between groups may be of that within."""


@dataclass(frozen=True, kw_only=True)
class RandomIntercept:
    """Coefficients and their standard errors, (k,); standard deviations between and within groups."""

    b: Array
    se: Array
    sd_between: float
    sd_within: float


def fit_random_intercept(outcome: Array, columns: Array, groups: "np.ndarray[Any, Any]") -> RandomIntercept:
    """Fit.

    Parameters
    ----------
    outcome, columns
        (n,) and (n, k), finite, the columns of full rank with a column of ones.
    groups
        The group of each row, (n,); two at least.
    """
    from scipy.optimize import minimize_scalar

    sums = _Sums.of(outcome, columns, groups)
    found = minimize_scalar(
        lambda ratio: sums.at(ratio)[0], bounds=(0.0, 5.0), method="bounded", options={"xatol": 1e-9}
    )
    ratio = float(found.x)
    if ratio > 4.9:
        found = minimize_scalar(lambda one: sums.at(one)[0], bounds=(4.0, LARGEST_RATIO), method="bounded")
        ratio = float(found.x)
    # Beside 0 the curve is flat: what is no lower but for rounding is there.
    lowest, at_zero = sums.at(ratio)[0], sums.at(0.0)[0]
    ratio = 0.0 if at_zero <= lowest + 1e-12 * abs(lowest) else ratio
    _, b, inverse, variance = sums.at(ratio)
    within = float(np.sqrt(variance))
    scaled = np.sqrt(variance * np.diag(inverse)) / sums.scale
    return RandomIntercept(b=b / sums.scale, se=scaled, sd_between=ratio * within, sd_within=within)


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """All that the criterion needs of the rows: products of columns and outcome, and their sums by group."""

    n: int
    scale: Array
    gram: Array
    with_outcome: Array
    squares: float
    sizes: Array
    columns: Array
    outcome: Array

    @classmethod
    def of(cls, outcome: Array, columns: Array, groups: "np.ndarray[Any, Any]") -> "_Sums":
        scale = np.linalg.norm(columns, axis=0)
        scaled = columns / scale
        _, place = np.unique(groups, return_inverse=True)
        count = int(place.max()) + 1
        by_group = np.zeros((count, columns.shape[1]))
        np.add.at(by_group, place, scaled)
        return cls(
            n=len(outcome),
            scale=scale,
            gram=scaled.T @ scaled,
            with_outcome=scaled.T @ outcome,
            squares=float(outcome @ outcome),
            sizes=np.bincount(place).astype(np.float64),
            columns=by_group,
            outcome=np.bincount(place, weights=outcome).astype(np.float64),
        )

    def at(self, ratio: float) -> tuple[float, Array, Array, float]:
        """The criterion at a ratio of the standard deviations, coefficients, inverse and variance within."""
        shrink = ratio**2 / (1 + self.sizes * ratio**2)
        gram = self.gram - self.columns.T @ (shrink[:, None] * self.columns)
        right = self.with_outcome - self.columns.T @ (shrink * self.outcome)
        b = np.linalg.solve(gram, right)
        left = self.squares - float(shrink @ self.outcome**2) - float(b @ right)
        df = self.n - len(b)
        _, determinant = np.linalg.slogdet(gram)
        criterion = df * np.log(left / df) + float(np.log1p(self.sizes * ratio**2).sum()) + float(determinant)
        return float(criterion), np.asarray(b), np.asarray(np.linalg.inv(gram)), left / df
