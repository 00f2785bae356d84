"""Quantile regression, exactly: the linear programme of Koenker and Bassett, and standard errors by local density.

statsmodels' ``QuantReg`` iterates weighted least squares and stops near the solution; the programme has a corner, which
is found here to the last digit. Many rows are first thinned: those that lie far above or below for certain act by their
sum only (Portnoy and Koenker), so that the cost is that of twenty thousand.

Verification
------------
R 4.2.2 (``quantreg`` 5.94: ``rq``, ``summary`` with ``se = "nid"``): coefficients to 1e-9, standard errors to 1e-6
relative (tests/analytics/test_more_statistics.py).

References
----------
Koenker R, Bassett G. Econometrica 1978; 46: 33–50. Portnoy S, Koenker R. Stat Sci 1997; 12: 279–300. Hendricks W,
Koenker R. J Am Stat Assoc 1992; 87: 58–68. Hall P, Sheather SJ. J R Stat Soc B 1988; 50: 381–391.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.methods.linear import Array

MOST_AT_ONCE = 20_000
"""Rows of which the programme is solved without thinning."""

SMALLEST_DENSITY = float(np.finfo(np.float64).eps ** (2 / 3))


@dataclass(frozen=True, kw_only=True)
class QuantileRegression:
    """Coefficients and their covariance, (k,) and (k, k), of the ``quantile`` of an outcome."""

    quantile: float
    b: Array
    cov: Array


def fit_quantile(outcome: Array, columns: Array, quantile: float) -> QuantileRegression:
    """Fit a quantile by columns.

    Parameters
    ----------
    outcome, columns
        (n,) and (n, k), finite; the columns of full rank.
    quantile
        Between 0 and 1.

    Raises
    ------
    ValueError
        The programme has no solution (the columns are not of full rank), or so many outcomes are equal that the
        quantiles beside it are the same and the error is not known.
    """
    from scipy import stats

    b = _solve(outcome, columns, quantile)
    normal, density = stats.norm.ppf(quantile), stats.norm.pdf(stats.norm.ppf(quantile))
    width = (
        len(outcome) ** (-1 / 3)
        * stats.norm.ppf(0.975) ** (2 / 3)
        * ((1.5 * density**2) / (2 * normal**2 + 1)) ** (1 / 3)
    )
    # The same as R: narrower where the quantiles beside it would leave 0 to 1.
    while quantile - width < 0 or quantile + width > 1:
        width /= 2
    beside = columns @ (_solve(outcome, columns, quantile + width) - _solve(outcome, columns, quantile - width))
    local = np.maximum(0, 2 * width / (beside - SMALLEST_DENSITY))
    if np.linalg.matrix_rank(columns[local > 0]) < columns.shape[1]:
        raise ValueError("the quantiles beside it are the same: the outcome has too many equal values")
    inner = np.linalg.inv(columns.T @ (local[:, None] * columns))
    cov = quantile * (1 - quantile) * inner @ (columns.T @ columns) @ inner
    return QuantileRegression(quantile=quantile, b=b, cov=np.asarray(cov))


def _solve(outcome: Array, columns: Array, quantile: float) -> Array:
    n = len(outcome)
    if n <= MOST_AT_ONCE:
        return _programme(outcome, columns, quantile)
    chosen = np.random.default_rng(0).choice(n, MOST_AT_ONCE, replace=False)
    b = _programme(outcome[chosen], columns[chosen], quantile)
    keep = MOST_AT_ONCE
    while keep < n / 2:
        residuals = outcome - columns @ b
        # The rows nearest to the plane decide; the others count by side, wherever exactly they are.
        order = np.argsort(np.abs(residuals - np.quantile(residuals, quantile)))
        near, far = order[:keep], order[keep:]
        above, below = far[residuals[far] > 0], far[residuals[far] <= 0]
        sums = [(outcome[side].sum(), columns[side].sum(axis=0)) for side in (above, below)]
        few = np.concatenate([outcome[near], [one for one, _ in sums]])
        b = _programme(few, np.vstack([columns[near], sums[0][1], sums[1][1]]), quantile)
        residuals = outcome - columns @ b
        if (residuals[above] > 0).all() and (residuals[below] <= 0).all():
            return b
        keep *= 2
    return _programme(outcome, columns, quantile)


def _programme(outcome: Array, columns: Array, quantile: float) -> Array:
    """The dual programme: its prices are the coefficients."""
    from scipy.optimize import linprog

    found = linprog(
        -outcome, A_eq=columns.T, b_eq=(1 - quantile) * columns.sum(axis=0), bounds=(0, 1), method="highs-ds"
    )
    if found.status != 0:
        raise ValueError(f"no quantile can be fitted: {found.message}")
    near = np.argsort(np.abs(outcome + columns @ found.eqlin.marginals))[: columns.shape[1]]
    return _through(outcome, columns, near, -np.asarray(found.eqlin.marginals))


def _through(outcome: Array, columns: Array, rows: NDArray[np.intp], b: Array) -> Array:
    """The plane through as many rows as it has columns, as the solution is; ``b`` where these do not determine it."""
    square = columns[rows]
    if np.linalg.cond(square) > 1e10:
        return b
    exact: Array = np.asarray(np.linalg.solve(square, outcome[rows]), dtype=np.float64)
    return exact if np.allclose(exact, b, rtol=1e-6, atol=1e-9) else b
