"""The interpretation step: frames that no message is known of yet become messages and what they say."""

import json
from collections.abc import Mapping
from functools import partial
from itertools import accumulate
from typing import Any

from sqlite_utils import Database

from analytics.reasons import Reason
from node.clock import to_text
from node.hl7.extracts import MergeExtract, UnmergeExtract
from node.hl7.interpret import PROCEDURE_PROBLEMS, Interpretation, interpret_frame
from node.hl7.unread import UNKNOWN_CODE, UNREAD
from node.settings import Settings
from node.steps.identity import resolve_merges
from node.steps.signs import stated_to_json
from node.store.database import insert, writing
from node.store.failures import Unit, barrier, forget_failures, note_failure
from node.store.pending import touch, touch_specimen
from node.store.problems import forget_problems, note_problem
from node.store.pseudonym import pseudonym_key
from node.store.reasons import stored
from node.store.removed import kept, put_back_message

STEP = "interpret"
TOLD_BY_SENDER = (*PROCEDURE_PROBLEMS.values(), *UNREAD, UNKNOWN_CODE)
"""Problems that the view `problems` counts by sender, from the extracts: a message each would bury the others."""
BATCH_FRAMES = 50
BATCH_BYTES = 4 * 1024 * 1024
"""What is stored in one transaction at most; it bounds the memory and how long other writers wait."""


def interpret_frames(db: Database, settings: Settings) -> int:
    """Interpret the frames that have not been yet; returns how many were.

    May be stopped at any instant: a frame is either done as a whole or not at all.
    """
    done = 0
    while frames := _pending(db):
        # Reading takes much longer than storing: nobody else waits for it.
        read = [(frame_id, *read_raw(db, settings, frame_id)) for frame_id in frames]
        with writing(db):
            key = pseudonym_key(db)
            merges = [store_frame(db, *one, key=key) for one in read]
            if any(merges):
                resolve_merges(db)
        done += len(read)
    return done


def _pending(db: Database) -> list[int]:
    """The next frames.

    Frames are interpreted in the order of their numbers, so all up to the last one interpreted are done. Asking for
    each frame whether it is done would take longer every day that the node runs.
    """
    rows = db.execute(
        "SELECT frame_id, length(raw) FROM fact_frame "
        "WHERE frame_id > (SELECT coalesce(max(frame_id), 0) FROM derived_message) ORDER BY frame_id LIMIT ?",
        [BATCH_FRAMES],
    ).fetchall()
    sizes = accumulate(size for _, size in rows)
    return [frame_id for (frame_id, size), total in zip(rows, sizes, strict=True) if total - size < BATCH_BYTES]


def read_raw(db: Database, settings: Settings, frame_id: int) -> tuple[str, list[Interpretation]]:
    """The SHA-256 of a frame and what its messages say."""
    sha256, raw = db.execute("SELECT sha256, raw FROM fact_frame WHERE frame_id = ?", [frame_id]).fetchone()
    return sha256, interpret_frame(bytes(raw), settings)


def store_frame(db: Database, frame_id: int, sha256: str, interpretations: list[Interpretation], *, key: bytes) -> bool:
    """Store one frame's messages, inside a unit of work; whether there is a merge among them.

    Parameters
    ----------
    key
        Under which names are hashed.
    """
    merged: list[bool] = []
    with barrier(db, STEP, Unit("message", sha256, "1"), instead=partial(_store_unstorable, db, frame_id)):
        before = kept(db, "message", sha256)
        if before is not None:
            merged.append(_put_back(db, frame_id, before))
        else:
            merged.append(_store_interpretations(db, frame_id, sha256, interpretations, key))
    return any(merged)


def _put_back(db: Database, frame_id: int, before: Mapping[str, Any]) -> bool:
    """Store what a frame said whose text was removed; whether there is a merge among it."""
    extracts = put_back_message(db, frame_id, before)
    for one in extracts:
        touch(db, one["authority"], one["patient_id"])
        if one["kind"] == "specimen":
            content = json.loads(one["content"])
            touch_specimen(db, content["specimen"], content["taken_at"])
    return any(one["kind"] in ("merge", "unmerge") for one in extracts)


def _store_unstorable(db: Database, frame_id: int, _: Reason) -> None:
    """One held message stands for a frame whose messages the database does not take."""
    reasons = stored([Reason("message-not-stored")])
    row = {"frame_id": frame_id, "position": 1, "status": "held", "reasons": reasons}
    insert(db, "derived_message", [row])


