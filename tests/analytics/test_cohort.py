"""Cohort rows: what is read, what is a problem, what keeps a row out of the model."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.episodes.cohort import COLUMNS, OPTIONAL_COLUMNS, check_row, unclear_coding
from analytics.reasons import words

STATISTICS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "statistics"

GOOD = {
    "id": "E1", "vbq": "2.96", "age": "72", "sex_male": "0", "smoking": "1", "diabetes": "0", "hypertension": "1",
    "calcium": "0", "diagnosis": "LDH", "bmi": "21.3", "neutrophils": "7.15", "lymphocytes": "1.10",
    "platelets": "234", "nlr": "6.50", "plr": "212.7",
}  # fmt: skip


def row(**cells: str):
    return check_row(GOOD | cells)


def test_a_good_row_is_read_as_it_stands() -> None:
    checked = check_row(GOOD)
    assert (checked.eligible, checked.problems, checked.exclusion_reasons) == (True, (), ())
    assert set(checked.values) == {*COLUMNS, *OPTIONAL_COLUMNS}
    assert checked.values["vbq"] == 2.96
    assert checked.values["smoking"] == 1
    assert checked.values["diagnosis"] == "LDH"
    assert checked.values["surgery_date"] is None


@pytest.mark.parametrize("text", ["yes", "Y", "TRUE", "1", "1.0", " 1 "])
def test_ways_of_saying_yes(text: str) -> None:
    assert row(diabetes=text).values["diabetes"] == 1


@pytest.mark.parametrize("text", ["no", "N", "False", "0", "0.0"])
def test_ways_of_saying_no(text: str) -> None:
    assert row(smoking=text).values["smoking"] == 0


@pytest.mark.parametrize("text", ["", "  ", "NA", "n/a", "NaN", "None", "-", "."])
def test_missing_is_no_problem_but_not_eligible(text: str) -> None:
    checked = row(bmi=text)
    assert checked.values["bmi"] is None
    assert checked.problems == ()
    assert words(checked.exclusion_reasons) == ["incomplete data: bmi"]
    assert not checked.eligible


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"vbq": "29.6"}, "vbq 29.6 is not plausible (from 1 to 8); is the decimal point misplaced (2.96)?"),
        ({"vbq": "0.296"}, "vbq 0.296 is not plausible (from 1 to 8); is the decimal point misplaced (2.96)?"),
        ({"age": "7.2"}, "age 7.2 is not plausible (from 18 to 110); is the decimal point misplaced (72)?"),
        ({"bmi": "213"}, "bmi 213 is not plausible (from 10 to 80); is the decimal point misplaced (21.3)?"),
        ({"bmi": "-21.3"}, "bmi -21.3 is not plausible (from 10 to 80)"),
        ({"neutrophils": "7150"}, "neutrophils 7150 is not plausible (from 0.0005 to 1000)"),
        ({"vbq": "inf"}, "vbq 'inf' is not a finite number"),
        ({"vbq": "1e999"}, "vbq '1e999' is not a finite number"),
        ({"neutrophils": "0e400"}, "neutrophils '0e400' is not a finite number"),
        ({"vbq": "2,96"}, "vbq '2,96' is not a finite number (write a decimal point, not a comma)"),
        ({"age": "7_2"}, "age '7_2' is not a finite number"),
        ({"age": "٧٢"}, "age '٧٢' is not a finite number"),
        ({"age": "72 y"}, "age '72 y' is not a finite number"),
        ({"smoking": "2"}, "smoking '2' is neither yes (1) nor no (0)"),
        ({"sex_male": "0.5"}, "sex_male '0.5' is neither yes (1) nor no (0)"),
        ({"diagnosis": "M48.06"}, "diagnosis 'M48.06' is none of LDH, LSS, LS"),
        ({"surgery_date": "31.05.2024"}, "surgery_date '31.05.2024' is not a date (YYYY-MM-DD)"),
        ({"mri_date": "2023-02-29"}, "mri_date '2023-02-29' is not a date (YYYY-MM-DD)"),
        ({"mri_date": "20240531"}, "mri_date '20240531' is not a date (YYYY-MM-DD)"),
        ({"nlr": "65.0"}, "nlr 65.0 contradicts neutrophils 7.15 / lymphocytes 1.10, which is 6.5"),
        ({"nlr": "6.56"}, "nlr 6.56 contradicts neutrophils 7.15 / lymphocytes 1.10, which is 6.5"),
        ({"plr": "210.0"}, "plr 210.0 contradicts platelets 234 / lymphocytes 1.10, which is 212.7"),
        ({"lymphocytes": "0"}, "lymphocytes 0: no ratio can be computed from it"),
        ({"id": " "}, "id is blank"),
    ],
)
def test_what_cannot_be_is_a_problem_and_not_eligible(cells: dict[str, str], problem: str) -> None:
    checked = row(**cells)
    assert words(checked.problems) == [problem]
    assert problem in words(checked.exclusion_reasons)
    assert not checked.eligible


def test_a_value_that_cannot_be_is_not_taken_over() -> None:
    assert row(vbq="29.6").values["vbq"] is None
    assert row(nlr="65.0").values["nlr"] == 65.0  # plausible by itself; which of the three is wrong, the site knows


@pytest.mark.parametrize("column", ["hypertension", "calcium"])
def test_what_the_model_does_not_need_does_not_exclude(column: str) -> None:
    checked = row(**{column: "perhaps"})
    assert checked.eligible
    assert checked.values[column] is None
    assert len(checked.problems) == 1


@pytest.mark.parametrize("nlr", ["6.47", "6.5", "6.53", "7"])
def test_rounding_is_no_contradiction(nlr: str) -> None:
    """7.145/1.105 = 6.466 to 7.155/1.095 = 6.534, and half a unit of the ratio's last digit."""
    assert row(nlr=nlr).eligible


