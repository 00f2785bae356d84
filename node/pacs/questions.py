"""Which studies a PACS is to be asked about (how many images their series have), and what it answered, as facts.

Each study is asked for once it is quiet, and again after an hour and after a day: a PACS may still have been receiving
it itself. Whatever came later than the last question has it asked for anew. What is to be asked is a query.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlite_utils import Database

from node.clock import to_text
from node.settings import Settings
from node.store.database import insert

if TYPE_CHECKING:
    from node.pacs.query import FoundSeries

AGAIN_AFTER = (timedelta(), timedelta(hours=1), timedelta(days=1))
"""When a study is asked for again, after none, one and two answers since its last image."""
_EVERY_STUDY = """
    SELECT min(study_instance_uid) FROM derived_series
    UNION ALL
    SELECT (SELECT min(study_instance_uid) FROM derived_series WHERE study_instance_uid > uid)
    FROM study WHERE uid IS NOT NULL
"""
_THESE_STUDIES = "SELECT value FROM json_each(:studies)"

# A study belongs to the peer that sent an image of it; when none of those who can be asked did, all are asked. While
# the clock stands before the last image (it was set back), no answer could be later than that, and nothing is asked.
_TO_BE_ASKED = """
WITH RECURSIVE study (uid) AS ({studies}),
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
  AND (EXISTS (SELECT 1 FROM derived_instance AS i JOIN fact_object_receipt AS r USING (object_id)
               WHERE i.study_instance_uid = uid AND r.calling_ae IN (SELECT value FROM json_each(:own)))
       OR NOT EXISTS (SELECT 1 FROM derived_instance AS i JOIN fact_object_receipt AS r USING (object_id)
                      WHERE i.study_instance_uid = uid AND r.calling_ae IN (SELECT value FROM json_each(:all))))
"""
NEWLY_DUE = (
    _TO_BE_ASKED.format(studies=_EVERY_STUDY)
    + """
  AND NOT EXISTS (SELECT 1 FROM state_outgoing AS o WHERE o.kind = 'study_query' AND o.peer = :peer AND o.key = uid)
LIMIT 1000
"""
)
"""The studies that a peer is to be asked for and that are not in the queue; with the values of :func:`values_for`."""
_STILL = _TO_BE_ASKED.format(studies=_THESE_STUDIES)


def values_for(settings: Settings, peer_name: str, at: datetime) -> Mapping[str, object]:
    """The parameters of :data:`NEWLY_DUE`."""
    peers = settings.dicom.peers
    return {
        "peer": peer_name,
        "now": to_text(at),
        "before": json.dumps([to_text(at - pause) for pause in AGAIN_AFTER]),
        "own": json.dumps(sorted(peers[peer_name].own_ae_titles)),
        "all": json.dumps(sorted({title for one in peers.values() if one.query for title in one.own_ae_titles})),
    }


def still_due(
    db: Database, settings: Settings, peer_name: str, studies: Sequence[str], *, at: datetime
) -> frozenset[str]:
    """Those of the studies that are to be asked for still: nothing has arrived of them, or been answered, since."""
    values = {"studies": json.dumps(list(studies)), **values_for(settings, peer_name, at)}
    return frozenset(uid for (uid,) in db.execute(_STILL, values).fetchall())


def store_answer(
    db: Database, *, peer_name: str, study_uid: str, series: "Sequence[FoundSeries]", asked_at: datetime
) -> None:
    """Keep what a PACS answered; the steps let it take effect. Inside a unit of work.

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
    insert(db, "fact_study_query", [row])
    db.execute("DELETE FROM state_outgoing WHERE kind = 'study_query' AND peer = ? AND key = ?", [peer_name, study_uid])


def _said(series: "FoundSeries") -> dict[str, object]:
    return {
        "images": series.instances,
        "modality": series.modality,
        "description": series.description,
        "body_part": series.body_part,
    }
