"""Objects of one SOP Instance UID: which of them holds.

A PACS that corrects the patient, or merges and splits studies, sends the same images again with another header. The
newest receipt from a peer that may correct the earlier object holds when the pixels are the same; the earlier object
is kept and counts for nothing. Otherwise both stand, and a person decides (``vbq-node study use-newest``). The order
of receipts and decisions alone decides, so that deriving everything again arrives at the same.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from sqlite_utils import Database

from analytics.reasons import Reason
from node.dicom.header import Header, header_from_json
from node.errors import DicomReadError
from node.measure.same import same_pixels
from node.settings import Dicom, Settings
from node.steps.stale import forget_empty, make_named_stale, make_stale
from node.store.archive import Archive
from node.store.database import writing
from node.store.failures import Unit, barrier, tried

BATCH = 64
"""SOP Instance UIDs judged between two units of work."""
TOLD = {
    "patient_id": "patient number",
    "issuer": "issuer of the patient number",
    "birth_date": "birth date",
    "sex": "sex",
    "signed_names": "name",
    "study_instance_uid": "study",
    "series_instance_uid": "series",
    "study_date": "study date",
    "began_at": "time of day",
    "accession_number": "accession number",
    "instance_number": "instance number",
    "rejection": "list of images taken back",
}
"""Words for what two objects of one SOP Instance UID differ in, by the field of their headers."""
IMAGE = "description of the image"
"""Of every other field."""
COLUMNS = (
    "object_id", "sop_instance_uid", "series_instance_uid", "study_instance_uid", "modality", "instance_number",
    "headers",
)  # fmt: skip
"""Columns that an object takes with it from ``derived_instance`` to ``derived_superseded`` and back."""

Doubt = Literal["peer", "gone", "pixels"]
"""Why several objects stand: the later one came from a peer that may not correct the earlier; a file is gone, so that
they cannot be compared; or their pixels differ. The later in this list is the worse."""

MEMBERS = f"""
SELECT {", ".join(f"i.{name}" for name in COLUMNS)}, o.sha256, i.content_of, 1 AS stands
FROM derived_instance AS i JOIN fact_object AS o USING (object_id) WHERE i.sop_instance_uid = :uid
UNION ALL
SELECT {", ".join(f"i.{name}" for name in COLUMNS)}, o.sha256, NULL, 0
FROM derived_superseded AS i JOIN fact_object AS o USING (object_id) WHERE i.sop_instance_uid = :uid
ORDER BY 1
"""
RECEIPTS = """
SELECT receipt_id, object_id, received_at, calling_ae, peer_address FROM fact_object_receipt
WHERE object_id IN (SELECT value FROM json_each(?))
"""
DECISIONS = """
SELECT coalesce(after_receipt, (SELECT max(receipt_id) FROM fact_object_receipt WHERE received_at <= decided_at), 0)
FROM fact_study_decision
WHERE study_instance_uid IN (SELECT value FROM json_each(?))
  AND decision_id NOT IN (SELECT decision_id FROM fact_study_withdrawal)
"""
CAME_AGAIN = """
INSERT OR IGNORE INTO derived_resent
SELECT s.sop_instance_uid FROM fact_object_receipt AS r JOIN derived_superseded AS s USING (object_id)
WHERE r.receipt_id > :read
UNION SELECT sop_instance_uid FROM fact_object_receipt AS r JOIN derived_instance AS i USING (object_id)
WHERE r.receipt_id > :read AND sop_instance_uid IN (SELECT sop_instance_uid FROM derived_undecided)
"""
# A rejection note that came again, as it was, takes back what has been restored since.
NOTES_CAME = """
SELECT DISTINCT r.object_id FROM fact_object_receipt AS r JOIN derived_rejection AS j USING (object_id)
WHERE r.receipt_id > ?
"""
# Images that a PACS has taken back and that came again: whether they are restored is judged once they are quiet.
REJECTED_CAME_AGAIN = """
SELECT i.object_id, i.study_instance_uid, i.series_instance_uid, max(r.received_at)
FROM fact_object_receipt AS r JOIN derived_instance AS i USING (object_id)
WHERE r.receipt_id > ? AND i.sop_instance_uid IN (SELECT sop_instance_uid FROM derived_rejection)
GROUP BY i.object_id
"""
NEW_DECISIONS = """
SELECT decision_id, study_instance_uid FROM fact_study_decision
WHERE decision_id NOT IN (SELECT decision_id FROM derived_study_decision)
"""
DECIDED = """
INSERT OR IGNORE INTO derived_resent
SELECT sop_instance_uid FROM derived_undecided WHERE sop_instance_uid IN
    (SELECT sop_instance_uid FROM derived_instance WHERE study_instance_uid = :study)
