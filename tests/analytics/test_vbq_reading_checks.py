"""What a person's circles must pass: outlines and levels of a drawn spine, distance from the automatic score."""

from dataclasses import replace

import numpy as np
import pytest

from analytics.records import CSF, LEVELS, Circle, MeasurementStatus
from analytics.vbq.automatic import AutomaticMeasurement, SagittalImage
from analytics.vbq.reading_checks import doubts_of_circles, doubts_of_picture, far_from, share_inside, uncertain
from analytics.vbq.score import score

SQUARE = np.array([[10.0, 10.0], [10.0, 30.0], [30.0, 30.0], [30.0, 10.0]])


def box(row: float, column: float, height: float, width: float) -> np.ndarray:
    half = np.array([height, width]) / 2
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1], [-1, -1]])
    return np.array([row, column]) + corners * half


ROWS = {"L1": 50.0, "L2": 90.0, "L3": 130.0, "L4": 170.0, "L5": 210.0}
SEEN = AutomaticMeasurement(
    status=MeasurementStatus.MEASURED, reasons=(), slice_index=0, score=None, vbq_sd=None, levels_confidence=None,
    outlines={**{name: box(row, 100, 28, 36) for name, row in ROWS.items()}, "canal": box(130, 140, 200, 18)},
)  # fmt: skip
CIRCLES = {
    **{name: Circle(row=ROWS[name], col=100, radius_px=9) for name in ("L1", "L2", "L3", "L4")},
    "CSF": Circle(row=130, col=140, radius_px=3),
}


def codes(**changes: Circle) -> list[str]:
    return [one.code for one in doubts_of_circles({**CIRCLES, **changes}, SEEN)]


def test_the_share_of_a_circle_inside_an_outline():
    assert share_inside(Circle(row=20, col=20, radius_px=8), SQUARE) == 1
    assert share_inside(Circle(row=20, col=50, radius_px=8), SQUARE) == 0
    assert share_inside(Circle(row=20, col=30, radius_px=8), SQUARE) == pytest.approx(0.5, abs=0.06)
    # Smaller than a pixel: where its centre is.
    assert share_inside(Circle(row=20.5, col=20.5, radius_px=0.1), SQUARE) == 1


def test_right_circles_pass():
    assert codes() == []


def test_slips_are_named():
    assert codes(CSF=Circle(row=130, col=70, radius_px=3)) == ["circle-outside-canal"]  # before the bodies
    assert codes(CSF=Circle(row=130, col=155, radius_px=3)) == ["circle-outside-canal"]  # behind the canal
    assert codes(L2=Circle(row=110, col=100, radius_px=6)) == ["circle-outside-body"]  # on the disc
    lower = {name: CIRCLES[name] for name in ("L1", "L2", "L3", "L4")}
    shifted = {name: replace(circle, row=circle.row + 40) for name, circle in lower.items()}
    assert codes(**shifted) == [*["circle-on-other-level"] * 4, "csf-not-at-l3"]


@pytest.mark.parametrize(("row", "said"), [(112, []), (108, ["csf-not-at-l3"]), (148, []), (152, ["csf-not-at-l3"])])
def test_the_fluid_is_read_nearer_to_l3_than_to_its_neighbours(row: float, said: list[str]):
    assert codes(CSF=Circle(row=row, col=140, radius_px=3)) == said


def test_of_what_is_not_seen_nothing_is_held_against_a_person():
    assert doubts_of_circles({**CIRCLES, "L2": Circle(row=5, col=5, radius_px=6)}, replace(SEEN, outlines={})) == []


def test_the_distance_from_the_automatic_score_counts_both_deviations():
    assert far_from(2.5, 0.06, 2.84, 0.08) == []  # 3.4
    (doubt,) = far_from(2.5, 0.06, 2.86, 0.08)
    assert doubt.values["distance"] == pytest.approx(3.6)


def test_a_reading_that_is_uncertain_gains_no_room():
    assert uncertain(2.5, 0.12) == []
    (doubt,) = uncertain(2.5, 0.13)
    assert (doubt.code, doubt.values) == ("reading-uncertain", {"half_width": pytest.approx(0.2548)})
    # 0.5 apart: 3.6 times 0.14, as with a reading of 0.125.
    assert [one.code for one in far_from(2.5, 0.06, 2.0, 0.5)] == ["far-from-automatic"]


@pytest.mark.parametrize(("share", "codes_found"), [(0.89, ["circle-outside-body"]), (0.95, [])])
def test_the_least_share_of_a_circle_inside_its_body(share: float, codes_found: list[str]):
    """A circle over the edge of a straight outline; the pixels of radius 30 show its share to a hundredth."""
    outline = box(50.0, 100.0, 200.0, 200.0)
    # Share of a circle of radius 1 beyond a chord at distance x: x found by bisection of the segment's area.
    low, high = 0.0, 1.0
    for _ in range(40):
        x = (low + high) / 2
        inside = 1 - (np.arccos(x) - x * np.sqrt(1 - x * x)) / np.pi
        low, high = (x, high) if inside < share else (low, x)
    circle = Circle(row=50.0, col=200.0 - 30 * x, radius_px=30)
    assert share_inside(circle, outline) == pytest.approx(share, abs=0.02)
    away = {"L1": -300.0, "L2": -600.0, "L4": -900.0}
    outlines = {
        "L3": outline,
        "canal": box(60, 100, 9, 9),
        **{name: box(row, 100, 9, 9) for name, row in away.items()},
    }
    others = {name: Circle(row=row, col=100, radius_px=1) for name, row in {**away, "CSF": 60}.items()}
    seen = replace(SEEN, outlines=outlines)
    assert [one.code for one in doubts_of_circles({**others, "L3": circle}, seen)] == codes_found


@pytest.mark.parametrize(("roots", "noise", "said"), [(0.36, 0, 1), (0.24, 0, 0), (0.0, 5.0, 0)])
def test_a_circle_of_fluid_that_holds_roots_is_uneven(roots: float, noise: float, said: int):
    """Half of the circle brighter by ``roots``: a standard deviation of half of that over the mean; noise is none."""
    rng = np.random.default_rng(1)
    signal = np.full((240, 200), 100.0)
    signal[:, 120:160] = 40.0
    signal[:, 140:160] = 40.0 * (1 + roots)
    signal = signal + rng.normal(0, noise, signal.shape)
    image = SagittalImage(
        signal=signal, spacing_mm=(0.8, 0.8), position_mm=(0, 0, 0), orientation=(0, 1, 0, 0, 0, -1)
    )  # fmt: skip
    read = {**{name: CIRCLES[name] for name in LEVELS}, CSF: Circle(row=130, col=139.5, radius_px=6)}
    found = doubts_of_picture(image, score(signal, read, spacing_mm=(0.8, 0.8)), SEEN)
    assert [one.code for one in found] == ["reading-fluid-uneven"] * said
