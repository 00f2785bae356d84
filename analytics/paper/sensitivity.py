"""The paper's sensitivity analyses with a linear model: logarithms of the ratios; winsorised with robust errors.

What the paper does not state is a parameter here and stands on the result: the share clipped on each side, and of
which columns.

Verification
------------
R 4.2.2 (``lm``, ``sandwich::vcovHC``) on the synthetic cohort of 200, four choices of limits: all numbers to 1e-7
relative (tests/analytics/test_sensitivity.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analytics.methods.diagnostics import robust_se
from analytics.methods.linear import Estimate, LinearFit, estimates, fit_linear
from analytics.methods.plain import to_plain
from analytics.methods.rows import Refusal, as_numbers, complete_rows
from analytics.paper.regression import MINIMUM_ROWS_PER_PARAMETER, PREDICTORS, OlsFit, design_matrix, fit_vbq_model
from analytics.reasons import Reason

RATIOS = ("nlr", "plr")
LOG_PREDICTORS = tuple(f"ln_{name}" if name in RATIOS else name for name in PREDICTORS)
CONTINUOUS = ("vbq", "age", "bmi", "nlr", "plr")


@dataclass(frozen=True, kw_only=True)
class WinsorisedFit:
    """The model after clipping; ``limits`` are the bounds by column, ``terms`` carry HC3 errors with t tests.

    ``classic_terms`` are the same coefficients with the ordinary errors.
    """

    share: float
    limits: dict[str, tuple[float, float]]
    n_rows: int
    n_used: int
    df_resid: int
    r2: float
    adj_r2: float
    terms: tuple[Estimate, ...]
    classic_terms: tuple[Estimate, ...]
    omitted: dict[Reason, int]
    aliased: tuple[str, ...]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        return to_plain(self)


def with_log_ratios(cohort: pd.DataFrame) -> pd.DataFrame:
    """The cohort with ``ln_nlr`` and ``ln_plr``; NaN where a ratio is not positive."""
    ratios = as_numbers(cohort, RATIOS)
    logs = np.log(ratios.where(ratios > 0))
    return cohort.assign(**{f"ln_{name}": logs[name] for name in RATIOS})


def log_ratio_model(
    cohort: pd.DataFrame, *, minimum_rows_per_parameter: int = MINIMUM_ROWS_PER_PARAMETER
) -> OlsFit | Refusal:
    """The paper's model with the natural logarithms of NLR and PLR in their place."""
    return fit_vbq_model(
        with_log_ratios(cohort), predictors=LOG_PREDICTORS, minimum_rows_per_parameter=minimum_rows_per_parameter
    )


def winsorised_model(
    cohort: pd.DataFrame, *, share: float = 0.01, columns: Sequence[str] = RATIOS
) -> WinsorisedFit | Refusal:
    """The paper's model after clipping each of ``columns`` at its quantiles, with HC3 errors.

    Parameters
    ----------
    share
        Clipped on each side, 0.01 for the 1st and 99th percentile (type 7, of the complete rows).
    columns
        Which columns are clipped; :data:`CONTINUOUS` for all, the outcome included.

    Raises
    ------
    ValueError
        ``share`` is not between 0 and 0.5.
    """
    if not 0 < share < 0.5:
        raise ValueError(f"the share clipped on each side lies between 0 and 0.5, not at {share}")
    plain = fit_vbq_model(cohort)
    if isinstance(plain, Refusal):
        return plain
    rows = complete_rows(cohort, ("vbq", *PREDICTORS))
    frame = rows.frame.copy()
    limits: dict[str, tuple[float, float]] = {}
    for name in columns:
        low, high = (float(value) for value in np.quantile(frame[name], (share, 1 - share)))
        limits[name] = (low, high)
        frame[name] = frame[name].clip(low, high)
    fit = _fit(frame)
    if fit.leverage.max() > 1 - 1e-10:
        return rows.refusal(Reason("no-hc3-errors"))
    return WinsorisedFit(
        share=share,
        limits=limits,
        n_rows=rows.n_rows,
        n_used=fit.n,
        df_resid=fit.df_resid,
        r2=fit.r2,
        adj_r2=fit.adj_r2,
        terms=estimates(fit, robust_se(fit, "HC3")),
        classic_terms=estimates(fit),
        omitted=rows.omitted,
        aliased=fit.aliased,
    )


def _fit(frame: pd.DataFrame) -> LinearFit:
    columns, names = design_matrix(frame, PREDICTORS)
    return fit_linear(frame["vbq"].to_numpy(dtype=np.float64), columns, names)