UNION SELECT sop_instance_uid FROM derived_superseded WHERE study_instance_uid = :study
UNION SELECT s.sop_instance_uid FROM derived_superseded AS s JOIN derived_instance AS i ON i.object_id = s.replaced_by
      WHERE i.study_instance_uid = :study
"""


@dataclass(frozen=True, kw_only=True)
class Member:
    """An object of the SOP Instance UID, and whether it counts now."""

    row: Mapping[str, object]
    header: Header
    path: Path
    content_of: int | None
    stands: bool

    @property
    def object_id(self) -> int:
        return int(str(self.row["object_id"]))


@dataclass(frozen=True, kw_only=True)
class Superseded:
    """What became of an object in whose place another stands."""

    by: int
    changed: tuple[str, ...]
    sent_by: str
    told: bool


@dataclass(kw_only=True)
class Verdict:
    """Which object holds, which are undecided (and why), and which are superseded."""

    holds: int
    settled_at: str | None = None
    undecided: dict[int, Doubt] = field(default_factory=dict)
    superseded: dict[int, Superseded] = field(default_factory=dict)
    alike: frozenset[int] = frozenset()
    """The one that holds, and those in whose place it stands of which the pixels are known to be the same."""


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Who sent an object: a peer of the settings, or an address that is none of theirs."""

    peer: str | None = None
    address: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Event:
    """A receipt of an object, or (``object_id`` is ``None``) a person's decision for what came last."""

    place: int
    """Number of the receipt, or of the newest that the person could know of: a clock may have been wrong."""
    at: str = ""
    """When an object was received."""
    object_id: int | None = None
    sender: Sender | None = None
    calling_ae: str = ""


class _Compared:
    """Comparisons of the objects of one SOP Instance UID; each pair is read once."""

    def __init__(self, members: Mapping[int, Member]) -> None:
        self._members = members
        self._against: dict[tuple[int, int], Doubt | None] = {}
        self._changed: dict[tuple[int, int], tuple[str, ...]] = {}

    def against(self, earlier: int, later: int) -> Doubt | None:
        """Why it cannot be said that both show the same; ``None``: they do."""
        pair = (min(earlier, later), max(earlier, later))
        if pair not in self._against:
            self._against[pair] = self._compare(*pair)
        return self._against[pair]

    def _compare(self, one: int, other: int) -> Doubt | None:
        try:
            return None if same_pixels(self._members[one].path, self._members[other].path) else "pixels"
        except (FileNotFoundError, DicomReadError):
            return "gone"

    def changed(self, earlier: int, later: int) -> tuple[str, ...]:
        pair = (earlier, later)
        if pair not in self._changed:
            self._changed[pair] = _changed(self._members[earlier], self._members[later])
        return self._changed[pair]


def settle_resent(db: Database, archive: Archive, settings: Settings) -> int:
    """Judge every SOP Instance UID of which another object came, or an earlier one again; returns how many."""
    _note_news(db)
    done = 0
    while uids := [uid for (uid,) in db.execute("SELECT sop_instance_uid FROM derived_resent LIMIT ?", [BATCH])]:
        judged = [(uid, tried(partial(_judge, db, archive, settings, uid))) for uid in uids]
        with writing(db):
            for uid, found in judged:
                db.execute("DELETE FROM derived_resent WHERE sop_instance_uid = ?", [uid])
                with barrier(db, "resent", Unit("image", uid)):
                    _apply(db, *found.result())
        done += len(uids)
    return done


