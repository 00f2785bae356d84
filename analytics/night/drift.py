"""Whether new patients still follow a model that was frozen: a change of scanner, protocol, reader or patients.

Comparing tonight's coefficients with last night's detects nothing, because both hold nearly the same rows. Here the
rows that came after the frozen model are watched for a step: from some patient on, at one scanner or at all of them,
VBQ is higher or lower than the same patient would have had before.

Every such step is a column of its own (0 before it, 1 from it on) added to the regression of all rows, frozen and new,
and has a likelihood ratio against no step at all. Their sum over all possible begins is the Shiryaev–Roberts
statistic, averaged over the sizes of :data:`STEPS`, both directions, and the scanners. Because the regression's
coefficients are the same unknowns with and without the step, their error is part of the ratio: a small frozen cohort
does not make more false alarms, as it does when its predictions are taken for the truth. Without a step the statistic
grows on average by one for each new patient, so that the probability of any false alarm among T patients is at most
T / :data:`EVIDENCE_LIMIT`, whatever the cohort; simulated it is about a third of that.

A year has a season: ratios, and VBQ with them, move by a few hundredths and come back. A yearly wave of unknown phase
is among the regression's unknowns, its size held near 0 (:data:`SEASON_SD`), so that it takes from a step what a season
would explain. What is a change but for that wave is said as such (:attr:`Drift.perhaps_season`) and is no alarm.

A trend is a row of small steps, and the wave takes much of each. A steady one since the frozen model
(:data:`TRENDS`) is a candidate of its own: a season comes back, a trend does not.

A scanner that no frozen patient had may differ from its first patient on; that one begin counts for as much as those
with :data:`FIRST_OF_SCANNER` other patients, so that a replaced scanner is found early and under its own name.

The mean residual of the last :data:`WINDOW` and the CUSUM are shown beside it, because people know how to read them.

Verification
------------
``python -m tests.benchmarks.drift_power`` simulates false alarms and how soon a step is found,
``python -m tests.benchmarks.drift_years`` years with seasons and trends.

References
----------
Shiryaev AN. On optimum methods in quickest detection problems. Theory Probab Appl 1963; 8: 22–46. Roberts SW. A
comparison of some control chart procedures. Technometrics 1966; 8: 411–430. Pollak M. Average run lengths of an
optimal method of detecting a change in distribution. Ann Stat 1987; 15: 749–779. Page ES. Continuous inspection
schemes. Biometrika 1954; 41: 100–115.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import exp, log, sqrt
from typing import Any

import numpy as np
import pandas as pd

from analytics.methods.linear import CONFIDENCE, Array, LinearFit, fit_linear
from analytics.methods.plain import to_plain
from analytics.methods.rows import Refusal, complete_rows
from analytics.paper.regression import PREDICTORS, design_matrix
from analytics.reasons import Reason

WINDOW = 60
"""Newest patients whose mean residual is shown."""

FEWEST = 20
"""New patients below which nothing is judged: a mean of fewer follows single patients."""

STEPS = (0.05, 0.1, 0.2)
"""Sizes of a step that are looked for, in VBQ units; the middle one is half a standard deviation of the paper's VBQ."""

EVIDENCE_LIMIT = 3000.0
"""Evidence beyond which it is an alarm."""

PERHAPS_LIMIT = 1300.0
"""Evidence without a season beyond which a change is said, though it is no alarm: an alarm's limit before seasons were
known, so that a true step is said as early as then."""

TRENDS = {0.01: 75.0, 0.02: 45.0, 0.04: 30.0}
"""Trends that are looked for, in VBQ units a month of :data:`DAYS_OF_MONTH` days, each with how many begins of a step
it counts for. They and the limit are chosen together: false alarms stay as rare as without trends."""

DAYS_OF_MONTH = 30.4

SEASON_SD = 0.02
"""Standard deviation, in VBQ units, of either half of a yearly wave (its amplitude is 0.025 on average) that the
regression allows for. Larger ones hide steps and trends."""

DAYS_OF_YEAR = 365.25

FIRST_OF_SCANNER = 15.0
"""How many begins elsewhere the first patient of a new scanner counts for."""

OUTLIER_SD = 3.0
"""Residuals count at most this many standard deviations, so that one mistyped value is no step."""

FEWEST_AT_SCANNER = 10
"""New patients at a scanner below which no step of its own is looked for."""

MOST_LOG_RATIO = 600.0
"""Larger likelihood ratios count as this one."""

CUSUM_SLACK = 0.25
"""Residual standard deviations that the CUSUM forgives each patient (k)."""

