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
STANDING = """
SELECT decision_id FROM fact_study_decision WHERE study_instance_uid = ?
AND decision_id NOT IN (SELECT decision_id FROM fact_study_withdrawal)
"""


def use_newest(db: Database, study_uid: str, *, by: str, at: datetime) -> int:
    """Keep as a fact that of every image of a study what came last holds; returns how many images were undecided.

    Raises
    ------
    InputError
        The study is not known, or the name is none.
    """
    name = _name(by)
    if not db.execute(KNOWN, {"uid": study_uid}).fetchone()[0]:
        raise InputError(
            f"no study {study_uid} is known; the view 'series' lists what has arrived (the steps must be running)"
        )
    (undecided,) = db.execute(VERSIONS, {"uid": study_uid}).fetchone()
    row = {"study_instance_uid": study_uid, "decision": USE_NEWEST, "decided_at": to_text(at), "decided_by": name}
    with writing(db):
        (newest,) = db.execute("SELECT coalesce(max(receipt_id), 0) FROM fact_object_receipt").fetchone()
        insert(db, "fact_study_decision", [row | {"after_receipt": newest}])
    return int(undecided)


def withdraw(db: Database, study_uid: str, *, by: str, at: datetime) -> int:
    """Take back every decision about a study, as a fact: its versions stand beside each other again; returns how many.

    Raises
    ------
    InputError
        There is none, or the name is none.
    """
    name = _name(by)
    with writing(db):
        standing = [decision_id for (decision_id,) in db.execute(STANDING, [study_uid]).fetchall()]
        if not standing:
            raise InputError(f"nobody has said that what came last of study {study_uid} holds")
        for decision_id in standing:
            row = {
                "decision_id": decision_id,
                "study_instance_uid": study_uid,
                "withdrawn_at": to_text(at),
                "withdrawn_by": name,
            }
            insert(db, "fact_study_withdrawal", [row])
            # The steps judge its images anew, as after the decision.
            db.execute("DELETE FROM derived_study_decision WHERE decision_id = ?", [decision_id])
    return len(standing)


def _name(by: str) -> str:
    name = by.strip()
    if not name or len(name) > NAME_LENGTH or not name.isprintable():
        raise InputError(f"--by: a name of 1 to {NAME_LENGTH} printable characters is needed")
    return name
