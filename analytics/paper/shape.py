"""What the paper asks for next: does VBQ rise with age along a line, and do age and the ratios act on each other?

Each candidate adds columns to the paper's model and is tested jointly against it. Age and the ratios are centred at
their means before they are squared or multiplied.

Verification
------------
R 4.2.2 (``splines::ns``, ``rms::rcs``, ``anova``) on the synthetic cohort of 200: F, p, R², AIC, knots and curves to
1e-7 relative (tests/analytics/test_shape.py).

References
----------
Discussion of the paper: "modeling age as a quadratic term or applying spline regression"; "interaction effects
between age and systemic inflammation markers". Natural cubic splines: Hastie T, Tibshirani R, Friedman J. The
Elements of Statistical Learning, 2nd ed., eq. 5.4–5.5. Knots of the restricted spline: Harrell FE. Regression
Modeling Strategies, 2nd ed., table 2.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analytics.methods.diagnostics import robust_se
from analytics.methods.linear import Array, Estimate, JointTest, LinearFit, estimates, fit_linear, joint_test
from analytics.methods.plain import to_plain
from analytics.methods.rows import Refusal, complete_rows
from analytics.paper.regression import PREDICTORS, design_matrix, fit_vbq_model
from analytics.reasons import Reason

RESTRICTED_QUANTILES = (0.05, 0.35, 0.65, 0.95)
"""Where Harrell puts four knots."""

GRID_YEARS = tuple(float(age) for age in range(50, 91, 5))
"""Ages at which a curve is given."""


@dataclass(frozen=True, kw_only=True)
class Extension:
    """The paper's model with more columns; ``test`` is the joint F test of what was added.

    ``knots`` are the ages (years) between which a spline bends, the boundary knots first and last; ``curve`` is the
    expected VBQ of the reference patient at :data:`GRID_YEARS` within the ages of the cohort. Both are empty where
    there is no spline.
    """

    name: str
    test: JointTest
    r2: float
    adj_r2: float
    aic: float
    sse: float
    knots: tuple[float, ...]
    curve: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Interactions:
    """The model with age × NLR and age × PLR, centred; ``robust_terms`` with HC3 errors and t tests."""

    terms: tuple[Estimate, ...]
    robust_terms: tuple[Estimate, ...]


@dataclass(frozen=True, kw_only=True)
class ShapeReport:
    """All extensions of the paper's model on the same complete rows."""

    n_rows: int
    n_used: int
    extensions: tuple[Extension, ...]
    interactions: Interactions
    omitted: dict[Reason, int]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        return to_plain(self)


def natural_spline(x: Array, knots: Sequence[float]) -> Array:
    """The nonlinear columns of a natural cubic spline, (n, len(knots) - 2); with x itself they span all of it.

    The spline is cubic between the knots and straight beyond the first and the last.
    """
    scale = knots[-1] - knots[0]

    def cubic(at: float) -> Array:
        return np.maximum(x - at, 0) ** 3 / scale**3

    def slope(index: int) -> Array:
        return (cubic(knots[index]) - cubic(knots[-1])) * scale / (knots[-1] - knots[index])

    last = slope(len(knots) - 2)
    return np.column_stack([slope(index) - last for index in range(len(knots) - 2)])


def shape_report(cohort: pd.DataFrame, *, reference: Mapping[str, float] | None = None) -> ShapeReport | Refusal:
    """Test age squared, three splines of age and the age × ratio interactions against the paper's model.

    Parameters
    ----------
    cohort
        As for :func:`analytics.paper.regression.fit_vbq_model`.
    reference
        The predictors, age aside, of the patient whose expected VBQ the curves show; what is not given is the mean.

    A cohort that the paper's model cannot be fitted on, or whose predictors are aliased, or where an extension adds
    nothing that can be estimated, is refused.
    """
    plain = fit_vbq_model(cohort)
    if isinstance(plain, Refusal):
        return plain
    rows = complete_rows(cohort, ("vbq", *PREDICTORS))
    if plain.aliased:
        return rows.refusal(Reason("no-estimate-for", {"terms": tuple(plain.aliased)}))
    if len(np.unique(rows.frame["age"])) < 2 * len(RESTRICTED_QUANTILES):
        return rows.refusal(Reason("too-few-ages"))
    base = _Base(rows.frame, reference or {})
    knots = base.knots()
    extensions = [base.extend("quadratic", {"age²": base.age_c**2})]
    extensions += [base.spline(name, places) for name, places in knots.items()]
    extensions += [base.extend(name, columns) for name, columns in base.products().items()]
    if base.unestimated:
        return rows.refusal(Reason("not-estimable-beside-model", {"terms": tuple(sorted(base.unestimated))}))
    interactions = base.interactions()
    if interactions.leverage.max() > 1 - 1e-10:
        return rows.refusal(Reason("no-hc3-errors"))
    return ShapeReport(
        n_rows=rows.n_rows,
        n_used=len(rows.frame),
        extensions=tuple(extensions),
        interactions=Interactions(
            terms=estimates(interactions), robust_terms=estimates(interactions, robust_se(interactions, "HC3"))
        ),
        omitted=rows.omitted,
    )