def _note_news(db: Database) -> None:
    (newest,) = db.execute("SELECT coalesce(max(receipt_id), 0) FROM fact_object_receipt").fetchone()
    (read,) = db.execute("SELECT coalesce(max(receipt_id), 0) FROM derived_receipts_read").fetchone()
    decisions = db.execute(NEW_DECISIONS).fetchall()
    if newest == read and not decisions:
        return
    with writing(db):
        db.execute(CAME_AGAIN, {"read": read})
        for object_id, study, series, received_at in db.execute(REJECTED_CAME_AGAIN, [read]).fetchall():
            db.execute("UPDATE derived_instance SET settled_at = ? WHERE object_id = ?", [received_at, object_id])
            make_stale(db, study=study, series=series)
        for (note,) in db.execute(NOTES_CAME, [read]).fetchall():
            make_named_stale(db, note=note)
        for decision_id, study in decisions:
            db.execute(DECIDED, {"study": study})
            db.execute("INSERT INTO derived_study_decision (decision_id) VALUES (?)", [decision_id])
        db.execute("INSERT OR REPLACE INTO derived_receipts_read (only, receipt_id) VALUES (1, ?)", [newest])


def _judge(db: Database, archive: Archive, settings: Settings, uid: str) -> tuple[list[Member], Verdict | None]:
    rows = db.execute(MEMBERS, {"uid": uid}).fetchall()
    members = [
        Member(
            row=dict(zip(COLUMNS, row, strict=False)),
            header=header_from_json(row[COLUMNS.index("headers")]),
            path=archive.path(row[-3]),
            content_of=row[-2],
            stands=bool(row[-1]),
        )
        for row in rows
    ]
    if len(members) < 2:
        return members, None
    return members, judge(members, _events(db, settings.dicom, members), settings.dicom)


def _events(db: Database, settings: Dicom, members: Sequence[Member]) -> list[_Event]:
    objects = json.dumps([one.object_id for one in members])
    studies = json.dumps(sorted({one.header.study_instance_uid for one in members}))
    found = [
        _Event(
            place=place,
            at=at,
            object_id=number,
            sender=sender_of(settings, address=address, calling_ae=calling),
            calling_ae=calling,
        )
        for place, number, at, calling, address in db.execute(RECEIPTS, [objects])
    ]
    found += [_Event(place=place) for (place,) in db.execute(DECISIONS, [studies])]
    return sorted(found, key=lambda one: (one.place, one.object_id is None))


def sender_of(settings: Dicom, *, address: str, calling_ae: str) -> Sender | None:
    """Who sent something: a peer of the settings (fetched from it, too), else its address; ``None``: not known."""
    if not address:
        return None
    name = settings.peer_name(address=address, calling_ae=calling_ae)
    for other, peer in settings.peers.items():
        if name is None and peer.query and (peer.query.ae_title, peer.query.host) == (calling_ae, address):
            name = other
    return Sender(peer=name) if name else Sender(address=address)


def judge(members: Sequence[Member], events: Iterable[_Event], settings: Dicom) -> Verdict:
    """Go through receipts and decisions in their order; the objects that came first are in ``members``."""
    by_id = {one.object_id: one for one in members}
    compared = _Compared(by_id)
    senders: dict[int, set[Sender]] = {}
    verdict: Verdict | None = None
    last: _Event | None = None
    for event in events:
        if event.object_id is None:
            if verdict is not None and last is not None and last.object_id is not None:
                _decide(verdict, compared, last)
            continue
        last = event
        if event.sender:
            senders.setdefault(event.object_id, set()).add(event.sender)
        if verdict is None:
            verdict = Verdict(holds=event.object_id)
        elif event.object_id != verdict.holds:
            allowed = may_correct(settings, event.sender, senders.get(verdict.holds, set()))
            _take(verdict, compared, event, allowed=allowed)
    if verdict is None:
        raise DicomReadError(Reason("no-receipt"))
    same = (other for other in verdict.superseded if compared.against(verdict.holds, other) is None)
    verdict.alike = frozenset({verdict.holds, *same})
    return verdict


