"""Estimates of several sites combined with random effects: REML, Hartung and Knapp's interval, prediction interval.

Verification
------------
R metafor's printed results for its data set dat.bcg (13 trials, log risk ratios): τ², I², Q, estimate and interval by
REML and by REML with ``test = "knha"``, prediction interval (tests/analytics/test_random_effects.py).

References
----------
Viechtbauer W. J Educ Behav Stat 2005;30:261–293 (REML). Hartung J, Knapp G. Stat Med 2001;20:3875–3889. Higgins JPT,
Thompson SG. Stat Med 2002;21:1539–1558 (I²). Röver C, Knapp G, Friede T. BMC Med Res Methodol 2015;15:99 (an interval
not narrower than without the correction). IntHout J, et al. BMJ Open 2016;6:e010247 (prediction interval).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from analytics.methods.linear import CONFIDENCE, Array
from analytics.reasons import Reason

FEWEST_FOR_PREDICTION = 3
"""Estimates below which no prediction interval is given: two say nothing of a third."""


@dataclass(frozen=True, kw_only=True)
class RandomEffects:
    """The mean of the effects of ``k`` sites, and how far they vary.

    ``se``, ``t``, ``p`` and the interval are Hartung and Knapp's on k − 1 degrees of freedom, their factor at least 1.
    ``tau2`` is the variance between sites (in squared units of the effect), ``i2`` its share of the total variance
    (0 to 1), ``q`` and ``q_p`` Cochran's test that there is none. ``prediction_low`` and ``prediction_high`` bound the
    effect of a further site (95 %). ``weights`` are each site's share, adding up to 1.
    """

    k: int
    b: float
    se: float
    t: float
    p: float
    ci_low: float
    ci_high: float
    tau2: float
    i2: float
    q: float
    q_p: float
    prediction_low: float | None
    prediction_high: float | None
    weights: tuple[float, ...]


def random_effects(effects: Sequence[float], errors: Sequence[float]) -> RandomEffects | Reason:
    """Combine independent estimates.

    Parameters
    ----------
    effects, errors
        Each site's estimate and its standard error, (k,).

    Raises
    ------
    ValueError
        The two differ in length, or an error is not above 0.
    """
    from scipy import stats

    y, v = np.asarray(effects, dtype=np.float64), np.asarray(errors, dtype=np.float64) ** 2
    if y.shape != v.shape or not (np.isfinite(y).all() and np.isfinite(v).all() and (v > 0).all()):
        raise ValueError("each estimate needs one standard error above 0")
    k = len(y)
    if k < 2:
        return Reason("pool-too-few-sites", {"sites": k, "needed": 2})
    tau2 = _reml(y, v)
    weights = 1 / (v + tau2)
    b = float(weights @ y / weights.sum())
    factor = float(weights @ (y - b) ** 2) / (k - 1)
    se = sqrt(max(1.0, factor) / float(weights.sum()))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, k - 1))
    fixed = 1 / v
    q = float(fixed @ (y - fixed @ y / fixed.sum()) ** 2)
    typical = (k - 1) * float(fixed.sum()) / (float(fixed.sum()) ** 2 - float(fixed @ fixed))
    beyond = half * sqrt(tau2 + se**2) if k >= FEWEST_FOR_PREDICTION else None
    return RandomEffects(
        k=k,
        b=b,
        se=se,
        t=b / se,
        p=float(2 * stats.t.sf(abs(b / se), k - 1)),
        ci_low=b - half * se,
        ci_high=b + half * se,
        tau2=tau2,
        i2=tau2 / (tau2 + typical),
        q=q,
        q_p=float(stats.chi2.sf(q, k - 1)),
        prediction_low=None if beyond is None else b - beyond,
        prediction_high=None if beyond is None else b + beyond,
        weights=tuple((weights / weights.sum()).tolist()),
    )


def _reml(y: Array, v: Array) -> float:
    """The variance between sites at the maximum of the restricted likelihood; 0 where that falls from 0 on."""
    from scipy.optimize import brentq

    def score(tau2: float) -> float:
        """Derivative of the restricted log-likelihood by τ², doubled."""
        w = 1 / (v + tau2)
        residual = y - w @ y / w.sum()
        return float(w**2 @ residual**2 - w.sum() + w**2 @ np.ones_like(w) / w.sum())

    if score(0.0) <= 0:
        return 0.0
    high = float(np.var(y, ddof=1)) + float(v.max())
    while score(high) > 0:
        high *= 2
    return float(brentq(score, 0.0, high, xtol=1e-14 * high, rtol=1e-14))
