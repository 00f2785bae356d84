"""Asks the PACS how many images the series of a quiet study have; the answers are facts.

Each study is asked for once it is quiet, and again after an hour and after a day: a PACS may still have been receiving
it itself. Whatever came later than the last question has it asked for anew. What is to be asked is a query.
"""

import json
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from sqlite_utils import Database

from node.clock import now, to_text
from node.errors import PeerError, UnreachableError
from node.pacs.query import FoundSeries, Query, asking
from node.pauses import doubled
from node.settings import Settings
from node.store.database import insert, writing
from node.store.failures import in_words, of_the_machine

AGAIN_AFTER = (timedelta(), timedelta(hours=1), timedelta(days=1))
"""When a study is asked for again, after none, one and two answers since its last image."""
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
"""Between two attempts to ask for a study that fail."""
BATCH = 100
"""Studies asked for over one association."""

# A study belongs to the peer that sent an image of it; when none of those who can be asked did, all are asked. While
# the clock stands before the last image (it was set back), no answer could be later than that, and nothing is asked.
DUE = """
WITH RECURSIVE study (uid) AS (
    SELECT min(study_instance_uid) FROM derived_series
    UNION ALL
    SELECT (SELECT min(study_instance_uid) FROM derived_series WHERE study_instance_uid > uid)
    FROM study WHERE uid IS NOT NULL
),
judged (uid, received_at) AS (
    SELECT uid, (SELECT max(s.last_received_at) FROM derived_series AS s WHERE s.study_instance_uid = uid)
    FROM study
    WHERE uid IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM derived_series AS s WHERE s.study_instance_uid = uid AND s.stale = 1)
),
asked (uid, received_at, answers, last_asked_at) AS (
    SELECT uid, received_at,
           (SELECT count(*) FROM fact_study_query AS q
            WHERE q.study_instance_uid = uid AND q.peer = :peer AND q.asked_at >= received_at),
           (SELECT max(q.asked_at) FROM fact_study_query AS q WHERE q.study_instance_uid = uid AND q.peer = :peer)
    FROM judged
)
SELECT uid FROM asked
WHERE answers < json_array_length(:before) AND received_at <= :now
  AND (last_asked_at IS NULL OR last_asked_at <= (SELECT value FROM json_each(:before) WHERE key = answers))
  AND NOT EXISTS (SELECT 1 FROM state_study_query AS s
                  WHERE s.study_instance_uid = uid AND s.peer = :peer AND s.next_attempt_at > :now)
  AND (EXISTS (SELECT 1 FROM derived_instance AS i JOIN fact_object_receipt AS r USING (object_id)
               WHERE i.study_instance_uid = uid AND r.calling_ae IN (SELECT value FROM json_each(:own)))
       OR NOT EXISTS (SELECT 1 FROM derived_instance AS i JOIN fact_object_receipt AS r USING (object_id)
                      WHERE i.study_instance_uid = uid AND r.calling_ae IN (SELECT value FROM json_each(:all))))
LIMIT :limit
"""

log = structlog.get_logger()


def ask_due(db: Database, settings: Settings, peer_name: str, stop: threading.Event) -> int:
    """Ask one peer for the studies that are due; returns how many answers were stored."""
    moment = now()
    studies = due_studies(db, settings, peer_name, at=moment)
    peer = settings.dicom.peers[peer_name].query
    if not studies or peer is None:
        return 0
    left, done = list(studies), 0
    try:
        with asking(peer, ae_title=settings.dicom.ae_title) as query:
            while left and not stop.is_set():
                done += _ask(db, query, peer_name, left[0])
                del left[0]
    except UnreachableError as error:
        # Whoever cannot be reached is not tried again for each study.
        _postpone(db, peer_name, left, error=str(error), at=moment)
    return done


def _ask(db: Database, query: Query, peer_name: str, study_uid: str) -> int:
    """Ask for one study; returns 1, or 0 when the PACS refused to say."""
    asked_at = now()
    try:
        series = query.series(study_uid)
    except UnreachableError:
        raise
    except PeerError as error:
        _postpone(db, peer_name, [study_uid], error=str(error), at=asked_at)
        return 0
    except Exception as error:
        if of_the_machine(error):
            raise
        # One study must not keep the others from being asked for.
        _postpone(db, peer_name, [study_uid], error=f"its answer cannot be read ({in_words(error)})", at=asked_at)
        return 0
    store_answer(db, peer_name=peer_name, study_uid=study_uid, series=series, asked_at=asked_at)
    return 1


def due_studies(db: Database, settings: Settings, peer_name: str, *, at: datetime) -> list[str]:
    """The studies that a peer is to be asked for now."""
    peers = settings.dicom.peers
    before = [to_text(at - pause) for pause in AGAIN_AFTER]
    values = {
        "peer": peer_name,
        "now": to_text(at),
        "before": json.dumps(before),
        "own": json.dumps(sorted(peers[peer_name].own_ae_titles)),
        "all": json.dumps(sorted({title for one in peers.values() if one.query for title in one.own_ae_titles})),
        "limit": BATCH,
    }
    return [uid for (uid,) in db.execute(DUE, values).fetchall()]


def store_answer(
    db: Database, *, peer_name: str, study_uid: str, series: Sequence[FoundSeries], asked_at: datetime
) -> None:
    """Keep what a PACS answered; the steps let it take effect.

    Parameters
    ----------
    asked_at
        When the question was put: what came to the PACS after it may be missing in the answer.
    """
    row = {
        "peer": peer_name,
        "study_instance_uid": study_uid,
        "asked_at": to_text(asked_at),
        "series": json.dumps({one.uid: _said(one) for one in series}, ensure_ascii=False, sort_keys=True),
    }
    with writing(db):
        insert(db, "fact_study_query", [row])
        db.execute("DELETE FROM state_study_query WHERE study_instance_uid = ? AND peer = ?", [study_uid, peer_name])


def _said(series: FoundSeries) -> dict[str, object]:
    return {
        "images": series.instances,
        "modality": series.modality,
        "description": series.description,
        "body_part": series.body_part,
    }


def _postpone(db: Database, peer_name: str, studies: Sequence[str], *, error: str, at: datetime) -> None:
    log.warning("no answer to a query", peer=peer_name, studies=len(studies), error=error)
    with writing(db):
        for study_uid in studies:
            (attempts,) = db.execute(
                "SELECT coalesce(max(attempts), 0) + 1 FROM state_study_query "
                "WHERE study_instance_uid = ? AND peer = ?",
                [study_uid, peer_name],
            ).fetchone()
            pause = doubled(FIRST_PAUSE, attempts, LONGEST_PAUSE)
            db.execute(
                "INSERT INTO state_study_query (study_instance_uid, peer, attempts, next_attempt_at, last_error) "
                "VALUES (:study, :peer, 1, :next, :error) ON CONFLICT DO UPDATE SET "
                "attempts = attempts + 1, next_attempt_at = :next, last_error = :error",
                {
                    "study": study_uid,
                    "peer": peer_name,
                    "next": to_text(at + pause),
                    "error": error,
                },
            )
