"""The score from circles, against hand calculation and against readings of real series."""

import json
from dataclasses import replace
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from analytics.reasons import words
from analytics.records import Circle
from analytics.vbq.quality import doubts
from analytics.vbq.score import ScoreError, score
from node.dicom.reader import read_header, read_slice

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"

# Computed from the pixels as DCMTK's dcmdump writes them, in exact fractions, without numpy or this project's code.
READERS = {
    ("A", 1): (3.0680, 3.0521),
    ("A", 2): (2.5861, 2.5929),
    ("A", 3): (2.7063, 2.7819),
    ("A", 4): (2.9356, 2.9490),
    ("A", 5): (2.5468, 2.5188),
    ("B", 1): (2.9979, 2.9930),
    ("B", 2): (2.5304, 2.5405),
    ("B", 3): (2.6068, 2.6912),
    ("B", 4): (2.9232, 2.9386),
    ("B", 5): (2.4348, 2.4462),
}

SPACING = (0.875, 0.875)
ROWS = {"L1": 10.0, "L2": 25.0, "L3": 40.0, "L4": 55.0}
CIRCLES = {name: Circle(row=row, col=20.0, radius_px=3.0) for name, row in ROWS.items()} | {
    "CSF": Circle(row=41.0, col=40.0, radius_px=2.0)
}


def painted(**signals: float) -> NDArray[np.float64]:
    """An image of 70 × 60 pixels in which each region lies in a band of its own constant signal."""
    image = np.full((70, 60), 7.0)
    for name, circle in CIRCLES.items():
        top, left = int(circle.row) - 5, int(circle.col) - 5
        image[top : top + 11, left : left + 11] = signals[name]
    return image


IMAGE = painted(L1=300.0, L2=260.0, L3=240.0, L4=200.0, CSF=100.0)


def test_both_forms_by_hand():
    result = score(IMAGE, CIRCLES, spacing_mm=SPACING)
    assert result.vbq_mean == pytest.approx(2.5)  # (300 + 260 + 240 + 200) / 4 / 100
    assert result.vbq_median == pytest.approx(2.5)  # (260 + 240) / 2 / 100
    skewed = score(painted(L1=400.0, L2=260.0, L3=240.0, L4=200.0, CSF=100.0), CIRCLES, spacing_mm=SPACING)
    assert skewed.vbq_mean == pytest.approx(2.75)
    assert skewed.vbq_median == pytest.approx(2.5)


def test_a_pixel_belongs_when_its_centre_is_on_the_circle_or_within():
    image = IMAGE.copy()
    image[9:12, 19:22] = [[1.0, 10.0, 1.0], [20.0, 30.0, 40.0], [1.0, 60.0, 1.0]]
    circles = CIRCLES | {"L1": Circle(row=10.0, col=20.0, radius_px=1.0)}
    l1 = score(image, circles, spacing_mm=(0.5, 2.0)).rois["L1"]
    assert l1.pixels == 5  # the centre and its four neighbours; the diagonals lie at 1.41
    assert l1.mean == pytest.approx(32.0)  # (10 + 20 + 30 + 40 + 60) / 5
    assert l1.sd == pytest.approx(sqrt((22**2 + 12**2 + 2**2 + 8**2 + 28**2) / 4))
    assert l1.radius_mm == pytest.approx(1.0)  # the circle of equal area: sqrt(0.5 × 2)
    between = CIRCLES | {"L1": Circle(row=10.5, col=20.5, radius_px=0.71)}
    assert score(image, between, spacing_mm=SPACING).rois["L1"].pixels == 4


def test_areas_of_circles_follow_gauss():
    # Gauss's circle problem: N(2) = 13, N(3) = 29, N(8) = 197, N(9) = 253 (OEIS A000328).
    image = np.full((100, 100), 50.0)
    for radius, pixels in ((2.0, 13), (3.0, 29), (8.0, 197), (9.0, 253)):
        circles = {name: Circle(row=50, col=50, radius_px=radius) for name in CIRCLES}
        assert score(image, circles, spacing_mm=SPACING).rois["L3"].pixels == pixels


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"L1": Circle(row=2.0, col=20.0, radius_px=3.0)}, "L1: the circle reaches beyond the 70 rows"),
        ({"L4": Circle(row=68.0, col=20.0, radius_px=3.0)}, "L4: the circle reaches beyond the 70 rows"),
        ({"L2": Circle(row=25.0, col=58.0, radius_px=3.0)}, "L2: the circle reaches beyond the 60 columns"),
        ({"L2": Circle(row=-500.0, col=20.0, radius_px=3.0)}, "L2: the circle reaches beyond"),
        ({"L3": Circle(row=40.0, col=20.0, radius_px=0.0)}, "L3: .* positive"),
        ({"L3": Circle(row=40.0, col=20.0, radius_px=-3.0)}, "L3: .* positive"),
        ({"CSF": Circle(row=float("nan"), col=40.0, radius_px=2.0)}, "CSF: .* finite"),
        ({"CSF": Circle(row=41.0, col=40.0, radius_px=float("inf"))}, "CSF: .* finite"),
        ({"CSF": Circle(row=41.5, col=40.5, radius_px=0.4)}, "CSF: the circle holds 0 pixel centres"),
        ({"CSF": Circle(row=41.0, col=40.0, radius_px=0.4)}, "CSF: the circle holds 1 pixel centres"),
    ],
)
def test_impossible_circles_are_refused(change: dict[str, Circle], message: str):
    with pytest.raises(ScoreError, match=message):
        score(IMAGE, CIRCLES | change, spacing_mm=SPACING)


