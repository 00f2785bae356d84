"""Whether the ratios are the right ones: neutrophils, lymphocytes and platelets apart, on the log scale.

A logarithm of a ratio is a difference of logarithms, so the model with ln NLR and ln PLR is the model with ln N, ln L
and ln P in which the three coefficients add up to 0: whatever multiplies all three counts leaves VBQ alone. That is one
restriction, and one F test. If it does not hold, a count matters by itself and the ratios hide which.

Verification
------------
R 4.2.2 (``lm``, ``anova`` of the nested models): all numbers to 1e-7 relative
(tests/analytics/test_more_statistics.py).

References
----------
Kronmal RA. Spurious correlation and the fallacy of the ratio standard revisited. J R Stat Soc A 1993; 156: 379–392.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analytics.methods.linear import JointTest, fit_linear, joint_test
from analytics.methods.plain import to_plain
from analytics.methods.rows import Refusal, as_numbers, complete_rows
from analytics.paper.regression import PREDICTORS, OlsFit, design_matrix, fit_vbq_model
from analytics.paper.sensitivity import LOG_PREDICTORS, RATIOS, with_log_ratios

COUNTS = ("neutrophils", "lymphocytes", "platelets")
LOG_COUNTS = tuple(f"ln_{name}" for name in COUNTS)
ADJUSTED = tuple(name for name in PREDICTORS if name not in RATIOS)


@dataclass(frozen=True, kw_only=True)
class RatioParts:
    """The model with the three counts apart, and the test that the ratios say as much.

    ``constraint`` tests that the coefficients of the counts add up to 0; ``total`` is that sum.
    """

    model: OlsFit
    total: float
    constraint: JointTest

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        return to_plain(self)


def ratio_parts(cohort: pd.DataFrame) -> RatioParts | Refusal:
    """Fit ln N, ln L and ln P apart, or say why not.

    Parameters
    ----------
    cohort
        As for :func:`analytics.paper.regression.fit_vbq_model`, with ``neutrophils``, ``lymphocytes`` and ``platelets``
        in 10⁹/L. Rows without all three are left out, and counted.
    """
    counts = as_numbers(cohort, COUNTS)
    logs = np.log(counts.where(counts > 0))
    table = with_log_ratios(cohort).assign(**{f"ln_{name}": logs[name] for name in COUNTS})
    model = fit_vbq_model(table, predictors=(*ADJUSTED, *LOG_COUNTS))
    if isinstance(model, Refusal):
        return model
    # With ln L beside the ratios its coefficient is the sum of the three, and 0 under the restriction.
    beside = _beside_the_ratios(table)
    return RatioParts(model=model, total=beside[0], constraint=beside[1])


def _beside_the_ratios(table: pd.DataFrame) -> tuple[float, JointTest]:
    predictors = (*LOG_PREDICTORS, "ln_lymphocytes")
    # The ratios of the counts themselves: a ratio that was given to fewer digits is another one.
    ratios = {"ln_nlr": "ln_neutrophils", "ln_plr": "ln_platelets"}
    own = table.assign(**{ratio: table[upper] - table["ln_lymphocytes"] for ratio, upper in ratios.items()})
    frame = complete_rows(own, ("vbq", *predictors)).frame
    fit = fit_linear(frame["vbq"].to_numpy(dtype=np.float64), *design_matrix(frame, predictors))
    return float(fit.b[fit.names.index("ln_lymphocytes")]), joint_test(fit, ["ln_lymphocytes"])
