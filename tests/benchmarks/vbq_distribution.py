"""VBQ of all T1 of the pairs: its distribution, the share measured, in review and rejected, and the oddest to look at.

Run by hand: ``python -m tests.benchmarks.vbq_distribution --data FOLDER --out FOLDER [--odd 20] [--jobs N]``. Rows are
kept in ``distribution.jsonl`` as they are made, so that a run goes on where one ended. Beside the tables it writes
``distribution.png`` (histogram), ``odd_NNNN.png`` (the picture of each of the oddest) and ``odd.png`` (all of them).
"""

import re
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from rich.progress import track

from analytics.records import CSF, LEVELS, MeasurementStatus
from analytics.training.data import PAIR_SPACING_MM, pair_ids, sagittal
from analytics.vbq.measure import measure_stack
from analytics.vbq.overlay import Measured, overlay
from analytics.vbq.version import AUTOMATIC_NAME, AUTOMATIC_VERSION
from tests.benchmarks.vbq_pairs import PAIRS, Row, Rows, as_row, parser_of, readings, t1, table, write

TILE = (750, 480)
ACROSS = 4


def measured(task: tuple[Path, str]) -> Row:
    """The row of a T1."""
    data, number = task
    return {"number": number, **as_row(measure_stack([sagittal(t1(data, number), PAIR_SPACING_MM)]))}


def by_status(rows: list[Row]) -> dict[str, Row]:
    """Number, share, mean, SD and quantiles of VBQ by status, and of all that were not read by eye."""
    groups = {status.value: [row for row in rows if row["status"] == status] for status in MeasurementStatus}
    groups["measured, not among the 60 read"] = [row for row in groups["measured"] if row["number"] not in readings()]
    out = {}
    for name, group in groups.items():
        vbq = [row["vbq"] for row in group if "vbq" in row]
        cuts = np.percentile(vbq, [0, 5, 25, 50, 75, 95, 100]).round(3).tolist() if vbq else []
        spread = float(np.std(vbq, ddof=1)) if len(vbq) > 1 else None
        mean = float(np.mean(vbq)) if vbq else None
        out[name] = {"n": len(group), "share": len(group) / len(rows), "mean": mean, "sd": spread, "quantiles": cuts}
    return out


