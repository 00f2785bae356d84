"""Retention: what is done with is removed after the days that the settings say, and a tombstone stays in its place.

A study goes as a whole, once it is measured and reported; of messages and reports the text goes. What is in doubt, on
hold, or of a person whose operation is to come stays, whatever its age. What had been derived is kept in the tombstone
(:mod:`node.store.removed`), so that deriving everything again arrives at the same.

Killed at any instant, a thing is removed or not: the tombstone is committed first, the file is set aside after it, and
deleted once no receiver can have taken it for stored. Whatever a kill left is done by the next run.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import structlog
from sqlite_utils import Database

from node.clock import to_text
from node.errors import StoreError
from node.outgoing.mail import without_content
from node.settings import Settings
from node.steps.lock import deriving
from node.steps.pending import ROI_ALGORITHM, UNMEASURED_READINGS
from node.steps.unmeasured import ALGORITHM
from node.steps.unmeasured import PENDING as UNMEASURED
from node.store import audit
from node.store.archive import Archive, files_alone
from node.store.database import REPORT_FOLDER, forget_wal, insert, writing
from node.store.derivation import again_since
from node.store.removed import OF_FRAME, OF_STUDY, STANDS, rows_of
from node.store.unguarded import erasing

KIND = "retention"
"""Of the runs in the ledger (``state_run``)."""
BY = "retention"
"""Stands in the audit in the place of a name."""
BATCH = {"study": 20, "message": 500, "report": 20}
"""How many are removed between two turns of the steps."""
NIGHTS_IN_A_ROW = 7
"""Nights, one each day, after which the clock is believed: one that is a year ahead would make everything old."""
SETTLED = timedelta(minutes=10)
"""How long a file waits that was set aside: a receiver that found it there has committed its receipt long before."""

Kind = Literal["study", "message", "report"]

HELD_PERSONS = """
SELECT i.person FROM derived_identifier AS i
WHERE 'held' = (SELECT h.decision FROM fact_hold AS h WHERE h.authority = i.authority AND h.patient_id = i.patient_id
                ORDER BY h.hold_id DESC LIMIT 1)
"""

STUDIES = f"""
SELECT DISTINCT s.study_instance_uid
FROM derived_series AS s
WHERE s.chosen = 1 AND s.last_received_at < :before
  AND EXISTS (SELECT 1 FROM derived_instance AS i JOIN fact_object AS o USING (object_id)
              WHERE i.study_instance_uid = s.study_instance_uid
                AND NOT EXISTS (SELECT 1 FROM fact_removal WHERE key = o.sha256 AND {STANDS}))
