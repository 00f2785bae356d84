"""What was received and what was reported, as it stands in the database: messages, reports."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from node.clock import now
from node.commands.shell import AsJson, Config, note, open_node, out, print_json, print_table
from node.run.program import read_settings

app = typer.Typer()
messages_app = typer.Typer(help="Stored HL7 messages: what was received, and how it is read.", no_args_is_help=True)
app.add_typer(messages_app, name="messages")
report_app = typer.Typer(help="Past reports, exactly as they were.", no_args_is_help=True)
app.add_typer(report_app, name="report")

Night = Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="The night's date.")]


@messages_app.command("show")
def messages_show(
    message_id: Annotated[str, typer.Argument(help="The id of the message, as the view `messages` has it.")],
    config: Config = None,
) -> None:
    """Show one message as JSON: when it came, what was made of it, how it is read today, and its text."""
    from node.operate.messages import show_message

    settings = read_settings(config)
    db, _ = open_node(settings)
    found = show_message(db, settings, message_id)
    note(db, "messages show", message_id)
    print_json(found)


@messages_app.command("replay")
def messages_replay(
    message_ids: Annotated[list[str] | None, typer.Argument(help="Ids of messages; all without one.")] = None,
    config: Config = None,
) -> None:
    """Read messages anew after a rule has changed, and derive again all that depends on them."""
    from node.steps.replay import replay

    settings = read_settings(config)
    db, _ = open_node(settings, action="messages replay")
    done = replay(db, settings, message_ids or [])
    out.print(f"{done} frames read anew", highlight=False)


@report_app.command("list")
def report_list(config: Config = None, as_json: AsJson = False) -> None:
    """List all reports and notices, and how many of their mails were sent."""
    from node.nightly.reports import list_reports

    db, _ = open_node(read_settings(config), action="report list")
    rows = list_reports(db)
    if as_json:
        print_json(rows)
        return
    names = ("night", "kind", "made_at", "subject", "mails", "mails_sent")
    print_table(None, names, [[row[name] for name in names] for row in rows])


@report_app.command("show")
def report_show(
    night: Night,
    html: Annotated[bool, typer.Option("--html", help="The HTML with its figures, in place of the text.")] = False,
    recipient: Annotated[str | None, typer.Option("--recipient", help="What this one was sent, by its policy.")] = None,
    config: Config = None,
) -> None:
    """Print the report of a night exactly as it was made."""
    from node.nightly.reports import stored_mail, stored_report

    db, _ = open_node(read_settings(config), action="report show", subject=f"{night:%Y-%m-%d}")
    form: Literal["text", "html"] = "html" if html else "text"
    if recipient is None:
        sys.stdout.write(stored_report(db, night.date(), form))
    else:
        sys.stdout.write(stored_mail(db, night.date(), recipient, form))


@report_app.command("analysis")
def report_analysis(
    night: Night,
    folder: Annotated[Path, typer.Option("--out", help="Where the results go; the folder is made.")],
    config: Config = None,
) -> None:
    """Make the whole analysis of a night's cohort, as it was then, once more; files as `analyse` writes them."""
    from node.analysis.analyse import write
    from node.nightly.analysis import past_analysis

    db, _ = open_node(read_settings(config), action="report analysis", subject=f"{night:%Y-%m-%d}")
    write(past_analysis(db, night.date()), folder)
    out.print(f"written to {folder / 'report.html'} and beside it", markup=False, highlight=False, soft_wrap=True)


@report_app.command("resend")
def report_resend(night: Night, config: Config = None) -> None:
    """Queue the stored mails of a night once more; the nightly role sends them."""
    from node.nightly.reports import resend

    db, _ = open_node(read_settings(config), action="report resend", subject=f"{night:%Y-%m-%d}")
    recipients = resend(db, night.date(), now=now())
    out.print(f"queued again for {', '.join(recipients)}", markup=False, highlight=False, soft_wrap=True)
