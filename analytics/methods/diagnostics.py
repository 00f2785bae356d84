"""Robust standard errors and the tests of a linear model's assumptions.

Verification
------------
R 4.2.2 (``sandwich``, ``lmtest``, ``car``) on the synthetic cohort of 200, to 1e-7 relative or better
(tests/analytics/test_regression.py).

References
----------
Long JS, Ervin LH. Using heteroscedasticity consistent standard errors in the linear regression model. Am Stat
2000;54:217–224 (HC0–HC3). Cribari-Neto F. Comput Stat Data Anal 2004;45:215–233 (HC4). Breusch TS, Pagan AR.
Econometrica 1979;47:1287–1294; Koenker R. J Econom 1981;17:107–112. Ramsey JB. J R Stat Soc B 1969;31:350–371.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from analytics.methods.linear import INTERCEPT, Array, JointTest, LinearFit, fit_linear, joint_test

Robust = Literal["HC0", "HC1", "HC2", "HC3", "HC4"]


@dataclass(frozen=True, kw_only=True)
class AssumptionTest:
    """A test statistic with its p value; ``df`` where the statistic is a χ²."""

    statistic: float
    p: float
    df: int | None = None


def robust_covariance(fit: LinearFit, kind: Robust = "HC3") -> Array:
    """Covariance of the coefficients that allows for unequal variances, (k, k).

    Raises
    ------
    ValueError
        A row's leverage is 1, where HC2 to HC4 do not exist.
    """
    room = 1 - fit.leverage
    if kind in ("HC2", "HC3", "HC4") and room.min() < 1e-10:
        raise ValueError(f"{kind} does not exist: a row has a leverage of 1")
    n, k = fit.design.shape
    exponent: float | Array = {"HC0": 0.0, "HC1": 0.0, "HC2": 1.0, "HC3": 2.0}.get(kind, 0.0)
    if kind == "HC4":
        exponent = np.minimum(4, n * fit.leverage / k)
    factor = room**-exponent * (n / (n - k) if kind == "HC1" else 1)
    scores = fit.design * (fit.residuals * np.sqrt(factor))[:, None]
    return np.asarray(fit.cov_unscaled @ (scores.T @ scores) @ fit.cov_unscaled)


def robust_se(fit: LinearFit, kind: Robust = "HC3") -> Array:
    """Standard errors from :func:`robust_covariance`, (k,)."""
    return np.asarray(np.sqrt(np.diag(robust_covariance(fit, kind))))


def breusch_pagan(fit: LinearFit) -> AssumptionTest:
    """Koenker's studentised form of the test for variances that depend on the predictors."""
    from scipy import stats

    statistic = fit.n * fit_linear(fit.residuals**2, fit.design, fit.names).r2
    df = len(fit.names) - 1
    return AssumptionTest(statistic=statistic, p=float(stats.chi2.sf(statistic, df)), df=df)


def breusch_pagan_classic(fit: LinearFit) -> AssumptionTest:
    """The original form, which takes the errors as normal."""
    from scipy import stats

    scaled = fit.residuals**2 * fit.n / fit.sse
    auxiliary = fit_linear(scaled, fit.design, fit.names)
    statistic = float(np.sum((auxiliary.fitted - scaled.mean()) ** 2)) / 2
    df = len(fit.names) - 1
    return AssumptionTest(statistic=statistic, p=float(stats.chi2.sf(statistic, df)), df=df)


def reset(fit: LinearFit) -> JointTest:
    """Ramsey's RESET with the 2nd and 3rd power of the fitted values: is something nonlinear missing?"""
    # Centred and scaled, the powers span the same space beside the columns of the model, without near-collinearity.
    z = (fit.fitted - fit.fitted.mean()) / fit.fitted.std()
    names = ("fitted²", "fitted³")
    wider = fit_linear(fit.outcome, np.column_stack([fit.design, z**2, z**3]), (*fit.names, *names))
    return joint_test(wider, [name for name in names if name in wider.names])


def shapiro(fit: LinearFit) -> AssumptionTest:
    """Shapiro and Wilk's test that the residuals are normal; 3 to 5,000 rows."""
    from scipy import stats

    result = stats.shapiro(fit.residuals)
    return AssumptionTest(statistic=float(result.statistic), p=float(result.pvalue))


def durbin_watson(fit: LinearFit) -> float:
    """Near 2 when neighbouring residuals (in the order of the rows) are unrelated."""
    return float(np.sum(np.diff(fit.residuals) ** 2) / fit.sse)


def condition_number(fit: LinearFit) -> float:
    """Of the correlation matrix of the predictors, as the square root of the ratio of its extreme eigenvalues."""
    inner = [i for i, name in enumerate(fit.names) if name != INTERCEPT]
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(fit.design[:, inner], rowvar=False))
    return float(np.sqrt(eigenvalues[-1] / eigenvalues[0]))