ORDER BY 1
"""

IMAGES = """
SELECT o.object_id, o.sha256, i.headers FROM derived_instance AS i JOIN fact_object AS o USING (object_id)
WHERE i.study_instance_uid = ? ORDER BY o.object_id
"""

OF_STUDY_SERIES = (
    "series_instance_uid IN (SELECT series_instance_uid FROM derived_series WHERE study_instance_uid = :study)"
)
OF_STUDY_IMAGES = (
    "FROM derived_instance AS i JOIN fact_object AS o USING (object_id) WHERE i.study_instance_uid = :study"
)
IN_EFFECT = (
    "(SELECT m.status FROM derived_measurement AS m WHERE m.series_instance_uid = s.series_instance_uid "
    "AND m.current = 1 ORDER BY m.reading_id DESC LIMIT 1)"
)
"""Of a row ``s`` of ``derived_series``: the newest reading; none is NULL, which comes last."""


def _named(sql: str, *names: str) -> str:
    """A query of a step with names in the place of its parameters."""
    for name in names:
        sql = sql.replace("?", f":{name}", 1)
    return sql


PERSON_OF_STUDY = (
    "SELECT i.person FROM derived_series AS s JOIN derived_identifier AS i "
    "ON i.authority = s.patient_authority AND i.patient_id = s.patient_id WHERE s.study_instance_uid = :study"
)
PERSON_OF_FRAME = (
    "SELECT i.person FROM derived_extract AS e JOIN derived_identifier AS i "
    "ON i.authority = e.authority AND i.patient_id = e.patient_id WHERE e.frame_id = :frame"
)

OF_PERSONS = {
    "on hold": f"SELECT 1 WHERE EXISTS (SELECT 1 FROM ({{persons}}) WHERE person IN ({HELD_PERSONS}))",
    "operation to come": "SELECT 1 FROM derived_operation WHERE cancelled = 0 AND planned_at >= :operated "
    "AND person IN ({persons})",
    "being derived": "SELECT 1 FROM ({persons}) WHERE person NOT IN (SELECT person FROM derived_person)",
    "in doubt": "SELECT 1 FROM derived_doubt WHERE person IN ({persons}) "
    "UNION ALL SELECT 1 FROM derived_person WHERE contradiction IS NOT NULL AND person IN ({persons})",
}
"""Why what is of a person stays; ``{persons}`` selects whom it is of."""

STUDY_STAYS = {
    "in doubt": [
        # Whose it is, and whether all of it counts.
        f"SELECT 1 FROM derived_series WHERE {OF_STUDY_SERIES} AND (patient_id IS NULL OR withheld = 1 "
        "OR withdrawn = 1 OR rejections <> '[]' OR fewer <> '[]' OR completeness = 'incomplete')",
        f"SELECT 1 {OF_STUDY_IMAGES} AND (i.content_of IS NOT NULL OR i.known_since IS NOT NULL "
        "OR i.settled_at IS NOT NULL OR i.rejected IS NOT NULL)",
        "SELECT 1 FROM derived_superseded WHERE study_instance_uid = :study",
        "SELECT 1 FROM derived_undecided WHERE study_instance_uid = :study",
        "SELECT 1 FROM derived_claim WHERE study_instance_uid = :study",
        f"SELECT 1 FROM derived_shared_pixels WHERE {OF_STUDY_SERIES}",
        f"SELECT 1 FROM fact_correction WHERE object_id IN (SELECT i.object_id {OF_STUDY_IMAGES}) "
        f"OR corrected_id IN (SELECT i.object_id {OF_STUDY_IMAGES})",
        "SELECT 1 FROM derived_instance AS i JOIN derived_instance AS other USING (series_instance_uid) "
        "WHERE i.study_instance_uid = :study AND other.study_instance_uid <> :study",
        "SELECT 1 FROM derived_unsent_series WHERE study_instance_uid = :study AND of_use = 1",
        *(
            f"SELECT 1 FROM {table} WHERE unit_key = :study OR unit_key IN (SELECT o.sha256 {OF_STUDY_IMAGES}) "
            f"OR unit_key IN (SELECT i.series_instance_uid {OF_STUDY_IMAGES})"
            for table in ("derived_problem", "state_failure")
        ),
        # What waits for a person.
        f"SELECT 1 FROM derived_series AS s WHERE s.study_instance_uid = :study AND {IN_EFFECT} = 'review'",
    ],
    "being derived": [
        f"SELECT 1 FROM derived_series WHERE {OF_STUDY_SERIES} AND stale = 1",
        f"SELECT 1 {OF_STUDY_IMAGES} AND NOT EXISTS (SELECT 1 FROM derived_series AS s "
        "WHERE s.series_instance_uid = i.series_instance_uid)",
        f"SELECT 1 FROM derived_resent WHERE sop_instance_uid IN (SELECT i.sop_instance_uid {OF_STUDY_IMAGES})",
        f"SELECT 1 {_named(UNMEASURED, 'name', 'version')} AND s.study_instance_uid = :study",
        f"SELECT 1 {_named(UNMEASURED_READINGS, 'reading_name', 'reading_version')} AND s.study_instance_uid = :study",
    ],
    "not measured": [
        "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM derived_series AS s "
        f"WHERE s.study_instance_uid = :study AND {IN_EFFECT} = 'measured')",
    ],
    "not reported": [
        "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM derived_link AS l JOIN record_flag AS f USING (episode) "
        "JOIN record_report AS r ON r.night = f.night AND r.kind = 'nightly' "
        f"WHERE l.{OF_STUDY_SERIES} AND f.tier IS NOT NULL)",
    ],
    "too young": [
        f"SELECT 1 FROM fact_object_receipt WHERE received_at >= :before "
        f"AND object_id IN (SELECT i.object_id {OF_STUDY_IMAGES})",
        "SELECT 1 WHERE :before <= (SELECT min(r.made_at) FROM derived_link AS l JOIN record_flag AS f USING (episode) "
        "JOIN record_report AS r ON r.night = f.night AND r.kind = 'nightly' "
        f"WHERE l.{OF_STUDY_SERIES} AND f.tier IS NOT NULL)",
        f"SELECT 1 FROM fact_reading WHERE added_at >= :before AND {OF_STUDY_SERIES}",
    ],
    "to be sent": [
        query
        # Each by the index of what is not done.
        for status in ("waiting", "dead")
        for query in (
            f"SELECT 1 FROM state_outgoing WHERE status = '{status}' AND kind = 'forward' "
            f"AND key IN (SELECT CAST(i.object_id AS TEXT) {OF_STUDY_IMAGES})",
            "SELECT 1 FROM state_outgoing AS w JOIN record_result AS q ON q.result_id = CAST(w.key AS INTEGER) "
            f"AND w.kind IN (q.queue, 'result_check') WHERE w.status = '{status}' AND q.subject IN "
            "(SELECT series_instance_uid FROM derived_series WHERE study_instance_uid = :study)",
            "SELECT 1 FROM state_outgoing AS w JOIN fact_commitment_request AS c "
            "ON c.request_id = CAST(w.key AS INTEGER), json_each(c.instances) AS one "
            f"WHERE w.status = '{status}' AND w.kind = 'commitment' "
            f"AND one.value ->> 1 IN (SELECT i.sop_instance_uid {OF_STUDY_IMAGES})",
        )
    ],
}
"""Why a study stays, by queries that find something then."""

FRAMES = """
SELECT f.frame_id FROM fact_frame AS f
WHERE length(f.raw) > 0
  AND :before > (SELECT max(r.received_at) FROM fact_frame_receipt AS r WHERE r.frame_id = f.frame_id)
