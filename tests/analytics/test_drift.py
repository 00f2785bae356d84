"""Drift against figures worked out by hand, and against the one thing it is for: a shifted scanner."""

from dataclasses import replace
from math import exp, sqrt

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from analytics.methods.rows import Refusal
from analytics.night.drift import DAYS_OF_MONTH, EVIDENCE_LIMIT, SEASON_SD, STEPS, TRENDS, Drift, check_drift, cusum
from analytics.paper.regression import PREDICTORS, OlsFit, fit_vbq_model


def people(n: int, *, seed: int, prefix: str, shift: float = 0.0) -> pd.DataFrame:
    """The paper's variables with a residual standard deviation of 0.14; one patient a day, scanners in turn."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "id": [f"{prefix}{number:04d}" for number in range(n)],
            "age": random.normal(64, 8, n), "sex_male": random.integers(0, 2, n), "smoking": random.integers(0, 2, n),
            "diabetes": random.integers(0, 2, n), "bmi": random.normal(24, 3, n), "nlr": random.gamma(4, 0.8, n),
            "plr": random.normal(230, 40, n),
            "mri_date": [str(day.date()) for day in pd.date_range("2026-01-01", periods=n)],
            "surgery_date": "", "scanner_stratum": ["A" if number % 2 else "B" for number in range(n)],
        }
    )  # fmt: skip
    return frame.assign(vbq=1.6 + 0.011 * frame.age + 0.02 * frame.nlr + random.normal(0, 0.14, n) + shift)


def average_people(frozen: pd.DataFrame, n: int, deltas: np.ndarray) -> pd.DataFrame:
    """New patients who all have the frozen means of the predictors; the model predicts the frozen mean of VBQ."""
    new = people(n, seed=5, prefix="N")
    for name in PREDICTORS:
        new[name] = frozen[name].mean()
    return new.assign(vbq=frozen.vbq.mean() + deltas)


def test_mean_and_cusum_are_those_worked_out_by_hand() -> None:
    """At the means of the predictors a prediction's variance is σ²/n, so z = δ / (σ √(1/60 + 1/n))."""
    frozen = people(100, seed=1, prefix="F")
    fit = fit_vbq_model(frozen)
    assert isinstance(fit, OlsFit)
    sigma = fit.residual_sd
    deltas = np.concatenate([np.full(10, -sigma), np.full(60, 0.5 * sigma)])
    drift = check_drift(frozen, average_people(frozen, 70, deltas))
    assert isinstance(drift, Drift)
    assert (drift.n_frozen, drift.n_new, drift.window) == (100, 70, 60)
    assert drift.mean_residual == pytest.approx(0.5 * sigma)
    assert drift.z == pytest.approx(0.5 / sqrt(1 / 60 + 1 / 100))
    assert drift.cusum_up == pytest.approx(60 * 0.25)
    assert drift.cusum_down == 0, "10 × 0.75 up, then 60 × −0.75"
    assert [(one.name, one.n) for one in drift.strata] == [("A", 30), ("B", 30)]
    assert drift.step.since == "2026-01-11", "the eleventh patient is the first of the change"
    assert drift.step.scanner is None
    assert drift.step.n == 60


def summed_ratios(rows: pd.DataFrame, more: np.ndarray, prior: np.ndarray, *, frozen: int) -> float:
    """Every step and trend, each as a column of its own added to the regression (statsmodels), σ of the fit without it.

    With b its coefficient and s its standard error, the step of size d has the ratio exp((d b − d²/2) σ²/(s² σ₀²)).
    """
    plain = np.column_stack([sm.add_constant(rows[list(PREDICTORS)].to_numpy(dtype=float)), more])
    plain = np.vstack([np.column_stack([np.zeros((len(prior), 8)), prior]), plain])
    outcome = np.concatenate([np.zeros(len(prior)), rows.vbq])
    sigma = sqrt(sm.OLS(outcome, plain).fit().scale)
    evidence = 0.0
    for first in range(frozen + len(prior), len(outcome)):
        column = (np.arange(len(outcome)) >= first).astype(float)
        fit = sm.OLS(outcome, np.column_stack([plain, column])).fit()
        information = fit.scale / fit.bse[-1] ** 2
        for size in (*STEPS, *(-one for one in STEPS)):
            evidence += exp((size * fit.params[-1] - size**2 / 2) * information / sigma**2) / (2 * len(STEPS))
    days = pd.to_datetime(rows.mri_date[frozen:])
    column = np.zeros(len(outcome))
    column[frozen + len(prior) :] = (days - days.min()).dt.days / DAYS_OF_MONTH
    fit = sm.OLS(outcome, np.column_stack([plain, column])).fit()
    information = fit.scale / fit.bse[-1] ** 2
    for size, weight in TRENDS.items():
        for signed in (size, -size):
            evidence += weight / 2 * exp((signed * fit.params[-1] - size**2 / 2) * information / sigma**2)
    return evidence


