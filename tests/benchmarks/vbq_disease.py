"""Whether disease that no circle shows goes to a person, and ordinary degeneration does not: drawn into real slices.

Run by hand: ``python -m tests.benchmarks.vbq_disease --data FOLDER --out FOLDER [--part fitted|aside] [--sample N]
[--jobs N]``. Rows are kept in ``disease.jsonl`` as they are made, so that a run goes on where one ended. The slices are
the T1 of the pairs but for those sealed in ``tests/readings/blind``; half of them by a hash of their number
(``fitted``) were in view when the limits of ``analytics/vbq/disease.py`` and ``fractures.py`` were set, the others
(``aside``) were not. Into each that is measured every disease and every degeneration is drawn in turn; place, shape and
strength are by lot.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from analytics.records import LEVELS
from analytics.training.data import PAIR_SPACING_MM, pair_ids, polygon, sagittal
from analytics.vbq.measure import measure_stack
from tests.benchmarks.vbq_blind import sets
from tests.benchmarks.vbq_pairs import PAIRS, Row, Rows, as_row, parser_of, t1, table, write

Plane = NDArray[np.float64]
NAMES = ("S1", "L5", "L4", "L3", "L2", "L1")
MM = PAIR_SPACING_MM


@dataclass(frozen=True, kw_only=True)
class Body:
    """One body: where it is, the place of each pixel in it (0 … 1 from back to front and from foot to head), its size
    and its marrow's signal."""

    inside: NDArray[np.bool_]
    forward: Plane
    upward: Plane
    depth_mm: float
    height_mm: float
    up: Plane
    marrow: float

    def soft(self, blur_px: float = 0.8) -> Plane:
        """1 inside, with an edge."""
        out: Plane = ndimage.gaussian_filter(self.inside.astype(float), blur_px)
        return out

    def away_mm(self, forward: float, upward: float) -> Plane:
        """From a place in it."""
        out: Plane = np.hypot((self.forward - forward) * self.depth_mm, (self.upward - upward) * self.height_mm)
        return out


Bodies = dict[str, Body]
Draw = Callable[[Plane, Bodies, np.random.Generator], Plane]


def bodies_of(signal: Plane, outlines: dict[str, Plane]) -> Bodies:
    """By name, from outlines in native rows and columns; the front is where columns are smaller."""
    names = [name for name in NAMES if name in outlines]
    centres = [outlines[name].mean(axis=0) for name in names]
    steps = [above - below for below, above in pairwise(centres)]
    found = {}
    for at, name in enumerate(names):
        up = np.mean(steps[max(0, at - 1) : at + 1], axis=0)
        up = up / np.linalg.norm(up)
        inside = polygon((signal.shape[0], signal.shape[1]), list(outlines[name]))
        places = []
        for axis in (np.array([-up[1], up[0]]), up):
            along = np.tensordot(np.moveaxis(np.indices(signal.shape), 0, -1) - centres[at], axis, 1)
            low, high = np.percentile(along[inside], [2, 98])
            places.append(((along - low) / (high - low), float(high - low) * MM))
        (forward, depth), (upward, height) = places
        marrow = float(np.median(signal[ndimage.binary_erosion(inside, iterations=3)]))
        found[name] = Body(
            inside=inside, forward=forward, upward=upward, depth_mm=depth, height_mm=height, up=up, marrow=marrow
        )
    return found


def edge(within_mm: Plane, wide_mm: float = 1.5) -> Plane:
    """0 … 1 over an edge so wide."""
    out: Plane = np.clip(within_mm / wide_mm + 0.5, 0, 1)
    return out


def rough(shape: tuple[int, ...], dice: np.random.Generator, mm: float) -> Plane:
    """A smooth field of random bumps, with a standard deviation of 1."""
    field = ndimage.gaussian_filter(dice.normal(size=shape), mm / MM)
    out: Plane = field / field.std()
    return out


