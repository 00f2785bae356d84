"""What was received and cannot be taken in: shown, and tried again after a fix."""

from typing import Annotated

import typer

from node.clock import now
from node.commands.shell import AsJson, Config, note, open_node, out, print_json, print_table, some_words
from node.run.program import read_settings

app = typer.Typer()
quarantine_app = typer.Typer(
    help="Received objects that cannot be taken in, kept until they are mended.", no_args_is_help=True
)
app.add_typer(quarantine_app, name="quarantine")

ObjectId = Annotated[str, typer.Argument(help="The id of the object, as `quarantine list` shows it.")]


@quarantine_app.command("list")
def quarantine_list(config: Config = None, as_json: AsJson = False) -> None:
    """List the objects in quarantine and why they are there."""
    from node.people.quarantine import quarantined

    db, _ = open_node(read_settings(config), action="quarantine list")
    rows = quarantined(db)
    if as_json:
        print_json(rows)
        return
    names = ("id", "received_at", "calling_ae", "size_bytes", "reason")
    print_table(f"{len(rows)} in quarantine", names, [[row[name] for name in names] for row in rows])


@quarantine_app.command("show")
def quarantine_show(object_id: ObjectId, config: Config = None) -> None:
    """Show one object as JSON: the reason, its copy to correct, and what of its header can be read."""
    from node.people.quarantine import show

    settings = read_settings(config)
    db, archive = open_node(settings)
    found = show(db, archive, settings.storage.folder, object_id)
    note(db, "quarantine show", object_id)
    print_json(found)


@quarantine_app.command("retry")
def quarantine_retry(
    by: Annotated[str, typer.Option("--by", callback=some_words, help="Who has mended it.")],
    object_ids: Annotated[list[str] | None, typer.Argument(help="Ids of objects; all without one.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Take objects in after a fix: the corrected copy where there is one, else what was received is read again.

    Exit code 0 when all are taken in, 3 when some still cannot be (they are listed with the reason).
    """
    from node.people.quarantine import retry

    settings = read_settings(config)
    db, archive = open_node(settings, action="quarantine retry")
    done = retry(db, archive, settings.storage.folder, object_ids or [], by=by, now=now())
    if as_json:
        print_json([{"id": one.id, "corrected": one.corrected, "error": one.error} for one in done])
    else:
        for one in done:
            said = f"still not: {one.error}" if one.error else "taken in" + (", corrected" if one.corrected else "")
            out.print(f"{one.id} {said}", markup=False, highlight=False, soft_wrap=True)
    if any(one.error for one in done):
        raise typer.Exit(3)
