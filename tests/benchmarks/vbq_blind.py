"""The automatic measurement against blind readings: an open set to learn from, and a sealed one to be judged by.

Run by hand: ``python -m tests.benchmarks.vbq_blind --data FOLDER --out FOLDER [--sealed] [--jobs N]``.
``tests/readings/blind/README.md`` says how slices were chosen, read and sealed. The sealed set is evaluated once per
version of the measurement: its figures go to ``tests/readings/blind/evaluations.jsonl``, and a version that is there is
not evaluated again. Each T1 is measured beside its T2, as the node does where an examination has both. Slice by slice
only the open set is written and drawn (``interval.svg``, the picture of the model card).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from analytics.methods.agreement import Agreement, agreement
from analytics.records import CSF, MeasurementStatus
from analytics.training.data import PAIR_SPACING_MM, sagittal
from analytics.vbq.measure import measure_stack
from analytics.vbq.version import AUTOMATIC_VERSION
from tests.benchmarks.vbq_pairs import (
    Row,
    Rows,
    as_row,
    each,
    parser_of,
    reading_vbq,
    rms,
    t1,
    t2,
    table,
    version,
    write,
)

BLIND = Path(__file__).parents[1] / "readings" / "blind"
EVALUATIONS = BLIND / "evaluations.jsonl"
GROSS = 0.25
"""A score further off than this, measured without a doubt, is what must not happen."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A slice."""

    data: Path
    number: str


def sets() -> dict[str, list[str]]:
    """Numbers of the pairs: drawn at ``random``, chosen as ``hard``, and ``sealed`` of both."""
    found: dict[str, list[str]] = json.loads((BLIND / "sets.json").read_text())
    return found


def readings(number: str) -> list[Row]:
    """Of both readers; fewer where one could not read the slice."""
    found = [json.loads(path.read_text()) for path in sorted(BLIND.glob(f"reader_*/{number}.json"))]
    return [one for one in found if "unreadable" not in one]


def measured(task: Task) -> Row:
    """A slice's measurement beside the scores of its readers, who saw the T1 alone."""
    signal, other = t1(task.data, task.number), sagittal(t2(task.data, task.number), PAIR_SPACING_MM)
    read = readings(task.number)
    return as_row(measure_stack([sagittal(signal, PAIR_SPACING_MM)], t2_at=lambda _: other)) | {
        "number": task.number,
        "readers": [reading_vbq(signal, one) for one in read],
        "sure": [bool(one["csf_sure"]) for one in read],
        "levels_sure": [bool(one["levels_sure"]) for one in read],
        "fluid_read": [one[CSF] for one in read],
    }


def summary(rows: Sequence[Row]) -> Row:
    """How many are measured, how near to the mean of both readers, and what the interval holds."""
    both = [row for row in rows if len(row["readers"]) == 2]
    seen = [row for row in both if row["status"] == "measured"]
    sure = [row for row in both if all(row["sure"])]
    errors = np.array([row["vbq"] - np.mean(row["readers"]) for row in seen])
    standardised = errors / np.array([row["sd"] for row in seen])
    agreed = agreement(np.array([[row["vbq"], np.mean(row["readers"])] for row in seen])) if len(seen) > 4 else None
    return {
        "slices": len(rows),
        "read_by_both": len(both),
        **{status: sum(row["status"] == status for row in both) for status in ("measured", "review", "rejected")},
        "rmse": rms(errors),
        "bias": float(errors.mean()) if len(errors) else float("nan"),
        "readers_rms": rms(float(np.subtract(*row["readers"])) for row in seen),
        "icc": agreed.single_agreement.icc if isinstance(agreed, Agreement) else None,
        "inside_95": int(np.sum(np.abs(standardised) <= 1.96)),
        "standardised_rms": rms(standardised),
        "beyond_3_sd": int(np.sum(np.abs(standardised) > 3)),
        "gross": int(np.sum(np.abs(errors) > GROSS)),
        "sure_of_fluid": len(sure),
        "sure_and_not_measured": sum(row["status"] != "measured" for row in sure),
    }


def report_of(rows: Sequence[Row]) -> dict[str, Row]:
    """All slices, those drawn at random, and the hard ones."""
    hard = set(sets()["hard"])
    return {
        "all": summary(rows),
        "random": summary([row for row in rows if row["number"] not in hard]),
        "hard": summary([row for row in rows if row["number"] in hard]),
    }


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def text(report: dict[str, Row]) -> str:
    """As a table, a figure a line."""
    figures = next(iter(report.values()))
    return table(("figure", *report), [(name, *(_shown(part[name]) for part in report.values())) for name in figures])


def interval(rows: Sequence[Row]) -> Figure:
    """What is said of the error against what it is: standard deviation, and difference to the mean of both readers."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    drawn = [row for row in rows if len(row["readers"]) == 2 and "vbq" in row]
    widest = 1.05 * max(row["sd"] for row in drawn)
    axes.fill_between([0, widest], [0, -1.96 * widest], [0, 1.96 * widest], color="#e4e7ea", label="95 % interval")
    for status, marker, colour in (
        (MeasurementStatus.MEASURED, "o", "#1f5f8b"),
        (MeasurementStatus.REVIEW, "x", "#b3371c"),
    ):
        of_it = [row for row in drawn if row["status"] == status.value]
        errors = [row["vbq"] - np.mean(row["readers"]) for row in of_it]
        label = f"{status.value} ({len(of_it)})"
        axes.scatter([row["sd"] for row in of_it], errors, s=18, marker=marker, color=colour, label=label)
    axes.axhline(0, color="#20262b", linewidth=0.8)
    axes.set(
        xlabel="standard deviation said (VBQ)", ylabel="difference to the mean of two readers (VBQ)", xlim=(0, widest)
    )
    axes.legend(loc="upper left", frameon=False)
    return figure


def seal(data: Path, jobs: int) -> dict[str, Row]:
    """Evaluate the sealed set for this version, once, and append its figures to the log."""
    logged = [json.loads(line) for line in EVALUATIONS.read_text().splitlines()] if EVALUATIONS.exists() else []
    known = [one for one in logged if one["version"] == version()]
    if known:
        raise SystemExit(f"version {version()} was evaluated on {known[0]['day']}:\n\n{text(known[0]['figures'])}")
    tasks = [Task(data=data, number=number) for number in sets()["sealed"]]
    figures = report_of(list(each(measured, tasks, jobs, "measuring")))
    entry = {
        "day": datetime.now(UTC).date().isoformat(),
        "version": version(),
        "algorithm": AUTOMATIC_VERSION,
        "figures": figures,
    }
    with EVALUATIONS.open("a") as file:
        file.write(json.dumps(entry) + "\n")
    return figures


def main() -> None:
    """Measure, print, and keep."""
    parser = parser_of(__doc__)
    parser.add_argument("--sealed", action="store_true", help="judge this version by the sealed set, once")
    options = parser.parse_args()
    if options.sealed:
        print(text(seal(options.data, options.jobs)))
        return
    closed = set(sets()["sealed"])
    numbers = [one for name in ("random", "hard") for one in sets()[name] if one not in closed]
    kept = Rows(options.out / "blind.jsonl", ("number",))
    tasks = [Task(data=options.data, number=one) for one in numbers if (one,) not in kept.all]
    kept.fill(measured, tasks, options.jobs)
    figures = report_of(list(kept.all.values()))
    write(options.out, "blind", figures, text(figures))
    interval(list(kept.all.values())).savefig(options.out / "interval.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
