"""Draws slices of the phantom's body: each tissue is painted over what lies behind it, with partial-volume edges.

An edge is as soft as the slice is thick in its direction: a pixel cut by a border gets the share of both sides, as in
a scanner. What depends only on the place in the sagittal plane is worked out once for all sagittal slices
(:class:`~node.demo.frame.Frame`); a slice adds its distance from the midline.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.ndimage import gaussian_filter

from node.demo.anatomy import FloatArray
from node.demo.frame import Frame, cover, floats


class Contrast(StrEnum):
    """How a series is weighted."""

    T1 = "T1"
    T2 = "T2"
    STIR = "STIR"


TISSUES: Mapping[Contrast, Mapping[str, float]] = {
    Contrast.T1: {
        "csf": 1.0, "roots": 1.5, "cord": 1.55, "disc": 1.65, "annulus": 0.8, "cortex": 0.45, "muscle": 1.45,
        "fat": 6.0, "ligament": 1.7, "vessel": 0.25, "viscera": 1.7, "skin": 3.0, "vein": 1.4, "dura": 0.8,
    },
    Contrast.T2: {
        "csf": 1.0, "roots": 0.42, "cord": 0.36, "disc": 0.34, "annulus": 0.1, "cortex": 0.05, "muscle": 0.12,
        "fat": 0.62, "ligament": 0.14, "vessel": 0.04, "viscera": 0.3, "skin": 0.25, "vein": 0.42, "dura": 0.08,
    },
    Contrast.STIR: {
        "csf": 1.0, "roots": 0.5, "cord": 0.42, "disc": 0.38, "annulus": 0.12, "cortex": 0.05, "muscle": 0.3,
        "fat": 0.08, "ligament": 0.15, "vessel": 0.06, "viscera": 0.45, "skin": 0.2, "vein": 0.6, "dura": 0.1,
    },
}  # fmt: skip
"""Signals relative to cerebrospinal fluid; T1 after real sagittal series at 1.5 T (TR 620 ms, TE 9 ms)."""


@dataclass(frozen=True, kw_only=True)
class Texture:
    """Smooth random fields of the slice's shape, zero mean and unit standard deviation."""

    fine: FloatArray
    coarse: FloatArray
    fibres: FloatArray

    @classmethod
    def random(cls, size: int, spacing_mm: float, rng: np.random.Generator) -> "Texture":
        """New fields; their grain is set in millimetres, so that it does not depend on the matrix."""
        grains = {"fine": (1.1, 1.1), "coarse": (5.0, 5.0), "fibres": (7.0, 0.9)}
        return cls(
            **{
                name: _field(size, (along / spacing_mm, across / spacing_mm), rng)
                for name, (along, across) in grains.items()
            }
        )

    def rolled(self, rows: int, cols: int) -> "Texture":
        """The same fields, moved, for another slice."""
        return Texture(
            **{name: np.roll(getattr(self, name), (rows, cols), axis=(0, 1)) for name in ("fine", "coarse", "fibres")}
        )

    def from_column(self, first: int) -> "Texture":
        """The part from a column on."""
        return Texture(**{name: getattr(self, name)[:, first:] for name in ("fine", "coarse", "fibres")})


def _field(size: int, sigma: tuple[float, float], rng: np.random.Generator) -> FloatArray:
    field = gaussian_filter(rng.standard_normal((size, size), dtype=np.float32), sigma, mode="wrap")
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """Marrow at so many times its signal, up and down the spine from a place along it (0 at the centre of L3)."""

    centre_mm: float
    reach_mm: float
    factor: float


def draw_slice(
    frame: Frame,
    x_mm: FloatArray,
    *,
    contrast: Contrast,
    csf_signal: float,
    marrow_signal: Mapping[str, float],
    texture: Texture,
    lesions: Sequence[Lesion] = (),
    others: Mapping[str, float] | None = None,
) -> FloatArray:
    """The ideal signal of one slice: no shading, no noise, no blur.

    Parameters
    ----------
    x_mm
        How far to the left the pixels lie; one number for a sagittal slice, one row for the others.
    marrow_signal
        By the name of each vertebra, on the scale of ``csf_signal``.
    lesions
        Where it is another.
    others
        Tissues of another signal than :data:`TISSUES` has, relative to the fluid.
    """
    tissue = {name: value * csf_signal for name, value in {**TISSUES[contrast], **(others or {})}.items()}
    image = _trunk(frame, x_mm, tissue, texture)
    painter = _Painter(frame, x_mm, tissue, texture.from_column(frame.first_column), marrow_signal)
    painter.diseased(lesions)
    painter.image = image[:, frame.first_column :]
    painter.muscles()
    painter.vessels()
    painter.ligaments()
    painter.canal()
    painter.bodies()
    painter.sacral_wings()
    painter.arches()
    return image