ORDER BY f.frame_id
"""

FRAME_STAYS = {
    "being derived": ["SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM derived_message WHERE frame_id = :frame)"],
    "in doubt": [
        "SELECT 1 FROM derived_message WHERE frame_id = :frame AND status NOT IN ('used', 'ignored')",
        "SELECT 1 FROM derived_unread WHERE frame_id = :frame",
        *(
            f"SELECT 1 FROM {table} WHERE unit_key = (SELECT sha256 FROM fact_frame WHERE frame_id = :frame)"
            for table in ("derived_problem", "state_failure")
        ),
        "SELECT 1 FROM derived_extract WHERE frame_id = :frame AND kind = 'appointment' "
        "AND json_extract(content, '$.understood') IN ('unknown', 'unclear')",
        f"SELECT 1 FROM derived_blood_count WHERE status = 'held' AND person IN ({PERSON_OF_FRAME})",
    ],
}
"""The same of a frame."""

REPORTS = """
SELECT r.report_id FROM record_report AS r
WHERE r.made_at < :before AND r.night < (SELECT max(n.night) FROM record_report AS n WHERE n.kind = r.kind)
  AND NOT EXISTS (SELECT 1 FROM fact_removal AS k WHERE k.kind = 'report' AND k.key = r.report_id)
ORDER BY r.report_id
"""

REPORT_STAYS = {
    "to be sent": [
        "SELECT 1 FROM record_mail AS m "
        "JOIN state_outgoing AS w ON w.kind = 'mail' AND w.key = CAST(m.mail_id AS TEXT) "
        "WHERE m.report_id = :report AND w.status <> 'done'",
    ],
    # Study ids are in it as words.
    "on hold": [
        "SELECT 1 FROM record_report AS r WHERE r.report_id = :report AND EXISTS ("
        "SELECT 1 FROM derived_person AS p LEFT JOIN derived_link AS l USING (person) "
        f"WHERE p.person IN ({HELD_PERSONS}) AND (instr(r.text || r.html, p.pseudonym) "
        "OR instr(r.text || r.html, l.episode)))",
    ],
}
"""The same of a report."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a rule finds: of which it is time, and why others of that age stay."""

    kind: Kind
    rule: str
    due: tuple[str, ...]
    stays: dict[str, int]
    """How many stay, by the first reason why."""


@dataclass(kw_only=True)
class Removed:
    """What a run has removed."""

    counts: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    """Of files."""
    waits: str | None = None
    """Why it was not done, or not to the end."""
    stuck: list[str] = field(default_factory=list)
    """Files that could not be taken away, and why."""

    def add(self, what: str, number: int) -> None:
        """Count some more."""
        self.counts[what] = self.counts.get(what, 0) + number


