"""Export for research."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from node.clock import now
from node.commands.shell import Config, open_node, out, some_words
from node.errors import InputError
from node.run.program import read_settings

app = typer.Typer()


class Which(StrEnum):
    """Which images go along."""

    SLICE = "slice"
    SERIES = "series"


class Form(StrEnum):
    """File format."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A folder that is not there yet.")],
    receiver: Annotated[
        str, typer.Option("--for", callback=some_words, help="Who gets it: ids are of this receiver alone.")
    ],
    form: Annotated[Form, typer.Option("--format", help="Parquet needs the extra [export].")] = Form.CSV,
    real_dates: Annotated[
        bool,
        typer.Option("--real-dates", help="Dates as they are; else those of a patient are shifted by the same days."),
    ] = False,
    images: Annotated[
        Which | None,
        typer.Option(
            "--images", help="With the measured slices, or all slices of their series, as de-identified DICOM files."
        ),
    ] = None,
    config: Config = None,
) -> None:
    """Export cohort, blood counts and measurements under ids of their own, with a codebook. It is in the audit."""
    from node.operate.export import export as write

    settings = read_settings(config)
    if folder.resolve().is_relative_to(settings.storage.folder.resolve()):
        raise InputError(f"{folder} lies in the data folder of the node; name a folder elsewhere")
    db, archive = open_node(settings, action="export", subject=receiver)
    done = write(
        db,
        folder,
        receiver=receiver,
        form=form.value,
        shift_dates=not real_dates,
        now=now(),
        archive=archive,
        images=images.value if images else None,
    )
    rows = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in done.rows.items())
    out.print(f"written to {folder}: {rows}", markup=False, highlight=False, soft_wrap=True)
    for why, number in done.kept_here.items():
        out.print(f"{number} images stay here: {why}", markup=False, highlight=False, soft_wrap=True)