def tissue(signal: Plane, share: Plane, factor: float, body: Body, *, flat: bool) -> Plane:
    """The signal with so much of it replaced: darkened as it is, or by a tissue without structure."""
    fine = signal - ndimage.gaussian_filter(signal, 3)
    plain = factor * body.marrow + 0.5 * np.clip(fine, -0.15 * body.marrow, 0.15 * body.marrow)
    out: Plane = signal * (1 - share) + share * (plain if flat else signal * factor)
    return out


def _band(body: Body, height: float, dice: np.random.Generator, *, upper_end: bool) -> Plane:
    """In mm within a wavy band from one end."""
    waves = 0.05 * np.sin(2 * np.pi * (body.forward * dice.uniform(0.7, 2) + dice.random()))
    from_end = 1 - body.upward if upper_end else body.upward
    out: Plane = (height + dice.uniform(-0.15, 0.15) * (body.forward - 0.5) + waves - from_end) * body.height_mm
    return out


def _pair(bodies: Bodies, dice: np.random.Generator) -> tuple[Body, Body]:
    """On both sides of a disc from L5/S1 to L1/L2."""
    lower, upper = list(pairwise(bodies.values()))[dice.integers(0, len(bodies) - 1)]
    return lower, upper


def infection(signal: Plane, bodies: Bodies, dice: np.random.Generator) -> Plane:
    """Half to nearly all of both bodies at a disc at 0.5 to 0.72, at times with the end plates gone."""
    factor, flat, eroded = dice.uniform(0.5, 0.72), dice.random() < 0.5, dice.random() < 0.6
    out = signal
    for body, upper_end in zip(_pair(bodies, dice), (True, False), strict=True):
        share = edge(_band(body, dice.uniform(0.5, 0.95), dice, upper_end=upper_end), 2.0)
        share = share * body.soft() * (np.abs(body.upward - 0.5) < 0.6)
        if not eroded:
            share = share * np.clip((signal / body.marrow - 0.45) / 0.2, 0, 1)
        out = tissue(out, share, factor, body, flat=flat or eroded)
    return out


def replaced(signal: Plane, bodies: Bodies, dice: np.random.Generator) -> Plane:
    """One of L1 to L5 at 0.45 to 0.75, with none, 15 or 30 % of it left."""
    body = bodies[str(dice.choice((*LEVELS, "L5")))]
    share = body.soft(1.0)
    if rest := float(dice.choice([0.0, 0.15, 0.3])):
        away = body.away_mm(dice.uniform(0.7, 0.95), dice.uniform(0.1, 0.9)) + rough(signal.shape, dice, 4)
        share = share * edge(away - float(np.quantile(away[body.inside], rest)))
    return tissue(signal, share, dice.uniform(0.45, 0.75), body, flat=dice.random() < 0.6)


def metastases(signal: Plane, bodies: Bodies, dice: np.random.Generator) -> Plane:
    """Foci of 3.5 to 9 mm at 0.35 to 0.68 in two to five bodies, 15 to 60 % of each."""
    factor, out = dice.uniform(0.35, 0.68), signal
    for name in dice.choice(list(bodies), size=dice.integers(2, 6), replace=False):
        body, share, target = bodies[str(name)], np.zeros(signal.shape), dice.uniform(0.15, 0.6)
        for _ in range(6):
            away = body.away_mm(*dice.uniform(0.1, 0.9, 2)) + 1.2 * rough(signal.shape, dice, 4)
            share = np.maximum(share, edge(dice.uniform(3.5, 9.0) - away))
            if share[body.inside].mean() > target:
                break
        out = tissue(out, share * body.soft(), factor, body, flat=dice.random() < 0.6)
    return out


def myeloma(signal: Plane, bodies: Bodies, dice: np.random.Generator) -> Plane:
    """Salt and pepper: foci of 2 to 4 mm at 0.4 to 0.6 in 30 to 55 % of all bodies."""
    factor, amount, out = dice.uniform(0.4, 0.6), dice.uniform(0.3, 0.55), signal
    field = rough(signal.shape, dice, dice.uniform(1.5, 3))
    for body in bodies.values():
        share = edge(field - float(np.quantile(field[body.inside], 1 - amount)), 0.4) * body.soft()
        out = out * (1 - share * (1 - factor))
    return out


