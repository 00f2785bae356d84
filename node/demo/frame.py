"""What the pixels of a phantom's slices are to its spine: the shapes that do not depend on the distance from midline.

The shapes are shares: 1 inside, 0 outside, and in between where a border cuts a pixel. They are worked out once for
all sagittal slices of a series.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.interpolate import PchipInterpolator

from node.demo.anatomy import FloatArray, Spine

_BACK = PchipInterpolator([-170, -125, -95, -60, -15, 40, 150], [92, 101, 105, 103, 93, 96, 108])
_FASCIA = PchipInterpolator([-170, -125, -95, -60, -15, 40, 150], [84, 88, 82, 73, 73, 77, 87])
_BELLY = PchipInterpolator([-150, -60, 40, 150], [-122, -129, -121, -108])
"""Where skin, the muscles' fascia and the belly's skin lie (mm to the back) at a height (mm above L3)."""

_BEFORE_SPINE_MM = 52.0
"""Nothing that is drawn in the spine's coordinates lies further in front of the bodies' middle."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where the pixels of a slice lie in the sagittal plane, and how thick they are in each direction (mm).

    ``y`` and ``z`` broadcast to rows and columns (sagittal) or are one column (axial, coronal).
    """

    y: FloatArray
    z: FloatArray
    soft_x: float
    soft_y: float
    soft_z: float


class Frame:
    """What the pixels of a slice are to the spine, whatever their distance from the midline; float32 throughout.

    Columns before ``first_column`` lie in the belly, where no part of the spine is drawn.
    """

    def __init__(self, grid: Grid, spine: Spine) -> None:
        self.grid, self.spine = grid, spine
        s, t = spine.along_and_across(grid.y, grid.z)
        near = np.flatnonzero((t > -_BEFORE_SPINE_MM).any(axis=0))
        self.first_column = int(near[0]) if t.shape[1] > 1 and near.size else 0
        self.s, self.t = s[:, self.first_column :], t[:, self.first_column :]
        self.y = np.broadcast_to(grid.y, s.shape)[:, self.first_column :]
        self.z = np.broadcast_to(grid.z, s.shape)[:, self.first_column :]
        self.fascia = _at(_FASCIA, self.z)
        levels = spine.levels
        self.centres = floats([level.centre_mm for level in levels])
        self.heights = floats([level.half_height_mm for level in levels])
        self.borders = ((self.centres + self.heights)[:-1] + (self.centres - self.heights)[1:]) / 2
        self.sacral_levels = np.array([level.sacral for level in levels])
        self.index = np.searchsorted(self.borders, self.s)
        self.sacral = self.sacral_levels[self.index]
        self.along = self.s - self.centres[self.index]
        self.half_height = self.heights[self.index]
        self.half_depth = spine.half_depth(self.s)
        self.sac_front, self.sac_back = spine.walls_of_sac(self.s)
        self.in_range = (self.s > self.borders[0]) & (self.s < self.centres[-1] + self.heights[-1])
        self.v = np.clip(self.t / self.half_depth, -1.4, 1.4)
        self.u = self.along / self.half_height

    def along_spine(self, distance: FloatArray) -> FloatArray:
        """The share inside a border that runs across the spine."""
        return cover(distance, self.grid.soft_z)

    def across_spine(self, distance: FloatArray) -> FloatArray:
        """The share inside a border that runs along the spine."""
        return cover(distance, self.grid.soft_y)

    def by_height(self, heights_mm: list[float], values: list[float]) -> FloatArray:
        """A quantity that changes along the spine."""
        return floats(np.interp(self.s, heights_mm, values))

    @cached_property
    def belly(self) -> tuple[FloatArray, FloatArray]:
        """Middle of the trunk and half its depth (mm), from skin to skin; over all columns."""
        back, front = _at(_BACK, self.grid.z), _at(_BELLY, self.grid.z)
        return (back + front) / 2, (back - front) / 2

    @cached_property
    def body_half_height(self) -> FloatArray:
        """Half the height of a body, with the endplates' hollow and the rounded corners."""
        hollow = 0.075 * np.maximum(1 - self.v**2, 0)
        return self.half_height * (1 - hollow - 0.4 * np.maximum(np.abs(self.v) - 0.82, 0))

    @cached_property
    def body_half_depth(self) -> FloatArray:
        """Half the depth of a body, with its waist."""
        return self.half_depth * (1 - 0.08 * np.maximum(1 - self.u**2, 0) * np.where(self.sacral, 0.6, 1.0))

    @cached_property
    def bodies(self) -> tuple[FloatArray, ...]:
        """The bodies with their cortex, and the marrow inside, in the middle plane."""
        grid = self.grid
        return tuple(
            cover(
                np.maximum(
                    (np.abs(self.along) - self.body_half_height + rim) / grid.soft_z,
                    (np.abs(self.t) - self.body_half_depth + rim) / grid.soft_y,
                ),
                1.0,
            )
            * self.in_range
            for rim in (0.0, 1.15)
        )

    @cached_property
    def column(self) -> FloatArray:
        """The discs' space: the column without gaps."""
        return floats(self.across_spine(np.abs(self.t) - self.half_depth - 0.4) * self.in_range)

    @cached_property
    def nucleus(self) -> FloatArray:
        """How much of a disc is nucleus: 1 inside, 0 at the ring."""
        return floats(np.clip(1.15 - (np.abs(self.v) / 0.74) ** 4, 0, 1))

    @cached_property
    def body_half_width(self) -> FloatArray:
        """Half the width of a body: narrow at its waist and towards the canal."""
        waist = 20.0 + 3.5 * np.minimum(np.abs(self.u), 1)
        return waist * np.sqrt(np.maximum(1 - 0.45 * np.clip(self.v + 0.25, -1.4, 1.4) ** 2, 0.05))

    @cached_property
    def vein(self) -> FloatArray:
        """The basivertebral vein's cleft at the back of the bodies."""
        narrow = np.abs(self.along - 0.5) - 1.6 * np.clip(self.v - 0.2, 0, 1)
        cleft = self.across_spine((0.5 - self.v) * self.half_depth) * self.across_spine(
            (self.v - 0.9) * self.half_depth
        )
        return floats(0.7 * cleft * self.along_spine(narrow) * ~self.sacral)

    @cached_property
    def epidural(self) -> FloatArray:
        """The canal's space round the sac; behind it fat fills the notches between the laminae."""
        notch = np.where(self.sacral, 1.0, np.clip(np.abs(self.along - 4) / self.half_height, 0, 1.3) ** 2)
        back = self.sac_back + 1.0 + 5.0 * notch
        return self.across_spine(self.half_depth - self.t) * self.across_spine(self.t - back)

    @cached_property
    def before_sac(self) -> FloatArray:
        """1 where the space in front of the sac holds ligament, 0 where it holds fat (from the last disc down)."""
        last = self.spine.last_lumbar.centre_mm
        return self.by_height([last - 5, last + 12], [1.0, 0.0]) * self.across_spine(self.t - self.sac_front - 2)

    @cached_property
    def root_share(self) -> FloatArray:
        """Where, from 0 in front to 1 behind, the roots begin in the sac."""
        end = self.spine.last_lumbar.centre_mm
        share = self.by_height([-75, -50, end - 20, end + 40], [0.32, 0.42, 0.46, 0.7])
        # Roots take the same room in a narrow sac: there they lie further in front, and crowded in the end.
        return floats(np.maximum(1 - (1 - share) / self.spine.sac, 0))

    @cached_property
    def cord_radius(self) -> FloatArray:
        """Radius of the spinal cord, which ends at L1."""
        end = self.spine.level("L1").centre_mm + 4
        return self.by_height([end - 45, end - 14, end], [4.3, 3.4, 0.4]) * self.along_spine(self.s - end)

    @cached_property
    def foramen(self) -> FloatArray:
        """The space between pedicles behind the bodies."""
        return floats(self.across_spine(np.abs(self.t - self.half_depth - 8) - 7) * ~self.sacral * self.in_range)

    @cached_property
    def root(self) -> FloatArray:
        """The root in the foramen, below its pedicle."""
        low = self.along - 0.15 * self.half_height - 4
        distance = np.sqrt(((self.t - self.half_depth - 7) / 3.2) ** 2 + (low / 3.6) ** 2)
        return floats(np.clip((1.15 - distance) * 2.5, 0, 1) * ~self.sacral)

    @cached_property
    def pedicles(self) -> tuple[FloatArray, ...]:
        """Pedicles with cortex, and their marrow."""
        high = np.abs(self.along + 0.42 * self.half_height)
        back = np.abs(self.t - self.half_depth - 6)
        return tuple(
            self.along_spine(high - 7 + rim) * self.across_spine(back - 8 + rim) * ~self.sacral * self.in_range
            for rim in (0.0, 1.15)
        )

    @cached_property
    def joints(self) -> tuple[FloatArray, ...]:
        """Articular masses with cortex, slanting down and back, parted by the joints; and their marrow."""
        lean = self.along + 0.55 * (self.t - self.half_depth - 14)
        pitch = 2 * self.half_height + 10
        turn = np.abs((lean + 1.5 * pitch) % pitch - pitch / 2)
        back = np.abs(self.t - self.half_depth - 19)
        return tuple(
            self.along_spine(turn - pitch * 0.42 + rim)
            * self.across_spine(back - 7 + rim)
            * ~self.sacral
            * self.in_range
            for rim in (0.0, 1.3)
        )

    @cached_property
    def processes(self) -> "_Processes":
        """Spinous processes and laminae."""
        return _Processes(self)


