"""Whether the node is backed up: when it was last, and whether that is too long ago or has failed."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlite_utils import Database

from node.clock import from_text
from node.settings import Backup
from node.store.reasons import loaded


@dataclass(frozen=True, kw_only=True)
class BackupState:
    """What is known of the backups."""

    last_at: datetime | None
    """When the last one that is whole was begun: as of then everything is in it."""
    ok: bool
    sentence: str


def backup_state(db: Database, choice: Backup, *, now: datetime) -> BackupState:
    """When the node was backed up last, and whether a person has to look.

    A node without ``backup.folder`` is not expected to be backed up by itself; what failed by hand counts all the same.
    """
    done = db.execute("SELECT max(began_at) FROM state_backup WHERE status = 'done'").fetchone()[0]
    last_at = from_text(done) if done else None
    ended = db.execute(
        "SELECT status, reasons FROM state_backup WHERE status <> 'running' ORDER BY backup_id DESC LIMIT 1"
    ).fetchone()
    faults = [reason.words() for reason in loaded(ended[1])] if ended else []
    if choice.folder is not None:
        since = last_at or from_text(db.execute("SELECT value FROM fact_site WHERE name = 'made_at'").fetchone()[0])
        hours = (now - since) / timedelta(hours=1)
        if hours > choice.alert_after_hours:
            faults.append(f"none for {hours:.0f} hours" if last_at else "there is none yet")
        elif last_at and last_at > now:
            faults.append("the last one is of the future: the clock was ahead, or is behind")
    said = f"last {last_at:%Y-%m-%d %H:%M} UTC" if last_at else "none yet"
    if choice.folder is None and last_at is None and not faults:
        said = "no backup.folder is set, and none was made: nothing is backed up"
    return BackupState(last_at=last_at, ok=not faults, sentence="; ".join([said, *faults]))