def whole_spine(signal: Plane, bodies: Bodies, dice: np.random.Generator) -> Plane:
    """All marrow at 0.42 to 0.68, that above L1 included."""
    factor, flat, out = dice.uniform(0.42, 0.68), dice.random() < 0.5, signal
    for body in bodies.values():
        out = tissue(out, body.soft(1.0), factor, body, flat=flat)
    top = bodies["L1"]
    above = (top.upward > 1.05) & (top.forward > -0.05) & (top.forward < 1.05)
    share = np.clip((signal / top.marrow - 0.75) / 0.1, 0, 1) * ndimage.gaussian_filter(above.astype(float), 1)
    darker: Plane = out * (1 - share * (1 - factor))
    return darker


def fracture(signal: Plane, bodies: Bodies, dice: np.random.Generator) -> Plane:
    """One of L1 to L4 lower by a quarter to 45 % in front, in the middle or throughout, with oedema at times."""
    body = bodies[str(dice.choice(LEVELS, p=[0.4, 0.3, 0.2, 0.1]))]
    loss, depth, gap = dice.uniform(0.25, 0.45), np.clip(body.forward, 0, 1), 0.3
    lost = (loss * depth, loss * (1 - (2 * depth - 1) ** 2), np.full_like(depth, loss))[dice.integers(0, 3)]
    end = 1 - lost
    # What lies below the new end plate is squeezed, what lies above it up to the middle of the disc is stretched.
    below, disc = body.upward / end, 1 + (body.upward - end) * gap / (gap + lost)
    place = np.where(body.upward <= end, below, disc)
    place = np.where((body.upward > 0) & (body.upward < 1 + gap), place, body.upward)
    beside = np.clip(np.minimum(body.forward + 0.12, 1.12 - body.forward) / 0.1, 0, 1)
    step = (place - body.upward) * beside * body.height_mm / MM
    rows, columns = np.indices(signal.shape).astype(float)
    out: Plane = ndimage.map_coordinates(
        signal, [rows + step * body.up[0], columns + step * body.up[1]], order=1, mode="nearest"
    )
    if dice.random() < 0.5:
        band = (body.upward - end + dice.uniform(0.25, 0.6)) * body.height_mm
        out = out * (1 - 0.35 * edge(band) * edge((end - body.upward) * body.height_mm) * body.soft())
    return out


def modic(signal: Plane, bodies: Bodies, dice: np.random.Generator) -> Plane:
    """Bands along the end plates of a disc: type 1 (0.65 to 0.85), 2 (1.2 to 1.5) or 3 (0.4 to 0.65)."""
    low, high, most = ((0.65, 0.85, 0.35), (1.2, 1.5, 0.4), (0.4, 0.65, 0.2))[dice.integers(0, 3)]
    factor, out = dice.uniform(low, high), signal
    for body, upper_end in zip(_pair(bodies, dice), (True, False), strict=True):
        share = edge(_band(body, dice.uniform(0.08, most), dice, upper_end=upper_end)) * body.soft()
        share = share * np.clip((signal / body.marrow - 0.45) / 0.2, 0, 1)  # the end plate stays
        out = out * (1 + share * (factor - 1))
    return out


def nodes(signal: Plane, bodies: Bodies, dice: np.random.Generator) -> Plane:
    """Schmorl's nodes of 3 to 6 mm with a dark rim at the end plates of one to three bodies."""
    out = signal
    for name in dice.choice([name for name in bodies if name != "S1"], size=dice.integers(1, 4), replace=False):
        body, radius = bodies[str(name)], dice.uniform(3, 6)
        away = body.away_mm(dice.uniform(0.3, 0.7), float(dice.integers(0, 2)))
        share = edge(radius - away, 1.2) * body.soft(0.5)
        out = out * (1 - share) + share * body.marrow * dice.uniform(0.45, 0.65)
        out = out * (1 - 0.6 * np.clip(1 - np.abs(away - radius), 0, 1) * body.soft(0.5))
    return out


