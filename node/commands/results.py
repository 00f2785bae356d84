"""Results that leave the node: what was sent to whom, and what a person wants done about it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from node.clock import now
from node.commands.shell import AsJson, Config, opaque, open_node, out, print_json, print_table, row_number, some_words
from node.errors import InputError
from node.run.program import read_settings

app = typer.Typer()
results_app = typer.Typer(
    help="Results that were rendered for PACS and record: what was sent, and whether it is kept.",
    no_args_is_help=True,
)
app.add_typer(results_app, name="results")

By = Annotated[str, typer.Option("--by", callback=some_words, help="Who wants it.")]
ResultId = Annotated[int, typer.Argument(callback=row_number, help="The result, as `results list` numbers it.")]
SHOWN = ("result_id", "kind", "destination", "version", "status", "vbq_mean", "state", "made_at", "series_instance_uid")


@results_app.command("list")
def results_list(
    series: Annotated[str | None, typer.Option("--series", help="Of this SeriesInstanceUID only.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that newer ones have replaced.")] = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List the results: for whom, of which series, and what became of them."""
    db, _ = open_node(read_settings(config), action="results list", subject=opaque(series))
    rows = list(
        db.query(
            "SELECT * FROM results WHERE (:everything OR latest = 1) AND series_instance_uid = "
            "coalesce(:series, series_instance_uid) ORDER BY result_id",
            {"everything": everything, "series": series},
        )
    )
    if as_json:
        print_json([{**row, "reason_codes": json.loads(row["reason_codes"])} for row in rows])
        return
    table = [
        {
            **row,
            "vbq_mean": "" if row["vbq_mean"] is None else f"{row['vbq_mean']:.3f}",
            "made_at": row["made_at"][:19].replace("T", " "),
        }
        for row in rows
    ]
    titles = ("result", "kind", "for", "version", "status", "VBQ", "state", "made", "series")
    print_table(None, titles, [[row[name] for name in SHOWN] for row in table])


@results_app.command("show")
def results_show(
    result_id: ResultId,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="Write its bytes, which name the patient, to this file."),
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show a result: what it says, what became of it; or its bytes as a file."""
    from node.results.records import load_earlier
    from node.store.whole_file import write_whole

    settings = read_settings(config)
    db, _ = open_node(settings, action="results show", subject=str(result_id))
    row = next(db.query("SELECT * FROM results WHERE result_id = ?", [result_id]), None)
    if row is None:
        raise InputError(f"there is no result {result_id}; `vbq-node results list` shows them")
    recorded = load_earlier(db, settings, result_id)
    if file is not None:
        body = recorded.body if recorded.body is not None else (recorded.path or Path()).read_bytes()
        write_whole(file, body)
    if as_json:
        print_json({**row, "reason_codes": json.loads(row["reason_codes"]), "content": recorded.content})
        return
    for name, value in row.items():
        if value not in (None, "", "[]"):
            out.print(f"{name}: {value}", markup=False, highlight=False, soft_wrap=True)


@results_app.command("send")
def results_send(
    series: Annotated[str, typer.Argument(help="SeriesInstanceUID.")], by: By, config: Config = None
) -> None:
    """Have the results of a series sent that are not sent by themselves: from before a destination was set up, or
    withdrawn by a person."""
    from node.people.results import send

    db, _ = open_node(read_settings(config), action="results send", subject=opaque(series))
    send(db, series, by=by, at=now())
    out.print("what is measured or approved of it is sent", highlight=False)


@results_app.command("resend")
def results_resend(result_id: ResultId, by: By, config: Config = None) -> None:
    """Send a result once more: the same bytes, under the same UID."""
    from node.people.results import resend

    db, _ = open_node(read_settings(config), action="results resend", subject=str(result_id))
    resend(db, result_id, by=by, at=now())
    out.print(f"result {result_id} is sent again", highlight=False)


@results_app.command("withdraw")
def results_withdraw(
    result_id: ResultId,
    by: By,
    why: Annotated[str, typer.Option("--why", help="The reason; it stands in what is sent.")],
    config: Config = None,
) -> None:
    """Withdraw the results of a series everywhere, and send no others of it until `results send` wants them."""
    from node.people.results import withdraw

    db, _ = open_node(read_settings(config), action="results withdraw", subject=str(result_id))
    series = withdraw(db, result_id, by=by, why=why, at=now())
    out.print(f"results of series {series} are withdrawn", highlight=False)
