"""The spine that the phantoms show: where every point of a drawn body lies along and across the vertebral column.

Coordinates are millimetres: ``x`` to the patient's left, ``y`` to the back, ``z`` to the head, with the origin in the
centre of L3. Beside them the spine has its own: ``s`` runs down along the line through the vertebral bodies' centres
(0 at the centre of L3) and ``t`` across it to the back, so that a body is nearly a rectangle in (s, t) and the
lordosis bends all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]

_STEP_MM = 1.0
_NEWTON_ROUNDS = 5
_MINIMUM_STRETCH = 0.35
"""Keeps Newton's step finite behind the centre of curvature, where only fat and skin are drawn."""

_THORACIC = (("T9", 22.0, 5.0), ("T10", 23.0, 5.0), ("T11", 24.0, 5.5), ("T12", 25.5, 6.5))
_SACRAL = (("S1", 29.0, 2.5), ("S2", 24.0, 1.5), ("S3", 20.0, 1.0), ("S4", 17.0, 1.0))
"""Name, height of the body, height of the disc below it, in mm."""

_LUMBAR_HEIGHTS_MM = (26.5, 27.5, 28.0, 28.0, 27.5)
_LUMBAR_DISCS_MM = (7.5, 9.0, 10.0, 11.0, 10.0)
_LUMBAR_TILT_DEG = (-14.0, -11.0, -6.5, -1.0, 8.0)
"""The way down along the column leans to the belly above (negative) and to the back below; at L1 to L5."""

_SACRAL_TILT_DEG = (38.0, 52.0, 56.0, 50.0)
_THORACIC_TILT_DEG = -12.0


@dataclass(frozen=True, kw_only=True)
class Level:
    """One vertebra: its name, the centre of its body along the spine, and half its height, in mm."""

    name: str
    centre_mm: float
    half_height_mm: float

    @property
    def sacral(self) -> bool:
        """Whether it is part of the sacrum."""
        return self.name.startswith("S")