def may_correct(settings: Dicom, sender: Sender | None, senders_of_earlier: Collection[Sender | None]) -> bool:
    """Whether what somebody sends may stand in the place of what these have sent (``corrects`` of a peer)."""
    peer = settings.peers.get(sender.peer) if sender and sender.peer else None
    corrects = peer.corrects if peer else "own"
    return sender is not None and (corrects == "any" or (corrects == "own" and sender in senders_of_earlier))


def _take(verdict: Verdict, compared: _Compared, event: _Event, *, allowed: bool) -> None:
    """A receipt of another object than the one that holds."""
    number = int(str(event.object_id))
    doubt = compared.against(verdict.holds, number)
    if doubt is not None:
        verdict.undecided[number] = doubt
        return
    changed = compared.changed(verdict.holds, number)
    if allowed:
        _replace(verdict, compared, number, event, told=bool(changed))
    elif changed:
        verdict.undecided[number] = "peer"
    else:
        # The same image once more, written otherwise: no news.
        verdict.superseded[number] = Superseded(by=verdict.holds, changed=(), sent_by=event.calling_ae, told=False)


def _decide(verdict: Verdict, compared: _Compared, last: _Event) -> None:
    """A person says that what came last holds."""
    number = int(str(last.object_id))
    for other in list(verdict.undecided):
        del verdict.undecided[other]
        if other != number:
            verdict.superseded[other] = Superseded(by=number, changed=(), sent_by=last.calling_ae, told=False)
    if number != verdict.holds:
        _replace(verdict, compared, number, last, told=False)
    for other, one in list(verdict.superseded.items()):
        verdict.superseded[other] = Superseded(by=one.by, changed=one.changed, sent_by=one.sent_by, told=False)


def _replace(verdict: Verdict, compared: _Compared, number: int, event: _Event, *, told: bool) -> None:
    changed = compared.changed(verdict.holds, number)
    verdict.superseded.pop(number, None)
    verdict.undecided.pop(number, None)
    verdict.superseded = {
        other: Superseded(by=number, changed=one.changed, sent_by=one.sent_by, told=False)
        for other, one in verdict.superseded.items()
    }
    verdict.superseded[verdict.holds] = Superseded(by=number, changed=changed, sent_by=event.calling_ae, told=told)
    verdict.holds, verdict.settled_at = number, event.at


def _changed(earlier: Member, later: Member) -> tuple[str, ...]:
    """What the later object says otherwise, in words; a name is no other where one of the two is missing."""
    one, other = earlier.header, later.header
    differing = [
        field.name
        for field in fields(Header)
        if field.compare and getattr(one, field.name) != getattr(other, field.name)
    ]
    if not (one.signed_names and other.signed_names):
        differing = [name for name in differing if name != "signed_names"]
    found = {TOLD.get(name, IMAGE) for name in differing}
    return tuple(word for word in (*TOLD.values(), IMAGE) if word in found)


CONTESTED = """
SELECT DISTINCT other.study_instance_uid
FROM derived_undecided AS u
JOIN derived_instance AS i ON i.sop_instance_uid = u.sop_instance_uid AND i.study_instance_uid = u.study_instance_uid
JOIN derived_instance AS other
    ON other.sop_instance_uid = i.sop_instance_uid AND other.study_instance_uid <> i.study_instance_uid
WHERE u.study_instance_uid = ?
  AND (other.headers ->> '$.patient_id' IS NOT i.headers ->> '$.patient_id'
       OR other.headers ->> '$.issuer' IS NOT i.headers ->> '$.issuer'
       OR other.headers ->> '$.birth_date' IS NOT i.headers ->> '$.birth_date'
       OR other.headers ->> '$.sex' IS NOT i.headers ->> '$.sex')
ORDER BY 1
"""


