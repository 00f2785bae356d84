"""One cohort of 120 as people export it, and cohorts with what is wrong in them: each file with its right outcome.

The files lie in ../shared/cases/cohort; the statistics of the good one are those of any dialect of it.
"""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyreadstat
import pytest

from analytics.episodes.cohort import COLUMNS
from analytics.paper.regression import fit_vbq_model
from analytics.reasons import codes
from node.analysis.missing import missing_report
from node.errors import CohortError
from node.people.files.raw import MAC_DAY_0
from node.people.files.values import Source, days
from node.people.imports import read_cohort
from node.people.preview import preview

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases" / "cohort"
FORMATS, DATA = CASES / "formats", CASES / "data"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases/cohort is not here")

GOOD = "00_good.csv"

SAME = [
    GOOD, "01_semicolon_decimal_comma.csv", "02_semicolon_point.csv", "03_utf8_bom.csv", "04_utf16.csv", "05_tab.txt",
    "06_sep_line_excel.csv", "07_cp1252.csv", "08_gbk.csv", "09_utf8_chinese.csv", "10_all_quoted.csv",
    *(f"14_sex_{i}.csv" for i in (0, 1, 2, 3, 5, 6, 7, 8)), *(f"15_yes_{i}.csv" for i in (0, 1, 2, 3, 4, 5, 6, 7, 9)),
    *(f"16_date_{i}.csv" for i in range(8)), "16_date_8_excel_serial.csv", "17_header_case.csv",
    "18_header_spaces.csv", "19_header_units.csv", "20_extra_col.csv", "27_comma_in_quoted.csv",
    "28_diagnosis_words.csv", "29_diagnosis_icd.csv", "31_trailing_empty_lines.csv", "32_trailing_comma.csv",
    "33_cr_only.csv", "35_spaces.csv", "36_middle_dot.csv", "42_sex_female_header.csv", "50.xlsx", "51.parquet",
    "52.dta", "54_sas.xpt", "56_write_csv_r.csv", "57_write_csv2_r.csv", "58_write_table.txt",
]  # fmt: skip
"""Files that say the same as the good one, cell by cell."""

ROWS_DIFFER = {
    # n eligible, codes of the problems
    **{f"12_missing_{i:02d}.csv": (119, []) for i in range(19) if i not in (7, 8, 9)},
    **{f"12_missing_{i:02d}.csv": (119, ["value-not-plausible"]) for i in (7, 8, 9)},
    "13_numeric_missing_codes.csv": (113, ["value-like-missing-code"] * 5 + ["value-not-yes-or-no"] * 2),
    "21_no_ratio_cols.csv": (120, []),
    "22_blank_ratios.csv": (120, []),
    "23_no_hypertension_calcium.csv": (120, []),
    "24_no_counts.csv": (120, []),
    "34_total_row.csv": (120, ["row-sums-up"]),
    "37_less_than.csv": (118, ["value-not-a-number"] * 2),
    "38_fullwidth.csv": (120, []),
    "39_unicode_minus.csv": (119, ["value-not-plausible"]),
    "40_numeric_id.csv": (120, []),
    "41_leading_zero_id.csv": (120, []),
    "43_decimal_age.csv": (120, []),
    "53_spss.sav": (119, []),
    "../data/A_skewed_ties_outlier.csv": (271, ["value-in-another-unit"]),
    "../data/B_n35.csv": (35, []),
    "../data/B2_constant_perfect_auc.csv": (95, []),
    "../data/D_vif14347.csv": (400, []),
    "../data/collinear_bmi_nlr.csv": (120, []),
    "../data/event_reversed.csv": (120, []),
    "../data/mixed_platelet_units.csv": (96, ["value-in-another-unit"] * 24),
    "../data/pasted_twice.csv": (120, ["row-pasted-again"] * 60),
}

