"""Logistic regression of high VBQ on the paper's predictors: maximum likelihood, Firth's where the groups separate.

Where a combination of predictors separates the groups the likelihood has no finite maximum, and what a program
prints then is where it gave up. Separation is decided exactly, by linear programming; Firth's penalised likelihood
with profile intervals takes its place, and the result says so.

Verification
------------
R 4.2.2 (``glm``, ``MASS`` profile intervals) on the synthetic cohort of 200, three scalings: coefficients to 1e-7,
profile intervals to 1e-5. R's ``logistf`` on the endometrial cancer data: coefficients and profile intervals to 1e-5
(tests/analytics/test_logistic.py).

References
----------
Firth D. Bias reduction of maximum likelihood estimates. Biometrika 1993;80:27–38. Heinze G, Schemper M. A solution to
the problem of separation in logistic regression. Stat Med 2002;21:2409–2419. Konis K. Linear programming algorithms
for detecting separated data in binary logistic regression models. University of Oxford, 2007.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, isfinite, log, sqrt
from typing import Any

import numpy as np
import pandas as pd

from analytics.methods.linear import CONFIDENCE, INTERCEPT, Array, independent_columns
from analytics.methods.plain import to_plain
from analytics.methods.roc import area_under_curve
from analytics.methods.rows import Refusal, complete_rows
from analytics.paper.regression import design_matrix
from analytics.paper.sensitivity import LOG_PREDICTORS, with_log_ratios
from analytics.reasons import Reason

MINIMUM_EVENTS_PER_PARAMETER = 10
"""Patients of the smaller group that each coefficient needs (the paper: EPV > 10–15)."""

MAXIMUM_STEPS = 100
MODERATE_LOG_ODDS = 15.0
"""Fitted log odds below this size at a converged maximum are no sign of separated groups."""

STEP_TOLERANCE = 1e-9
"""Largest change of a fitted log odds at which the maximum is reached."""

HOSMER_LEMESHOW_GROUPS = 10

LEAST_SPLIT = 10
"""Rows of each group; fewer may be split by chance."""

WELL_CONDITIONED = 1e-3
"""Least pivot of the scaled information with which a step keeps ten digits without QR."""


@dataclass(frozen=True, kw_only=True)
class LogisticTerm:
    """One coefficient on the log-odds scale, and its odds ratio with 95 % intervals.

    By maximum likelihood ``p`` is Wald's; by Firth's method it is the penalised likelihood ratio's, and ``z`` and
    Wald's interval, which mean nothing there, are ``None``.
    """

    term: str
    b: float
    se: float
    z: float | None
    p: float
    odds_ratio: float
    wald_low: float | None
    wald_high: float | None
    profile_low: float
    profile_high: float


@dataclass(frozen=True, kw_only=True)
class LogisticFit:
    """A fitted model of VBQ ≥ ``cut``.

    ``method`` is ``maximum likelihood`` or ``Firth``; ``per_sd`` has the standard deviation (n − 1) of each predictor
    that was divided by it. What only the unpenalised likelihood gives is ``None`` with Firth's; the Hosmer–Lemeshow
    test is ``None`` where the fitted probabilities do not fall into ten groups.
    """

    cut: float
    method: str
    n_rows: int
    n_used: int
    events: int
    per_sd: dict[str, float]
    terms: tuple[LogisticTerm, ...]
    log_likelihood: float | None
    null_log_likelihood: float | None
    aic: float | None
    mcfadden_r2: float | None
    nagelkerke_r2: float | None
    hosmer_lemeshow_chi2: float | None
    hosmer_lemeshow_df: int | None
    hosmer_lemeshow_p: float | None
    auc: float
    brier: float
    omitted: dict[Reason, int]
    aliased: tuple[str, ...]
    separated_by: tuple[str, ...] = ()
    """With Firth's method: predictors of which each separates the groups by itself; none where only several do."""

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; every number is finite."""
        return to_plain(self)


def logistic_model(
    cohort: pd.DataFrame,
    *,
    cut: float,
    predictors: Sequence[str] = LOG_PREDICTORS,
    per_sd: Sequence[str] = ("ln_nlr", "ln_plr"),
    minimum_events_per_parameter: int = MINIMUM_EVENTS_PER_PARAMETER,
) -> LogisticFit | Refusal:
    """Model VBQ ≥ ``cut``, or say why not.

    Parameters
    ----------
    cohort
        As for :func:`analytics.paper.regression.fit_vbq_model`.
    cut
        The paper's is 2.90, the median of its cohort.
    predictors
        ``ln_nlr`` and ``ln_plr`` are the natural logarithms of the ratios.
    per_sd
        Which of them are centred and divided by their standard deviation, so that their odds ratios are per SD.

    Raises
    ------
    ValueError
        ``cut`` is not finite.
    """
    if not isfinite(cut):
        raise ValueError(f"VBQ has no group at or above {cut}")
    rows = complete_rows(with_log_ratios(cohort), ("vbq", *predictors))
    frame = rows.frame
    high = (frame["vbq"].to_numpy(dtype=np.float64) >= cut).astype(np.float64)
    smaller = int(min(high.sum(), len(high) - high.sum()))
    if smaller == 0 or len(frame) < len(predictors) + 3:
        return rows.refusal(Reason("too-few-in-a-group", {"patients": smaller, "cut": cut}))
    scales = {name: float(frame[name].std(ddof=1)) for name in per_sd if np.ptp(frame[name]) > 0}
    columns, names = design_matrix(_standardised(frame, scales), predictors)
    kept = independent_columns(columns)
    needed = minimum_events_per_parameter * len(kept)
    if smaller < needed:
        return rows.refusal(
            Reason(
                "too-few-in-a-group-for-model",
                {
                    "patients": smaller,
                    "cut": cut,
                    "needed": needed,
                    "each": minimum_events_per_parameter,
                    "coefficients": len(kept),
                },
            )
        )
    likelihood = Likelihood(columns[:, kept], high, firth=False)
    peak = _moderate_maximum(likelihood)
    firth = peak is None and separated(columns[:, kept], high)
    if peak is None:
        likelihood = Likelihood(columns[:, kept], high, firth=firth)
        peak = likelihood.maximise()
    if not peak.converged:
        return rows.refusal(Reason("no-maximum"))
    fitted = _logistic(likelihood.columns @ peak.b)
    try:
        terms = tuple(likelihood.term(peak, index, names[kept[index]]) for index in range(len(kept)))
    except OverflowError:
        return rows.refusal(Reason("odds-ratio-beyond-numbers"))
    return LogisticFit(
        cut=cut,
        method="Firth" if firth else "maximum likelihood",
        n_rows=rows.n_rows,
        n_used=len(high),
        events=int(high.sum()),
        per_sd=scales,
        terms=terms,
        **_goodness(peak.value, high, fitted, k=len(kept), penalised=firth),
        auc=area_under_curve(fitted, high > 0),
        brier=float(np.mean((fitted - high) ** 2)),
        omitted=rows.omitted,
        aliased=tuple(name for index, name in enumerate(names) if index not in kept),
        separated_by=_separating(columns, [names[index] for index in kept], kept, high) if firth else (),
    )


def split_by(cohort: pd.DataFrame, *, cut: float, predictors: Sequence[str] = LOG_PREDICTORS) -> tuple[str, ...]:
    """Predictors that each tell VBQ ≥ ``cut`` from below without one error, in :data:`LEAST_SPLIT` rows each at least.

    Nothing in a patient does: such a column was made from VBQ, or sorted apart from it.
    """
    frame = with_log_ratios(cohort)
    found = []
    for name in predictors:
        given = frame[["vbq", name]].astype("float64").dropna()
        low, high = (given.loc[side, name] for side in (given["vbq"] < cut, given["vbq"] >= cut))
        apart = len(low) and len(high) and (low.max() < high.min() or high.max() < low.min())
        if apart and min(len(low), len(high)) >= LEAST_SPLIT:
            found.append(name)
    return tuple(found)


def _separating(columns: Array, names: Sequence[str], kept: Sequence[int], high: Array) -> tuple[str, ...]:
    return tuple(
        name
        for name, index in zip(names, kept, strict=True)
        if name != INTERCEPT and separated(columns[:, [0, index]], high)
    )


def _moderate_maximum(likelihood: "Likelihood") -> "Maximum | None":
    """The maximum, if it is at moderate odds: it exists there only where nothing separates the groups.

    ``None``: the linear programme of :func:`separated` has to say what it is.
    """
    try:
        peak = likelihood.maximise()
    except np.linalg.LinAlgError:  # the information vanished on the way to infinity
        return None
    moderate = float(np.abs(likelihood.columns @ peak.b).max()) < MODERATE_LOG_ODDS
    return peak if peak.converged and moderate else None


def _standardised(frame: pd.DataFrame, scales: dict[str, float]) -> pd.DataFrame:
    return frame.assign(**{name: (frame[name] - frame[name].mean()) / sd for name, sd in scales.items()})


def separated(columns: Array, high: Array) -> bool:
    """Whether a combination of the columns separates the groups, completely or but for ties.

    Parameters
    ----------
    columns
        (n, k), of full rank, the column of ones among them.
    high
        (n,), 1 or 0.
    """
    from scipy.optimize import linprog

    scaled = columns / np.abs(columns).max(axis=0)
    toward = scaled * (2 * high - 1)[:, None]
    found = linprog(-toward.sum(axis=0), A_ub=-toward, b_ub=np.zeros(len(high)), bounds=(-1, 1), method="highs")
    return bool(-found.fun > 1e-6)


@dataclass(frozen=True, kw_only=True)
class Maximum:
    """Where a (penalised) log-likelihood is highest."""

    b: Array
    value: float
    converged: bool


class Likelihood:
    """The log-likelihood of a logistic model, with Jeffreys' penalty for Firth's method.

    ``columns`` is (n, k) and of full rank, ``high`` (n,) of 1 and 0.
    """

    def __init__(self, columns: Array, high: Array, *, firth: bool) -> None:
        self.columns = columns
        self.high = high
        self.firth = firth

    def value(self, odds: Array) -> float:
        """The log-likelihood at these log odds, (n,); −∞ where the information vanishes."""
        likelihood = float(self.high @ odds - np.logaddexp(0, odds).sum())
        if not self.firth:
            return likelihood
        diagonal = np.abs(np.diag(_root_information(self.columns, odds)))
        return likelihood + float(np.log(diagonal).sum()) if diagonal.min() > 0 else -np.inf

    def maximise(self, start: Array | None = None, *, fixed: int | None = None) -> Maximum:
        """Climb by Newton's method with halved steps; the coefficient ``fixed`` stays where ``start`` has it."""
        k = self.columns.shape[1]
        free = [index for index in range(k) if index != fixed]
        columns = self.columns if fixed is None else self.columns[:, free]
        b = np.zeros(k) if start is None else start.astype(np.float64)
        odds = self.columns @ b
        value = self.value(odds)
        for _ in range(MAXIMUM_STEPS):
            step, moved = self._newton_step(columns, odds)
            while (higher := self.value(odds + moved)) < value - 1e-12 * abs(value) and np.abs(step).max() > 1e-14:
                step, moved = step / 2, moved / 2
            b[free] += step
            odds, value = odds + moved, higher
            if np.abs(moved).max() < STEP_TOLERANCE:
                return Maximum(b=b, value=value, converged=True)
        return Maximum(b=b, value=value, converged=False)

    def term(self, peak: Maximum, index: int, name: str) -> LogisticTerm:
        """One coefficient of the maximum with its test and intervals.

        Raises
        ------
        OverflowError
            An odds ratio or a limit of it is beyond floating-point numbers.
        """
        from scipy import stats

        covariance = self.covariance(peak)[index]
        b, se, along = float(peak.b[index]), sqrt(covariance[index]), covariance / covariance[index]
        half = float(stats.norm.ppf(0.5 + CONFIDENCE / 2)) * se
        if self.firth:
            p = float(stats.chi2.sf(2 * (peak.value - self._profile(peak, index, 0.0, along)), 1))
        else:
            p = float(2 * stats.norm.sf(abs(b / se)))
        low, high = (self._profile_bound(peak, index, side, se=se, along=along) for side in (-1, 1))
        return LogisticTerm(
            term=name,
            b=b,
            se=se,
            z=None if self.firth else b / se,
            p=p,
            odds_ratio=exp(b),
            wald_low=None if self.firth else exp(b - half),
            wald_high=None if self.firth else exp(b + half),
            profile_low=exp(low),
            profile_high=exp(high),
        )

    def _newton_step(self, columns: Array, odds: Array) -> tuple[Array, Array]:
        """The next step of the coefficients of ``columns``, and of the log odds, (n,)."""
        fitted = _logistic(odds)
        weights = fitted * _logistic(-odds)
        score = self.high - fitted
        if self.firth:
            q = np.linalg.qr(self.columns * np.sqrt(weights)[:, None]).Q
            score = score + np.sum(q**2, axis=1) * (0.5 - fitted)
        step = _solve_information(columns, weights, columns.T @ score)
        moved = columns @ step
        # No fitted log odds moves by more than 5 at once, so that the weights stay above zero.
        share = min(1.0, 5.0 / max(float(np.abs(moved).max()), 1e-300))
        return np.asarray(step * share), np.asarray(moved * share)

    def covariance(self, peak: Maximum) -> Array:
        """Of the coefficients at the maximum, (k, k): the inverse of the information."""
        inverse = np.linalg.inv(_root_information(self.columns, self.columns @ peak.b))
        return np.asarray(inverse @ inverse.T)

    def _profile(self, peak: Maximum, index: int, at: float, along: Array) -> float:
        """The highest value with a coefficient fixed, looked for where near the maximum the others follow it."""
        start = peak.b + (at - peak.b[index]) * along
        start[index] = at
        return self.maximise(start, fixed=index).value

    def _profile_bound(self, peak: Maximum, index: int, side: int, *, se: float, along: Array) -> float:
        """Where the highest likelihood with this coefficient fixed has fallen by the χ² quantile's half."""
        from scipy import stats
        from scipy.optimize import brentq

        reach = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))

        def beyond(distance: float) -> float:
            fall = peak.value - self._profile(peak, index, float(peak.b[index]) + side * distance, along)
            return sqrt(max(0.0, 2 * fall)) - reach

        distance = _first_beyond(beyond, reach * se)
        return float(peak.b[index]) + side * float(brentq(beyond, 0.0, distance, xtol=1e-7 * se, rtol=1e-12))


