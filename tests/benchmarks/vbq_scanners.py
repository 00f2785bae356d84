"""Whether status and score hold on what other scanners would show: phantoms at 0.5 to 3 T, and changed T1 of the pairs.

Run by hand: ``python -m tests.benchmarks.vbq_scanners --data FOLDER --out FOLDER [--seeds N] [--sample N] [--jobs N]``.
Rows are kept in ``scanners.jsonl`` as they are made.

Phantoms: the signal of each tissue at 1.5 T is multiplied by what the spin-echo equation gives for its T1 at the other
field, over that of the fluid; T1 = A ν^B (Bottomley 1984), at 1.5 T after Stanisz 2005 and de Bazelaire 2004, T2 as it
is; noise falls as the field grows. The truth is the drawn ratio. Pairs: the 60 slices that six readers read, under
another contrast (a curve, and then half a pixel of shift, so that no trace of it stays in the histogram), and contrast,
blur, shading and noise by lot; the truth is the ratio under the readers' circles on the changed slice, and Dice holds
the bodies against those seen without the change. It is no other scanner: what coils, fat shift and reconstruction do is
not here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from analytics.training.data import PAIR_SPACING_MM, polygon, sagittal
from analytics.vbq.automatic import AutomaticMeasurement
from analytics.vbq.measure import measure_stack
from node.demo.drawing import TISSUES, Contrast
from node.demo.phantom import PhantomSpec, draw_series
from tests.benchmarks.vbq_pairs import Row, Rows, as_row, parser_of, reading_vbq, readings, rms, t1, table, write
from tests.benchmarks.vbq_phantoms import MATRIX, images
from tests.benchmarks.vbq_retest import moved

Plane = NDArray[np.float64]
REFERENCE_T = 1.5
TR_MS = 500.0
RELAXATION = {
    "csf": (4300.0, 0.0),
    "fat": (340.0, 0.17),
    "marrow": (550.0, 0.17),
    "muscle": (1000.0, 0.42),
    "disc": (1000.0, 0.42),
    "annulus": (1000.0, 0.42),
    "roots": (750.0, 0.38),
    "cord": (750.0, 0.38),
}
"""T1 in ms at 1.5 T, and the exponent of the field."""
FIELDS = (0.5, 1.0, 1.5, 3.0)
SCORES = (2.2, 2.9, 3.6)
NOISE = 0.05
"""At 1.5 T, over the fluid."""
Change = Callable[[Plane, np.random.Generator], Plane]
"""Of a slice, with the dice of this slice."""
LEVELS_AND_L5 = ("L1", "L2", "L3", "L4", "L5")


def over_fluid(tissue: str, field_t: float) -> float:
    """How the signal of a tissue over that of the fluid changes from 1.5 T to another field."""

    def saturation(name: str, at: float) -> float:
        t1_ms, exponent = RELAXATION[name]
        return 1 - exp(-TR_MS / (t1_ms * (at / REFERENCE_T) ** exponent))

    here, there = ([saturation(name, at) for name in (tissue, "csf")] for at in (field_t, REFERENCE_T))
    return here[0] / here[1] / (there[0] / there[1])


def curved(power: float) -> Change:
    """Another contrast: dark and bright tissues further apart or nearer to each other."""

    def change(signal: Plane, _dice: np.random.Generator) -> Plane:
        top = float(np.percentile(signal, 99.9))
        return moved(top * (signal / top) ** power, np.eye(2), np.array([0.5, 0.5]), signal.shape)

    return change


def mixed(signal: Plane, dice: np.random.Generator) -> Plane:
    """Contrast, blur, shading and noise, all by lot."""
    out = curved(float(dice.uniform(0.8, 1.25)))(signal, dice)
    out = ndimage.gaussian_filter(out, dice.uniform(0.0, 0.8))
    y, x = np.meshgrid(*(np.linspace(-1, 1, length) for length in out.shape), indexing="ij")
    out = out * np.exp(dice.uniform(-0.2, 0.2) * y + dice.uniform(-0.2, 0.2) * x)
    real, imaginary = dice.normal(0.0, dice.uniform(0.0, 0.03) * float(np.percentile(signal, 90)), (2, *out.shape))
    noisy: Plane = np.hypot(out + real, imaginary)
    return noisy


CHANGES: dict[str, Change] = {
    "half a pixel": curved(1.0),  # the first: that to which the others are held
    "curve 0.8": curved(0.8),
    "curve 0.9": curved(0.9),
    "curve 1.1": curved(1.1),
    "curve 1.25": curved(1.25),
    "all by lot": mixed,
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """A phantom (a field, a score and a seed) or a slice."""

    key: str
    data: Path
    field_t: float = REFERENCE_T
    vbq: float = 0.0
    seed: int = 0
    number: str = ""


def measured(task: Task) -> Row:
    """Its row."""
    return {"key": task.key} | (_slice(task) if task.number else _phantom(task))


def _phantom(task: Task) -> Row:
    drawn = TISSUES[Contrast.T1]
    tissues = {name: drawn[name] * over_fluid(name, task.field_t) for name in RELAXATION if name in drawn}
    spec = PhantomSpec(
        vbq=task.vbq * over_fluid("marrow", task.field_t),
        noise=NOISE * REFERENCE_T / task.field_t,
        shading=0.05 * task.field_t / REFERENCE_T,
        tissues=tissues,
        seed=task.seed,
    )
    found = measure_stack(images(draw_series(spec, matrix=MATRIX)))
    return {"field": task.field_t, "true": spec.true_vbq_mean, "found": as_row(found)}


def _slice(task: Task) -> Row:
    signal = t1(task.data, task.number)
    read = readings()[task.number]
    plain = measure_stack([sagittal(signal, PAIR_SPACING_MM)])
    row: Row = {"plain": as_row(plain)}
    unchanged: AutomaticMeasurement | None = None
    for number, (name, change) in enumerate(CHANGES.items()):
        other = np.maximum(change(signal, np.random.default_rng([23, int(task.number), number])), 0)
        found = measure_stack([sagittal(other, PAIR_SPACING_MM)])
        unchanged = unchanged or found
        row[name] = as_row(found) | {
            "true": float(np.mean([reading_vbq(other, one) for one in read])),
            "dice": dice(unchanged, found, signal.shape),
        }
    return row


def dice(one: AutomaticMeasurement, other: AutomaticMeasurement, shape: tuple[int, ...]) -> float | None:
    """Of L1 to L5 as seen in two; ``None`` where either does not see them."""
    masks = []
    for found in (one, other):
        if any(name not in found.outlines for name in LEVELS_AND_L5):
            return None
        size = (shape[0], shape[1])
        masks.append(np.any([polygon(size, list(found.outlines[name])) for name in LEVELS_AND_L5], axis=0))
    return float(2 * np.count_nonzero(masks[0] & masks[1]) / (np.count_nonzero(masks[0]) + np.count_nonzero(masks[1])))


def of_phantoms(rows: Mapping[str, Row]) -> dict[str, Row]:
    """By field."""
    report = {}
    for field_t in FIELDS:
        found = [row for row in rows.values() if row.get("field") == field_t]
        kept = [row for row in found if row["found"]["status"] == "measured"]
        errors = [row["found"]["vbq"] / row["true"] - 1 for row in kept]
        report[f"{field_t:g} T"] = {
            "phantoms": len(found),
            "measured": len(kept),
            "rms": rms(errors),
            "worst": max(map(abs, errors), default=float("nan")),
        }
    return report


def of_slices(rows: Mapping[str, Row]) -> dict[str, Row]:
    """By change: those measured without and with it."""
    slices = [row for row in rows.values() if "plain" in row]
    report = {}
    for name in CHANGES:
        both = [row for row in slices if row["plain"]["status"] == row[name]["status"] == "measured"]
        before = sum(row["plain"]["status"] == "measured" for row in slices)
        overlaps = [row[name]["dice"] for row in slices if row[name]["dice"] is not None]
        report[name] = {
            "measured before": before,
            "still": len(both),
            "rms": rms(row[name]["vbq"] / row[name]["true"] - 1 for row in both),
            "rms before": rms(row["plain"]["vbq"] / row["half a pixel"]["true"] - 1 for row in both),
            "dice": float(np.median(overlaps)) if overlaps else float("nan"),
        }
    return report


def main() -> None:
    """Measure what is missing and write the report."""
    parser = parser_of(__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--sample", type=int, default=0, help="slices; 0 takes all")
    options = parser.parse_args()
    kept = Rows(options.out / "scanners.jsonl", ("key",))
    tasks = [
        Task(key=f"{field_t:g} T {vbq:g} {seed}", data=options.data, field_t=field_t, vbq=vbq, seed=seed)
        for seed in range(options.seeds)
        for vbq in SCORES
        for field_t in FIELDS
    ]
    numbers = sorted(readings())[: options.sample or None]
    tasks += [Task(key=number, data=options.data, number=number) for number in numbers]
    kept.fill(measured, [task for task in tasks if (task.key,) not in kept.all], options.jobs)
    rows = {str(key[0]): row for key, row in kept.all.items()}
    phantoms, slices = of_phantoms(rows), of_slices(rows)
    lines = [
        (name, s["phantoms"], s["measured"], f"{s['rms']:.1%}", f"{s['worst']:.1%}") for name, s in phantoms.items()
    ]
    text = table(("phantoms", "drawn", "measured", "RMS", "worst"), lines)
    more = [
        (name, s["measured before"], s["still"], f"{s['rms before']:.1%}", f"{s['rms']:.1%}", f"{s['dice']:.3f}")
        for name, s in slices.items()
    ]
    text += "\n" + table(("pairs", "measured", "still measured", "RMS before", "RMS", "Dice of bodies"), more)
    write(options.out, "scanners", {"phantoms": phantoms, "pairs": slices}, text)


if __name__ == "__main__":
    main()