@dataclass(frozen=True, kw_only=True)
class Spine:
    """A vertebral column.

    Parameters
    ----------
    lumbar
        How many lumbar vertebrae (4 to 6); they are named from L1 down.
    lordosis
        1 for the average curvature, 0 for a straight spine.
    scoliosis_mm
        How far the column leaves the midline to the left at its apex (L2/L3).
    size
        1 for the average size of the vertebrae.
    sac
        1 for a dural sac of the average depth.
    """

    lumbar: int = 5
    lordosis: float = 1.0
    scoliosis_mm: float = 0.0
    size: float = 1.0
    sac: float = 1.0

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """All vertebrae from the top down; the centre of L3 is at ``s`` = 0."""
        positions = np.linspace(0, len(_LUMBAR_HEIGHTS_MM) - 1, self.lumbar)
        grid = np.arange(len(_LUMBAR_HEIGHTS_MM))
        heights = np.interp(positions, grid, _LUMBAR_HEIGHTS_MM)
        discs = np.interp(positions, grid, _LUMBAR_DISCS_MM)
        lumbar = [(f"L{n + 1}", float(heights[n]), float(discs[n])) for n in range(self.lumbar)]
        top = 0.0
        found: list[Level] = []
        for name, height, disc in (*_THORACIC, *lumbar, *_SACRAL):
            found.append(
                Level(name=name, centre_mm=(top + height / 2) * self.size, half_height_mm=height / 2 * self.size)
            )
            top += height + disc
        origin = next(level.centre_mm for level in found if level.name == "L3")
        return tuple(
            Level(name=level.name, centre_mm=level.centre_mm - origin, half_height_mm=level.half_height_mm)
            for level in found
        )

    def level(self, name: str) -> Level:
        """The vertebra of that name."""
        return next(level for level in self.levels if level.name == name)

    @cached_property
    def last_lumbar(self) -> Level:
        """The vertebra above the sacrum."""
        return self.level(f"L{self.lumbar}")

    @cached_property
    def _centreline(self) -> tuple[NDArray[np.float64], ...]:
        """s, y, z and tilt (radians) of the line through the bodies' centres, every millimetre."""
        knots = [(-200.0, _THORACIC_TILT_DEG)]
        positions = np.linspace(0, len(_LUMBAR_TILT_DEG) - 1, self.lumbar)
        tilts = np.interp(positions, np.arange(len(_LUMBAR_TILT_DEG)), _LUMBAR_TILT_DEG)
        knots += [(self.level(f"L{n + 1}").centre_mm, float(tilts[n])) for n in range(self.lumbar)]
        knots += [(self.level(f"S{n + 1}").centre_mm, tilt) for n, tilt in enumerate(_SACRAL_TILT_DEG)]
        s = np.arange(-220.0, 320.0, _STEP_MM)
        tilt = np.radians(self.lordosis * _between(s, knots))
        width = 15
        tilt = np.convolve(np.pad(tilt, width // 2, mode="edge"), np.ones(width) / width, mode="valid")
        y = np.cumsum(np.sin(tilt)) * _STEP_MM
        z = -np.cumsum(np.cos(tilt)) * _STEP_MM
        return s, y - np.interp(0, s, y), z - np.interp(0, s, z), tilt

    def along_and_across(self, y_mm: FloatArray, z_mm: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The spine's own coordinates (s, t) of points in the sagittal plane; shapes as the inputs broadcast."""
        s_line, y_line, z_line, tilt_line = self._centreline
        bend_line = np.gradient(tilt_line, _STEP_MM)
        y, z = np.broadcast_arrays(y_mm.astype(np.float64), z_mm.astype(np.float64))
        s = np.interp(-z, -z_line, s_line)
        across = np.zeros_like(s)
        for _ in range(_NEWTON_ROUNDS):
            place = np.clip((s - s_line[0]) / _STEP_MM, 0, len(s_line) - 1.001)
            below = place.astype(np.intp)
            part = place - below
            tilt = tilt_line[below] * (1 - part) + tilt_line[below + 1] * part
            dy = y - (y_line[below] * (1 - part) + y_line[below + 1] * part)
            dz = z - (z_line[below] * (1 - part) + z_line[below + 1] * part)
            sine, cosine = np.sin(tilt), np.cos(tilt)
            across = dy * cosine + dz * sine
            s = s + (dy * sine - dz * cosine) / np.maximum(1 - bend_line[below] * across, _MINIMUM_STRETCH)
        return s.astype(np.float32), across.astype(np.float32)

    def position(self, s_mm: float, t_mm: float) -> tuple[float, float, float]:
        """The point (x, y, z) at ``s`` along and ``t`` across the spine, in its middle plane."""
        s_line, y_line, z_line, tilt_line = self._centreline
        tilt = float(np.interp(s_mm, s_line, tilt_line))
        y = float(np.interp(s_mm, s_line, y_line)) + t_mm * np.cos(tilt)
        z = float(np.interp(s_mm, s_line, z_line)) + t_mm * np.sin(tilt)
        return float(self.midline(np.float32(s_mm))), float(y), float(z)

    def midline(self, s_mm: FloatArray | np.float32) -> FloatArray:
        """How far left of ``x`` = 0 the column lies at ``s``."""
        bow = np.cos(np.clip((s_mm + 18.0) / 160.0, -1, 1) * np.pi)
        return np.asarray(self.scoliosis_mm * (0.5 + 0.5 * bow), dtype=np.float32)

    def half_depth(self, s_mm: FloatArray) -> FloatArray:
        """Half the depth of the bodies from front to back at ``s``."""
        knots = [(-110.0, 14.5), (self.level("L1").centre_mm, 16.5), (self.last_lumbar.centre_mm, 17.5)]
        sacrum = (16.0, 10.5, 7.5, 6.0)
        knots += [(self.level(f"S{n + 1}").centre_mm, depth) for n, depth in enumerate(sacrum)]
        return np.asarray(_between(s_mm, knots) * self.size, dtype=np.float32)

    def walls_of_sac(self, s_mm: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Front and back of the dural sac, in mm across the spine; they meet where it ends, at S2."""
        half = self.half_depth(s_mm)
        knots = [
            (-110.0, 16.0),
            (self.level("L3").centre_mm, 16.0),
            (self.last_lumbar.centre_mm, 14.0),
            (self.level("S1").centre_mm, 9.0),
            (self.level("S2").centre_mm, 0.0),
        ]
        gap = np.interp(s_mm, [self.last_lumbar.centre_mm - 20, self.level("S1").centre_mm], [2.6, 6.5])
        front = half + gap.astype(np.float32)
        return front, front + (_between(s_mm, knots) * self.sac).astype(np.float32)


def _between(place: FloatArray, knots: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """Linear between knots (place, value), constant beyond them."""
    places, values = np.array(knots).T
    return np.asarray(np.interp(place, places, values), dtype=np.float64)
