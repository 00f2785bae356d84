"""What the markers are worth for decisions where the cohort has an outcome: calibration and net benefit.

A risk model of the three markers (logistic) is calibrated on new patients when its log odds, refitted there, have slope
1 and intercept 0. On its own patients it always is, so both are corrected for optimism: models of bootstrap samples are
refitted on all patients. Net benefit weighs those who are found against those who are troubled for nothing, by the
probability of the outcome from which on somebody would act; the tiers are compared with acting on everybody and nobody.

Verification
------------
R 4.2.2: coefficients and calibration of a model on other patients (``glm``) to 1e-7 relative, net benefit by the
formula of the reference to 1e-9 (tests/analytics/test_more_statistics.py).

References
----------
Cox DR. Biometrika 1958; 45: 562–565. Steyerberg EW. Clinical Prediction Models, 2nd ed., 2019, chapters 5 and 15.
Vickers AJ, Elkin EB. Med Decis Making 2006; 26: 565–574.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analytics.episodes.cuts import MARKERS, Cuts
from analytics.episodes.tiers import Judged
from analytics.methods.linear import Array, independent_columns
from analytics.methods.plain import to_plain
from analytics.methods.roc import Share, share
from analytics.methods.rows import CompleteRows, Refusal, complete_rows
from analytics.paper.logistic import Likelihood, Maximum
from analytics.paper.regression import design_matrix
from analytics.reasons import Reason
from analytics.records import Tier

EVENTS_PER_COEFFICIENT = 10
"""Patients of the smaller class for each coefficient of the risk model."""
BOOTSTRAPS = 200
CELLS = 4_000_000
"""Rows of all bootstrap samples together: large cohorts need fewer."""
FEWEST_BOOTSTRAPS = 20
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 11))
"""Probabilities of the outcome from which on somebody would act."""
GROUPS = 10


@dataclass(frozen=True, kw_only=True)
class Decile:
    """Patients of a tenth of the predicted risk: the mean prediction, and the share with the outcome."""

    predicted: float
    observed: Share


@dataclass(frozen=True, kw_only=True)
class Benefit:
    """Net benefit per patient at a threshold probability: of acting on the flagged, on those and the intermediate, on
    all, and by the risk model (on its own patients). Nobody: 0."""

    threshold: float
    flagged: float
    flagged_or_intermediate: float
    everybody: float
    model: float


@dataclass(frozen=True, kw_only=True)
class RiskReport:
    """The outcome and the markers.

    ``slope`` and ``intercept`` are those of the calibration, corrected for optimism by ``bootstraps`` samples that
    could be fitted. ``tiers`` are shares with the outcome by tier under ``cuts``.
    """

    outcome: str
    n_rows: int
    n_used: int
    events: int
    coefficients: dict[str, float]
    slope: float
    intercept: float
    bootstraps: int
    seed: int
    deciles: tuple[Decile, ...]
    cuts: dict[str, float]
    tiers: dict[str, Share]
    benefits: tuple[Benefit, ...]
    omitted: dict[Reason, int]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        return to_plain(self)


def risk_report(cohort: pd.DataFrame, *, outcome: str, cuts: Cuts, seed: int) -> RiskReport | Refusal:
    """Judge markers and tiers against an outcome.

    Parameters
    ----------
    cohort
        One row per episode with ``id``, the markers and ``outcome`` (1, 0 or missing).
    cuts
        What makes the tiers.
    seed
        Of the bootstrap.
    """
    rows = complete_rows(cohort, (*MARKERS, outcome))
    frame = rows.frame
    positive = frame[outcome].to_numpy(dtype=np.float64)
    columns, names = design_matrix(frame, MARKERS)
    refusal = _unusable(rows, columns, positive)
    if refusal is not None:
        return refusal
    peak = Likelihood(columns, positive, firth=False).maximise()
    if not peak.converged:
        return rows.refusal(Reason("markers-separate-outcome"))
    predicted = _probability(columns, peak)
    again = list(_calibrations(columns, positive, np.random.default_rng(seed)))
    intercept, slope = np.mean(again, axis=0).tolist() if again else (0.0, 1.0)
    tiers = np.array([_tier(values, cuts) for values in frame[list(MARKERS)].itertuples(index=False)])
    return RiskReport(
        outcome=outcome,
        n_rows=rows.n_rows,
        n_used=len(frame),
        events=int(positive.sum()),
        coefficients=dict(zip(names, peak.b.tolist(), strict=True)),
        slope=slope,
        intercept=intercept,
        bootstraps=len(again),
        seed=seed,
        deciles=tuple(_deciles(predicted, positive)),
        cuts={name: getattr(cuts, name) for name in MARKERS},
        tiers={one.value: share(int(positive[tiers == one].sum()), int((tiers == one).sum())) for one in Tier},
        benefits=tuple(_benefit(at, tiers, predicted, positive) for at in THRESHOLDS),
        omitted=rows.omitted,
    )


def _unusable(rows: CompleteRows, columns: Array, positive: Array) -> Refusal | None:
    smaller = int(min(positive.sum(), len(positive) - positive.sum()))
    needed = EVENTS_PER_COEFFICIENT * columns.shape[1]
    if smaller < needed:
        return rows.refusal(Reason("too-few-with-outcome", {"rows": smaller, "needed": needed}))
    if len(independent_columns(columns)) < columns.shape[1]:
        return rows.refusal(Reason("markers-constant"))
    return None


def calibrate_on(log_odds: Array, positive: Array) -> tuple[float, float] | None:
    """Intercept and slope of the outcome on a model's log odds; ``None`` where they separate it."""
    columns = np.column_stack([np.ones(len(log_odds)), log_odds])
    peak = Likelihood(columns, positive, firth=False).maximise()
    return (float(peak.b[0]), float(peak.b[1])) if peak.converged else None