OUTCOME = "vbq"
DATES = ("mri_date", "surgery_date", "id")
"""Order of the patients; undated ones come first."""

Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """One scanner's part of the window: patients, and the mean residual in VBQ units."""

    name: str
    n: int
    mean_residual: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """The likeliest step: ``n`` patients from the MRI date ``since`` on, at ``scanner`` (``None``: at all of them).

    ``size`` is its least-squares estimate in VBQ units with a 95 % interval, which is too narrow by itself because the
    begin was chosen by the same data.
    """

    scanner: str | None
    since: str
    n: int
    size: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True, kw_only=True)
class Trend:
    """A steady trend since the MRI date ``since``: VBQ units a month by least squares, with a 95 % interval."""

    since: str
    per_month: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True, kw_only=True)
class Drift:
    """New patients against a frozen model.

    ``n_new`` patients are not in it. ``evidence`` is the Shiryaev–Roberts statistic beyond what a season explains,
    ``step`` the step that it speaks for most and ``trend`` the trend, where it speaks for that more (else ``None``);
    ``evidence_with_season`` and ``step_with_season`` are the same as if there were no
    seasons. The newest ``window`` patients have the mean residual (VBQ units, observed less predicted by the frozen
    model) and its ``z``; the CUSUMs of the same residuals are in their standard deviations.
    """

    n_frozen: int
    n_new: int
    evidence: float
    step: Step
    trend: Trend | None
    evidence_with_season: float
    step_with_season: Step
    window: int
    mean_residual: float
    z: float
    cusum_up: float
    cusum_down: float
    strata: tuple[Stratum, ...]

    @property
    def alarm(self) -> bool:
        """Whether a person should look."""
        return self.evidence > EVIDENCE_LIMIT

    @property
    def perhaps_season(self) -> bool:
        """Whether there is a change that a season may explain as well."""
        return not self.alarm and self.evidence_with_season > PERHAPS_LIMIT

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        return to_plain(self) | {"alarm": self.alarm, "perhaps_season": self.perhaps_season}


def check_drift(frozen: pd.DataFrame, cohort: pd.DataFrame) -> Drift | Refusal:
    """Judge the rows of a cohort that a frozen model has not seen.

    Parameters
    ----------
    frozen
        The rows the model was fitted on, as :func:`analytics.paper.regression.fit_vbq_model` takes them.
    cohort
        Today's rows, with ``mri_date`` and ``surgery_date`` (ISO texts, empty where unknown) and ``scanner_stratum``
        as well. A row whose id stands in ``frozen`` is not new, whatever it says today.

    Returns
    -------
    Drift | Refusal
        A refusal below :data:`FEWEST` new complete rows, or where the frozen rows determine no model.
    """
    known = complete_rows(frozen, (OUTCOME, *PREDICTORS))
    new = cohort[~cohort["id"].astype(str).isin(set(known.frame["id"]))]
    rows = complete_rows(new, (OUTCOME, *PREDICTORS))
    if len(rows.frame) < FEWEST:
        return rows.refusal(Reason("too-few-new-rows", {"rows": len(rows.frame), "needed": FEWEST}))
    if len(known.frame) < len(PREDICTORS) + 3:
        return rows.refusal(Reason("frozen-rows-too-few"))
    ordered = _with_particulars(rows.frame, new).sort_values(list(DATES), ignore_index=True)
    before = _with_particulars(known.frame, frozen)
    old = _fit(before)
    if not old.sigma > 0:
        return rows.refusal(Reason("frozen-rows-exact"))
    everybody = pd.concat([before, ordered])
    scanners = frozenset(before["scanner_stratum"])
    return _describe(
        old,
        ordered,
        _find_step(_fit(everybody, season_sd=SEASON_SD / old.sigma), ordered, scanners),
        _find_step(_fit(everybody), ordered, scanners),
    )


