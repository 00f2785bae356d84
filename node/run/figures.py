"""What Prometheus is told: one quantity for each metric, in base units, each a query on the database.

The names keep to Prometheus's rules: ``_total`` for what only grows, ``_timestamp_seconds`` for a moment, ``_bytes``,
``_ratio``. Labels are kinds and codes, never of a patient.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from sqlite_utils import Database

from analytics.vbq.version import AUTOMATIC_NAME, AUTOMATIC_VERSION
from node import __version__
from node.clock import now as clock_now
from node.errors import StoreError
from node.operate.backup_state import backup_state
from node.operate.certificates import certificates
from node.settings import Settings
from node.steps.pending import pending
from node.store.database import DATABASE_NAME
from node.store.presence import WITHOUT_ROUNDS, presences
from node.store.schema import newest
from node.store.snapshot import snapshot_path

PREFIX = "vbq_node_"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A metric by its query: a row for each combination of labels, the value last."""

    name: str
    help: str
    sql: str
    labels: tuple[str, ...] = ()
    grows: bool = False


FIGURES = (
    Figure(
        name="objects_received",
        help="DICOM objects received, each content once",
        sql="SELECT count(*) FROM fact_object",
        grows=True,
    ),
    Figure(
        name="object_receipts",
        help="C-STORE acknowledged, the same object again too",
        sql="SELECT count(*) FROM fact_object_receipt",
        grows=True,
    ),
    Figure(name="messages_received", help="HL7 frames received", sql="SELECT count(*) FROM fact_frame", grows=True),
    Figure(
        name="last_object_received_timestamp_seconds",
        help="When a DICOM object came last, by calling AE title",
        sql="SELECT calling_ae, unixepoch(max(received_at)) FROM fact_object_receipt GROUP BY calling_ae",
        labels=("calling_ae",),
    ),
    Figure(
        name="last_message_received_timestamp_seconds",
        help="When an HL7 frame came last, by address",
        sql="SELECT peer_address, unixepoch(max(received_at)) FROM fact_frame_receipt GROUP BY peer_address",
        labels=("address",),
    ),
    Figure(
        name="objects_quarantined",
        help="Objects that cannot be taken in",
        sql="SELECT count(*) FROM derived_problem WHERE step = 'index' AND code <> 'corrected'",
    ),
    Figure(
        name="series",
        help="Series, by completeness",
        sql="SELECT completeness, count(*) FROM derived_series GROUP BY completeness",
        labels=("completeness",),
    ),
    Figure(
        name="measurements",
        help="Measurements of series as they stand, by status",
        sql="SELECT status, count(*) FROM derived_measurement WHERE current = 1 GROUP BY status",
        labels=("status",),
    ),
    Figure(
        name="messages",
        help="HL7 messages, by status",
        sql="SELECT status, count(*) FROM derived_message GROUP BY status",
        labels=("status",),
    ),
    Figure(name="blood_counts", help="Blood counts", sql="SELECT count(*) FROM derived_blood_count"),
    Figure(
        name="operations",
        help="Operations, by the status of their link",
        sql="SELECT status, count(*) FROM derived_link GROUP BY status",
        labels=("status",),
    ),
    Figure(
        name="cohort_rows",
        help="Rows of the cohort, by whether they enter the model",
        sql="SELECT iif(eligible, 'yes', 'no'), count(*) FROM cohort GROUP BY eligible",
        labels=("eligible",),
    ),
    Figure(
        name="problems",
        help="What needs a person, by kind",
        sql="SELECT code, count(*) FROM problems GROUP BY code",
        labels=("code",),
    ),
    Figure(
        name="reviews_waiting",
        help="Series whose measurement waits for a person",
        sql="SELECT count(*) FROM derived_measurement WHERE status = 'review' AND source = 'auto' AND current = 1",
    ),
    Figure(
        name="oldest_review_timestamp_seconds",
        help="When the last image came of the series that has waited longest for a person",
        sql="SELECT unixepoch(min(s.last_received_at)) FROM derived_measurement AS m "
        "JOIN derived_series AS s USING (series_instance_uid) "
        "WHERE m.status = 'review' AND m.source = 'auto' AND m.current = 1",
    ),
    Figure(
        name="units_failed",
        help="Units of work on which this version of the software fails",
        sql="SELECT count(*) FROM state_failure WHERE final = 1",
    ),
    Figure(
        name="outgoing",
        help="What is to be sent, by kind and whether it waits or was given up",
        sql="SELECT kind, status, count(*) FROM state_outgoing WHERE status <> 'done' GROUP BY kind, status",
        labels=("kind", "status"),
    ),
    Figure(
        name="oldest_outgoing_timestamp_seconds",
        help="Since when the oldest waits that is to be sent, by kind",
        sql="SELECT kind, unixepoch(min(enrolled_at)) FROM state_outgoing WHERE status = 'waiting' GROUP BY kind",
        labels=("kind",),
    ),
    Figure(
        name="refusals",
        help="Connections and objects that were refused within a month, by kind",
        sql="SELECT code, sum(times) FROM state_refusal GROUP BY code "
        "UNION ALL SELECT 'object-cut-off', times FROM (SELECT sum(times) AS times FROM state_cut_off) WHERE times > 0",
        labels=("code",),
    ),
    Figure(
        name="removed",
        help="What retention has removed, by kind",
        sql="SELECT kind, count(*) FROM fact_removal GROUP BY kind",
        labels=("kind",),
        grows=True,
    ),
    Figure(
        name="last_retention_timestamp_seconds",
        help="When retention was at work last, and found something to remove or nothing",
        sql="SELECT unixepoch(max(finished_at)) FROM state_run WHERE kind = 'retention' AND status = 'done' "
        "AND unixepoch(finished_at) <= unixepoch(:now)",
    ),
    Figure(
        name="last_night_timestamp_seconds",
        help="When the last night was done",
        sql="SELECT unixepoch(max(finished_at)) FROM state_run WHERE kind = 'nightly' AND status = 'done' "
        "AND unixepoch(finished_at) <= unixepoch(:now)",
    ),
    Figure(
        name="nights_failed",
        help="Nights that failed and have not been done since",
        sql="SELECT count(*) FROM state_run WHERE kind = 'nightly' AND status = 'failed'",
    ),
)


