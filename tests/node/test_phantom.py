"""The phantom: its truth, measured by an independent few lines, and what a reader and a scanner would find in it."""

import dataclasses
import itertools

import numpy as np
import pytest

from node.demo.anatomy import Spine
from node.demo.drawing import TISSUES, Contrast
from node.demo.phantom import (
    AXIAL,
    PAPER_SAGITTAL,
    SAGITTAL,
    SCOUT,
    Matrix,
    PhantomSeries,
    PhantomSpec,
    Plane,
    draw_series,
    draw_study,
    readings,
)

LEVELS = ("L1", "L2", "L3", "L4")
THREE = dataclasses.replace(SAGITTAL, slices=3)
"""The middle slice and its neighbours: all that most tests look at."""


def pixels_of(series: PhantomSeries, reading: dict, name: str) -> np.ndarray:
    """The pixels whose centre lies in the circle, picked one by one."""
    row, col, radius = reading[name]
    image = series.pixels[reading["slice"] - 1]
    reach = range(-int(radius) - 2, int(radius) + 3)
    return np.array(
        [
            image[y, x]
            for y in (round(row) + d for d in reach)
            for x in (round(col) + d for d in reach)
            if (y - row) ** 2 + (x - col) ** 2 <= radius**2
        ]
    )


def measured(spec: PhantomSpec, matrix: Matrix = THREE) -> float:
    series = draw_series(spec, matrix=matrix)
    reading = readings(spec, series)
    means = {name: pixels_of(series, reading, name).mean() for name in (*LEVELS, "CSF")}
    return float(np.mean([means[name] for name in LEVELS]) / means["CSF"])


@pytest.mark.parametrize("vbq", [1.8, 2.9, 4.2])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"noise": 0.10},
        {"shading": 0.10},
        {"spine": Spine(lumbar=4)},
        {"spine": Spine(lumbar=6)},
        {"spine": Spine(lordosis=0.3)},
        {"spine": Spine(lordosis=1.3)},
        {"spine": Spine(size=0.88)},
        {"spine": Spine(size=1.1, scoliosis_mm=3.0)},
        {"level_factors": (0.8, 0.95, 1.05, 1.2)},
    ],
    ids=lambda change: ",".join(f"{k}={v}" for k, v in change.items()) or "plain",
)
def test_circles_measure_the_stated_vbq(vbq: float, change: dict) -> None:
    """Within 5 %: shading over the 28 mm between marrow and fluid takes up to 3 %, noise in the fluid 1.5 %."""
    spec = PhantomSpec(vbq=vbq, seed=11, **change)
    assert spec.true_vbq_mean == pytest.approx(vbq, rel=1e-12)
    assert measured(spec) == pytest.approx(vbq, rel=0.05)


def test_no_bias_without_shading_and_noise() -> None:
    found = [measured(PhantomSpec(vbq=3.0, noise=0.0, shading=0.0, seed=seed)) for seed in range(6)]
    assert np.mean(found) == pytest.approx(3.0, rel=0.005)


def test_shading_lowers_the_score_as_it_says() -> None:
    """exp(-0.3 · 28 mm / 100 mm) = 0.92 between marrow and fluid, and less still for L1 at the coil's end."""
    plain = measured(PhantomSpec(vbq=3.0, noise=0.0, shading=0.0))
    shaded = measured(PhantomSpec(vbq=3.0, noise=0.0, shading=0.3))
    assert 0.88 < shaded / plain < 0.93


def test_level_values_and_both_forms() -> None:
    """Factors 0.8, 1.0, 1.0, 1.4 have the mean 1.05 and the median 1.0."""
    spec = PhantomSpec(vbq=2.1, level_factors=(0.8, 1.0, 1.0, 1.4), noise=0.0, shading=0.0)
    assert spec.marrow_to_csf["L4"] == pytest.approx(2.8)
    assert spec.true_vbq_mean == pytest.approx(2.1)
    assert spec.true_vbq_median == pytest.approx(2.0)
    series = draw_series(spec, matrix=THREE)
    reading = readings(spec, series)
    csf = pixels_of(series, reading, "CSF").mean()
    for name, truth in zip(LEVELS, (1.6, 2.0, 2.0, 2.8), strict=True):
        assert pixels_of(series, reading, name).mean() / csf == pytest.approx(truth, rel=0.05)


