"""What people decide: cut-offs in force, whose a patient number is, and which version of a study holds."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from sqlite_utils import Database

from node.clock import now
from node.commands.shell import AsJson, Config, opaque, open_node, out, print_json, print_table, row_number, some_words
from node.run.program import read_settings

app = typer.Typer()
thresholds_app = typer.Typer(
    help="The site's cut-offs: proposed by the night, adopted by a person.", no_args_is_help=True
)
app.add_typer(thresholds_app, name="thresholds")
corrections_app = typer.Typer(
    help="What VBQ is judged by beside the cut-offs: offsets of scanners, and how far it varies from day to day.",
    no_args_is_help=True,
)
app.add_typer(corrections_app, name="corrections")
identity_app = typer.Typer(
    help="Whose a patient number is, where that is in doubt: a person says it.",
    no_args_is_help=True,
)
app.add_typer(identity_app, name="identity")
study_app = typer.Typer(
    help="Studies whose images came in several versions: a person says which hold.", no_args_is_help=True
)
app.add_typer(study_app, name="study")


DecidedBy = Annotated[str, typer.Option("--by", callback=some_words, help="Who decides.")]
Version = Annotated[int, typer.Argument(callback=row_number, help="The version, as `thresholds list` shows it.")]


@thresholds_app.command("list")
def thresholds_list(
    everything: Annotated[bool, typer.Option("--all", help="Proposals that newer ones have replaced too.")] = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List the threshold versions: what was decided about, and the newest proposal."""
    from node.people import thresholds

    settings = read_settings(config)
    db, _ = open_node(settings, action="thresholds list")
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

    db, _ = open_node(read_settings(config), action="thresholds show", subject=str(version))
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
    db, _ = open_node(settings, action="thresholds adopt", subject=str(version))
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
    db, _ = open_node(settings, action="thresholds retire", subject=str(version))
    thresholds.retire(db, version, by=by, now=now())
    out.print(f"version {version} retired", highlight=False)


What = Annotated[str, typer.Argument(help="The scanner as `corrections list` shows it, or `noise`.")]
DecidedWhy = Annotated[str, typer.Option("--why", help="Why; without names of patients.")]


@corrections_app.command("list")
def corrections_list(config: Config = None, as_json: AsJson = False) -> None:
    """List what is measured of scanners and days, and every decision about it; nothing is judged by what nobody has
    adopted.
    """
    from node.nightly.corrections import measured
    from node.people.corrections import NOISE, decisions

    settings = read_settings(config)
    db, _ = open_node(settings, action="corrections list")
    found, refused = measured(db, settings)
    made = decisions(db)
    if as_json:
        reasons = {"reasons": [str(one) for one in refused], "reason_codes": [one.code for one in refused]}
        print_json({"measured": [asdict(one) for one in found], **reasons, "decisions": made})
        return
    columns = ("what", "above", "from", "n", "VBQ", "95 % CI")
    rows = [
        (
            one.scanner or NOISE,
            one.reference,
            one.source,
            one.n,
            f"{one.value:.3f}",
            f"{one.ci_low:.3f} to {one.ci_high:.3f}",
        )
        for one in found
    ]
    print_table("Measured", columns, rows)
    for reason in refused:
        out.print(str(reason), markup=False, highlight=False, soft_wrap=True)
    told = ("scanner", "decision", "value", "decided_at", "decided_by", "decided_why", "in_force")
    cells = [[str(row[name] or (NOISE if name == "scanner" else "")) for name in told] for row in made]
    print_table("Decided", ("what", "decision", "VBQ", "when", "by", "why", "holds"), cells)


@corrections_app.command("adopt")
def corrections_adopt(
    what: What,
    by: DecidedBy,
    why: DecidedWhy,
    source: Annotated[
        str | None, typer.Option("--from", help="`rescans` or `model`; without it rescans where there are enough.")
    ] = None,
    config: Config = None,
) -> None:
    """Have VBQ judged by what is measured now, from the next night on. Shows whose tier will change.

    An offset is added to the VBQ cut of the scanner's patients: theirs is then the cut that holds at the other scanner,
    moved by it, also where the scanner has one of its own. `noise`: a VBQ is near its cut within the standard deviation
    between two days.
    """
    from node.nightly.corrections import choose, measured
    from node.people import corrections

    settings = read_settings(config)
    db, _ = open_node(settings, action="corrections adopt")
    chosen = choose(measured(db, settings)[0], what, source)
    corrections.adopt(db, chosen, by=by, why=why, now=now())
    _say_who_changes(db, f"adopted: {chosen}")


@corrections_app.command("withdraw")
def corrections_withdraw(what: What, by: DecidedBy, why: DecidedWhy, config: Config = None) -> None:
    """Take an adoption back: from the next night on everybody is judged as if it had never been."""
    from node.people import corrections

    db, _ = open_node(read_settings(config), action="corrections withdraw")
    corrections.withdraw(db, what, by=by, why=why, now=now())
    _say_who_changes(db, f"taken back: {what}")