class _Processes:
    """The arches' back parts; each slants down, so it belongs to the level above the disc beside it."""

    def __init__(self, frame: Frame) -> None:
        spine, t = frame.spine, frame.t
        start = float(spine.half_depth(floats(0.0))) + 20.0
        lean = frame.s - 0.30 * (t - start) - 9.0
        self.index = np.clip(np.searchsorted(frame.borders, lean), 0, len(frame.centres) - 1)
        along = lean - frame.centres[self.index]
        sacral = frame.sacral_levels[self.index]
        last = spine.last_lumbar.centre_mm
        length = floats(np.interp(lean, [-110, 0, last - 30, last - 12], [25, 30, 27, 17]))
        length = np.where(sacral, 7.0, length)
        # The sharp bend above the sacrum squeezes what lies behind it; the last process is drawn higher for that.
        half = floats(np.interp(lean, [last - 30, last - 14], [0.68, 1.05])) * frame.heights[self.index]
        bulge = np.where(sacral, 5.0, half + 2.5 * np.clip((t - start - 8) / 20, -1, 1))
        middle, depth = frame.sac_back + 2.6 + length / 2, np.maximum(length / 2, 1)
        far = np.clip(np.abs(t - middle) / depth, 0, 1)
        rounded = bulge * np.sqrt(np.maximum(1 - 0.8 * far**5, 0))
        near = frame.along_spine(frame.centres[1] - lean)
        self.spinous = tuple(
            frame.along_spine(np.abs(along) - rounded + rim)
            * frame.across_spine(np.abs(t - middle) - depth + rim)
            * near
            for rim in (0.0, 1.1)
        )
        self.laminae = tuple(
            frame.along_spine(np.abs(along + 3) - 8 + rim)
            * frame.across_spine(np.abs(t - frame.sac_back - 5) - 3 + rim)
            * near
            * ~sacral
            for rim in (0.0, 1.1)
        )


def cover(distance: FloatArray, softness: float) -> FloatArray:
    """The share of a pixel inside a border at a signed distance (mm, negative inside); float32."""
    return np.asarray(np.clip(0.5 - distance / softness, 0, 1), dtype=np.float32)


def floats(values: object) -> FloatArray:
    """As an array of 32-bit numbers: half the memory and nearly half the time."""
    return np.asarray(values, dtype=np.float32)


def _at(curve: PchipInterpolator, z: FloatArray) -> FloatArray:
    heights = np.linspace(-260, 260, 521)
    return floats(np.interp(z, heights, curve(np.clip(heights, curve.x[0], curve.x[-1]))))
