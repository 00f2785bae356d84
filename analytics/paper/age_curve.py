"""VBQ over age for women and men: the paper's model with a natural spline of age of each sex's own.

The curves are of a patient who is average in all but age and sex, the bands hold the expected VBQ of such a patient
(95 %, point by point). Two joint tests go with them: whether any of the curves bends, and whether the sexes' differ.

Verification
------------
Curves and bands against statsmodels on another basis of the same splines, patsy's ``cr``; the tests against
statsmodels' comparison of nested models (tests/analytics/test_age_curve.py).

References
----------
Discussion of the paper: "modeling age as a quadratic term or applying spline regression". Hastie T, Tibshirani R,
Friedman J. The Elements of Statistical Learning, 2nd ed., eq. 5.4–5.5.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analytics.methods.linear import CONFIDENCE, INTERCEPT, Array, JointTest, LinearFit, fit_linear, joint_test
from analytics.methods.plain import to_plain
from analytics.methods.rows import Refusal, complete_rows
from analytics.paper.regression import PREDICTORS, fit_vbq_model
from analytics.paper.shape import natural_spline
from analytics.reasons import Reason

SPLINE_DF = 3
"""Degrees of freedom of each curve."""

ROWS_PER_COEFFICIENT = 10
"""Complete rows that each coefficient of the model needs, as for the paper's."""

FEWEST_OF_A_SEX = 30
"""Patients that a curve of one sex needs."""

POINTS = 61
OTHERS = tuple(name for name in PREDICTORS if name not in ("age", "sex_male"))
AGE = ("age", *(f"age bend {number}" for number in range(1, SPLINE_DF)))
MEN = tuple(f"men: {name}" for name in AGE)
"""Coefficients of the curve of women, and of what that of men differs by."""
SEXES = (("women", 0.0), ("men", 1.0))


@dataclass(frozen=True, kw_only=True)
class SexCurve:
    """Expected VBQ of one sex within the ages (years) of its ``n`` patients, with the 95 % band; a point per place."""

    sex: str
    n: int
    age: tuple[float, ...]
    vbq: tuple[float, ...]
    ci_low: tuple[float, ...]
    ci_high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class AgeCurves:
    """The curves of women and men; ``bends`` tests all that is not straight, ``differ`` all that the sexes do not
    share but a constant. ``knots`` are ages in years, the boundary knots first and last."""

    n_rows: int
    n_used: int
    curves: tuple[SexCurve, ...]
    knots: tuple[float, ...]
    bends: JointTest
    differ: JointTest
    omitted: dict[Reason, int]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        return to_plain(self)


def age_curves(cohort: pd.DataFrame) -> AgeCurves | Refusal:
    """Fit the curves; refused where the paper's model is, or where a curve rests on too few patients.

    Parameters
    ----------
    cohort
        As for :func:`analytics.paper.regression.fit_vbq_model`.
    """
    plain = fit_vbq_model(cohort)
    if isinstance(plain, Refusal):
        return plain
    rows = complete_rows(cohort, ("vbq", *PREDICTORS))
    age, male = (rows.frame[name].to_numpy(dtype=np.float64) for name in ("age", "sex_male"))
    fewest = int(min(male.sum(), len(male) - male.sum()))
    if fewest < FEWEST_OF_A_SEX:
        return rows.refusal(Reason("too-few-of-a-sex", {"patients": int(fewest), "needed": FEWEST_OF_A_SEX}))
    inner = np.quantile(age, np.arange(1, SPLINE_DF) / SPLINE_DF)
    knots = (float(age.min()), *(float(value) for value in inner), float(age.max()))
    if len(set(knots)) < len(knots):
        return rows.refusal(Reason("too-few-ages"))
    others = rows.frame[list(OTHERS)].to_numpy(dtype=np.float64)
    columns = _columns(age, male, others - others.mean(axis=0), knots)
    names = (INTERCEPT, *AGE, "sex_male", *MEN, *OTHERS)
    if len(age) < ROWS_PER_COEFFICIENT * len(names):
        needed = ROWS_PER_COEFFICIENT * len(names)
        return rows.refusal(Reason("too-few-rows-for-curves", {"rows": len(age), "needed": needed}))
    fit = fit_linear(rows.frame["vbq"].to_numpy(dtype=np.float64), columns, names)
    if fit.aliased:
        return rows.refusal(Reason("not-estimable", {"terms": tuple(fit.aliased)}))
    return AgeCurves(
        n_rows=rows.n_rows,
        n_used=len(age),
        curves=tuple(_curve(fit, sex, age[male == value], value, knots) for sex, value in SEXES),
        knots=knots,
        bends=joint_test(fit, [*AGE[1:], *MEN[1:]]),
        differ=joint_test(fit, MEN),
        omitted=rows.omitted,
    )


def _columns(age: Array, male: Array, others: Array, knots: tuple[float, ...]) -> Array:
    """Columns of the model; ``others`` are centred, so that a row of zeros is the average patient."""
    curve = np.column_stack([age - knots[0], natural_spline(age, knots)])
    return np.column_stack([np.ones(len(age)), curve, male, curve * male[:, None], others])


def _curve(fit: LinearFit, sex: str, ages: Array, male: float, knots: tuple[float, ...]) -> SexCurve:
    from scipy import stats

    grid = np.linspace(ages.min(), ages.max(), POINTS)
    at = _columns(grid, np.full(POINTS, male), np.zeros((POINTS, len(OTHERS))), knots)
    expected = at @ fit.b
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, fit.df_resid)) * fit.sigma
    half = half * np.sqrt(np.einsum("ij,jk,ik->i", at, fit.cov_unscaled, at))
    return SexCurve(
        sex=sex,
        n=len(ages),
        age=tuple(grid.tolist()),
        vbq=tuple(expected.tolist()),
        ci_low=tuple((expected - half).tolist()),
        ci_high=tuple((expected + half).tolist()),
    )