def test_circles_lie_in_homogeneous_tissue_and_do_not_touch() -> None:
    """A reader's ROI shows no border: real ones have 5 to 13 % of SD over mean in marrow and fluid."""
    spec = PhantomSpec(seed=5)
    series = draw_series(spec)
    reading = readings(spec, series)
    for name in (*LEVELS, "CSF"):
        values = pixels_of(series, reading, name)
        assert values.std() / values.mean() < 0.13, name
    rows = [reading[name][0] for name in LEVELS]
    assert all(below - above > reading["L1"][2] * 2 for above, below in itertools.pairwise(rows))
    assert reading["CSF"][1] - reading["L3"][1] == pytest.approx(32, abs=4)  # as in the readings of real series


def test_fluid_is_darker_than_roots_and_marrow_in_t1_and_brightest_in_t2() -> None:
    spec = PhantomSpec(seed=2)
    t1, t2 = (draw_series(spec, contrast=contrast, matrix=THREE) for contrast in (Contrast.T1, Contrast.T2))
    reading = readings(spec, t1)
    row, col, _ = reading["CSF"]
    behind = round(col + 7.0 / SAGITTAL.spacing_mm)
    fluid = t1.pixels[1, round(row) - 5 : round(row) + 6, round(col)].mean()
    roots = t1.pixels[1, round(row) - 5 : round(row) + 6, behind].mean()
    assert roots / fluid == pytest.approx(TISSUES[Contrast.T1]["roots"], rel=0.1)
    assert pixels_of(t2, reading, "CSF").mean() > 2 * pixels_of(t2, reading, "L3").mean()


def test_the_middle_slice_is_named_by_instance_number() -> None:
    spec = PhantomSpec()
    series = draw_series(spec, matrix=PAPER_SAGITTAL, offset_mm=6.0)
    x = series.positions_mm[:, 0]
    assert readings(spec, series)["slice"] == 1 + int(np.argmin(np.abs(x))) == 5
    assert np.diff(x) == pytest.approx(np.full(10, 5.0))


def test_lateral_slices_show_no_canal() -> None:
    """Twenty-five millimetres aside there are psoas and fat where the sac was; the T2 of the sac is gone."""
    spec = PhantomSpec(seed=4, noise=0.0)
    series = draw_series(spec, contrast=Contrast.T2)
    reading = readings(spec, series)
    row, col, _ = reading["CSF"]
    through = series.pixels[:, round(row), round(col)].astype(float)
    middle = reading["slice"] - 1
    assert through[[middle - 5, middle + 5]].max() < 0.7 * through[middle]


@pytest.mark.parametrize(("plane", "matrix"), [(Plane.AXIAL, AXIAL), (Plane.CORONAL, SCOUT)])
def test_planes_cut_the_same_body(plane: Plane, matrix: Matrix) -> None:
    """The centre of L3 is marrow in every plane, at the pixel that the geometry says."""
    matrix = dataclasses.replace(matrix, slices=1, offset_mm=0.0)
    spec = PhantomSpec(noise=0.0, shading=0.0)
    series = draw_series(spec, contrast=Contrast.T1, plane=plane, matrix=matrix)
    across, down = np.array(series.orientation[:3]), np.array(series.orientation[3:])
    start = series.positions_mm[0]
    col, row = (-start @ across) / matrix.spacing_mm, (-start @ down) / matrix.spacing_mm
    assert abs(start @ np.cross(across, down)) < 1e-9
    patch = series.pixels[0, round(row) - 2 : round(row) + 3, round(col) - 2 : round(col) + 3]
    assert patch.mean() == pytest.approx(105.0 * 2.9, rel=0.1)


def test_the_same_spec_draws_the_same_pixels_and_another_seed_others() -> None:
    one = draw_study(PhantomSpec(seed=8), sagittal=THREE, axial=dataclasses.replace(AXIAL, slices=1))
    again = draw_study(PhantomSpec(seed=8), sagittal=THREE, axial=dataclasses.replace(AXIAL, slices=1))
    other = draw_study(PhantomSpec(seed=9), sagittal=THREE, axial=dataclasses.replace(AXIAL, slices=1))
    assert np.array_equal(one.t1.pixels, again.t1.pixels)
    assert np.array_equal(one.axial.pixels, again.axial.pixels)
    assert not np.array_equal(one.t1.pixels, other.t1.pixels)
    assert np.array_equal(one.t1.positions_mm, one.t2.positions_mm)
    assert one.t1.pixels.dtype == np.uint16
    assert one.t1.pixels.max() <= 4095


def test_noise_is_rician() -> None:
    """Where there is no signal the magnitude of complex noise has the mean σ·√(π/2)."""
    sigma = 0.07 * 105.0
    series = draw_series(PhantomSpec(noise=0.07), matrix=THREE)
    corner = series.pixels[:, 120:160, -12:].astype(float)
    assert corner.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.05)