def look(db: Database, settings: Settings, *, now: datetime) -> list[Found]:
    """What would be removed now, rule by rule; nothing is done."""
    return [_found(db, rule, now=now) for rule in _rules(settings)]


def put_off(db: Database) -> str | None:
    """Why nothing is removed now, whatever its age."""
    return None if again_since(db) is None else "everything is being derived again"


def put_off_nightly(db: Database, settings: Settings, *, now: datetime) -> str | None:
    """The same of what the nights do by themselves, at which nobody looks.

    Nights count by their reports: those that were missed are done in the ledger once a later one has caught them up.
    """
    day = now.astimezone(settings.site.zone).date()
    (nights,) = db.execute(
        "SELECT count(*) FROM record_report WHERE kind = 'nightly' AND night > ? AND night <= ?",
        [(day - timedelta(days=NIGHTS_IN_A_ROW)).isoformat(), day.isoformat()],
    ).fetchone()
    if nights < NIGHTS_IN_A_ROW:
        return f"{nights} of the last {NIGHTS_IN_A_ROW} nights were made; after a gap the clock may have been ahead"
    return put_off(db)


def tidy(db: Database, settings: Settings, *, now: datetime) -> Removed:
    """Remove what it is time for, in small batches, and say so in ledger and audit.

    While a backup or an erasure is at work, or everything is derived again, it waits for the next call.

    Raises
    ------
    StoreError
        Files could not be deleted; all else is done, and the next call tries again.
    """
    done = Removed()
    folder = settings.storage.folder
    archive = Archive(folder)
    began = to_text(now)
    with files_alone(folder) as mine:
        done.waits = put_off(db) if mine else "a backup or an erasure is at work"
        if done.waits:
            return done
        _finish(db, archive)
        (since,) = db.execute(
            "SELECT min(started_at) FROM state_run WHERE kind = ? AND status = 'running'", [KIND]
        ).fetchone()
        if since is not None:
            _delete_files(archive, folder, _left_by_a_kill(db, since), done)
        day = now.astimezone(settings.site.zone).date().isoformat()
        with writing(db):
            db.execute(
                "INSERT INTO state_run (kind, night, started_at, status) VALUES (?, ?, ?, 'running') "
                "ON CONFLICT (kind, night) DO UPDATE SET started_at = excluded.started_at, status = 'running'",
                [KIND, day, began],
            )
        for rule in _rules(settings):
            _apply(db, settings, archive, rule, done, now=now)
        forget_wal(db)
        counts = {name: number for name, number in done.counts.items() if number}
        said = ", ".join(f"{number} {name}" for name, number in counts.items()) or "nothing"
        if counts:
            audit.note(db, name=BY, address="", action="removed", subject=said, at=now)
            log.info("removed by retention", bytes=done.bytes, **counts)
        if done.stuck:
            raise StoreError(
                f"{len(done.stuck)} files of what retention has removed could not be deleted ({done.stuck[0]}); the "
                "next run tries again"
            )
        with writing(db):
            db.execute(
                "UPDATE state_run SET finished_at = ?, status = 'done', detail = ? "
                "WHERE kind = ? AND status = 'running'",
                [to_text(now), said, KIND],
            )
    return done


def tidy_daily(db: Database, settings: Settings, *, now: datetime) -> None:
    """Once a day, after the night: :func:`tidy`. Otherwise only delete the files that have waited long enough."""
    if not list(_rules(settings)):
        return
    day = now.astimezone(settings.site.zone).date().isoformat()
    rows = db.execute(
        "SELECT kind, status FROM state_run WHERE kind IN ('nightly', ?) AND night = ?", [KIND, day]
    ).fetchall()
    states = dict(rows)
    due = states.get("nightly") == "done" and states.get(KIND) != "done"
    if due and put_off_nightly(db, settings, now=now) is None:
        tidy(db, settings, now=now)
        return
    archive = Archive(settings.storage.folder)
    if archive.aside():
        with files_alone(settings.storage.folder) as mine:
            if mine:
                _finish(db, archive)


