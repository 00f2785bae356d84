"""Held blood counts: listed, approved, corrected."""

from typing import Annotated

import typer

from analytics.columns import Cell
from node.clock import now
from node.commands.shell import AsJson, Config, open_node, out, print_json, print_table, some_words
from node.run.program import read_settings

app = typer.Typer()
counts_app = typer.Typer(
    help="Blood counts that are held for a person: approve them, or give the correct values.", no_args_is_help=True
)
app.add_typer(counts_app, name="counts")

Specimen = Annotated[str, typer.Argument(help="The specimen, as `counts list` and the view `blood_counts` name it.")]
By = Annotated[str, typer.Option("--by", callback=some_words, help="Who decides.")]
Patient = Annotated[
    str | None, typer.Option("--patient", help="The patient's pseudonym, where two patients have a specimen so named.")
]
Value = Annotated[float | None, typer.Option(help="The correct value, 10⁹/L.")]


@counts_app.command("list")
def counts_list(config: Config = None, as_json: AsJson = False) -> None:
    """List the held counts with the rows and reasons that hold them, and those that somebody decided about."""
    from node.people.counts import listed

    db, _ = open_node(read_settings(config), action="counts list")
    rows = listed(db)
    if as_json:
        print_json(rows)
        return
    cells = [
        (row["patient"], row["specimen"], (str(row["taken_at"] or ""))[:16], row["status"], "; ".join(row["notes"]))  # type: ignore[arg-type]  # a list of words
        for row in rows
    ]
    print_table(None, ("patient", "specimen", "taken", "state", "why"), cells)


@counts_app.command("approve")
def counts_approve(
    specimen: Specimen,
    by: By,
    neutrophils: Value = None,
    lymphocytes: Value = None,
    platelets: Value = None,
    leukocytes: Value = None,
    patient: Patient = None,
    config: Config = None,
) -> None:
    """Use a held count, as it is or with correct values. Holds until the laboratory sends other values."""
    from node.people.counts import approve

    told: dict[Cell, float | None] = {
        "neutrophils": neutrophils,
        "lymphocytes": lymphocytes,
        "platelets": platelets,
        "leukocytes": leukocytes,
    }
    given = {name: value for name, value in told.items() if value is not None}
    db, _ = open_node(read_settings(config), action="counts approve")
    approve(db, specimen, by=by, now=now(), patient=patient, cells=given)
    out.print("approved; the steps use the count", highlight=False)


@counts_app.command("withdraw")
def counts_withdraw(specimen: Specimen, by: By, patient: Patient = None, config: Config = None) -> None:
    """Take an approval back: the count is held again."""
    from node.people.counts import withdraw

    db, _ = open_node(read_settings(config), action="counts withdraw")
    withdraw(db, specimen, by=by, now=now(), patient=patient)
    out.print("withdrawn; the count is held again", highlight=False)
