"""What no single row shows: units, exchanged columns, missing codes, pasted rows; and look-alikes that pass.

Numbers: lognormal cohorts as published (lymphocytes 1.8, neutrophils 4.2, platelets 235 × 10⁹/L in the median).
"""

import numpy as np
import pytest

from analytics.episodes.cohort import check_row
from analytics.episodes.whole_table import column_doubts, row_doubts
from analytics.reasons import codes

N = 100


def cohort(seed: int = 7) -> dict[str, list[float | None]]:
    r = np.random.default_rng(seed)
    neutrophils, lymphocytes = np.exp(r.normal(np.log(4.2), 0.3, N)), np.exp(r.normal(np.log(1.8), 0.3, N))
    platelets = np.exp(r.normal(np.log(235), 0.25, N))
    return {
        "vbq": r.normal(3, 0.3, N).tolist(),
        "neutrophils": neutrophils.tolist(),
        "lymphocytes": lymphocytes.tolist(),
        "platelets": platelets.tolist(),
        "nlr": (neutrophils / lymphocytes).tolist(),
        "plr": (platelets / lymphocytes).tolist(),
    }


def times(values: list[float | None], factor: float) -> list[float | None]:
    return [None if one is None else one * factor for one in values]


@pytest.mark.parametrize("seed", range(5))
def test_a_clean_cohort_has_no_doubts(seed: int) -> None:
    numbers = cohort(seed)
    assert column_doubts(numbers) == []
    assert row_doubts(rows(numbers)) == {}


@pytest.mark.parametrize(
    ("column", "factor"),
    [("platelets", 0.1), ("platelets", 0.01), ("platelets", 1000.0), ("lymphocytes", 10.0), ("lymphocytes", 1000.0),
     ("neutrophils", 0.1), ("plr", 0.1), ("nlr", 10.0), ("vbq", 100.0)],
)  # fmt: skip
def test_a_column_in_another_unit_is_named_with_the_factor_back(column: str, factor: float) -> None:
    numbers = cohort()
    found = column_doubts(numbers | {column: times(numbers[column], factor)})
    assert [(one.column, one.reason.code) for one in found] == [(column, "column-in-another-unit")]
    assert found[0].factor == pytest.approx(1 / factor)


@pytest.mark.parametrize("factor", [0.6, 1.6])
def test_a_cohort_of_the_ill_is_no_other_unit(factor: float) -> None:
    numbers = cohort()
    for column in ("neutrophils", "lymphocytes", "platelets", "nlr", "plr"):
        assert column_doubts(numbers | {column: times(numbers[column], factor)}) == []


def test_percentages_and_exchanged_columns() -> None:
    numbers = cohort()
    shares = {"neutrophils": [62.0] * N, "lymphocytes": [27.0] * N}
    assert [one.percent for one in column_doubts(numbers | shares)] == [True, True]
    swapped = numbers | {"nlr": numbers["plr"], "plr": numbers["nlr"]}
    assert [(one.column, one.exchanged_with) for one in column_doubts(swapped)] == [("nlr", "plr"), ("plr", "nlr")]


def test_neutrophils_and_lymphocytes_exchanged_are_known_by_their_quotient() -> None:
    numbers = cohort()
    swapped = numbers | {"neutrophils": numbers["lymphocytes"], "lymphocytes": numbers["neutrophils"]}
    found = [(one.column, one.exchanged_with) for one in column_doubts(swapped | {"nlr": [], "plr": []})]
    assert found == [("neutrophils", "lymphocytes"), ("lymphocytes", "neutrophils")]


@pytest.mark.parametrize(
    ("column", "values"),
    [("plr", [float(np.log(100 + i % 50)) for i in range(N)]), ("bmi", [55.0 + i % 50 for i in range(N)]),
     ("age", [600.0 + 5 * (i % 50) for i in range(N)]), ("age", [20.0 + i % 6 for i in range(N)])],
)  # fmt: skip
def test_a_column_of_something_else_is_named(column: str, values: list[float]) -> None:
    """Logarithms, weights, months, and the BMI in the place of the age."""
    found = column_doubts(cohort() | {column: values})
    assert [(one.column, one.reason.code, one.factor) for one in found] == [(column, "column-of-something-else", None)]


def test_t_scores_without_a_sign_and_with_one() -> None:
    lost = [abs(x) for x in np.random.default_rng(1).normal(-1.2, 1, 60)]
    assert [one.factor for one in column_doubts({"t_score": lost})] == [-1.0]
    assert column_doubts({"t_score": [-0.1, *lost]}) == []
    assert column_doubts({"t_score": [0.4] * 5}) == []


@pytest.mark.parametrize("seed", range(3))
def test_percentages_beside_counts_are_no_other_unit(seed: int) -> None:
    """Both make the median ten times that of counts; a share goes against the count of the other cells."""
    numbers = cohort(seed)
    pairs = list(zip(numbers["neutrophils"], numbers["lymphocytes"], strict=True))
    for column, place in (("neutrophils", 0), ("lymphocytes", 1)):
        shares = [100 * (pair[place] or 0) / (sum(one or 0 for one in pair) + 0.7) for pair in pairs]
        (found,) = column_doubts({**numbers, column: shares, "nlr": [], "plr": []})
        assert (found.reason.code, found.percent, found.factor) == ("column-like-percentages", True, None)
        tenfold = {**numbers, column: times(numbers[column], 10)}
        (found,) = column_doubts(tenfold)
        assert (found.reason.code, found.factor) == ("column-in-another-unit", 0.1)


