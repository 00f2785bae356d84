"""Lumbar MR of a patient who never was, with the vertebral bone quality known exactly.

The phantom is a drawn body (:mod:`node.demo.drawing`) seen through a simple scanner: a point spread, the shading of a
surface coil, a saturation band over the belly and Rician noise. What is true about it is stated, not measured: the
marrow signal of each level and the signal of the cerebrospinal fluid before shading and noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from analytics.records import CSF, LEVELS
from node.demo.anatomy import FloatArray, Spine
from node.demo.drawing import Contrast, Lesion, Texture, draw_slice
from node.demo.frame import Frame, Grid, floats

CSF_STRIP_MM = 3.3
"""How far behind the front of the sac the reader's circle for the fluid is centred (roots begin at about 6.5 mm)."""

CSF_RADIUS_MM = 2.4
MARROW_RADIUS_MM = 8.0
FULL_SCALE = {Contrast.T1: 105.0, Contrast.T2: 1100.0, Contrast.STIR: 900.0}
"""Signal of the cerebrospinal fluid in stored values of 12 bits."""

POINT_SPREAD_PX = 0.45
"""Standard deviation of the scanner's point spread."""

MARROW_TO_CSF = {Contrast.T2: 0.28, Contrast.STIR: 0.11}
"""Marrow where it is not what the phantom is about."""


class Plane(StrEnum):
    """How the slices lie in the patient."""

    SAGITTAL = "sagittal"
    AXIAL = "axial"
    CORONAL = "coronal"


