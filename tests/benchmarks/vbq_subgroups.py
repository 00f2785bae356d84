"""Error against readers and share of review by subgroup: field of view, brightness, fluid, score, doubt of readers.

Run by hand: ``python -m tests.benchmarks.vbq_subgroups --data FOLDER --out FOLDER [--jobs N]``. On the T1 that were
read by eye, which no network was shown. Rows are kept in ``subgroups.jsonl`` as they are made. The fields of view are
cut from the slices or get a black rim, so that the readers' circles hold for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analytics.methods.agreement import agreement
from analytics.records import CSF, LEVELS
from analytics.training.data import PAIR_SPACING_MM, sagittal
from analytics.vbq.measure import _look, _score, measure_stack
from tests.benchmarks.vbq_pairs import (
    Row,
    Rows,
    as_row,
    parser_of,
    reader_sd,
    reading_vbq,
    readings,
    rms,
    t1,
    table,
    write,
)
from tests.benchmarks.vbq_retest import cropped, same_place

FIELDS = {
    "280 × 280 mm": None,
    "256 × 220 mm": ((12.0, 12.0), (30.0, 30.0)),
    "240 × 180 mm": ((20.0, 20.0), (50.0, 50.0)),
    "340 × 340 mm": ((-30.0, -30.0), (-30.0, -30.0)),
    "400 × 400 mm": ((-60.0, -60.0), (-60.0, -60.0)),
}
WHOLE = "280 × 280 mm"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A slice and a field of view."""

    data: Path
    number: str
    field: str


def measured(task: Task) -> Row:
    """Its row; ``purity`` of the fluid only on the whole field."""
    signal = t1(task.data, task.number)
    cut = FIELDS[task.field]
    dice = np.random.default_rng()
    image = (cropped(*cut)(signal, 0.0, dice) if cut else same_place(signal)).image
    found = measure_stack([image])
    read = readings()[task.number]
    row = as_row(found) | {
        "number": task.number,
        "field": task.field,
        "readers": [reading_vbq(signal, one) for one in read],
        "sure": [bool(one["csf_sure"]) for one in read],
    }
    if found.score is not None and cut is None:
        row["purity"] = _score(_look({0: sagittal(signal, PAIR_SPACING_MM)})[0]).fluid.purity
    return row


def summary(rows: list[Row]) -> Row:
    """Of a group: how many are measured, and how near they are to the readers' mean."""
    seen = [row for row in rows if row["status"] == "measured"]
    errors = [row["vbq"] - float(np.mean(row["readers"])) for row in seen]
    pairs = np.array([[row["vbq"], float(np.mean(row["readers"]))] for row in seen])
    return {
        "slices": len(rows),
        **{status: sum(row["status"] == status for row in rows) for status in ("measured", "review", "rejected")},
        "rmse": rms(errors),
        "bias": float(np.mean(errors)) if errors else float("nan"),
        "icc": agreement(pairs).single_agreement.icc if len(seen) > 4 else None,
        "inside": sum(abs(error) <= 1.96 * row["sd"] for error, row in zip(errors, seen, strict=True)),
        "reader_sd": reader_sd(row["readers"] for row in rows),
    }


def thirds(rows: list[Row], value: Callable[[Row], float], name: str) -> dict[str, list[Row]]:
    """Three groups of the same size by a value."""
    order = sorted((row for row in rows if "vbq" in row), key=value)
    parts = np.array_split(np.arange(len(order)), 3)
    return {
        f"{name} {value(order[part[0]]):.3g} to {value(order[part[-1]]):.3g}": [order[at] for at in part]
        for part in parts
    }


def groups(rows: list[Row]) -> dict[str, list[Row]]:
    """All subgroups by name."""
    whole = [row for row in rows if row["field"] == WHOLE]
    out = {f"field of view {field}": [row for row in rows if row["field"] == field] for field in FIELDS}
    out |= thirds(whole, lambda row: float(np.mean([row["rois"][name][2] for name in LEVELS])), "marrow signal")
    out |= thirds(whole, lambda row: float(row["rois"][CSF][2]), "fluid signal")
    out |= thirds(whole, lambda row: float(np.mean(row["readers"])), "readers' VBQ")
    out |= thirds(whole, lambda row: float(row["purity"]), "purity of the fluid")
    out["all readers sure of the fluid"] = [row for row in whole if np.mean(row["sure"]) == 1]
    out["most readers sure of the fluid"] = [row for row in whole if 0.5 < np.mean(row["sure"]) < 1]
    out["half of the readers or fewer"] = [row for row in whole if np.mean(row["sure"]) <= 0.5]
    return out


def main() -> None:
    """Measure what is missing and write the report."""
    options = parser_of(__doc__).parse_args()
    kept = Rows(options.out / "subgroups.jsonl", ("number", "field"))
    tasks = [
        Task(data=options.data, number=number, field=field)
        for number in readings()
        for field in FIELDS
        if (number, field) not in kept.all
    ]
    kept.fill(measured, tasks, options.jobs)
    report = {name: summary(rows) for name, rows in groups([row for _, row in sorted(kept.all.items())]).items()}
    heads = (
        "subgroup",
        "slices",
        "measured",
        "review",
        "rejected",
        "RMSE",
        "bias",
        "ICC",
        "inside 95 %",
        "SD of a reader",
    )
    lines = [
        (name, s["slices"], s["measured"], s["review"], s["rejected"], f"{s['rmse']:.3f}", f"{s['bias']:+.3f}",
         f"{s['icc']:.3f}" if s["icc"] is not None else "–", f"{s['inside']} of {s['measured']}",
         f"{s['reader_sd']:.3f}")
        for name, s in report.items()
    ]  # fmt: skip
    write(options.out, "subgroups", report, table(heads, lines))


if __name__ == "__main__":
    main()
