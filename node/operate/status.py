"""What arrived, what is pending, what needs a person: all of it queries, nothing kept in memory."""

import shutil
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

from sqlite_utils import Database

from node.clock import to_text
from node.operate.backup_state import backup_state
from node.operate.erase import unfinished as unfinished_erasure
from node.operate.upgrade import unfinished
from node.settings import Settings
from node.steps.pending import pending
from node.store.derivation import again_since
from node.store.presence import SUPERVISOR, presences

COUNTS = {
    "objects received": "SELECT count(*) FROM fact_object",
    "objects received again": "SELECT (SELECT count(*) FROM fact_object_receipt) - (SELECT count(*) FROM fact_object)",
    "objects in quarantine": "SELECT count(*) FROM derived_problem WHERE step = 'index' AND code <> 'corrected'",
    "series": "SELECT count(*) FROM derived_series",
    "series incomplete": "SELECT count(*) FROM derived_series WHERE completeness = 'incomplete' AND stale = 0",
    "lumbar T1 series chosen": "SELECT count(*) FROM derived_series WHERE chosen = 1",
    "series without a patient id": "SELECT count(*) FROM derived_series WHERE patient_id IS NULL",
    "series measured": "SELECT count(DISTINCT series_instance_uid) FROM derived_measurement WHERE status = 'measured'",
    "series waiting for a measurement": "SELECT count(*) FROM series WHERE state = 'waiting for a measurement'",
    "messages received": "SELECT count(*) FROM fact_frame",
    "messages used": "SELECT count(*) FROM derived_message WHERE status = 'used'",
    "messages held": "SELECT count(*) FROM derived_message WHERE status = 'held'",
    "messages refused": "SELECT count(*) FROM derived_message WHERE status = 'refused'",
    "blood counts": "SELECT count(*) FROM derived_blood_count",
    "operations": "SELECT count(*) FROM derived_operation WHERE cancelled = 0",
    "operations linked": "SELECT count(*) FROM derived_link WHERE status = 'linked'",
    "operations incomplete": "SELECT count(*) FROM derived_link WHERE status = 'incomplete'",
    "operations held": "SELECT count(*) FROM derived_link WHERE status = 'held'",
    "imported rows": "SELECT count(*) FROM derived_import_row",
    "cohort rows eligible": "SELECT count(*) FROM cohort WHERE eligible = 1",
    "problems": "SELECT count(*) FROM problems",
    "units of work failed": "SELECT count(*) FROM state_failure WHERE final = 1",
    "objects to be sent on": "SELECT count(*) FROM state_outgoing WHERE kind = 'forward' AND status = 'waiting'",
    "mails waiting": "SELECT count(*) FROM state_outgoing WHERE kind = 'mail' AND status = 'waiting'",
    "images removed by retention": "SELECT count(*) FROM fact_removal WHERE kind = 'image'",
    "messages removed by retention": "SELECT count(*) FROM fact_removal WHERE kind = 'message'",
    "reports removed by retention": "SELECT count(*) FROM fact_removal WHERE kind = 'report'",
    "mails undeliverable": "SELECT count(*) FROM state_outgoing WHERE kind = 'mail' AND status = 'dead'",
}
"""The counts of ``vbq-node status``, of the metrics and of nothing else."""


def counts(db: Database) -> dict[str, int]:
    """What there is, by name."""
    return {name: int(db.execute(sql).fetchone()[0]) for name, sql in COUNTS.items()}


def node_presence(folder: Path, *, now: datetime) -> dict[str, object]:
    """Whether the node runs and since when, and each of its roles; without the database, whatever state that is in."""
    found = presences(folder)
    roles = [one for one in found if one.name != SUPERVISOR]
    up = [one for one in found if one.running]
    since = min((one.since for one in up if one.since), default=None)
    return {
        "running": bool(up),
        "since": to_text(since) if since else None,
        "roles": {
            one.name: {
                "running": one.running,
                "since": to_text(one.since) if one.running and one.since else None,
                "ended_unasked_last_day": one.recent_failures(now),
                "many_restarts": one.is_unsteady(now),
                "stalled": one.stalled_for(now) is not None,
            }
            for one in roles
        },
    }


