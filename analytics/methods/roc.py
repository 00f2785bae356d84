"""How well a marker tells two groups apart: ROC area, Youden's cut and what that cut is worth.

Cuts lie midway between neighbouring observed values, so that "at" and "above" a cut are the same. The apparent
Youden index of a cut chosen on the same patients is too good; the bootstrap says by how much.

Verification
------------
R 4.2.2 ``pROC`` on the synthetic cohort of 200: areas, DeLong variances, comparisons and cuts to 1e-9; bootstrap
intervals and optimism within simulation error (tests/analytics/test_roc.py).

References
----------
DeLong ER, DeLong DM, Clarke-Pearson DL. Biometrics 1988;44:837–845. Sun X, Xu W. IEEE Signal Process Lett
2014;21:1389–1393 (its fast form). Youden WJ. Cancer 1950;3:32–35. Wilson EB. J Am Stat Assoc 1927;22:209–212.
Harrell FE, Lee KL, Mark DB. Stat Med 1996;15:361–387 (optimism).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analytics.methods.linear import CONFIDENCE, Array
from analytics.methods.plain import to_plain
from analytics.methods.rows import Refusal
from analytics.reasons import Reason

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]

BOOTSTRAPS = 2000
MINIMUM_PER_GROUP = 10
"""Patients that each group needs."""

CHUNK_CELLS = 500_000
"""Cells of a bootstrap table computed at once: as many as a processor keeps near."""

MULTINOMIAL_FROM = 4
"""Patients for each value of the marker from which on counts are drawn faster than patients."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of ``n`` with Wilson's 95 % interval; ``None`` where ``n`` is 0."""

    value: float | None
    n: int
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, kw_only=True)
class Characteristics:
    """What calling a patient positive above ``cut`` is worth; ``youden`` is sensitivity + specificity − 1."""

    cut: float
    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int
    sensitivity: Share
    specificity: Share
    ppv: Share
    npv: Share
    youden: float


@dataclass(frozen=True, kw_only=True)
class Roc:
    """A marker against an outcome, higher values expected in the positive.

    ``youden`` is the cut of the highest Youden index (the lowest such cut where ``n_best`` are equal),
    ``closest_topleft`` that nearest to a perfect one. ``cut_interval`` holds the central 95 % (and the median) of the
    cuts that bootstrap samples choose, ``cut_interval_80`` the central 80 %; ``youden_corrected`` is the apparent index
    less ``optimism``. ``circular`` names why the numbers flatter the marker where outcome and marker are not
    independent, else it is ``None``.
    """

    n: int
    positive: int
    prevalence: float
    auc: float
    auc_variance: float
    auc_ci_low: float
    auc_ci_high: float
    auc_bootstrap: tuple[float, float]
    youden: Characteristics
    n_best: int
    closest_topleft: Characteristics
    cut_interval: tuple[float, float, float]
    cut_interval_80: tuple[float, float]
    sensitivity_interval: tuple[float, float, float]
    specificity_interval: tuple[float, float, float]
    optimism: float
    optimism_se: float
    youden_corrected: float
    bootstraps: int
    seed: int
    circular: str | None

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; every number is finite."""
        return to_plain(self)


@dataclass(frozen=True, kw_only=True)
class AucComparison:
    """Two markers on the same patients: difference of the areas, DeLong's z and two-sided p."""

    difference: float
    z: float | None
    p: float | None


