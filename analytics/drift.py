"""Whether new patients still follow a model that was frozen: a change of scanner, protocol, reader or patients.

Comparing tonight's coefficients with last night's detects nothing, because both hold nearly the same rows. Here the
rows that came after the frozen model are predicted by it. Their residuals are watched in two ways: the mean of the
last :data:`WINDOW` finds a step soon, the CUSUM finds a smaller change that stays.

References
----------
Page ES. Continuous inspection schemes. Biometrika 1954; 41: 100–115. Montgomery DC. Introduction to Statistical
Quality Control, chapter 9 (tabular CUSUM).
"""

from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd

from analytics.linear import Array, LinearFit, fit_linear
from analytics.regression import PREDICTORS, Refusal, complete_rows, design_matrix

WINDOW = 60
"""Newest patients whose mean residual is judged."""

FEWEST = 20
"""New patients below which nothing is judged: a mean of fewer follows single patients."""

Z_LIMIT = 3.5
"""Mean residual in its standard errors beyond which it is an alarm."""

CUSUM_SLACK = 0.25
"""Residual standard deviations that the CUSUM forgives each patient (k)."""

CUSUM_LIMIT = 20.0
"""Residual standard deviations at which the CUSUM is an alarm (h)."""

OUTCOME = "vbq"
DATES = ("mri_date", "surgery_date", "id")
"""Order of the patients; undated ones come first."""


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """One scanner's part of the window: patients, and the mean residual in VBQ units."""

    name: str
    n: int
    mean_residual: float


@dataclass(frozen=True, kw_only=True)
class Drift:
    """New patients against a frozen model.

    ``n_new`` patients are not in it, the newest ``window`` of them have the mean residual (VBQ units, observed less
    predicted) and its ``z``. The CUSUMs are in residual standard deviations; ``since`` is the MRI date of the first
    patient after the leading one was last at zero, the likely begin of a change.
    """

    n_frozen: int
    n_new: int
    window: int
    mean_residual: float
    z: float
    cusum_up: float
    cusum_down: float
    since: str
    strata: tuple[Stratum, ...]

    @property
    def alarm(self) -> bool:
        """Whether a person should look."""
        return abs(self.z) > Z_LIMIT or max(self.cusum_up, self.cusum_down) > CUSUM_LIMIT

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        return asdict(self) | {"alarm": self.alarm}


def check_drift(frozen: pd.DataFrame, cohort: pd.DataFrame) -> Drift | Refusal:
    """Judge the rows of a cohort that a frozen model has not seen.

    Parameters
    ----------
    frozen
        The rows the model was fitted on, as :func:`analytics.regression.fit_vbq_model` takes them.
    cohort
        Today's rows, with ``mri_date`` and ``surgery_date`` (ISO texts, empty where unknown) and ``scanner_stratum``
        as well. A row whose id stands in ``frozen`` is not new, whatever it says today.

    Returns
    -------
    Drift | Refusal
        A refusal below :data:`FEWEST` new complete rows, or where the frozen rows determine no model.
    """
    known = complete_rows(frozen, (OUTCOME, *PREDICTORS))
    new = cohort[~cohort["id"].astype(str).isin(set(known.frame["id"]))]
    rows = complete_rows(new, (OUTCOME, *PREDICTORS))
    if len(rows.frame) < FEWEST:
        return rows.refusal(f"{len(rows.frame)} new complete rows since the frozen model, {FEWEST} are needed")
    if len(known.frame) < len(PREDICTORS) + 3:
        return rows.refusal("the frozen rows are too few for a model")
    fit = fit_linear(known.frame[OUTCOME].to_numpy(dtype=np.float64), *design_matrix(known.frame, PREDICTORS))
    particulars = new.assign(id=new["id"].astype(str)).drop_duplicates("id")[[*DATES, "scanner_stratum"]]
    ordered = rows.frame.merge(particulars, on="id", validate="one_to_one").sort_values(list(DATES))
    return _judge(fit, ordered.reset_index(drop=True))


def _judge(fit: LinearFit, new: pd.DataFrame) -> Drift:
    columns, names = design_matrix(new, PREDICTORS)
    design = columns[:, [names.index(name) for name in fit.names]]
    residuals = new[OUTCOME].to_numpy(dtype=np.float64) - design @ fit.b
    last = min(WINDOW, len(new))
    mean = float(residuals[-last:].mean())
    centre = design[-last:].mean(axis=0)
    # The frozen coefficients have an error of their own, shared by all new patients.
    error = fit.sigma * sqrt(1 / last + float(centre @ fit.cov_unscaled @ centre))
    up, down = cusum(residuals / fit.sigma), cusum(-residuals / fit.sigma)
    leading = up if up[-1] >= down[-1] else down
    start = int(np.flatnonzero(leading == 0)[-1]) + 1 if (leading == 0).any() else 0
    return Drift(
        n_frozen=fit.n,
        n_new=len(new),
        window=last,
        mean_residual=mean,
        z=mean / error,
        cusum_up=float(up[-1]),
        cusum_down=float(down[-1]),
        since=str(new["mri_date"].iloc[min(start, len(new) - 1)]),
        strata=_strata(new["scanner_stratum"].iloc[-last:], residuals[-last:]),
    )


def cusum(deviations: Array) -> Array:
    """Upper tabular CUSUM after each deviation (in standard deviations): max(0, before + deviation − slack)."""
    sums = np.empty(len(deviations))
    total = 0.0
    for index, deviation in enumerate(deviations.tolist()):
        total = max(0.0, total + deviation - CUSUM_SLACK)
        sums[index] = total
    return sums


def _strata(names: pd.Series, residuals: Array) -> tuple[Stratum, ...]:
    groups = pd.Series(residuals).groupby(names.to_numpy())
    return tuple(
        Stratum(name=str(name), n=len(group), mean_residual=float(group.mean())) for name, group in sorted(groups)
    )
