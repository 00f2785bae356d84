"""Other DICOM nodes: what is sent on to them."""

from typing import Annotated

import typer

from node.clock import now
from node.commands.shell import AsJson, Config, open_node, out, print_json, print_table, read_settings

app = typer.Typer()
forward_app = typer.Typer(help="What is sent on to the peers with a `forward` address.", no_args_is_help=True)
app.add_typer(forward_app, name="forward")


@forward_app.command("list")
def forward_list(config: Config = None, as_json: AsJson = False) -> None:
    """List the destinations: how much waits for each, was sent, was given up, and since when one is unreachable."""
    from node.outgoing.destinations import list_destinations

    db, _ = open_node(read_settings(config))
    rows = list_destinations(db)
    if as_json:
        print_json(rows)
        return
    names = ("peer", "waiting", "sent", "given_up", "failing_since", "last_error")
    titles = ("peer", "waiting", "sent", "given up", "unreachable since", "last error")
    print_table(None, titles, [[row[name] if row[name] is not None else "" for name in names] for row in rows])


@forward_app.command("retry")
def forward_retry(
    peer: Annotated[str, typer.Argument(help="The peer, as dicom.peers names it.")], config: Config = None
) -> None:
    """Try everything that waits for a peer, or was given up, again now."""
    from node.outgoing.destinations import retry

    db, _ = open_node(read_settings(config))
    out.print(f"{retry(db, peer, at=now())} objects are tried again", highlight=False)