def _first_beyond(beyond: Callable[[float], float], distance: float) -> float:
    """Double a distance until the function is positive there; it grows without bound where the maximum is unique."""
    while beyond(distance) <= 0:
        distance *= 2
    return distance


def _logistic(odds: Array) -> Array:
    from scipy.special import expit

    return np.asarray(expit(odds), dtype=np.float64)


def _root_information(columns: Array, odds: Array) -> Array:
    """The triangular R with R'R the information; its diagonal multiplies to the root of the determinant."""
    return _triangle(columns, _logistic(odds) * _logistic(-odds))


def _triangle(columns: Array, weights: Array) -> Array:
    return np.asarray(np.linalg.qr(columns * np.sqrt(weights)[:, None], mode="r"), dtype=np.float64)


def _solve_information(columns: Array, weights: Array, score: Array) -> Array:
    """The step that the information turns a score into; by Cholesky's factor where its digits suffice, else by QR."""
    information = columns.T @ (columns * weights[:, None])
    scale = np.sqrt(np.diag(information))
    if scale.min() > 0:
        correlation = information / np.outer(scale, scale)
        try:
            if np.linalg.cholesky(correlation).diagonal().min() > WELL_CONDITIONED:
                return np.asarray(np.linalg.solve(correlation, score / scale) / scale)
        except np.linalg.LinAlgError:
            pass  # QR needs the root of the digits only
    r = _triangle(columns, weights)
    return np.asarray(np.linalg.solve(r, np.linalg.solve(r.T, score)))