def _with_particulars(rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Complete rows with the dates and the scanner of the table they come from."""
    particulars = table.assign(id=table["id"].astype(str)).drop_duplicates("id")[[*DATES, "scanner_stratum"]]
    return rows.merge(particulars.astype("str"), on="id", validate="one_to_one")


def _fit(frame: pd.DataFrame, *, season_sd: float | None = None) -> LinearFit:
    """The model; with the standard deviation of a yearly wave in residual ones, that wave is among its unknowns.

    What is known of the wave before is two rows more, which come first: its halves are 0 give or take that much.
    """
    outcome, (columns, names) = frame[OUTCOME].to_numpy(dtype=np.float64), design_matrix(frame, PREDICTORS)
    if season_sd is None:
        return fit_linear(outcome, columns, names)
    wave = np.column_stack([columns, _yearly(frame["mri_date"])])
    known = np.zeros((2, wave.shape[1]))
    known[0, -2] = known[1, -1] = 1 / season_sd
    return fit_linear(
        np.concatenate([[0.0, 0.0], outcome]), np.concatenate([known, wave]), (*names, "season cos", "season sin")
    )


def _yearly(dates: pd.Series) -> Array:
    """Cosine and sine of the day of the year, (n, 2); 0 where there is no date."""
    days = pd.to_datetime(dates, format="%Y-%m-%d", errors="coerce").dt.day_of_year.to_numpy(dtype=np.float64)
    angle = 2 * np.pi * days / DAYS_OF_YEAR
    return np.asarray(np.nan_to_num(np.column_stack([np.cos(angle), np.sin(angle)])))


@dataclass(frozen=True, kw_only=True)
class _Steps:
    """All steps of one scanner (or of all), one for each new patient it may begin with.

    ``first`` are the patients' places among the new ones, ``n`` how many follow from there on; ``sums`` of their
    residuals in standard deviations and the ``information`` about a step (its variance is σ²/information).
    """

    scanner: str | None
    first: "np.ndarray[Any, np.dtype[np.intp]]"
    n: Array
    sums: Array
    information: Array

    def whole(self) -> "_Steps":
        """Only the step of all of the scanner's patients."""
        return replace(
            self, first=self.first[-1:], n=self.n[-1:], sums=self.sums[-1:], information=self.information[-1:]
        )

    def log_ratios(self, size: float) -> Array:
        """Log likelihood ratio of each step of this size (in residual standard deviations, signed)."""
        return np.asarray(size * self.sums - size**2 * self.information / 2)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """The evidence for any step or trend among the newest rows, and what it speaks for most."""

    evidence: float
    step: Step
    trend: Trend | None


def _find_step(fit: LinearFit, new: pd.DataFrame, scanners: frozenset[str]) -> _Found:
    """Look for a step in a fit of all rows of which ``new`` come last; ``scanners`` are those of the others."""
    evidence = 0.0
    likeliest: list[tuple[float, int, _Steps]] = []
    for weight, steps in _candidates(fit, new, scanners):
        for size in STEPS:
            for signed in (size / fit.sigma, -size / fit.sigma):
                # Beyond any use as a number; what is certain needs no more digits.
                ratios = np.minimum(steps.log_ratios(signed), MOST_LOG_RATIO)
                evidence += weight / (2 * len(STEPS)) * float(np.exp(ratios).sum())
                place = int(np.argmax(ratios))
                likeliest.append((float(ratios[place]) + log(weight), place, steps))
    added, trend = _find_trend(fit, new)
    _, place, steps = max(likeliest, key=lambda one: one[0])
    information = float(steps.information[place])
    size, half = fit.sigma * float(steps.sums[place]) / information, _t_quantile(fit) * fit.sigma / sqrt(information)
    first = int(steps.first[place])
    step = Step(
        scanner=steps.scanner if steps.scanner is not None else _only_scanner(new, first, scanners),
        since=str(new["mri_date"].iloc[first]),
        n=int(steps.n[place]),
        size=size,
        ci_low=size - half,
        ci_high=size + half,
    )
    return _Found(evidence=evidence + added, step=step, trend=trend if added > evidence else None)


def _find_trend(fit: LinearFit, new: pd.DataFrame) -> tuple[float, Trend | None]:
    """What steady trends since the first new patient add to the evidence, and the trend by least squares; nothing where
    all were examined on one day, or no day is known."""
    days = pd.to_datetime(new["mri_date"], format="%Y-%m-%d", errors="coerce")
    months = ((days - days.min()).dt.days / DAYS_OF_MONTH).fillna(0.0).to_numpy(dtype=np.float64)
    shared = fit.design[-len(new) :].T @ months
    information = float(months @ months - shared @ fit.cov_unscaled @ shared)
    if not information > 1e-6 * float(months @ months):
        return 0.0, None
    total = float(months @ _clipped(fit, len(new)))
    evidence = 0.0
    for size, weight in TRENDS.items():
        for signed in (size / fit.sigma, -size / fit.sigma):
            ratio = min(signed * total - signed**2 * information / 2, MOST_LOG_RATIO)
            evidence += weight / 2 * exp(ratio)
    slope, half = fit.sigma * total / information, _t_quantile(fit) * fit.sigma / sqrt(information)
    since = str(days.min().date())
    return evidence, Trend(since=since, per_month=slope, ci_low=slope - half, ci_high=slope + half)


def _clipped(fit: LinearFit, number: int) -> Array:
    """The newest residuals in standard deviations, an outlier counted as no more than :data:`OUTLIER_SD`."""
    return np.asarray(np.clip(fit.residuals[-number:] / fit.sigma, -OUTLIER_SD, OUTLIER_SD))


def _only_scanner(new: pd.DataFrame, first: int, scanners: frozenset[str]) -> str | None:
    """The scanner of all patients from a place on, where those before were not all there too."""
    names = new["scanner_stratum"]
    since = set(names.iloc[first:])
    if len(since) != 1 or not scanners.union(names.iloc[:first]) - since - {""}:
        return None
    return str(since.pop())


def _candidates(fit: LinearFit, new: pd.DataFrame, scanners: frozenset[str]) -> Iterator[tuple[float, _Steps]]:
    """The steps of all new patients, and of each scanner where there are several; half of the weight each. Beside these
    the one step of each new scanner that begins with its first patient."""
    names = new["scanner_stratum"].to_numpy()
    everybody = np.ones(len(new), dtype=np.bool_)
    enough = [name for name in sorted(set(names)) if (names == name).sum() >= FEWEST_AT_SCANNER]
    single = [name for name in enough if (names == name).sum() < len(names)]
    yield (0.5 if single else 1.0), _steps(fit, everybody, scanner=None)
    for name in single:
        yield 0.5 / len(single), _steps(fit, names == name, scanner=name)
    for name in enough:
        if name and scanners - {"", name} and name not in scanners:
            yield FIRST_OF_SCANNER, _steps(fit, names == name, scanner=name).whole()


def _steps(fit: LinearFit, at_scanner: Flags, *, scanner: str | None) -> _Steps:
    residuals = _clipped(fit, len(at_scanner))
    chosen = np.flatnonzero(at_scanner)
    # From the newest patient back: a step that begins with a patient holds all that follow.
    design = np.cumsum(fit.design[-len(at_scanner) :][chosen][::-1], axis=0)
    n = np.arange(1, len(chosen) + 1, dtype=np.float64)
    information = n - np.einsum("ij,jk,ik->i", design, fit.cov_unscaled, design)
    sums = np.cumsum(residuals[chosen][::-1])
    usable = information > 1e-6 * n
    return _Steps(
        scanner=scanner,
        first=chosen[::-1][usable],
        n=n[usable],
        sums=sums[usable],
        information=information[usable],
    )


def _describe(old: LinearFit, new: pd.DataFrame, found: _Found, with_season: _Found) -> Drift:
    columns, names = design_matrix(new, PREDICTORS)
    design = columns[:, [names.index(name) for name in old.names]]
    residuals = new[OUTCOME].to_numpy(dtype=np.float64) - design @ old.b
    last = min(WINDOW, len(new))
    mean = float(residuals[-last:].mean())
    centre = design[-last:].mean(axis=0)
    # The frozen coefficients have an error of their own, shared by all new patients.
    error = old.sigma * sqrt(1 / last + float(centre @ old.cov_unscaled @ centre))
    return Drift(
        n_frozen=old.n,
        n_new=len(new),
        evidence=found.evidence,
        step=found.step,
        trend=found.trend,
        evidence_with_season=with_season.evidence,
        step_with_season=with_season.step,
        window=last,
        mean_residual=mean,
        z=mean / error,
        cusum_up=float(cusum(residuals / old.sigma)[-1]),
        cusum_down=float(cusum(-residuals / old.sigma)[-1]),
        strata=_strata(new["scanner_stratum"].iloc[-last:], residuals[-last:]),
    )


def cusum(deviations: Array) -> Array:
    """Upper tabular CUSUM after each deviation (in standard deviations): max(0, before + deviation − slack)."""
    sums = np.empty(len(deviations))
    total = 0.0
    for index, deviation in enumerate(deviations.tolist()):
        total = max(0.0, total + deviation - CUSUM_SLACK)
        sums[index] = total
    return sums


def _strata(names: pd.Series, residuals: Array) -> tuple[Stratum, ...]:
    groups = pd.Series(residuals).groupby(names.to_numpy())
    return tuple(
        Stratum(name=str(name), n=len(group), mean_residual=float(group.mean())) for name, group in sorted(groups)
    )


def _t_quantile(fit: LinearFit) -> float:
    from scipy import stats

    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, fit.df_resid))
