"""What the evaluations of the automatic measurement share: T1 of the pairs, readings, rows on disk, tables."""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import analytics.vbq
from analytics.records import CSF, LEVELS, Circle
from analytics.training.data import PAIR_SPACING_MM, read_png
from analytics.vbq.automatic import AutomaticMeasurement
from analytics.vbq.score import score

READINGS = Path(__file__).parents[1] / "readings" / "pairs"
READERS = ("CDIJMN", "EFKLOP")
"""Two groups of readers, each of thirty slices: I, J, K and L saw the T1 alone, the others the T2 as well."""
PAIRS = "lumbar-t1-t2-pairs"
SAME_BODY_MM = 14.0
"""Half the height of a body: a circle nearer than this lies in the same one."""

Reading = Mapping[str, Any]
Row = dict[str, Any]
Task = TypeVar("Task")
Found = TypeVar("Found")


def t1(data: Path, number: str) -> NDArray[np.float64]:
    """The T1 of a pair, (384, 384)."""
    return read_png(data / PAIRS / f"{number}_t1.png")


def t2(data: Path, number: str) -> NDArray[np.float64]:
    """The T2 of a pair, on the pixels of its T1."""
    return read_png(data / PAIRS / f"{number}_t2.png")


def readings() -> dict[str, tuple[Reading, ...]]:
    """The readings of each T1 that was read by eye, by the number of the pair; no network was shown these."""
    return {
        path.stem: tuple(json.loads((READINGS / f"reader_{one}" / path.name).read_text()) for one in group)
        for group in READERS
        for path in sorted((READINGS / f"reader_{group[0]}").glob("*.json"))
    }


def reading_vbq(
    signal: NDArray[np.float64], reading: Reading, spacing_mm: tuple[float, float] = (PAIR_SPACING_MM, PAIR_SPACING_MM)
) -> float:
    """VBQ of a reading's circles on a slice; the spacing is that of the pairs where none is given."""
    circles = {
        name: Circle(row=reading[name][0], col=reading[name][1], radius_px=reading[name][2]) for name in (*LEVELS, CSF)
    }
    return score(signal, circles, spacing_mm=spacing_mm).vbq_mean


def reader_sd(scores: Iterable[Sequence[float]]) -> float:
    """Standard deviation of one reader's score, from the scores of several on each slice."""
    variances = [np.var(one, ddof=1) for one in scores]
    return float(np.sqrt(np.mean(variances))) if variances else float("nan")


def as_row(found: AutomaticMeasurement) -> Row:
    """What is kept of a measurement; circles as row, column (native pixels) and mean signal."""
    row: Row = {
        "status": found.status.value,
        "reasons": [str(reason) for reason in found.reasons],
        "confidence": found.levels_confidence,
    }
    if found.score is not None:
        row |= {"vbq": found.score.vbq_mean, "median": found.score.vbq_median, "sd": found.vbq_sd}
        row["rois"] = {
            name: [roi.circle.row, roi.circle.col, round(roi.mean, 2)] for name, roi in found.score.rois.items()
        }
    return row


def version() -> str:
    """Of the measurement: its code and its networks; numbers of another one are not comparable."""
    folder = Path(analytics.vbq.__file__).parent
    files = sorted([*folder.glob("*.py"), *folder.glob("*.onnx")])
    return sha256(b"".join(sha256(path.read_bytes()).digest() for path in files)).hexdigest()[:12]


class Rows:
    """Rows of a file, one JSON object a line, each written as soon as it is known: a run goes on where one ended."""

    def __init__(self, path: Path, key: Sequence[str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._key, self._version = path, key, version()
        self.all: dict[tuple[Any, ...], Row] = {}
        for line in path.read_text().splitlines() if path.exists() else []:
            row = json.loads(line)
            if row["version"] == self._version:
                self.all[tuple(row[name] for name in key)] = row

    def add(self, row: Row) -> None:
        """Keep a row at once."""
        self.all[tuple(row[name] for name in self._key)] = row
        with self._path.open("a") as file:
            file.write(json.dumps({**row, "version": self._version}) + "\n")

    def fill(self, work: Callable[[Task], Row], tasks: Sequence[Task], jobs: int) -> None:
        """Keep the row that ``work`` makes of each task."""
        for row in each(work, tasks, jobs, "measuring"):
            self.add(row)


def each(work: Callable[[Task], Found], tasks: Sequence[Task], jobs: int, description: str) -> Iterator[Found]:
    """What ``work`` makes of each task, as it comes, in so many processes, with a bar and the time that is left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar, ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        todo = [pool.submit(work, task) for task in tasks]
        for done in bar.track(as_completed(todo), total=len(todo), description=description):
            yield done.result()


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """As Markdown; numbers to the right."""
    lines = ["| " + " | ".join(heads) + " |", "| --- " + "| ---: " * (len(heads) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)]) + "\n"


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """The options that all evaluations on the pairs have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1, help="processes of one thread")
    return parser


def write(out: Path, name: str, report: Mapping[str, Any], markdown: str) -> None:
    """``name.json`` and ``name.md`` in a folder, and the latter on the screen."""
    (out / f"{name}.json").write_text(json.dumps({"version": version(), **report}, indent=1) + "\n")
    (out / f"{name}.md").write_text(markdown)
    print(markdown)


def rms(values: Iterable[float]) -> float:
    """Root of the mean square; NaN of nothing."""
    array = np.array(list(values), dtype=np.float64)
    return float(np.sqrt(np.mean(array**2))) if array.size else float("nan")