REFUSED = {
    "11_thousands_platelets_per_ul.csv": ["column-in-another-unit"],
    "14_sex_4.csv": ["column-coded-one-and-two"],
    "15_yes_8.csv": ["column-coded-one-and-two"],
    "15_yes_10.csv": ["column-coding-unclear"],
    "25_percent_counts.csv": ["column-of-percentages"] * 2,
    "26_per_ul.csv": ["column-in-another-unit"] * 3,
    "30_diagnosis_codes.csv": ["column-coding-unclear"],
    "44_german_header.csv": ["sex-coding-unclear"],
    "../data/jp_platelets_10e4.csv": ["column-in-another-unit"] * 2,
    "../data/ratios_swapped.csv": ["columns-exchanged"],
    "../data/tscore_sign_lost.csv": ["signs-lost"],
}

ANSWERED = {
    # what a person writes in place of the question marks, and then every number is that of the good file
    "11_thousands_platelets_per_ul.csv": {},
    "14_sex_4.csv": {'"1" = "?"': '"1" = "1"', '"2" = "?"': '"2" = "0"'},
    "15_yes_8.csv": {'"2" = "?"': '"2" = "1"', '"1" = "?"': '"1" = "0"'},
    "15_yes_10.csv": {'"x" = "?"': '"x" = "1"', '"" = "?"': '"" = "0"'},
    "26_per_ul.csv": {},
    "30_diagnosis_codes.csv": {'"1" = "?"': '"1" = "LDH"', '"2" = "?"': '"2" = "LSS"', '"3" = "?"': '"3" = "LS"'},
    "44_german_header.csv": {'"0" = "?"': '"0" = "0"', '"1" = "?"': '"1" = "1"'},
    "../data/jp_platelets_10e4.csv": {},
}


def frame(name: str, mapping: str = "") -> pd.DataFrame:
    """The eligible rows of a file."""
    table = read_cohort(FORMATS / name, mapping=mapping)[1]
    return pd.DataFrame([row.checked.values for row in table.rows if row.checked.eligible])


@pytest.fixture(scope="module")
def good() -> pd.DataFrame:
    return frame(GOOD)


def same(one: pd.DataFrame, other: pd.DataFrame, *, but: tuple[str, ...] = (), atol: float = 0.0) -> None:
    for name in (column for column in one.columns if column not in but):
        if one[name].dtype.kind in "fi" and other[name].dtype.kind in "fi":
            np.testing.assert_allclose(one[name], other[name], rtol=1e-9, atol=atol, err_msg=name)
        else:
            assert one[name].tolist() == other[name].tolist(), name


def test_every_file_has_an_outcome() -> None:
    known = {*SAME, *ROWS_DIFFER, *REFUSED, "55_r.rds", "../data/unit_error_lymphocytes_tenth.csv"}
    found = {one.name for one in FORMATS.iterdir() if one.suffix != ".py"}
    found |= {f"../data/{one.name}" for one in DATA.iterdir() if not one.name.startswith("read")}
    assert found == known


@pytest.mark.parametrize("name", SAME)
def test_a_dialect_says_the_same(name: str, good: pd.DataFrame) -> None:
    table = read_cohort(FORMATS / name)[1]
    assert (table.refused, table.problem_lines()) == (0, [])
    same(good, frame(name), but=("scanner_stratum",))


@pytest.mark.parametrize(
    "name", SAME[:4] + SAME[5:6] + ["36_middle_dot.csv", "50.xlsx", "51.parquet", "52.dta", "54_sas.xpt"]
)
def test_ten_dialects_have_the_same_statistics(name: str, good: pd.DataFrame) -> None:
    numeric = [column for column in COLUMNS if column not in ("id", "diagnosis")]
    one, other = (fit_vbq_model(table.astype(dict.fromkeys(numeric, float))) for table in (good, frame(name)))
    for term, twin in zip(one.terms, other.terms, strict=True):
        assert (term.b, term.se, term.p) == pytest.approx((twin.b, twin.se, twin.p), rel=1e-9)
    assert one.adj_r2 == pytest.approx(other.adj_r2, rel=1e-9)


@pytest.mark.parametrize("name", ROWS_DIFFER)
def test_rows_that_cannot_be_are_left_out_and_the_others_used(name: str) -> None:
    table = read_cohort(FORMATS / name)[1]
    eligible, expected = ROWS_DIFFER[name]
    assert sorted(codes(problem.cause for problem in table.problems)) == expected
    assert sum(row.checked.eligible for row in table.rows) == eligible


