"""Is a series complete? What it holds against what its PACS counted, and the gaps between its slices.

Complete means proven: the study is quiet, a PACS that was asked after the last image counts no more images than are
here, and no gap between the slices has room for another. Without such an answer a series is unverified. The answers
are facts, so that deriving everything again arrives at the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlite_utils import Database

from analytics.reasons import Reason
from node.settings import Readers
from node.steps.unsent import note_unsent
from node.store.database import insert, writing
from node.store.failures import Unit, barrier, forget_failure
from node.store.pending import touch
from node.store.reasons import loaded, stored

# Of each peer the newest; a peer that does not know the series gives no count. Answers from before series that were not
# sent were noted are the count alone.
ANSWERS = """
SELECT q.peer, q.asked_at, (SELECT iif(type = 'object', value ->> '$.images', value) FROM json_each(q.series)
                            WHERE key = :series) AS instances,
       EXISTS (SELECT 1 FROM fact_study_query AS earlier, json_each(earlier.series) AS one
               WHERE earlier.study_instance_uid = q.study_instance_uid AND earlier.peer = q.peer
                 AND earlier.query_id < q.query_id AND one.key = :series
                 AND iif(one.type = 'object', one.value ->> '$.images', one.value) > 0) AS knew
FROM fact_study_query AS q
WHERE q.study_instance_uid = :study
  AND q.query_id = (SELECT max(newer.query_id) FROM fact_study_query AS newer
                    WHERE newer.study_instance_uid = q.study_instance_uid AND newer.peer = q.peer)
ORDER BY q.peer
"""

INCOMPLETE = Reason("images-missing")
"""Makes an automatic measurement of an incomplete series wait for a person."""

UNREAD = Reason("reading-missing")
"""The same, where no automatic score counts by itself."""

# Of series that could not be judged yet, or whose study is being judged again, what was said before holds.
TO_DOUBT = """
SELECT m.rowid, m.status, m.doubts, m.reasons, s.completeness, s.rejections, s.fewer, s.patient_authority, s.patient_id,
       :every AND NOT EXISTS (SELECT 1 FROM fact_reading AS r WHERE r.series_instance_uid = s.series_instance_uid
                              AND r.reading_id NOT IN (SELECT reading_id FROM fact_reading_withdrawal)) AS unread
FROM derived_measurement AS m JOIN derived_series AS s USING (series_instance_uid)
WHERE m.source = 'auto' AND m.current = 1 AND s.stale = 0 AND (m.status = 'measured' OR m.doubts > 0)
  AND (m.doubts > 0 OR s.completeness = 'incomplete' OR s.rejections <> '[]' OR s.fewer <> '[]' OR :every)
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
    knew: bool = False
    """An earlier answer of the peer counted images of the series."""


@dataclass(frozen=True, kw_only=True)
class Completeness:
    """The verdict on a series, why, and how many images there should be (``None``: nobody said)."""

    state: Literal["complete", "incomplete", "unverified"]
    reasons: tuple[Reason, ...]
    expected: int | None
    fewer: tuple[Reason, ...] = ()
    """A PACS has no longer what is here, and no other counts all of it."""


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
    reasons: list[Reason] = []
    if missing_slices:
        reasons.append(Reason("gaps-between-slices", {"room": missing_slices}))
    counts = {answer: answer.instances for answer in answers if answer.instances is not None}
    expected = max(counts.values(), default=None)
    reasons += [_counted(answer, count, instances, last_received_at) for answer, count in counts.items()]
    unknown = [answer.peer for answer in answers if answer.instances is None]
    if not counts:
        reasons.append(Reason("not-known-to-peer", {"peers": tuple(unknown)}) if unknown else Reason("nobody-asked"))
    if missing_slices or (expected or 0) > instances:
        return Completeness(state="incomplete", reasons=tuple(reasons), expected=expected)
    newer = [answer for answer in answers if answer.asked_at >= last_received_at]
    proven = any(0 < (answer.instances or 0) <= instances for answer in newer)
    return Completeness(
        state="complete" if proven else "unverified",
        reasons=tuple(reasons),
        expected=expected,
        fewer=() if any(answer.instances == instances for answer in newer) else tuple(_fewer(instances, newer)),
    )


