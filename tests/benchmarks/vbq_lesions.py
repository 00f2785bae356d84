"""Whether a circle keeps to healthy marrow: lesions of known place and strength, painted into one body of real slices.

Run by hand: ``python -m tests.benchmarks.vbq_lesions --data FOLDER --out FOLDER [--sample N] [--jobs N]``. Rows are
kept in ``lesions.jsonl`` as they are made, so that a run goes on where one ended. In each slice that is measured, one
of L1 to L4 gets a lesion as sclerosis (darker) or fat and haemangioma (brighter) make it: a band along an end plate,
the front or the back of the body, a corner, or a round one. A reader keeps to what is left of the body's own marrow, so
the truth is the mean of the level, and the score, without the lesion.
"""

import random
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from analytics.records import LEVELS
from analytics.training.data import PAIR_SPACING_MM, pair_ids, polygon, sagittal
from analytics.vbq.bodies import ANTERIOR_PART, CORTEX_MM
from analytics.vbq.measure import measure_stack
from tests.benchmarks.vbq_blind import sets
from tests.benchmarks.vbq_pairs import PAIRS, Row, Rows, as_row, parser_of, rms, t1, table, write

Plane = NDArray[np.float64]
BELOW_AND_ABOVE = {"L4": ("L5", "L3"), "L3": ("L4", "L2"), "L2": ("L3", "L1"), "L1": ("L2", "L1")}
"""Bodies whose middles give the axis of one; T12 may lie outside the field."""
KINDS = ("band", "front", "back", "corner", "round")
DARK, BRIGHT = (0.55, 0.85), (1.2, 1.7)
"""Times the signal."""
BANDS = (0.1, 0.25, 0.4, 0.5, 0.7)
"""Of the marrow of the front two-thirds of the body."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """One body: where it is, and the place of each pixel in it, 0 … 1 from back to front and from foot to head."""

    inside: NDArray[np.bool_]
    forward: Plane
    upward: Plane
    depth_mm: float


def body_of(outlines: dict[str, NDArray[np.float64]], name: str, shape: tuple[int, int]) -> Body:
    """From outlines in native rows and columns; the front is where columns are smaller."""
    inside = polygon(shape, list(outlines[name]))
    below, above = (outlines[other].mean(axis=0) for other in BELOW_AND_ABOVE[name])
    up = (above - below) / np.linalg.norm(above - below)
    front = np.array([-up[1], up[0]])  # the head is up: rows fall towards it, and columns towards the belly
    places = []
    for axis in (front, up):
        along = np.tensordot(np.moveaxis(np.indices(shape), 0, -1) - outlines[name].mean(axis=0), axis, 1)
        low, high = np.percentile(along[inside], [2, 98])
        places.append(((along - low) / (high - low), float(high - low) * PAIR_SPACING_MM))
    return Body(inside=inside, forward=places[0][0], upward=places[1][0], depth_mm=places[0][1])


def lesion(body: Body, kind: str, dice: np.random.Generator) -> Plane:
    """How much of each pixel is lesion, 0 … 1; its edge is wavy and 1.5 mm wide."""

    def waves(along: Plane) -> Plane:
        return 0.05 * np.sin(2 * np.pi * (along * dice.uniform(0.7, 2) + dice.random()))

    end = body.upward if dice.random() < 0.5 else 1 - body.upward
    if kind == "band":
        within = dice.uniform(0.25, 0.65) + dice.uniform(-0.3, 0.3) * (body.forward - 0.5) - end + waves(body.forward)
    elif kind == "front":
        within = body.forward - 1 + dice.uniform(0.2, 0.5) + waves(body.upward)
    elif kind == "back":
        within = dice.uniform(0.45, 0.75) - body.forward + waves(body.upward)
    elif kind == "corner":
        within = dice.uniform(0.5, 0.9) - (1 - body.forward) - end + waves(body.forward)
    else:
        away = np.hypot(body.forward - dice.uniform(0.4, 1), 0.75 * (body.upward - dice.uniform(0.1, 0.9)))
        within = dice.uniform(0.12, 0.3) - away
    painted: Plane = np.clip(within * body.depth_mm / 1.5 + 0.5, 0, 1) * ndimage.binary_dilation(body.inside)
    return painted


def share_of_marrow(body: Body, painted: Plane) -> float:
    """Of the front two-thirds inside the cortex that is lesion."""
    depth = ndimage.distance_transform_edt(body.inside) * PAIR_SPACING_MM
    return float(painted[(depth >= CORTEX_MM) & (body.forward > 1 - ANTERIOR_PART)].mean())


@dataclass(frozen=True, kw_only=True)
class Task:
    """A slice."""

    data: Path
    number: str


def measured(task: Task) -> Row:
    """Its row: without and with the lesion."""
    signal = t1(task.data, task.number)
    before = measure_stack([sagittal(signal, PAIR_SPACING_MM)])
    row: Row = {"number": task.number, "before": as_row(before)}
    if row["before"]["status"] != "measured":
        return row
    dice = np.random.default_rng([11, int(task.number)])
    name, kind = str(dice.choice(LEVELS)), str(dice.choice(KINDS))
    body = body_of(dict(before.outlines), name, (signal.shape[0], signal.shape[1]))
    painted = lesion(body, kind, dice)
    factor = float(dice.uniform(*(DARK if dice.random() < 0.5 else BRIGHT)))
    after = measure_stack([sagittal(signal * (1 + painted * (factor - 1)), PAIR_SPACING_MM)])
    return row | {
        "level": name,
        "kind": kind,
        "factor": factor,
        "share": share_of_marrow(body, painted),
        "after": as_row(after),
    }


def summary(rows: list[Row]) -> Row:
    """Of the lesions in one band of shares."""
    kept = [row for row in rows if row["after"]["status"] == "measured"]
    level = [row["after"]["rois"][row["level"]][2] / row["before"]["rois"][row["level"]][2] - 1 for row in kept]
    score = [row["after"]["vbq"] / row["before"]["vbq"] - 1 for row in kept]
    beyond = [abs(row["after"]["vbq"] - row["before"]["vbq"]) > 1.96 * row["after"]["sd"] for row in kept]
    return {
        "lesions": len(rows),
        "measured": len(kept),
        "level_rms": rms(level),
        "score_rms": rms(score),
        "score_worst": max(map(abs, score), default=float("nan")),
        "beyond_interval": sum(beyond),
    }


def main() -> None:
    """Measure what is missing and write the report."""
    parser = parser_of(__doc__)
    parser.add_argument("--sample", type=int, default=0, help="slices; 0 takes all")
    options = parser.parse_args()
    kept = Rows(options.out / "lesions.jsonl", ("number",))
    closed = set(sets()["sealed"])
    numbers = [one for one in pair_ids(options.data / PAIRS) if one not in closed]
    random.Random(5).shuffle(numbers)
    numbers = numbers[: options.sample or None]
    tasks = [Task(data=options.data, number=number) for number in numbers if (number,) not in kept.all]
    kept.fill(measured, tasks, options.jobs)
    rows = [kept.all[number,] for number in numbers if "share" in kept.all[number,]]
    report = {
        f"{low:.0%} to {high:.0%}": summary([row for row in rows if low <= row["share"] < high])
        for low, high in pairwise(BANDS)
    }
    heads = ("share of the marrow", "lesions", "measured", "level, RMS", "score, RMS", "worst", "beyond the interval")
    lines = [
        (name, s["lesions"], s["measured"], f"{s['level_rms']:.1%}", f"{s['score_rms']:.1%}",
         f"{s['score_worst']:.1%}", s["beyond_interval"])
        for name, s in report.items()
    ]  # fmt: skip
    write(options.out, "lesions", report, table(heads, lines))


if __name__ == "__main__":
    main()
