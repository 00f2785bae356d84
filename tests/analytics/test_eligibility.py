"""Eligibility: the paper's criteria, ages and BMI worked out by hand."""

from datetime import date

import pytest

from analytics.episodes.eligibility import age_on, body_mass_index, exclusion_reasons, in_drug_window, plausible_bmi
from analytics.reasons import Reason, words

COMPLETE = {
    "vbq": 3.0,
    "age": 64,
    "sex_male": 0,
    "smoking": 0,
    "diabetes": 1,
    "bmi": 22.1,
    "nlr": 2.2,
    "plr": 180.0,
    "diagnosis": "LSS",
}


@pytest.mark.parametrize(
    ("born", "day", "years"),
    [
        (date(1960, 3, 2), date(2026, 3, 1), 65),
        (date(1960, 3, 2), date(2026, 3, 2), 66),
        (date(1960, 2, 29), date(2026, 2, 28), 65),
        (date(1960, 2, 29), date(2026, 3, 1), 66),
    ],
)
def test_completed_years(born: date, day: date, years: int) -> None:
    assert age_on(born, day) == years


def test_bmi() -> None:
    # 70 kg at 1.75 m: 70 / 3.0625 = 22.857
    assert body_mass_index(height_cm=175, weight_kg=70) == 22.9


@pytest.mark.parametrize(("height", "weight"), [(1.75, 70), (175, 700), (None, 70), (175, None), (69, 154), (110, 290)])
def test_a_mistaken_unit_gives_no_bmi(height: float | None, weight: float | None) -> None:
    assert body_mass_index(height_cm=height, weight_kg=weight) is None


def test_a_bmi_nobody_has_is_none() -> None:
    assert [plausible_bmi(value) for value in (9.9, 10.0, 80.0, 80.1, None)] == [None, 10.0, 80.0, None, None]


def test_a_complete_row_enters() -> None:
    assert exclusion_reasons(values=COMPLETE, diagnosis_excludes=[], earlier_operation=None) == ()


def test_every_criterion_is_named() -> None:
    reasons = exclusion_reasons(
        values={**COMPLETE, "age": 49, "diagnosis": None, "bmi": None, "plr": None},
        diagnosis_excludes=[Reason("excluding-diagnosis", {"criterion": "malignancy (C50.9)"})],
        earlier_operation=date(2025, 1, 7),
    )
    assert words(reasons) == [
        "age 49 is below 50 years",
        "no coded diagnosis of degenerative lumbar disease (herniation, stenosis, spondylolisthesis)",
        "malignancy (C50.9)",
        "prior lumbar surgery (2025-01-07)",
        "incomplete data: bmi, plr",
    ]


def test_fifty_is_old_enough() -> None:
    assert exclusion_reasons(values={**COMPLETE, "age": 50}, diagnosis_excludes=[], earlier_operation=None) == ()


@pytest.mark.parametrize(
    ("started", "ended", "excludes"),
    [
        (date(2026, 3, 1), None, True),
        (date(2026, 3, 2), None, False),  # the dose at the operation itself
        (date(2025, 9, 2), None, True),  # six calendar months before, the first day
        (date(2025, 9, 1), None, False),
        (date(2024, 1, 1), date(2025, 9, 2), True),  # taken into the window
        (date(2024, 1, 1), date(2025, 9, 1), False),
        (date(2026, 2, 1), date(2026, 5, 1), True),
    ],
)
def test_drugs_of_the_six_months_before_the_operation(started: date, ended: date | None, excludes: bool) -> None:
    assert in_drug_window(started, ended, date(2026, 3, 2)) == excludes
