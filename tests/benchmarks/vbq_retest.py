"""Test-retest: how far VBQ, status and levels move when the same T1 is turned, shifted, shaded, resampled or coarser.

Run by hand: ``python -m tests.benchmarks.vbq_retest --data FOLDER --out FOLDER [--sample N] [--jobs N]``. Rows are
kept in ``retest.jsonl`` as they are made, so that a run goes on where one ended; the report is of all that lie there.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from analytics.records import LEVELS
from analytics.training.data import PAIR_SPACING_MM, pair_ids, sagittal
from analytics.vbq.automatic import SagittalImage
from analytics.vbq.measure import measure_stack
from tests.benchmarks.vbq_pairs import (
    PAIRS,
    SAME_BODY_MM,
    Row,
    Rows,
    as_row,
    each,
    parser_of,
    readings,
    rms,
    t1,
    table,
    write,
)

Plane = NDArray[np.float64]
Points = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A changed slice; ``matrix`` and ``offset`` take its rows and columns back to those of the slice it came from."""

    image: SagittalImage
    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    def back(self, points: Points) -> Points:
        """(n, 2) rows and columns in the original."""
        return points @ self.matrix.T + self.offset


Change = Callable[[Plane, float, np.random.Generator], Changed]
"""Of a slice, with the signal of its marrow and the dice of this slice."""


def same_place(signal: Plane) -> Changed:
    """Nothing moved."""
    return Changed(image=sagittal(signal, PAIR_SPACING_MM), matrix=np.eye(2), offset=np.zeros(2))


def moved(signal: Plane, matrix: NDArray[np.float64], offset: NDArray[np.float64], shape: tuple[int, int]) -> Plane:
    """Cubic, black outside."""
    return np.maximum(ndimage.affine_transform(signal, matrix, offset, shape, order=3, mode="constant"), 0.0)


def turned(degrees: float) -> Change:
    """About the middle of the slice."""

    def change(signal: Plane, _marrow: float, _dice: np.random.Generator) -> Changed:
        angle = np.radians(degrees)
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        middle = (np.array(signal.shape) - 1) / 2
        offset = middle - matrix @ middle
        image = sagittal(moved(signal, matrix, offset, signal.shape), PAIR_SPACING_MM)
        return Changed(image=image, matrix=matrix, offset=offset)

    return change


def shifted(rows: float, columns: float) -> Change:
    """By pixels."""

    def change(signal: Plane, _marrow: float, _dice: np.random.Generator) -> Changed:
        offset = np.array([rows, columns])
        image = sagittal(moved(signal, np.eye(2), offset, signal.shape), PAIR_SPACING_MM)
        return Changed(image=image, matrix=np.eye(2), offset=offset)

    return change


def resampled(rows_mm: float, columns_mm: float) -> Change:
    """To another spacing, after a Gaussian against aliasing."""

    def change(signal: Plane, _marrow: float, _dice: np.random.Generator) -> Changed:
        zoom = np.array([rows_mm, columns_mm]) / PAIR_SPACING_MM
        offset = 0.5 * zoom - 0.5
        shape = (int(signal.shape[0] / zoom[0]), int(signal.shape[1] / zoom[1]))
        smooth = ndimage.gaussian_filter(signal, 0.4 * np.maximum(zoom - 1, 0))
        plain = sagittal(moved(smooth, np.diag(zoom), offset, shape), PAIR_SPACING_MM)
        image = SagittalImage(
            signal=plain.signal,
            spacing_mm=(rows_mm, columns_mm),
            position_mm=plain.position_mm,
            orientation=plain.orientation,
        )
        return Changed(image=image, matrix=np.diag(zoom), offset=offset)

    return change


def noisy(share: float) -> Change:
    """Rician noise; its standard deviation in each channel as a share of the marrow's signal."""

    def change(signal: Plane, marrow: float, dice: np.random.Generator) -> Changed:
        real, imaginary = dice.normal(0.0, share * marrow, (2, *signal.shape))
        return same_place(np.hypot(signal + real, imaginary))

    return change


def shaded(share: float) -> Change:
    """A smooth field of second order, whose greatest value is so much more than its least."""

    def change(signal: Plane, _marrow: float, dice: np.random.Generator) -> Changed:
        y, x = np.meshgrid(*(np.linspace(-1, 1, length) for length in signal.shape), indexing="ij")
        field = sum(w * p for w, p in zip(dice.normal(size=5), (y, x, y * y, x * x, x * y), strict=True))
        field = (field - field.min()) / np.ptp(field) - 0.5
        return same_place(signal * np.exp(np.log1p(share) * field))

    return change