def haemangioma(signal: Plane, bodies: Bodies, dice: np.random.Generator) -> Plane:
    """One of 4 to 9 mm at 1.25 to 1.6."""
    body = bodies[str(dice.choice([name for name in bodies if name != "S1"]))]
    away = body.away_mm(*dice.uniform(0.2, 0.8, 2)) + 0.6 * rough(signal.shape, dice, 4)
    return signal * (1 + edge(dice.uniform(4, 9) - away) * body.soft() * dice.uniform(0.25, 0.6))


def islands(signal: Plane, bodies: Bodies, dice: np.random.Generator) -> Plane:
    """Marrow that is fatter in places of 2 to 5 mm, in all bodies."""
    marrow = np.max([body.soft() for body in bodies.values()], axis=0)
    field = dice.uniform(0.05, 0.12) * rough(signal.shape, dice, dice.uniform(2, 5))
    out: Plane = signal * (1 + marrow * np.clip(field, -0.08, 0.4))
    return out


DISEASES: dict[str, Draw] = {
    "infection": infection,
    "one body replaced": replaced,
    "metastases": metastases,
    "myeloma": myeloma,
    "all bodies replaced": whole_spine,
    "fracture": fracture,
}
DEGENERATION: dict[str, Draw] = {
    "Modic changes": modic, "Schmorl's nodes": nodes, "haemangioma": haemangioma, "islands of fat": islands
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Task:
    """A slice."""

    data: Path
    number: str


def parts(data: Path) -> dict[str, list[str]]:
    """Numbers of the pairs whose slices were in view when limits were set, and of those that were not."""
    sealed = set(sets()["sealed"])
    numbers = [number for number in pair_ids(data / PAIRS) if number not in sealed]
    numbers.sort(key=lambda number: sha256(f"disease {number}".encode("ascii")).hexdigest())
    half = len(numbers) // 2
    return {"fitted": numbers[:half], "aside": numbers[half:]}


def measured(task: Task) -> Row:
    """Its row: as it is, and with each drawn into it."""
    signal = t1(task.data, task.number)
    plain = measure_stack([sagittal(signal, MM)])
    row: Row = {"number": task.number, "plain": as_row(plain)}
    if row["plain"]["status"] != "measured" or any(name not in plain.outlines for name in NAMES):
        return row
    bodies = bodies_of(signal, dict(plain.outlines))
    for number, (name, draw) in enumerate({**DISEASES, **DEGENERATION}.items()):
        dice = np.random.default_rng([17, int(task.number), number])
        row[name] = as_row(measure_stack([sagittal(np.maximum(draw(signal, bodies, dice), 0), MM)]))
    return row


def main() -> None:
    """Measure what is missing and write the report."""
    parser = parser_of(__doc__)
    parser.add_argument("--part", choices=("fitted", "aside"), default="aside")
    parser.add_argument("--sample", type=int, default=0, help="slices; 0 takes all")
    options = parser.parse_args()
    kept = Rows(options.out / "disease.jsonl", ("number",))
    numbers = parts(options.data)[options.part]
    random.Random(5).shuffle(numbers)
    numbers = numbers[: options.sample or None]
    tasks = [Task(data=options.data, number=number) for number in numbers if (number,) not in kept.all]
    kept.fill(measured, tasks, options.jobs)
    rows = [kept.all[number,] for number in numbers]
    report: dict[str, Row] = {}
    for name in ("plain", *DISEASES, *DEGENERATION):
        drawn = [row[name]["status"] for row in rows if name in row]
        still = sum(status == "measured" for status in drawn)
        report[name] = {"slices": len(drawn), "measured": still, "held or refused": len(drawn) - still}
    lines = [(name, *(str(value) for value in one.values())) for name, one in report.items()]
    write(options.out, f"disease_{options.part}", report, table(("drawn", "slices", "measured", "to a person"), lines))


if __name__ == "__main__":
    main()