ORIENTATION: Mapping[Plane, tuple[float, ...]] = {
    Plane.SAGITTAL: (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
    Plane.AXIAL: (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    Plane.CORONAL: (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
}
"""Image Orientation (Patient): the direction along a row, then the direction down a column."""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """The slices of a series: square pixels, as many rows as columns, distances in mm."""

    slices: int
    size: int
    spacing_mm: float
    thickness_mm: float
    step_mm: float
    offset_mm: float = 0.0
    """Where the middle of the stack lies across the slices, from the centre of L3."""


SAGITTAL = Matrix(slices=15, size=320, spacing_mm=0.875, thickness_mm=4.0, step_mm=4.8)
PAPER_SAGITTAL = Matrix(slices=11, size=320, spacing_mm=0.875, thickness_mm=4.0, step_mm=5.0)
"""Field of view 280 mm, 4 mm slices 1 mm apart, 11 of them: the protocol of the paper, interpolated to 320 pixels."""

AXIAL = Matrix(slices=15, size=256, spacing_mm=0.78125, thickness_mm=4.0, step_mm=8.0, offset_mm=-30.0)
SCOUT = Matrix(slices=1, size=256, spacing_mm=1.5625, thickness_mm=8.0, step_mm=20.0)
_STACK_JITTER_MM = 1.2
"""How far a technician's middle slice lies from the midline, at most."""


@dataclass(frozen=True, kw_only=True)
class PhantomSpec:
    """Everything that is true about a phantom and its scan.

    Parameters
    ----------
    vbq
        Mean marrow signal of L1–L4 over the signal of the fluid, exactly.
    level_factors
        Marrow of L1, L2, L3 and L4 relative to each other; scaled so that their mean is 1.
    spine
        The shape of the column.
    noise
        Standard deviation of the noise in each channel, relative to the fluid's signal in T1.
    shading
        Relative loss of signal per 100 mm of distance from the coil at the back.
    saturation_band
        Whether the belly is saturated, as is usual in sagittal series.
    lesions
        Where marrow is diseased. ``true_vbq_mean`` is that of the healthy marrow.
    tissues
        Signals over that of the fluid in T1, where they are not those at 1.5 T.
    seed
        Of textures, noise and the place of the slices; the same spec draws the same pixels.
    """

    vbq: float = 2.9
    level_factors: tuple[float, float, float, float] = (0.99, 1.01, 1.005, 0.995)
    spine: Spine = field(default_factory=Spine)
    noise: float = 0.05
    shading: float = 0.05
    saturation_band: bool = True
    lesions: tuple[Lesion, ...] = ()
    tissues: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0

    @property
    def marrow_to_csf(self) -> dict[str, float]:
        """The true ratio of every vertebra; those beyond L1–L4 have the mean one."""
        scale = self.vbq / fmean(self.level_factors)
        ratios = {level.name: self.vbq for level in self.spine.levels}
        return ratios | {name: factor * scale for name, factor in zip(LEVELS, self.level_factors, strict=True)}

    @property
    def true_vbq_mean(self) -> float:
        """Mean of L1–L4 over the fluid, before shading and noise."""
        return fmean(self.marrow_to_csf[name] for name in LEVELS)

    @property
    def true_vbq_median(self) -> float:
        """Median of L1–L4 over the fluid, before shading and noise."""
        return median(self.marrow_to_csf[name] for name in LEVELS)


@dataclass(frozen=True, kw_only=True)
class PhantomSeries:
    """The slices of one series.

    ``pixels`` has the shape (slices, rows, columns) of stored 12-bit values; ``positions_mm`` the place of the first
    pixel's centre of each slice (DICOM patient coordinates: left, back, head). Slice ``n`` is InstanceNumber ``n + 1``.
    """

    contrast: Contrast
    plane: Plane
    matrix: Matrix
    pixels: NDArray[np.uint16]
    positions_mm: NDArray[np.float64]

    @property
    def orientation(self) -> tuple[float, ...]:
        """Image Orientation (Patient)."""
        return ORIENTATION[self.plane]


Readings = dict[str, int | list[float]]
"""A reading as a reader gives it: ``slice`` is a 1-based InstanceNumber, circles are 0-based native pixels."""


def draw_series(
    spec: PhantomSpec,
    *,
    contrast: Contrast = Contrast.T1,
    plane: Plane = Plane.SAGITTAL,
    matrix: Matrix = SAGITTAL,
    offset_mm: float = 0.0,
) -> PhantomSeries:
    """Scan a phantom once.

    Parameters
    ----------
    offset_mm
        Moves the stack across its slices, beside what the matrix says: a technician never hits the midline exactly.
    """
    channel = [*Contrast].index(contrast) * 10 + [*Plane].index(plane)
    rng = np.random.default_rng([spec.seed, channel])
    csf = FULL_SCALE[contrast]
    relative = spec.marrow_to_csf
    factor = MARROW_TO_CSF.get(contrast, spec.vbq) / spec.vbq
    marrow = {name: ratio * factor * csf for name, ratio in relative.items()}
    noise = spec.noise * csf * (1.0 if contrast is Contrast.T1 else 0.25)
    texture = Texture.random(matrix.size, matrix.spacing_mm, rng)
    positions = np.array([_first_pixel(plane, matrix, offset_mm, n) for n in range(matrix.slices)])
    pixels = np.empty((matrix.slices, matrix.size, matrix.size), dtype=np.uint16)
    banded = spec.saturation_band and plane is Plane.SAGITTAL
    scene: _Scene | None = None
    for n, position in enumerate(positions):
        # All sagittal slices cut the sagittal plane in the same points; only the distance from the midline differs.
        if scene is None or plane is not Plane.SAGITTAL:
            scene = _scene(spec, plane, matrix, position, banded=banded)
        ideal = draw_slice(
            scene.frame,
            _left(plane, matrix, position),
            contrast=contrast,
            csf_signal=csf,
            marrow_signal=marrow,
            lesions=spec.lesions,
            others=spec.tissues if contrast is Contrast.T1 else None,
            texture=texture.rolled(*rng.integers(0, matrix.size, 2)),
        )
        pixels[n] = _with_noise(gaussian_filter(ideal, POINT_SPREAD_PX) * scene.sensitivity, noise, rng)
    return PhantomSeries(contrast=contrast, plane=plane, matrix=matrix, pixels=pixels, positions_mm=positions)


@dataclass(frozen=True, kw_only=True)
class PhantomStudy:
    """The series of one examination, as a patient's has them."""

    scout: tuple[PhantomSeries, ...]
    """One slice in each plane."""
    t2: PhantomSeries
    t1: PhantomSeries
    axial: PhantomSeries


def draw_study(spec: PhantomSpec, *, sagittal: Matrix = SAGITTAL, axial: Matrix = AXIAL) -> PhantomStudy:
    """A whole examination: scout, sagittal T2, sagittal T1 at the same place, axial T2."""
    rng = np.random.default_rng([spec.seed, 99])
    offset = float(rng.uniform(-_STACK_JITTER_MM, _STACK_JITTER_MM))
    return PhantomStudy(
        scout=tuple(draw_series(spec, contrast=Contrast.T2, plane=plane, matrix=SCOUT) for plane in Plane),
        t2=draw_series(spec, contrast=Contrast.T2, matrix=sagittal, offset_mm=offset),
        t1=draw_series(spec, contrast=Contrast.T1, matrix=sagittal, offset_mm=offset),
        axial=draw_series(spec, contrast=Contrast.T2, plane=Plane.AXIAL, matrix=axial),
    )


def readings(spec: PhantomSpec, series: PhantomSeries) -> Readings:
    """Where a reader who knows the anatomy would place the circles in a sagittal series.

    The circles of L1–L4 lie in the anterior two-thirds of the bodies, the one of the fluid in the anterior part of
    the sac at L3.
    """
    spine, matrix = spec.spine, series.matrix
    number = int(np.argmin(np.abs(series.positions_mm[:, 0] - float(spine.midline(floats(0.0)))))) + 1
    found: Readings = {"slice": number}
    for name in LEVELS:
        level = spine.level(name)
        half = float(spine.half_depth(floats(level.centre_mm)))
        radius = min(MARROW_RADIUS_MM * spine.size, level.half_height_mm - 4.0, 2 * half / 3 - 2.5)
        found[name] = _circle(series, spine.position(level.centre_mm, -half / 3), radius / matrix.spacing_mm)
    front, _ = spine.walls_of_sac(floats(0.0))
    found[CSF] = _circle(series, spine.position(0.0, float(front) + CSF_STRIP_MM), CSF_RADIUS_MM / matrix.spacing_mm)
    return found


def _circle(series: PhantomSeries, point_mm: tuple[float, float, float], radius_px: float) -> list[float]:
    first, spacing = series.positions_mm[0], series.matrix.spacing_mm
    row = (first[2] - point_mm[2]) / spacing
    col = (point_mm[1] - first[1]) / spacing
    return [round(float(row), 2), round(float(col), 2), round(radius_px, 2)]


def _first_pixel(plane: Plane, matrix: Matrix, offset_mm: float, n: int) -> tuple[float, float, float]:
    across = (n - (matrix.slices - 1) / 2) * matrix.step_mm + matrix.offset_mm + offset_mm
    extent = matrix.size * matrix.spacing_mm
    if plane is Plane.SAGITTAL:
        return across, -0.593 * extent, 0.447 * extent
    if plane is Plane.AXIAL:
        return -extent / 2, -0.55 * extent, -across + 2 * matrix.offset_mm
    return -extent / 2, across, 0.447 * extent


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """What slices share that cut the sagittal plane in the same points."""

    frame: Frame
    sensitivity: FloatArray


def _scene(spec: PhantomSpec, plane: Plane, matrix: Matrix, first: NDArray[np.float64], *, banded: bool) -> _Scene:
    steps = np.arange(matrix.size, dtype=np.float32) * np.float32(matrix.spacing_mm)
    y, z = np.full((1, 1), first[1], dtype=np.float32), np.full((1, 1), first[2], dtype=np.float32)
    soft = dict.fromkeys(("soft_x", "soft_y", "soft_z"), matrix.spacing_mm)
    if plane is Plane.SAGITTAL:
        y, z, thick = y + steps[None, :], z - steps[:, None], "soft_x"
    elif plane is Plane.AXIAL:
        y, z, thick = y + steps[:, None], np.broadcast_to(z, (matrix.size, 1)), "soft_z"
    else:
        y, z, thick = np.broadcast_to(y, (matrix.size, 1)), z - steps[:, None], "soft_y"
    grid = Grid(y=y, z=z, **{**soft, thick: matrix.thickness_mm})
    return _Scene(frame=Frame(grid, spec.spine), sensitivity=_sensitivity(grid, spec.shading, banded=banded))


def _left(plane: Plane, matrix: Matrix, first: NDArray[np.float64]) -> FloatArray:
    """How far to the left the pixels lie, in mm: one number for a sagittal slice, one row for the others."""
    count = 1 if plane is Plane.SAGITTAL else matrix.size
    return floats(first[0] + np.arange(count) * matrix.spacing_mm)[None, :]


def _sensitivity(grid: Grid, shading: float, *, banded: bool) -> FloatArray:
    """What the coil and the saturation band leave of the signal; 1 at the centre of L3."""
    fall = np.exp(shading * grid.y / 100.0 - shading * 1.2 * (grid.z / 140.0) ** 4)
    if banded:
        edge = np.interp(grid.z, [-140, -95, -60, -20, 60, 140], [-90, -45, -38, -36, -24, -14])
        # The band is incomplete at the far wall of the belly.
        kept = 0.015 + 0.06 * np.exp(-(((grid.y + 122) / 11) ** 2))
        fall = fall * (kept + (1 - kept) / (1 + np.exp((edge - grid.y) / 2.2)))
    return np.asarray(fall, dtype=np.float32)


def _with_noise(signal: FloatArray, sigma: float, rng: np.random.Generator) -> NDArray[np.uint16]:
    """The magnitude of a complex signal with noise in both channels, as stored values."""
    real = signal + sigma * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.asarray(np.clip(np.rint(np.hypot(real, imaginary)), 0, 4095), dtype=np.uint16)
