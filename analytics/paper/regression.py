"""The paper's model: VBQ on age, sex, smoking, diabetes, body mass index, NLR and PLR, by ordinary least squares.

A model that cannot be fitted honestly is a :class:`Refusal` with the reason in words, never numbers that look right.

Verification
------------
R 4.2.2 (``lm``, ``car``, ``effectsize``) on the synthetic cohort of 200: all coefficients, tests, intervals, VIF,
standardised coefficients and partial R² to 1e-7 relative or better (tests/analytics/test_regression.py).

References
----------
Table 2 of the paper and its notes: β_std = β × SD(X)/SD(Y), partial R² = t²/(t² + residual df), effects per 1 NLR and
per 50 PLR. Riley RD et al. Stat Med 2019;38:1262–1275 (rows for a continuous outcome). Marquardt DW. Technometrics
1970;12:591–612 (VIF above 10); James G et al. An Introduction to Statistical Learning, 2021, 3.3.3 (5 or 10).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from analytics.methods.linear import (
    INTERCEPT,
    Array,
    LinearFit,
    estimates,
    externally_studentised,
    fit_linear,
    variance_inflation,
)
from analytics.methods.plain import to_plain
from analytics.methods.rows import CompleteRows, Refusal, alike, complete_rows
from analytics.reasons import Reason, Value

PREDICTORS = ("age", "sex_male", "smoking", "diabetes", "bmi", "nlr", "plr")
"""The seven of the paper's Table 2."""

EFFECT_UNITS = {"nlr": 1.0, "plr": 50.0}
"""Steps in which the paper reports the two ratios."""

MINIMUM_ROWS_PER_PARAMETER = 10
"""Fewest rows for each estimated coefficient of a model (the paper: EPV > 10–15)."""

ROWS_FOR_RESIDUAL_SD = 233
"""Rows beside those that the coefficients take, so that the residual SD is known to 10 % (Riley, criterion iii)."""

HIGH_VIF = 5.0
"""A predictor that the others explain so far that its variance is inflated this much is named."""

WITHHELD_VIF = 10.0
"""Above it the effect of a predictor is not shown: it is a difference of large numbers."""

HIGH_LEVERAGE = 0.5
"""A row that determines more than half of its own fitted value is named."""

OUTLIER_P = 0.05
"""A row whose studentised residual is this improbable after Bonferroni's correction is named."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """One line of Table 2; the last three are ``None`` for the intercept."""

    term: str
    b: float
    se: float
    t: float
    p: float
    ci_low: float
    ci_high: float
    beta_std: float | None
    vif: float | None
    partial_r2: float | None

    @property
    def withheld(self) -> bool:
        """Whether the predictors explain each other too far for its effect to be shown."""
        return self.vif is not None and self.vif > WITHHELD_VIF


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A change of the outcome for a step of ``per`` units of a predictor, with its 95 % interval."""

    term: str
    per: float
    b: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True, kw_only=True)
