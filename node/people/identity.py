"""Patient numbers that differ in leading zeros only, and what a person decides about them."""

from datetime import datetime

from sqlite_utils import Database

from node.clock import to_text
from node.errors import InputError
from node.store.database import insert, writing

LISTED = """
WITH pairs AS (
    SELECT a.authority, b.patient_id, a.patient_id AS other_patient_id, a.person = b.person AS same_person,
           (SELECT d.decision_id FROM fact_identity_decision AS d
            WHERE d.authority = a.authority AND d.patient_id = b.patient_id AND d.other_patient_id = a.patient_id
            ORDER BY d.decision_id DESC LIMIT 1) AS decision_id
    FROM derived_identifier AS a
    JOIN derived_identifier AS b ON b.authority = a.authority AND ltrim(b.patient_id, '0') = ltrim(a.patient_id, '0')
                                 AND length(b.patient_id) > length(a.patient_id)
)
SELECT authority, patient_id, other_patient_id, coalesce(d.decision, 'open') AS state, d.decided_at, d.decided_by
FROM pairs LEFT JOIN fact_identity_decision AS d USING (authority, patient_id, other_patient_id, decision_id)
WHERE d.decision_id IS NOT NULL OR NOT same_person
ORDER BY authority, patient_id, other_patient_id
"""


def candidates(db: Database) -> list[dict[str, object]]:
    """All pairs that are open or decided: authority, patient_id (with more zeros), other_patient_id, state, by whom."""
    return list(db.query(LISTED))


def decide(db: Database, *, numbers: tuple[str, str, str], confirmed: bool, by: str, now: datetime) -> None:
    """Say that the two numbers of a pair are one patient (they are joined like by a merge), or that they are not.

    The steps let it take effect. The newest decision holds.

    Parameters
    ----------
    numbers
        The authority, and the two numbers in any order.

    Raises
    ------
    InputError
        The pair is no candidate, or nobody is named.
    """
    if not by.strip():
        raise InputError("say who decides (--by NAME)")
    authority, *pair = numbers
    other, longer = sorted(pair, key=len)
    with writing(db):
        known = [(one["authority"], one["patient_id"], one["other_patient_id"]) for one in candidates(db)]
        if (authority, longer, other) not in known:
            raise InputError("these two numbers are no candidate; `vbq-node identity list` shows them")
        row = {
            "authority": authority,
            "patient_id": longer,
            "other_patient_id": other,
            "decision": "confirmed" if confirmed else "rejected",
            "decided_at": to_text(now),
            "decided_by": by.strip(),
        }
        insert(db, "fact_identity_decision", [row])