def presence_in_words(folder: Path, *, now: datetime, zone: tzinfo = UTC) -> list[tuple[bool, str]]:
    """What a person has to know of it: whether it is as it should be, and a sentence with the times of a zone."""
    roles = [one for one in presences(folder) if one.name != SUPERVISOR]
    up = [one for one in roles if one.running]
    if not roles:
        return [(True, "has not been started on this folder yet")]
    if not up:
        last = max((one.since for one in roles if one.since), default=None)
        return [(False, f"is not running; it was started last at {_local(last, zone) if last else 'an unknown time'}")]
    since = min((one.since for one in up if one.since), default=now)
    found = [(True, f"runs since {_local(since, zone)}: {', '.join(one.name for one in up)}")]
    if down := [one.name for one in roles if not one.running]:
        found.append((False, f"these of its roles are not running: {', '.join(down)}"))
    found += [
        (
            False,
            f"the role {one.name} has not come round for {silent // timedelta(minutes=1)} minutes: it hangs; end its "
            "process, and it is started again",
        )
        for one in roles
        if (silent := one.stalled_for(now)) is not None
    ]
    return found + [
        (
            False,
            f"the role {one.name} has ended {one.recent_failures(now)} times in the last day without being asked and "
            "was started again; the log says why",
        )
        for one in roles
        if one.is_unsteady(now)
    ]


def _local(moment: datetime, zone: tzinfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M %Z}"


def needs_a_person(db: Database, settings: Settings, *, now: datetime) -> list[str]:
    """What a person has to look at, a sentence each; none: all is well."""
    found = [
        sentence
        for fine, sentence in presence_in_words(settings.storage.folder, now=now, zone=settings.site.zone)
        if not fine
    ]
    (problems,) = db.execute("SELECT count(*) FROM problems").fetchone()
    if problems:
        found.append(f"{problems} problems: `vbq-node problems`")
    (reviews,) = db.execute(
        "SELECT count(*) FROM derived_measurement WHERE status = 'review' AND source = 'auto' AND current = 1"
    ).fetchone()
    if reviews:
        found.append(f"{reviews} series wait for a reading")
    (failed,) = db.execute(
        "SELECT count(*) FROM state_run WHERE kind = 'nightly' AND status = 'failed' AND started_at <= ?",
        [to_text(now)],
    ).fetchone()
    if failed:
        found.append(f"{failed} nights failed")
    for left in (unfinished(settings.storage.folder), unfinished_erasure(settings.storage.folder)):
        if left is not None:
            found.append(left)
    backup = backup_state(db, settings.backup, now=now)
    if not backup.ok:
        found.append(f"backup: {backup.sentence}")
    free_mb = shutil.disk_usage(settings.storage.folder).free / 1e6
    if free_mb < 2 * settings.storage.keep_free_mb:
        found.append(f"{free_mb:.0f} MB are free; below {settings.storage.keep_free_mb} images are refused")
    return found


def status(db: Database, settings: Settings, *, now: datetime) -> dict[str, object]:
    """Everything ``vbq-node status --json`` shows."""
    night = db.execute(
        "SELECT night, status, finished_at, detail FROM state_run "
        "WHERE kind = 'nightly' AND coalesce(finished_at, started_at) <= ? ORDER BY night DESC LIMIT 1",
        [to_text(now)],
    ).fetchone()
    version = db.execute(
        "SELECT version FROM thresholds WHERE state = 'adopted' ORDER BY version DESC LIMIT 1"
    ).fetchone()
    backup = backup_state(db, settings.backup, now=now)
    return {
        "at": to_text(now),
        "node": node_presence(settings.storage.folder, now=now),
        "last_backup_at": to_text(backup.last_at) if backup.last_at else None,
        "needs_a_person": needs_a_person(db, settings, now=now),
        "backup": {"ok": backup.ok, "words": backup.sentence},
        "counts": counts(db),
        "pending": pending(db),
        "last_object_received_at": db.execute("SELECT max(received_at) FROM fact_object_receipt").fetchone()[0],
        "last_message_received_at": db.execute("SELECT max(received_at) FROM fact_frame_receipt").fetchone()[0],
        "deriving_again_since": again_since(db),
        "last_night": dict(zip(("night", "status", "finished_at", "detail"), night, strict=True)) if night else None,
        "threshold_version": version[0] if version else None,
    }
