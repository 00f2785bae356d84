"""Upgrade: copy, migrate, check, or back."""

import typer

from node.clock import now
from node.commands.shell import AsJson, Config, err, open_node, out, print_json
from node.run.program import read_settings

app = typer.Typer()


@app.command()
def upgrade(config: Config = None, as_json: AsJson = False) -> None:
    """Bring the database to this version, check everything, and bring it back as it was where a check fails.

    The node must not run. Settings of an earlier version are read as they are, or what is no setting any more is named.
    Copied first (`backups/`); then migrated; then checked: every page of the database, every view, that no fact or
    record is gone, and that a reference series, drawn on the spot, measures the score that this version is known to
    give. Exit code 1: the database is as it was. After a kill it is as it was or migrated; run it again.
    """
    from node.demo.reference import check_reference
    from node.operate.upgrade import upgrade as upgrade_database

    settings = read_settings(config)
    folder = settings.storage.folder
    with err.status("copying, migrating and checking the database"):
        done = upgrade_database(folder, check=check_reference, at=now())
    open_node(settings, action="upgrade", subject=str(done.after))
    if as_json:
        print_json({"before": done.before, "after": done.after, "copy": str(done.copy), "checked_rows": done.facts,
                    "checked_views": done.views})  # fmt: skip
        return
    out.print(
        f"the database is of schema {done.after}"
        f"{'' if done.before == done.after else f', before {done.before}'}; whole; {done.facts} facts and records are "
        f"all there, {done.views} views answer, the reference series measures what it should. As it was: {done.copy}. "
        "Start the node",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