def test_a_ratio_the_other_way_round_has_no_factor() -> None:
    numbers = cohort()
    turned = [1 / one if one else None for one in numbers["nlr"]]
    (found,) = column_doubts(numbers | {"nlr": turned})
    assert (found.reason.code, found.factor) == ("ratio-inverted", None)
    assert column_doubts(numbers | {"nlr": times(numbers["nlr"], 0.5)}) == [], "1.2: many lymphocytes"


def rows(numbers: dict[str, list[float | None]], **changes: dict[int, float]):
    r = np.random.default_rng(3)
    ages, bmis = r.integers(50, 86, N), np.round(r.normal(25, 3, N), 2)
    made = []
    for i in range(N):
        cells = {name: changes.get(name, {}).get(i, values[i]) for name, values in numbers.items()}
        for ratio, (upper, lower) in {
            "nlr": ("neutrophils", "lymphocytes"),
            "plr": ("platelets", "lymphocytes"),
        }.items():
            if i not in changes.get(ratio, {}):
                cells[ratio] = cells[upper] / cells[lower]
        own = {"age": changes.get("age", {}).get(i, int(ages[i])), "bmi": changes.get("bmi", {}).get(i, bmis[i])}
        flags = {"sex_male": "1", "smoking": "0", "diabetes": "0", "diagnosis": "LDH"}
        made.append(check_row({"id": f"P{i}", **flags, **{k: repr(float(v)) for k, v in (cells | own).items()}}))
    return made


@pytest.mark.parametrize("share", [5, 20, 30])
@pytest.mark.parametrize(("column", "factor"), [("lymphocytes", 0.1), ("platelets", 10), ("neutrophils", 0.01)])
def test_a_share_of_rows_in_another_unit_is_held_and_no_other(column: str, factor: float, share: int) -> None:
    numbers = cohort()
    wrong = {i: float(numbers[column][i] or 0) * factor for i in range(share)}
    found = row_doubts(rows(numbers, **{column: wrong}))
    assert set(found) == set(range(share))
    assert {code for reasons in found.values() for code in codes(reasons)} == {"value-in-another-unit"}
    own = [one for reasons in found.values() for one in reasons if one.values["column"] == column]
    factors = {one.values["factor"] for one in own}
    assert sorted(factors) == [pytest.approx(1 / factor)]


@pytest.mark.parametrize("seed", range(3))
def test_the_tail_of_a_large_cohort_is_no_cluster(seed: int) -> None:
    values = np.exp(np.random.default_rng(seed).normal(np.log(2.3), 0.5, 5000))
    made = [
        check_row({"id": str(i), "vbq": "3", "nlr": repr(float(one)), "plr": "130"}) for i, one in enumerate(values)
    ]
    assert row_doubts(made) == {}


def test_the_truly_ill_are_not_held() -> None:
    """A platelet count of 60, a neutrophilia of 14 and a lymphopenia of 0.6 × 10⁹/L stand in elective lists."""
    found = row_doubts(rows(cohort(), platelets={1: 60}, neutrophils={2: 14}, lymphocytes={3: 0.6}, bmi={4: 55}))
    assert found == {}


def test_codes_for_missing_inside_the_range() -> None:
    found = row_doubts(rows(cohort(), age={1: 99}, bmi={2: 77}, platelets={3: 999}))
    assert {i: codes(reasons) for i, reasons in found.items()} == {i: ["value-like-missing-code"] for i in (1, 2, 3)}
    assert row_doubts(rows(cohort(), age={1: 99, 2: 94})) == {}  # among others of that age it is an age
    settled = frozenset({"age", "bmi", "platelets"})
    assert set(row_doubts(rows(cohort(), age={1: 99}, bmi={2: 77}), settled=settled)) == set()


def test_a_row_pasted_again_is_held_and_the_first_one_is_not() -> None:
    made = rows(cohort())
    again = check_row({name: str(value) for name, value in made[5].values.items() if value is not None} | {"id": "X"})
    found = row_doubts([*made, again])
    assert {i: codes(reasons) for i, reasons in found.items()} == {N: ["row-pasted-again"]}
    assert found[N][0].values["of"] == "P5"
    second_operation = check_row(
        {n: str(v) for n, v in made[5].values.items() if v is not None} | {"id": "Y", "vbq": "3.33"}
    )
    assert row_doubts([*made, second_operation]) == {}
    rounded = check_row(
        {n: str(v) for n, v in made[5].values.items() if v is not None}
        | {"id": "Z", "vbq": f"{made[5].values['vbq']:.1f}", "smoking": "1"}
    )
    found = row_doubts([*made, rounded])
    assert {i: codes(reasons) for i, reasons in found.items()} == {N: ["row-pasted-again"]}