def test_the_evidence_is_the_sum_of_likelihood_ratios() -> None:
    """Without a wave and with one whose halves are known to be 0 give or take so much (ridge rows)."""
    frozen, new = people(60, seed=1, prefix="F"), people(25, seed=2, prefix="N", shift=0.1)
    frozen, new = (frame.assign(scanner_stratum="A") for frame in (frozen, new))
    drift = check_drift(frozen, new)
    fit = fit_vbq_model(frozen, minimum_rows_per_parameter=5)
    assert isinstance(drift, Drift) and isinstance(fit, OlsFit)
    rows = pd.concat([frozen, new])
    none = summed_ratios(rows, np.empty((85, 0)), np.empty((0, 0)), frozen=60)
    assert drift.evidence_with_season == pytest.approx(none, rel=1e-9)
    angle = 2 * np.pi * pd.to_datetime(rows.mri_date).dt.day_of_year.to_numpy() / 365.25
    wave = np.column_stack([np.cos(angle), np.sin(angle)])
    allowed = summed_ratios(rows, wave, np.eye(2) * fit.residual_sd / SEASON_SD, frozen=60)
    assert drift.evidence == pytest.approx(allowed, rel=1e-9)


def test_a_season_is_no_alarm_and_is_said() -> None:
    """±0.06 over a year, which without seasons is one."""
    frozen, new = people(150, seed=1, prefix="F"), people(300, seed=2, prefix="N")
    day = np.arange(300) * 365 / 300
    new["mri_date"] = [str((pd.Timestamp("2027-01-01") + pd.Timedelta(days=one)).date()) for one in day]
    new["vbq"] += 0.06 * np.cos(2 * np.pi * day / 365)
    drift = check_drift(frozen, new[:210])
    assert isinstance(drift, Drift)
    assert drift.perhaps_season and not drift.alarm
    assert drift.evidence < EVIDENCE_LIMIT < drift.evidence_with_season
    assert drift.step_with_season.size < 0, "the summer after the winter"
    # 1300 was the limit of an alarm before seasons were known: nothing true is said later than then.
    for evidence, plain, perhaps in ((10.0, 1299.0, False), (10.0, 1301.0, True), (3001.0, 3100.0, False)):
        assert replace(drift, evidence=evidence, evidence_with_season=plain).perhaps_season == perhaps


def test_a_trend_is_found_and_told_from_a_step() -> None:
    frozen, new = people(150, seed=1, prefix="F"), people(200, seed=2, prefix="N")
    stepped = new.assign(vbq=new.vbq + 0.15 * (new.index >= 100))
    new["vbq"] += 0.03 * np.arange(200) / DAYS_OF_MONTH
    rising, jumped = check_drift(frozen, new), check_drift(frozen, stepped)
    assert isinstance(rising, Drift) and isinstance(jumped, Drift)
    assert rising.alarm and jumped.alarm
    assert rising.trend is not None
    assert (rising.trend.since, rising.trend.ci_low < 0.03 < rising.trend.ci_high) == ("2026-01-01", True)
    assert jumped.trend is None


def test_patients_of_one_day_or_of_none_have_no_trend() -> None:
    frozen, new = people(150, seed=1, prefix="F"), people(60, seed=2, prefix="N", shift=0.2)
    for day in ("2026-05-05", ""):
        drift = check_drift(frozen, new.assign(mri_date=day))
        assert isinstance(drift, Drift)
        assert (drift.alarm, drift.trend) == (True, None)


