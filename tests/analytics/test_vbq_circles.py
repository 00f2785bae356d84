"""Circles in marrow and in fluid, on drawn signals with known places; and how far the score may be off."""

from dataclasses import replace

import numpy as np
import pytest

from analytics.records import CSF, LEVELS, Circle
from analytics.vbq import csf
from analytics.vbq.bodies import CORTEX_MM, FOCAL_SHARE, BodyCircle, axes, body_circles, marrow, own_signal
from analytics.vbq.csf import FLUID_MM, RADIUS_MM, WINDOW_PX, FluidCircle, fluid_circle, fluid_view
from analytics.vbq.grid import Grid
from analytics.vbq.levels import LEVEL_INDEX
from analytics.vbq.score import score
from analytics.vbq.uncertainty import vbq_sd
from tests.analytics.drawn_spine import BACKWARDS_DEG, MM, SHAPE, Drawn

DRAWN = Drawn()
SPINE = DRAWN.spine()
FLUID = {"purity": 0.95, "other": 0.0, "elsewhere": 0.0, "behind": 1.3, "depth_mm": 5.0}


def front_of(name: str) -> np.ndarray:
    """Unit vector (rows, columns) to the belly at a drawn body."""
    number = {"L4": 2, "L3": 3, "L2": 4, "L1": 5}[name]
    angle = np.radians(np.mean(BACKWARDS_DEG[number - 1 : number + 1]))
    return np.array([np.sin(angle), -np.cos(angle)])


def circle_in(grid: Grid, name: str) -> BodyCircle:
    """The circle in a drawn body."""
    (circle,) = body_circles(grid, SPINE, [LEVEL_INDEX[name]])
    assert circle is not None
    return circle


def inside(circle: BodyCircle) -> np.ndarray:
    """The pixels of a circle."""
    rows, columns = np.indices(SHAPE)
    return np.hypot(rows - circle.row, columns - circle.column) * MM <= circle.radius_mm


def forward_mm(name: str) -> np.ndarray:
    """Of each pixel, from the middle of a drawn body to the belly."""
    centre, front = DRAWN.centres()[name], front_of(name)
    rows, columns = np.indices(SHAPE)
    return ((rows - centre[0]) * front[0] + (columns - centre[1]) * front[1]) * MM


@pytest.mark.parametrize("name", LEVELS)
def test_the_axes_of_a_body_are_those_that_were_drawn(name: str):
    up, front = axes(SPINE, LEVEL_INDEX[name])
    assert np.dot(up, front) == pytest.approx(0, abs=1e-9)
    assert np.dot(front, front_of(name)) > np.cos(np.radians(4))
    assert up[0] < 0


@pytest.mark.parametrize("name", LEVELS)
def test_a_circle_lies_in_the_front_two_thirds_inside_the_cortex(name: str):
    circle = circle_in(DRAWN.grid(), name)
    centre, front = DRAWN.centres()[name], front_of(name)
    forward = (np.array([circle.row, circle.column]) - centre) @ front * MM
    # 34 mm deep: the front two-thirds begin 5.7 mm behind the middle, the cortex lies at 17 mm.
    assert forward - circle.radius_mm >= -5.7 - 1.5
    assert forward + circle.radius_mm <= 17 - CORTEX_MM + 1.5
    assert circle.radius_mm >= 6.5
    assert circle.focal_share <= FOCAL_SHARE


@pytest.mark.parametrize("value", [30.0, 200.0])
def test_a_circle_avoids_a_lesion_that_leaves_room(value: float):
    at = DRAWN.centres()["L3"] + front_of("L3") * 10 / MM
    rows, columns = np.indices(SHAPE)
    lesion = np.hypot(rows - at[0], columns - at[1]) * MM < 4
    grid = DRAWN.grid()
    grid = replace(grid, signal=np.where(lesion, value, grid.signal))
    circle = circle_in(grid, "L3")
    assert np.mean(lesion[inside(circle)]) <= FOCAL_SHARE
    assert grid.signal[inside(circle)].mean() == pytest.approx(100, abs=2)


