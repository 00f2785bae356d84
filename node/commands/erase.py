"""Erase a person, the legal hold that forbids it, and retention."""

from typing import Annotated

import typer

from node.clock import now
from node.commands.shell import AsJson, Config, open_node, out, print_json, some_words
from node.run.program import read_settings

app = typer.Typer()
PLURALS = {"study": "studies", "message": "messages", "report": "reports"}
LOG_NOT_CUT = "somebody reads the database; until that ends, its write-ahead log holds the patient"

Patient = Annotated[
    str,
    typer.Argument(help="The patient number (AUTHORITY|NUMBER where not the default one), or a study id (P…)."),
]
PatientOrItem = Annotated[
    str,
    typer.Argument(
        metavar="patient",
        help="The patient number (AUTHORITY|NUMBER where not the default one), or a study id (P…); or one thing that "
        "an erasure has listed: 'message ID', 'series UID', 'object ID', 'imported table N'.",
    ),
]
By = Annotated[str, typer.Option("--by", callback=some_words, help="Who decides; it stays.")]
Why = Annotated[
    str, typer.Option("--why", callback=some_words, help="The reason; it stays, so do not name the patient in it.")
]


@app.command()
def erase(patient: PatientOrItem, by: By, why: Why, config: Config = None, as_json: AsJson = False) -> None:
    """Take a person out of the node: files, messages, readings, results, flags, mails, and all that was derived.

    Fits stay as numbers, without the person's row in what was fitted; of a report or mail that named the person stay
    subject and counts. A tombstone stays: who, when, why, how many of what, and hashes. Exit code 3: something is left
    for a person to do (backups, tables, and messages and images of others that name the patient); it is listed.
    """
    from node.operate.erase import erase as erase_person

    settings = read_settings(config)
    db, _ = open_node(settings, action="erase")
    done = erase_person(db, settings, patient, by=by, why=why, now=now())
    left = [
        *(f"still names the patient: {one}" for one in done.still),
        *(f"others may have of the patient: {one}" for one in done.elsewhere),
        *(f"may still hold the patient: backup {one}" for one in done.backups),
        *([] if done.log_cut else [LOG_NOT_CUT]),
    ]
    if as_json:
        print_json({"erased": done.counts, "left": left})
    else:
        for line in (", ".join(f"{number} {name}" for name, number in done.counts.items() if number), *left):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    if left:
        raise typer.Exit(3)


@app.command()
def hold(
    patient: Patient,
    by: By,
    why: Why,
    release: Annotated[bool, typer.Option("--release", help="Lift the hold.")] = False,
    config: Config = None,
) -> None:
    """Forbid that a patient is erased (legal hold), or with --release allow it again."""
    from node.operate.erase import hold as hold_person

    settings = read_settings(config)
    db, _ = open_node(settings, action="hold released" if release else "hold")
    numbers = hold_person(db, settings, patient, by=by, why=why, release=release, now=now())
    out.print(f"{'released' if release else 'held'}: {len(numbers)} patient numbers", highlight=False)


@app.command()
def retention(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go now, and why the rest stays.")
    ] = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Remove what is done with, by the days of the settings, as the nights do. Exit code 3: put off, it says why.

    Scores, counts, flags, fits and sums stay; so does what is in doubt, on hold, not reported, or of a person whose
    operation is to come.
    """
    from node.nightly.retention import look, put_off_nightly, tidy

    settings = read_settings(config)
    db, _ = open_node(settings, action="" if dry_run else "retention")
    if dry_run:
        found = look(db, settings, now=now())
        if as_json:
            print_json([{"kind": one.kind, "rule": one.rule, "due": len(one.due), "stays": one.stays} for one in found])
            return
        lines = [
            f"{one.rule}: {len(one.due)} {PLURALS[one.kind]} would go"
            + "".join(f"; {number} of that age stay: {why}" for why, number in one.stays.items())
            for one in found
        ]
        if waits := put_off_nightly(db, settings, now=now()):
            lines.append(f"put off by the nights: {waits}")
        for line in lines or ["no rule is set: nothing is removed"]:
            out.print(line, markup=False, highlight=False, soft_wrap=True)
        return
    done = tidy(db, settings, now=now())
    if as_json:
        print_json({"removed": done.counts, "bytes": done.bytes, "waits": done.waits})
    else:
        said = ", ".join(f"{number} {what}" for what, number in done.counts.items() if number) or "nothing"
        out.print(f"removed: {said} ({done.bytes / 1e6:.0f} MB)", markup=False, highlight=False)
        if done.waits:
            out.print(f"put off: {done.waits}", markup=False, highlight=False)
    if done.waits:
        raise typer.Exit(3)