def area_under_curve(marker: Array, positive: Flags) -> float:
    """Share of the pairs of one positive and one negative in which the positive has the higher value; ties half.

    Both groups must have somebody.
    """
    from scipy import stats

    n1 = int(positive.sum())
    ranks = stats.rankdata(marker)
    return float((ranks[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * (len(marker) - n1)))


def roc(
    marker: ArrayLike,
    outcome: ArrayLike,
    *,
    seed: int,
    bootstraps: int = BOOTSTRAPS,
    circular: str | None = None,
) -> Roc | Refusal:
    """Judge a marker and choose its cut.

    Parameters
    ----------
    marker, outcome
        (n,) each; ``outcome`` is 1 for the positive, 0 for the others. Pairs not finite in both are left out.
    seed
        Of the bootstrap: the same data and seed give the same numbers.
    circular
        Why marker and outcome are not independent, if so; it is carried on the result.

    Raises
    ------
    ValueError
        The two are not equally long, or an outcome is neither 0 nor 1.
    """
    values, positive, n_rows = _pairs(marker, outcome)
    groups = int(positive.sum()), int((~positive).sum())
    if (reason := _unusable(values, groups)) is not None:
        return Refusal(reason=reason, n_rows=n_rows, n_used=len(values), omitted=_omitted(n_rows, len(values)))
    curve = _Curve(values, positive)
    area, variance = curve.area(), _delong_covariance(values[None, :], positive)[0, 0]
    half = _normal_quantile() * sqrt(variance)
    youden = curve.sensitivity + curve.specificity - 1
    best = np.flatnonzero(youden > youden.max() - 1e-12)
    corner = (1 - curve.sensitivity) ** 2 + (1 - curve.specificity) ** 2
    resampled = curve.resample(np.random.default_rng(seed), bootstraps)
    optimism = resampled.own_youden - resampled.original_youden
    return Roc(
        n=len(values),
        positive=groups[0],
        prevalence=groups[0] / len(values),
        auc=area,
        auc_variance=float(variance),
        auc_ci_low=max(0.0, area - half),
        auc_ci_high=min(1.0, area + half),
        auc_bootstrap=_central(resampled.area)[::2],
        youden=curve.characteristics(int(best[0])),
        n_best=len(best),
        closest_topleft=curve.characteristics(int(np.argmin(corner))),
        cut_interval=_central(resampled.cut),
        cut_interval_80=_central(resampled.cut, level=0.8)[::2],
        sensitivity_interval=_central(resampled.sensitivity),
        specificity_interval=_central(resampled.specificity),
        optimism=float(optimism.mean()),
        optimism_se=float(optimism.std(ddof=1) / sqrt(bootstraps)),
        youden_corrected=float(youden[best[0]] - optimism.mean()),
        bootstraps=bootstraps,
        seed=seed,
        circular=circular,
    )


def characteristics(marker: ArrayLike, outcome: ArrayLike, cut: float) -> Characteristics:
    """What a given cut is worth on these patients; a value at the cut counts as positive.

    Raises
    ------
    ValueError
        As for :func:`roc`.
    """
    values, positive, _ = _pairs(marker, outcome)
    above = values >= cut
    return _characteristics(
        cut,
        true_positive=int((above & positive).sum()),
        false_positive=int((above & ~positive).sum()),
        positives=int(positive.sum()),
        negatives=int((~positive).sum()),
    )


def compare_areas(first: ArrayLike, second: ArrayLike, outcome: ArrayLike) -> AucComparison | Refusal:
    """Compare two markers on the patients that have both (DeLong's test for paired curves).

    Raises
    ------
    ValueError
        As for :func:`roc`.
    """
    from scipy import stats

    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    both, positive, n_rows = _complete([one, two], outcome)
    values, other = both
    groups = int(positive.sum()), int((~positive).sum())
    for marker in (values, other):
        if (reason := _unusable(marker, groups)) is not None:
            return Refusal(reason=reason, n_rows=n_rows, n_used=len(values), omitted=_omitted(n_rows, len(values)))
    difference = area_under_curve(values, positive) - area_under_curve(other, positive)
    covariance = _delong_covariance(both, positive)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if variance <= 1e-15:
        return AucComparison(difference=difference, z=None, p=None)
    z = difference / sqrt(variance)
    return AucComparison(difference=difference, z=z, p=float(2 * stats.norm.sf(abs(z))))


def share(part: int, n: int) -> Share:
    """``part`` of ``n`` with Wilson's interval."""
    if n == 0:
        return Share(value=None, n=0, ci_low=None, ci_high=None)
    z = _normal_quantile()
    p = part / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return Share(value=p, n=n, ci_low=max(0.0, middle - half), ci_high=min(1.0, middle + half))


@dataclass(frozen=True, kw_only=True)
class _Resampled:
    """(bootstraps,) each: what the samples choose, and what their choices are worth on the original patients."""

    area: Array
    cut: Array
    sensitivity: Array
    specificity: Array
    own_youden: Array
    original_youden: Array


class _Curve:
    """The curve over all cuts between neighbouring values, from low cuts to high ones."""

    def __init__(self, values: Array, positive: Flags) -> None:
        self.values, index = np.unique(values, return_inverse=True)
        self.cuts = (self.values[:-1] + self.values[1:]) / 2
        # Patients at each value, with and without the outcome.
        self.with_outcome = np.bincount(index[positive], minlength=len(self.values))
        self.without = np.bincount(index[~positive], minlength=len(self.values))
        self.positives, self.negatives = int(self.with_outcome.sum()), int(self.without.sum())
        self.sensitivity = _above(self.with_outcome)
        self.specificity = 1 - _above(self.without)

    def area(self) -> float:
        return float(_areas(self.with_outcome, self.without, np.cumsum(self.without)))

    def characteristics(self, index: int) -> Characteristics:
        return _characteristics(
            float(self.cuts[index]),
            true_positive=round(float(self.sensitivity[index]) * self.positives),
            false_positive=round(float(1 - self.specificity[index]) * self.negatives),
            positives=self.positives,
            negatives=self.negatives,
        )

    def resample(self, rng: np.random.Generator, times: int) -> _Resampled:
        """Draw both groups with replacement, each at its own size, and choose the cut again in each sample."""
        parts = list(self._resampled(rng, times))
        return _Resampled(
            **{name: np.concatenate([part[name] for part in parts]) for name in _Resampled.__annotations__}
        )

    def _resampled(self, rng: np.random.Generator, times: int) -> Iterator[dict[str, Array]]:
        chunk = max(1, CHUNK_CELLS // len(self.values))
        for start in range(0, times, chunk):
            size = min(chunk, times - start)
            yield self._chosen(_drawn(rng, self.with_outcome, size), _drawn(rng, self.without, size))

    def _chosen(self, with_outcome: Counts, without: Counts) -> dict[str, Array]:
        """Youden's cut in each sample, (samples, values) of counts, and what it is worth there and on the original."""
        below = np.cumsum(without, axis=1)
        # Youden's index times both groups, in whole numbers: of equal ones the first is found.
        scaled = below * self.positives
        scaled -= np.cumsum(with_outcome, axis=1) * self.negatives
        best = np.argmax(scaled[:, :-1], axis=1)
        rows = np.arange(len(best))
        youden = scaled[rows, best] / (self.positives * self.negatives)
        specificity = below[rows, best] / self.negatives
        cuts = self._cuts_between_drawn(with_outcome, without, best)
        # A cut may coincide with an original value that the sample lacks; who is at the cut counts as above it.
        original = np.searchsorted(self.values, cuts, side="left") - 1
        return {
            "area": _areas(with_outcome, without, below),
            "cut": cuts,
            "sensitivity": youden + 1 - specificity,
            "specificity": specificity,
            "own_youden": youden,
            "original_youden": (self.sensitivity + self.specificity - 1)[original],
        }

    def _cuts_between_drawn(self, with_outcome: Counts, without: Counts, best: NDArray[np.intp]) -> Array:
        """Midway between the neighbouring values that the sample holds, which may lie further apart."""
        rows = np.arange(len(best))

        def held(place: NDArray[np.intp], step: int, end: int) -> NDArray[np.intp]:
            while True:
                empty = (with_outcome[rows, place] + without[rows, place] == 0) & (place != end)
                if not empty.any():
                    return place
                place = place + step * empty

        low, high = held(best, -1, 0), held(best + 1, 1, len(self.values) - 1)
        return np.asarray((self.values[low] + self.values[high]) / 2)


def _drawn(rng: np.random.Generator, held: Counts, samples: int) -> Counts:
    """Draw as many patients as there are, with replacement; (samples, values) of counts by value."""
    people, values = int(held.sum()), len(held)
    if people > MULTINOMIAL_FROM * values:
        return np.asarray(rng.multinomial(people, held / people, size=samples), dtype=np.int64)
    drawn = rng.integers(people, size=(samples, people))
    # In place: another table of this size costs as much as drawing. All are inside; clipping only saves the check.
    np.take(np.repeat(np.arange(values), held), drawn, out=drawn, mode="clip")
    drawn += values * np.arange(samples)[:, None]
    return np.bincount(drawn.ravel(), minlength=samples * values).reshape(samples, values)


def _above(counts: Counts) -> Array:
    """Share of the counts above each cut; the last axis runs over the values, one cut fewer."""
    total = counts.sum(axis=-1, keepdims=True)
    return np.asarray(1 - np.cumsum(counts, axis=-1)[..., :-1] / total)


def _areas(with_outcome: Counts, without: Counts, below: Counts) -> Array:
    """The areas; ``below`` counts who without the outcome is at or below each value."""
    doubled = np.einsum("...k,...k->...", with_outcome, 2 * below - without)
    return np.asarray(doubled / (2 * with_outcome.sum(axis=-1) * without.sum(axis=-1)))


def _characteristics(
    cut: float, *, true_positive: int, false_positive: int, positives: int, negatives: int
) -> Characteristics:
    true_negative, false_negative = negatives - false_positive, positives - true_positive
    return Characteristics(
        cut=cut,
        true_positive=true_positive,
        false_positive=false_positive,
        true_negative=true_negative,
        false_negative=false_negative,
        sensitivity=share(true_positive, positives),
        specificity=share(true_negative, negatives),
        ppv=share(true_positive, true_positive + false_positive),
        npv=share(true_negative, true_negative + false_negative),
        youden=true_positive / positives + true_negative / negatives - 1,
    )


def _delong_covariance(markers: Array, positive: Flags) -> Array:
    """Covariance of the areas of several markers, (m, m); ``markers`` is (m, n)."""
    from scipy import stats

    n1, n0 = int(positive.sum()), int((~positive).sum())
    ranks = stats.rankdata(markers, axis=1)
    inside = stats.rankdata(markers[:, positive], axis=1), stats.rankdata(markers[:, ~positive], axis=1)
    of_positive = (ranks[:, positive] - inside[0]) / n0
    of_negative = 1 - (ranks[:, ~positive] - inside[1]) / n1
    return np.atleast_2d(np.cov(of_positive)) / n1 + np.atleast_2d(np.cov(of_negative)) / n0


def _pairs(marker: ArrayLike, outcome: ArrayLike) -> tuple[Array, Flags, int]:
    markers, positive, n_rows = _complete([np.asarray(marker, dtype=np.float64)], outcome)
    return markers[0], positive, n_rows


def _complete(markers: Sequence[Array], outcome: ArrayLike) -> tuple[Array, Flags, int]:
    """The patients finite in all markers and the outcome: (m, n) and (n,), and how many there were before."""
    flags = np.asarray(outcome, dtype=np.float64)
    for marker in markers:
        if marker.shape != flags.shape or marker.ndim != 1:
            raise ValueError(f"{marker.shape} and {flags.shape} are not pairs")
    table = np.vstack([*markers, flags])
    table = table[:, np.isfinite(table).all(axis=0)]
    if not np.isin(table[-1], (0, 1)).all():
        raise ValueError("an outcome is 1 (positive) or 0")
    # In an order of its own, so that no last digit depends on the order of the rows.
    table = table[:, np.lexsort(table)]
    return table[:-1], table[-1] > 0, len(flags)


def _unusable(values: Array, groups: Sequence[int]) -> Reason | None:
    if min(groups) < MINIMUM_PER_GROUP:
        return Reason("too-few-of-outcome", {"with": groups[0], "without": groups[1], "needed": MINIMUM_PER_GROUP})
    return Reason("marker-constant") if np.ptp(values) == 0 else None


def _omitted(n_rows: int, n_used: int) -> dict[Reason, int]:
    return {Reason("no-finite-pair"): n_rows - n_used} if n_rows > n_used else {}


def _central(values: Array, *, level: float = CONFIDENCE) -> tuple[float, float, float]:
    tail = (1 - level) / 2
    low, middle, high = (float(value) for value in np.quantile(values, (tail, 0.5, 1 - tail)))
    return low, middle, high


def _normal_quantile() -> float:
    from scipy import stats

    return float(stats.norm.ppf(0.5 + CONFIDENCE / 2))
