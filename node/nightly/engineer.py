"""What an engineer is needed for, told to the administrator and to nobody else, when it is not what was told last."""

from datetime import datetime

from sqlite_utils import Database

from node.nightly.report import Content
from node.nightly.sections.waiting import WaitingForAPerson
from node.outgoing.mail import notify_administrator
from node.settings import Settings

ENGINEER = "engineer"
"""Kind of the notice."""
LAST = "SELECT text FROM record_report WHERE kind = ? ORDER BY night DESC LIMIT 1"


def tell_engineer(db: Database, settings: Settings, content: Content, *, now: datetime) -> None:
    """Queue the notice, inside the night's unit of work. Without an administrator it stands in the report alone."""
    waiting = content.section(WaitingForAPerson).for_the_engineer
    if not waiting or not settings.mail.administrator:
        return
    lines = [f"- {one.what}: {one.why}" for one in waiting]
    text = "\n".join(["What waits for an engineer or a reader:", "", *lines, ""])
    last = db.execute(LAST, [ENGINEER]).fetchone()
    if last is not None and last[0] == text:
        return
    subject = f"VBQ {content.site} {content.night}: {len(waiting)} kinds of things wait for an engineer or a reader"
    notify_administrator(db, settings, kind=ENGINEER, day=content.night, subject=subject, text=text, now=now)