def test_counts_of_a_tenth_are_held_all_nineteen_and_no_other_row() -> None:
    """The lymphocytes of 19 rows are a tenth of what they were; each has the platelets of a living person."""
    table = read_cohort(DATA / "unit_error_lymphocytes_tenth.csv")[1]
    held = [row for row in table.rows if row.checked.problems]
    assert len(held) == 19
    assert not any(row.checked.eligible for row in held)
    assert {code for row in held for code in codes(row.checked.problems)} == {"value-in-another-unit"}
    assert all(float(row.checked.values["lymphocytes"]) < 0.45 for row in held)


@pytest.mark.parametrize("name", REFUSED)
def test_a_column_that_cannot_be_right_is_refused_with_cause_and_proposal(name: str) -> None:
    with pytest.raises(CohortError) as caught:
        read_cohort(FORMATS / name)
    shown = preview(FORMATS / name)
    assert shown.exit_code == 1
    assert shown.understood is not None
    doubts = list(shown.understood.doubts)
    assert codes(doubts) == REFUSED[name]
    assert all(str(doubt) in str(caught.value) for doubt in doubts)
    column = doubts[0].values["column"]
    assert any(f"[columns.{one.name}]" in shown.proposal for one in shown.columns if column in (one.name, one.source))


@pytest.mark.parametrize("name", ANSWERED)
def test_the_proposed_mapping_with_its_questions_answered_makes_the_good_file(name: str, good: pd.DataFrame) -> None:
    text = preview(FORMATS / name).proposal
    for question, answer in ANSWERED[name].items():
        assert question in text
        text = text.replace(question, answer)
    found = frame(name, text)
    # Per µL the table has cut the counts off at three decimals; in 10⁴/µL its ratio is rounded.
    same(good, found, but=("plr",), atol=0.00101 if name == "26_per_ul.csv" else 0.0)
    np.testing.assert_allclose(good["plr"], found["plr"], atol=0.0501)


SEX_WORDS = (
    "muž žena", "férfi nő", "mies nainen", "nam nữ", "laki-laki perempuan", "άνδρας γυναίκα", "bărbat femeie",
)  # fmt: skip
YES_WORDS = ("ano ne", "kyllä ei", "igen nem", "có không", "ya tidak", "ναι όχι", "da nu", "✓ ✗")
HEADERS = (
    {"age": "Возраст", "smoking": "Курение", "diabetes": "Диабет", "bmi": "ИМТ", "neutrophils": "Нейтрофилы"},
    {
        "age": "나이",
        "sex_male": "남성",
        "smoking": "흡연",
        "diabetes": "당뇨",
        "diagnosis": "진단",
        "platelets": "혈소판",
    },
    {"age": "Yaş", "sex_male": "erkek", "smoking": "Sigara", "diabetes": "Diyabet", "bmi": "VKİ", "diagnosis": "Tanı"},
    {"age": "Wiek", "sex_male": "mężczyzna", "smoking": "Palenie", "diabetes": "Cukrzyca", "platelets": "Płytki"},
    {"sex_male": "homme", "neutrophils": "PNN (G/L)", "hypertension": "HTA"},
)