def forget_frame(db: Database, frame_id: int, sha256: str) -> None:
    """Take back what was read of a frame, inside a unit of work; whom and what it was about is derived again."""
    before = db.execute(
        "SELECT DISTINCT authority, patient_id FROM derived_extract WHERE frame_id = ?", [frame_id]
    ).fetchall()
    for number in before:
        touch(db, *number)
    for specimen in db.execute(
        "SELECT content ->> '$.specimen', content ->> '$.taken_at' FROM derived_extract "
        "WHERE frame_id = ? AND kind = 'specimen'",
        [frame_id],
    ).fetchall():
        touch_specimen(db, *specimen)
    for table in ("derived_unread", "derived_extract", "derived_message"):
        db.execute(f"DELETE FROM {table} WHERE frame_id = ?", [frame_id])
    forget_problems(db, STEP, "message", sha256)
    forget_failures(db, STEP, "message", sha256)


def read_anew(db: Database, settings: Settings, frame_id: int) -> None:
    """Put what a frame says by the rules of today in the place of what was read of it, inside a unit of work.

    Call :func:`node.steps.identity.forget_unused_numbers` and :func:`node.steps.identity.resolve_merges` after it.
    """
    sha256, interpretations = read_raw(db, settings, frame_id)
    forget_frame(db, frame_id, sha256)
    store_frame(db, frame_id, sha256, interpretations, key=pseudonym_key(db))


def _store_interpretations(
    db: Database, frame_id: int, sha256: str, interpretations: list[Interpretation], key: bytes
) -> bool:
    merged = False
    for position, one in enumerate(interpretations, start=1):
        insert(db, "derived_message", [_message_row(frame_id, position, one)])
        if one.error is not None:
            note_failure(db, STEP, Unit("message", sha256, str(position)), one.error)
        unread = [(code, reason) for code, reason in one.problems if code in (*UNREAD, UNKNOWN_CODE)]
        for code, reason in unread if one.status != "refused" else ():
            row = {"frame_id": frame_id, "position": position, "code": code, "reasons": stored([reason])}
            insert(db, "derived_unread", [row])
        if one.status != "held":
            for code, reason in one.problems:
                if code not in TOLD_BY_SENDER:
                    note_problem(db, STEP, "message", sha256, code, [reason], part=position)
        if one.status == "used":
            merged |= _store_extracts(db, frame_id, position, one, key)
    return merged


def _message_row(frame_id: int, position: int, one: Interpretation) -> dict[str, object]:
    header = one.header
    return {
        "frame_id": frame_id,
        "position": position,
        "control_id": header.control_id if header else None,
        "type": header.type if header else None,
        "version": header.version if header else None,
        "sender": header.sender if header else None,
        "sent_at": to_text(one.sent_at) if one.sent_at else None,
        "processing_id": header.processing_id if header else None,
        "status": one.status,
        "reasons": stored(one.reasons),
    }


def _store_extracts(db: Database, frame_id: int, position: int, one: Interpretation, key: bytes) -> bool:
    """Store what a message says and leave its patients pending; whether there is a merge among it."""
    told = [(number, item, item.patient) for number, item in enumerate(one.items, start=1) if item.patient is not None]
    contents = [item.extract.model_dump(mode="json") for _, item, _ in told]
    # All items of a patient state the same, and names take a hundred hashes.
    stated = {one: stated_to_json(one, key) if one else None for one in {item.stated for _, item, _ in told}}
    rows = [
        {
            "frame_id": frame_id,
            "position": position,
            "item": number,
            "kind": item.extract.kind,
            "authority": authority,
            "patient_id": patient_id,
            "sent_at": to_text(one.sent_at) if one.sent_at else None,
            "content": json.dumps(content, ensure_ascii=False),
            "stated": stated[item.stated],
        }
        for (number, item, (authority, patient_id)), content in zip(told, contents, strict=True)
    ]
    insert(db, "derived_extract", rows)
    for patient in dict.fromkeys(patient for _, _, patient in told):
        touch(db, *patient)
    specimens = [content for content in contents if content["kind"] == "specimen"]
    for specimen in dict.fromkeys((content["specimen"], content["taken_at"]) for content in specimens):
        touch_specimen(db, *specimen)
    return any(isinstance(item.extract, MergeExtract | UnmergeExtract) for _, item, _ in told)