def reasons(rows: list[Row]) -> list[tuple[str, int, list[str]]]:
    """Every reason with numbers and levels taken out, how often it was given, and where."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for reason in {
            re.sub(r"[LS][1-5]", "L*", re.sub(r"± ?[\d.]+|\d+(\.\d+)?", "N", one)) for one in row["reasons"]
        }:
            found.setdefault(reason, []).append(row["number"])
    return sorted(((reason, len(where), where) for reason, where in found.items()), key=lambda item: -item[1])


def oddest(rows: list[Row], count: int) -> dict[str, str]:
    """Rejected ones, then in turn the farthest from the mean, the least sure of its levels, the most uncertain."""
    scored = [row for row in rows if "vbq" in row]
    log = {row["number"]: np.log(row["vbq"]) for row in scored}
    middle, spread = float(np.mean(list(log.values()))), float(np.std(list(log.values())))
    levels = [np.log([row["rois"][name][2] for name in LEVELS]) for row in scored]
    uneven = {row["number"]: float(np.std(level)) for row, level in zip(scored, levels, strict=True)}
    orders = [
        ("|z| of VBQ", sorted(scored, key=lambda row: -abs(log[row["number"]] - middle) / spread)),
        ("levels least sure", sorted(scored, key=lambda row: row["confidence"])),
        ("largest sd", sorted(scored, key=lambda row: -row["sd"] / row["vbq"])),
        ("levels most uneven", sorted(scored, key=lambda row: -uneven[row["number"]])),
        (
            "measured, |z| of VBQ",
            sorted(
                (row for row in scored if row["status"] == "measured"),
                key=lambda row: -abs(log[row["number"]] - middle),
            ),
        ),
    ]
    found = {row["number"]: "rejected" for row in rows if row["status"] == "rejected"}
    for rank in range(len(scored)):
        for name, order in orders:
            if len(found) >= count:
                return found
            if rank < len(order):
                found.setdefault(order[rank]["number"], name)
    return found


def picture(data: Path, number: str) -> bytes:
    """What a surgeon is shown."""
    image = sagittal(t1(data, number), PAIR_SPACING_MM)
    found = measure_stack([image])
    return overlay(
        image,
        Measured(
            status=found.status, reasons=found.reasons, score=found.score, vbq_sd=found.vbq_sd,
            levels_confidence=found.levels_confidence, outlines=found.outlines,
            made_by=f"pair {number} · {AUTOMATIC_NAME} {AUTOMATIC_VERSION}",
        ),
    )  # fmt: skip


def contact_sheet(data: Path, out: Path, numbers: list[str]) -> None:
    """The pictures one by one, and all on one sheet."""
    sheet = Image.new("RGB", (ACROSS * TILE[0], -(-len(numbers) // ACROSS) * TILE[1]), "white")
    for place, number in enumerate(track(numbers, description="drawing")):
        png = picture(data, number)
        (out / f"odd_{number}.png").write_bytes(png)
        with Image.open(BytesIO(png)) as one:
            tile = one.convert("RGB").resize(TILE, Image.Resampling.LANCZOS)
        sheet.paste(tile, (place % ACROSS * TILE[0], place // ACROSS * TILE[1]))
    sheet.save(out / "odd.png")


def histogram(rows: list[Row], path: Path) -> None:
    """Of VBQ, by status."""
    figure = Figure(figsize=(8, 4.5), dpi=130, layout="constrained")
    axes = figure.subplots()
    shown = [status.value for status in (MeasurementStatus.MEASURED, MeasurementStatus.REVIEW)]
    values = [[row["vbq"] for row in rows if row["status"] == status] for status in shown]
    axes.hist(
        values, bins=np.arange(1.0, 6.01, 0.1).tolist(), stacked=True, color=["#1d7a3c", "#e0a030"],
        label=[f"{status} ({len(group)})" for status, group in zip(shown, values, strict=True)],
    )  # fmt: skip
    axes.set(xlabel="VBQ (mean of L1–L4 over cerebrospinal fluid)", ylabel="slices", title=f"{len(rows)} T1 slices")
    axes.legend()
    figure.savefig(path)


def main() -> None:
    """Measure what is missing, write the report, and draw the oddest."""
    parser = parser_of(__doc__)
    parser.add_argument("--odd", type=int, default=20)
    options = parser.parse_args()
    kept = Rows(options.out / "distribution.jsonl", ("number",))
    missing = [number for number in pair_ids(options.data / PAIRS) if (number,) not in kept.all]
    kept.fill(measured, [(options.data, number) for number in missing], options.jobs)
    rows = [row for _, row in sorted(kept.all.items())]
    status, why, odd = by_status(rows), reasons(rows), oddest(rows, options.odd)
    fluid = [row["rois"][CSF][2] for row in rows if "rois" in row]
    report = {
        "slices": len(rows),
        "by_status": status,
        "reasons": [{"reason": reason, "n": n, "pairs": pairs} for reason, n, pairs in why],
        "reasons_a_slice": Counter(len(row["reasons"]) for row in rows),
        "fluid_signal_quantiles": np.percentile(fluid, [0, 5, 50, 95, 100]).round(1).tolist(),
        "oddest": odd,
    }
    lines = [
        (name, s["n"], f"{s['share']:.1%}", *(f"{s[key]:.2f}" if s[key] is not None else "–" for key in ("mean", "sd")),
         " / ".join(f"{cut:.2f}" for cut in s["quantiles"]) or "–")
        for name, s in status.items()
    ]  # fmt: skip
    markdown = "\n".join(
        [
            table(("status", "slices", "share", "mean", "SD", "min / 5 / 25 / 50 / 75 / 95 % / max"), lines),
            table(("reason", "slices"), [(reason, n) for reason, n, _ in why]),
            table(("oddest", "why looked at"), odd.items()),
        ]
    )
    write(options.out, "distribution", report, markdown)
    histogram(rows, options.out / "distribution.png")
    contact_sheet(options.data, options.out, list(odd))


if __name__ == "__main__":
    main()
