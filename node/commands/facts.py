"""What people give: a retrospective cohort, readings."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.clock import now
from node.commands.shell import AsJson, Config, open_node, out, print_json, read_settings
from node.errors import InputError

if TYPE_CHECKING:
    from node.people.readings import AddedReading

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
    from node.people.imports import import_cohort

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
    from node.people.readings import add_reading

    settings = read_settings(config)
    db, archive = open_node(settings)
    try:
        text = rois.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {rois}: {error}") from error
    added = add_reading(db, archive, series_uid=series_uid, reader=reader, rois_text=text, now=now())
    out.print(_words(added, "stored"), highlight=False)


@reading_app.command("show")
def reading_show(
    series_uid: Annotated[str, typer.Argument(help="The SeriesInstanceUID, as `problems` shows it.")],
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Where the picture goes (PNG, without patient data).")
    ] = None,
    rois: Annotated[
        Path | None, typer.Option("--rois", help="Where its circles go, as `reading add` takes them; to be moved.")
    ] = None,
    automatic: Annotated[
        bool, typer.Option("--automatic", help="The automatic measurement, also where a person's reading is in effect.")
    ] = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show the reading of a series that is in effect: status, score and why, its picture, its circles.

    The picture is drawn from the archive: the slice, the circles that are stored, wherever a person has moved them, and
    around them the outlines that the networks see.
    """
    from node.measure.pictures import draw, stored_reading, write_picture

    settings = read_settings(config)
    db, archive = open_node(settings)
    reading = stored_reading(db, series_uid, automatic=automatic)
    if as_json:
        print_json(asdict(reading))
    else:
        for line in reading.words():
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    if rois is not None:
        rois.write_text(reading.rois_text(), encoding="utf-8")
    if picture is not None:
        write_picture(picture, draw(db, archive, reading))


@reading_app.command("approve")
def reading_approve(
    series_uid: Annotated[str, typer.Argument(help="The SeriesInstanceUID of the automatic measurement.")],
    reader: Annotated[str, typer.Option("--reader", help="Who has looked at it.")],
    config: Config = None,
) -> None:
    """Take the circles of the automatic measurement as your own reading, as they are.

    For a result that waits with status review, after looking at its picture (`reading show --picture`). To move circles
    give your own with `reading add`.
    """
    from node.people.readings import approve

    settings = read_settings(config)
    db, archive = open_node(settings)
    added = approve(db, archive, series_uid=series_uid, reader=reader, now=now())
    out.print(_words(added, "approved"), highlight=False)


def _words(added: "AddedReading", done: str) -> str:
    if not added.new:
        return "this reading is in effect already"
    return f"{done}: VBQ {added.vbq_mean:.3f} (mean form), {added.vbq_median:.3f} (median form)"