def test_missing_and_unknown_regions_are_refused():
    without = {name: circle for name, circle in CIRCLES.items() if name != "L3"}
    with pytest.raises(ScoreError, match="given: CSF, L1, L2, L4"):
        score(IMAGE, without, spacing_mm=SPACING)
    with pytest.raises(ScoreError, match="L5"):
        score(IMAGE, CIRCLES | {"L5": CIRCLES["L4"]}, spacing_mm=SPACING)


@pytest.mark.parametrize("csf", [0.0, -20.0])
def test_csf_without_signal_is_refused(csf: float):
    with pytest.raises(ScoreError, match="CSF signal"):
        score(painted(L1=300.0, L2=260.0, L3=240.0, L4=200.0, CSF=csf), CIRCLES, spacing_mm=SPACING)


def test_signals_and_spacings_that_are_no_numbers_are_refused():
    image = IMAGE.copy()
    image[40, 20] = np.nan
    with pytest.raises(ScoreError, match=r"L3: .* not numbers"):
        score(image, CIRCLES, spacing_mm=SPACING)
    with pytest.raises(ScoreError, match="pixel spacing"):
        score(IMAGE, CIRCLES, spacing_mm=(0.875, 0.0))
    with pytest.raises(ScoreError, match="dimensions"):
        score(np.zeros((3, 70, 60)), CIRCLES, spacing_mm=SPACING)


@given(st.floats(1e-3, 1e3), st.integers(0, 2**32 - 1))
def test_the_score_does_not_depend_on_the_unit_of_the_signal(gain: float, seed: int):
    image = np.random.default_rng(seed).uniform(1, 4095, size=(70, 60))
    one, other = (score(gain_ * image, CIRCLES, spacing_mm=SPACING) for gain_ in (1.0, gain))
    assert other.vbq_mean == pytest.approx(one.vbq_mean, rel=1e-12)
    assert other.vbq_median == pytest.approx(one.vbq_median, rel=1e-12)


@pytest.mark.parametrize(("reader", "patient"), sorted(READERS))
def test_readings_of_real_series(reader: str, patient: int):
    if not SHARED.is_dir():
        pytest.skip("the folder shared/data with the real series is not beside this one")
    reading = json.loads((SHARED / "readings" / f"reader_{reader}" / f"patient{patient}.json").read_text())
    number = reading.pop("slice")
    files = (SHARED / "t1-tse-dicom" / f"patient{patient}").glob("*.dcm")
    (path,) = (file for file in files if read_header(file).instance_number == number)
    circles = {name: Circle(row=row, col=col, radius_px=radius) for name, (row, col, radius) in reading.items()}
    pixels = read_slice(path)
    result = score(pixels.signal, circles, spacing_mm=pixels.spacing_mm)
    assert (round(result.vbq_mean, 4), round(result.vbq_median, 4)) == READERS[reader, patient]
    assert doubts(result) == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"L1": replace(CIRCLES["L1"], radius_px=1.0)}, "L1: the circle holds 5 pixels, fewer than 10"),
        ({"CSF": Circle(row=41.5, col=40.5, radius_px=0.8)}, "CSF: the circle holds 4 pixels, fewer than 5"),
        ({"L2": replace(CIRCLES["L2"], row=35.0)}, "L2 and L3: the circles overlap"),
        ({"L1": CIRCLES["L2"], "L2": CIRCLES["L1"]}, "L1 lies below L2 in the image"),
        ({"CSF": replace(CIRCLES["CSF"], row=11.0)}, "the CSF circle is not at the level of L3"),
    ],
)
def test_what_makes_a_score_doubtful(change: dict[str, Circle], said: str):
    image = np.where(np.arange(60) < 30, 250.0, 100.0) * np.ones((70, 1))
    assert doubts(score(image, CIRCLES, spacing_mm=SPACING)) == ()
    assert said in words(doubts(score(image, CIRCLES | change, spacing_mm=SPACING)))


def test_marrow_darker_than_csf_is_doubtful():
    result = score(painted(L1=90.0, L2=90.0, L3=90.0, L4=90.0, CSF=100.0), CIRCLES, spacing_mm=SPACING)
    assert words(doubts(result)) == [
        "the mean form is 0.900, outside the plausible 1–8",
        "the median form is 0.900, outside the plausible 1–8",
    ]
