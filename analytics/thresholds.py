"""What counts as high at this site: cut-offs from the site's own cohort or given by the institution.

There are no built-in cut-offs: below the minimum cohort the site is not calibrated yet, and nobody gets a tier.

References
----------
Discussion of the paper: "upper cohort quantiles" for VBQ; "institutional upper reference, cohort upper quartile" for
the ratios; "we do not prescribe universal thresholds and recommend local calibration".
"""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analytics.regression import Refusal, complete_rows

Ratios = Literal["any", "both"]
"""Whether one high ratio suffices or both must be high."""

MARKERS = ("vbq", "nlr", "plr")

KEPT_WITHIN = 0.8
"""Level of the bootstrap interval of a new cut inside which the old one is kept."""

BOOTSTRAPS = 2000
SEED = 20260101
"""Of the bootstrap: the same cohort gives the same interval."""


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """What counts as high: VBQ at or above its cut, a ratio above its own.

    ``n`` is the number of rows the cuts were taken from, 0 where the institution gave them.
    """

    method: str
    n: int
    vbq: float
    nlr: float
    plr: float
    ratios: Ratios


def quantile_cuts(
    cohort: pd.DataFrame, *, quantile: float = 0.75, minimum_n: int, ratios: Ratios = "any"
) -> Cuts | Refusal:
    """Take each cut at a quantile of the cohort (type 7: linear interpolation, as R and numpy do by default).

    Parameters
    ----------
    cohort
        One row per episode with ``id``, ``vbq``, ``nlr`` and ``plr``; only rows complete in all of them count, so
        that the three cuts describe the same patients.
    minimum_n
        Rows below which nothing is proposed.

    Raises
    ------
    ValueError
        ``quantile`` is not between 0 and 1.
    """
    if not 0 < quantile < 1:
        raise ValueError(f"a quantile lies between 0 and 1, not at {quantile}")
    rows = complete_rows(cohort, MARKERS)
    if len(rows.frame) < minimum_n:
        return rows.refusal(f"not calibrated yet: {len(rows.frame)} complete rows, {minimum_n} are needed")
    vbq, nlr, plr = (float(np.quantile(rows.frame[name], quantile, method="linear")) for name in MARKERS)
    return Cuts(method=f"quantile {quantile:g}", n=len(rows.frame), vbq=vbq, nlr=nlr, plr=plr, ratios=ratios)


def institutional_cuts(vbq: float, nlr: float, plr: float, ratios: Ratios = "any") -> Cuts:
    """The limits the institution gives.

    Raises
    ------
    ValueError
        A limit is not a positive number.
    """
    for name, value in (("VBQ", vbq), ("NLR", nlr), ("PLR", plr)):
        if not isfinite(value) or value <= 0:
            raise ValueError(f"the {name} limit {value} is not a positive number")
    return Cuts(method="institutional", n=0, vbq=vbq, nlr=nlr, plr=plr, ratios=ratios)


def left_behind(old: Cuts, cohort: pd.DataFrame, *, quantile: float) -> tuple[str, ...]:
    """Which old cuts lie outside the bootstrap interval of the new ones, in words; none: the old ones still do.

    The level is :data:`KEPT_WITHIN`; rows count as for :func:`quantile_cuts`.
    """
    rows = complete_rows(cohort, MARKERS).frame
    found = []
    for name in MARKERS:
        low, high = quantile_interval(rows[name].to_numpy(dtype=np.float64), quantile)
        cut = getattr(old, name)
        if not low <= cut <= high:
            found.append(f"the {name.upper()} cut {cut:.4g} lies outside {low:.4g} to {high:.4g}")
    return tuple(found)


def quantile_interval(values: NDArray[np.float64], quantile: float) -> tuple[float, float]:
    """Percentile bootstrap interval (:data:`KEPT_WITHIN`) of a type-7 quantile.

    The k-th smallest of n values drawn with replacement is the value at ``floor(n U)``, U the k-th smallest of n
    uniform numbers, which is beta distributed: so a sample costs two random numbers, however many rows there are.

    Verification
    ------------
    ``scipy.stats.bootstrap`` (percentile, 20,000 samples) on 120 values: within 0.02 standard deviations.
    """
    ordered, n = np.sort(values), len(values)
    position = quantile * (n - 1)
    k = int(position) + 1
    random = np.random.default_rng(SEED)
    lower = random.beta(k, n - k + 1, BOOTSTRAPS)
    # Given the k-th, the next is the smallest of the n − k uniform numbers above it.
    upper = lower + (1 - lower) * random.beta(1, n - k, BOOTSTRAPS) if k < n else lower
    low, high = (ordered[np.minimum((n * part).astype(np.intp), n - 1)] for part in (lower, upper))
    cuts = low + (position - int(position)) * (high - low)
    tail = (1 - KEPT_WITHIN) / 2
    ends = np.quantile(cuts, (tail, 1 - tail))
    return float(ends[0]), float(ends[1])
