"""Several sites' model: what this site gives away, and what comes of the files of several."""

from pathlib import Path
from typing import Annotated

import typer

from node.clock import now
from node.commands.shell import Config, open_node, out
from node.errors import InputError
from node.run.program import read_settings
from node.store.whole_file import write_whole

app = typer.Typer()
pool_app = typer.Typer(
    help="The paper's model over several sites, from sums that no patient can be seen in.", no_args_is_help=True
)
app.add_typer(pool_app, name="pool")


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)


@pool_app.command("export")
def pool_export(
    file: Annotated[Path, typer.Argument(help="Where the file goes; one that is there is replaced.")],
    minimum_cell: Annotated[
        int,
        typer.Option(
            "--minimum-cell", min=3, help="Fewest patients in a cell of sex, smoking and diabetes; it is told."
        ),
    ] = 5,
    config: Config = None,
) -> None:
    """Write the sums of this node's cohort by scanner as one signed, readable file; never a row.

    Refused where the sums, alone or with those given away before, would show fewer than 5 patients.
    """
    from node.pooling.export import export

    settings = read_settings(config)
    # What the sums show is noted as given away before they are written.
    if not file.parent.is_dir():
        raise InputError(f"{file}: there is no folder {file.parent}")
    db, _ = open_node(settings, action="pool export")
    done = export(db, settings, now=now(), minimum=minimum_cell)
    write_whole(file, done.text.encode())
    for reason in done.doubts:
        _say(f"  {reason}")
    _say(f"{done.n} patients in the sums, written to {file}")
    _say(f"signed by {done.fingerprint}: tell this to whoever combines the files, over another way than the file")


@pool_app.command("combine")
def pool_combine(
    files: Annotated[list[Path], typer.Argument(help="A file of `pool export` of each site.")],
    folder: Annotated[Path, typer.Option("--out", help="Where the results go; the folder is made.")],
    signers: Annotated[
        list[str] | None,
        typer.Option("--signer", help="Fingerprint of a site's key, compared with the site; others are then refused."),
    ] = None,
) -> None:
    """Combine the files of several sites: pool.json, tables, figures and one report.html."""
    from node.pooling.combine import combine, write

    done = combine(files, signers=signers or ())
    write(done, folder)
    for reason in done.alerts():
        _say(f"  look at: {reason}")
    _say(f"{done.pool.n} patients of {len(done.files)} sites; written to {folder / 'report.html'} and beside it")
