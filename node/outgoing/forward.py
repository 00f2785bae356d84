"""Received objects, sent on to other DICOM nodes.

Every object that arrives after a destination was set up goes to it, unless it came from there. It is done only once the
destination has answered Success and that is committed: it may get an object twice (after a kill between the two) but
never misses one. A destination that cannot be reached, hangs up or is full is tried for as long as it takes; an object
that it refuses again and again is given up. All of it is shown in ``problems``.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlite_utils import Database

from node.errors import InputError
from node.outgoing import queue
from node.outgoing.kind import LATER, Batch, Item, Kind, Limits, Outcome, Pauses, Send
from node.settings import Settings

if TYPE_CHECKING:
    from node.outgoing.storing import Stored

ENROL = """
SELECT o.object_id FROM fact_object AS o
WHERE o.object_id > :after AND o.object_id <= :up_to
  AND (SELECT r.calling_ae FROM fact_object_receipt AS r WHERE r.object_id = o.object_id ORDER BY r.receipt_id LIMIT 1)
      NOT IN (SELECT value FROM json_each(:own))
  -- What its sender named by no UID cannot be sent under one; once it is corrected, that object goes on.
  AND o.sop_class_uid NOT GLOB '*[^0-9.]*' AND o.sop_class_uid <> ''
  AND o.sop_instance_uid NOT GLOB '*[^0-9.]*' AND o.sop_instance_uid <> ''
ORDER BY o.object_id
"""
OBJECTS = """
SELECT CAST(object_id AS TEXT), sha256, sop_class_uid, transfer_syntax_uid FROM fact_object
WHERE object_id IN (SELECT CAST(value AS INTEGER) FROM json_each(?))
"""


def _destinations(settings: Settings) -> tuple[str, ...]:
    return tuple(name for name, peer in settings.dicom.peers.items() if peer.forward)


def _values(settings: Settings, peer_name: str, _at: datetime) -> Mapping[str, object]:
    return {"own": json.dumps(sorted(settings.dicom.peers[peer_name].own_ae_titles))}


@contextmanager
def _opened(batch: Batch) -> Iterator[Send]:
    # Loaded only where there is something to send.
    from node.outgoing.storing import storing

    remote = batch.settings.dicom.peers[batch.peer].forward
    assert remote is not None, "only peers with this address are receivers"
    objects = _objects(batch)
    with storing(remote, objects.values(), ae_title=batch.settings.dicom.ae_title) as association:

        def send(item: Item) -> Outcome:
            stored = objects[item.key]
            return association.send(stored) if association.proposes(stored) else LATER

        yield send


def _objects(batch: Batch) -> "dict[str, Stored]":
    from node.outgoing.storing import Stored

    rows = batch.db.execute(OBJECTS, [json.dumps([item.key for item in batch.items])]).fetchall()
    return {
        key: Stored(path=batch.archive.path(sha256), sop_class_uid=sop_class, transfer_syntax_uid=syntax)
        for key, sha256, sop_class, syntax in rows
    }


FORWARD = Kind(
    name="forward",
    receivers=_destinations,
    enrol=ENROL,
    values=_values,
    position="SELECT max(object_id) FROM fact_object",
    opened=_opened,
    pauses=Pauses(first=timedelta(minutes=1), longest=timedelta(hours=4)),
    rest=Pauses(first=timedelta(seconds=5), longest=timedelta(minutes=5)),
    # A day and a half with these pauses.
    limits=Limits(attempts=12),
    failure="it cannot be encoded as the destination wants it",
    batch=100,
    settle_every=100,
)


def retry(db: Database, peer_name: str, *, at: datetime) -> int:
    """Have everything that waits for a destination, or was given up, tried again now; returns how many objects.

    Raises
    ------
    InputError
        Nothing is sent on to a peer of this name.
    """
    tried = queue.retry(db, FORWARD, peer_name, at=at)
    if tried is None:
        raise InputError(f"nothing is sent on to {peer_name!r}; dicom.peers names those with a `forward` address")
    return tried
