"""What must not fool the automatic measurement: real slices, and real ones changed so that a score is wrong.

A score of status ``measured`` with a wrong level or number is the gravest fault; a doubt or a refusal that says why in
words is right. Each changed slice comes from one that is measured without a doubt.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from analytics.records import CSF, LEVELS, MeasurementStatus
from analytics.training.data import PAIR_SPACING_MM, polygon, read_png
from analytics.vbq.automatic import AutomaticMeasurement, SagittalImage
from analytics.vbq.ghosts import ghost
from analytics.vbq.measure import measure_stack
from analytics.vbq.score import circle_mean
from node.demo.hospital import open_hospital
from tests.acceptance.test_vbq_readers import stack
from tests.benchmarks.vbq_pairs import PAIRS, SAME_BODY_MM
from tests.benchmarks.vbq_phantoms import images as phantom_images

Signal = NDArray[np.float64]
ORDINARY = ("0195", "0377")
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
MM = PAIR_SPACING_MM


def slice_of(signal: Signal, spacing_mm=(MM, MM), orientation=SAGITTAL) -> SagittalImage:
    return SagittalImage(
        signal=np.asarray(signal, dtype=float),
        spacing_mm=spacing_mm,
        position_mm=(0.0, 0.0, 0.0),
        orientation=orientation,
    )


def pair(folder: Path, number: str, weighting: str = "t1") -> Signal:
    return read_png(folder / PAIRS / f"{number}_{weighting}.png")


@dataclass(frozen=True, kw_only=True)
class Slice:
    """An ordinary slice, what was measured on it, and where its bodies lie (native rows and columns)."""

    signal: Signal
    t2: Signal
    measured: AutomaticMeasurement
    bodies: dict[str, NDArray[np.float64]]
    """Outlines."""

    def centre(self, name: str) -> NDArray[np.float64]:
        outline = self.bodies[name]
        return (outline.min(axis=0) + outline.max(axis=0)) / 2

    def top(self, name: str) -> int:
        return int(self.bodies[name][:, 0].min())

    def bottom(self, name: str) -> int:
        return int(self.bodies[name][:, 0].max())

    def around(self, name: str, radius_mm: float) -> NDArray[np.bool_]:
        rows, columns = np.indices(self.signal.shape)
        row, column = self.centre(name)
        return np.hypot(rows - row, columns - column) * MM < radius_mm

    def body(self, name: str) -> NDArray[np.float64]:
        """1 inside the body, softly to 0 outside it."""
        return ndimage.gaussian_filter(polygon(self.signal.shape, list(self.bodies[name])).astype(float), 1.0)


@pytest.fixture(scope="module")
def ordinary(shared_data: Path) -> list[Slice]:
    found = []
    for number in ORDINARY:
        signal = pair(shared_data, number)
        measured = measure_stack([slice_of(signal)])
        assert measured.status is MeasurementStatus.MEASURED
        bodies = dict(measured.outlines)
        found.append(Slice(signal=signal, t2=pair(shared_data, number, "t2"), measured=measured, bodies=bodies))
    return found


def fat_saturated(one: Slice) -> Signal:
    """Marrow is half fat; all that is brighter holds more of it."""
    marrow = np.mean([one.measured.score.rois[name].mean for name in LEVELS])
    disc = 0.6 * marrow
    fat = np.clip((one.signal - disc) / (2 * (marrow - disc)), 0, 1)
    return np.where(one.signal > disc, disc * (1.1 - 0.85 * fat), one.signal)


def stir(one: Slice) -> Signal:
    fat = np.clip(one.signal / np.percentile(one.signal, 99), 0, 1)
    return one.t2 * (1 - 0.9 * np.sqrt(fat))


def compressed(one: Slice, name: str, left: float) -> Signal:
    """All above the lower end plate moves down, the body to a part of its height."""
    low, high = one.bottom(name), one.top(name)
    rows, columns = np.indices(one.signal.shape).astype(float)
    up, tall = low - rows, low - high
    source = np.where(up < 0, up, np.where(up < tall * left, up / left, up + tall * (1 - left)))
    return ndimage.map_coordinates(one.signal, [low - source, columns], order=1, mode="nearest")


def screws(one: Slice, *names: str) -> Signal:
    out = one.signal.copy()
    for name in names:
        out[one.around(name, 9.0)] = np.percentile(one.signal, 99.8)
        out[one.around(name, 7.0)] = 2.0
    return out


def tinted(one: Slice, name: str, factor: float) -> Signal:
    return one.signal * (1 + (factor - 1) * one.body(name))


def mass_in_the_sac(one: Slice, name: str, factor: float) -> Signal:
    """An even mass of 40 mm that fills the canal behind a body, so many times as bright as the fluid."""
    canal = polygon(one.signal.shape, list(one.measured.outlines["canal"])).astype(float)
    near = np.clip(20.5 - abs(np.arange(384) - one.centre(name)[0]) * MM, 0, 1)[:, None]
    share = ndimage.gaussian_filter(canal, 0.8) * near
    grain = one.signal - ndimage.gaussian_filter(one.signal, 3)
    fluid = one.measured.score.rois[CSF].mean
    return one.signal * (1 - share) + share * (factor * fluid + 0.2 * grain)


def noisy(one: Slice, share: float) -> Signal:
    rng, sigma = np.random.default_rng(0), share * np.percentile(one.signal, 99)
    return np.hypot(one.signal + rng.normal(0, sigma, one.signal.shape), rng.normal(0, sigma, one.signal.shape))


def ghosted(one: Slice, share: float, axis: int = 1) -> Signal:
    """Copies of the image, 80 mm to both sides: what a motion of one period leaves, with a phase of its own."""
    step = round(80 / MM)
    turn = share * np.exp(0.7j)
    moved = turn * np.roll(one.signal, step, axis) + turn.conjugate() * np.roll(one.signal, -step, axis)
    return np.abs(one.signal + moved)


CHANGES: dict[str, tuple[Callable[[Slice], Signal], str]] = {
    "T2": (lambda one: one.t2, "not T1-weighted"),
    "STIR": (stir, "not T1-weighted"),
    "fat saturation": (fat_saturated, "fat-saturated"),
    "inverted": (lambda one: one.signal.max() - one.signal, "not T1-weighted"),
    "field ends under L4": (lambda one: one.signal[: one.bottom("L4")], "first sacral body"),
    "field ends in L5": (lambda one: one.signal[: int(one.centre("L5")[0]) + 3], ""),
    "field ends under L5": (lambda one: one.signal[: one.bottom("L5") + 3], ""),
    "field begins at L2": (lambda one: one.signal[one.top("L2") - 3 :], "L1 to L5 are needed"),
    "field begins in L1": (lambda one: one.signal[int(one.centre("L1")[0]) :], "L1"),
    "sacral field": (lambda one: one.signal[one.top("L4") :], "L1 to L5 are needed"),
    "upside-down": (lambda one: one.signal[::-1], ""),
    "front to back": (lambda one: one.signal[:, ::-1], ""),
    "rows and columns exchanged": (lambda one: one.signal.T, ""),
    "metal in L3 and L2": (lambda one: screws(one, "L3", "L2"), "metal"),
    "metal from L4 to S1": (lambda one: screws(one, "L4", "L5", "S1"), ""),
    "fracture of L1": (lambda one: compressed(one, "L1", 0.5), "L1 is lower or smaller"),
    "fracture of L3": (lambda one: compressed(one, "L3", 0.5), "L3 is lower or smaller"),
    "dark L1": (lambda one: tinted(one, "L1", 0.5), "L1 has"),
    "dark L3": (lambda one: tinted(one, "L3", 0.5), "L3 has"),
    "bright L2": (lambda one: tinted(one, "L2", 1.7), "L2 has"),
    "an offset": (lambda one: one.signal + 30, "offset"),
    "a negative offset": (lambda one: one.signal - 15, "offset"),
    "heavy noise": (lambda one: noisy(one, 0.15), ""),
    "motion blur": (lambda one: ndimage.gaussian_filter(one.signal, 3.5), "blurred"),
    "ghosts of motion": (lambda one: ghosted(one, 0.08), "ghost of motion"),
    "a mass in the sac at L3": (lambda one: mass_in_the_sac(one, "L3", 1.6), "the fluid at other levels"),
    "no canal": (lambda one: one.signal * (np.arange(384) < one.centre("L3")[1] + 18 / MM), ""),
    "black over L3": (lambda one: one.signal * (abs(np.arange(384)[:, None] - one.centre("L3")[0]) > 12), ""),
    "all black": (lambda one: one.signal * 0, "empty"),
    "constant": (lambda one: one.signal * 0 + 77, "empty"),
    "pixels that are no numbers": (
        lambda one: np.where(one.signal == one.signal.max(), np.nan, one.signal),
        "numbers",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_makes_a_score_wrong_is_noticed_and_said(case: str, ordinary: list[Slice]):
    change, reason = CHANGES[case]
    for one in ordinary:
        found = measure_stack([slice_of(change(one))])
        assert found.status is not MeasurementStatus.MEASURED
        assert reason in "; ".join(map(str, found.reasons))
        assert found.reasons


@pytest.mark.parametrize("factor", [0.1, 0.55, 0.75, 1.5, 3.0, float("nan"), 0.0])
def test_a_spacing_that_makes_the_bodies_no_lumbar_ones_is_noticed(factor: float, ordinary: list[Slice]):
    for one in ordinary:
        found = measure_stack([slice_of(one.signal, (MM * factor, MM * factor))])
        assert found.status is not MeasurementStatus.MEASURED
        assert found.reasons


def test_pixels_that_are_not_square_without_a_word_are_noticed(ordinary: list[Slice]):
    for one in ordinary:
        found = measure_stack([slice_of(ndimage.zoom(one.signal, (1.0, 1 / 1.5), order=1))])
        assert found.status is not MeasurementStatus.MEASURED


@pytest.mark.parametrize("share", [0.04, 0.08])
def test_the_amplitude_of_a_ghost_is_that_of_the_copy_laid_over_the_slice(share: float, ordinary: list[Slice]):
    for one in ordinary:
        marrow = float(np.mean([one.measured.score.rois[name].mean for name in LEVELS]))
        assert ghost(slice_of(one.signal), marrow) is None
        assert ghost(slice_of(ghosted(one, share)), marrow) == pytest.approx(share, rel=0.25)


def levels_and_number(
    found: AutomaticMeasurement, one: Slice, to_native: Callable, spacing_mm, status=MeasurementStatus.MEASURED
) -> None:
    """The same bodies, and the number within the interval of either or 3 %."""
    assert found.status is status, found.reasons
    for name in LEVELS:
        circle, before = found.score.rois[name].circle, one.measured.score.rois[name].circle
        expected = to_native(before.row, before.col)
        away = np.hypot((circle.row - expected[0]) * spacing_mm[0], (circle.col - expected[1]) * spacing_mm[1])
        assert away < SAME_BODY_MM
    before = one.measured.score.vbq_mean
    assert abs(found.score.vbq_mean - before) < max(1.96 * found.vbq_sd, 0.03 * before)


def stored(one: Slice, transpose: bool, flip_rows: bool, flip_columns: bool):
    signal, down, back = one.signal, np.array([0.0, 0.0, -1.0]), np.array([0.0, 1.0, 0.0])
    last = signal.shape[0] - 1
    if flip_rows:
        signal, down = signal[::-1], -down
    if flip_columns:
        signal, back = signal[:, ::-1], -back
    image = slice_of(signal.T if transpose else signal, orientation=(*down, *back) if transpose else (*back, *down))

    def to_native(row: float, column: float) -> tuple[float, float]:
        row, column = last - row if flip_rows else row, last - column if flip_columns else column
        return (column, row) if transpose else (row, column)

    return image, to_native


@pytest.mark.parametrize("turn", [(False, True, False), (False, False, True), (True, False, False), (True, True, True)])
def test_rows_and_columns_that_the_headers_turn_change_nothing(turn, ordinary: list[Slice]):
    for one in ordinary:
        image, to_native = stored(one, *turn)
        found = measure_stack([image])
        levels_and_number(found, one, to_native, (MM, MM))
        assert found.score.vbq_mean == pytest.approx(one.measured.score.vbq_mean, rel=0.01)


@pytest.mark.parametrize("gain", [1e-3, 7.3, 1e5])
def test_a_gain_changes_nothing(gain: float, ordinary: list[Slice]):
    for one in ordinary:
        found = measure_stack([slice_of(one.signal * gain)])
        # Single precision lets one circle of fluid more or less count: what they say together moves by half a percent.
        assert found.score.vbq_mean == pytest.approx(one.measured.score.vbq_mean, rel=6e-3)
        assert (found.status, found.reasons) == (one.measured.status, ())


def resampled(one: Slice, zoom: list[float]) -> Signal:
    at = np.meshgrid(*((np.arange(round(384 * z)) + 0.5) / z - 0.5 for z in zoom), indexing="ij")
    smooth = ndimage.gaussian_filter(one.signal, [0.4 * max(1 / z - 1, 0) for z in zoom])
    return np.maximum(ndimage.map_coordinates(smooth, at, order=3, mode="nearest"), 0)


def test_pixels_that_are_too_coarse_for_a_strip_of_fluid_are_named(ordinary: list[Slice]):
    """128 pixels in 280 mm."""
    for one in ordinary:
        found = measure_stack([slice_of(resampled(one, [MM / 2.2, MM / 2.2]), (2.2, 2.2))])
        assert found.status is MeasurementStatus.REVIEW
        assert "too coarse" in "; ".join(map(str, found.reasons))
        assert found.score.vbq_mean == pytest.approx(one.measured.score.vbq_mean, rel=0.15)


@pytest.mark.parametrize("spacing", [(0.55, 0.55), (1.1, 1.1), (1.3, 0.7), (1.5, 1.5)])
def test_the_matrix_changes_little(spacing, ordinary: list[Slice]):
    for one in ordinary:
        zoom = [MM / mm for mm in spacing]
        found = measure_stack([slice_of(resampled(one, zoom), spacing)])
        levels_and_number(found, one, lambda row, column, zoom=zoom: (row * zoom[0], column * zoom[1]), spacing)


def test_columns_of_one_and_a_half_millimetres_change_little_or_make_the_fluid_doubtful(ordinary: list[Slice]):
    """The strip of fluid is then two or three pixels wide."""
    statuses = []
    for one in ordinary:
        found = measure_stack([slice_of(resampled(one, [MM / 1.0, MM / 1.5]), (1.0, 1.5))])
        statuses.append(found.status)
        if found.status is MeasurementStatus.REVIEW:
            assert all("fluid" in str(reason) for reason in found.reasons)
            found = replace(found, status=MeasurementStatus.MEASURED)
        levels_and_number(found, one, lambda row, column: (row * MM / 1.0, column * MM / 1.5), (1.0, 1.5))
    assert MeasurementStatus.MEASURED in statuses


def test_a_slipped_vertebra_is_measured_as_before(ordinary: list[Slice]):
    """8 mm of listhesis at L4/L5: the circles move with their bodies."""
    for one in ordinary:
        seam = (one.bottom("L4") + one.top("L5")) / 2
        rows, columns = np.indices(one.signal.shape).astype(float)
        shift = np.clip((seam - rows) / 4 + 0.5, 0, 1) * 8 / MM
        found = measure_stack([slice_of(ndimage.map_coordinates(one.signal, [rows, columns + shift], order=1))])
        levels_and_number(found, one, lambda row, column: (row, column - 8 / MM), (MM, MM))


def half_diseased(one: Slice, name: str, factor: float, end: str) -> Signal:
    """The half of a body at an end plate, as sclerosis (darker) and fat (brighter) of the end plates make it."""
    rows = np.indices(one.signal.shape)[0]
    below = np.clip((rows - one.centre(name)[0]) + 0.5, 0, 1)
    half = one.body(name) * (below if end == "foot" else 1 - below)
    return one.signal * (1 + (factor - 1) * half)


@pytest.mark.parametrize("end", ["head", "foot"])
@pytest.mark.parametrize("factor", [0.6, 1.5])
@pytest.mark.parametrize("name", ["L2", "L3"])
def test_a_circle_keeps_to_the_healthy_half_of_a_body(name: str, factor: float, end: str, ordinary: list[Slice]):
    """Half a body that is dark may be a metastasis from which the circle fled: the number is right, and waits."""
    status = MeasurementStatus.REVIEW if factor < 1 else MeasurementStatus.MEASURED
    for one in ordinary:
        found = measure_stack([slice_of(half_diseased(one, name, factor, end))])
        levels_and_number(found, one, lambda row, column: (row, column), (MM, MM), status)
        healthy = circle_mean(one.signal, found.score.rois[name].circle)
        assert found.score.rois[name].mean == pytest.approx(healthy, rel=0.05)
        assert found.score.vbq_mean == pytest.approx(one.measured.score.vbq_mean, rel=0.04)


REAL = {
    "0055": "L1 is lower or smaller",
    "0173": "L1 is lower or smaller",
    "0285": "L1 is lower or smaller",
    "0234": "L1 has",
    "0571": "L2 has",
    "0116": "not T1-weighted",
    "0267": "not T1-weighted",
    "0401": "not T1-weighted",
    "0408": "not T1-weighted",
    "0447": "the marrow of L1 is uneven",
    "0496": "canal leaves the slice",
    "0281": "cannot be told from the nerve roots",
}
"""Seen by eye: a collapsed L1 (one of them after a laminectomy), marrow that is replaced in L1 or in several bodies,
four T2 that are called T1, and a slice beside the canal."""


@pytest.mark.parametrize("number", REAL)
def test_real_fractures_metastases_and_wrong_weightings_wait_for_a_person(number: str, shared_data: Path):
    found = measure_stack([slice_of(pair(shared_data, number))])
    assert found.status is not MeasurementStatus.MEASURED
    assert REAL[number] in "; ".join(map(str, found.reasons))


def test_a_dark_layer_before_the_sac_is_not_measured_as_fluid():
    """A patient of the demo whose score was 19 % too high while one network alone told the fluid."""
    patient = open_hospital(0).patients[0]
    found = measure_stack(phantom_images(patient.study().t1))
    off = abs(found.score.vbq_mean / patient.phantom.true_vbq_mean - 1)
    assert off < 0.05 or "not fluid" in "; ".join(map(str, found.reasons))


def test_stacks_in_any_order_with_the_midline_anywhere(shared_data: Path):
    images, _ = stack(shared_data / "t1-tse-dicom/patient1")
    whole = measure_stack(images)
    chosen = images[whole.slice_index]
    order = np.random.default_rng(0).permutation(len(images))
    shuffled = measure_stack([images[index] for index in order])
    assert images[order[shuffled.slice_index]] is chosen
    assert shuffled.score.vbq_mean == whole.score.vbq_mean
    # 24 slices of a flank on either side: the middle of the stack shows no spine.
    normal = np.cross(chosen.orientation[:3], chosen.orientation[3:])
    ordered = sorted(images, key=lambda image: float(np.dot(normal, image.position_mm)))
    step = np.subtract(ordered[1].position_mm, ordered[0].position_mm)
    for end, direction in ((ordered[0], -1), (ordered[-1], 1)):
        flank = [
            replace(
                end,
                signal=ndimage.gaussian_filter(end.signal, 8),
                position_mm=tuple(np.add(end.position_mm, direction * step * number)),
            )
            for number in range(1, 25)
        ]
        found = measure_stack([*flank, *images])
        assert ([*flank, *images])[found.slice_index] is chosen
    beside = measure_stack(ordered[:5])
    assert beside.status is MeasurementStatus.REJECTED


def test_what_is_no_spine_is_refused():
    rng = np.random.default_rng(0)
    rows, columns = np.indices((320, 320))
    disc = np.hypot(rows - 160, columns - 160) < 110
    holes = np.min([np.hypot(rows - 60 - 40 * k, columns - 150) for k in range(6)], axis=0) < 14
    knee = np.where((columns > 60) & (columns < 260), 60.0, 5.0)
    knee[(np.abs(columns - 150) < 40) & (np.abs(rows - 160) > 50)] = 200.0
    for signal in (
        rng.rayleigh(50, (320, 320)),
        ndimage.gaussian_filter(rng.random((320, 320)), 4) * 1000,
        np.where(disc, 300.0, 3.0) + rng.rayleigh(3, (320, 320)),
        np.where(holes, 120.0, np.where(disc, 300.0, 3.0)),
        knee,
    ):
        found = measure_stack([slice_of(signal, (0.8, 0.8))])
        assert found.status is MeasurementStatus.REJECTED
        assert "stacked vertebral bodies" in str(found.reasons[0])


def test_the_fluid_circle_is_behind_the_bodies(ordinary: list[Slice]):
    for one in ordinary:
        assert one.measured.score.rois[CSF].circle.col > one.bodies["L3"][:, 1].max() - 3


def test_a_field_without_air_at_its_edges_is_measured(ordinary: list[Slice]):
    """256 × 220 mm: the darkest hundredth of it is a tenth as bright as the fluid."""
    found = measure_stack([slice_of(ordinary[1].signal[16:-16, 41:-41])])
    assert (found.status, found.reasons) == (MeasurementStatus.MEASURED, ())
