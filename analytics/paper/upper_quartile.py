"""The upper quartile of VBQ by age and sex: what is high for a woman of 60 and for a man of 80.

The cut-offs of the node are the upper quartile of the whole cohort, as the paper proposes. VBQ rises with age, so that
most of the old are above it. This says how far the quartile moves; it sets no cut-off.

References
----------
See :mod:`analytics.methods.quantiles`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analytics.methods.linear import CONFIDENCE, Estimate, independent_columns
from analytics.methods.plain import to_plain
from analytics.methods.quantiles import fit_quantile
from analytics.methods.rows import Refusal, complete_rows
from analytics.paper.regression import design_matrix
from analytics.reasons import Reason

QUARTILE = 0.75
BY = ("age", "sex_male")
ROWS_PER_COLUMN = 40
"""So that ten patients lie above the quartile for each column."""
AGES = (50, 60, 70, 80)


@dataclass(frozen=True, kw_only=True)
class Quartile:
    """The upper quartile of VBQ of women or men of an age, with its 95 % interval."""

    age: int
    male: bool
    vbq: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True, kw_only=True)
class UpperQuartile:
    """The regression of the upper quartile on age and sex; ``at`` are ages inside those of the cohort."""

    n_rows: int
    n_used: int
    terms: tuple[Estimate, ...]
    at: tuple[Quartile, ...]
    omitted: dict[Reason, int]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        return to_plain(self)


def upper_quartile(cohort: pd.DataFrame) -> UpperQuartile | Refusal:
    """Fit the upper quartile of VBQ by age and sex; t tests with the residual degrees of freedom, as R gives them.

    Parameters
    ----------
    cohort
        One row per episode with ``id``, ``vbq``, ``age`` and ``sex_male``.
    """
    from scipy import stats

    rows = complete_rows(cohort, ("vbq", *BY))
    frame = rows.frame
    columns, names = design_matrix(frame, BY)
    needed = ROWS_PER_COLUMN * len(names)
    if len(frame) < needed:
        about = {"rows": len(frame), "needed": needed, "each": ROWS_PER_COLUMN, "coefficients": len(names)}
        return rows.refusal(Reason("too-few-rows", about))
    if len(independent_columns(columns)) < len(names) or np.ptp(frame["vbq"].to_numpy()) == 0:
        return rows.refusal(Reason("quartile-not-by-age-and-sex"))
    try:
        fit = fit_quantile(frame["vbq"].to_numpy(dtype=np.float64), columns, QUARTILE)
    except ValueError:
        return rows.refusal(Reason("quartile-of-equal-values"))
    df = len(frame) - len(names)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, df))
    se = np.sqrt(np.diag(fit.cov))
    terms = tuple(
        Estimate(
            term=name, b=b, se=error, t=b / error, p=float(2 * stats.t.sf(abs(b / error), df)),
            ci_low=b - half * error, ci_high=b + half * error,
        )
        for name, b, error in zip(names, fit.b.tolist(), se.tolist(), strict=True)
    )  # fmt: skip
    low, high = float(frame["age"].min()), float(frame["age"].max())
    at = []
    for age in (one for one in AGES if low <= one <= high):
        for male in (False, True):
            patient = np.array([1.0, age, float(male)])
            vbq, error = float(patient @ fit.b), float(np.sqrt(patient @ fit.cov @ patient))
            at.append(Quartile(age=age, male=male, vbq=vbq, ci_low=vbq - half * error, ci_high=vbq + half * error))
    return UpperQuartile(n_rows=rows.n_rows, n_used=len(frame), terms=terms, at=tuple(at), omitted=rows.omitted)