def _say_who_changes(db: Database, done: str) -> None:
    from node.people import corrections, thresholds

    changes = thresholds.would_change_with(db, corrections.in_force(db))
    out.print(f"{done}\n{len(changes)} tiers will change with the next night", markup=False, highlight=False)
    for change in changes:
        out.print(f"  {change}", markup=False, highlight=False)


@identity_app.command("list")
def identity_list(config: Config = None, as_json: AsJson = False) -> None:
    """List what is in doubt, and what has been decided: pairs of numbers, and what states another person."""
    from node.people.identity import candidates, doubts

    settings = read_settings(config)
    db, _ = open_node(settings, action="identity list")
    rows = candidates(db)
    others = doubts(db)
    if as_json:
        print_json([*({**row, "kind": "zeros", "signs": None, "sources": [], "words": None} for row in rows), *others])
        return
    columns = ("authority", "patient_id", "other_patient_id", "state", "decided_by")
    cells = [[str(row[name] or "") for name in columns] for row in rows]
    print_table(None, ["authority", "number", "other number", "state", "by"], cells)
    told = ("authority", "patient_id", "signs", "state", "decided_by", "words")
    cells = [[str(row[name] or "") for name in told] for row in others]
    print_table(None, ["authority", "number", "signs", "state", "by", "why"], cells)


Authority = Annotated[str, typer.Argument(help="The authority of the number, as `identity list` shows it.")]
OneNumber = Annotated[str, typer.Argument(help="The number, with its leading zeros.")]
OtherNumber = Annotated[str | None, typer.Argument(help="The other number, of a pair.")]
OfSigns = Annotated[str | None, typer.Option("--signs", help="Only these, as `identity list` shows them.")]


def _decide(
    config: Path | None, numbers: tuple[str, str, str | None], signs: str | None, *, confirmed: bool, by: str
) -> str:
    from node.people.identity import decide, decide_signs

    db, _ = open_node(read_settings(config), action="identity decided")
    authority, number, other = numbers
    if other is not None:
        decide(db, numbers=(authority, number, other), confirmed=confirmed, by=by, now=now())
        return "the steps join the two numbers" if confirmed else "the two numbers stay apart"
    decided = decide_signs(db, number=(authority, number), signs=signs, confirmed=confirmed, by=by, now=now())
    return f"{decided} of what was in doubt " + ("is the patient's" if confirmed else "is somebody else's")


@identity_app.command("confirm")
def identity_confirm(
    authority: Authority,
    number: OneNumber,
    by: DecidedBy,
    other: OtherNumber = None,
    signs: OfSigns = None,
    config: Config = None,
) -> None:
    """Say that two numbers are one patient, or (without the other) that what is in doubt is the patient's."""
    done = _decide(config, (authority, number, other), signs, confirmed=True, by=by)
    out.print(f"confirmed; {done}", highlight=False)


@identity_app.command("reject")
def identity_reject(
    authority: Authority,
    number: OneNumber,
    by: DecidedBy,
    other: OtherNumber = None,
    signs: OfSigns = None,
    config: Config = None,
) -> None:
    """Say that two numbers are two patients, or (without the other) that what is in doubt is somebody else's."""
    done = _decide(config, (authority, number, other), signs, confirmed=False, by=by)
    out.print(f"rejected; {done}", highlight=False)


@identity_app.command("split")
def identity_split(
    authority: Authority, number: OneNumber, by: DecidedBy, other: OtherNumber = None, config: Config = None
) -> None:
    """Part two numbers that a merge has joined, or (without the other) a number from its earlier owner."""
    done = _decide(config, (authority, number, other), None, confirmed=False, by=by)
    out.print(f"split; {done}", highlight=False)


@study_app.command("use-newest")
def study_use_newest(
    study: Annotated[str, typer.Argument(metavar="UID", help="The StudyInstanceUID, as `problems` shows it.")],
    by: DecidedBy,
    config: Config = None,
) -> None:
    """Of every image of a study what came last holds; earlier versions are kept and count for nothing."""
    from node.people.studies import use_newest

    db, _ = open_node(read_settings(config), action="study use-newest", subject=opaque(study))
    undecided = use_newest(db, study, by=by, at=now())
    out.print(f"what came last of study {study} holds; {undecided} images stood in several versions", highlight=False)


@study_app.command("withdraw")
def study_withdraw(
    study: Annotated[str, typer.Argument(metavar="UID", help="The StudyInstanceUID.")],
    by: DecidedBy,
    config: Config = None,
) -> None:
    """Take back that what came last of a study holds; its versions stand beside each other again."""
    from node.people.studies import withdraw

    db, _ = open_node(read_settings(config), action="study withdraw", subject=opaque(study))
    taken_back = withdraw(db, study, by=by, at=now())
    out.print(f"{taken_back} decisions about study {study} taken back", highlight=False)
