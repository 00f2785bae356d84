"""Questions: what a message says, what arrived, what needs a person, what a cohort tells."""

import json
import sys
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer

from node.clock import from_text, now
from node.commands.shell import AsJson, Config, MappingFile, err, open_node, out, print_json, print_table
from node.errors import InputError
from node.run.program import read_settings
from node.settings import Settings

app = typer.Typer()


@app.command()
def interpret(
    files: Annotated[list[Path], typer.Argument(help="Files with HL7 v2 messages, as received.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show what the listener would make of HL7 files; nothing is stored. One JSON object a message, a line each.

    Each message is judged by itself: what is usual of its sender and of the patient, and whose it is, the node judges
    once it is received.
    """
    from node.hl7.report import interpretation_json

    settings = read_settings(config)
    for file in files:
        try:
            raw = file.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {file}: {error.strerror}") from error
        for message in interpretation_json(raw, settings):
            if as_json:
                sys.stdout.write(json.dumps(message, ensure_ascii=False) + "\n")
            else:
                out.console.print_json(data=message)


@app.command()
def status(config: Config = None, as_json: AsJson = False) -> None:
    """Show what arrived, what is pending and what needs a person. Times are local; in JSON they are UTC.

    Exit code 3 when something needs a person: a role that is down, problems, readings that wait, a night or a backup
    that failed, a disk that is nearly full.
    """
    from node.operate.status import status as node_status

    settings = read_settings(config)
    db, _ = open_node(settings)
    found = node_status(db, settings, now=now())
    left = found["needs_a_person"]
    if as_json:
        print_json(found)
    else:
        _print_status(found, settings)
    if left:
        raise typer.Exit(3)


def _print_status(found: Mapping[str, object], settings: Settings) -> None:
    from node.operate.status import presence_in_words

    folder = settings.storage.folder

    def local(moment: object) -> str:
        return f"{from_text(str(moment)).astimezone(settings.site.zone):%Y-%m-%d %H:%M %Z}" if moment else "–"

    left = found["needs_a_person"]
    rows: list[tuple[str, object]] = (
        [("needs a person", sentence) for sentence in left] if isinstance(left, list) else []
    )
    rows += [("node", sentence) for _, sentence in presence_in_words(folder, now=now(), zone=settings.site.zone)]
    for group in ("counts", "pending"):
        values = found[group]
        if isinstance(values, dict):
            rows += [(name if group == "counts" else f"pending: {name}", number) for name, number in values.items()]
    if found["deriving_again_since"] is not None:
        rows.append(("everything derived again since", local(found["deriving_again_since"])))
    for name in ("last_object_received_at", "last_message_received_at", "last_backup_at"):
        rows.append((name.removesuffix("_at").replace("_", " "), local(found[name])))
    rows.append(("threshold version", found["threshold_version"] or "–"))
    backup = found["backup"]
    if isinstance(backup, dict):
        rows.append(("backup", backup["words"]))
    night = found["last_night"]
    words = "–"
    if isinstance(night, dict):
        words = f"{night['night']} {night['status'].upper() if night['status'] == 'failed' else night['status']}"
        words += f": {night['detail']}" if night["detail"] else ""
    rows.append(("last night", words))
    print_table(f"vbq-node, {settings.site.name}", ("what", "number"), rows)


@app.command()
def problems(
    config: Config = None,
    as_json: AsJson = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="First have everything that the software failed on tried again.")
    ] = False,
) -> None:
    """List everything that needs a person: what was refused, held, doubtful or undeliverable, and why."""
    from node.store.failures import ask_again

    settings = read_settings(config)
    db, _ = open_node(settings, action="problems")
    if retry:
        again = ask_again(db)
        err.print(f"{again} to be tried again; the steps do it", markup=False, highlight=False)
    rows = list(db.query("SELECT step, source, code, detail FROM problems ORDER BY step, source, code, detail"))
    if as_json:
        found = db.query("SELECT * FROM problems ORDER BY step, source, code, detail")
        print_json([{**row, "reason_codes": json.loads(row["reason_codes"])} for row in found])
        return
    print_table(f"{len(rows)} problems", ("step", "what", "problem", "why"), [tuple(row.values()) for row in rows])


@app.command()
def refusals(
    config: Config = None,
    as_json: AsJson = False,
    forget: Annotated[bool, typer.Option("--forget", help="Forget them once they are shown.")] = False,
) -> None:
    """List whom the receivers did not let in and what they did not take: why, how often, when (30 days)."""
    from node.dicom.refusals import forget_refusals, list_refusals

    db, _ = open_node(read_settings(config))
    rows = list_refusals(db)
    if as_json:
        print_json(rows)
    else:
        names = ("peer", "calling", "called", "problem", "why", "times", "first", "last", "let in since")
        print_table(f"{len(rows)} refusals", names, [tuple(row.values()) for row in rows])
    if forget:
        forget_refusals(db)


@app.command()
def doctor(config: Config = None, as_json: AsJson = False) -> None:
    """Check settings, folder, disk, ports, peers (C-ECHO), mail and time zone. Exit code 1 when something is wrong."""
    from node.operate.doctor import examine

    findings = examine(read_settings(config))
    if as_json:
        print_json([{"check": f.check, "ok": f.ok, "detail": f.detail} for f in findings])
    else:
        for finding in findings:
            out.print(
                f"{'ok   ' if finding.ok else 'WRONG'} {finding.check}: {finding.detail}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command()
def rescans(
    days: Annotated[int, typer.Option("--days", min=1, help="The most between two MRIs of one patient.")] = 90,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show how far VBQ varies from day to day at this site, and how far its scanners lie apart.

    From patients with two MRIs in the archive and no operation between. Nothing is judged by it until a person adopts
    it (`corrections adopt`).
    """
    from analytics.paper.rescans import DayToDay
    from analytics.paper.rescans import rescans as judged
    from node.analysis.rescans import pairs

    settings = read_settings(config)
    db, _ = open_node(settings)
    found = judged(pairs(db, settings, longest_days=days))
    if as_json:
        print_json(found.to_json_dict())
        return
    one = found.day_to_day
    if isinstance(one, DayToDay):
        line = (
            f"{one.n} patients twice on one scanner, median {one.days:.0f} days apart: within-subject SD {one.sd:.3f} "
            f"(95 % CI {one.sd_ci_low:.3f} to {one.sd_ci_high:.3f}), CV {one.cv:.3f}, ICC {one.icc.icc:.3f} "
            f"({one.icc.ci_low:.3f} to {one.icc.ci_high:.3f})"
        )
    else:
        line = str(one)
    out.print(line, markup=False, highlight=False, soft_wrap=True)
    rows = [
        (one.scanner, one.reference, one.n, f"{one.offset:+.3f}", f"{one.ci_low:+.3f} to {one.ci_high:+.3f}")
        for one in found.offsets
    ]
    if rows:
        print_table("Patients measured on two scanners", ("scanner", "above", "n", "VBQ", "95 % CI"), rows)


@app.command()
def analyse(
    cohort: Annotated[Path, typer.Argument(help="A cohort table in any form that `import` takes.")],
    folder: Annotated[Path, typer.Option("--out", help="Where the results go; the folder is made.")],
    cut: Annotated[
        float | None, typer.Option("--cut", help="VBQ at or above it is high; the cohort's median without it.")
    ] = None,
    clipped: Annotated[
        float, typer.Option("--clipped", min=0.001, max=0.25, help="Share of each ratio clipped on each side.")
    ] = 0.01,
    outcome: Annotated[
        str | None,
        typer.Option("--outcome", help="Column of 1 and 0 that VBQ and the ratios are judged against (ROC, Youden)."),
    ] = None,
    readings: Annotated[
        Path | None,
        typer.Option(
            "--readings", help="CSV of a subject and each reader's VBQ, for their agreement; one may be `automatic`."
        ),
    ] = None,
    mapping: MappingFile = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstraps.")] = 1,
) -> None:
    """Run the paper's whole analysis on a cohort table: JSON, tables, figures and one report.html; nothing is stored.

    Exit code 0 when every part could be computed, 3 when some could not (they are listed with the reason).
    """
    from analytics.paper.analysis import Choices
    from node.analysis.analyse import analyse_file, write
    from node.people.cohort_rows import in_lines
    from node.people.files.mapping import read_mapping_file

    if cut is not None and not isfinite(cut):
        raise InputError(f"VBQ has no group at or above {cut}")
    said = read_mapping_file(mapping)[0] if mapping is not None else ""
    choices = Choices(seed=seed, cut=cut, clipped=clipped, outcome=outcome)
    done = analyse_file(cohort, choices, readings=readings, mapping=said)
    write(done, folder)
    refusals, alerts = done.analysis.refusals(), done.analysis.alerts()
    lines = [
        f"{done.rows} rows: {done.refused} refused, {done.not_eligible} excluded, {done.eligible} analysed",
        *(f"  not given: {text}" for text in refusals),
        *(f"  look at: {text}" for text in alerts),
        *in_lines(done.problems_by_reason, done.excluded_by_reason),
        f"written to {folder / 'report.html'} and beside it",
    ]
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    if refusals:
        raise typer.Exit(3)


@app.command()
def agreement(config: Config = None, as_json: AsJson = False) -> None:
    """Show how far the readers of this node agree, with each other and with the automatic measurement."""
    from analytics.paper.readers import compare_readers
    from node.analysis.agreement import stored_readings
    from node.analysis.agreement_tables import agreement_tables

    settings = read_settings(config)
    db, _ = open_node(settings, action="agreement")
    stored = stored_readings(db, form=settings.measurement.form)
    report = compare_readers(stored.table)
    if as_json:
        print_json({"approved_left_out": stored.approved, **report.to_json_dict()})
        return
    for table in agreement_tables(report):
        print_table(table.title, table.columns, table.rows)
        out.print(table.note, markup=False, highlight=False)
    for doubt in report.doubts:
        out.print(doubt.words(), markup=False, highlight=False, soft_wrap=True)
    if stored.approved:
        out.print(f"{stored.approved} approved automatic measurements are no readings of their own", highlight=False)
