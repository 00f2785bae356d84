"""What people give: a retrospective cohort, readings."""

from pathlib import Path
from typing import Annotated

import typer

from node.clock import now
from node.commands.shell import AsJson, Config, open_node, out, print_json, read_settings
from node.errors import InputError

app = typer.Typer()
reading_app = typer.Typer(help="Readings: the circles that a person placed on a series.", no_args_is_help=True)
app.add_typer(reading_app, name="reading")


@app.command("import")
def import_(
    cohort: Annotated[Path, typer.Argument(help="CSV with the promised columns; dates where there are any.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Take a site's retrospective cohort. The same file twice changes nothing; every refused row is listed.

    Exit code 0 when every row was taken, 3 when some rows have problems (they are listed, and kept in `problems`).
    """
    from node.cohort_import import import_cohort

    settings = read_settings(config)
    db, _ = open_node(settings, create=True)
    summary = import_cohort(db, cohort, site=settings.site.name, now=now())
    if as_json:
        print_json(summary.to_json_dict())
    else:
        out.print(
            f"{summary.rows} rows: {summary.new} new, {summary.changed} changed, {summary.unchanged} unchanged, "
            f"{summary.refused} refused; {summary.eligible} eligible for the model, {summary.excluded} excluded"
            + (" (this file had been imported before)" if summary.already_imported else ""),
            highlight=False,
            soft_wrap=True,
        )
        for problem in summary.problems:
            out.print(f"  {problem}", markup=False, highlight=False, soft_wrap=True)
    if summary.problems:
        raise typer.Exit(3)


@reading_app.command("add")
def reading_add(
    series_uid: Annotated[str, typer.Argument(help="The SeriesInstanceUID the reading is for.")],
    rois: Annotated[
        Path, typer.Option("--rois", help='JSON: {"slice": n, "L1": [row, col, radius_px], … "CSF": […]}.')
    ],
    reader: Annotated[str, typer.Option("--reader", help="Who read it.")],
    config: Config = None,
) -> None:
    """Store a person's reading of a series; the steps compute VBQ from it.

    `slice` is the InstanceNumber (1-based), with `frame` (1-based) beside it for a multi-frame image; rows, columns
    and radii are native pixels, 0-based.
    """
    from node.readings import add_reading

    settings = read_settings(config)
    db, archive = open_node(settings)
    try:
        text = rois.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {rois}: {error}") from error
    added = add_reading(db, archive, series_uid=series_uid, reader=reader, rois_text=text, now=now())
    out.print("reading stored" if added.new else "this reading is in effect already", highlight=False)


@reading_app.command("approve")
def reading_approve(
    series_uid: Annotated[str, typer.Argument(help="The SeriesInstanceUID of the automatic measurement.")],
    reader: Annotated[str, typer.Option("--reader", help="Who has looked at it.")],
    config: Config = None,
) -> None:
    """Take the circles of the automatic measurement as your own reading, as they are.

    For a result that waits with status review, after looking at its picture (`vbq-node measure --overlay`). To move
    circles give your own with `reading add`.
    """
    from node.readings import approve

    settings = read_settings(config)
    db, archive = open_node(settings)
    added = approve(db, archive, series_uid=series_uid, reader=reader, now=now())
    out.print(
        f"approved: VBQ {added.vbq_mean:.3f} (mean form), {added.vbq_median:.3f} (median form)"
        if added.new
        else "this reading is in effect already",
        highlight=False,
    )