def _goodness(value: float, high: Array, fitted: Array, *, k: int, penalised: bool) -> dict[str, Any]:
    """The measures that the likelihood and its fitted probabilities give; all ``None`` for a penalised one."""
    n, events = len(high), float(high.sum())
    null = events * log(events / n) + (n - events) * log(1 - events / n)
    test = None if penalised else _hosmer_lemeshow(high, fitted)
    return {
        "log_likelihood": None if penalised else value,
        "null_log_likelihood": None if penalised else null,
        "aic": None if penalised else 2 * k - 2 * value,
        "mcfadden_r2": None if penalised else 1 - value / null,
        "nagelkerke_r2": None if penalised else (1 - exp(2 * (null - value) / n)) / (1 - exp(2 * null / n)),
        "hosmer_lemeshow_chi2": test[0] if test else None,
        "hosmer_lemeshow_df": test[1] if test else None,
        "hosmer_lemeshow_p": test[2] if test else None,
    }


def _hosmer_lemeshow(high: Array, fitted: Array) -> tuple[float, int, float] | None:
    """Observed against expected in tenths of the fitted probability: χ², degrees of freedom, p."""
    from scipy import stats

    edges = np.quantile(fitted, np.arange(1, HOSMER_LEMESHOW_GROUPS) / HOSMER_LEMESHOW_GROUPS)
    group = np.searchsorted(edges, fitted, side="left")
    count = np.bincount(group, minlength=HOSMER_LEMESHOW_GROUPS)
    if count.min() == 0:
        return None
    observed = np.bincount(group, weights=high, minlength=HOSMER_LEMESHOW_GROUPS)
    expected = np.bincount(group, weights=fitted, minlength=HOSMER_LEMESHOW_GROUPS)
    chi2 = float(np.sum((observed - expected) ** 2 / expected + (observed - expected) ** 2 / (count - expected)))
    df = HOSMER_LEMESHOW_GROUPS - 2
    return chi2, df, float(stats.chi2.sf(chi2, df))