def _trunk(frame: Frame, x: FloatArray, tissue: Mapping[str, float], texture: Texture) -> FloatArray:
    """Skin, the fat under it, and what fills the belly and the pelvis."""
    grid = frame.grid
    middle, half = frame.belly
    rim = np.sqrt(np.maximum(1 - (x / 172.0) ** 2, 0)) ** np.float32(0.8)
    depth = np.abs(grid.y - middle) - half * rim
    fat = tissue["fat"] * (1 + 0.05 * texture.coarse - 0.12 * np.clip(np.abs(texture.fibres) - 1.3, 0, 1))
    outline = cover(depth, grid.soft_y)
    image = outline * tissue["skin"] + cover(depth + 2.2, grid.soft_y) * (fat - tissue["skin"])
    fatty = 0.5 + 0.5 * np.clip(1.5 * texture.coarse + 0.4 * texture.fine, -1, 1)
    fatty = np.maximum(fatty, floats(np.interp(grid.z, [-105, -75], [0.85, 0.0])))
    filling = tissue["viscera"] + (tissue["fat"] * 0.85 - tissue["viscera"]) * fatty
    cavity = cover(np.abs(grid.y - middle + 8) - half * rim + 26, 6.0)
    image += cavity * (filling - image)
    bladder = np.sqrt((grid.y + 20) ** 2 + ((grid.z + 150) / 0.6) ** 2 + x**2) + texture.coarse
    image += cover(bladder - 30, 4.0) * (tissue["viscera"] * 0.7 - image)
    return np.asarray(image, dtype=np.float32)