@dataclass(frozen=True, kw_only=True)
class _Files:
    """What lies on the disk of a thing: images by SHA-256, and the folders of nights."""

    images: tuple[str, ...] = ()
    nights: tuple[str, ...] = ()


# ---- what it is time for ---------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class _Rule:
    kind: Kind
    days: int

    @property
    def name(self) -> str:
        setting = {"study": "images_days", "message": "messages_days", "report": "reports_days"}[self.kind]
        return f"{setting} = {self.days}"


def _rules(settings: Settings) -> Iterator[_Rule]:
    chosen = settings.retention
    days: dict[Kind, int | None] = {
        "study": chosen.images_days, "message": chosen.messages_days, "report": chosen.reports_days
    }  # fmt: skip
    for kind, number in days.items():
        if number is not None:
            yield _Rule(kind=kind, days=number)


def _found(db: Database, rule: _Rule, *, now: datetime) -> Found:
    about = _about(rule, now)
    all_of = {"study": STUDIES, "message": FRAMES, "report": REPORTS}[rule.kind]
    due, stays = [], dict[str, int]()
    for (key,) in db.execute(all_of, {"before": about["before"]}).fetchall():
        why = _why_it_stays(db, rule.kind, str(key), about)
        if why is None:
            due.append(str(key))
        else:
            stays[why] = stays.get(why, 0) + 1
    return Found(kind=rule.kind, rule=rule.name, due=tuple(due), stays=stays)


def _about(rule: _Rule, now: datetime) -> dict[str, str]:
    """What the queries ask with, beside the thing."""
    return {
        "before": to_text(now - timedelta(days=rule.days)),
        # A planned operation is over two days after it, whatever the zone and without a time of day.
        "operated": to_text(now - timedelta(days=2)),
        "name": ALGORITHM[0],
        "version": ALGORITHM[1],
        "reading_name": ROI_ALGORITHM[0],
        "reading_version": ROI_ALGORITHM[1],
    }


def _why_it_stays(db: Database, kind: Kind, key: str, about: dict[str, str]) -> str | None:
    parameter, persons, stays = {
        "study": ("study", PERSON_OF_STUDY, STUDY_STAYS),
        "message": ("frame", PERSON_OF_FRAME, FRAME_STAYS),
        "report": ("report", None, REPORT_STAYS),
    }[kind]
    of_persons = {} if persons is None else {why: [sql.format(persons=persons)] for why, sql in OF_PERSONS.items()}
    values: dict[str, object] = {**about, parameter: int(key) if kind == "message" else key}
    for why, queries in [*of_persons.items(), *stays.items()]:
        if any(db.execute(f"SELECT EXISTS ({sql})", values).fetchone()[0] for sql in queries):
            return why
    return None


# ---- how it is removed -----------------------------------------------------------------------------------------
def _apply(db: Database, settings: Settings, archive: Archive, rule: _Rule, done: Removed, *, now: datetime) -> None:
    """Batch by batch; each is looked at again with the steps held, as something may have come meanwhile."""
    folder = settings.storage.folder
    found = _found(db, rule, now=now)
    size = BATCH[rule.kind]
    remove: Callable[[str], _Files] = {
        "study": lambda study: _remove_study(db, study, rule, done, now=now),
        "message": lambda frame: _remove_message(db, int(frame), rule, done, now=now),
        "report": lambda report: _remove_report(db, report, rule, done, now=now),
    }[rule.kind]
    for start in range(0, len(found.due), size):
        with deriving(folder, wait=True):
            about = _about(rule, now)
            again = [key for key in found.due[start : start + size] if _why_it_stays(db, rule.kind, key, about) is None]
            with erasing(db):
                files = [remove(key) for key in again]
        for one in files:
            _delete_files(archive, folder, one, done)


def _remove_study(db: Database, study: str, rule: _Rule, done: Removed, *, now: datetime) -> _Files:
    at = to_text(now)
    images = db.execute(IMAGES, [study]).fetchall()
    (inputs,) = db.execute(
        "SELECT inputs_sha256 FROM derived_series WHERE study_instance_uid = ? AND chosen = 1", [study]
    ).fetchone()
    where = OF_STUDY_SERIES.replace(":study", "?")
    measured = rows_of(db, OF_STUDY, where, [study])
    rows = [("study", study, inputs, json.dumps(measured))]
    rows += [("image", sha256, sha256, json.dumps({"headers": headers})) for _, sha256, headers in images]
    _note(db, rows, rule, at)
    done.add("studies", 1)
    done.add("images", len(images))
    return _Files(images=tuple(sha256 for _, sha256, _ in images))


