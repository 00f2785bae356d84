"""Disease that no circle shows, drawn with a ruler: dark marrow about a disc, in one body, in patches, in all."""

import numpy as np
import pytest

from analytics.vbq.disease import doubts_of_bodies, marrow_signal
from analytics.vbq.fractures import fractured
from analytics.vbq.grid import Grid
from analytics.vbq.spine import BODY, find_spine
from tests.analytics.drawn_spine import MM, NAMES, SHAPE, Drawn, sure

SPINE = Drawn().spine()
CENTRES = Drawn().centres()


def grid_of(signal) -> Grid:
    return Grid(
        signal=signal,
        spacing_mm=MM,
        transposed=False,
        flipped=(False, False),
        native_shape=SHAPE,
        native_spacing_mm=(MM, MM),
    )


def found(signal) -> list[tuple[str, object]]:
    reasons = doubts_of_bodies(grid_of(signal), SPINE)
    return [
        (reason.code, reason.values.get("level", reason.values.get("upper", reason.values.get("levels"))))
        for reason in reasons
    ]


def marrow(signal, where, factor: float):
    """The signal of bodies and S1 there times a factor."""
    bodies = np.any([body.mask for body in (*SPINE.bodies, SPINE.s1)], axis=0)
    return np.where(bodies & where, signal * factor, signal)


def from_disc_mm(lower: str, upper: str):
    """Distance of each row from the middle of a disc."""
    middle = (CENTRES[lower] + CENTRES[upper]) / 2
    return np.abs(np.indices(SHAPE)[0] - middle[0]) * MM


def from_centre_mm(name: str):
    rows, columns = np.indices(SHAPE)
    return np.hypot(rows - CENTRES[name][0], columns - CENTRES[name][1]) * MM


HEALTHY = Drawn().signal()


def test_marrow_of_one_kind_gives_no_doubt():
    assert found(HEALTHY) == []
    assert marrow_signal(grid_of(HEALTHY), SPINE) == pytest.approx(100, abs=0.5)  # as drawn


@pytest.mark.parametrize(("lower", "upper"), [("L5", "L4"), ("L3", "L2"), ("L2", "L1")])
def test_an_infection_darkens_both_sides_of_a_disc(lower, upper):
    # The disc is 9 mm high, bodies are 26 mm: 21 mm reach over 63 % of either.
    infected = marrow(HEALTHY, from_disc_mm(lower, upper) < 21, 0.65)
    assert ("marrow-dark-about-disc", upper) in found(infected)


def test_an_infection_of_l5_and_s1_darkens_l5_towards_s1():
    infected = marrow(HEALTHY, from_disc_mm("S1", "L5") < 20, 0.6)
    assert ("marrow-dark-about-disc", "L5") in found(infected)


def test_bands_of_modic_changes_give_no_doubt():
    # 11.5 mm reach over 27 % of either body.
    assert found(marrow(HEALTHY, from_disc_mm("L3", "L2") < 11.5, 0.65)) == []


@pytest.mark.parametrize("name", ["L5", "L3", "L1"])
def test_a_body_that_is_replaced_is_dark_though_some_of_it_is_left(name):
    rest = np.indices(SHAPE)[1] > CENTRES[name][1] + 8  # the hindmost fifth
    replaced = marrow(HEALTHY, (from_centre_mm(name) < 24) & ~rest, 0.7)
    assert found(replaced) == [("body-dark", name)]
    assert found(marrow(HEALTHY, (from_centre_mm(name) < 24) & ~rest, 0.85)) == []


def test_the_end_of_the_coil_is_no_disease():
    rows = np.indices(SHAPE)[0]
    away = (rows - CENTRES["L3"][0]) / (CENTRES["S1"][0] - CENTRES["L3"][0])
    fall = 1 - 0.4 * away**2  # S1 at 0.6, L5 at about 0.8 of L3
    assert found(HEALTHY * fall) == []


def test_patches_in_the_middle_of_two_bodies_or_of_much_of_one():
    spots = (from_centre_mm("L4") < 6.5) | (from_centre_mm("L1") < 6.5)  # 133 of 26 × 34 mm²
    assert found(marrow(HEALTHY, spots, 0.5)) == [("marrow-patchy", ("L1", "L4"))]
    assert found(marrow(HEALTHY, from_centre_mm("L4") < 6.5, 0.5)) == []
    assert found(marrow(HEALTHY, from_centre_mm("L4") < 9, 0.5)) == [("marrow-patchy", ("L4",))]


def test_a_bright_haemangioma_makes_no_patches():
    assert found(marrow(HEALTHY, from_centre_mm("L2") < 8, 1.5)) == []


def cut(name: str, gone) -> list[str]:
    """Levels that are fractured where a part of a body is background: ``gone`` of depth (-17 … 17 mm, front negative)
    and height (-13 … 13 mm, the head negative)."""
    labels = Drawn().labels()
    rows, columns = np.indices(SHAPE)
    angle = np.radians(float(np.mean(Drawn().backwards_deg[NAMES.index(name) - 1 : NAMES.index(name) + 1])))
    row, column = (rows - CENTRES[name][0]) * MM, (columns - CENTRES[name][1]) * MM
    along, across = row * np.cos(angle) + column * np.sin(angle), column * np.cos(angle) - row * np.sin(angle)
    here = (labels == BODY) & (from_centre_mm(name) < 24) & gone(across, along)
    return list(fractured(find_spine(sure(np.where(here, 0, labels)), MM)))


def test_bodies_that_lost_height_in_one_place_are_fractured():
    # A front lower by 9 of 26 mm, a hollow of 8 mm, and the same by 3 mm.
    assert cut("L2", lambda across, along: along < -13 + 9 * (17 - across) / 34) == ["L2"]
    assert cut("L3", lambda across, along: along < -13 + 8 * (1 - (across / 17) ** 2)) == ["L3"]
    assert cut("L2", lambda across, along: along < -13 + 3 * (17 - across) / 34) == []
    assert cut("L3", lambda across, along: along < -13 + 3 * (1 - (across / 17) ** 2)) == []
