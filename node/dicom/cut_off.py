"""Objects whose transfer ended half-way: counted by peer, within bounds, until they come whole.

The sender aborted, the connection was lost, or nothing more came in time. No answer was given, so a sender that means
well sends the object again; one that does not leaves a study with an image less.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlite_utils import Database

from node.clock import to_text
from node.dicom.refused_contexts import Sender, name_of
from node.store.refusals import Count, printable

CUT_OFF = "object-cut-off"
"""Code in ``problems`` and ``vbq-node refusals``."""
MAX_ROWS_OF_ADDRESS = 100
"""Most rows of one address, of which each association leaves one at most; what is beyond is not counted."""
MAX_ROWS = 1000
"""Most rows in all; the oldest go first."""
KEPT_FOR = timedelta(days=30)
"""How long a row is kept after it was last seen."""

# Receipts have an order of their own; those of the last second may be from after it.
UPSERT = """
INSERT INTO state_cut_off
    (peer_address, calling_ae, sop_instance_uid, sop_class_uid, times, first_at, last_at, after_receipt)
SELECT :address, :calling, :uid, :class, :times, :first, :last, coalesce(
    (SELECT receipt_id FROM fact_object_receipt WHERE received_at <= :last ORDER BY receipt_id DESC LIMIT 1), 0)
WHERE EXISTS (SELECT 1 FROM state_cut_off
              WHERE peer_address = :address AND calling_ae = :calling AND sop_instance_uid = :uid)
   OR (SELECT count(*) FROM state_cut_off WHERE peer_address = :address) < :most
ON CONFLICT DO UPDATE SET
    times = times + excluded.times, last_at = excluded.last_at, after_receipt = excluded.after_receipt
"""
LIST = """
SELECT peer_address, calling_ae, sop_class_uid, sop_instance_uid, times, first_at, last_at,
       (SELECT min(r.received_at) FROM fact_object AS o JOIN fact_object_receipt AS r USING (object_id)
        WHERE o.sop_instance_uid = c.sop_instance_uid AND r.receipt_id > c.after_receipt) AS settled_at
FROM state_cut_off AS c ORDER BY last_at DESC, peer_address, calling_ae, sop_instance_uid
"""


@dataclass(frozen=True, kw_only=True)
class CutOff:
    """An object of a sender that came in part only, by what its sender called it."""

    sender: Sender
    sop_class_uid: str
    sop_instance_uid: str


def store_cut_off(db: Database, counts: Mapping[CutOff, Count], *, at: datetime) -> None:
    """Add what was gathered, within a unit of work of the caller, and forget what is old or too much."""
    if counts:
        db.execute("DELETE FROM state_cut_off WHERE last_at < ?", [to_text(at - KEPT_FOR)])
    for one, count in counts.items():
        row = {
            "address": one.sender.address,
            "calling": printable(one.sender.calling_ae),
            "uid": one.sop_instance_uid,
            "class": one.sop_class_uid,
            "times": count.times,
            "first": to_text(count.first_at),
            "last": to_text(count.last_at),
            "most": MAX_ROWS_OF_ADDRESS,
        }
        db.execute(UPSERT, row)
    if counts:
        db.execute(
            "DELETE FROM state_cut_off WHERE rowid IN "
            "(SELECT rowid FROM state_cut_off ORDER BY last_at DESC LIMIT -1 OFFSET ?)",
            [MAX_ROWS],
        )


def list_cut_off(db: Database) -> list[dict[str, object]]:
    """In the columns of :func:`node.dicom.refusals.list_refusals`, the latest first."""
    return [
        {
            "peer_address": row["peer_address"],
            "calling_ae": row["calling_ae"],
            "called_ae": "",
            "code": CUT_OFF,
            "reason": f"{name_of(row['sop_class_uid'])} {printable(row['sop_instance_uid'])} came in part only",
            "times": row["times"],
            "first_at": row["first_at"],
            "last_at": row["last_at"],
            "settled_at": row["settled_at"],
        }
        for row in db.query(LIST)
    ]
