"""The measurement on the demo's drawn phantoms, whose VBQ is known exactly: error, status and levels.

Run by hand: ``python -m tests.benchmarks.vbq_phantoms --out FOLDER [--seeds N] [--jobs N]``. Rows are kept in
``phantoms.jsonl`` as they are made, so that a run goes on where one ended; ``phantom_CASE.png`` shows the first of each
case. ``--data`` is taken as by the other evaluations and not read: the phantoms are drawn.

Beside the automatic error stands the error of the drawn circles: what noise, shading and blur alone do to a reader who
places them where the anatomy is known to be.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analytics.records import CSF, LEVELS, Circle
from analytics.vbq.automatic import AutomaticMeasurement, SagittalImage
from analytics.vbq.measure import measure_stack
from analytics.vbq.overlay import Measured, overlay
from analytics.vbq.score import score
from analytics.vbq.version import AUTOMATIC_NAME, AUTOMATIC_VERSION
from node.demo.anatomy import Spine
from node.demo.phantom import Matrix, PhantomSeries, PhantomSpec, draw_series, readings
from tests.benchmarks.vbq_pairs import SAME_BODY_MM, Row, Rows, as_row, rms, table, write

MATRIX = Matrix(slices=3, size=320, spacing_mm=0.875, thickness_mm=4.0, step_mm=4.8)
"""The middle of an ordinary series: 280 mm, the midline and its neighbours."""

CASES: dict[str, dict[str, object]] = {
    **{f"VBQ {vbq:g}": {"vbq": vbq} for vbq in (1.6, 2.0, 2.5, 2.9, 3.5, 4.2, 5.0)},
    **{f"noise {noise:.0%} of fluid": {"noise": noise} for noise in (0.0, 0.02, 0.10, 0.20)},
    **{f"shading {shading:.0%} in 100 mm": {"shading": shading} for shading in (0.0, 0.15, 0.30, 0.50)},
    "no saturation band": {"saturation_band": False},
    "uneven levels": {"level_factors": (0.8, 0.95, 1.1, 1.15)},
    **{f"lordosis {bend:g}": {"spine": Spine(lordosis=bend)} for bend in (0.3, 0.7, 1.3)},
    **{f"scoliosis {mm:g} mm": {"spine": Spine(scoliosis_mm=mm)} for mm in (4.0, 8.0, 15.0)},
    **{f"size {size:g}": {"spine": Spine(size=size)} for size in (0.85, 1.12)},
    **{f"{count} lumbar vertebrae": {"spine": Spine(lumbar=count)} for count in (4, 6)},
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One phantom of a case."""

    case: str
    seed: int
    out: Path


def images(series: PhantomSeries) -> list[SagittalImage]:
    """The slices as the measurement takes them."""
    spacing = series.matrix.spacing_mm
    return [
        SagittalImage(
            signal=pixels.astype(np.float64),
            spacing_mm=(spacing, spacing),
            position_mm=tuple(place),
            orientation=series.orientation,
        )
        for pixels, place in zip(series.pixels, series.positions_mm.tolist(), strict=True)
    ]


def measured(task: Task) -> Row:
    """The row of a phantom; ``shift`` says by how many levels the names lie too high (+) or too low."""
    spec = PhantomSpec(seed=task.seed, **CASES[task.case])
    series = draw_series(spec, matrix=MATRIX)
    stack, truth = images(series), readings(spec, series)
    found = measure_stack(stack)
    spacing = MATRIX.spacing_mm
    drawn = score(
        stack[truth["slice"] - 1].signal,
        {name: Circle(**dict(zip(("row", "col", "radius_px"), truth[name], strict=True))) for name in (*LEVELS, CSF)},
        spacing_mm=(spacing, spacing),
    )
    row = as_row(found) | {"case": task.case, "seed": task.seed, "true": spec.true_vbq_mean, "drawn": drawn.vbq_mean}
    if found.score is not None:
        circles = found.score.rois
        off = [np.hypot(circles[n].circle.row - truth[n][0], circles[n].circle.col - truth[n][1]) for n in LEVELS]
        row |= {"levels_right": bool(max(off) * spacing < SAME_BODY_MM)}
        row |= {"marrow_error": float(np.mean([circles[n].mean / drawn.rois[n].mean - 1 for n in LEVELS]))}
        row |= {"csf_error": circles[CSF].mean / drawn.rois[CSF].mean - 1}
    if task.seed == 0:
        picture(stack, found, task)
    return row


def picture(stack: list[SagittalImage], found: AutomaticMeasurement, task: Task) -> None:
    """What a surgeon is shown."""
    shown = Measured(
        status=found.status, reasons=found.reasons, score=found.score, vbq_sd=found.vbq_sd,
        levels_confidence=found.levels_confidence, outlines=found.outlines,
        made_by=f"phantom, {task.case} · {AUTOMATIC_NAME} {AUTOMATIC_VERSION}",
    )  # fmt: skip
    name = "".join(letter if letter.isalnum() else "_" for letter in task.case)
    (task.out / f"phantom_{name}.png").write_bytes(overlay(stack[found.slice_index or 0], shown))


def summary(rows: list[Row]) -> Row:
    """Of the phantoms of one case, or of all."""
    scored = [row for row in rows if "vbq" in row]
    errors = [row["vbq"] / row["true"] - 1 for row in scored]
    return {
        "phantoms": len(rows),
        **{status: sum(row["status"] == status for row in rows) for status in ("measured", "review", "rejected")},
        "error_mean": float(np.mean(errors)) if errors else float("nan"),
        "error_rms": rms(errors),
        "error_rms_measured": rms(row["vbq"] / row["true"] - 1 for row in scored if row["status"] == "measured"),
        "marrow_error_mean": float(np.mean([row["marrow_error"] for row in scored])) if scored else float("nan"),
        "csf_error_mean": float(np.mean([row["csf_error"] for row in scored])) if scored else float("nan"),
        "drawn_error_mean": float(np.mean([row["drawn"] / row["true"] - 1 for row in rows])),
        "inside_interval": sum(abs(row["vbq"] - row["true"]) <= 1.96 * row["sd"] for row in scored),
        "other_levels_measured": sum(row["status"] == "measured" and not row["levels_right"] for row in scored),
        "reasons": sorted({reason for row in rows for reason in row["reasons"]}),
    }


def main() -> None:
    """Draw and measure what is missing and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="processes of one thread")
    options = parser.parse_args()
    kept = Rows(options.out / "phantoms.jsonl", ("case", "seed"))
    tasks = [
        Task(case=case, seed=seed, out=options.out)
        for seed in range(options.seeds)
        for case in CASES
        if (case, seed) not in kept.all
    ]
    kept.fill(measured, tasks, options.jobs)
    report = {
        case: summary(rows) for case in CASES if (rows := [row for key, row in kept.all.items() if key[0] == case])
    }
    report["all"] = summary(list(kept.all.values()))
    heads = ("phantom", "n", "measured", "review", "rejected", "mean error", "of marrow", "of fluid", "RMS",
             "drawn circles", "inside 95 %", "other levels, measured")  # fmt: skip
    lines = [
        (case, s["phantoms"], s["measured"], s["review"], s["rejected"],
         *(f"{s[key]:+.1%}" for key in ("error_mean", "marrow_error_mean", "csf_error_mean")), f"{s['error_rms']:.1%}",
         f"{s['drawn_error_mean']:+.1%}", s["inside_interval"], s["other_levels_measured"])
        for case, s in report.items()
    ]  # fmt: skip
    write(options.out, "phantoms", report, table(heads, lines))


if __name__ == "__main__":
    main()
