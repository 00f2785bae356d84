"""Results as records: what is due for a destination is rendered once, and its bytes are kept.

Due is a question to the database: where the digest of what is known of a series differs from that of the newest record
of the same kind, destination and series, a new version is rendered. Record and bytes are durable before anything is
sent, so whatever is sent again is the same, under the same identifier.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlite_utils import Database

from node import __version__
from node.clock import to_text
from node.errors import ReasonedError
from node.results.content import Earlier, Finding, Result, Status, digest, status_of
from node.results.files import ResultFiles
from node.results.findings import findings
from node.settings import Settings
from node.store.archive import Archive
from node.store.database import insert, writing
from node.store.failures import Unit, barrier, forget_failure, note_outcome

STEP = "results"
MOST_AT_ONCE = 20
"""Results rendered before the first of them is sent."""

# Without a digest where a note has taken it back: whatever is to be told then is something new.
NEWEST = """
SELECT r.kind, r.subject, r.result_id, r.status,
       iif(EXISTS (SELECT 1 FROM record_result AS k, json_each(k.content, '$.rejects') AS rejected
                   WHERE k.kind = 'ko' AND k.destination = r.destination AND k.subject = r.subject
                     AND rejected.value = r.identifier), '', r.content_sha256)
FROM record_result AS r
WHERE r.queue = :queue AND r.destination = :destination
  AND r.version = (SELECT max(version) FROM record_result AS n WHERE n.kind = r.kind AND n.destination = r.destination
                   AND n.subject = r.subject)
"""

# Of several that stand under one UID the one that holds: what took another's place, else what came first.
SLICE = """
SELECT o.sha256 FROM derived_instance AS i JOIN fact_object AS o USING (object_id)
WHERE i.series_instance_uid = ? AND (?2 IS NULL OR i.sop_instance_uid = ?2)
ORDER BY i.settled_at IS NULL, o.object_id LIMIT 1
"""

# What a newer one has replaced, or does not hold any more (:withdrawn), and no note has named yet.
TO_BE_REJECTED = """
SELECT r.result_id FROM record_result AS r
WHERE r.queue = :queue AND r.destination = :destination AND r.subject = :subject AND r.kind <> :note
  AND (EXISTS (SELECT 1 FROM record_result AS n WHERE n.kind = r.kind AND n.destination = r.destination
               AND n.subject = r.subject AND n.version > r.version)
       OR :withdrawn AND r.status <> 'withdrawn')
  AND NOT EXISTS (SELECT 1 FROM record_result AS k, json_each(k.content, '$.rejects') AS rejected
                  WHERE k.kind = :note AND k.destination = r.destination AND k.subject = r.subject
                    AND rejected.value = r.identifier)
ORDER BY r.result_id
"""

FAILED = "SELECT unit_key, unit_part FROM state_failure WHERE step = ? AND final = 1 AND version = ?"


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A rendered result: its bytes, and the UID or number by which its receiver tells it from others."""

    identifier: str
    content: bytes


