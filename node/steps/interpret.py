"""The interpretation step: frames that no message is known of yet become messages and what they say."""

import json

from sqlite_utils import Database

from node.clock import to_text
from node.hl7.extracts import MergeExtract
from node.hl7.interpret import Interpretation, interpret_frame
from node.settings import Settings
from node.steps.identity import resolve_merges, touch
from node.store.database import insert, writing

STEP = "interpret"
BATCH = 50
"""Frames read from the database at a time; each is stored in a transaction of its own."""


def interpret_frames(db: Database, settings: Settings) -> int:
    """Interpret the frames that have not been yet; returns how many were.

    May be stopped at any instant: a frame is either done as a whole or not at all.
    """
    done = 0
    while frames := _pending(db):
        for frame_id, sha256, raw in frames:
            interpretations = interpret_frame(raw, settings)
            with writing(db):
                _store(db, frame_id, sha256, interpretations)
            done += 1
    return done


def _pending(db: Database) -> list[tuple[int, str, bytes]]:
    return db.execute(
        "SELECT frame_id, sha256, raw FROM fact_frame AS f "
        "WHERE NOT EXISTS (SELECT 1 FROM derived_message AS m WHERE m.frame_id = f.frame_id) "
        "ORDER BY frame_id LIMIT ?",
        [BATCH],
    ).fetchall()


def _store(db: Database, frame_id: int, sha256: str, interpretations: list[Interpretation]) -> None:
    merged = False
    for position, one in enumerate(interpretations, start=1):
        insert(db, "derived_message", [_message_row(frame_id, position, one)])
        source = f"message {sha256[:12]}.{position}"
        if one.status != "held":
            insert(db, "derived_problem", [_problem_row(source, code, detail) for code, detail in one.problems])
        if one.status == "used":
            merged |= _store_extracts(db, frame_id, position, one)
    if merged:
        resolve_merges(db)


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
        "reason": one.reason,
    }


def _problem_row(source: str, code: str, detail: str) -> dict[str, object]:
    return {"step": STEP, "source": source, "code": code, "detail": detail}


def _store_extracts(db: Database, frame_id: int, position: int, one: Interpretation) -> bool:
    """Store what a message says and leave its patients pending; whether there is a merge among it."""
    merged = False
    for number, item in enumerate(one.items, start=1):
        if item.patient is None:
            continue
        authority, patient_id = item.patient
        row = {
            "frame_id": frame_id,
            "position": position,
            "item": number,
            "kind": item.extract.kind,
            "authority": authority,
            "patient_id": patient_id,
            "sent_at": to_text(one.sent_at) if one.sent_at else None,
            "content": json.dumps(item.extract.model_dump(mode="json"), ensure_ascii=False),
        }
        insert(db, "derived_extract", [row])
        touch(db, authority, patient_id)
        merged |= isinstance(item.extract, MergeExtract)
    return merged