@pytest.mark.parametrize("factor", [0.5, 0.65, 1.4, 1.6])
@pytest.mark.parametrize("from_mm", [8.0, 6.0, 3.0])
def test_a_circle_keeps_to_the_marrow_that_the_other_bodies_have(factor: float, from_mm: float):
    # The marrow of the front two-thirds reaches from -5.7 to 15 mm: a third to more than half of it is diseased.
    lesion = (forward_mm("L2") > from_mm) & SPINE.bodies[LEVEL_INDEX["L2"]].mask
    grid = DRAWN.grid()
    grid = replace(grid, signal=np.where(lesion, grid.signal * factor, grid.signal))
    circle = circle_in(grid, "L2")
    # A few pixels of the edge, which the grid blurs, are neither the one nor the other.
    assert np.mean(lesion[inside(circle)]) <= 0.05
    assert grid.signal[inside(circle)].mean() == pytest.approx(100, abs=2)


@pytest.mark.parametrize("fall", [-0.3, 0.35])
def test_the_shading_of_the_coil_moves_no_circle(fall: float):
    low, high = (DRAWN.centres()[name][0] for name in ("L4", "L1"))
    coil = 1 - fall * (np.arange(SHAPE[0]) - low) / (high - low)
    grid = DRAWN.grid()
    shaded = replace(grid, signal=grid.signal * coil[:, np.newaxis])
    for name in LEVELS:
        assert circle_in(shaded, name) == circle_in(grid, name)


MARROW = np.linspace(95.0, 105.0, 101)


def bodies(**signals: np.ndarray) -> dict[int, np.ndarray]:
    """The pixels of L5 to T12; 95 to 105 where nothing else is said."""
    return {at: signals.get(name, MARROW) for at, name in enumerate(("L5", "L4", "L3", "L2", "L1", "T12"))}


def test_the_own_signal_of_even_marrow_is_its_middle():
    assert own_signal(bodies(), 3) == pytest.approx(100, abs=0.5)


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.4, 2.0])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.6])
def test_of_two_kinds_of_marrow_the_own_one_goes_with_the_other_bodies(factor: float, share: float):
    diseased = MARROW.copy()
    diseased[np.random.default_rng(0).permutation(101)[: round(101 * share)]] *= factor
    assert own_signal(bodies(L2=diseased), 3) == pytest.approx(100, abs=3)


@pytest.mark.parametrize("factor", [0.2, 0.5, 2.0, 6.0])
def test_a_body_that_is_different_as_a_whole_keeps_its_own_signal(factor: float):
    # Nothing of it is like the others: its level is told from them by its mean, not hidden by a choice of pixels.
    assert own_signal(bodies(L2=MARROW * factor), 3) == pytest.approx(100 * factor, rel=0.05)


def test_the_own_signal_follows_the_fall_of_the_coil_and_not_one_other_lesion():
    # L5 120, L4 110, L3 100, L2 90 (half of it 130), L1 80; T12 is diseased.
    falling = {at: MARROW * (1.2 - 0.1 * at) for at in range(5)} | {5: MARROW * 2}
    falling[3] = np.concatenate([MARROW * 0.9, MARROW * 1.3])
    assert own_signal(falling, 3) == pytest.approx(90, abs=2)


def test_signals_of_nothing_or_below_zero_give_a_number():
    nothing = dict.fromkeys(range(6), np.zeros(20))
    below = dict.fromkeys(range(6), MARROW - 200)
    assert own_signal(nothing, 3) == 0
    assert own_signal(below, 3) == pytest.approx(-100, abs=0.5)
    assert own_signal({3: MARROW}, 3) == pytest.approx(100, abs=0.5)


def test_where_marrow_is_allowed_no_pixel_is_outside_the_body():
    for name in LEVELS:
        body = SPINE.bodies[LEVEL_INDEX[name]].mask
        allowed = marrow(SPINE, LEVEL_INDEX[name])
        assert allowed.any()
        assert not (allowed & ~body).any()


def fluid_grid(signal: np.ndarray) -> Grid:
    return Grid(
        signal=signal,
        spacing_mm=FLUID_MM,
        transposed=False,
        flipped=(False, False),
        native_shape=signal.shape,
        native_spacing_mm=(FLUID_MM, FLUID_MM),
    )