Render = Callable[[Result], Rendered]
"""Raises whatever it likes: that costs this result, and stands in ``problems``."""
Note = Callable[[Result, Sequence[Earlier]], Rendered]
NOTE = "ko"
"""The kind of a note about earlier results."""


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Whom results go to, and what of a finding it is told.

    Attributes
    ----------
    queue
        The kind of the queue that sends them.
    name
        As the settings name it.
    renders
        What renders each kind of result.
    silent
        Kinds that cannot say that nothing holds any more: another object must.
    told
        The part of a finding that these results say.
    in_files
        Whether the bytes are files (of DICOM), or stand in the record.
    note
        What renders a note about earlier results that no longer hold, where the destination wants such.
    """

    queue: str
    name: str
    renders: Mapping[str, Render]
    silent: frozenset[str] = frozenset()
    told: Callable[[Finding], Finding]
    in_files: bool
    note: Note | None = None


class _Newest(NamedTuple):
    result_id: int
    status: str
    content_sha256: str


def make_due(
    db: Database, settings: Settings, destination: Destination, *, after: int, at: datetime, stop: threading.Event
) -> int:
    """Render and record all that is due for a destination; returns how many results.

    Parameters
    ----------
    after
        As for :func:`node.results.findings.findings`.
    """
    attempts = _Attempts(db, destination)
    made = 0
    for finding, said, due in _due(db, destination, after=after):
        for kind, before in due.items():
            if stop.is_set() or made >= MOST_AT_ONCE:
                return made
            with attempts.at(finding.series_instance_uid, kind, said) as unit:
                if unit is not None:
                    result = _result(db, settings, destination, kind, finding, before, at)
                    _record(db, settings, destination, result, destination.renders[kind](result), said, unit)
                    made += 1
        if destination.note is not None:
            with attempts.at(finding.series_instance_uid, NOTE, said) as unit:
                if unit is not None:
                    made += _note(db, settings, destination, destination.note, finding, at, unit)
    return made


def is_due(db: Database, destination: Destination, *, after: int) -> bool:
    """Whether :func:`make_due` has something to do, a note too; what it has failed at is not."""
    attempts = _Attempts(db, destination)
    for finding, said, due in _due(db, destination, after=after):
        wanted = list(due)
        if destination.note is not None and _to_be_rejected(db, destination, finding):
            wanted.append(NOTE)
        if any(not attempts.has_failed(finding.series_instance_uid, kind, said) for kind in wanted):
            return True
    return False


def due_now(db: Database, destination: Destination, *, after: int) -> int:
    """How many results are due for a destination, notes apart."""
    return sum(len(due) for _, _, due in _due(db, destination, after=after))


def _due(
    db: Database, destination: Destination, *, after: int
) -> Iterator[tuple[Finding, str, dict[str, _Newest | None]]]:
    """Each finding as the destination is told it, its digest, and by kind the newest result where one is due."""
    newest = _newest(db, destination)
    for known in findings(db, queue=destination.queue, destination=destination.name, after=after):
        finding = destination.told(known)
        said = digest(finding)
        before = {kind: newest.get((kind, finding.series_instance_uid)) for kind in destination.renders}
        due = {
            kind: one for kind, one in before.items() if _is_due(finding, said, one, silent=kind in destination.silent)
        }
        yield finding, said, due


def _newest(db: Database, destination: Destination) -> dict[tuple[str, str], _Newest]:
    """The newest version of each kind and series."""
    values = {"queue": destination.queue, "destination": destination.name}
    return {(kind, subject): _Newest(*row) for kind, subject, *row in db.execute(NEWEST, values).fetchall()}


class _Attempts:
    """What this version has failed to render is not tried again, unless it is something else by now."""

    def __init__(self, db: Database, destination: Destination) -> None:
        self._db = db
        self._name = destination.name
        self._failed = {
            (series, part.rpartition(" ")[0]): part
            for series, part in db.execute(FAILED, [STEP, __version__]).fetchall()
        }

    def has_failed(self, series: str, kind: str, said: str) -> bool:
        """Whether this version has failed to render it as it is known now."""
        return self._failed.get((series, f"{kind} {self._name}")) == self._part(kind, said)

    def _part(self, kind: str, said: str) -> str:
        return f"{kind} {self._name} {said[:12]}"

    @contextmanager
    def at(self, series: str, kind: str, said: str) -> Iterator[Unit | None]:
        """An attempt, whose failure costs itself and stands in ``problems``; ``None``: it has failed before."""
        unit = Unit("series", series, self._part(kind, said))
        if self.has_failed(series, kind, said):
            yield None
            return
        failed = self._failed.get((series, f"{kind} {self._name}"))
        if failed is not None:
            with writing(self._db):
                forget_failure(self._db, STEP, Unit("series", series, failed))
        with barrier(self._db, STEP, unit):
            try:
                yield unit
            except ReasonedError as error:
                with writing(self._db):
                    note_outcome(self._db, STEP, unit, error.reason)


def _note(
    db: Database,
    settings: Settings,
    destination: Destination,
    render: Note,
    finding: Finding,
    at: datetime,
    unit: Unit,
) -> int:
    """A note about what no longer holds, where there is something of which there is none; returns how many."""
    found = _to_be_rejected(db, destination, finding)
    if not found:
        return 0
    rejected = [load_earlier(db, settings, result_id) for result_id in found]
    (before,) = db.execute(
        "SELECT coalesce(max(version), 0) FROM record_result WHERE kind = ? AND destination = ? AND subject = ?",
        [NOTE, destination.name, finding.series_instance_uid],
    ).fetchone()
    result = replace(_result(db, settings, destination, NOTE, finding, None, at), version=before + 1)
    said = {"rejects": [one.identifier for one in rejected]}
    _record(db, settings, destination, result, render(result, rejected), digest(finding), unit, **said)
    return 1


def _to_be_rejected(db: Database, destination: Destination, finding: Finding) -> list[int]:
    """The results of which a note is to say that they no longer hold."""
    about = {"queue": destination.queue, "destination": destination.name, "subject": finding.series_instance_uid}
    found = db.execute(TO_BE_REJECTED, {**about, "note": NOTE, "withdrawn": finding.score is None}).fetchall()
    return [int(result_id) for (result_id,) in found]


def _is_due(finding: Finding, said: str, before: _Newest | None, *, silent: bool) -> bool:
    if finding.score is None:
        return before is not None and before.status != Status.WITHDRAWN.value and not silent
    return before is None or before.content_sha256 != said


def _result(
    db: Database,
    settings: Settings,
    destination: Destination,
    kind: str,
    finding: Finding,
    before: _Newest | None,
    at: datetime,
) -> Result:
    # With DICOM's library, for which there is no need before there is a result.
    from node.results.whose import read_whose

    earlier = None if before is None else load_earlier(db, settings, before.result_id)
    row = db.execute(SLICE, [finding.series_instance_uid, finding.sop_instance_uid]).fetchone()
    path = None if row is None else Archive(settings.storage.folder).path(row[0])
    # Retention may have removed it since.
    image = path if path is not None and path.is_file() else None
    return Result(
        kind=kind,
        destination=destination.name,
        finding=finding,
        whose=None if image is None else read_whose(image),
        image=image,
        protocol=settings.site.protocol,
        site=settings.site.name,
        status=status_of(finding, earlier),
        version=1 if earlier is None else earlier.version + 1,
        replaces=earlier,
        made_at=at.astimezone(settings.site.zone),
        banner=settings.site.banner,
    )


def load_earlier(db: Database, settings: Settings, result_id: int) -> Earlier:
    """A recorded result with its bytes."""
    identifier, version, status, content, sha256, body = db.execute(
        "SELECT identifier, version, status, content, sha256, body FROM record_result WHERE result_id = ?", [result_id]
    ).fetchone()
    return Earlier(
        result_id=result_id,
        identifier=identifier,
        version=version,
        status=Status(status),
        content=json.loads(content),
        path=_file(settings, sha256) if body is None else None,
        body=body,
    )


def _file(settings: Settings, sha256: str) -> Path:
    return ResultFiles(settings.storage.folder).path(sha256)


def _record(
    db: Database,
    settings: Settings,
    destination: Destination,
    result: Result,
    rendered: Rendered,
    said: str,
    unit: Unit,
    **further: Sequence[str],
) -> None:
    finding = result.finding
    row = row_of(
        destination,
        kind=result.kind,
        subject=finding.series_instance_uid,
        version=result.version,
        status=result.status,
        rendered=rendered,
        content=result.to_json_dict() | further,
        settings=settings,
        at=result.made_at,
    ) | {
        "replaces": result.replaces.result_id if result.replaces else None,
        "content_sha256": said,
        "algorithm": finding.algorithm,
        "approved_by": finding.approval.name if finding.approval else None,
    }
    with writing(db):
        insert(db, "record_result", [row])
        forget_failure(db, STEP, unit)


def row_of(
    destination: Destination,
    *,
    kind: str,
    subject: str,
    version: int,
    status: Status,
    rendered: Rendered,
    content: Mapping[str, Any],
    settings: Settings,
    at: datetime,
) -> dict[str, Any]:
    """The row of a rendered result, whose bytes are durable, without what it replaces and who approved it."""
    if destination.in_files:
        sha256, body = ResultFiles(settings.storage.folder).put(rendered.content), None
    else:
        sha256, body = hashlib.sha256(rendered.content).hexdigest(), rendered.content
    return {
        "kind": kind,
        "queue": destination.queue,
        "destination": destination.name,
        "subject": subject,
        "version": version,
        "identifier": rendered.identifier,
        "status": status.value,
        "content": json.dumps(content, ensure_ascii=False),
        "sha256": sha256,
        "size_bytes": len(rendered.content),
        "body": body,
        "made_at": to_text(at),
    }
