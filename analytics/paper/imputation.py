"""The paper's model with missing predictors imputed several times, beside that of the complete rows.

Who has no BMI is another patient than who has one, so leaving them out may bend the model. Each missing value is drawn
from patients whose prediction is near (predictive mean matching, in chained equations, VBQ among the predictors), which
keeps ranges and classes; the models of all imputations are combined by Rubin's rules. If both models say the same,
leaving out did not matter.

statsmodels' ``MICE`` does the same and takes 25 s for 2,000 rows and 20 imputations, nearly all of it in formulas; this
takes less than one.

Verification
------------
R 4.2.2 (``mice`` 3.15): Rubin's rules with Barnard and Rubin's degrees of freedom (``pool``) to 1e-7 relative; all
with 50 imputations within a tenth of a standard error (tests/analytics/test_imputation.py).

References
----------
van Buuren S. Flexible Imputation of Missing Data, 2nd ed., 2018, 3.4 and 4.5. Rubin DB. Multiple Imputation for
Nonresponse in Surveys, 1987. Barnard J, Rubin DB. Biometrika 1999; 86: 948–955.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analytics.methods.linear import CONFIDENCE, Array, LinearFit, fit_linear, independent_columns
from analytics.methods.plain import to_plain
from analytics.methods.rows import Refusal, as_numbers
from analytics.paper.regression import MINIMUM_ROWS_PER_PARAMETER, PREDICTORS, design_matrix
from analytics.reasons import Reason

IMPUTATIONS = 20
FEWEST_IMPUTATIONS = 5
CELLS = 1_000_000
"""Rows of all imputations together; large cohorts need fewer."""
CYCLES = 5
"""Rounds of the chained equations before an imputation is taken."""
DONORS = 5
"""Patients with the nearest predictions, of whom one lends the value."""
MOST_MISSING = 0.5
"""A predictor that more of the rows lack is not imputed."""


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """A coefficient over all imputations. ``fraction_missing`` is the share of its information that is missing."""

    term: str
    b: float
    se: float
    df: float
    p: float
    ci_low: float
    ci_high: float
    fraction_missing: float


@dataclass(frozen=True, kw_only=True)
class ImputedFit:
    """The model over all imputations of ``n`` rows, of which ``complete`` lack nothing; ``missing`` by predictor."""

    n: int
    complete: int
    imputations: int
    cycles: int
    seed: int
    missing: dict[str, int]
    terms: tuple[Pooled, ...]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        return to_plain(self)


def imputed_model(
    cohort: pd.DataFrame, *, seed: int, predictors: Sequence[str] = PREDICTORS, imputations: int | None = None
) -> ImputedFit | Refusal:
    """Impute and fit.

    Parameters
    ----------
    cohort
        One row per episode with ``id``, ``vbq`` and the predictors; those without a VBQ are left out, because they say
        nothing of it. Eligible rows and those that would be but for what they lack.
    seed
        Of the draws.
    imputations
        As many as :data:`IMPUTATIONS`, fewer for large cohorts, without it.
    """
    names = ("vbq", *predictors)
    numbers = as_numbers(cohort, names)
    unique = ~cohort["id"].astype(str).duplicated().to_numpy()
    values = numbers[unique & np.isfinite(numbers["vbq"]).to_numpy()].to_numpy()
    lacking = ~np.isfinite(values)
    missing = dict(zip(names[1:], lacking.sum(axis=0)[1:].tolist(), strict=True))
    refusal = _unusable(values, lacking, len(cohort), missing)
    if refusal is not None:
        return refusal
    number = imputations or max(FEWEST_IMPUTATIONS, min(IMPUTATIONS, CELLS // len(values)))
    random = np.random.default_rng(seed)
    fits = []
    for _ in range(number):
        filled = pd.DataFrame(_impute(values, lacking, random), columns=list(names))
        fits.append(fit_linear(filled["vbq"].to_numpy(), *design_matrix(filled, predictors)))
    return ImputedFit(
        n=len(values),
        complete=int((~lacking.any(axis=1)).sum()),
        imputations=number,
        cycles=CYCLES,
        seed=seed,
        missing=missing,
        terms=tuple(pool(fits)),
    )


def _unusable(values: Array, lacking: "np.ndarray[Any, Any]", n_rows: int, missing: dict[str, int]) -> Refusal | None:
    def refuse(reason: Reason) -> Refusal:
        return Refusal(reason=reason, n_rows=n_rows, n_used=len(values), omitted={})

    if not lacking.any():
        return refuse(Reason("nothing-to-impute"))
    complete = values[~lacking.any(axis=1)]
    columns = np.column_stack([np.ones(len(complete)), complete[:, 1:]])
    needed = MINIMUM_ROWS_PER_PARAMETER * columns.shape[1]
    if len(complete) < needed:
        about = {"rows": len(complete), "needed": needed, "each": MINIMUM_ROWS_PER_PARAMETER}
        return refuse(Reason("too-few-rows", {**about, "coefficients": columns.shape[1]}))
    if len(independent_columns(columns)) < columns.shape[1]:
        return refuse(Reason("no-estimate-for", {"terms": tuple(missing)}))
    most = tuple(name for name, number in missing.items() if number > MOST_MISSING * len(values))
    return refuse(Reason("too-much-missing", {"terms": most})) if most else None


def _impute(values: Array, lacking: "np.ndarray[Any, Any]", random: np.random.Generator) -> Array:
    """One completed table: begun with values of others at random, then predicted from all other columns in turn."""
    filled = values.copy()
    # Those with fewest gaps come first, as what they predict is surest.
    gaps = lacking.sum(axis=0)
    incomplete = [int(place) for place in np.argsort(gaps, kind="stable") if gaps[place]]
    for place in incomplete:
        filled[lacking[:, place], place] = random.choice(values[~lacking[:, place], place], gaps[place])
    for _ in range(CYCLES):
        for place in incomplete:
            filled[lacking[:, place], place] = _matched(filled, place, lacking[:, place], random)
    return filled


def _matched(filled: Array, place: int, gap: "np.ndarray[Any, Any]", random: np.random.Generator) -> Array:
    """For each gap the value of one of the patients whose prediction is nearest to a drawn prediction of the gap's."""
    others = np.column_stack([np.ones(len(filled)), np.delete(filled, place, axis=1)])
    known, sought, value = others[~gap], others[gap], filled[~gap, place]
    q, r = np.linalg.qr(known)
    b = np.linalg.solve(r, q.T @ value)
    left = value - known @ b
    df = max(1, len(value) - known.shape[1])
    sigma = np.sqrt(left @ left / random.chisquare(df))
    drawn = b + sigma * np.linalg.solve(r, random.standard_normal(len(b)))
    order = np.argsort(known @ b, kind="stable")
    predicted = (known @ b)[order]
    wanted = sought @ drawn
    at = np.searchsorted(predicted, wanted)
    near = np.clip(at[:, None] + np.arange(-DONORS, DONORS), 0, len(predicted) - 1)
    nearest = np.argsort(np.abs(predicted[near] - wanted[:, None]), axis=1, kind="stable")[:, :DONORS]
    chosen = nearest[np.arange(len(wanted)), random.integers(DONORS, size=len(wanted))]
    return np.asarray(value[order[near[np.arange(len(wanted)), chosen]]])


def pool(fits: Sequence[LinearFit]) -> Iterator[Pooled]:
    """Combine the same model of several imputations by Rubin's rules, with Barnard and Rubin's degrees of freedom."""
    from scipy import stats

    m, complete = len(fits), fits[0].df_resid
    for place, name in enumerate(fits[0].names):
        b = np.array([fit.b[place] for fit in fits])
        within = float(np.mean([fit.se[place] ** 2 for fit in fits]))
        between = float(b.var(ddof=1))
        total = within + (1 + 1 / m) * between
        share = (1 + 1 / m) * between / total
        observed = (complete + 1) / (complete + 3) * complete * (1 - share)
        df = observed if share == 0 else 1 / (1 / ((m - 1) / share**2) + 1 / observed)
        mean, se = float(b.mean()), float(np.sqrt(total))
        half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, df)) * se
        ratio = (1 + 1 / m) * between / within
        yield Pooled(
            term=name, b=mean, se=se, df=df, p=float(2 * stats.t.sf(abs(mean / se), df)), ci_low=mean - half,
            ci_high=mean + half, fraction_missing=(ratio + 2 / (df + 3)) / (ratio + 1),
        )  # fmt: skip