def figures(db: Database, *, now: datetime) -> Iterator[Metric]:
    """The metrics that are queries; one without a value is left out."""
    for one in FIGURES:
        kind = CounterMetricFamily if one.grows else GaugeMetricFamily
        family = kind(PREFIX + one.name, one.help, labels=one.labels)
        for *labels, value in db.execute(one.sql, {"now": now.isoformat()} if ":now" in one.sql else {}).fetchall():
            if value is not None:
                family.add_metric([str(label) for label in labels], value)
        yield family
    left = GaugeMetricFamily(PREFIX + "units_pending", "Units of work that a step still has", labels=["step"])
    for what, number in pending(db).items():
        left.add_metric([what], number)
    yield left


def of_the_machine(settings: Settings, *, now: datetime) -> Iterator[Metric]:
    """The metrics for which no database is needed."""
    folder = settings.storage.folder
    build = GaugeMetricFamily(PREFIX + "build_info", "What runs", labels=["version", "schema", "measurement"])
    build.add_metric([__version__, str(newest()), f"{AUTOMATIC_NAME} {AUTOMATIC_VERSION}"], 1)
    up = GaugeMetricFamily(PREFIX + "role_up", "Whether the role runs", labels=["role"])
    ended = GaugeMetricFamily(
        PREFIX + "role_ended_last_day", "How often the role ended in the last day without being asked", labels=["role"]
    )
    rounds = GaugeMetricFamily(
        PREFIX + "role_last_round_timestamp_seconds", "When the main loop of the role came round last", labels=["role"]
    )
    for one in presences(folder):
        up.add_metric([one.name], one.running)
        ended.add_metric([one.name], one.recent_failures(now))
        if one.running and one.last_round is not None and one.name not in WITHOUT_ROUNDS:
            rounds.add_metric([one.name], one.last_round.timestamp())
    yield from (build, up, ended, rounds)
    disk = shutil.disk_usage(folder)
    yield GaugeMetricFamily(PREFIX + "disk_free_bytes", "Free on the disk of the data folder", value=disk.free)
    yield GaugeMetricFamily(PREFIX + "disk_size_bytes", "Size of the disk of the data folder", value=disk.total)
    files = {"database": folder / DATABASE_NAME, "wal": folder / f"{DATABASE_NAME}-wal"}
    sizes = GaugeMetricFamily(PREFIX + "file_bytes", "Size of the database and its write-ahead log", labels=["file"])
    for name, path in files.items():
        sizes.add_metric([name], _size(path))
    yield sizes
    if (made := _changed(snapshot_path(folder))) is not None:
        yield GaugeMetricFamily(PREFIX + "last_snapshot_timestamp_seconds", "When the snapshot was made", value=made)
    expiry = GaugeMetricFamily(
        PREFIX + "certificate_expiry_timestamp_seconds", "When the certificate ends", labels=["setting"]
    )
    readable = GaugeMetricFamily(
        PREFIX + "certificate_readable", "Whether the certificate file is there and can be read", labels=["setting"]
    )
    for certificate in certificates(settings):
        readable.add_metric([certificate.setting], certificate.ends_at is not None)
        if certificate.ends_at is not None:
            expiry.add_metric([certificate.setting], certificate.ends_at.timestamp())
    yield from (expiry, readable)


def of_backups(db: Database, settings: Settings, *, now: datetime) -> Iterator[Metric]:
    """Whether and when the node was backed up."""
    backup = backup_state(db, settings.backup, now=now)
    yield GaugeMetricFamily(
        PREFIX + "backup_ok", "Whether the node is backed up, lately and without a fault", value=backup.ok
    )
    if backup.last_at is not None:
        yield GaugeMetricFamily(
            PREFIX + "last_backup_timestamp_seconds", "As of when the last backup is", value=backup.last_at.timestamp()
        )


def not_ready(db: Database | StoreError, settings: Settings) -> list[str]:
    """Why the node does not do its work, a line each; none: it does."""
    roles = presences(settings.storage.folder)
    faults = [f"role {one.name} does not run" for one in roles if not one.running]
    faults += [f"role {one.name} hangs" for one in roles if one.stalled_for(clock_now()) is not None]
    if isinstance(db, StoreError):
        faults.append("the database cannot be used")
    free_mb = shutil.disk_usage(settings.storage.folder).free / 1e6
    if free_mb < settings.storage.keep_free_mb:
        faults.append(f"{free_mb:.0f} MB are free, below storage.keep_free_mb: images are refused")
    return faults


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