def _calibrations(columns: Array, positive: Array, random: np.random.Generator) -> Iterator[tuple[float, float]]:
    n = len(positive)
    for _ in range(max(FEWEST_BOOTSTRAPS, min(BOOTSTRAPS, CELLS // n))):
        drawn = random.integers(n, size=n)
        of_sample = positive[drawn]
        if not 0 < of_sample.sum() < n:
            continue
        peak = Likelihood(columns[drawn], of_sample, firth=False).maximise()
        found = calibrate_on(columns @ peak.b, positive) if peak.converged else None
        if found is not None:
            yield found


def _probability(columns: Array, peak: Maximum) -> Array:
    from scipy.special import expit

    return np.asarray(expit(columns @ peak.b), dtype=np.float64)


def _deciles(predicted: Array, positive: Array) -> Iterator[Decile]:
    for group in np.array_split(np.argsort(predicted, kind="stable"), GROUPS):
        yield Decile(predicted=float(predicted[group].mean()), observed=share(int(positive[group].sum()), len(group)))


def _tier(values: Any, cuts: Cuts) -> Tier:
    vbq, nlr, plr = values
    return Judged(vbq=float(vbq), nlr=float(nlr), plr=float(plr), cuts=cuts).tier


def _benefit(threshold: float, tiers: "np.ndarray[Any, Any]", predicted: Array, positive: Array) -> Benefit:
    return Benefit(
        threshold=threshold,
        flagged=net_benefit(tiers == Tier.FLAGGED, positive, threshold),
        flagged_or_intermediate=net_benefit(tiers != Tier.LOWER, positive, threshold),
        everybody=net_benefit(np.ones(len(positive), dtype=np.bool_), positive, threshold),
        model=net_benefit(predicted >= threshold, positive, threshold),
    )


def net_benefit(acted_on: "np.ndarray[Any, np.dtype[np.bool_]]", positive: Array, threshold: float) -> float:
    """True positives less false positives weighted by the odds of the threshold, per patient (Vickers and Elkin)."""
    found = float((positive[acted_on] == 1).sum())
    troubled = float(acted_on.sum()) - found
    return (found - troubled * threshold / (1 - threshold)) / len(positive)
