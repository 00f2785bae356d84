"""The audit."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from node.clock import to_text
from node.commands.shell import AsJson, Config, open_node, out, print_json, print_table
from node.run.program import read_settings

app = typer.Typer()
audit_app = typer.Typer(help="Who did or looked at what, and whether that record is whole.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")


def _moment(text: str | None) -> str | None:
    """A day or time as the audit has its own."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter("a day or time is needed, as 2026-03-01 or 2026-03-01T08:00") from error
    return to_text(found if found.tzinfo else found.replace(tzinfo=UTC))


Day = Annotated[str | None, typer.Option("--since", callback=_moment, help="From this day or time on (UTC, ISO 8601).")]


@audit_app.command("list")
def audit_list(
    since: Day = None,
    by: Annotated[str | None, typer.Option("--name", help="Only what this one did.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List who did or looked at what, the oldest first."""
    db, _ = open_node(read_settings(config), action="audit list")
    rows = list(
        db.query(
            "SELECT * FROM audit WHERE at >= coalesce(:since, '') AND name = coalesce(:name, name) ORDER BY audit_id",
            {"since": since, "name": by},
        )
    )
    if as_json:
        print_json(rows)
        return
    print_table(None, ("row", "at", "who", "from", "what", "about"), [tuple(row.values()) for row in rows])


@audit_app.command("verify")
def audit_verify(
    backups: Annotated[
        list[Path] | None,
        typer.Option("--backups", help="Compare with the backups in this folder; without it that of the settings."),
    ] = None,
    seals: Annotated[
        list[str] | None,
        typer.Option("--seal", help="Compare with this seal, from the last line of a nightly mail that was kept."),
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Check that no row of the audit was altered or cut off. Exit code 1 when one was.

    That the last rows were cut off is seen by comparing with backups, or with a seal from a mail, only.
    """
    from node.operate.audit import folders_of, verify

    settings = read_settings(config)
    db, _ = open_node(settings)
    found = verify(db, folders_of(settings, backups), seals=seals or ())
    if as_json:
        print_json({"rows": found.rows, "backups": found.anchors, "faults": list(found.faults)})
    else:
        compared = f"compared with {found.anchors} backups" if found.anchors else "compared with no backup"
        for line in found.faults or (f"{found.rows} rows are as they were written; {compared}",):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    if found.faults:
        raise typer.Exit(1)
