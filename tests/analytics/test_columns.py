"""The tables of columns: what the design promises of a cohort file, and each index by hand."""

import pytest

from analytics.columns import CELLS, COHORT, INDICES, Index, columns
from analytics.episodes.cohort import check_row
from analytics.plausible import RANGES

PROMISED = (
    "id, vbq, age, sex_male, smoking, diabetes, hypertension, calcium, diagnosis, bmi, neutrophils, lymphocytes, "
    "platelets, nlr, plr"
)
"""Required columns of a cohort file, as scripts outside of the project write them."""


def test_the_required_columns_are_the_promised_ones_in_their_order() -> None:
    assert ", ".join(columns(required=True)) == PROMISED


def test_no_column_stands_twice_and_every_number_has_a_range() -> None:
    assert len({one.name for one in COHORT}) == len(COHORT)
    assert set(columns("number")) | set(CELLS) <= set(RANGES)


def test_what_stands_beside_the_paper_is_in_no_fit() -> None:
    assert not {"monocytes", "lmr", "sii", "siri"} & set(columns(in_fit=True))


def row(**cells: str) -> tuple[str, ...]:
    counts = {"neutrophils": "4.0", "lymphocytes": "2.0", "monocytes": "0.5", "platelets": "250"}
    return tuple(str(reason) for reason in check_row(counts | {"id": "A1"} | cells).problems)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("nlr", "2.00", "2.20"),  # 4.0 / 2.0
        ("plr", "125", "130"),  # 250 / 2.0
        ("lmr", "4.0", "4.9"),  # 2.0 / 0.5
        ("sii", "500", "560"),  # 250 × 4.0 / 2.0
        ("siri", "1.00", "2.00"),  # 4.0 × 0.5 / 2.0
    ],
)
def test_an_index_that_is_not_that_of_its_counts_is_a_problem(name: str, right: str, wrong: str) -> None:
    assert not row(**{name: right})
    (problem,) = row(**{name: wrong})
    assert problem.startswith(f"{name} {wrong} contradicts")


@pytest.mark.parametrize("index", INDICES, ids=lambda one: one.name)
def test_an_index_without_counts_beside_it_is_taken_as_it_is(index: Index) -> None:
    assert not [one for one in check_row({"id": "A1", index.name: "12.5"}).problems if index.name in str(one)]
