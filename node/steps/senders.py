"""The step of the senders: what is usual of each one's blood counts, and which counts are far from it.

The norm of a sender follows from the set of all its counts, so it does not matter in which order they came, and
deriving everything again arrives at the same. A sender whose set has changed is pending (``stale``); when its norm is
made anew, the persons whose doubt changes are left pending for the link step. A round costs as much as the counts of
the senders that have new ones.
"""

import json
from collections.abc import Sequence
from dataclasses import replace

from sqlite_utils import Database

from analytics.counts.blood import CombinedCount
from analytics.counts.norms import (
    NO_COUNTS,
    PRIOR,
    Centre,
    Judged,
    Norm,
    are_few_reversed,
    confirmed_elsewhere,
    exchanged_spells,
    norm_of,
    said_by,
    unlike_patient,
    unlike_sender,
    usual_between,
    usual_nlr,
    waits,
)
from analytics.reasons import Reason, to_dict
from analytics.records import ResultStatus
from node.clock import from_text, to_text
from node.store.database import insert, writing
from node.store.pending import touch_person

COMPARED = (ResultStatus.FINAL, ResultStatus.CORRECTED, ResultStatus.PRELIMINARY)
"""Counts that something else holds or withdraws say nothing of what is usual."""
COLUMNS = "specimen, sender, taken_at, lymphocytes, platelets, plr, nlr, confirmed, platelets_confirmed, forms_agree"


def judge_senders(db: Database) -> int:
    """Make the norms of the pending senders anew; returns how many senders there were."""
    stale = [sender for (sender,) in db.execute("SELECT sender FROM derived_sender WHERE stale = 1").fetchall()]
    for sender in stale:
        with writing(db):
            _judge(db, sender)
    return len(stale)


def _judge(db: Database, sender: str) -> None:
    rows = db.execute(f"SELECT person, doubt, waits, {COLUMNS} FROM derived_sender_count WHERE sender = ?", [sender])
    told = [(person, doubt, bool(waiting), _judged(values)) for person, doubt, waiting, *values in rows.fetchall()]
    if not told:
        db.execute("DELETE FROM derived_sender WHERE sender = ?", [sender])
        return
    norm = _norm([(person, count) for person, _, _, count in told])
    _store_norm(db, sender, norm)
    for person, doubt, waiting, count in told:
        if _stored(_doubt(db, person, count, norm)) != doubt or waits(count, norm) != waiting:
            touch_person(db, person)


def _norm(counts: Sequence[tuple[str, Judged]]) -> Norm:
    ln_nlr = usual_nlr((person, one.nlr) for person, one in counts)
    spells, suspected = exchanged_spells(((person, one.taken_at, one.nlr) for person, one in counts), ln_nlr)
    norm = replace(
        norm_of((person, one.lymphocytes, one.plr) for person, one in counts),
        exchanged=spells,
        ln_nlr=ln_nlr,
        suspected_since=suspected,
    )
    return replace(norm, few_reversed=are_few_reversed(counts, norm))


def _store_norm(db: Database, sender: str, norm: Norm) -> None:
    content = {
        "centres": {name: [centre.median, centre.sd] for name, centre in norm.centres.items()},
        "off": list(norm.off),
        "exchanged": [[to_text(first), to_text(last)] for first, last in norm.exchanged],
        "ln_nlr": norm.ln_nlr,
        "suspected_since": to_text(norm.suspected_since) if norm.suspected_since else None,
        "few_reversed": norm.few_reversed,
    }
    db.execute(
        "INSERT OR REPLACE INTO derived_sender (sender, persons, norm, stale) VALUES (?, ?, ?, 0)",
        [sender, norm.persons, json.dumps(content)],
    )


def read_norm(db: Database, sender: str) -> Norm:
    """The norm of a sender as it was last made; that of the literature before."""
    row = db.execute("SELECT persons, norm FROM derived_sender WHERE sender = ?", [sender]).fetchone()
    if row is None:
        return NO_COUNTS
    content = json.loads(row[1])
    centres = {name: Centre(median=content["centres"][name][0], sd=content["centres"][name][1]) for name in PRIOR}
    exchanged = tuple((from_text(first), from_text(last)) for first, last in content["exchanged"])
    suspected = content["suspected_since"]
    return Norm(
        persons=row[0],
        centres=centres,
        off=tuple(content["off"]),
        exchanged=exchanged,
        ln_nlr=content["ln_nlr"],
        suspected_since=from_text(suspected) if suspected else None,
        few_reversed=content["few_reversed"],
    )


def compare_counts(db: Database, person: str, counts: Sequence[CombinedCount]) -> list[CombinedCount]:
    """The counts of a person, held where they are far from what is usual; inside the unit of work of the person."""
    compared = [_of(count) for count in counts if count.status in COMPARED]
    compared = [replace(one, confirmed=one.confirmed or confirmed_elsewhere(one, compared)) for one in compared]
    norms = {sender: read_norm(db, sender) for sender in {one.sender for one in compared}}
    by_sender = {one.specimen: _doubt(db, person, one, norms[one.sender], compared) for one in compared}
    own = {one.specimen: unlike_patient(one, compared) for one in compared}
    waiting = {one.specimen for one in compared if waits(one, norms[one.sender])}
    whole = {one.specimen for one in counts if one.nlr and one.plr}
    _store_counts(db, person, compared, by_sender, whole=whole, waiting=waiting)
    judged = [_held(count, [by_sender.get(count.specimen), own.get(count.specimen)]) for count in counts]
    return [_waiting(count) if count.specimen in waiting else count for count in judged]


