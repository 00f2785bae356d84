"""What a T2 says of the circle of fluid on T1: where its pixels come to lie, what it lifts, and that no score moves."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from analytics.reasons import Reason
from analytics.records import MeasurementStatus
from analytics.vbq.automatic import AutomaticMeasurement, FluidOnT2, SagittalImage
from analytics.vbq.fluid_t2 import on_grid
from analytics.vbq.grid import to_grid
from analytics.vbq.measure import measure_stack, with_t2
from node.demo.anatomy import Spine
from node.demo.phantom import Contrast, Matrix, PhantomSpec, draw_series

ROOTS, LAYER, LEVELS = Reason("fluid-like-roots"), Reason("fluid-or-dark-layer"), Reason("l5-small")


@pytest.mark.parametrize(
    ("worst", "best", "doubts", "left", "said"),
    [
        (0.71, 0.95, [LEVELS, ROOTS], ["l5-small"], ["fluid-bright-on-t2"]),
        (0.71, 0.95, [LAYER], [], ["fluid-bright-on-t2"]),
        (0.71, 0.95, [LEVELS], ["l5-small"], []),
        (0.69, 0.95, [ROOTS], ["fluid-like-roots"], []),
        (0.10, 0.51, [], [], []),
        (0.10, 0.49, [], ["fluid-dark-on-t2"], []),
        (0.10, 0.49, [LAYER], ["fluid-or-dark-layer", "fluid-dark-on-t2"], []),
    ],
)
def test_what_it_lifts_and_what_it_doubts_on_either_side_of_each_limit(worst, best, doubts, left, said):
    found, notes = with_t2(doubts, FluidOnT2(worst=worst, best=best))
    assert ([one.code for one in found], [one.code for one in notes]) == (left, said)


def test_without_one_every_doubt_stays():
    assert with_t2([ROOTS, LAYER], None) == ([ROOTS, LAYER], [])


def image(signal: np.ndarray, spacing_mm: tuple[float, float], position_mm, orientation) -> SagittalImage:
    return SagittalImage(signal=signal, spacing_mm=spacing_mm, position_mm=position_mm, orientation=orientation)


def test_pixels_come_to_lie_where_they_lie_in_the_patient():
    # A slice whose signal is 3 y + 5 z + 1000 in mm, of other pixels, turned, mirrored and begun elsewhere: linear
    # interpolation gives such a plane without an error, so its value in each place of the T1 is known.
    rows, columns = np.indices((170, 150))
    back, head = 80.0 - 0.9 * rows, -60.0 + 0.8 * columns
    turned = image(3 * back + 5 * head + 1000, (0.9, 0.8), (2.0, 80.0, -60.0), (0, 0, 1, 0, -1, 0))
    t1 = image(np.zeros((100, 90)), (0.875, 0.875), (0.0, -30.0, 50.0), (0, 1, 0, 0, 0, -1))
    grid = to_grid(t1)
    found = on_grid(turned, t1, grid)
    down, across = np.indices(grid.signal.shape)
    # The centre of a pixel of the grid lies half its spacing from the edge of the image.
    y = -30.0 - 0.4375 + (across + 0.5) * grid.spacing_mm
    z = 50.0 + 0.4375 - (down + 0.5) * grid.spacing_mm
    inside = (y < 75) & (z > -58) & (z < 56) & (y > -68)
    assert inside.mean() > 0.9
    assert found[inside] == pytest.approx((3 * y + 5 * z + 1000)[inside], abs=0.5)
    assert np.isnan(found[y > 81]).all() if (y > 81).any() else True


def phantom(spec: PhantomSpec, contrast: Contrast, size: int, spacing_mm: float) -> SagittalImage:
    matrix = Matrix(slices=1, size=size, spacing_mm=spacing_mm, thickness_mm=4.0, step_mm=5.0)
    series = draw_series(spec, contrast=contrast, matrix=matrix)
    x, y, z = map(float, series.positions_mm[0])
    return image(series.pixels[0].astype(float), (spacing_mm, spacing_mm), (x, y, z), series.orientation)


def both(spec: PhantomSpec) -> tuple[SagittalImage, SagittalImage]:
    """T1 and T2, of other pixels."""
    return phantom(spec, Contrast.T1, 320, 0.875), phantom(spec, Contrast.T2, 384, 0.73)


def without_t2(found: AutomaticMeasurement) -> object:
    return found.score, found.vbq_sd, found.levels_confidence, found.slice_index, found.beside


def test_a_circle_in_fluid_is_fluid_on_t2_and_moves_by_nothing():
    t1, t2 = both(PhantomSpec(seed=43))
    alone, found = measure_stack([t1]), measure_stack([t1], t2_at=lambda _: t2)
    assert found.fluid_on_t2 is not None
    assert found.fluid_on_t2.worst > 0.9
    assert alone.fluid_on_t2 is None
    assert (found.status, found.reasons) == (alone.status, alone.reasons)
    assert without_t2(found) == without_t2(alone)


def test_a_circle_in_a_dark_layer_before_the_sac_is_none_on_t2():
    # 17 % too high on T1 (sac of 0.7 of its depth): the T2 shows that there is no fluid.
    t1, t2 = both(PhantomSpec(seed=43, spine=Spine(sac=0.7)))
    found = measure_stack([t1], t2_at=lambda _: t2)
    assert found.status is MeasurementStatus.REVIEW
    assert "fluid-dark-on-t2" in {one.code for one in found.reasons}


@pytest.mark.parametrize("change", ["moved 12 mm", "another image", "nothing of the canal"])
def test_a_t2_that_does_not_show_the_same_is_none(change: str):
    t1, t2 = both(PhantomSpec(seed=43))
    x, y, z = t2.position_mm
    other = {
        "moved 12 mm": replace(t2, position_mm=(x, y + 12, z)),
        "another image": replace(t2, signal=ndimage.gaussian_filter(t2.signal[::-1], 6)),
        "nothing of the canal": replace(t2, position_mm=(x, y + 150, z)),
    }[change]
    found = measure_stack([t1], t2_at=lambda _: other)
    assert found.fluid_on_t2 is None
    assert found.reasons == measure_stack([t1]).reasons
