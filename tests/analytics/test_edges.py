"""Each limit of the counts and of the episodes with the values at its edge and just beyond, worked out by hand.

Binary fractions (0.25, 0.125 …) where a value lies on the edge itself, so that no rounding decides.
"""

from datetime import UTC, date, datetime, timedelta
from math import nextafter
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from analytics.counts.blood import CombinedCount, combine
from analytics.counts.results import Result, SpecimenResults, differ
from analytics.episodes.cuts import institutional_cuts
from analytics.episodes.matching import match, provisional_pair
from analytics.episodes.tiers import explain, near_cut, tier
from analytics.night.calibration import Calibration, Outcome, Rule, calibrate
from analytics.records import BloodCount, MeasurementStatus, Mri, Operation, ResultStatus, Tier

TAKEN = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
VIENNA = ZoneInfo("Europe/Vienna")


def count(*specimens: SpecimenResults, **values: float | tuple[float, ...]) -> CombinedCount:
    """The count of one specimen: absolute values by name of the analyte, shares as ``neutrophils_percent``."""
    results = []
    for name, given in values.items():
        analyte, _, percent = name.partition("_")
        for number, value in enumerate(given if isinstance(given, tuple) else (given,)):
            scale = "percent" if percent else "absolute"
            results.append(Result(analyte=analyte, scale=scale, value=value, status="F", code=f"{name}{number}"))
    said = SpecimenResults(
        specimen="S", taken_at=TAKEN, date_only=False, results=tuple(results), sent_at=TAKEN, tie_break="a"
    )
    (one,) = combine([said])
    return one


def held(**values: float | tuple[float, ...]) -> bool:
    status = count(**values).status
    assert status in {ResultStatus.FINAL, ResultStatus.HELD}
    return status is ResultStatus.HELD


# ---- blood counts --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("lymphocytes", "wrong"), [(40.0, False), (41.0, False), (41.25, True)])
def test_neutrophils_and_lymphocytes_are_at_most_101_percent_together(lymphocytes: float, wrong: bool) -> None:
    assert held(neutrophils_percent=60.0, lymphocytes_percent=lymphocytes) is wrong


@pytest.mark.parametrize(
    ("neutrophils", "wrong"), [(44.75, False), (45.0, True), (70.0, True), (86.0, True), (86.25, False)]
)
def test_counts_of_60_to_101_together_without_leukocytes_look_like_percentages(neutrophils: float, wrong: bool) -> None:
    assert held(neutrophils=neutrophils, lymphocytes=15.0) is wrong
    assert not held(neutrophils=neutrophils, lymphocytes=15.0, leukocytes=neutrophils + 15.0)


@pytest.mark.parametrize(
    ("leukocytes", "neutrophils", "wrong"),
    # By hand: 8.0 × 1.05 + 0.1 = 8.5 and 2.0 × 1.05 + 0.1 = 2.2 in all, of which the lymphocytes are 1.0.
    [(8.0, 7.48, False), (8.0, 7.52, True), (2.0, 1.19, False), (2.0, 1.21, True), (80.0, 83.05, False),
     (80.0, 83.15, True)],
)  # fmt: skip
def test_the_cells_may_exceed_the_leukocytes_by_5_percent_and_a_tenth(
    leukocytes: float, neutrophils: float, wrong: bool
) -> None:
    assert held(neutrophils=neutrophils, lymphocytes=1.0, leukocytes=leukocytes) is wrong


@pytest.mark.parametrize(
    ("leukocytes", "percent", "counted", "odd"),
    [
        # 10 % of the larger: leukocytes × % is 4.0; |4.4 − 4.0| = 0.4 < 0.44, |4.5 − 4.0| = 0.5 > 0.45.
        (10.0, 40.0, 4.4, False),
        (10.0, 40.0, 4.5, True),
        (10.0, 40.0, 3.62, False),
        (10.0, 40.0, 3.58, True),
        # 0.15 where that is more: leukocytes × % is 0.5.
        (2.0, 25.0, 0.64, False),
        (2.0, 25.0, 0.66, True),
        (2.0, 25.0, 0.36, False),
        (2.0, 25.0, 0.34, True),
    ],
)
def test_a_count_agrees_with_its_percentage_within_10_percent_or_0_15(
    leukocytes: float, percent: float, counted: float, odd: bool
) -> None:
    one = count(neutrophils=counted, lymphocytes=1.0, leukocytes=leukocytes, neutrophils_percent=percent, platelets=200)
    assert (bool(one.notes), one.status) == (odd, ResultStatus.FINAL)


