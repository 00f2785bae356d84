"""Least squares with honest arithmetic: the engine under every linear model here, and the adapter to statsmodels.

The coefficients come from statsmodels' OLS by QR decomposition. Its standard errors invert X'X, which squares the
condition number; here they come from the triangular factor itself. Columns are scaled by powers of two first, which
costs no digit, so that neither the rank nor the error depends on the unit of a column.

Verification
------------
NIST StRD, correct digits of coefficients / standard errors: Norris 12 / 13, Pontius 12 / 13, NoInt1 14 / 15,
NoInt2 15 / 14, Longley 10 / 12, Wampler1 9 / 9, Wampler2 13 / 14, Wampler3 9 / 13, Wampler4 7 / 13,
Wampler5 5 / 13, Filip 7 / 7 (statsmodels' own standard errors: Filip 0, Longley 8). At the default tolerance Filip's
tenth power is named as aliased, as R's ``lm`` does.

References
----------
Golub GH, Van Loan CF. Matrix Computations, 4th ed., chapter 5. NIST Statistical Reference Datasets,
https://www.itl.nist.gov/div898/strd/lls/lls.shtml.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

INTERCEPT = "(Intercept)"
"""Name of the column of ones, as R calls it."""

ALIAS_TOLERANCE = 1e-7
"""A column is aliased when what the columns before it leave of its length is below this share (R's ``lm``)."""

CONFIDENCE = 0.95
"""Level of every interval."""


@dataclass(frozen=True, kw_only=True)
class LinearFit:
    """A least-squares fit.

    ``names`` are the estimated columns in order, ``aliased`` those that were left out because the columns before
    them determine them. ``design`` is (n, k), ``outcome``, ``fitted``, ``residuals`` and ``leverage`` are (n,),
    ``b`` is (k,) and ``cov_unscaled`` (k, k), the inverse of X'X.
    """

    names: tuple[str, ...]
    aliased: tuple[str, ...]
    design: Array
    outcome: Array
    b: Array
    cov_unscaled: Array
    fitted: Array
    residuals: Array
    leverage: Array

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.outcome)

    @property
    def df_resid(self) -> int:
        """Residual degrees of freedom: rows less estimated columns."""
        return self.n - len(self.names)

    @cached_property
    def sse(self) -> float:
        """Residual sum of squares."""
        return float(self.residuals @ self.residuals)

    @property
    def sigma(self) -> float:
        """Residual standard deviation; NaN without degrees of freedom."""
        return float(np.sqrt(self.sse / self.df_resid)) if self.df_resid > 0 else float("nan")

    @property
    def has_intercept(self) -> bool:
        """Whether the column of ones is among the estimated columns."""
        return INTERCEPT in self.names

    @cached_property
    def r2(self) -> float:
        """Share of the sum of squares explained, about the mean (about zero without an intercept)."""
        about = self.outcome - self.outcome.mean() if self.has_intercept else self.outcome
        return 1 - self.sse / float(about @ about)

    @property
    def adj_r2(self) -> float:
        """R² adjusted for the number of columns; NaN without degrees of freedom."""
        if self.df_resid <= 0:
            return float("nan")
        return 1 - (1 - self.r2) * (self.n - int(self.has_intercept)) / self.df_resid

    @cached_property
    def se(self) -> Array:
        """Standard errors, (k,)."""
        return np.asarray(self.sigma * np.sqrt(np.diag(self.cov_unscaled)))

    @property
    def log_likelihood(self) -> float:
        """Gaussian log-likelihood at the maximum."""
        return float(-self.n / 2 * (np.log(2 * np.pi) + np.log(self.sse / self.n) + 1))

    @property
    def aic(self) -> float:
        """Akaike's criterion; the residual variance counts as a parameter, as in R."""
        return float(-2 * self.log_likelihood + 2 * (len(self.names) + 1))

    @property
    def bic(self) -> float:
        """Schwarz's criterion; parameters as for :attr:`aic`."""
        return float(-2 * self.log_likelihood + np.log(self.n) * (len(self.names) + 1))


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One coefficient with its t test and 95 % interval."""

    term: str
    b: float
    se: float
    t: float
    p: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True, kw_only=True)
class JointTest:
    """An F test of several coefficients together."""

    f: float
    df1: int
    df2: int
    p: float


def fit_linear(
    outcome: Array, columns: Array, names: Sequence[str], *, alias_tolerance: float = ALIAS_TOLERANCE
) -> LinearFit:
    """Fit by least squares, leaving aliased columns out by name.

    Parameters
    ----------
    outcome
        (n,), finite.
    columns
        (n, m), finite; the column of ones is one of them where there is an intercept, and stands first.
    names
        The m names, :data:`INTERCEPT` for the column of ones.

    Raises
    ------
    ValueError
        The shapes do not fit each other, a value is not finite, or there are fewer rows than estimated columns.
    """
    import statsmodels.api as sm

    if columns.shape != (len(outcome), len(names)):
        raise ValueError(f"{columns.shape} columns do not fit {len(outcome)} rows and {len(names)} names")
    if not (np.isfinite(outcome).all() and np.isfinite(columns).all()):
        raise ValueError("a value is not finite; leave incomplete rows out first")
    kept = independent_columns(columns, alias_tolerance=alias_tolerance)
    if len(outcome) < len(kept):
        raise ValueError(f"{len(outcome)} rows cannot determine {len(kept)} coefficients")
    design = columns[:, kept]
    scale = 2.0 ** np.round(np.log2(np.linalg.norm(design, axis=0)))
    scaled = design / scale
    results: Any = sm.OLS(outcome, scaled).fit(method="qr")
    b = np.asarray(results.params, dtype=np.float64)
    del results  # with its decomposition, which is as large as the columns
    fitted = scaled @ b
    cov, leverage = _covariance_and_leverage(scaled)
    return LinearFit(
        names=tuple(names[index] for index in kept),
        aliased=tuple(name for index, name in enumerate(names) if index not in kept),
        design=design,
        outcome=outcome,
        b=b / scale,
        cov_unscaled=cov / np.outer(scale, scale),
        fitted=fitted,
        residuals=outcome - fitted,
        leverage=leverage,
    )


def independent_columns(columns: Array, *, alias_tolerance: float = ALIAS_TOLERANCE) -> list[int]:
    """Indices (0-based) of the columns that those before them do not determine; the first of a set stays."""
    basis: list[Array] = []
    kept: list[int] = []
    for index in range(columns.shape[1]):
        rest = columns[:, index].astype(np.float64)
        length = np.linalg.norm(rest)
        for _ in range(2):  # twice is enough: the second pass removes what rounding left in the first
            for direction in basis:
                rest = rest - (direction @ rest) * direction
        left = np.linalg.norm(rest)
        if length > 0 and left >= alias_tolerance * length and len(kept) < len(rest):
            basis.append(rest / left)
            kept.append(index)
    return kept


def _covariance_and_leverage(design: Array) -> tuple[Array, Array]:
    """The inverse of X'X, and the diagonal of the hat matrix, both from the QR decomposition."""
    from scipy.linalg import solve_triangular

    q, r = np.linalg.qr(design)
    inverse = solve_triangular(r, np.eye(len(r)))
    return inverse @ inverse.T, np.sum(q**2, axis=1)