class _Base:
    """The paper's model on complete rows, ready to be extended."""

    def __init__(self, frame: pd.DataFrame, reference: Mapping[str, float]) -> None:
        self.frame = frame
        self.vbq = frame["vbq"].to_numpy(dtype=np.float64)
        self.age = frame["age"].to_numpy(dtype=np.float64)
        self.age_c = self.age - self.age.mean()
        self.columns, self.names = design_matrix(frame, PREDICTORS)
        self.reference = self.columns.mean(axis=0)
        for name, value in reference.items():
            self.reference[self.names.index(name)] = value
        self.unestimated: set[str] = set()

    def knots(self) -> dict[str, tuple[float, ...]]:
        """Of the two natural splines (3 and 4 degrees of freedom, at even quantiles) and the restricted one."""
        low, high = float(self.age.min()), float(self.age.max())
        places: dict[str, tuple[float, ...]] = {}
        for df in (3, 4):
            inner = np.quantile(self.age, np.arange(1, df) / df)
            places[f"ns_df{df}"] = (low, *(float(value) for value in inner), high)
        places["rcs4"] = tuple(float(value) for value in np.quantile(self.age, RESTRICTED_QUANTILES))
        return places

    def products(self) -> dict[str, dict[str, Array]]:
        """Age times each ratio, both centred."""
        each = {
            f"age:{name}": self.age_c * (self.frame[name] - self.frame[name].mean()).to_numpy()
            for name in ("nlr", "plr")
        }
        return {
            "age_x_nlr": {"age:nlr": each["age:nlr"]},
            "age_x_plr": {"age:plr": each["age:plr"]},
            "age_x_both": each,
        }

    def extend(self, name: str, added: Mapping[str, Array], knots: Sequence[float] = ()) -> Extension:
        """Fit with the added columns and test them jointly."""
        fit = self._fit(added)
        self.unestimated.update(set(added) & set(fit.aliased))
        kept = [term for term in added if term in fit.names]
        return Extension(
            name=name,
            test=joint_test(fit, kept) if kept else JointTest(f=0.0, df1=0, df2=fit.df_resid, p=1.0),
            r2=fit.r2,
            adj_r2=fit.adj_r2,
            aic=fit.aic,
            sse=fit.sse,
            knots=tuple(knots),
            curve=self._curve(fit, knots) if knots and not fit.aliased else (),
        )

    def spline(self, name: str, knots: Sequence[float]) -> Extension:
        """Fit a natural spline of age with these knots."""
        bends = natural_spline(self.age, knots)
        return self.extend(name, {f"age bend {i + 1}": bends[:, i] for i in range(bends.shape[1])}, knots)

    def interactions(self) -> LinearFit:
        """Both interactions with all of age and the ratios centred, under the names ``age_c`` and so on."""
        centred = {name: self.frame[name] - self.frame[name].mean() for name in ("age", "nlr", "plr")}
        frame = self.frame.assign(**{f"{name}_c": values for name, values in centred.items()})
        frame["age_c:nlr_c"] = frame["age_c"] * frame["nlr_c"]
        frame["age_c:plr_c"] = frame["age_c"] * frame["plr_c"]
        predictors = [f"{name}_c" if name in centred else name for name in PREDICTORS]
        columns, names = design_matrix(frame, [*predictors, "age_c:nlr_c", "age_c:plr_c"])
        return fit_linear(self.vbq, columns, names)

    def _fit(self, added: Mapping[str, Array]) -> LinearFit:
        return fit_linear(self.vbq, np.column_stack([self.columns, *added.values()]), (*self.names, *added))

    def _curve(self, fit: LinearFit, knots: Sequence[float]) -> tuple[tuple[float, float], ...]:
        grid = np.array([age for age in GRID_YEARS if self.age.min() <= age <= self.age.max()])
        at = np.tile(self.reference, (len(grid), 1))
        at[:, self.names.index("age")] = grid
        expected = np.column_stack([at, natural_spline(grid, knots)]) @ fit.b
        return tuple(zip(grid.tolist(), expected.tolist(), strict=True))