def canal_and_signal() -> tuple[np.ndarray, np.ndarray]:
    """A straight canal of 15 mm: fluid of 40 in its front 6 mm, roots of 55 behind, 20 in one spot."""
    columns = (np.arange(160) - 80) * FLUID_MM
    canal = np.tile((np.abs(columns) < 7.5).astype(float), (300, 1))
    signal = np.tile(np.where(columns < -1.5, 40.0, 55.0), (300, 1)) + np.random.default_rng(0).normal(0, 1, (300, 160))
    return canal, signal


def placed(signal: np.ndarray, canal: np.ndarray, fluid: np.ndarray, reach_mm=(RADIUS_MM, RADIUS_MM)):
    view = fluid_view(fluid_grid(signal), canal, 150.0)
    reach = RADIUS_MM / FLUID_MM
    rows, columns = np.indices(signal.shape)

    def mean_at(row: float, column: float) -> float:
        return float(signal[np.hypot(rows - row, columns - column) <= reach].mean())

    window = fluid[view.origin[0] : view.origin[0] + WINDOW_PX[0], view.origin[1] : view.origin[1] + WINDOW_PX[1]]
    found = fluid_circle(
        view,
        window.astype(np.float32),
        centre=(150.0, 40.0),
        up=np.array([-1.0, 0.0]),
        reach_px=(reach_mm[0] / FLUID_MM, reach_mm[1] / FLUID_MM),
        mean_at=mean_at,
    )
    return found, mean_at


def test_the_circle_of_fluid_lies_where_the_fluid_is_at_the_level_of_l3():
    canal, signal = canal_and_signal()
    columns = (np.arange(160) - 80) * FLUID_MM
    fluid = np.where(columns < -1.5, 0.95, 0.05) * np.ones((300, 1))
    found, mean_at = placed(signal, canal, fluid)
    assert -7.5 + RADIUS_MM - FLUID_MM <= (found.column - 80) * FLUID_MM <= -1.5
    assert abs(found.row - 150) * FLUID_MM <= csf.HALF_LEVEL_MM
    assert mean_at(found.row, found.column) == pytest.approx(40, abs=1)
    assert found.purity == pytest.approx(0.95, abs=0.02)


def test_what_lies_behind_the_circle_and_how_deep_the_fluid_is():
    canal, signal = canal_and_signal()
    columns = (np.arange(160) - 80) * FLUID_MM
    fluid = np.where((columns > -6) & (columns < -1.5), 0.95, 0.05) * np.ones((300, 1))
    found, _ = placed(signal, canal, fluid)
    assert found.depth_mm == pytest.approx(4.5, abs=FLUID_MM)
    assert found.behind == pytest.approx(55 / 40, abs=0.05)


def test_the_typical_circle_is_taken_and_not_the_darkest():
    canal, signal = canal_and_signal()
    columns = (np.arange(160) - 80) * FLUID_MM
    rows, all_columns = np.indices(signal.shape)
    signal[np.hypot(rows - 152, all_columns - 73) < 3] = 20.0
    fluid = np.where(columns < -1.5, 0.95, 0.05) * np.ones((300, 1))
    found, mean_at = placed(signal, canal, fluid)
    # It fills a third of the middle of the level; the level as a whole holds the fluid to 6 %.
    assert mean_at(found.row, found.column) >= 40 * (1 - csf.APART) - 1


def test_fluid_behind_the_middle_of_the_body_counts_more_than_that_at_the_discs():
    canal, signal = canal_and_signal()
    columns = (np.arange(160) - 80) * FLUID_MM
    away = np.abs(np.arange(300) - 150)[:, None] * FLUID_MM
    # Of 28 mm of the level 12 are darker than the rest: fewer circles, but all near the middle.
    signal = np.where(away < 6, signal * 0.9, signal)
    fluid = np.where(columns < -1.5, 0.95, 0.05) * np.ones((300, 1))
    found, mean_at = placed(signal, canal, fluid)
    assert mean_at(found.row, found.column) == pytest.approx(36, abs=1.5)
    assert abs(found.row - 150) * FLUID_MM < 6