@pytest.mark.parametrize("shift", [0.15, -0.15])
def test_a_replaced_scanner_is_named(shift: float) -> None:
    """All patients from a day on are at a scanner that nobody was at before: it is that scanner, not all of them."""
    frozen, new = people(150, seed=1, prefix="F"), people(110, seed=2, prefix="N")
    frozen["scanner_stratum"] = "A"
    new["scanner_stratum"] = ["A"] * 60 + ["B"] * 50
    still = check_drift(frozen, new)
    new.loc[60:, "vbq"] += shift
    drift, early = check_drift(frozen, new), check_drift(frozen, new[:80])
    assert isinstance(drift, Drift) and isinstance(early, Drift) and isinstance(still, Drift)
    assert (drift.alarm, drift.step.scanner, drift.step.since, drift.step.n) == (True, "B", "2026-03-02", 50)
    assert (early.step.scanner, early.step.n) == ("B", 20)
    assert not still.alarm


def test_a_step_at_one_scanner_is_found_there() -> None:
    frozen, new = people(150, seed=1, prefix="F"), people(120, seed=2, prefix="N")
    new.loc[(new.scanner_stratum == "A") & (new.index >= 40), "vbq"] += 0.2
    drift = check_drift(frozen, new)
    assert isinstance(drift, Drift)
    assert drift.alarm
    assert drift.step.scanner == "A"
    assert drift.step.ci_low < 0.2 < drift.step.ci_high
    assert abs(pd.Timestamp(drift.step.since) - pd.Timestamp("2026-02-11")).days <= 10, "the patient with index 41"


def test_one_mistyped_value_is_no_step() -> None:
    frozen, new = people(150, seed=1, prefix="F"), people(60, seed=2, prefix="N")
    new.loc[59, "vbq"] = 30.0
    drift = check_drift(frozen, new)
    assert isinstance(drift, Drift)
    assert not drift.alarm


def test_cusum_by_hand() -> None:
    """0.5 − k, back to 0, 1.25 − k, 0.25 − k more, 0.75 − k more, with k = 0.25."""
    assert cusum(np.array([0.5, -1.0, 1.25, 0.25, 0.75])).tolist() == [0.25, 0.0, 1.0, 1.0, 1.5]


@pytest.mark.parametrize("shift", [0.2, -0.2])
def test_a_shift_is_an_alarm_in_its_direction_and_none_without(shift: float) -> None:
    frozen = people(150, seed=1, prefix="F")
    still = check_drift(frozen, people(120, seed=2, prefix="N"))
    moved = check_drift(frozen, people(60, seed=3, prefix="N", shift=shift))
    assert isinstance(still, Drift) and isinstance(moved, Drift)
    assert not still.alarm
    assert moved.alarm
    assert np.sign(moved.z) == np.sign(shift)


def test_a_small_change_that_stays_is_found_too() -> None:
    """+0.07 (half a σ) over 200 patients: 200 × (0.5 − 0.25) lies far beyond 20."""
    drift = check_drift(people(150, seed=1, prefix="F"), people(200, seed=4, prefix="N", shift=0.07))
    assert isinstance(drift, Drift)
    assert drift.cusum_up > 20
    assert drift.evidence > EVIDENCE_LIMIT
    assert drift.alarm


def test_the_order_of_the_rows_and_known_ones_do_not_matter() -> None:
    frozen, new = people(100, seed=1, prefix="F"), people(70, seed=2, prefix="N")
    everything = pd.concat([frozen.assign(vbq=9.0), new]).sample(frac=1, random_state=3)
    assert check_drift(frozen, everything) == check_drift(frozen, new)


def test_too_few_new_patients_are_not_judged() -> None:
    frozen = people(100, seed=1, prefix="F")
    few = check_drift(frozen, people(19, seed=2, prefix="N"))
    assert isinstance(few, Refusal)
    assert str(few.reason) == "19 new complete rows since the frozen model, 20 are needed"
