"""The numbers of one blood count against each other, on the scale on which units slip. By hand."""

import pytest

from analytics.counts.plausibility import Quantities, contradictions, oddities


def found(**numbers: float | None) -> Quantities:
    """``n``, ``l`` and ``m`` as counted, ``np``, ``lp`` and ``mp`` their percentages, ``w`` the leukocytes, ``p`` the
    platelets.
    """
    n, lymphocytes, platelets = numbers.get("n"), numbers.get("l"), numbers.get("p")
    return Quantities(
        counted={"neutrophils": n, "lymphocytes": lymphocytes},
        percent={"neutrophils": numbers.get("np"), "lymphocytes": numbers.get("lp")},
        leukocytes=numbers.get("w"),
        monocytes_percent=numbers.get("mp"),
        monocytes=numbers.get("m"),
        platelets=platelets,
        indices={
            "nlr": n / lymphocytes if n and lymphocytes else None,
            "plr": platelets / lymphocytes if platelets and lymphocytes else None,
        },
    )


def codes(quantities: Quantities) -> list[str]:
    return [reason.code for reason in contradictions(quantities)]


RIGHT = [
    {"n": 4.0, "l": 2.0, "w": 7.0, "p": 250.0, "np": 57.0, "lp": 28.5},
    {"n": 4.0, "l": 2.0, "p": 250.0},
    {"w": 7.0, "np": 57.0, "lp": 28.5},
    {"n": 0.3, "l": 0.2, "w": 0.8, "p": 9.0},  # after chemotherapy
    {"n": 5.1, "l": 0.2, "w": 5.6, "p": 30.0},  # lymphopenia
    {"n": 175.0, "l": 0.2, "w": 180.0, "p": 1200.0, "np": 97.2, "lp": 0.1},  # a very ill patient, each number twice
    {"n": 6.0, "l": 170.0, "w": 180.0, "p": 90.0, "np": 3.0, "lp": 94.0},  # chronic lymphocytic leukaemia
    {"n": 6.0, "l": 170.0, "w": 180.0, "p": 90.0},  # the same of a laboratory that sends no percentages
    {"n": 18.0, "l": 1.1, "w": 21.0, "p": 640.0},  # sepsis
    {"n": 2.1, "l": 1.0, "w": 9.6},  # eosinophilia, 32 % of the leukocytes
    {"n": 0.1, "l": 0.3, "w": 0.5, "np": 50.0, "lp": 40.0},  # rounded to 0.1
    {"w": 5.4, "np": 78.0, "lp": 9.0, "mp": 11.0},  # lymphopenia
    {"w": 5.4, "np": 50.0, "lp": 30.0, "mp": 17.0},  # monocytosis
    {"n": 3.0, "l": 0.35, "w": 5.4, "np": 55.6, "lp": 6.5, "mp": 34.7},  # myelomonocytic leukaemia, each number twice
    {"n": 4.0, "l": 1.6, "m": 0.5, "w": 7.0, "np": 57.0, "lp": 28.5, "mp": 7.0},  # another channel, or by hand
    {"n": 5.4, "l": 0.4, "m": 0.5, "w": 6.4, "np": 84.0, "lp": 6.0, "mp": 8.0},  # lymphopenia
    {"n": 0.5, "l": 0.5, "w": 1.2, "p": 62.0},  # chemotherapy: few platelets as well
    {"n": 0.2, "l": 1.5, "w": 1.8, "p": 240.0},  # agranulocytosis: the lymphocytes are there
    {"n": 90.0, "l": 4.5, "w": 102.0, "p": 420.0},  # chronic myeloid leukaemia, lymphocytes 4 %
    {"n": 16.0, "l": 15.0, "w": 34.0, "p": 260.0},
]


@pytest.mark.parametrize("numbers", RIGHT)
def test_a_count_that_can_be_is_not_held(numbers: dict[str, float]) -> None:
    assert codes(found(**numbers)) == []


