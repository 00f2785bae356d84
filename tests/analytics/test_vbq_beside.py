"""What stands beside the score, on a spine drawn with a ruler: marrow 100, fluid 40."""

import numpy as np
import pytest

from analytics.records import CSF, LEVELS, Circle
from analytics.vbq.beside import beside_the_score
from analytics.vbq.grid import to_grid
from analytics.vbq.score import score, segmental
from tests.analytics.drawn_spine import MM, SHAPE, Drawn

CENTRES = Drawn().centres()
SPINE = Drawn().spine()


def scored(image):
    circles = {name: Circle(row=CENTRES[name][0], col=CENTRES[name][1], radius_px=6.0) for name in LEVELS}
    circles[CSF] = Circle(row=CENTRES["L3"][0], col=CENTRES["L3"][1] + 26 / MM, radius_px=2.0)
    return score(image.signal, circles, spacing_mm=(MM, MM))


def beside(signal):
    image = Drawn().image()
    image = type(image)(**{**vars(image), "signal": signal})
    return beside_the_score(image, to_grid(image), SPINE, scored(image))


def test_levels_s1_and_end_plates_over_the_fluid():
    image = Drawn(signals={"L2": 120.0}).image()
    assert segmental(scored(image)) == pytest.approx({"L1": 2.5, "L2": 3.0, "L3": 2.5, "L4": 2.5}, abs=0.02)
    found = beside(Drawn().signal())
    assert found.s1_vbq == pytest.approx(2.5, abs=0.02)
    assert found.ebq == pytest.approx(dict.fromkeys(("L1/L2", "L2/L3", "L3/L4", "L4/L5", "L5/S1"), 2.5), abs=0.05)


def test_s1_has_a_circle_of_its_own_inside_it():
    found = beside(Drawn().signal())
    circle = found.s1.circle
    assert np.hypot(circle.row - CENTRES["S1"][0], circle.col - CENTRES["S1"][1]) * MM < 4
    assert SPINE.s1.mask[round(circle.row), round(circle.col)]


def test_dark_end_plates_lower_one_disc_alone():
    # Bodies reach to 4.5 mm from the middle of a disc; 3 mm more are end plates.
    middle = (CENTRES["L3"] + CENTRES["L4"]) / 2
    rows = np.abs(np.indices(SHAPE)[0] - middle[0]) * MM
    bodies = np.any([body.mask for body in SPINE.bodies], axis=0)
    found = beside(np.where(bodies & (rows < 9.0), 60.0, Drawn().signal()))
    assert found.ebq["L3/L4"] == pytest.approx(60 / 40, abs=0.1)
    assert found.ebq["L2/L3"] == pytest.approx(2.5, abs=0.05)


def test_without_s1_there_is_neither_its_score_nor_its_end_plate():
    spine = Drawn(without=frozenset({"S1"})).spine()
    image = Drawn().image()
    found = beside_the_score(image, to_grid(image), spine, scored(image))
    assert (found.s1, found.s1_vbq) == (None, None)
    assert list(found.ebq) == ["L1/L2", "L2/L3", "L3/L4", "L4/L5"]
