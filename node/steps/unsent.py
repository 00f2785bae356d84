"""Series that a PACS has of a study and never sent: what it answered against what is here.

A site may route some series only, so that one which was not sent is no fault by itself. It is shown as a series in the
state ``not sent``; a problem it is where the study has no series to measure, or where it calls itself a sagittal T1.
"""

import json
import re
from collections.abc import Iterator

from sqlite_utils import Database

from analytics.vbq.parts import named_parts
from node.store.database import insert

NEWEST_ANSWERS = """
SELECT q.peer, q.series FROM fact_study_query AS q
WHERE q.study_instance_uid = :study
  AND q.query_id = (SELECT max(newer.query_id) FROM fact_study_query AS newer
                    WHERE newer.study_instance_uid = q.study_instance_uid AND newer.peer = q.peer)
ORDER BY q.peer
"""
T1, SAGITTAL = re.compile(r"(?<![a-z0-9])s?t1", re.IGNORECASE), re.compile(r"sag", re.IGNORECASE)


def note_unsent(db: Database, study_uid: str) -> None:
    """Derive anew, within a unit of work of the caller, what was not sent of a study that is judged."""
    db.execute("DELETE FROM derived_unsent_series WHERE study_instance_uid = ?", [study_uid])
    answers = [(peer, _series(said)) for peer, said in db.execute(NEWEST_ANSWERS, {"study": study_uid})]
    if not answers:
        return
    here = {uid for (uid,) in db.execute(
        "SELECT DISTINCT series_instance_uid FROM derived_instance WHERE study_instance_uid = ?", [study_uid]
    )}  # fmt: skip
    if not here:
        # It has moved to another study, or is yet to come.
        return
    parts = named_parts(sorted(_texts(db, study_uid, answers)))
    elsewhere = bool(parts) and "lumbar" not in parts
    for peer, series in answers:
        for uid, said in series.items():
            if said["images"] and uid not in here:
                insert(db, "derived_unsent_series", [_row(study_uid, peer, uid, said, elsewhere=elsewhere)])


def _series(answer: str) -> dict[str, dict[str, object]]:
    """What a peer answered, by series; the earliest answers are counts alone, all else is unknown then."""
    unknown = {"modality": None, "description": None, "body_part": None}
    return {
        uid: said if isinstance(said, dict) else {"images": said, **unknown} for uid, said in json.loads(answer).items()
    }


def _row(study_uid: str, peer: str, uid: str, said: dict[str, object], *, elsewhere: bool) -> dict[str, object]:
    description = str(said["description"] or "")
    of_use = said["modality"] in {"MR", None} and not elsewhere
    return {
        "study_instance_uid": study_uid,
        "peer": peer,
        "series_instance_uid": uid,
        "modality": said["modality"],
        "description": said["description"],
        "instances": said["images"],
        "of_use": int(of_use),
        "t1_sagittal": int(of_use and bool(T1.search(description) and SAGITTAL.search(description))),
    }


def _texts(db: Database, study_uid: str, answers: list[tuple[str, dict[str, dict[str, object]]]]) -> Iterator[str]:
    """Whatever may name the part of the body, of series that are here and of those that are not."""
    for (text,) in db.execute("SELECT description FROM derived_series WHERE study_instance_uid = ?", [study_uid]):
        yield str(text or "").lower()
    for _, series in answers:
        for one in series.values():
            yield str(one["description"] or "").lower()
            yield str(one["body_part"] or "").lower()
