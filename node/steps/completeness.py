"""Is a series complete? What it holds against what its PACS counted, and the gaps between its slices.

Complete means proven: the study is quiet, a PACS that was asked after the last image counts no more images than are
here, and no gap between the slices has room for another. Without such an answer a series is unverified. The answers
are facts, so that deriving everything again arrives at the same.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlite_utils import Database

from node.steps.unsent import note_unsent
from node.store.database import insert, writing
from node.store.failures import barrier, forget_failure
from node.store.pending import touch

# Of each peer the newest; a peer that does not know the series gives no count. Answers from before series that were not
# sent were noted are the count alone.
ANSWERS = """
SELECT q.peer, q.asked_at, (SELECT iif(type = 'object', value ->> '$.images', value) FROM json_each(q.series)
                            WHERE key = :series) AS instances
FROM fact_study_query AS q
WHERE q.study_instance_uid = :study
  AND q.query_id = (SELECT max(newer.query_id) FROM fact_study_query AS newer
                    WHERE newer.study_instance_uid = q.study_instance_uid AND newer.peer = q.peer)
ORDER BY q.peer
"""

INCOMPLETE = "images of the series are missing: the slice that it should be read from may be among them"
"""Reason that makes an automatic measurement of an incomplete series wait for a person."""

TO_DOUBT = """
SELECT m.rowid, s.patient_authority, s.patient_id
FROM derived_series AS s JOIN derived_measurement AS m USING (series_instance_uid)
WHERE s.completeness = 'incomplete' AND s.stale = 0
  AND m.source = 'auto' AND m.current = 1 AND m.status = 'measured'
"""
NO_LONGER_IN_DOUBT = """
SELECT m.rowid, s.patient_authority, s.patient_id
FROM derived_measurement AS m JOIN derived_series AS s USING (series_instance_uid)
WHERE m.source = 'auto' AND m.current = 1 AND m.status = 'review' AND m.reasons ->> '$[#-1]' = ?
  AND s.completeness <> 'incomplete' AND s.stale = 0
"""

NEW_ANSWERS = """
SELECT query_id, study_instance_uid FROM fact_study_query
WHERE query_id > (SELECT coalesce(max(query_id), 0) FROM derived_study_query)
ORDER BY query_id
"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How many images of a series a peer counted, ``None`` when it does not know the series, and when it was asked."""

    peer: str
    asked_at: str
    instances: int | None


@dataclass(frozen=True, kw_only=True)
class Completeness:
    """The verdict on a series, why, and how many images there should be (``None``: nobody said)."""

    state: Literal["complete", "incomplete", "unverified"]
    reasons: tuple[str, ...]
    expected: int | None


def judge_completeness(
    *, instances: int, missing_slices: int, last_received_at: str, answers: Sequence[Answer]
) -> Completeness:
    """Whether a series is complete.

    Parameters
    ----------
    instances
        Distinct images of it that are here.
    missing_slices
        As many as the gaps between its slices have room for.
    last_received_at
        When its last image came, as stored. An answer to an earlier question may only prove that images are missing.
    answers
        The newest answer of each peer that was asked.
    """
    reasons = []
    if missing_slices:
        reasons.append(f"the gaps between the slices have room for {missing_slices} more")
    counts = {answer: answer.instances for answer in answers if answer.instances is not None}
    expected = max(counts.values(), default=None)
    for answer, count in counts.items():
        late = answer.asked_at < last_received_at
        if count > instances:
            reasons.append(f"{count - instances} of {count} images are missing by the count of {answer.peer}")
        elif late:
            reasons.append(f"images came after {answer.peer} was asked")
        else:
            reasons.append(f"{answer.peer} counts {count} images, {instances} are here")
    unknown = [answer.peer for answer in answers if answer.instances is None]
    if not counts:
        reasons.append(f"{', '.join(unknown)} does not know it" if unknown else "no PACS was asked")
    if missing_slices or (expected or 0) > instances:
        return Completeness(state="incomplete", reasons=tuple(reasons), expected=expected)
    proven = any(answer.asked_at >= last_received_at for answer in counts)
    return Completeness(state="complete" if proven else "unverified", reasons=tuple(reasons), expected=expected)


def completeness(
    db: Database, *, study_uid: str, series_uid: str, instances: int, missing_slices: int, last_received_at: str
) -> dict[str, str | int | None]:
    """The columns of ``derived_series`` that say whether a series is complete, by the answers that there are now."""
    rows = db.execute(ANSWERS, {"study": study_uid, "series": series_uid}).fetchall()
    found = judge_completeness(
        instances=instances,
        missing_slices=missing_slices,
        last_received_at=last_received_at,
        answers=[Answer(peer=peer, asked_at=asked_at, instances=count) for peer, asked_at, count in rows],
    )
    return {
        "completeness": found.state,
        "completeness_reasons": json.dumps(found.reasons, ensure_ascii=False),
        "expected_instances": found.expected,
    }


def take_answers(db: Database) -> int:
    """Let new answers of a PACS take effect; returns how many.

    A study that is not yet judged, or stale, is judged with all answers when it is quiet.
    """
    new = db.execute(NEW_ANSWERS).fetchall()
    if not new:
        return 0
    with writing(db):
        for study_uid in sorted({study_uid for _, study_uid in new}):
            with barrier(db, "completeness", f"study {study_uid}"):
                judge_again(db, study_uid)
        insert(db, "derived_study_query", [{"query_id": query_id} for query_id, _ in new])
    return len(new)


def doubt_incomplete(db: Database) -> int:
    """Have automatic measurements of incomplete series wait for a person, and no longer once they are complete.

    What a person has read stands: who placed the circles has seen the images. Returns how many measurements changed.
    """
    doubted = db.execute(TO_DOUBT).fetchall()
    settled = db.execute(NO_LONGER_IN_DOUBT, [INCOMPLETE]).fetchall()
    if not doubted and not settled:
        return 0
    with writing(db):
        for rowid, _, _ in doubted:
            db.execute(
                "UPDATE derived_measurement SET status = 'review', reasons = json_insert(reasons, '$[#]', ?) "
                "WHERE rowid = ?",
                [INCOMPLETE, rowid],
            )
        for rowid, _, _ in settled:
            db.execute(
                "UPDATE derived_measurement SET status = 'measured', reasons = json_remove(reasons, '$[#-1]') "
                "WHERE rowid = ?",
                [rowid],
            )
        for _, authority, patient_id in (*doubted, *settled):
            if authority is not None and patient_id is not None:
                touch(db, authority, patient_id)
    return len(doubted) + len(settled)


def judge_again(db: Database, study_uid: str) -> None:
    """Whether the series of a study are complete by the answers that there are now; within a unit of work."""
    for series_uid, instances, missing_slices, last_received_at in db.execute(
        "SELECT series_instance_uid, instances, missing_slices, last_received_at FROM derived_series "
        "WHERE study_instance_uid = ? AND stale = 0",
        [study_uid],
    ).fetchall():
        columns = completeness(
            db,
            study_uid=study_uid,
            series_uid=series_uid,
            instances=instances,
            missing_slices=missing_slices,
            last_received_at=last_received_at,
        )
        assignments = ", ".join(f"{name} = :{name}" for name in columns)
        db.execute(
            f"UPDATE derived_series SET {assignments} WHERE series_instance_uid = :series",
            {**columns, "series": series_uid},
        )
    note_unsent(db, study_uid)
    forget_failure(db, "completeness", f"study {study_uid}")