def test_noise_does_not_pull_the_fluid_down():
    canal, signal = canal_and_signal()
    columns = (np.arange(160) - 80) * FLUID_MM
    fluid = np.where(columns < -1.5, 0.95, 0.05) * np.ones((300, 1))
    means = []
    for seed in range(8):
        noisy = signal + np.random.default_rng(seed).normal(0, 8, signal.shape)
        found, mean_at = placed(noisy, canal, fluid)
        means.append(mean_at(found.row, found.column))
    # The darkest of so many circles would lie some 6 below.
    assert np.mean(means) == pytest.approx(40, abs=1.0)


def test_a_second_kind_of_fluid_is_told_by_its_signal():
    canal, signal = canal_and_signal()
    columns = (np.arange(160) - 80) * FLUID_MM
    # A dark layer of 4 mm before the sac, which the network takes for fluid a little more than the fluid.
    layer = columns < -3.5
    signal = np.where(layer, signal * 0.8, signal)
    alone = np.where(layer, 0.95, 0.05) * np.ones((300, 1))
    both = np.where(layer, 0.95, np.where(columns < -1.5 + 4, 0.9, 0.05)) * np.ones((300, 1))
    wide = np.where(columns < 2.5, 40.0, 55.0)
    signal = np.where(layer, signal, wide)
    assert placed(signal, canal, alone)[0].other == pytest.approx(0.0, abs=0.025)
    assert placed(signal, canal, both)[0].other > 0.1


def test_circles_cover_what_they_cover_in_pixels_that_are_not_square():
    canal, signal = canal_and_signal()
    columns = (np.arange(160) - 80) * FLUID_MM
    fluid = np.where((columns > -6) & (columns < -1.5), 0.95, 0.05) * np.ones((300, 1))
    # A strip of 4.5 mm has no room for an ellipse that is 5.6 mm wide.
    assert placed(signal, canal, fluid)[0].purity == pytest.approx(0.95, abs=0.02)
    assert placed(signal, canal, fluid, reach_mm=(1.2, 2.8))[0].purity < 0.9


def test_without_a_canal_there_is_no_view_and_without_room_no_circle():
    canal, signal = canal_and_signal()
    assert fluid_view(fluid_grid(signal), canal * 0, 150.0) is None
    thin = np.tile((np.abs(np.arange(160) - 80) < 2).astype(float), (300, 1))
    found, _ = placed(signal, thin, np.ones((300, 160)))
    assert found is None


def uncertain(**fluid: float) -> float:
    image = DRAWN.image()
    centres = DRAWN.centres()
    circles = {name: Circle(row=centres[name][0], col=centres[name][1], radius_px=6.0) for name in LEVELS}
    circles[CSF] = Circle(row=centres["L3"][0], col=centres["L3"][1] + 26 / MM, radius_px=2.0)
    measured = score(image.signal, circles, spacing_mm=(MM, MM))
    values = FLUID | fluid
    beside = [measured.vbq_mean * factor for factor in values.pop("beside", ())]
    circle = FluidCircle(row=0.0, column=0.0, radius_mm=1.8, **values)
    return vbq_sd(image, measured, circle, beside)


@pytest.mark.parametrize(
    ("surer", "less_sure"),
    [
        ({"purity": 0.95}, {"purity": 0.8}),
        ({"elsewhere": 0.01}, {"elsewhere": -0.05}),
        ({"other": 0.01}, {"other": 0.05}),
        ({"beside": (1.01,)}, {"beside": (1.2,)}),
        ({"beside": (1.0, 1.0)}, {}),
    ],
)
def test_whatever_makes_a_score_less_sure_widens_its_interval(surer, less_sure):
    assert 0 < uncertain(**surer) < uncertain(**less_sure)


def test_circles_near_an_edge_of_tissue_make_a_score_less_sure():
    image = DRAWN.image()
    centres = DRAWN.centres()
    circles = {name: Circle(row=centres[name][0], col=centres[name][1], radius_px=6.0) for name in LEVELS}
    fluid = FluidCircle(row=0.0, column=0.0, radius_mm=1.8, **FLUID)

    def spread(column_mm: float) -> float:
        circles[CSF] = Circle(row=centres["L3"][0], col=centres["L3"][1] + column_mm / MM, radius_px=2.0)
        return vbq_sd(image, score(image.signal, circles, spacing_mm=(MM, MM)), fluid, ())

    # The canal lies 19 to 33 mm behind the middle of the body.
    assert spread(26.0) < spread(20.5)
