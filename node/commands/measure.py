"""``vbq-node measure``: VBQ in DICOM files and folders, without a node."""

import json
import sys
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node import OF_PIXELS, hidden
from node.commands.shell import AsJson, err, out
from node.errors import InputError

if TYPE_CHECKING:
    from node.measure.automatic import SeriesMeasurement, StudySeries
    from node.measure.files import Found

app = typer.Typer()

Paths = Annotated[list[Path], typer.Argument(help="DICOM files, and folders that are searched whole.")]
OverlayFolder = Annotated[
    Path | None,
    typer.Option(
        "--overlay",
        help="A folder for a picture of each measured slice: SOP_INSTANCE_UID.png, without patient data. It is made.",
    ),
]


@app.command()
def measure(paths: Paths, as_json: AsJson = False, overlay: OverlayFolder = None) -> None:
    """Measure VBQ in DICOM files or folders; nothing is stored. With --json one JSON object per series, a line each.

    Of each study the sagittal T1 series of the lumbar spine is measured; every other series is rejected and says why.
    Several studies, also of several patients, may lie in one folder; nothing is mixed. An archive must be unpacked.

    Exit code 0 when every study has a measured series, 3 when one has none or it waits for a person, 1 when there is
    no DICOM image or a path does not exist.
    """
    # What decodes pixels does so in a process of its own.
    with hidden(*OF_PIXELS):
        from analytics.vbq.measure import measure_stack
        from node.measure.files import find, measure_all, needs_a_person, picture, to_json_dict
        from node.measure.pictures import write_picture

    with _progress() as progress:
        reading = progress.add_task("reading headers", total=None)
        found = find(paths, lambda done, of: progress.update(reading, completed=done, total=of))
        _say_unread(found)
        if not found.studies:
            raise InputError("there is no DICOM image among " + ", ".join(str(path) for path in paths))
        if overlay is not None:
            overlay.mkdir(parents=True, exist_ok=True)
        measuring = progress.add_task("measuring series", total=found.series)
        ends, shown = [], []
        for series, result in measure_all(found, measure_stack):
            if overlay is not None and (drawn := picture(result)):
                name, content = drawn
                write_picture(overlay / name, content)
            if as_json:
                line = json.dumps(to_json_dict(series, result), ensure_ascii=False, allow_nan=False)
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            else:
                # Without the pixels, which many series would not leave room for.
                shown.append((series, _words(result)))
            ends.append((min(series.studies), result.status))
            progress.advance(measuring)
    if not as_json:
        _print(shown)
    if needs_a_person(ends):
        raise typer.Exit(3)


class _Silent:
    """In place of a bar, where nobody looks at one: its library takes as long to load as a series to measure."""

    def add_task(self, description: str, total: int | None) -> None: ...
    def update(self, task: None, completed: int, total: int | None) -> None: ...
    def advance(self, task: None) -> None: ...


def _progress() -> AbstractContextManager[Any]:
    """On a terminal only: a script that reads standard error gets lines."""
    if not sys.stderr.isatty():
        return nullcontext(_Silent())
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    return Progress(*columns, console=err.console, transient=True, disable=not err.is_terminal)


def _say_unread(found: "Found") -> None:
    """The files that were named, each; those that merely lie in a folder, by what is wrong with them."""
    for path in sorted(found.unread.keys() & found.named):
        err.print(f"{path}: {found.unread[path]}", markup=False, highlight=False, soft_wrap=True)
    others = Counter(why for path, why in found.unread.items() if path not in found.named)
    for why, number in sorted(others.items()):
        left_out = f"{number} {'file' if number == 1 else 'files'} left out: {why}"
        err.print(left_out, markup=False, highlight=False, soft_wrap=True)


def _words(result: "SeriesMeasurement") -> tuple[str, ...]:
    """Status, score, slice and details, as the table shows them."""
    score, place = result.score, result.place
    details = [f"- {reason}" for reason in result.reasons]
    if score:
        signals = ", ".join(f"{name} {roi.mean:.0f}" for name, roi in score.rois.items())
        details.insert(0, f"median form {score.vbq_median:.2f}; {signals}")
    interval = f" ± {1.96 * result.vbq_sd:.2f}" if result.vbq_sd is not None else ""
    number = "" if place is None else "?" if place.instance_number is None else str(place.instance_number)
    if place is not None and place.frame_number is not None:
        number += f" frame {place.frame_number}"
    return (
        result.status.value,
        f"{score.vbq_mean:.2f}{interval}" if score else "",
        number,
        "\n".join(details),
    )


COLOURS = {"measured": "green", "review": "yellow", "rejected": "red"}


def _print(rows: "list[tuple[StudySeries, tuple[str, ...]]]") -> None:
    """A table for each study."""
    from rich.table import Table
    from rich.text import Text

    for study, its_rows in groupby(rows, key=lambda row: min(row[0].studies)):
        table = Table("series", show_lines=True, title=Text(f"study {study}"), title_justify="left")
        for name in ("status", "VBQ ± 95 %", "slice"):
            table.add_column(name, no_wrap=True)
        table.add_column("signals, and why", ratio=1, overflow="fold")
        for series, (status, *cells) in its_rows:
            table.add_row(Text(_name(series)), Text(status, style=COLOURS[status]), *(Text(cell) for cell in cells))
        out.print(table)


def _name(series: "StudySeries") -> str:
    """Number and description as the scanner gave them."""
    first = series.images[0].header.image
    number = f"{first.series_number} " if first.series_number is not None else ""
    return f"{number}{first.series_description or 'no description'}"