@pytest.mark.parametrize(("other", "different"), [(200.0, False), (196.0, False), (195.75, True)])
def test_values_within_2_percent_of_the_larger_are_one_value(other: float, different: bool) -> None:
    """2 % of 200 is 4."""
    assert differ([200.0, other]) is different
    assert differ([other, 200.0]) is different
    assert held(neutrophils=4.0, lymphocytes=2.0, platelets=(200.0, other)) is different


@pytest.mark.parametrize(("apart", "specimens"), [(timedelta(days=2), 1), (timedelta(days=2, seconds=1), 2)])
def test_a_number_used_again_more_than_two_days_later_is_another_specimen(apart: timedelta, specimens: int) -> None:
    first, again = (
        SpecimenResults(
            specimen="0042", taken_at=at, date_only=False, sent_at=at, tie_break="a",
            results=(Result(analyte="platelets", scale="absolute", value=200.0, status="F", code="PLT"),),
        )
        for at in (TAKEN, TAKEN + apart)
    )  # fmt: skip
    assert len(combine([first, again])) == specimens


# ---- matching ------------------------------------------------------------------------------------------------------
START = datetime(2026, 3, 2, 8, 0, tzinfo=VIENNA)


def blood(taken_at: datetime, *, date_only: bool = False) -> BloodCount:
    return BloodCount(
        specimen=taken_at.isoformat(), taken_at=taken_at, date_only=date_only, status=ResultStatus.FINAL, nlr=2.0,
        plr=150.0,
    )  # fmt: skip


def mri(day: date) -> Mri:
    return Mri(series_uid="1.2", study_date=day, status=MeasurementStatus.MEASURED, vbq=3.0)


@pytest.mark.parametrize(("late_s", "qualifies"), [(-1, True), (0, True), (1, False)])
def test_a_specimen_taken_after_the_planned_start_does_not_qualify(late_s: int, qualifies: bool) -> None:
    operation = Operation(booking="1/2", planned_at=START, date_only=False, cancelled=False)
    late = blood(START + timedelta(seconds=late_s))
    assert (match(operation, [], [late], zone=VIENNA).blood_count is late) is qualifies


@pytest.mark.parametrize(("operation_s", "specimen_s"), [(True, False), (False, True), (True, True)])
def test_without_a_time_of_day_on_both_sides_the_day_alone_decides(operation_s: bool, specimen_s: bool) -> None:
    operation = Operation(booking="1/2", planned_at=START, date_only=operation_s, cancelled=False)
    late = blood(START + timedelta(hours=3), date_only=specimen_s)
    assert match(operation, [], [late], zone=VIENNA).blood_count is late


@pytest.mark.parametrize(("days", "paired"), [(-31, False), (-30, True), (0, True), (30, True), (31, False)])
def test_a_provisional_pair_is_at_most_30_days_apart(days: int, paired: bool) -> None:
    pair = provisional_pair([mri(START.date())], [blood(START + timedelta(days=days))], zone=VIENNA)
    assert (pair is not None) is paired
    if pair is not None:
        assert pair.days_apart == abs(days)


def test_of_provisional_pairs_the_latest_mri_with_the_nearest_count_is_taken() -> None:
    counts = [blood(START + timedelta(days=days)) for days in (-20, -3, 9)]
    pair = provisional_pair([mri(START.date()), mri(date(2026, 2, 1))], counts, zone=VIENNA)
    assert pair is not None
    assert (pair.mri.study_date, pair.days_apart) == (START.date(), 3)


# ---- tiers and their cuts ------------------------------------------------------------------------------------------
CUTS = institutional_cuts(3.0, 4.0, 250.0, "any")


