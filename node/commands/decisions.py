"""What people decide: cut-offs in force, and whether two patient numbers are one patient."""

from typing import Annotated

import typer

from node.clock import now
from node.commands.shell import AsJson, Config, open_node, out, print_json, print_table, read_settings

app = typer.Typer()
thresholds_app = typer.Typer(
    help="The site's cut-offs: proposed by the night, adopted by a person.", no_args_is_help=True
)
app.add_typer(thresholds_app, name="thresholds")
identity_app = typer.Typer(
    help="Patient numbers that differ in leading zeros only: a person says whether they are one patient.",
    no_args_is_help=True,
)
app.add_typer(identity_app, name="identity")
study_app = typer.Typer(
    help="Studies whose images came in several versions: a person says which hold.", no_args_is_help=True
)
app.add_typer(study_app, name="study")


DecidedBy = Annotated[str, typer.Option("--by", help="Who decides.")]
Version = Annotated[int, typer.Argument(help="The version, as `thresholds list` shows it.")]


@thresholds_app.command("list")
def thresholds_list(
    everything: Annotated[bool, typer.Option("--all", help="Proposals that newer ones have replaced too.")] = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List the threshold versions: what was decided about, and the newest proposal."""
    from node.people import thresholds

    settings = read_settings(config)
    db, _ = open_node(settings)
    rows = thresholds.list_versions(db)
    if not everything:
        rows = [row for row in rows if row["state"] != "proposed" or row["announced"] or row is rows[-1]]
    if as_json:
        print_json(rows)
        return
    print_table(
        None,
        ("version", "night", "method", "n", "VBQ ≥", "NLR >", "PLR >", "state", "by"),
        [
            (
                *(row[name] for name in ("version", "night", "method", "n")),
                *(f"{row[name]:.3f}" for name in ("vbq", "nlr", "plr")),
                row["state"],
                row["decided_by"] or "",
            )
            for row in rows
        ],
    )


@thresholds_app.command("show")
def thresholds_show(version: Version, config: Config = None, as_json: AsJson = False) -> None:
    """Show a version: its cuts, what they rest on, and whose tier would change."""
    from node.people import thresholds

    db, _ = open_node(read_settings(config))
    shown = thresholds.show(db, version)
    if as_json:
        print_json(shown)
        return
    for line in thresholds.as_lines(shown):
        out.print(line, markup=False, highlight=False, soft_wrap=True)


@thresholds_app.command("adopt")
def thresholds_adopt(
    version: Version,
    by: DecidedBy,
    config: Config = None,
) -> None:
    """Adopt a version; from the next night on tiers follow it. Shows whose tier will change."""
    from node.people import thresholds

    settings = read_settings(config)
    db, _ = open_node(settings)
    changes = thresholds.would_change(db, version)
    thresholds.adopt(db, version, by=by, now=now())
    out.print(f"version {version} adopted; {len(changes)} tiers will change with the next night", highlight=False)
    for change in changes:
        out.print(f"  {change}", markup=False, highlight=False)


@thresholds_app.command("retire")
def thresholds_retire(
    version: Version,
    by: DecidedBy,
    config: Config = None,
) -> None:
    """Retire a version, or decline a proposed one; without an adopted one nobody gets a tier."""
    from node.people import thresholds

    settings = read_settings(config)
    db, _ = open_node(settings)
    thresholds.retire(db, version, by=by, now=now())
    out.print(f"version {version} retired", highlight=False)


@identity_app.command("list")
def identity_list(config: Config = None, as_json: AsJson = False) -> None:
    """List the candidates, open and decided."""
    from node.people.identity import candidates

    settings = read_settings(config)
    db, _ = open_node(settings)
    rows = candidates(db)
    if as_json:
        print_json(rows)
        return
    columns = ("authority", "patient_id", "other_patient_id", "state", "decided_by")
    cells = [[row[name] or "" for name in columns] for row in rows]
    print_table(None, ["authority", "number", "other number", "state", "by"], cells)


Authority = Annotated[str, typer.Argument(help="The authority of both numbers, as `identity list` shows it.")]
OneNumber = Annotated[str, typer.Argument(help="One of the two numbers, with its leading zeros.")]
OtherNumber = Annotated[str, typer.Argument(help="The other number.")]


@identity_app.command("confirm")
def identity_confirm(
    authority: Authority, number: OneNumber, other: OtherNumber, by: DecidedBy, config: Config = None
) -> None:
    """Say that two numbers are one patient: they are joined like by a merge. `reject` takes it back."""
    from node.people.identity import decide

    db, _ = open_node(read_settings(config))
    decide(db, numbers=(authority, number, other), confirmed=True, by=by, now=now())
    out.print("confirmed; the steps join the two numbers", highlight=False)


@identity_app.command("reject")
def identity_reject(
    authority: Authority, number: OneNumber, other: OtherNumber, by: DecidedBy, config: Config = None
) -> None:
    """Say that two numbers are two patients. `confirm` takes it back."""
    from node.people.identity import decide

    db, _ = open_node(read_settings(config))
    decide(db, numbers=(authority, number, other), confirmed=False, by=by, now=now())
    out.print("rejected; the two numbers stay apart", highlight=False)


@study_app.command("use-newest")
def study_use_newest(
    study: Annotated[str, typer.Argument(metavar="UID", help="The StudyInstanceUID, as `problems` shows it.")],
    by: DecidedBy,
    config: Config = None,
) -> None:
    """Of every image of a study what came last holds; earlier versions are kept and count for nothing."""
    from node.people.studies import use_newest

    db, _ = open_node(read_settings(config))
    undecided = use_newest(db, study, by=by, at=now())
    out.print(f"what came last of study {study} holds; {undecided} images stood in several versions", highlight=False)
