"""A lumbar spine as a network would see it, drawn with a ruler: class planes and a T1 signal with known places."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analytics.vbq.automatic import SagittalImage
from analytics.vbq.grid import Grid, to_grid
from analytics.vbq.spine import BODY, CANAL, CLASSES, DISC, POSTERIOR, S1, SACRAL_DISC, Spine, find_spine

MM = 1.1
SHAPE = (256, 200)
NAMES = ("S1", "L5", "L4", "L3", "L2", "L1", "T12")
BACKWARDS_DEG = (36.0, 6.0, -4.0, -10.0, -12.0, -12.0)
"""The way down from each body to the next, from L5–S1 to T12–L1, against straight down."""
SIGNAL = {BODY: 100.0, DISC: 60.0, CANAL: 40.0, POSTERIOR: 90.0, S1: 100.0, SACRAL_DISC: 60.0}
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What is drawn; sizes in mm. Heights and depths of single bodies by name."""

    height: float = 26.0
    depth: float = 34.0
    step: float = 36.0
    heights: Mapping[str, float] = field(default_factory=dict)
    signals: Mapping[str, float] = field(default_factory=dict)
    backwards_deg: Sequence[float] = BACKWARDS_DEG
    s1_row: int = 200
    without: frozenset[str] = frozenset()
    """Names of bodies, and ``L4/L5`` for discs, ``remnant`` and ``canal``."""
    canal_mm: float = 26.0
    """From the middle of the bodies to that of the canal."""

    def centres(self) -> dict[str, NDArray[np.float64]]:
        """Row and column of each body on the grid."""
        at = np.array([float(self.s1_row), 100.0])
        found = {"S1": at}
        for name, degrees in zip(NAMES[1:], self.backwards_deg, strict=True):
            angle = np.radians(degrees)
            at = at - np.array([np.cos(angle), np.sin(angle)]) * self.step / MM
            found[name] = at
        return found

    def labels(self) -> NDArray[np.intp]:
        """The class of every pixel."""
        out = np.zeros(SHAPE, dtype=np.intp)
        centres = self.centres()
        self._canal(out, centres)
        for number, name in enumerate(NAMES):
            tilt = float(np.mean(self.backwards_deg[max(0, number - 1) : number + 1]))
            if number:
                below = NAMES[number - 1]
                if f"{name}/{below}" not in self.without:
                    middle = (centres[name] + centres[below]) / 2
                    rectangle(out, middle, self.backwards_deg[number - 1], 9.0, self.depth - 2, DISC)
            if name not in self.without:
                high = self.heights.get(name, self.height - (2 if name == "S1" else 0))
                deep = self.depth - (4 if name == "S1" else 0)
                rectangle(out, centres[name], tilt, high, deep, S1 if name == "S1" else BODY)
        if "remnant" not in self.without:
            angle = np.radians(45.0)
            under = centres["S1"] + np.array([np.cos(angle), np.sin(angle)]) * 17.0 / MM
            rectangle(out, under, 45.0, 5.0, 16.0, SACRAL_DISC)
        return out

    def _canal(self, out: NDArray[np.intp], centres: Mapping[str, NDArray[np.float64]]) -> None:
        if "canal" in self.without:
            return
        places = np.array([centres[name] for name in reversed(NAMES)])
        rows = np.arange(SHAPE[0])
        middle = np.interp(rows, places[:, 0], places[:, 1]) + self.canal_mm / MM
        off = np.arange(SHAPE[1])[None, :] - middle[:, None]
        out[np.abs(off) <= 7.0 / MM] = CANAL
        out[(off > 10.0 / MM) & (off < 22.0 / MM) & (rows[:, None] % 32 < 20)] = POSTERIOR

    def planes(self) -> NDArray[np.float32]:
        """Probabilities as a network that is sure would give them."""
        return sure(self.labels())

    def spine(self) -> Spine:
        """What is found in it."""
        return find_spine(self.planes(), MM)

    def signal(self) -> NDArray[np.float64]:
        """T1: fluid 40, discs 60, marrow 100, fat 250 behind, air 0.5 in front; a little noise."""
        labels = self.labels()
        out = np.full(SHAPE, 30.0)
        out[:, :40], out[:, 175:] = 0.5, 250.0
        for number, value in SIGNAL.items():
            out[labels == number] = value
        for name, value in self.signals.items():
            centre = self.centres()[name]
            rows, columns = np.indices(SHAPE)
            near = np.hypot(rows - centre[0], columns - centre[1]) * MM < 24
            out[near & (labels == BODY)] = value
        return np.abs(out + np.random.default_rng(1).normal(0, 0.5, SHAPE))

    def image(self) -> SagittalImage:
        """The slice, rows to the feet and columns to the back."""
        return SagittalImage(
            signal=self.signal(), spacing_mm=(MM, MM), position_mm=(0.0, 0.0, 0.0), orientation=SAGITTAL
        )

    def grid(self) -> Grid:
        """The slice on the grid."""
        return to_grid(self.image())


def rectangle(
    out: NDArray[np.intp], centre: NDArray[np.float64], tilt_deg: float, high: float, deep: float, value: int
) -> None:
    """Fill a rectangle whose axis runs down and ``tilt_deg`` backwards; sizes in mm."""
    angle = np.radians(tilt_deg)
    rows, columns = np.indices(out.shape)
    row, column = (rows - centre[0]) * MM, (columns - centre[1]) * MM
    along, across = row * np.cos(angle) + column * np.sin(angle), column * np.cos(angle) - row * np.sin(angle)
    out[(np.abs(along) <= high / 2) & (np.abs(across) <= deep / 2)] = value


def sure(labels: NDArray[np.intp]) -> NDArray[np.float32]:
    """Class planes with 0.94 where the label is."""
    out = np.full((len(CLASSES), *labels.shape), 0.01, dtype=np.float32)
    np.put_along_axis(out, labels[None], 0.94, axis=0)
    return out
