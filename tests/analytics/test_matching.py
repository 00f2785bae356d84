"""Matching: windows worked out by hand on a calendar, and properties that hold for any patient."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.episodes.matching import Match, blood_count_window, match, mri_window, provisional_pair
from analytics.reasons import words
from analytics.records import BloodCount, MeasurementStatus, Mri, Operation, ResultStatus

VIENNA = ZoneInfo("Europe/Vienna")


def operation(day: date, hour: int | None = 8) -> Operation:
    moment = datetime(day.year, day.month, day.day, hour or 0, tzinfo=VIENNA)
    return Operation(booking="1/2", planned_at=moment, date_only=hour is None, cancelled=False)


def mri(day: date | None, status: MeasurementStatus | None = MeasurementStatus.MEASURED, uid: str = "1.2") -> Mri:
    return Mri(series_uid=uid, study_date=day, status=status, vbq=3.0 if status else None)


def count(moment: datetime, status: ResultStatus = ResultStatus.FINAL, nlr: float | None = 2.0) -> BloodCount:
    return BloodCount(specimen=moment.isoformat(), taken_at=moment, date_only=False, status=status, nlr=nlr, plr=150.0)


# Read off a calendar: 2024 is a leap year, 2026 is not.
@pytest.mark.parametrize(
    ("surgery", "first"),
    [
        (date(2026, 3, 2), date(2025, 12, 2)),
        (date(2026, 5, 31), date(2026, 2, 28)),
        (date(2024, 5, 31), date(2024, 2, 29)),
        (date(2026, 1, 15), date(2025, 10, 15)),
    ],
)
def test_three_calendar_months(surgery: date, first: date) -> None:
    assert mri_window(surgery) == (first, surgery)


def test_thirty_days() -> None:
    assert blood_count_window(date(2026, 3, 2)) == (date(2026, 1, 31), date(2026, 3, 2))


def test_both_ends_of_both_windows_count() -> None:
    s = date(2026, 3, 2)
    for day, inside in [(date(2025, 12, 1), False), (date(2025, 12, 2), True), (s, True), (date(2026, 3, 3), False)]:
        assert (match(operation(s), [mri(day)], [], zone=VIENNA).mri is not None) is inside, day
    for moment, inside in [
        (datetime(2026, 1, 30, 23, 59, tzinfo=VIENNA), False),
        (datetime(2026, 1, 31, 0, 0, tzinfo=VIENNA), True),
        (datetime(2026, 3, 2, 7, 0, tzinfo=VIENNA), True),
        (datetime(2026, 3, 2, 9, 0, tzinfo=VIENNA), False),  # taken after the planned start at 08:00
    ]:
        found = match(operation(s), [], [count(moment)], zone=VIENNA)
        assert (found.blood_count is not None) is inside, moment


def test_an_operation_without_a_time_takes_the_whole_day() -> None:
    late = count(datetime(2026, 3, 2, 9, 0, tzinfo=VIENNA))
    assert match(operation(date(2026, 3, 2), hour=None), [], [late], zone=VIENNA).blood_count is late


def test_the_window_is_in_local_days_not_utc() -> None:
    # 30 January 23:30 UTC is 31 January 00:30 in Vienna: the first day of the window.
    moment = datetime(2026, 1, 30, 23, 30, tzinfo=UTC)
    assert match(operation(date(2026, 3, 2)), [], [count(moment)], zone=VIENNA).blood_count is not None


def test_reasons_name_what_was_passed_over() -> None:
    s = date(2026, 3, 2)
    found = match(
        operation(s),
        [mri(date(2025, 11, 1), uid="1"), mri(date(2026, 2, 1), MeasurementStatus.REVIEW, uid="2"), mri(None, uid="3")],
        [
            count(datetime(2026, 2, 20, 8, tzinfo=VIENNA), ResultStatus.PRELIMINARY),
            count(datetime(2026, 2, 19, 8, tzinfo=VIENNA), nlr=None),
            count(datetime(2026, 1, 2, 8, tzinfo=VIENNA)),
        ],
        zone=VIENNA,
    )
    assert not found.complete
    assert words(found.reasons) == [
        "MRI of 2026-02-01 has a doubtful score that waits for a person",
        "MRI of 2025-11-01 is more than 3 months before the operation of 2026-03-02",
        "an MRI without a study date cannot be placed in time",
        "blood count of 2026-02-20 is preliminary, not final",
        "blood count of 2026-02-19 has no NLR or PLR that could be computed",
        "blood count of 2026-01-02 is more than 30 days before the operation of 2026-03-02",
    ]


def test_nothing_received_is_said() -> None:
    assert words(match(operation(date(2026, 3, 2)), [], [], zone=VIENNA).reasons) == [
        "no lumbar T1 series of this patient has been received",
        "no blood count of this patient has been received",
    ]


# ---- before means before -------------------------------------------------------------------------------------------
START = datetime(2026, 3, 10, 10, tzinfo=VIENNA)
DAY = START.date()
SECOND = timedelta(seconds=1)
PLANNED = Operation(booking="1", planned_at=START, date_only=False, cancelled=False)
OF_THE_DAY = replace(PLANNED, planned_at=START.replace(hour=0), date_only=True)


def taken(moment: datetime, *, date_only: bool = False) -> BloodCount:
    return replace(count(moment), date_only=date_only)


def imaged(uid: str, day: date, at: datetime | None = None, *, postoperative: bool = False) -> Mri:
    return replace(mri(day, uid=uid), taken_at=at, postoperative=postoperative)


def codes(found: Match) -> list[str]:
    return [one.code for one in found.reasons if not one.code.startswith("no-")]


def test_the_mri_of_the_evening_and_postop_never_go_before_the_good_one() -> None:
    good = imaged("1.1", date(2026, 2, 10))
    for later in (
        imaged("1.2", DAY, START.replace(hour=18), postoperative=True),
        imaged("1.2", DAY, START.replace(hour=18)),
        imaged("1.2", DAY),
        imaged("1.2", DAY, START.replace(hour=8)),
        imaged("1.2", date(2026, 3, 8), postoperative=True),
    ):
        assert match(PLANNED, [later, good], [], zone=VIENNA).mri is good


@pytest.mark.parametrize(
    ("at", "is_taken", "reasons"),
    [
        (START - SECOND, True, []), (START, True, ["mri-of-the-day"]), (START + SECOND, False, ["mri-after-start"]),
        (None, True, ["mri-of-the-day"]),
    ],
)  # fmt: skip
def test_an_mri_of_the_day_counts_unless_something_says_that_it_was_after(
    at: datetime | None, is_taken: bool, reasons: list[str]
) -> None:
    found = match(PLANNED, [imaged("1.2", DAY, at)], [], zone=VIENNA)
    assert (found.mri is not None, codes(found)) == (is_taken, reasons)


def test_an_mri_of_an_earlier_day_counts_whatever_its_time_of_day() -> None:
    """Also where the clock of the scanner is wrong: the day is that of the study."""
    for at in (None, START - timedelta(days=1), START + SECOND):
        one = imaged("1.2", DAY - timedelta(days=1), at)
        found = match(PLANNED, [one], [], zone=VIENNA)
        assert (found.mri, codes(found)) == (one, [])


@pytest.mark.parametrize(
    ("operation", "specimen", "is_taken", "reasons"),
    [
        (PLANNED, taken(START - SECOND), True, []),
        (PLANNED, taken(START), True, ["blood-count-of-the-day"]),
        (PLANNED, taken(START + SECOND), False, ["blood-count-after-start"]),
        (PLANNED, taken(START - SECOND, date_only=True), True, ["blood-count-of-the-day"]),
        (PLANNED, taken(START + SECOND, date_only=True), True, ["blood-count-of-the-day"]),
        (OF_THE_DAY, taken(START), True, ["blood-count-of-the-day"]),
        # At midnight of a day the hour of which nobody has said.
        (OF_THE_DAY, taken(START.replace(hour=0)), True, ["blood-count-of-the-day"]),
        (PLANNED, taken(START - timedelta(days=1)), True, []),
        (PLANNED, taken(START - timedelta(days=1), date_only=True), True, []),
        (OF_THE_DAY, taken(START - timedelta(days=1)), True, []),
    ],
)
def test_a_count_of_the_day_counts_when_nothing_says_that_it_was_after_and_that_is_told(
    operation: Operation, specimen: BloodCount, is_taken: bool, reasons: list[str]
) -> None:
    found = match(operation, [], [specimen], zone=VIENNA)
    assert (found.blood_count is not None, codes(found)) == (is_taken, reasons)


def test_a_count_of_an_earlier_day_goes_before_that_of_the_day() -> None:
    before = taken(datetime(2026, 3, 9, 8, tzinfo=VIENNA))
    for operation in (PLANNED, OF_THE_DAY):
        for hour in (8, 18):
            found = match(operation, [], [taken(START.replace(hour=hour)), before], zone=VIENNA)
            assert found.blood_count is before


def test_what_is_passed_over_is_told_from_the_latest_to_the_undated() -> None:
    """After the day, earlier days newest first, the day itself, without a date."""
    days = (None, DAY, date(2026, 3, 8), date(2026, 3, 9), date(2026, 3, 11))
    mris = [replace(mri(day, uid=f"1.{number}"), status=None) for number, day in enumerate(days)]
    moments = [datetime(day.year, day.month, day.day, 9, tzinfo=VIENNA) for day in days if day]
    counts = [count(moment, ResultStatus.HELD) for moment in moments]
    undated = replace(counts[0], specimen="U", taken_at=None)
    found = match(PLANNED, mris, [undated, *counts], zone=VIENNA)
    assert [(one.code, one.values.get("date")) for one in found.reasons] == [
        ("mri-after-operation", "2026-03-11"),
        ("mri-not-measured", "2026-03-09"),
        ("mri-not-measured", "2026-03-08"),
        ("mri-not-measured", "2026-03-10"),
        ("mri-undated", None),
        ("blood-count-after-operation", "2026-03-11"),
        ("blood-count-not-final", "2026-03-09"),
        ("blood-count-not-final", "2026-03-08"),
        ("blood-count-not-final", "2026-03-10"),
        ("blood-count-undated", None),
    ]


def test_of_what_nothing_puts_in_order_the_greater_name_is_taken() -> None:
    """So that the result depends on what is there, not on its order."""
    day = DAY - timedelta(days=1)
    mris = [imaged(uid, day) for uid in ("1.1", "1.3", "1.2")]
    counts = [replace(count(START - timedelta(days=1)), specimen=name) for name in ("A", "C", "B")]
    found = match(PLANNED, mris, counts, zone=VIENNA)
    assert found.complete
    assert (found.mri, found.blood_count) == (mris[1], counts[1])
    pair = provisional_pair(mris, counts, zone=VIENNA)
    assert (pair and pair.mri, pair and pair.blood_count) == (mris[1], counts[1])


def test_a_provisional_pair_has_the_latest_mri_also_where_another_is_nearer() -> None:
    """Of two counts as near to it the later one; what has no date is passed over."""
    first, last = imaged("1.9", date(2026, 2, 10)), imaged("1.1", date(2026, 3, 2))
    same_day, before, after = (
        replace(count(datetime(2026, month, day, 8, tzinfo=VIENNA)), specimen=name)
        for month, day, name in ((2, 10, "Z"), (2, 27, "Y"), (3, 5, "A"))
    )
    mris, counts = [mri(None, uid="1.8"), first, last], [same_day, before, after]
    pair = provisional_pair(mris, [replace(before, taken_at=None), *counts], zone=VIENNA)
    assert pair is not None
    assert (pair.mri, pair.blood_count, pair.days_apart) == (last, after, 3)


def test_both_ratios_and_the_score_must_be_there() -> None:
    specimen, series = count(START - timedelta(days=1)), imaged("1.2", DAY - timedelta(days=1))
    for without in (replace(specimen, nlr=None), replace(specimen, plr=None)):
        found = match(PLANNED, [series], [without], zone=VIENNA)
        assert (found.blood_count, codes(found), found.complete) == (None, ["blood-count-without-ratio"], False)
        assert provisional_pair([series], [without], zone=VIENNA) is None
    for bad in (replace(series, vbq=None), replace(series, status=MeasurementStatus.REJECTED)):
        found = match(PLANNED, [bad], [specimen], zone=VIENNA)
        assert (found.mri, codes(found), found.complete) == (None, ["mri-rejected"], False)
        assert provisional_pair([bad], [specimen], zone=VIENNA) is None


# ---- stages --------------------------------------------------------------------------------------------------------
STAGE = Operation(booking="0", planned_at=datetime(2026, 3, 3, 8, tzinfo=VIENNA), date_only=False, cancelled=False)


def test_of_a_staged_operation_the_count_after_the_first_stage_is_passed_over() -> None:
    after, before = taken(datetime(2026, 3, 4, 7, tzinfo=VIENNA)), taken(datetime(2026, 3, 2, 7, tzinfo=VIENNA))
    found = match(PLANNED, [], [after, before], zone=VIENNA, earlier=[STAGE])
    assert found.blood_count is before
    assert codes(found) == ["blood-count-after-earlier-operation"]
    assert match(PLANNED, [], [after], zone=VIENNA, earlier=[STAGE]).blood_count is None
    assert match(STAGE, [], [after, before], zone=VIENNA, earlier=[PLANNED]).blood_count is before


@pytest.mark.parametrize(
    ("specimen", "date_only", "recovering"),
    [
        (taken(STAGE.planned_at - SECOND), False, False),
        (taken(STAGE.planned_at), False, False),
        (taken(STAGE.planned_at + SECOND), False, True),
        # Of the day of the stage itself, when one of the two has no time of day: nothing says that it was after.
        (taken(STAGE.planned_at + SECOND, date_only=True), False, False),
        (taken(STAGE.planned_at + SECOND), True, False),
        (taken(STAGE.planned_at - timedelta(days=1)), False, False),
        (taken(STAGE.planned_at + timedelta(days=1), date_only=True), False, True),
        (taken(STAGE.planned_at + timedelta(days=1)), True, True),
    ],
)
def test_a_count_from_after_the_start_of_a_stage_shows_that_stage(
    specimen: BloodCount, date_only: bool, recovering: bool
) -> None:
    found = match(PLANNED, [], [specimen], zone=VIENNA, earlier=[replace(STAGE, date_only=date_only)])
    assert codes(found) == (["blood-count-after-earlier-operation"] if recovering else [])


@pytest.mark.parametrize(("days", "recovering"), [(30, True), (31, False)])
def test_a_stage_is_recovered_from_after_30_days(days: int, recovering: bool) -> None:
    """Read off a calendar: 30 days after 3 March is 2 April, 31 days 3 April."""
    last = START.replace(month=4, day=20)
    specimen = taken(START.replace(month=4, day=2 if days == 30 else 3))
    found = match(replace(PLANNED, planned_at=last), [], [specimen], zone=VIENNA, earlier=[STAGE])
    assert codes(found) == (["blood-count-after-earlier-operation"] if recovering else [])


def test_the_newest_stage_that_a_count_shows_is_named() -> None:
    other = replace(STAGE, planned_at=datetime(2026, 3, 5, 8, tzinfo=VIENNA))
    specimen = taken(datetime(2026, 3, 6, 7, tzinfo=VIENNA))
    for earlier in ([STAGE, other], [other, STAGE]):
        (reason, *_) = match(PLANNED, [], [specimen], zone=VIENNA, earlier=earlier).reasons[1:]
        assert reason.values == {"date": "2026-03-06", "operation": "2026-03-05"}


def test_an_operation_of_the_same_day_is_no_stage() -> None:
    """In local days: 9 March 23:30 UTC is 10 March in Vienna."""
    specimen = taken(datetime(2026, 3, 10, 1, tzinfo=VIENNA))
    same = replace(STAGE, planned_at=datetime(2026, 3, 9, 23, 30, tzinfo=UTC))
    found = match(PLANNED, [], [specimen], zone=VIENNA, earlier=[same])
    assert (found.blood_count, codes(found)) == (specimen, [])


# ---- any patient ---------------------------------------------------------------------------------------------------
DAYS = st.dates(date(2023, 1, 1), date(2027, 12, 31))
MRIS = st.lists(
    st.builds(
        mri,
        st.none() | DAYS,
        st.none() | st.sampled_from(MeasurementStatus),
        st.integers(1, 99).map(lambda n: f"1.{n}"),
    ),
    max_size=8,
    unique_by=lambda one: one.series_uid,
)
COUNTS = st.lists(
    st.builds(
        count,
        st.datetimes(datetime(2023, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),
        st.sampled_from(ResultStatus),
        st.none() | st.floats(0.1, 20),
    ),
    max_size=8,
    unique_by=lambda one: one.specimen,
)


@given(DAYS, MRIS, COUNTS, st.randoms())
def test_properties_of_any_match(day: date, mris: list[Mri], counts: list[BloodCount], random: object) -> None:
    planned = operation(day)
    found = match(planned, mris, counts, zone=VIENNA)
    if found.mri is not None:
        assert found.mri.study_date is not None
        assert found.mri.status is MeasurementStatus.MEASURED
        # No qualifying MRI of an earlier day is later; 93 days is the longest that three months can be.
        assert timedelta(0) <= day - found.mri.study_date <= timedelta(days=92)
        assert not any(
            other.study_date and found.mri.study_date < other.study_date < day
            for other in mris
            if other.status is MeasurementStatus.MEASURED
        )
    if found.blood_count is not None:
        chosen = found.blood_count
        assert chosen.taken_at is not None
        assert chosen.taken_at <= planned.planned_at
        assert day - chosen.taken_at.astimezone(VIENNA).date() <= timedelta(days=30)
        assert chosen.status in (ResultStatus.FINAL, ResultStatus.CORRECTED)
        assert chosen.nlr is not None
    if found.mri is None or found.blood_count is None:
        assert found.reasons, "why not is always said"
    shuffled_mris, shuffled_counts = list(mris), list(counts)
    random.shuffle(shuffled_mris)
    random.shuffle(shuffled_counts)
    assert match(planned, shuffled_mris, shuffled_counts, zone=VIENNA) == found


@given(MRIS, COUNTS)
def test_a_provisional_pair_is_close_and_usable(mris: list[Mri], counts: list[BloodCount]) -> None:
    pair = provisional_pair(mris, counts, zone=VIENNA)
    usable = [
        abs((one.taken_at.astimezone(VIENNA).date() - other.study_date).days)
        for other in mris
        for one in counts
        if other.study_date and other.status is MeasurementStatus.MEASURED and one.taken_at and one.nlr is not None
        if one.status in (ResultStatus.FINAL, ResultStatus.CORRECTED)
    ]
    assert (pair is not None) == any(days <= 30 for days in usable)
    if pair is not None:
        assert pair.days_apart <= 30
        assert pair == provisional_pair(mris[::-1], counts[::-1], zone=VIENNA)