def _counted(answer: Answer, count: int, instances: int, last_received_at: str) -> Reason:
    """What the number of images that a peer counted says of those that are here."""
    if count > instances:
        return Reason("fewer-than-counted", {"missing": count - instances, "images": count, "peer": answer.peer})
    if answer.asked_at < last_received_at:
        return Reason("came-after-the-count", {"peer": answer.peer})
    return Reason("as-many-as-counted", {"peer": answer.peer, "images": count, "here": instances})


def _fewer(instances: int, newer: Iterable[Answer]) -> Iterator[Reason]:
    """What a PACS has no longer. One that never knew the series has taken nothing back."""
    for answer in newer:
        if answer.instances is not None and answer.instances < instances:
            yield Reason("pacs-has-fewer-images", {"peer": answer.peer, "count": answer.instances, "here": instances})
        elif answer.instances is None and answer.knew:
            yield Reason("pacs-no-longer-has-it", {"peer": answer.peer})


def completeness(
    db: Database, *, study_uid: str, series_uid: str, instances: int, missing_slices: int, last_received_at: str
) -> dict[str, str | int | None]:
    """The columns of ``derived_series`` that say whether a series is complete, by the answers that there are now."""
    rows = db.execute(ANSWERS, {"study": study_uid, "series": series_uid}).fetchall()
    found = judge_completeness(
        instances=instances,
        missing_slices=missing_slices,
        last_received_at=last_received_at,
        answers=[
            Answer(peer=peer, asked_at=asked_at, instances=count, knew=bool(knew))
            for peer, asked_at, count, knew in rows
        ],
    )
    return {
        "completeness": found.state,
        "completeness_reasons": stored(found.reasons),
        "expected_instances": found.expected,
        "fewer": stored(found.fewer),
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
            with barrier(db, "completeness", Unit("study", study_uid)):
                judge_again(db, study_uid)
        insert(db, "derived_study_query", [{"query_id": query_id} for query_id, _ in new])
    return len(new)


def doubt_incomplete(db: Database, rule: Readers) -> int:
    """Have automatic measurements wait for a person whose series is incomplete, or taken back in part by a PACS.

    Also those that nobody has read, where people read every series. No longer once that is settled. What a person has
    read stands: who placed the circles has seen the images. Returns how many measurements changed.
    """
    rows = db.execute(TO_DOUBT, {"every": rule.of == "all"}).fetchall()
    changed = [one for row in rows if (one := _doubted(*row)) is not None]
    if not changed:
        return 0
    with writing(db):
        for rowid, status, doubts, reasons, authority, patient_id in changed:
            db.execute(
                "UPDATE derived_measurement SET status = ?, doubts = ?, reasons = ? WHERE rowid = ?",
                [status, doubts, reasons, rowid],
            )
            if authority is not None and patient_id is not None:
                touch(db, authority, patient_id)
    return len(changed)


def _doubted(
    rowid: int,
    status: str,
    doubts: int,
    reasons: str,
    completeness: str,
    rejections: str,
    fewer: str,
    authority: str | None,
    patient_id: str | None,
    unread: int,
) -> tuple[int, str, int, str, str | None, str | None] | None:
    """The row as it must be, its own reasons first; ``None`` where it is so."""
    before = loaded(reasons)
    wanted = [INCOMPLETE] if completeness == "incomplete" else []
    wanted += [*loaded(rejections), *loaded(fewer), *([UNREAD] if unread else [])]
    own = before[: len(before) - doubts]
    if list(before[len(own) :]) == wanted:
        return None
    status = "review" if wanted else "measured"
    return rowid, status, len(wanted), stored([*own, *wanted]), authority, patient_id


def judge_again(db: Database, study_uid: str) -> None:
    """Whether the series of a study are complete by the answers that there are now; within a unit of work."""
    for series_uid, instances, missing_slices, last_received_at, withdrawn in db.execute(
        "SELECT series_instance_uid, instances, missing_slices, last_received_at, withdrawn FROM derived_series "
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
        # Of what is taken back a PACS may have fewer.
        columns |= {"fewer": "[]"} if withdrawn else {}
        assignments = ", ".join(f"{name} = :{name}" for name in columns)
        db.execute(
            f"UPDATE derived_series SET {assignments} WHERE series_instance_uid = :series",
            {**columns, "series": series_uid},
        )
    note_unsent(db, study_uid)
    forget_failure(db, "completeness", Unit("study", study_uid))
