"""Results for a PACS: rendered once, stored there by C-STORE, in the order in which they were made.

What a newer version has replaced before it was sent is not sent any more. The first sending of a result has its number
as key; one that a person asked for, or that the PACS has lost, has that and what asked for it (``17/resend-3``).
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from sqlite_utils import Database

from node.apart import command, do_apart
from node.clock import now, to_text
from node.outgoing import queue
from node.outgoing.kind import LATER, WITHDRAWN, Batch, Item, Kind, Limits, Outcome, Pauses, Send, Verdict
from node.outgoing.rendered import GIVEN_UP_BEFORE, NEWEST_OBJECT, result_of
from node.settings import Settings

if TYPE_CHECKING:
    from node.outgoing.storing import Stored
    from node.results.records import Destination

NAME = "dicom_result"
COMMAND = command("node.outgoing.results_child")
SENT_AGAIN = 3
"""How often a result is sent again by itself that its PACS says it does not have."""

NEWEST_ONLY = """
NOT EXISTS (SELECT 1 FROM record_result AS n WHERE n.kind = r.kind AND n.kind <> 'ko' AND n.destination = r.destination
            AND n.subject = r.subject AND n.version > r.version)
"""

ENROL = f"""
WITH wanted (key, result_id) AS (
    SELECT CAST(result_id AS TEXT), result_id FROM record_result WHERE queue = 'dicom_result' AND destination = :peer
    UNION ALL
    SELECT result_id || '/resend-' || request_id, result_id FROM fact_result_request WHERE request = 'resend'
    UNION ALL
    SELECT result_id || '/missing-' || number, result_id
    FROM (SELECT result_id, row_number() OVER (PARTITION BY result_id ORDER BY answer_id) AS number
          FROM record_result_answer WHERE answer = 'missing')
    WHERE number <= :sent_again
)
SELECT w.key FROM wanted AS w JOIN record_result AS r USING (result_id)
WHERE r.queue = 'dicom_result' AND r.destination = :peer AND {NEWEST_ONLY}
  AND NOT EXISTS (SELECT 1 FROM state_outgoing AS o WHERE o.kind = 'dicom_result' AND o.peer = :peer AND o.key = w.key)
ORDER BY w.result_id, w.key
"""

TO_BE_SENT = f"""
SELECT item.value, r.kind, r.sha256 FROM json_each(?) AS item
JOIN record_result AS r ON r.result_id = CAST(item.value AS INTEGER)
WHERE {NEWEST_ONLY}
"""
"""SQLite takes the digits before the slash of a key for its number."""


def _peers(settings: Settings) -> tuple[str, ...]:
    return tuple(name for name, peer in settings.dicom.peers.items() if peer.results)


def prepare(db: Database, settings: Settings, peer: str, at: datetime, stop: threading.Event) -> None:
    """Render and record what a PACS is to be told (``Kind.prepare``)."""
    from node.results.records import make_due

    make_due(db, settings, _destination(settings, peer), after=queue.set_up_at(db, RESULTS, peer), at=at, stop=stop)


def _prepare_apart(db: Database, settings: Settings, peer: str, at: datetime, stop: threading.Event) -> None:
    """The same, once something is due, by a process of its own: the libraries that render and draw end with it."""
    from node.results.records import is_due

    if is_due(db, _destination(settings, peer), after=queue.set_up_at(db, RESULTS, peer)):
        do_apart(COMMAND, f"results for {peer}", peer, to_text(at), settings=settings, stop=stop)


def _destination(settings: Settings, peer: str) -> "Destination":
    from node.results.content import Finding
    from node.results.dicom.objects import RENDERS, SILENT, note
    from node.results.records import Destination

    results = settings.dicom.peers[peer].results
    assert results is not None, "only peers that take results are receivers"
    return Destination(
        queue=NAME,
        name=peer,
        renders={kind: RENDERS[kind] for kind in results.objects},
        silent=SILENT,
        told=Finding.of_images,
        in_files=True,
        note=note if results.rejection_notes else None,
    )


def results_left(db: Database, settings: Settings) -> int:
    """How many results for a PACS are still to be rendered or sent."""
    from node.results.records import due_now

    (unsent,) = db.execute(
        "SELECT count(*) FROM results WHERE latest = 1 AND state IN ('to be sent', 'waiting')"
    ).fetchone()
    return int(unsent) + sum(
        due_now(db, _destination(settings, peer), after=queue.set_up_at(db, RESULTS, peer)) for peer in _peers(settings)
    )


@contextmanager
def _opened(batch: Batch) -> Iterator[Send]:
    # Loaded only where there is something to send.
    from node.outgoing.storing import storing

    remote = batch.settings.dicom.peers[batch.peer].results
    assert remote is not None, "only peers that take results are receivers"
    stored = _stored(batch)
    with storing(remote, stored.values(), ae_title=batch.settings.dicom.ae_title) as association:

        def send(item: Item) -> Outcome:
            if item.key not in stored:
                return WITHDRAWN
            one = stored[item.key]
            if not association.proposes(one):
                return LATER
            outcome = association.send(one)
            settles = partial(_settle_given_up, peer=batch.peer, result_id=result_of(item), at=now())
            return replace(outcome, store=settles) if outcome.verdict == Verdict.DONE else outcome

        yield send


def _settle_given_up(db: Database, *, peer: str, result_id: int, at: datetime) -> None:
    """What was given up of a result before is settled with a sending that was taken."""
    db.execute(GIVEN_UP_BEFORE, {"queue": NAME, "peer": peer, "result": result_id, "now": to_text(at)})


def _stored(batch: Batch) -> "dict[str, Stored]":
    from node.dicom.part10 import read_identity
    from node.outgoing.storing import Stored
    from node.results.files import ResultFiles

    files = ResultFiles(batch.settings.storage.folder)
    rows = batch.db.execute(TO_BE_SENT, [json.dumps([item.key for item in batch.items])]).fetchall()
    found = {}
    for key, _, sha256 in rows:
        identity = read_identity(files.path(sha256))
        found[key] = Stored(
            path=files.path(sha256),
            sop_class_uid=identity.sop_class_uid,
            transfer_syntax_uid=identity.transfer_syntax_uid,
        )
    return found


RESULTS = Kind(
    name=NAME,
    receivers=_peers,
    since=NEWEST_OBJECT,
    prepare=prepare,
    prepare_apart=_prepare_apart,
    enrol=ENROL,
    values=lambda _settings, _peer, _at: {"sent_again": SENT_AGAIN},
    opened=_opened,
    pauses=Pauses(first=timedelta(minutes=1), longest=timedelta(hours=4)),
    rest=Pauses(first=timedelta(seconds=5), longest=timedelta(minutes=5)),
    # A day and a half with these pauses.
    limits=Limits(attempts=12),
    failure="its file cannot be read",
    batch=20,
)
