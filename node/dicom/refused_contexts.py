"""Presentation contexts that the receiver refuses: counted by peer, SOP class and transfer syntax, within bounds.

The negotiation goes on without them, so nothing else shows that they were wanted. Such a row is a problem when MR
images were offered in no way that is taken, or when the sender aborted afterwards: many do, at the first object that
they then cannot send. It is settled by a later association in which the class is taken, or that ends in order.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlite_utils import Database

from analytics.vbq.header import MR_IMAGES
from node.clock import to_text
from node.dicom.contexts import uid_name
from node.dicom.upper_layer import Context, Proposal

REFUSED_CONTEXT = "context-refused"
"""Code in ``problems`` and ``vbq-node refusals``."""
MAX_UID_CHARS = 64
MAX_ROWS_OF_ADDRESS = 400
"""Three associations of 128 contexts each with another AE title; what is beyond is not counted one by one."""
MAX_ROWS = 4000
"""Most rows in all; the oldest go first."""
KEPT_FOR = timedelta(days=30)
"""How long a row is kept after it was last seen."""

UPSERT = """
INSERT INTO state_refused_context
    (peer_address, calling_ae, sop_class_uid, transfer_syntax_uid, offer, times, aborted, problem, first_at, last_at)
SELECT :address, :calling, :class, :syntax, :offer, :times, :aborted, :problem, :first, :last
WHERE EXISTS (SELECT 1 FROM state_refused_context WHERE peer_address = :address AND calling_ae = :calling
              AND sop_class_uid = :class AND transfer_syntax_uid = :syntax)
   OR (SELECT count(*) FROM state_refused_context WHERE peer_address = :address) < :most
ON CONFLICT DO UPDATE SET
    times = times + excluded.times, aborted = aborted + excluded.aborted, last_at = excluded.last_at,
    problem = max(excluded.problem, iif(settled_at IS NULL, problem, 0)),
    settled_at = iif(excluded.problem = 1, NULL, settled_at)
"""
SETTLE_TAKEN = """
UPDATE state_refused_context SET settled_at = :at
WHERE settled_at IS NULL AND peer_address = :address AND calling_ae = :calling AND sop_class_uid = :class
  AND last_at <= :at
"""
SETTLE_ENDED = f"""
UPDATE state_refused_context SET settled_at = :at
WHERE settled_at IS NULL AND peer_address = :address AND calling_ae = :calling AND aborted > 0
  AND sop_class_uid NOT IN ({", ".join(f"'{uid}'" for uid in MR_IMAGES)}) AND last_at <= :at
"""


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Who negotiated: an address, and what it calls itself."""

    address: str
    calling_ae: str


@dataclass(frozen=True, kw_only=True)
class RefusedContext:
    """A SOP class in a transfer syntax that a sender offered and this node did not take."""

    sender: Sender
    sop_class_uid: str
    transfer_syntax_uid: str
    needed: bool
    """MR images, and no other offer of the class was taken."""


@dataclass(kw_only=True)
class ContextCount:
    """How often, how often the sender then aborted, and when first and last."""

    times: int
    aborted: int
    first_at: datetime
    last_at: datetime


def refused_contexts(
    sender: Sender, proposals: Iterable[Proposal], accepted: Mapping[int, Context]
) -> tuple[RefusedContext, ...]:
    """What was proposed and is not in the contexts agreed on, a class and syntax each, in the order proposed."""
    taken = {context.abstract_syntax for context in accepted.values()}
    agreed = {(context.abstract_syntax, context.transfer_syntax) for context in accepted.values()}
    found = {
        (one.abstract_syntax[:MAX_UID_CHARS], syntax[:MAX_UID_CHARS]): one.abstract_syntax
        for one in proposals
        if one.context_id not in accepted
        for syntax in one.transfer_syntaxes or ("",)
        if (one.abstract_syntax, syntax) not in agreed
    }
    return tuple(
        RefusedContext(
            sender=sender,
            sop_class_uid=class_uid,
            transfer_syntax_uid=syntax_uid,
            needed=whole in MR_IMAGES and whole not in taken,
        )
        for (class_uid, syntax_uid), whole in found.items()
    )


def name_of(uid: str) -> str:
    """The name of a SOP class or transfer syntax with its UID, for a person; a stranger may send anything."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in uid)
    name = uid_name(printable)
    return printable if name == printable else f"{name} ({printable})"


def store_contexts(db: Database, counts: Mapping[RefusedContext, ContextCount], *, at: datetime) -> None:
    """Forget what is old, add what was gathered, within a unit of work of the caller, and forget what is too much."""
    if counts:
        db.execute("DELETE FROM state_refused_context WHERE last_at < ?", [to_text(at - KEPT_FOR)])
    for refused, count in counts.items():
        aborted = count.aborted > 0
        offer = f"{name_of(refused.sop_class_uid)} in {name_of(refused.transfer_syntax_uid) or 'no transfer syntax'}"
        row = {
            "address": refused.sender.address,
            "calling": _printable(refused.sender.calling_ae),
            "class": refused.sop_class_uid,
            "syntax": refused.transfer_syntax_uid,
            "offer": offer,
            "times": count.times,
            "aborted": count.aborted,
            "problem": int(refused.needed or aborted),
            "first": to_text(count.first_at),
            "last": to_text(count.last_at),
            "most": MAX_ROWS_OF_ADDRESS,
        }
        db.execute(UPSERT, row)
    if counts:
        db.execute(
            "DELETE FROM state_refused_context WHERE rowid IN "
            "(SELECT rowid FROM state_refused_context ORDER BY last_at DESC LIMIT -1 OFFSET ?)",
            [MAX_ROWS],
        )


def settle_contexts(
    db: Database,
    taken: Mapping[tuple[Sender, str], datetime],
    ended: Mapping[Sender, datetime],
) -> None:
    """Settle what a later association shows to be no problem any more, within a unit of work of the caller.

    Parameters
    ----------
    taken
        When a SOP class of a sender was taken.
    ended
        When an association of a sender with refused contexts ended in order.
    """
    for (sender, class_uid), moment in taken.items():
        row = {"address": sender.address, "calling": _printable(sender.calling_ae), "class": class_uid}
        db.execute(SETTLE_TAKEN, row | {"at": to_text(moment)})
    for sender, moment in ended.items():
        row = {"address": sender.address, "calling": _printable(sender.calling_ae)}
        db.execute(SETTLE_ENDED, row | {"at": to_text(moment)})


def list_contexts(db: Database) -> list[dict[str, object]]:
    """In the columns of :func:`node.dicom.refusals.list_refusals`, the latest first."""
    return list(
        db.query(
            "SELECT peer_address, calling_ae, '' AS called_ae, ? AS code, "
            "offer || ' is not taken (dicom.accept)' || iif(aborted > 0, '; the sender then aborted ' || aborted || "
            "iif(aborted = 1, ' time', ' times'), '') AS reason, times, first_at, last_at, settled_at "
            "FROM state_refused_context ORDER BY last_at DESC, peer_address, calling_ae, sop_class_uid, "
            "transfer_syntax_uid",
            [REFUSED_CONTEXT],
        )
    )


def classes_of(contexts: Collection[Context]) -> frozenset[str]:
    """The SOP classes that were taken."""
    return frozenset(context.abstract_syntax for context in contexts)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