def _remove_message(db: Database, frame_id: int, rule: _Rule, done: Removed, *, now: datetime) -> _Files:
    (sha256,) = db.execute("SELECT sha256 FROM fact_frame WHERE frame_id = ?", [frame_id]).fetchone()
    said = rows_of(db, OF_FRAME, "frame_id = ?", [frame_id])
    _note(db, [("message", sha256, sha256, json.dumps(said))], rule, to_text(now))
    db.execute("UPDATE fact_frame SET raw = x'' WHERE frame_id = ?", [frame_id])
    done.add("messages", 1)
    return _Files()


def _remove_report(db: Database, report_id: str, rule: _Rule, done: Removed, *, now: datetime) -> _Files:
    night, kind, text, html = db.execute(
        "SELECT night, kind, text, html FROM record_report WHERE report_id = ?", [report_id]
    ).fetchone()
    note = f"This text was removed on {now:%Y-%m-%d} by the rule of retention ({rule.name}); subject and counts stay."
    digest = hashlib.sha256((text + html).encode()).hexdigest()
    _note(db, [("report", report_id, digest, None)], rule, to_text(now))
    db.execute("UPDATE record_report SET text = ?, html = ? WHERE report_id = ?", [note, f"<p>{note}</p>", report_id])
    for mail_id, mime in db.execute(
        "SELECT mail_id, mime FROM record_mail WHERE report_id = ?", [report_id]
    ).fetchall():
        db.execute("UPDATE record_mail SET mime = ? WHERE mail_id = ?", [without_content(mime, note), mail_id])
    done.add("reports", 1)
    return _Files(nights=(night,) if kind == "nightly" else ())


def _note(db: Database, rows: Sequence[tuple[str, str, str, str | None]], rule: _Rule, at: str) -> None:
    insert(
        db,
        "fact_removal",
        [
            {"kind": kind, "key": key, "sha256": sha256, "rule": rule.name, "kept": kept, "removed_at": at}
            for kind, key, sha256, kept in rows
        ],
    )


# ---- files -----------------------------------------------------------------------------------------------------
def _delete_files(archive: Archive, folder: Path, files: _Files, done: Removed) -> None:
    """Set images aside and delete the folders of nights; one that cannot go costs itself, and is named."""
    for sha256 in files.images:
        try:
            done.bytes += archive.set_aside(sha256)
        except OSError as error:
            done.stuck.append(f"{archive.path(sha256)}: {error.strerror}")
    for night in files.nights:
        place = folder / REPORT_FOLDER / night
        try:
            if place.exists():
                shutil.rmtree(place)
        except OSError as error:
            done.stuck.append(f"{error.filename or place}: {error.strerror}")


def _left_by_a_kill(db: Database, since: str) -> _Files:
    """What lies on the disk of the things that were removed since then."""
    images = db.execute(f"SELECT key FROM fact_removal WHERE removed_at >= ? AND {STANDS}", [since]).fetchall()
    nights = db.execute(
        "SELECT DISTINCT r.night FROM record_report AS r "
        "JOIN fact_removal AS k ON k.kind = 'report' AND k.key = r.report_id "
        "WHERE r.kind = 'nightly' AND k.removed_at >= ?",
        [since],
    ).fetchall()
    return _Files(images=tuple(one for (one,) in images), nights=tuple(one for (one,) in nights))


def _finish(db: Database, archive: Archive) -> None:
    """Delete the files that have waited long enough; what was sent again meanwhile is put back."""
    for sha256, state in archive.aside().items():
        # One of a time to come was set aside by a clock that was ahead.
        if abs(time.time() - state.st_ctime) < SETTLED.total_seconds():
            continue
        known, removed = db.execute(
            "SELECT EXISTS (SELECT 1 FROM fact_object WHERE sha256 = :key), "
            f"EXISTS (SELECT 1 FROM fact_removal WHERE key = :key AND {STANDS})",
            {"key": sha256},
        ).fetchone()
        if known and not removed:
            archive.put_back(sha256)
        else:
            archive.delete_aside(sha256)
