"""What people give: a retrospective cohort, readings."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.clock import now
from node.commands.shell import AsJson, Config, MappingFile, opaque, open_node, out, print_json, print_table, row_number
from node.errors import InputError
from node.run.program import read_settings

if TYPE_CHECKING:
    from node.people.cohort_rows import CohortTable
    from node.people.readings import AddedReading

app = typer.Typer()
reading_app = typer.Typer(help="Readings: the circles that a person placed on a series.", no_args_is_help=True)
app.add_typer(reading_app, name="reading")


@app.command("import")
def import_(
    cohort: Annotated[
        Path, typer.Argument(help="CSV of any usual dialect, xlsx, SPSS .sav, Stata .dta, SAS .xpt or Parquet.")
    ],
    mapping: MappingFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what each column became; nothing is stored.")
    ] = False,
    propose: Annotated[
        Path | None, typer.Option("--propose", help="With --dry-run: write a mapping to look through to this file.")
    ] = None,
    details: Annotated[
        Path | None, typer.Option("--details", help="CSV of every row with a problem or a reason that keeps it out.")
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Take a site's retrospective cohort. The same file twice changes nothing; problems are counted by reason.

    Exit code 0 when every row was taken, 3 when some rows have problems (`problems` keeps all of them), 1 when the file
    is refused: a column that cannot be right as a whole is named with the cause and a proposal.
    """
    from node.people.files.mapping import read_mapping_file
    from node.people.imports import import_cohort, read_cohort

    text = read_mapping_file(mapping)[0] if mapping is not None else ""
    settings = read_settings(config)
    if dry_run:
        raise typer.Exit(_dry_run(cohort, text, propose=propose, details=details, as_json=as_json))
    if propose is not None:
        raise InputError("--propose goes with --dry-run")
    db, _ = open_node(settings, create=True, action="import")
    summary = import_cohort(db, cohort, site=settings.site.name, now=now(), mapping=text)
    if details is not None:
        _write_details(details, read_cohort(cohort, mapping=text)[1])
    if as_json:
        print_json(summary.to_json_dict())
    else:
        for line in summary.lines():
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    if summary.problems:
        raise typer.Exit(3)


def _dry_run(cohort: Path, mapping: str, *, propose: Path | None, details: Path | None, as_json: bool) -> int:
    """Show what an import would make of a file; the exit code it would have."""
    from node.people.files.summary import HEADINGS
    from node.people.preview import preview

    shown = preview(cohort, mapping)
    if propose is not None:
        _write_new(propose, shown.proposal)
    if details is not None and shown.table is not None:
        _write_details(details, shown.table)
    if as_json:
        print_json(shown.to_json_dict())
    else:
        if shown.columns:
            print_table(str(cohort), HEADINGS, (one.row() for one in shown.columns))
        for line in shown.lines():
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    return shown.exit_code


def _write_new(path: Path, text: str) -> None:
    """Write a file that is not there; what a person has filled in is not overwritten."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def _write_details(path: Path, table: "CohortTable") -> None:
    from node.people.cohort_rows import detail_rows

    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("line", "id", "what", "code", "reason"), *detail_rows(table)])
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


Confirm = Annotated[
    list[str] | None,
    typer.Option("--confirm", metavar="CODE", help="Store it although it fails this check, with status review."),
]


@reading_app.command("add")
def reading_add(
    series_uid: Annotated[str, typer.Argument(help="The SeriesInstanceUID the reading is for.")],
    rois: Annotated[
        Path, typer.Option("--rois", help='JSON: {"slice": n, "L1": [row, col, radius_px], … "CSF": […]}.')
    ],
    reader: Annotated[str, typer.Option("--reader", help="Who read it.")],
    confirm: Confirm = None,
    config: Config = None,
) -> None:
    """Store a person's reading of a series; the steps compute VBQ from it.

    `slice` is the InstanceNumber (1-based), with `frame` (1-based) beside it for a multi-frame image; rows, columns
    and radii are native pixels, 0-based. Circles that lie outside the outlines of bodies and canal, on other levels, on
    a slice beside the midline, in noise, or far from the automatic score are refused with a code; with --confirm CODE
    they are stored and wait with status review until a second reader gives the same circles.

    Exit code 3 when what was stored needs a person.
    """
    from node.people.readings import add_reading

    settings = read_settings(config)
    db, archive = open_node(settings, action="reading add", subject=opaque(series_uid))
    try:
        text = rois.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {rois}: {error}") from error
    added = add_reading(
        db,
        archive,
        series_uid=series_uid,
        reader=reader,
        rois_text=text,
        now=now(),
        confirmed=confirm or (),
        rule=settings.readers,
    )
    _say(added, "stored")


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
    db, archive = open_node(settings, action="reading show", subject=opaque(series_uid))
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
    picture: Annotated[
        str | None,
        typer.Option(
            "--picture", help="Name of the picture looked at, as `reading show` says it; refused if it is another now."
        ),
    ] = None,
    confirm: Confirm = None,
    config: Config = None,
) -> None:
    """Take the circles of the automatic measurement as your own reading, as they are.

    For a result that waits with status review, after looking at its picture (`reading show --picture`). To move circles
    give your own with `reading add`. This settles a doubt about levels or fluid. Noise, coarse pixels, another scale or
    missing slices it does not settle: with --confirm CODE it is stored with status review.

    Exit code 3 when what was stored needs a person.
    """
    from node.people.readings import approve

    settings = read_settings(config)
    db, archive = open_node(settings, action="reading approve", subject=opaque(series_uid))
    added = approve(
        db,
        archive,
        series_uid=series_uid,
        reader=reader,
        now=now(),
        picture=picture,
        confirmed=confirm or (),
        rule=settings.readers,
    )
    _say(added, "approved")


@reading_app.command("withdraw")
def reading_withdraw(
    reading_id: Annotated[
        int, typer.Argument(callback=row_number, help="Number of the reading, as the view `readings` has it.")
    ],
    why: Annotated[str, typer.Option("--why", help="Why it is taken back.")],
    reader: Annotated[str, typer.Option("--reader", help="Who takes it back.")],
    config: Config = None,
) -> None:
    """Take a reading back: what was in effect before it is so again. The reading and the reason stay to be seen."""
    from node.people.readings import withdraw

    db, _ = open_node(read_settings(config), action="reading withdraw", subject=str(reading_id))
    withdraw(db, reading_id=reading_id, reader=reader, why=why, now=now())
    out.print(f"reading {reading_id} withdrawn", highlight=False)


def _say(added: "AddedReading", done: str) -> None:
    out.print(_words(added, done), highlight=False)
    if added.doubts:
        for doubt in added.doubts:
            out.print(f"  review: {doubt} ({doubt.code})", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(3)


def _words(added: "AddedReading", done: str) -> str:
    if not added.new:
        return "this reading is in effect already"
    return f"{done}: VBQ {added.vbq_mean:.3f} (mean form), {added.vbq_median:.3f} (median form)"