def contested_with(db: Database, study_uid: str) -> list[str]:
    """Other studies in which images of this one stand under another patient, until a person decides."""
    return [uid for (uid,) in db.execute(CONTESTED, [study_uid])]


# ---- in the database -------------------------------------------------------------------------------------------
def _apply(db: Database, members: Sequence[Member], verdict: Verdict | None) -> None:
    if verdict is None:
        return
    uid = members[0].row["sop_instance_uid"]
    standing = {verdict.holds, *verdict.undecided}
    for one in members:
        _move(db, one, verdict, stands=one.object_id in standing)
    _hold(db, next(one for one in members if one.object_id == verdict.holds), members, verdict)
    db.execute("DELETE FROM derived_undecided WHERE sop_instance_uid = ?", [uid])
    for one in members:
        if verdict.undecided and one.object_id in standing:
            db.execute(
                "INSERT OR IGNORE INTO derived_undecided VALUES (?, ?, ?, ?)",
                [
                    uid,
                    one.header.series_instance_uid,
                    one.header.study_instance_uid,
                    max(verdict.undecided.values(), key=get_args(Doubt).index),
                ],
            )
    for study, series in _places(members):
        make_stale(db, study=study, series=series)
        forget_empty(db, study=study, series=series)
    for one in members:
        if one.header.rejection is not None:
            make_named_stale(db, note=one.object_id)


def _places(members: Iterable[Member]) -> Iterator[tuple[str, str]]:
    yield from {(one.header.study_instance_uid, one.header.series_instance_uid) for one in members}


def _move(db: Database, one: Member, verdict: Verdict, *, stands: bool) -> None:
    columns, values = ", ".join(COLUMNS), ", ".join(f":{name}" for name in COLUMNS)
    if stands and not one.stands:
        db.execute("DELETE FROM derived_superseded WHERE object_id = ?", [one.object_id])
        db.execute(f"INSERT INTO derived_instance ({columns}) VALUES ({values})", dict(one.row))
    if stands:
        return
    gone = verdict.superseded[one.object_id]
    db.execute("DELETE FROM derived_instance WHERE object_id = ?", [one.object_id])
    db.execute(
        f"INSERT OR REPLACE INTO derived_superseded ({columns}, replaced_by, changed, sent_by, told) "
        f"VALUES ({values}, :by, :changed, :sent_by, :told)",
        {
            **one.row,
            "by": gone.by,
            "changed": json.dumps(gone.changed),
            "sent_by": gone.sent_by,
            "told": int(gone.told),
        },
    )


def _hold(db: Database, holder: Member, members: Sequence[Member], verdict: Verdict) -> None:
    """Note since when the pixels of the object are known, and whether an earlier one is the same but for whose it is.

    Then nothing that is measured has changed, and nothing is measured again. Never one with other pixels in whose place
    a person has put it.
    """
    alike = [one for one in members if one.object_id in verdict.alike]
    first, known_since = db.execute(
        "SELECT object_id, received_at FROM fact_object_receipt "
        "WHERE object_id IN (SELECT value FROM json_each(?)) ORDER BY receipt_id LIMIT 1",
        [json.dumps([one.object_id for one in alike])],
    ).fetchone()
    earliest = next(one for one in members if one.object_id == first)
    same = (earliest.header.image, earliest.header.frames) == (holder.header.image, holder.header.frames)
    same = same and earliest.header.instance_number == holder.header.instance_number
    # What is measured together goes by the series.
    same = same and earliest.header.series_instance_uid == holder.header.series_instance_uid
    content_of = first if same and first != holder.object_id else None
    # Another that stands until a person decides may have held before.
    db.execute(
        "UPDATE derived_instance SET content_of = NULL, known_since = NULL WHERE sop_instance_uid = ?",
        [holder.row["sop_instance_uid"]],
    )
    db.execute(
        "UPDATE derived_instance SET content_of = ?, known_since = ?, settled_at = ? WHERE object_id = ?",
        [content_of, known_since, verdict.settled_at, holder.object_id],
    )
