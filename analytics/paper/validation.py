"""How far a linear model can be trusted: leave-one-out error, bootstrap intervals and optimism, influence, assumptions.

The bootstrap draws patients with replacement. A sample is a count of each patient, so that all fits of a chunk are
two matrix products on the model's orthonormal columns; nothing is refitted in a loop.

Verification
------------
Leave-one-out error against R (expected/ols_cohort200.json); every bootstrap coefficient against ordinary fits on the
drawn rows themselves (tests/analytics/test_validation.py).

References
----------
Efron B, Tibshirani RJ. An Introduction to the Bootstrap, 1993. Harrell FE, Lee KL, Mark DB. Stat Med 1996;15:361–387
(optimism). Allen DM. Technometrics 1974;16:125–127 (PRESS).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analytics.methods.diagnostics import (
    breusch_pagan,
    breusch_pagan_classic,
    condition_number,
    durbin_watson,
    reset,
    robust_se,
    shapiro,
)
from analytics.methods.linear import (
    CONFIDENCE,
    Array,
    Estimate,
    LinearFit,
    cooks_distance,
    estimates,
    fit_linear,
    press,
)
from analytics.methods.plain import to_plain
from analytics.methods.rows import Refusal, complete_rows
from analytics.paper.regression import PREDICTORS, design_matrix, fit_vbq_model
from analytics.reasons import Reason

BOOTSTRAPS = 2000
CHUNK_CELLS = 500_000
"""Cells of a bootstrap table computed at once: as many as a processor keeps near."""
FEWEST_AT_ONCE = 20
"""Samples that are worth reading all columns for."""
SMALLEST_SHARE = 1e-8
"""A sample whose columns are this close to collinear (of their spread in the cohort) has no fit."""
MOST_FOR_SHAPIRO = 5000
MOST_INFLUENTIAL = 5


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Percentile interval (95 %) of a coefficient over the bootstrap samples."""

    term: str
    ci_low: float
    ci_high: float


@dataclass(frozen=True, kw_only=True)
class Influential:
    """A patient who pulls the fit: Cook's distance and leverage."""

    id: str
    cook: float
    leverage: float


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Of the paper's model on the cohort. ``r2_corrected`` is R² less its bootstrap ``optimism``.

    ``loo_rmse`` is the root mean squared error of predicting each patient from the others, in VBQ units;
    ``unfitted`` counts bootstrap samples that no model fits. ``shapiro_p`` is ``None`` above 5,000 patients;
    ``durbin_watson`` is of the rows as they came; ``condition_number`` is of the predictors' correlations.
    """

    n: int
    loo_rmse: float
    optimism: float
    r2_corrected: float
    intervals: tuple[Interval, ...]
    bootstraps: int
    unfitted: int
    seed: int
    robust_terms: tuple[Estimate, ...]
    breusch_pagan_p: float
    breusch_pagan_classic_p: float
    reset_p: float
    shapiro_p: float | None
    durbin_watson: float
    condition_number: float
    aic: float
    bic: float
    influential: tuple[Influential, ...]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; every number is finite."""
        return to_plain(self)


def paper_engine(cohort: pd.DataFrame) -> tuple[LinearFit, list[str]]:
    """The fit behind :func:`analytics.paper.regression.fit_vbq_model` and the ids of its rows, for who looks inside."""
    frame = complete_rows(cohort, ("vbq", *PREDICTORS)).frame
    columns, names = design_matrix(frame, PREDICTORS)
    return fit_linear(frame["vbq"].to_numpy(dtype=np.float64), columns, names), frame["id"].tolist()


def validate(cohort: pd.DataFrame, *, seed: int, bootstraps: int = BOOTSTRAPS) -> Validation | Refusal:
    """Validate the paper's model on the cohort; refused where the model is, or where a row determines itself.

    Parameters
    ----------
    cohort
        As for :func:`analytics.paper.regression.fit_vbq_model`.
    seed
        Of the bootstrap: the same rows in the same order and the same seed give the same numbers.
    """
    model = fit_vbq_model(cohort)
    if isinstance(model, Refusal):
        return model
    fit, ids = paper_engine(cohort)
    if fit.leverage.max() > 1 - 1e-10:
        reason = Reason("row-leaves-no-model")
        return Refusal(reason=reason, n_rows=model.n_rows, n_used=model.n_used, omitted=model.omitted)
    drawn = list(resample(fit, np.random.default_rng(seed), bootstraps))
    coefficients = np.concatenate([b for b, _ in drawn])
    optimism = float(np.concatenate([gain for _, gain in drawn]).mean())
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(coefficients, (tail, 1 - tail), axis=0)
    return Validation(
        n=fit.n,
        loo_rmse=sqrt(press(fit) / fit.n),
        optimism=optimism,
        r2_corrected=fit.r2 - optimism,
        intervals=tuple(
            Interval(term=name, ci_low=float(low[i]), ci_high=float(high[i])) for i, name in enumerate(fit.names)
        ),
        bootstraps=bootstraps,
        unfitted=bootstraps - len(coefficients),
        seed=seed,
        robust_terms=estimates(fit, robust_se(fit, "HC3")),
        breusch_pagan_p=breusch_pagan(fit).p,
        breusch_pagan_classic_p=breusch_pagan_classic(fit).p,
        reset_p=reset(fit).p,
        shapiro_p=shapiro(fit).p if fit.n <= MOST_FOR_SHAPIRO else None,
        durbin_watson=durbin_watson(fit),
        condition_number=condition_number(fit),
        aic=fit.aic,
        bic=fit.bic,
        influential=_influential(fit, ids),
    )