EXCHANGED = "lymphocytes-exchanged-for-monocytes"
SLIPPED = "white-cells-in-another-unit"


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ({"n": 0.00378, "l": 0.001995, "w": 7.0, "p": 250.0}, "counts-far-below-leukocytes"),
        ({"n": 4.0, "l": 0.002, "w": 7.0, "p": 250.0, "lp": 28.5}, "count-and-percentage-far-apart"),
        ({"n": 4.0, "l": 0.2, "w": 7.0, "p": 250.0, "lp": 28.5}, "count-and-percentage-far-apart"),  # tenfold
        ({"n": 40.0, "l": 2.0, "w": 70.0, "np": 5.7, "lp": 2.85}, "percentages-far-below-100"),
        ({"w": 7.0, "np": 0.57, "lp": 0.285, "p": 250.0}, "percentages-far-below-100"),
        ({"n": 4.0, "l": 0.002, "p": 250.0}, "ratio-not-plausible"),
        ({"n": 420.0, "l": 140.0, "w": 600.0, "p": 250.0}, "ratio-not-plausible"),  # all leukocytes a hundredfold
        ({"n": 120.0, "l": 160.0, "w": 300.0, "p": 250.0}, "ratio-not-plausible"),
        ({"n": 0.4, "l": 0.2, "w": 7.0, "p": 250.0}, "counts-far-below-leukocytes"),  # both cells tenfold too small
        ({"n": 4.0, "l": 2.0, "w": 0.7}, "counts-above-leukocytes"),
        ({"n": 57.0, "l": 28.5}, "counts-like-percentages"),
        ({"np": 75.0, "lp": 28.0}, "percentages-above-100"),
        ({"w": 5.4, "np": 55.6, "lp": 6.5, "mp": 34.7}, "monocytes-above-lymphocytes"),
        # Lymphocytes and monocytes in each other's row: of both counts, of both percentages, of counts without one.
        ({"n": 4.0, "l": 0.8, "m": 2.0, "w": 7.0, "np": 57.0, "lp": 28.5, "mp": 11.4}, EXCHANGED),
        ({"n": 4.0, "l": 2.0, "m": 0.8, "w": 7.0, "np": 57.0, "lp": 11.4, "mp": 28.5}, EXCHANGED),
        ({"n": 4.0, "l": 0.8, "m": 2.0, "w": 7.0, "np": 57.0, "lp": 28.5, "mp": 100 * 2 / 7}, EXCHANGED),
        # 5.6, 2.2, 3.0 and 7.0, 4.0, 2.0 × 10⁹/L, ten or a hundred times too small or large; the platelets are right.
        ({"n": 0.022, "l": 0.030, "w": 0.056, "p": 270.0, "np": 39.0, "lp": 54.0}, SLIPPED),
        ({"n": 0.4, "l": 0.2, "w": 0.7, "p": 240.0}, SLIPPED),
        ({"w": 0.7, "np": 57.0, "lp": 28.5, "p": 240.0}, SLIPPED),
        ({"n": 40.0, "l": 20.0, "w": 70.0, "p": 240.0}, SLIPPED),
    ],
)
def test_a_slip_of_a_unit_is_held(numbers: dict[str, float], code: str) -> None:
    assert code in codes(found(**numbers))


@pytest.mark.parametrize(
    ("counted", "held", "told"), [(2.0, False, False), (1.6, False, True), (0.67, False, True), (0.66, True, False)]
)
def test_a_count_is_told_when_off_and_held_when_three_times_off(counted: float, held: bool, told: bool) -> None:
    """Leukocytes 7.0 × 28.571 % are 2.0; a third of it is 0.667."""
    quantities = found(n=4.0, l=counted, w=7.0, lp=100 * 2 / 7)
    assert ("count-and-percentage-far-apart" in codes(quantities)) is held
    assert bool(oddities(quantities)) is told


@pytest.mark.parametrize(("share", "held"), [(0.149, True), (0.151, False)])
def test_the_least_share_of_the_leukocytes(share: float, held: bool) -> None:
    quantities = found(n=20 * share / 2, l=20 * share / 2, w=20.0)
    assert ("counts-far-below-leukocytes" in codes(quantities)) is held


@pytest.mark.parametrize(("nlr", "held"), [(200.0, False), (201.0, True)])
def test_a_ratio_at_the_edge_of_its_range(nlr: float, held: bool) -> None:
    assert ("ratio-not-plausible" in codes(found(n=nlr * 0.1, l=0.1))) is held


def test_a_ratio_beyond_its_range_is_believed_when_the_percentage_says_the_same() -> None:
    assert codes(found(n=60.0, l=0.2, w=61.0, np=98.4, lp=0.33)) == []
    assert codes(found(n=60.0, l=0.2, w=61.0)) == ["ratio-not-plausible"]
