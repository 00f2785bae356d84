"""The ranges of living adults, each at its edges, and every door that uses them."""

from math import nan, nextafter

import pytest

from analytics.episodes.cohort import check_row
from analytics.plausible import RANGES


@pytest.mark.parametrize("name", sorted(RANGES))
def test_both_ends_belong_to_the_range_and_their_neighbours_do_not(name: str) -> None:
    one = RANGES[name]
    assert one.holds(one.low)
    assert one.holds(one.high)
    assert not one.holds(nextafter(one.high, 1e9))
    assert not one.holds(nextafter(one.low, -1e9))
    assert not one.holds(nan)


@pytest.mark.parametrize(
    ("name", "zero"), [("lymphocytes", True), ("platelets", True), ("leukocytes", True), ("vbq", False), ("nlr", False)]
)
def test_no_cells_is_a_count_but_no_score_and_no_ratio(name: str, zero: bool) -> None:
    assert RANGES[name].holds(0.0) is zero


@pytest.mark.parametrize(
    ("cells", "plausible"),
    [
        ({"vbq": "7.5"}, True),  # a lipomatous marrow beside a dark sac: measured by the node, so taken from a file
        ({"vbq": "8.1"}, False),
        ({"neutrophils": "150"}, True),  # chronic myeloid leukaemia
        ({"neutrophils": "3780"}, False),  # per µL
        ({"platelets": "1200"}, True),  # essential thrombocythaemia
        ({"platelets": "250000"}, False),  # per µL
        ({"lymphocytes": "0.2"}, True),
        ({"nlr": "201"}, False),
        ({"plr": "125000"}, False),
    ],
)
def test_a_file_is_held_to_the_same_ranges(cells: dict[str, str], plausible: bool) -> None:
    problems = check_row(cells | {"id": "A1"}).problems
    assert any("not plausible" in str(problem) for problem in problems) is not plausible