def coarser(steps: int) -> Change:
    """Rounded to so many grey values between nothing and the brightest."""

    def change(signal: Plane, _marrow: float, _dice: np.random.Generator) -> Changed:
        return same_place(np.rint(signal / signal.max() * (steps - 1)))

    return change


def windowed(signal: Plane, _marrow: float, _dice: np.random.Generator) -> Changed:
    """8 bit, as a viewer exports them: the brightest 0.5 % are cut off."""
    return same_place(np.rint(np.clip(signal / np.percentile(signal, 99.5), 0, 1) * 255))


def jpeg(quality: int) -> Change:
    """Compressed and read again."""

    def change(signal: Plane, _marrow: float, _dice: np.random.Generator) -> Changed:
        buffer = BytesIO()
        Image.fromarray(np.clip(signal, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
        with Image.open(buffer) as picture:
            return same_place(np.asarray(picture, dtype=np.float64))

    return change


def rescaled(signal: Plane, _marrow: float, _dice: np.random.Generator) -> Changed:
    """Another slope."""
    return same_place(signal * 3.7)


def cropped(rows_mm: tuple[float, float], columns_mm: tuple[float, float]) -> Change:
    """So much cut from above and below, from the front and the back; negative: black is added."""

    def change(signal: Plane, _marrow: float, _dice: np.random.Generator) -> Changed:
        (top, bottom), (front, back) = (
            tuple(round(mm / PAIR_SPACING_MM) for mm in pair) for pair in (rows_mm, columns_mm)
        )
        shape = (signal.shape[0] - top - bottom, signal.shape[1] - front - back)
        offset = np.array([top, front], dtype=np.float64)
        cut = ndimage.affine_transform(signal, np.eye(2), offset, shape, order=0, mode="constant")
        return Changed(image=sagittal(cut, PAIR_SPACING_MM), matrix=np.eye(2), offset=offset)

    return change


def transposed(signal: Plane, _marrow: float, _dice: np.random.Generator) -> Changed:
    """Rows run to the back and columns to the head, as the headers then say."""
    image = SagittalImage(
        signal=np.ascontiguousarray(signal[::-1].T),
        spacing_mm=(PAIR_SPACING_MM, PAIR_SPACING_MM),
        position_mm=(0.0, 0.0, 0.0),
        orientation=(0.0, 0.0, 1.0, 0.0, 1.0, 0.0),
    )
    return Changed(
        image=image, matrix=np.array([[0.0, -1.0], [1.0, 0.0]]), offset=np.array([signal.shape[0] - 1.0, 0.0])
    )


CHANGES: dict[str, Change] = {
    "turned +3°": turned(3), "turned −3°": turned(-3), "turned +8°": turned(8), "turned −8°": turned(-8),
    "shifted 0.5 px": shifted(0.5, 0.5), "shifted 10 px": shifted(10, -10),
    "noise 1 % of marrow": noisy(0.01), "noise 3 %": noisy(0.03), "noise 5 %": noisy(0.05),
    "bias field 10 %": shaded(0.10), "bias field 25 %": shaded(0.25), "slope × 3.7": rescaled,
    "0.875 mm": resampled(0.875, 0.875), "1.0 × 1.5 mm": resampled(1.0, 1.5),
    "7 bit": coarser(128), "8 bit, fat cut off": windowed, "JPEG 90": jpeg(90), "JPEG 75": jpeg(75),
    "cropped to 256 × 220 mm": cropped((12, 12), (30, 30)), "black rim of 60 mm": cropped((-60, -60), (-60, -60)),
    "transposed, as the headers say": transposed,
}  # fmt: skip
UNCHANGED = "unchanged"


def chosen(data: Path, sample: int, seed: int) -> list[str]:
    """Pairs that were read by eye first (no network was shown them), then others by lot; 0: all."""
    numbers = pair_ids(data / PAIRS)
    first = [number for number in numbers if number in readings()]
    rest = [number for number in numbers if number not in first]
    random.Random(seed).shuffle(rest)
    return [*first, *rest][: sample or None]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A slice, the changes of it that have no row yet, and its row unchanged, where there is one."""

    data: Path
    number: str
    changes: list[str]
    base: Row | None
    seed: int


def measured(task: Task) -> list[Row]:
    """The rows that a task lacks."""
    signal = t1(task.data, task.number)
    rows = []
    base = task.base
    if base is None:
        found = measure_stack([sagittal(signal, PAIR_SPACING_MM)])
        base = {"number": task.number, "change": UNCHANGED, **as_row(found)}
        rows.append(base)
    marrow = np.mean([base["rois"][name][2] for name in LEVELS]) if "rois" in base else signal.mean()
    for change in task.changes:
        dice = np.random.default_rng([task.seed, int(task.number), list(CHANGES).index(change)])
        made = CHANGES[change](signal, float(marrow), dice)
        found = measure_stack([made.image])
        row = as_row(found)
        if found.score is not None:
            circles = [found.score.rois[name].circle for name in LEVELS]
            at = made.back(np.array([[circle.row, circle.col] for circle in circles]))
            row["levels_at"] = at.round(1).tolist()
        rows.append({"number": task.number, "change": change, **row})
    return rows


def other_levels(base: Row, row: Row) -> bool:
    """Whether a level is named elsewhere than before."""
    before = np.array([base["rois"][name][:2] for name in LEVELS])
    off = np.hypot(*(np.array(row["levels_at"]) - before).T) * PAIR_SPACING_MM
    return bool((off > SAME_BODY_MM).any())


def summary(rows: Rows, change: str) -> Row:
    """Of one change, over all slices that lie in the rows."""
    both = [
        (number, rows.all[number, UNCHANGED], row)
        for (number, made), row in sorted(rows.all.items())
        if made == change and (number, UNCHANGED) in rows.all
    ]
    scored = [(n, base, row) for n, base, row in both if "vbq" in base and "vbq" in row]
    measured = {
        n: row["vbq"] / base["vbq"] - 1
        for n, base, row in scored
        if base["status"] == row["status"] == "measured" and not other_levels(base, row)
    }
    worst = sorted(measured, key=lambda n: -abs(measured[n]))[:5]
    return {
        "slices": len(both),
        "measured_in_both": len(measured),
        "rms": rms(measured.values()),
        "bias": float(np.mean(list(measured.values()))) if measured else float("nan"),
        "worst": {n: round(measured[n], 4) for n in worst},
        "beyond_interval": [n for n, base, row in scored if n in measured and _beyond(base, row)],
        "no_longer_measured": [n for n, b, r in both if b["status"] == "measured" != r["status"]],
        "newly_measured": [n for n, b, r in both if b["status"] != "measured" == r["status"]],
        "other_levels_measured": [n for n, b, r in scored if r["status"] == "measured" and other_levels(b, r)],
        "other_levels_in_review": [n for n, b, r in scored if r["status"] != "measured" and other_levels(b, r)],
    }


def _beyond(base: Row, row: Row) -> bool:
    return bool(abs(row["vbq"] - base["vbq"]) > 1.96 * base["sd"])


def main() -> None:
    """Measure what is missing and write the report."""
    parser = parser_of(__doc__)
    parser.add_argument("--sample", type=int, default=100, help="slices; 0 takes all")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(CHANGES), default=list(CHANGES))
    options = parser.parse_args()
    rows = Rows(options.out / "retest.jsonl", ("number", "change"))
    tasks = [
        Task(
            data=options.data, number=number, changes=lacking, base=rows.all.get((number, UNCHANGED)), seed=options.seed
        )
        for number in chosen(options.data, options.sample, options.seed)
        if (lacking := [change for change in options.only if (number, change) not in rows.all])
    ]
    for found in each(measured, tasks, options.jobs, "measuring"):
        for row in found:
            rows.add(row)
    report = {change: summary(rows, change) for change in CHANGES}
    heads = ("change", "slices", "measured in both", "RMS", "mean", "worst", "beyond the 95 % interval",
             "no longer measured", "newly measured", "other levels, measured", "other levels, review")  # fmt: skip
    lines = [
        (change, s["slices"], s["measured_in_both"], f"{s['rms']:.1%}", f"{s['bias']:+.1%}",
         f"{max(map(abs, s['worst'].values()), default=float('nan')):.1%}", len(s["beyond_interval"]),
         len(s["no_longer_measured"]), len(s["newly_measured"]), len(s["other_levels_measured"]),
         len(s["other_levels_in_review"]))
        for change, s in report.items()
    ]  # fmt: skip
    write(options.out, "retest", report, table(heads, lines))


if __name__ == "__main__":
    main()