def _doubt(db: Database, person: str, count: Judged, norm: Norm, own: Sequence[Judged] | None = None) -> Reason | None:
    """Why a count may not be right by what is usual of its sender, unless another one of the person says the same.

    ``own`` are the person's counts; those that are stored where ``None``.
    """
    doubt = unlike_sender(count, norm)
    if doubt is None or count.taken_at is None:
        return doubt
    own = [_judged(row) for row in _rows(db, person)] if own is None else own
    for other in own:
        if other.taken_at is None or not said_by(count, doubt, other, norm):
            continue
        if other.sender != count.sender:
            return None
        first, last = sorted((count.taken_at, other.taken_at))
        between = db.execute(
            f"SELECT {COLUMNS} FROM derived_sender_count "
            "WHERE sender = ? AND person <> ? AND taken_at > ? AND taken_at < ?",
            [count.sender, person, to_text(first), to_text(last)],
        ).fetchall()
        if usual_between(doubt, [_judged(row) for row in between], norm):
            return None
    return doubt


def _of(count: CombinedCount) -> Judged:
    return Judged(
        specimen=count.specimen,
        sender=count.sender,
        # Among others it would stand last for years, and end what is suspected of the newest ones.
        taken_at=None if count.after_message else count.taken_at,
        lymphocytes=count.lymphocytes_10e9_per_l,
        platelets=count.platelets_10e9_per_l,
        plr=count.plr,
        nlr=count.nlr,
        confirmed=count.confirmed,
        platelets_confirmed=count.platelets_confirmed,
        forms_agree=count.forms_agree,
    )


def _held(count: CombinedCount, doubts: Sequence[Reason | None]) -> CombinedCount:
    found = tuple(one for one in doubts if one is not None)
    return replace(count, status=ResultStatus.HELD, notes=(*count.notes, *found)) if found else count


def _waiting(count: CombinedCount) -> CombinedCount:
    """A count that is used once the sender's next ones are here."""
    if count.status not in (ResultStatus.FINAL, ResultStatus.CORRECTED):
        return count
    return replace(count, status=ResultStatus.PRELIMINARY, notes=(*count.notes, Reason("count-awaits-next")))


def _store_counts(
    db: Database,
    person: str,
    compared: Sequence[Judged],
    doubts: dict[str, Reason | None],
    *,
    whole: set[str],
    waiting: set[str],
) -> None:
    before = {_judged(row) for row in _rows(db, person)}
    after = set(compared)
    db.execute("DELETE FROM derived_sender_count WHERE person = ?", [person])
    rows = [
        {
            **_row(person, one, doubts[one.specimen], waiting=one.specimen in waiting),
            "ratios": int(one.specimen in whole),
        }
        for one in compared
    ]
    insert(db, "derived_sender_count", rows)
    for sender in {one.sender for one in before ^ after}:
        _make_stale(db, sender)


def forget_counts(db: Database, person: str) -> None:
    """Take the counts of a person who is no more out of what is usual, inside a unit of work."""
    for sender in {one.sender for one in map(_judged, _rows(db, person))}:
        _make_stale(db, sender)
    db.execute("DELETE FROM derived_sender_count WHERE person = ?", [person])


def _make_stale(db: Database, sender: str) -> None:
    if not db.execute("UPDATE derived_sender SET stale = 1 WHERE sender = ? RETURNING 1", [sender]).fetchone():
        _store_norm(db, sender, NO_COUNTS)
        db.execute("UPDATE derived_sender SET stale = 1 WHERE sender = ?", [sender])


def _rows(db: Database, person: str) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = db.execute(
        f"SELECT {COLUMNS} FROM derived_sender_count WHERE person = ?", [person]
    ).fetchall()
    return found


def _judged(row: Sequence[object]) -> Judged:
    specimen, sender, taken_at, lymphocytes, platelets, plr, nlr, confirmed, platelets_confirmed, forms_agree = row
    return Judged(
        specimen=str(specimen),
        sender=str(sender),
        taken_at=from_text(str(taken_at)) if taken_at else None,
        lymphocytes=lymphocytes,  # type: ignore[arg-type]  # a REAL column
        platelets=platelets,  # type: ignore[arg-type]  # a REAL column
        plr=plr,  # type: ignore[arg-type]  # a REAL column
        nlr=nlr,  # type: ignore[arg-type]  # a REAL column
        confirmed=bool(confirmed),
        platelets_confirmed=bool(platelets_confirmed),
        forms_agree=bool(forms_agree),
    )


def _row(person: str, one: Judged, doubt: Reason | None, *, waiting: bool) -> dict[str, object]:
    return {
        "person": person,
        "specimen": one.specimen,
        "sender": one.sender,
        "taken_at": to_text(one.taken_at) if one.taken_at else None,
        "lymphocytes": one.lymphocytes,
        "platelets": one.platelets,
        "plr": one.plr,
        "nlr": one.nlr,
        "confirmed": int(one.confirmed),
        "platelets_confirmed": int(one.platelets_confirmed),
        "forms_agree": int(one.forms_agree),
        "waits": int(waiting),
        "doubt": _stored(doubt),
    }


def _stored(doubt: Reason | None) -> str | None:
    return None if doubt is None else json.dumps(to_dict(doubt), sort_keys=True)
