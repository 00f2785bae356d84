"""A role that dies again and again is said to the administrator, once a day."""

from datetime import datetime

from sqlite_utils import Database

from node.outgoing.mail import notify_administrator
from node.settings import Settings
from node.store.database import writing
from node.store.presence import presences

RESTARTS = "restarts"
"""Kind of the notice."""


def report_restarts(db: Database, settings: Settings, *, now: datetime) -> None:
    """Queue a notice when roles of this node have ended many times in the last day without being asked."""
    unsteady = [one for one in presences(settings.storage.folder) if one.is_unsteady(now)]
    if not unsteady:
        return
    day = now.astimezone(settings.site.zone).date()
    roles = "\n".join(f"  {one.name}: {one.recent_failures(now)} times" for one in unsteady)
    text = (
        "Parts of this node have ended in the last 24 hours without being asked, and were started again:\n"
        f"{roles}\n"
        "What was acknowledged is stored, and what they had not finished is done again. The log of the node says\n"
        "why they ended (too little memory, a full disk, a fault); `vbq-node doctor` checks what it can. This\n"
        "notice comes at most once a day.\n"
    )
    subject = f"VBQ {settings.site.name} {day}: {', '.join(one.name for one in unsteady)} restarted many times"
    with writing(db):
        notify_administrator(db, settings, kind=RESTARTS, day=day, subject=subject, text=text, now=now)
