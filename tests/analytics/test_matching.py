"""Matching: windows worked out by hand on a calendar, and properties that hold for any patient."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.episodes.matching import blood_count_window, match, mri_window, provisional_pair
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