def resample(fit: LinearFit, rng: np.random.Generator, times: int) -> Iterator[tuple[Array, Array]]:
    """Fit bootstrap samples, chunk by chunk.

    Yields
    ------
    tuple of arrays
        The coefficients, (samples, k), and by how much each sample flatters its own R², (samples,). Samples whose
        columns are collinear are left out.
    """
    columns = columns_of(fit)
    chunk = max(FEWEST_AT_ONCE, CHUNK_CELLS // fit.n)
    for start in range(0, times, chunk):
        yield fit_counted(columns, _drawn(fit.n, min(chunk, times - start), rng))


def _drawn(n: int, samples: int, rng: np.random.Generator) -> Array:
    """How often each of n patients is in each sample, (samples, n); as many drawn at once as a processor keeps near."""
    counts = np.empty((samples, n))
    at_once = max(1, CHUNK_CELLS // n)
    for start in range(0, samples, at_once):
        size = min(at_once, samples - start)
        # Counting drawn patients is several times as fast as drawing the counts (multinomial).
        drawn = rng.integers(n, size=(size, n))
        drawn += n * np.arange(size)[:, None]
        counts[start : start + size] = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
    return counts


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """What all samples of a model share.

    Its orthonormal columns ``q`` (n, k) with their triangle ``r`` (k, k), the ``outcome`` (n,), and the ``products`` of
    which every sample needs the sums: of two columns, of a column and the outcome less its mean, of that, and of its
    square; (n, k(k + 1)/2 + k + 2).
    """

    q: Array
    r: Array
    outcome: Array
    products: Array


def columns_of(fit: LinearFit) -> Columns:
    """The columns of a model, once for all its samples."""
    q, r = np.linalg.qr(fit.design)
    y = fit.outcome - fit.outcome.mean()
    one, other = np.triu_indices(q.shape[1])
    k = q.shape[1]
    # Column by column: at 200,000 rows the parts of one expression would take twice the room of the whole.
    products = np.empty((len(q), len(one) + k + 2))
    for place, (left, right) in enumerate(zip(one, other, strict=True)):
        np.multiply(q[:, left], q[:, right], out=products[:, place])
    np.multiply(q, y[:, None], out=products[:, len(one) : len(one) + k])
    products[:, -2], products[:, -1] = y, y**2
    return Columns(q=q, r=r, outcome=fit.outcome, products=products)


def fit_counted(columns: Columns, counts: Array | NDArray[np.int64]) -> tuple[Array, Array]:
    """Coefficients and R² flattery, as for :func:`resample`, of samples given as counts, (samples, n)."""
    n, k = columns.q.shape
    # One product of matrices holds all that least squares needs of every sample.
    sums = np.asarray(counts, dtype=np.float64) @ columns.products
    one, other = np.triu_indices(k)
    gram = np.empty((len(counts), k, k))
    gram[:, one, other] = gram[:, other, one] = sums[:, : len(one)]
    there = np.linalg.eigvalsh(gram)[:, 0] > SMALLEST_SHARE
    gram, sums = gram[there], sums[there, len(one) :]
    with_y, y, squared = sums[:, :k], sums[:, k], sums[:, k + 1]
    inner = np.linalg.solve(gram, with_y[:, :, None])[:, :, 0]
    # R² in the sample, and of its coefficients on all patients, whose columns are orthonormal.
    left = squared - 2 * np.sum(inner * with_y, axis=1) + np.einsum("bi,bij,bj->b", inner, gram, inner)
    own = 1 - left / (squared - y**2 / n)
    whole = columns.outcome - columns.outcome.mean()
    explained = 2 * inner @ (columns.q.T @ whole) - np.sum(inner**2, axis=1)
    b = np.linalg.solve(columns.r, inner.T).T.astype(np.float64, copy=False)
    b[:, 0] += columns.outcome.mean()
    flattery: Array = own - explained / float(whole @ whole)
    return b, flattery


def _influential(fit: LinearFit, ids: Sequence[str]) -> tuple[Influential, ...]:
    cook = cooks_distance(fit)
    first = np.argsort(-cook, kind="stable")[:MOST_INFLUENTIAL].tolist()
    return tuple(Influential(id=ids[i], cook=float(cook[i]), leverage=float(fit.leverage[i])) for i in first)