class OlsFit:
    """A fitted model.

    ``omitted`` counts the rows left out by reason (they add up to ``n_rows - n_used``), ``aliased`` names the columns
    left out because they are constant or determined by others, ``alerts`` says which rows pull the fit or
    contradict each other (they are in it), which predictors nearly determine each other, and whether the rows are few.
    ``effects`` leaves out the ratios whose effect is withheld (:data:`WITHHELD_VIF`).
    """

    n_rows: int
    n_used: int
    df_resid: int
    r2: float
    adj_r2: float
    residual_sd: float
    terms: tuple[Term, ...]
    effects: tuple[Effect, ...]
    omitted: dict[Reason, int]
    aliased: tuple[str, ...]
    alerts: tuple[Reason, ...]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; every number is finite; ``alerts`` in words, beside their codes."""
        return to_plain(self)


def design_matrix(frame: pd.DataFrame, predictors: Sequence[str]) -> tuple[Array, tuple[str, ...]]:
    """The columns of a model and their names, the column of ones first."""
    columns = np.column_stack([np.ones(len(frame)), frame[list(predictors)].to_numpy(dtype=np.float64)])
    return columns, (INTERCEPT, *predictors)


def fit_vbq_model(
    cohort: pd.DataFrame,
    *,
    outcome: str = "vbq",
    predictors: Sequence[str] = PREDICTORS,
    minimum_rows_per_parameter: int = MINIMUM_ROWS_PER_PARAMETER,
) -> OlsFit | Refusal:
    """Fit the paper's model, or say why not.

    Parameters
    ----------
    cohort
        One row per episode with ``id``, the outcome and the predictors. Rows not eligible are the caller's to leave
        out; repeated ids and rows that are not complete are left out here, and counted.
    minimum_rows_per_parameter
        Rows that each estimated coefficient (the intercept counts) needs.

    Raises
    ------
    KeyError
        A column is missing.
    """
    rows = complete_rows(cohort, (outcome, *predictors))
    frame = rows.frame
    if len(frame) < len(predictors) + 3:
        return rows.refusal(
            Reason("fewer-rows-than-coefficients", {"rows": len(frame), "coefficients": len(predictors) + 1})
        )
    y = frame[outcome].to_numpy(dtype=np.float64)
    columns, names = design_matrix(frame, predictors)
    if np.ptp(y) == 0:
        return rows.refusal(Reason("outcome-constant", {"outcome": outcome, "rows": len(frame)}))
    fit = fit_linear(y, columns, names)
    needed = minimum_rows_per_parameter * len(fit.names)
    if fit.n < needed:
        return rows.refusal(
            Reason(
                "too-few-rows",
                {
                    "rows": fit.n,
                    "needed": needed,
                    "each": minimum_rows_per_parameter,
                    "coefficients": len(fit.names),
                },
            )
        )
    if fit.sse <= np.finfo(np.float64).eps * float(np.sum((y - y.mean()) ** 2)):
        return rows.refusal(Reason("outcome-exact", {"outcome": outcome}))
    return _ols_fit(fit, rows)


def _ols_fit(fit: LinearFit, rows: CompleteRows) -> OlsFit:
    terms = _terms(fit)
    return OlsFit(
        n_rows=rows.n_rows,
        n_used=fit.n,
        df_resid=fit.df_resid,
        r2=fit.r2,
        adj_r2=fit.adj_r2,
        residual_sd=fit.sigma,
        terms=terms,
        effects=ratio_effects(terms),
        omitted=rows.omitted,
        aliased=fit.aliased,
        alerts=(
            *rows.alerts,
            *alike(rows.frame),
            *influence_alerts(fit, rows.frame["id"].tolist()),
            *collinear(terms),
            *few_rows(fit.n, len(fit.names)),
        ),
    )


def _terms(fit: LinearFit) -> tuple[Term, ...]:
    vif = variance_inflation(fit)
    outcome_sd = fit.outcome.std(ddof=1)
    terms = []
    for index, one in enumerate(estimates(fit)):
        inner = one.term != INTERCEPT
        terms.append(
            Term(
                **asdict(one),
                beta_std=float(one.b * fit.design[:, index].std(ddof=1) / outcome_sd) if inner else None,
                vif=vif.get(one.term),
                partial_r2=one.t**2 / (one.t**2 + fit.df_resid) if inner else None,
            )
        )
    return tuple(terms)


def ratio_effects(terms: Sequence[Term]) -> tuple[Effect, ...]:
    """The two ratios in the paper's steps, those left out whose effect is withheld."""
    steps = [(term, EFFECT_UNITS[term.term]) for term in terms if term.term in EFFECT_UNITS and not term.withheld]
    return tuple(
        Effect(term=one.term, per=per, b=one.b * per, ci_low=one.ci_low * per, ci_high=one.ci_high * per)
        for one, per in steps
    )


def collinear(terms: Sequence[Term]) -> Iterator[Reason]:
    """Which predictors nearly determine each other, those whose effects are withheld apart."""
    named = {term.term: term.vif for term in terms if term.vif is not None and term.vif > HIGH_VIF}
    withheld = {name: vif for name, vif in named.items() if vif > WITHHELD_VIF}
    kept = {name: vif for name, vif in named.items() if name not in withheld}
    if withheld:
        yield Reason("effects-withheld", {"terms": tuple(withheld), "vif": max(withheld.values())})
    if kept:
        yield Reason("predictors-collinear", {"terms": tuple(kept), "vif": max(kept.values())})


def few_rows(rows: int, coefficients: int) -> Iterator[Reason]:
    """Whether the rows are fewer than the residual standard deviation needs."""
    needed = ROWS_FOR_RESIDUAL_SD + coefficients
    if rows < needed:
        yield Reason("few-rows-for-residual-sd", {"rows": rows, "needed": needed})


def influence_alerts(fit: LinearFit, ids: Sequence[str]) -> tuple[Reason, ...]:
    """Which rows determine themselves (leverage) or do not fit (Bonferroni outlier test), by id."""
    from scipy import stats

    studentised = externally_studentised(fit)
    alerts = [
        Reason("row-of-high-leverage", {"id": ids[i], "leverage": float(fit.leverage[i])})
        for i in np.flatnonzero(fit.leverage > HIGH_LEVERAGE).tolist()
    ]
    bonferroni = np.minimum(1.0, fit.n * 2 * stats.t.sf(np.abs(studentised), fit.df_resid - 1))
    for i in np.flatnonzero(bonferroni < OUTLIER_P).tolist():
        p = float(bonferroni[i])
        shown = f"{p:.4f}" if p >= 0.0001 else "< 0.0001"
        about: dict[str, Value] = {"id": ids[i], "residual": float(studentised[i]), "p": shown}
        alerts.append(Reason("row-does-not-fit", about))
    return tuple(alerts)