@pytest.mark.parametrize("headers", HEADERS, ids=lambda one: str(next(iter(one.values()))))
def test_headers_of_further_languages(headers: dict[str, str], good: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "cohort.csv"
    pd.read_csv(FORMATS / GOOD).rename(columns=headers).to_csv(path, index=False)
    same(good, pd.DataFrame([row.checked.values for row in read_cohort(path)[1].rows]), but=("scanner_stratum",))


def test_words_of_further_languages(tmp_path: Path) -> None:
    given = pd.read_csv(FORMATS / GOOD).head(30)
    path = tmp_path / "cohort.csv"
    for sex, answer in zip((*SEX_WORDS, SEX_WORDS[0]), YES_WORDS, strict=True):
        (man, woman), (yes, no) = sex.split(), answer.split()
        worded = given.assign(sex_male=given["sex_male"].map({1: man, 0: woman}))
        worded["smoking"] = given["smoking"].map({1: yes, 0: no})
        worded.rename(columns={"sex_male": "sex"}).to_csv(path, index=False)
        found = pd.DataFrame([row.checked.values for row in read_cohort(path)[1].rows])
        assert found["sex_male"].tolist() == given["sex_male"].tolist(), sex
        assert found["smoking"].tolist() == given["smoking"].tolist(), answer


def recoded(column: str, one: str, zero: str, header: str = "") -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A yes/no column or the sex in other words, under another name."""
    return lambda given: given.assign(**{column: given[column].map({"1": one, "0": zero})}).rename(
        columns={column: header or column}
    )


def with_cell(column: str, *cells: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Other cells in the first rows of a column."""
    return lambda given: given.assign(**{column: [*cells, *given[column][len(cells) :]]})


def each(column: str, change: Callable[[str], str]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Every cell of a column written another way."""
    return lambda given: given.assign(**{column: given[column].map(change)})


EXPORTS: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], Callable[[str], str], int, list[str]]] = {
    # what is done to the cells and to the text; how many are eligible, and the codes of the problems
    "comments above": (lambda t: t, lambda s: f"# Export 2025-05-12\n# Klinik\n{s}", 120, []),
    "a title above": (lambda t: t, lambda s: f"VBQ cohort, exported 2025-05-12\n\n{s}", 120, []),
    "a title of a spreadsheet": (lambda t: t, lambda s: "VBQ Kohorte" + ";" * 17 + "\n" + s.replace(",", ";"), 120, []),
    "header in three lines": (lambda t: t, lambda s: s.replace("id,vbq,age", 'id,vbq,"Age\n(years)"', 1), 120, []),
    "header again": (lambda t: t, lambda s: s.replace("\nP061", f"\n{s.partition(chr(10))[0]}\nP061"), 120,
                     ["row-of-names"]),
    "○ and ×": (recoded("smoking", "○", "×"), str, 120, []),
    "a tick and ×": (recoded("diabetes", "√", "×"), str, 120, []),
    "V and F": (recoded("diabetes", "V", "F"), str, 120, []),
    "wahr and falsch": (recoded("smoking", "WAHR", "FALSCH"), str, 120, []),
    "vorhanden": (recoded("smoking", "vorhanden", "nicht vorhanden"), str, 120, []),
    "1.0": (recoded("smoking", "1.00", "0.00"), str, 120, []),
    "one who is neither": (lambda t: with_cell("Geschlecht", "d")(recoded("sex_male", "m", "w", "Geschlecht")(t)), str,
                           119, ["value-not-yes-or-no"]),
    "three who are neither": (lambda t: with_cell("sex", *["divers"] * 3)(recoded("sex_male", "männl.", "weibl.",
                              "sex")(t)), str, 117, ["value-not-yes-or-no"] * 3),
    "weekdays": (each("surgery_date", lambda day: f"Mi {day[8:]}.{day[5:7]}.{day[:4]}"), str, 120, []),
    "units in the cells": (lambda t: each("age", "{} years".format)(each("bmi", "{} kg/m²".format)(t)), str, 120, []),
    "a day that is none": (with_cell("cbc_date", "9999-12-31", "1900-01-01"), str, 120, []),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPORTS)
def test_a_table_as_a_clinic_exports_it(name: str, good: pd.DataFrame, tmp_path: Path) -> None:
    change, write, eligible, problems = EXPORTS[name]
    path = tmp_path / "cohort.csv"
    path.write_text(write(change(pd.read_csv(FORMATS / GOOD, dtype=str)).to_csv(index=False)), encoding="utf-8")
    table = read_cohort(path)[1]
    assert sorted(codes(problem.cause for problem in table.problems)) == problems
    found = [row.checked.values for row in table.rows if row.checked.eligible]
    assert len(found) == eligible
    numbers = ["vbq", "age", "sex_male", "smoking", "diabetes", "nlr", "plr"]
    assert pd.DataFrame(found)[numbers].equals(good[numbers].tail(eligible).reset_index(drop=True))
    assert {row["surgery_date"] for row in found} <= set(good["surgery_date"])


NO_COLUMNS = {
    "a day of birth": ("age", lambda age: f"{2024 - int(age)}-03-05", "column-not-numbers"),
    "a number and its error": ("vbq", lambda vbq: f"{vbq} ± 0.12", "column-not-numbers"),
    "units of two kinds": ("bmi", lambda bmi: f"{bmi} kg/m2" if bmi < "25" else f"{bmi} lb/in2", "column-not-numbers"),
    "a unit that is not known": ("age", lambda age: f"{age} moons", "column-not-numbers"),
    "a cross may be a tick": ("smoking", lambda one: "×" if one == "1" else "", "column-coding-unclear"),
}


@pytest.mark.parametrize("name", NO_COLUMNS)
def test_a_column_with_something_else_in_it_is_refused_as_a_column(name: str, tmp_path: Path) -> None:
    column, change, code = NO_COLUMNS[name]
    path = tmp_path / "cohort.csv"
    each(column, change)(pd.read_csv(FORMATS / GOOD, dtype=str)).to_csv(path, index=False)
    understood = preview(path).understood
    assert understood is not None
    assert codes(understood.doubts) == [code]


@pytest.mark.parametrize("column", ["bmi", "smoking", "calcium"])
def test_a_column_that_is_blank_in_every_row_is_named(column: str, tmp_path: Path) -> None:
    path = tmp_path / "cohort.csv"
    each(column, lambda _: "")(pd.read_csv(FORMATS / GOOD, dtype=str)).to_csv(path, index=False)
    shown = preview(path).to_json_dict()
    (odd,) = [one["odd_codes"] for one in shown["columns"] if one["name"] == column]
    assert odd == ("column-empty",)
    table = read_cohort(path)[1]
    assert [str(one.reason) for one in table.problems] == [f"{column}: blank in every row"]
    # The model does without calcium.
    assert sum(row.checked.eligible for row in table.rows) == (120 if column == "calcium" else 0)


@pytest.mark.parametrize("begin", ["<html><body><table>", '<?xml version="1.0"?>', "%PDF-1.7", '[{"id": "P001"}]'])
def test_what_is_no_table_is_named_and_not_quoted(begin: str, tmp_path: Path) -> None:
    path = tmp_path / "cohort.xls"
    path.write_text(f"{begin}<td>P001</td>")
    with pytest.raises(CohortError, match="no table but begins with") as caught:
        read_cohort(path)
    assert "P001" not in str(caught.value)


def test_a_first_line_that_names_nothing_is_not_shown_whole(tmp_path: Path) -> None:
    path = tmp_path / "cohort.csv"
    path.write_text("x" * 500 + "\n1\n")
    with pytest.raises(CohortError) as caught:
        read_cohort(path)
    assert "x" * 50 not in str(caught.value)


def test_days_of_a_workbook_that_counts_from_1904() -> None:
    """Its day 0 is four years and a day after that of all others (ECMA-376, part 1, 18.17.4.1)."""
    cells = [(date(2024, 5, 22) - date(1904, 1, 1)).days] * 2
    source = Source(column="surgery_date", header="", as_named="", cells=[str(one) for one in cells], day_0=MAC_DAY_0)
    assert days(source, frozenset()).cells == ["2024-05-22"] * 2


def test_cells_of_several_values_are_no_reason_to_stop(good: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "cohort.parquet"
    pd.read_csv(FORMATS / GOOD).assign(levels=[["L4", "L5"]] * 120).to_parquet(path)
    same(good, pd.DataFrame([row.checked.values for row in read_cohort(path)[1].rows]), but=("scanner_stratum",))


def test_a_question_that_nobody_answered_is_refused() -> None:
    text = preview(FORMATS / "14_sex_4.csv").proposal
    with pytest.raises(CohortError, match="leaves open what '1' of sex_male means"):
        read_cohort(FORMATS / "14_sex_4.csv", mapping=text)


def test_exchanged_ratios_are_settled_by_the_proposal_as_it_is(good: pd.DataFrame) -> None:
    found = frame("../data/ratios_swapped.csv", preview(DATA / "ratios_swapped.csv").proposal)
    np.testing.assert_allclose(found["nlr"], good["nlr"])
    np.testing.assert_allclose(found["plr"], good["plr"])


def test_the_sign_of_the_t_score_comes_back() -> None:
    found = frame("../data/tscore_sign_lost.csv", preview(DATA / "tscore_sign_lost.csv").proposal)
    given = pd.read_csv(DATA / "tscore_sign_lost.csv")["t_score"]
    np.testing.assert_allclose(found["t_score"], -given)


def test_percentages_without_leukocytes_are_no_counts_and_with_them_are(tmp_path: Path) -> None:
    path = FORMATS / "25_percent_counts.csv"
    text = preview(path).proposal
    with pytest.raises(CohortError, match="plr was computed from percentages"):
        read_cohort(path, mapping=text)
    given = pd.read_csv(path)
    head, _, rest = text.partition("[columns.plr]")
    without = f'ignore = ["plr"]\n{head}' + rest[rest.index("\n\n") :]
    rows = read_cohort(path, mapping=without)[1].rows
    assert [row.checked.values["nlr"] for row in rows] == given["nlr"].tolist()
    assert {row.checked.values["plr"] for row in rows} == {None}
    assert {row.checked.exclusion_reasons[0].code for row in rows} == {"incomplete-data"}
    counted = tmp_path / "with.csv"
    given.assign(wbc=8.0).rename(columns={"neutrophils": "Neutrophile (%)", "lymphocytes": "Lymphozyten %"}).drop(
        columns="plr"
    ).to_csv(counted, index=False)
    rows = read_cohort(counted)[1].rows
    shares = given["lymphocytes"] * 0.08
    np.testing.assert_allclose([float(row.checked.values["lymphocytes"] or 0) for row in rows], shares)
    np.testing.assert_allclose([float(row.checked.values["plr"] or 0) for row in rows], given["platelets"] / shares)


def test_an_r_data_file_is_named() -> None:
    with pytest.raises(CohortError, match=r"R data file.*write\.csv"):
        read_cohort(FORMATS / "55_r.rds")


def test_spss_labels_and_declared_missing_values(tmp_path: Path) -> None:
    """Sex by its labels whatever the codes, 999 declared missing, numbers of Stata in single precision as typed."""
    given = pd.read_csv(FORMATS / GOOD)
    coded = given.assign(sex_male=given["sex_male"].map({1: 2.0, 0: 1.0}), bmi=[999.0, *given["bmi"][1:]])
    coded["diagnosis"] = given["diagnosis"].map({"LDH": 1.0, "LSS": 2.0, "LS": 3.0})
    coded["smoking"] = given["smoking"].map({1: 1.0, 0: 2.0})
    path = tmp_path / "cohort.sav"
    pyreadstat.write_sav(
        coded.rename(columns={"sex_male": "Geschlecht", "diagnosis": "V12"}), str(path),
        variable_value_labels={
            "Geschlecht": {1: "weiblich", 2: "männlich"}, "smoking": {1: "ja", 2: "nein"},
            "V12": {1: "Bandscheibenvorfall", 2: "Spinalkanalstenose", 3: "Spondylolisthese"},
        },
        column_labels={"V12": "Diagnose"}, missing_ranges={"bmi": [999]},
    )  # fmt: skip
    table = read_cohort(path)[1]
    assert [row.checked.eligible for row in table.rows] == [False, *[True] * 119]
    assert table.problems == ()
    found = pd.DataFrame([row.checked.values for row in table.rows])
    for name in ("sex_male", "smoking", "diagnosis"):
        assert found[name].tolist() == given[name].tolist()
    single = tmp_path / "cohort.dta"
    given.astype(dict.fromkeys(("vbq", "bmi", "nlr", "plr"), np.float32)).to_stata(single, write_index=False)
    found = pd.DataFrame([row.checked.values for row in read_cohort(single)[1].rows])
    assert found["vbq"].tolist() == given["vbq"].tolist()


def test_the_preview_shows_each_column_and_stores_nothing(tmp_path: Path) -> None:
    shown = preview(FORMATS / "13_numeric_missing_codes.csv").to_json_dict()
    json.dumps(shown, allow_nan=False)
    assert (shown["rows"], shown["eligible"], shown["excluded"]) == (120, 113, 7)
    by_name = {one["name"]: one for one in shown["columns"]}
    age = by_name["age"]
    given = pd.read_csv(FORMATS / "13_numeric_missing_codes.csv")["age"]
    assert age["spread"]["median"] == given.median()
    assert sum(age["spread"]["histogram"]) == 120
    assert age["odd_codes"] == ("value-like-missing-code",)
    assert by_name["smoking"]["texts"] == {"0": 78, "1": 41, "9": 1}
    assert by_name["platelets"]["missing"] == 1


def test_a_table_without_the_names_gets_a_mapping_that_asks_for_them(tmp_path: Path) -> None:
    path = tmp_path / "cohort.csv"
    text = (FORMATS / GOOD).read_text().replace("id,vbq,age", "id,Messwert,age", 1)
    path.write_text(text)
    shown = preview(path)
    assert shown.exit_code == 1
    assert '[columns.vbq]\nfrom = "?"' in shown.proposal
    with pytest.raises(CohortError, match="question open for vbq"):
        read_cohort(path, mapping=shown.proposal)
    answered = shown.proposal.replace('[columns.vbq]\nfrom = "?"', '[columns.vbq]\nfrom = "Messwert"')
    assert sum(row.checked.eligible for row in read_cohort(path, mapping=answered)[1].rows) == 120


def test_missing_values_by_variable_and_who_is_left_out() -> None:
    """A cohort of 300 with holes; the numbers by pandas from the file itself."""
    path = DATA / "A_skewed_ties_outlier.csv"
    rows = [row.checked for row in read_cohort(path)[1].rows]
    report = missing_report(rows).to_json_dict()
    given = pd.read_csv(path)
    assert (report["analysed"], report["left_out"]) == (271, 29)
    for name in ("bmi", "age", "smoking", "plr"):
        assert report["variables"][name]["missing"] == given[name].isna().sum(), name
    assert report["variables"]["nlr"]["missing"] == 0  # each blank one has its counts
    used = given[[row.eligible for row in rows]]
    assert report["variables"]["bmi"]["analysed"]["median"] == pytest.approx(used["bmi"].median())
    assert report["variables"]["smoking"]["analysed"]["percent_yes"] == pytest.approx(100 * used["smoking"].mean())


COUNTS_WITH_UNITS = {
    "10^9/L": ("{} 10^9/L", 1),
    "per µL": ("{}/µL", 1000),
    "thousands": ("{} ×10³/µl", 1),
}


@pytest.mark.parametrize("name", COUNTS_WITH_UNITS)
def test_counts_whose_cells_name_their_unit_are_read_in_it(name: str, good: pd.DataFrame, tmp_path: Path) -> None:
    write, factor = COUNTS_WITH_UNITS[name]
    path = tmp_path / "cohort.csv"
    given = pd.read_csv(FORMATS / GOOD, dtype=str)
    for column in ("neutrophils", "lymphocytes", "platelets"):
        given = each(column, lambda cell: write.format(f"{float(cell) * factor:g}"))(given)
    given.drop(columns=["nlr", "plr"]).to_csv(path, index=False)
    table = read_cohort(path)[1]
    found = pd.DataFrame([row.checked.values for row in table.rows])
    for column in ("neutrophils", "lymphocytes", "platelets"):
        assert found[column].to_numpy() == pytest.approx(good[column].to_numpy(), rel=1e-5)


def test_cells_in_another_unit_than_their_column_says_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cohort.csv"
    given = each("platelets", lambda cell: f"{float(cell) * 1000:.0f}/µL")(pd.read_csv(FORMATS / GOOD, dtype=str))
    given.rename(columns={"platelets": "platelets (10^9/L)"}).to_csv(path, index=False)
    understood = preview(path).understood
    assert understood is not None
    assert codes(understood.doubts) == ["column-not-numbers"]