class _Painter:
    """One slice while it is painted; every method paints one part of the body, from the outside in."""

    image: FloatArray

    def __init__(
        self, frame: Frame, x: FloatArray, tissue: Mapping[str, float], texture: Texture, marrow: Mapping[str, float]
    ) -> None:
        self.frame, self.tissue, self.texture = frame, tissue, texture
        self.x = x - frame.spine.midline(frame.s) if frame.spine.scoliosis_mm else x
        self.aside = np.abs(self.x)
        self.grain = 1 + 0.035 * texture.fine + 0.012 * texture.coarse
        self.marrow_signals = floats([marrow[level.name] for level in frame.spine.levels])
        self.marrow = self.marrow_signals[frame.index] * self.grain

    def diseased(self, lesions: Sequence[Lesion]) -> None:
        """Marrow of another signal, before it is painted."""
        for lesion in lesions:
            away = np.abs(self.frame.s - lesion.centre_mm) + self.texture.coarse
            self.marrow = self.marrow * (1 + (lesion.factor - 1) * cover(away - lesion.reach_mm, 2.0))

    def _paint(self, value: FloatArray | float, *covers: FloatArray) -> None:
        share = covers[0]
        for other in covers[1:]:
            if not share.any():
                return
            share = share * other
        self.image += share * (value - self.image)

    def _x(self, distance: FloatArray) -> FloatArray:
        return cover(distance, self.frame.grid.soft_x)

    def muscles(self) -> None:
        """Fat round the column, psoas beside it and erector spinae behind."""
        frame = self.frame
        fat = self.tissue["fat"] * (0.85 + 0.06 * self.texture.coarse)
        disc = np.sqrt(np.maximum(1 - (self.aside / 66.0) ** 4, 0))
        self._paint(fat, frame.across_spine(np.abs(frame.t + 2) - (frame.half_depth + 5.0) * disc))
        muscle = self.tissue["muscle"] * (1 + 0.05 * self.texture.fine)
        girth = frame.by_height([-75, -40, 70, 120], [3, 11, 20, 19])
        from_centre = (self.aside - 27 - girth * 0.62) / girth
        reach = np.sqrt(np.maximum(1 - from_centre**2, 0)) * girth * 1.2
        self._paint(muscle, np.asarray(reach > 0, dtype=np.float32), frame.across_spine(np.abs(frame.t) - reach))
        streaks = np.clip(0.3 + (self.texture.fibres - 1.6) * 0.9 + 0.25 * self.texture.coarse, 0, 0.6)
        flesh = muscle + (self.tissue["fat"] - muscle) * streaks
        width = frame.by_height([0, 100, 150], [74, 62, 35])
        bulge = np.sqrt(np.maximum(1 - (self.aside / width) ** 6, 0))
        self._paint(
            flesh,
            self._x(self.aside - width),
            frame.across_spine(frame.half_depth + 6 - frame.t),
            frame.across_spine(frame.y - frame.fascia * bulge),
        )

    def vessels(self) -> None:
        """Aorta (left) and vena cava (right), which part in front of L4."""
        frame = self.frame
        above = frame.along_spine(frame.s - frame.spine.level("L4").centre_mm)
        front = frame.t + frame.half_depth
        for side, radius in ((10.0, 8.0), (-15.0, 9.0)):
            reach = np.sqrt(np.maximum(1 - ((self.x - side) / radius) ** 2, 0)) * radius
            inside = np.asarray(reach > 0, dtype=np.float32)
            self._paint(self.tissue["vessel"], inside, frame.across_spine(np.abs(front + 6 + radius) - reach), above)

    def ligaments(self) -> None:
        """What lies between the spinous processes, the fascia behind them and the long ligament in front."""
        frame = self.frame
        mixed = self.tissue["ligament"] * (1 + 0.1 * self.texture.coarse)
        mixed = mixed + (self.tissue["fat"] - mixed) * np.clip(0.30 * self.texture.coarse + 0.1, 0, 0.55)
        behind = frame.across_spine(frame.sac_back + 2 - frame.t) * frame.across_spine(frame.y - frame.fascia + 2)
        self._paint(mixed, self._x(self.aside - 5), behind)
        sheet = frame.across_spine(np.abs(frame.y - frame.fascia + 1) - 1.1)
        self._paint(self.tissue["cortex"], self._x(self.aside - 6), sheet)
        front = frame.across_spine(np.abs(frame.t + frame.half_depth + 0.4) - 1.0) * frame.in_range
        self._paint(self.tissue["cortex"], self._x(self.aside - 14), front)

    def canal(self) -> None:
        """Epidural fat and ligament, the dural sac with fluid in front and roots behind, and the cord's end."""
        frame, texture = self.frame, self.texture
        canal = self._x(self.aside - 9.5)
        self._paint(self.tissue["fat"], canal, frame.epidural)
        self._paint(self.tissue["dura"], canal, frame.epidural, frame.before_sac)
        middle, half = (frame.sac_front + frame.sac_back) / 2, (frame.sac_back - frame.sac_front) / 2
        oval = np.sqrt(np.maximum(1 - (self.x / 10.0) ** 2, 0))
        reach = np.where((half > 0.4) & (oval > 0), half * oval, -9.0)
        if not (reach > 0).any():
            return
        from_middle = np.abs(frame.t - middle)
        self._paint(self.tissue["dura"], frame.across_spine(from_middle - reach - 0.9))
        self._paint(self.tissue["csf"], frame.across_spine(from_middle - reach))
        begin = frame.sac_front + 2 * half * frame.root_share
        behind = cover(begin - frame.t + 0.4 * texture.fibres, 1.6)
        roots = self.tissue["roots"] * (1 + 0.07 * texture.fibres)
        self._paint(roots, frame.across_spine(from_middle - reach + 0.5), behind)
        cord = frame.cord_radius * np.sqrt(np.maximum(1 - (self.x / 5.0) ** 2, 0))
        place = frame.across_spine(np.abs(frame.t - frame.sac_front - half * 1.15) - cord) * (cord > 0.3)
        self._paint(self.tissue["cord"], place)

    def bodies(self) -> None:
        """Discs, then the bodies with their cortex, marrow and basivertebral vein."""
        frame = self.frame
        disc = self.tissue["annulus"] + (self.tissue["disc"] - self.tissue["annulus"]) * frame.nucleus
        wide = self.aside - frame.body_half_width
        whole = self._x(wide)
        self._paint(disc * (1 + 0.05 * self.texture.fine), whole, frame.column)
        outer, inner = frame.bodies
        self._paint(self.tissue["cortex"], whole, outer)
        self._paint(self.marrow, self._x(wide + 1.2), inner)
        self._paint(self.tissue["vein"], self._x(self.aside - 7), frame.vein)

    def sacral_wings(self) -> None:
        """The sacrum's side masses."""
        frame = self.frame
        first = frame.spine.level("S1")
        top = first.centre_mm - first.half_height_mm
        for rim, value in ((0.0, self.tissue["cortex"]), (1.3, self.marrow)):
            self._paint(
                value,
                self._x(np.abs(self.aside - 33) - 16 + rim),
                frame.along_spine(top + 2 + rim - frame.s),
                frame.across_spine(np.abs(frame.t - 4) - frame.half_depth * 0.95 + rim),
            )

    def arches(self) -> None:
        """Foramina with fat and root, pedicles, joints, laminae and spinous processes."""
        frame = self.frame
        beside = self._x(np.abs(self.aside - 15.5) - 5.5)
        self._paint(self.tissue["fat"] * 0.85, beside, frame.foramen)
        self._paint(self.tissue["roots"], beside, frame.root)
        behind = self.marrow_signals[frame.processes.index] * self.grain * 0.93
        for rim, (pedicle, joint, lamina, spinous) in enumerate(
            zip(frame.pedicles, frame.joints, frame.processes.laminae, frame.processes.spinous, strict=True)
        ):
            bone, arch = (self.marrow, behind) if rim else (self.tissue["cortex"], self.tissue["cortex"])
            self._paint(bone, self._x(np.abs(self.aside - 14.5) - 4.5), pedicle)
            self._paint(bone, self._x(np.abs(self.aside - 15) - 6.5), joint)
            self._paint(arch, self._x(np.abs(self.aside - 8) - 5.2), lamina)
            self._paint(arch, self._x(self.aside - 3.8 + 0.4 * rim), spinous)
