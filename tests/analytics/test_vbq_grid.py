"""From native slices to the grid and back: every way in which a scanner or an archive can turn a slice."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.vbq.automatic import SagittalImage
from analytics.vbq.grid import normalised, to_grid
from analytics.vbq.outlines import outlines
from tests.analytics.drawn_spine import SAGITTAL, Drawn

TURNS = list(product((False, True), repeat=3))


def turned(image: SagittalImage, transpose: bool, flip_rows: bool, flip_columns: bool) -> SagittalImage:
    """The same slice, stored otherwise, with headers that say so."""
    signal, spacing = image.signal, image.spacing_mm
    along_columns, along_rows = np.array(image.orientation[:3]), np.array(image.orientation[3:])
    if flip_rows:
        signal, along_rows = signal[::-1], -along_rows
    if flip_columns:
        signal, along_columns = signal[:, ::-1], -along_columns
    if transpose:
        signal, spacing = signal.T, spacing[::-1]
        along_columns, along_rows = along_rows, along_columns
    return replace(image, signal=signal, spacing_mm=spacing, orientation=(*along_columns, *along_rows))


def smooth(rows: int = 180, columns: int = 120, spacing: tuple[float, float] = (0.9, 1.4)) -> SagittalImage:
    at = np.indices((rows, columns)) * np.array(spacing)[:, None, None]
    signal = 100 + 40 * np.sin(at[0] / 17) + 30 * np.cos(at[1] / 23) + at[0] / 3
    return SagittalImage(signal=signal, spacing_mm=spacing, position_mm=(0.0, 0.0, 0.0), orientation=SAGITTAL)


@pytest.mark.parametrize("turn", TURNS)
def test_the_grid_shows_the_same_picture_however_the_slice_is_stored(turn):
    as_usual = to_grid(smooth()).signal
    assert np.allclose(to_grid(turned(smooth(), *turn)).signal, as_usual, atol=1e-9)


@given(
    turn=st.sampled_from(TURNS),
    spacing=st.tuples(st.floats(0.3, 2.0), st.floats(0.3, 2.0)),
    point=st.tuples(st.floats(-5, 200), st.floats(-5, 200)),
)
def test_points_go_to_the_native_slice_and_back(turn, spacing, point):
    grid = to_grid(turned(smooth(40, 30, spacing), *turn))
    there = grid.to_native(np.array([point]))
    assert np.allclose(grid.from_native(there), [point], atol=1e-9)


@pytest.mark.parametrize("turn", TURNS)
def test_a_point_of_the_grid_has_the_signal_of_its_native_place(turn):
    image = turned(smooth(), *turn)
    grid = to_grid(image)
    for row, column in ((20, 30), (70, 11), (100, 90)):
        native = grid.to_native(np.array([[row, column]], dtype=float))[0]
        low = np.floor(native).astype(int)
        around = image.signal[low[0] : low[0] + 2, low[1] : low[1] + 2]
        assert around.min() - 0.5 <= grid.signal[row, column] <= around.max() + 0.5


def test_a_centimetre_stays_a_centimetre_whatever_the_pixels():
    for spacing in ((0.3, 0.3), (1.0, 1.5), (1.5, 0.7)):
        grid = to_grid(smooth(200, 200, spacing))
        ends = grid.to_native(np.array([[10.0, 10.0], [10.0, 20.0], [20.0, 10.0]])) * np.array(spacing)
        assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(11.0)
        assert np.linalg.norm(ends[2] - ends[0]) == pytest.approx(11.0)


@given(gain=st.floats(1e-6, 1e6))
def test_a_gain_changes_nothing_in_what_the_network_sees(gain):
    signal = smooth(40, 40).signal
    assert np.allclose(normalised(signal * gain), normalised(signal), atol=1e-5)


def test_nothing_is_seen_in_an_empty_picture():
    assert not normalised(np.zeros((5, 5))).any()
    assert not normalised(np.full((5, 5), -3.0)).any()
    assert not normalised(np.zeros((0, 0))).any()


@pytest.mark.parametrize("turn", TURNS)
def test_outlines_lie_around_the_bodies_in_native_pixels(turn):
    drawn = Drawn()
    image = turned(drawn.image(), *turn)
    grid = to_grid(image)
    lines = outlines(grid, drawn.spine())
    assert set(lines) == {"L1", "L2", "L3", "L4", "L5", "S1", "canal"}
    for name in ("L1", "L3", "S1"):
        centre = grid.to_native(drawn.centres()[name][None])[0]
        line = lines[name]
        assert np.allclose(line[0], line[-1])
        assert line.mean(axis=0) == pytest.approx(centre, abs=1.5)
        away = np.hypot(*(line - centre).T) * 1.1
        # Half a height to half a diagonal of 26 × 34 mm.
        assert away.min() > 9
        assert away.max() < 24
