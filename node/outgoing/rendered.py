"""What the kinds share that send results as they were rendered and recorded.

The key of an item is the number of its result; ``RESULT/REQUEST`` where a person wants the same bytes sent once more.
"""

import threading
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from sqlite_utils import Database

from node.clock import now, to_text
from node.outgoing.kind import Batch, Item, Kind, Outcome, Verdict
from node.outgoing.queue import set_up_at
from node.settings import ResultPart, Settings
from node.store.database import insert

if TYPE_CHECKING:
    from node.results.records import Render

NEWEST_OBJECT = "SELECT max(object_id) FROM fact_object"
"""What was received before a receiver was set up does not concern it (``Kind.since``)."""

IS_NEWEST = """
r.version = (SELECT max(n.version) FROM record_result AS n
             WHERE n.kind = r.kind AND n.destination = r.destination AND n.subject = r.subject)
"""
QUEUED = "SELECT o.key FROM state_outgoing AS o WHERE o.kind = :queue AND o.peer = :peer"
ENROL = f"""
SELECT key FROM (
    SELECT r.result_id AS number, 0 AS request, CAST(r.result_id AS TEXT) AS key FROM record_result AS r
    WHERE r.queue = :queue AND r.destination = :peer AND {IS_NEWEST}
    UNION ALL
    SELECT r.result_id, q.request_id, r.result_id || '/' || q.request_id
    FROM fact_result_request AS q JOIN record_result AS r USING (result_id)
    WHERE q.request = 'resend' AND r.queue = :queue AND r.destination = :peer AND {IS_NEWEST})
WHERE key NOT IN ({QUEUED})
ORDER BY request, number
"""
"""In the order in which they were made; not what a newer version has replaced before it was sent."""
BODY = f"SELECT r.body, {IS_NEWEST} FROM record_result AS r WHERE r.result_id = ?"

GIVEN_UP_BEFORE = """
UPDATE state_outgoing SET status = 'done', done_at = :now
WHERE kind = :queue AND peer = :peer AND status = 'dead' AND CAST(key AS INTEGER) = :result
"""
"""SQLite takes the digits before the slash of a key for its number."""


def of_queue(name: str, _settings: Settings, _peer: str, _at: datetime) -> Mapping[str, object]:
    """The parameters of :data:`ENROL` beside the usual ones."""
    return {"queue": name}


def make_due(
    db: Database,
    settings: Settings,
    kind: Kind,
    peer: str,
    render: "Render",
    tell: Collection[ResultPart],
    *,
    at: datetime,
    stop: threading.Event,
) -> None:
    """Render what a receiver of this kind is to be told (``Kind.prepare``), into the record and not into files."""
    # Loaded only where there is a receiver.
    from node.results import records
    from node.results.statements import part_told

    destination = records.Destination(
        queue=kind.name,
        name=peer,
        renders={kind.name: render},
        told=partial(part_told, parts=tell),
        in_files=False,
    )
    records.make_due(db, settings, destination, after=set_up_at(db, kind, peer), at=at, stop=stop)


def result_of(item: Item) -> int:
    """The number of the result that an item is."""
    return int(item.key.partition("/")[0])


def body_of(batch: Batch, item: Item) -> bytes | None:
    """The bytes of the result that an item is; ``None`` where a newer version is to be sent in its place, or none."""
    row = batch.db.execute(BODY, [result_of(item)]).fetchone()
    return bytes(row[0]) if row is not None and row[1] else None


def kept(batch: Batch, queue: str, item: Item, *, how: str, detail: str) -> Outcome:
    """The receiver has it, and says so; what was given up of it before is settled with that."""
    result_id, peer, at = result_of(item), batch.peer, to_text(now())

    def store(db: Database) -> None:
        answer = {"result_id": result_id, "how": how, "answer": "kept", "detail": detail, "answered_at": at}
        insert(db, "record_result_answer", [answer])
        db.execute(GIVEN_UP_BEFORE, {"queue": queue, "peer": peer, "result": result_id, "now": at})

    return Outcome(verdict=Verdict.DONE, store=store)