def estimates(fit: LinearFit, se: Array | None = None) -> tuple[Estimate, ...]:
    """Every coefficient with t test and interval on the residual degrees of freedom.

    Parameters
    ----------
    se
        Other standard errors than the fit's own, (k,), for example robust ones.
    """
    from scipy import stats

    errors = fit.se if se is None else se
    t = fit.b / errors
    p = 2 * stats.t.sf(np.abs(t), fit.df_resid)
    half = stats.t.ppf(0.5 + CONFIDENCE / 2, fit.df_resid) * errors
    return tuple(
        Estimate(
            term=name,
            b=float(fit.b[i]),
            se=float(errors[i]),
            t=float(t[i]),
            p=float(p[i]),
            ci_low=float(fit.b[i] - half[i]),
            ci_high=float(fit.b[i] + half[i]),
        )
        for i, name in enumerate(fit.names)
    )


def variance_inflation(fit: LinearFit) -> dict[str, float]:
    """VIF of every column but the intercept: the diagonal of the inverse of their correlation matrix."""
    positions = [i for i, name in enumerate(fit.names) if name != INTERCEPT]
    if len(positions) < 2:
        return {fit.names[i]: 1.0 for i in positions}
    inverse = np.linalg.inv(np.corrcoef(fit.design[:, positions], rowvar=False))
    return {fit.names[i]: float(inverse[j, j]) for j, i in enumerate(positions)}


def externally_studentised(fit: LinearFit) -> Array:
    """Residual of each row against the fit without it, over its standard error, (n,).

    NaN where the row's leverage is 1 (its own residual is always 0) or no degree of freedom is left.
    """
    room = 1 - fit.leverage
    spare = fit.df_resid - 1
    if spare < 1:
        return np.full(fit.n, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (fit.sse - fit.residuals**2 / room) / spare
        values = fit.residuals / np.sqrt(variance * room)
    return np.where((room > 1e-10) & (variance > 0), values, np.nan)


def cooks_distance(fit: LinearFit) -> Array:
    """How far each row pulls all fitted values, (n,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        pull = fit.residuals**2 * fit.leverage / (len(fit.names) * fit.sigma**2 * (1 - fit.leverage) ** 2)
    return np.where(1 - fit.leverage > 1e-10, pull, np.nan)


def press(fit: LinearFit) -> float:
    """Sum of squared leave-one-out residuals, exactly, without refitting."""
    return float(np.sum((fit.residuals / (1 - fit.leverage)) ** 2))


def joint_test(fit: LinearFit, terms: Sequence[str], *, cov: Array | None = None) -> JointTest:
    """F test that all of ``terms`` are 0, with the fit's own or a robust covariance (k, k)."""
    from scipy import stats

    where = [fit.names.index(term) for term in terms]
    covariance = fit.sigma**2 * fit.cov_unscaled if cov is None else cov
    b = fit.b[where]
    f = float(b @ np.linalg.solve(covariance[np.ix_(where, where)], b)) / len(where)
    return JointTest(f=f, df1=len(where), df2=fit.df_resid, p=float(stats.f.sf(f, len(where), fit.df_resid)))
