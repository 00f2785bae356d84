"""What each kind of doubt holds, what another count of the levels would do, and what a T2 of other pixels says.

Run by hand: ``python -m tests.benchmarks.vbq_doubts --data FOLDER --out FOLDER [--jobs N]``. On the T1 of all pairs
that are not sealed, each beside its T2; rows are kept in ``doubts.jsonl`` as they are made. The truth is the mean of
the readers, where a slice was read.

A doubt can be lifted where what waits for it alone is as near to its readers as what is measured, and where what it
warns of would not move the score. So each slice is also scored with S1 taken for L5, and with L5 taken for S1.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import truediv
from pathlib import Path

import numpy as np
from scipy import ndimage

from analytics.training.data import PAIR_SPACING_MM, sagittal
from analytics.vbq.automatic import FluidOnT2, SagittalImage
from analytics.vbq.fluid_t2 import NO_FLUID, PURE_ON_T2
from analytics.vbq.levels import LEVEL_INDEX
from analytics.vbq.measure import SETTLED_BY_T2, SeenSlice, _on_t2, _score, _see, measure_stack
from analytics.vbq.score import ScoreError
from tests.benchmarks.vbq_blind import GROSS, sets
from tests.benchmarks.vbq_blind import readings as blind_readings
from tests.benchmarks.vbq_pairs import (
    PAIRS,
    READINGS,
    Reading,
    Row,
    Rows,
    as_row,
    parser_of,
    reading_vbq,
    readings,
    rms,
    t1,
    t2,
    table,
    write,
)

KINDS = {
    "fluid like roots": {"fluid-like-roots", "fluid-dark-on-t2", "score-uncertain"},
    "two kinds of fluid, or a dark layer": {
        "fluid-in-two-parts",
        "fluid-or-dark-layer",
        "fluid-brighter-than-elsewhere",
    },
}
"""Codes by what they doubt; levels are told by the count itself, and all others doubt bodies or signal."""
LEVELS, OTHERS = "levels and sacrum", "bodies and signal"
NO_DOUBT = {"fluid-bright-on-t2"}
NOTHING, SEVERAL = "nothing: `measured`", "several kinds"


@dataclass(frozen=True, kw_only=True)
class Imaged:
    """How a T2 is imaged anew: rows and columns in mm, turned, on a smaller field about another centre."""

    spacing_mm: tuple[float, float] = (PAIR_SPACING_MM, PAIR_SPACING_MM)
    turned_deg: float = 0.0
    field_mm: tuple[float, float] = (280.0, 280.0)
    off_mm: tuple[float, float] = (0.0, 0.0)

    def of(self, image: SagittalImage) -> SagittalImage:
        """The image so; beyond its edge there is nothing."""
        along, down = np.array(image.orientation[:3]), np.array(image.orientation[3:])
        turn = np.radians(self.turned_deg)
        new_along = along * np.cos(turn) + down * np.sin(turn)
        new_down = down * np.cos(turn) - along * np.sin(turn)
        shape = [round(field / mm) for field, mm in zip(self.field_mm, self.spacing_mm, strict=True)]
        middle = [(count - 1) / 2 * mm for count, mm in zip(image.signal.shape, image.spacing_mm, strict=True)]
        corner = down * (middle[0] + self.off_mm[0]) + along * (middle[1] + self.off_mm[1])
        corner = corner - new_down * (shape[0] - 1) / 2 * self.spacing_mm[0]
        corner = corner - new_along * (shape[1] - 1) / 2 * self.spacing_mm[1]
        rows, columns = np.indices(shape)[..., np.newaxis]
        away = corner + rows * self.spacing_mm[0] * new_down + columns * self.spacing_mm[1] * new_along
        steps = [new / old for new, old in zip(self.spacing_mm, image.spacing_mm, strict=True)]
        smooth = ndimage.gaussian_filter(image.signal, [0.4 * step if step > 1 else 0.0 for step in steps])
        native = [away @ down / image.spacing_mm[0], away @ along / image.spacing_mm[1]]
        x, y, z = np.array(image.position_mm) + corner
        (ax, ay, az), (dx, dy, dz) = new_along.tolist(), new_down.tolist()
        return SagittalImage(
            signal=np.maximum(ndimage.map_coordinates(smooth, native, order=3), 0.0),
            spacing_mm=self.spacing_mm,
            position_mm=(float(x), float(y), float(z)),
            orientation=(ax, ay, az, dx, dy, dz),
        )


IMAGED = {
    "as it is": Imaged(),
    "0.55 mm": Imaged(spacing_mm=(0.55, 0.55)),
    "0.9 mm": Imaged(spacing_mm=(0.9, 0.9)),
    "1.2 × 0.9 mm": Imaged(spacing_mm=(1.2, 0.9)),
    "turned 5°": Imaged(turned_deg=5.0),
    "turned −8°, 0.8 mm": Imaged(spacing_mm=(0.8, 0.8), turned_deg=-8.0),
    "220 × 180 mm, 0.6 mm, off centre": Imaged(spacing_mm=(0.6, 0.6), field_mm=(220.0, 180.0), off_mm=(8.0, 10.0)),
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """A slice."""

    data: Path
    number: str


def read_by(number: str) -> Sequence[Reading]:
    """All readings of a slice that can be had."""
    others = [READINGS / f"reader_{one}" / f"{number}.json" for one in "GH"]
    return (
        blind_readings(number)
        or readings().get(number)
        or [json.loads(path.read_text()) for path in others if path.exists()]
    )


def measured(task: Task) -> Row:
    """Its row."""
    signal = t1(task.data, task.number)
    image, other = (sagittal(one, PAIR_SPACING_MM) for one in (signal, t2(task.data, task.number)))
    found = measure_stack([image], t2_at=lambda _: other)
    read = read_by(task.number)
    row = as_row(found) | {
        "number": task.number,
        "codes": [reason.code for reason in found.reasons],
        "readers": [reading_vbq(signal, one) for one in read],
        "sure": bool(read) and all(one["csf_sure"] for one in read),
    }
    if found.score is None:
        return row
    seen = _see(0, image)
    scored = _score(seen)
    return row | {
        "levels": [reason.code for reason in seen.levels.doubts],
        "plain": [reason.code for reason in measure_stack([image]).reasons],
        "counted": {name: _vbq(moved(seen)) for name, moved in COUNTED.items()},
        "on_t2": {name: says(_on_t2(seen, scored, imaged.of(other))) for name, imaged in IMAGED.items()},
    }


def _one_up(seen: SeenSlice) -> SeenSlice | None:
    spine = seen.spine
    return replace(seen, spine=replace(spine, bodies=spine.bodies[1:], discs=spine.discs[1:]))


def _one_down(seen: SeenSlice) -> SeenSlice | None:
    spine = seen.spine
    if spine.s1 is None:
        return None
    return replace(
        seen, spine=replace(spine, bodies=[spine.s1, *spine.bodies], discs=[spine.sacral_disc, *spine.discs])
    )


COUNTED: dict[str, Callable[[SeenSlice], SeenSlice | None]] = {
    "a level higher (L5 taken for S1)": _one_up,
    "a level lower (S1 taken for L5)": _one_down,
}


def _vbq(seen: SeenSlice | None) -> float | None:
    if seen is None or len(seen.spine.bodies) <= LEVEL_INDEX["L1"]:
        return None
    try:
        return _score(seen).score.vbq_mean
    except ScoreError:
        return None


def says(found: FluidOnT2 | None) -> str:
    """What becomes of a doubt."""
    if found is None:
        return "another canal"
    return "no fluid" if found.best < NO_FLUID else "pure" if found.worst >= PURE_ON_T2 else "between"


def kind_of(row: Row) -> str:
    """What a slice waits for."""
    codes = set(row["codes"]) - NO_DOUBT
    if row["status"] == "measured":
        return NOTHING
    of_levels = codes & set(row["levels"])
    rest = codes - of_levels
    found = [name for name, known in KINDS.items() if rest & known]
    found += [LEVELS] if of_levels or not codes else []
    found += [OTHERS] if rest - set().union(*KINDS.values()) else []
    return found[0] if len(found) == 1 else SEVERAL


def errors(rows: Iterable[Row]) -> list[float]:
    """Of those that were read: score less the mean of the readers."""
    return [row["vbq"] - float(np.mean(row["readers"])) for row in rows if row["readers"]]


def _worst(off: Sequence[float]) -> str:
    return f"{max(map(abs, off)):.2f}" if off else "–"


def doubts(rows: Sequence[Row]) -> list[Row]:
    """By what they wait for."""
    found = []
    for name in (NOTHING, *KINDS, LEVELS, OTHERS, SEVERAL):
        of_it = [row for row in rows if "vbq" in row and kind_of(row) == name]
        read = [row for row in of_it if row["readers"]]
        off = errors(read)
        found.append({
            "waits for": name,
            "not read": len(of_it) - len(read),
            "read": len(read),
            "all readers sure of the fluid": sum(row["sure"] for row in read),
            "RMSE": f"{rms(off):.3f}" if off else "–",
            "standardised, RMS": f"{rms(map(truediv, off, (row['sd'] for row in read))):.2f}" if off else "–",
            "worst": _worst(off),
            f"off by more than {GROSS}": sum(abs(one) > GROSS for one in off),
        })  # fmt: skip
    return found


def counted(rows: Sequence[Row]) -> list[Row]:
    """How far a score lies from that of another count."""
    found = []
    for status in ("measured", "waits for levels alone"):
        of_it = [
            row
            for row in rows
            if "vbq" in row and kind_of(row) == (NOTHING if status == "measured" else LEVELS)
        ]  # fmt: skip
        for name in COUNTED:
            off = [row["counted"][name] / row["vbq"] - 1 for row in of_it if row["counted"][name]]
            found.append({
                "slices": status,
                "counted": name,
                "scored so": f"{len(off)} of {len(of_it)}",
                "RMS": f"{rms(off):.1%}",
                "mean": f"{np.mean(off):+.1%}",
                "median of the size": f"{np.median(np.abs(off)):.1%}",
                "worst": f"{np.max(np.abs(off)):.0%}",
            })  # fmt: skip
    return found


def on_t2(rows: Sequence[Row]) -> list[Row]:
    """What a T2 that is imaged otherwise says other than as it is."""
    scored = [row for row in rows if "vbq" in row]
    in_doubt = [row for row in scored if SETTLED_BY_T2 & set(row["plain"])]
    sure = [row for row in scored if not SETTLED_BY_T2 & set(row["plain"])]
    first, *others = IMAGED
    lifted = [row for row in in_doubt if row["on_t2"][first] == "pure"]
    held = [row for row in in_doubt if row["on_t2"][first] != "pure"]
    found = []
    for name in others:
        newly = [row for row in held if row["on_t2"][name] == "pure"]
        dark = [row for row in sure if row["on_t2"][first] != "no fluid" and row["on_t2"][name] == "no fluid"]
        found.append({
            "T2": name,
            "lifted as it is": len(lifted),
            "of these, still": sum(row["on_t2"][name] == "pure" for row in lifted),
            "newly lifted": len(newly),
            "of these read; worst": f"{len(errors(newly))}; {_worst(errors(newly))}",
            "newly doubted": len(dark),
        })  # fmt: skip
    return found


def main() -> None:
    """Measure what is missing and write the report."""
    options = parser_of(__doc__).parse_args()
    kept = Rows(options.out / "doubts.jsonl", ("number",))
    closed = set(sets()["sealed"])
    numbers = sorted(path.name[:4] for path in (options.data / PAIRS).glob("*_t1.png"))
    tasks = [Task(data=options.data, number=one) for one in numbers if one not in closed and (one,) not in kept.all]
    kept.fill(measured, tasks, options.jobs)
    rows = list(kept.all.values())
    parts = {"doubts": doubts(rows), "counted": counted(rows), "on_t2": on_t2(rows)}
    write(
        options.out,
        "doubts",
        parts,
        "\n".join(table(tuple(part[0]), [tuple(row.values()) for row in part]) for part in parts.values()),
    )


if __name__ == "__main__":
    main()