@pytest.mark.parametrize("vbq", [nextafter(3.0, 0), 3.0, nextafter(3.0, 9)])
@pytest.mark.parametrize("nlr", [nextafter(4.0, 0), 4.0, nextafter(4.0, 9)])
@pytest.mark.parametrize("plr", [nextafter(250.0, 0), 250.0, nextafter(250.0, 999)])
def test_a_tier_and_its_words_say_the_same_at_the_cuts(vbq: float, nlr: float, plr: float) -> None:
    """VBQ is high at its cut and above, a ratio above only."""
    high = (vbq >= 3.0, nlr > 4.0, plr > 250.0)
    words = str(explain(vbq=vbq, nlr=nlr, plr=plr, cuts=CUTS, vbq_sem=0.0)).split(", ")
    assert tuple("is high" in part for part in words) == high
    expected = {(True, True): Tier.FLAGGED, (False, False): Tier.LOWER}.get(
        (high[0], high[1] or high[2]), Tier.INTERMEDIATE
    )
    assert tier(vbq=vbq, nlr=nlr, plr=plr, cuts=CUTS) is expected


@pytest.mark.parametrize(
    ("nlr", "words"),
    [(4.000002, "NLR 4.000002 is high (cut 4.000000)"), (4.0000002, "NLR 4.000000 is high (cut 4.000000)")],
)
def test_values_are_told_apart_with_six_decimals_at_most(nlr: float, words: str) -> None:
    assert words in str(explain(vbq=3.5, nlr=nlr, plr=200.0, cuts=CUTS))


@pytest.mark.parametrize(("vbq", "near"), [(2.875, False), (2.9375, True), (3.0625, True), (3.125, False)])
def test_a_whole_measurement_error_away_is_not_near_the_cut(vbq: float, near: bool) -> None:
    assert near_cut(vbq, CUTS, vbq_sem=0.125) is near


# ---- calibration ---------------------------------------------------------------------------------------------------
def test_a_t_score_at_its_cut_is_osteoporosis() -> None:
    """WHO: a T-score of −2.5 or less."""
    frame = pd.DataFrame({"t_score": [-2.6, -2.5, nextafter(-2.5, 0), -1.0, np.nan, np.inf]})
    found = Outcome(column="t_score", cut=-2.5).positive(frame, vbq_cut=3.0)
    np.testing.assert_array_equal(found, [1, 1, 0, 0, np.nan, np.nan])


def test_an_event_is_one_or_zero_and_vbq_counts_from_its_cut() -> None:
    frame = pd.DataFrame({"event": [1, 0, 2, np.nan], "vbq": [nextafter(3.0, 0), 3.0, 3.5, 2.0]})
    np.testing.assert_array_equal(Outcome(column="event").positive(frame, vbq_cut=3.0), [1, 0, np.nan, np.nan])
    np.testing.assert_array_equal(Outcome(column="vbq").positive(frame, vbq_cut=3.0), [0, 1, 1, 0])


def cohort(n: int, *, of_a: int) -> pd.DataFrame:
    steps = np.arange(1, n + 1)
    return pd.DataFrame(
        {
            "id": [f"E{i}" for i in steps], "vbq": 2 + steps / 100, "nlr": steps / 10, "plr": 100.0 + steps,
            "scanner_stratum": np.where(steps <= of_a, "A", "B"),
        }
    )  # fmt: skip


@pytest.mark.parametrize(("least", "own"), [(40, True), (41, False)])
def test_a_scanner_with_just_enough_patients_has_its_own_cut(least: int, own: bool) -> None:
    found = calibrate(cohort(100, of_a=40), Rule(minimum_n=80, minimum_per_scanner=least))
    assert isinstance(found, Calibration)
    assert [(one.stratum, one.pooled is None) for one in found.cuts.strata] == [("A", own), ("B", True)]


@pytest.mark.parametrize(("n", "calibrated"), [(79, False), (80, True)])
def test_just_enough_rows_are_calibrated(n: int, calibrated: bool) -> None:
    found = calibrate(cohort(n, of_a=n), Rule(minimum_n=80, minimum_per_scanner=80))
    assert isinstance(found, Calibration) is calibrated


@pytest.mark.parametrize(("known", "calibrated"), [(79, False), (80, True)])
def test_just_enough_known_outcomes_are_calibrated(known: int, calibrated: bool) -> None:
    frame = cohort(120, of_a=120)
    numbers = np.arange(120)
    frame["event"] = np.where(numbers < known, (numbers % 3 == 0).astype(float), np.nan)
    frame["vbq"] += frame["event"].fillna(0)
    rule = Rule(method="youden", minimum_n=80, minimum_per_scanner=80, outcome=Outcome(column="event"))
    assert isinstance(calibrate(frame, rule), Calibration) is calibrated