def test_ratios_without_counts_are_taken_as_given() -> None:
    assert row(neutrophils="", lymphocytes="", platelets="", nlr="2.1", plr="150").eligible


@given(
    neutrophils=st.integers(50, 2000),
    lymphocytes=st.integers(30, 500),
    platelets=st.integers(50, 800),
    factor=st.sampled_from([0.1, 10]),
    ratio=st.sampled_from(["nlr", "plr"]),
)
def test_ratios_of_the_counts_agree_and_tenfold_slips_do_not(
    neutrophils: int, lymphocytes: int, platelets: int, factor: float, ratio: str
) -> None:
    cells = {
        "neutrophils": f"{neutrophils / 100:.2f}",
        "lymphocytes": f"{lymphocytes / 100:.2f}",
        "platelets": f"{platelets}",
        "nlr": f"{neutrophils / lymphocytes:.2f}",
        "plr": f"{platelets / lymphocytes * 100:.1f}",
    }
    assert row(**cells).eligible
    slipped = f"{float(cells[ratio]) * factor:.4f}"
    assert not row(**cells | {ratio: slipped}).eligible


@pytest.mark.parametrize(
    ("mri", "count", "reasons"),
    [
        ("2024-02-29", "2024-05-01", ()),
        ("2024-05-31", "2024-05-31", ()),
        ("", "", ()),
        ("2024-02-28", "", ("MRI of 2024-02-28 is more than 3 months before the operation of 2024-05-31",)),
        ("2024-06-01", "", ("MRI of 2024-06-01 is after the operation of 2024-05-31",)),
        ("", "2024-04-30", ("blood count of 2024-04-30 is more than 30 days before the operation of 2024-05-31",)),
        ("", "2024-06-01", ("blood count of 2024-06-01 is after the operation of 2024-05-31",)),
    ],
)
def test_the_windows_before_the_operation(mri: str, count: str, reasons: tuple[str, ...]) -> None:
    checked = row(surgery_date="2024-05-31", mri_date=mri, cbc_date=count)
    assert words(checked.exclusion_reasons) == list(reasons)
    assert checked.problems == ()


def test_the_age_of_inclusion() -> None:
    assert row(age="50").eligible
    assert words(row(age="49.9").exclusion_reasons) == ["age 49.9 is below 50 years"]


def test_every_essential_value_is_needed() -> None:
    for name in ("vbq", "age", "sex_male", "smoking", "diabetes", "bmi", "nlr", "plr"):
        assert words(row(**{name: ""}).exclusion_reasons) == [f"incomplete data: {name}"]
    assert not row(diagnosis="").eligible


def test_columns_coded_one_and_two_are_noticed() -> None:
    coded = [GOOD | {"smoking": text} for text in ("1", "2", "", "2.0")]
    assert unclear_coding(coded) == ("smoking is coded with 2 and without 0, so what its 1 means is unclear",)
    assert unclear_coding([*coded, GOOD | {"smoking": "0"}]) == ()


@pytest.mark.skipif(not STATISTICS.is_dir(), reason="../shared/data/statistics is not here")
@pytest.mark.parametrize("column", ["vbq", "age", "bmi", "nlr", "plr"])
def test_every_tenfold_slip_in_the_synthetic_cohort_is_caught(column: str) -> None:
    frame = pd.read_csv(STATISTICS / "inputs" / "cohort200.csv", dtype=str)
    rows = frame.to_dict("records")
    assert all(check_row(cells).eligible for cells in rows)
    for factor in (10, 0.1):
        slipped = [cells | {column: f"{float(cells[column]) * factor:.4f}"} for cells in rows]
        assert not any(check_row(cells).eligible for cells in slipped)
