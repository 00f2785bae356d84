"""What people decide about studies whose images were received in several versions."""

from datetime import datetime

from sqlite_utils import Database

from node.clock import to_text
from node.errors import InputError
from node.store.database import insert, writing

USE_NEWEST = "use-newest"
NAME_LENGTH = 64

KNOWN = """
SELECT EXISTS (SELECT 1 FROM derived_instance WHERE study_instance_uid = :uid)
    OR EXISTS (SELECT 1 FROM derived_superseded WHERE study_instance_uid = :uid)
"""
VERSIONS = """
SELECT count(*) FROM derived_undecided WHERE sop_instance_uid IN
    (SELECT sop_instance_uid FROM derived_instance WHERE study_instance_uid = :uid)
"""


def use_newest(db: Database, study_uid: str, *, by: str, at: datetime) -> int:
    """Keep as a fact that of every image of a study what came last holds; returns how many images were undecided.

    Raises
    ------
    InputError
        The study is not known, or the name is none.
    """
    name = by.strip()
    if not name or len(name) > NAME_LENGTH or not name.isprintable():
        raise InputError(f"--by: a name of 1 to {NAME_LENGTH} printable characters is needed")
    if not db.execute(KNOWN, {"uid": study_uid}).fetchone()[0]:
        raise InputError(
            f"no study {study_uid} is known; the view 'series' lists what has arrived (the steps must be running)"
        )
    (undecided,) = db.execute(VERSIONS, {"uid": study_uid}).fetchone()
    row = {"study_instance_uid": study_uid, "decision": USE_NEWEST, "decided_at": to_text(at), "decided_by": name}
    with writing(db):
        insert(db, "fact_study_decision", [row])
    return int(undecided)
