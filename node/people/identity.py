"""Whose a patient number is, where that is in doubt, and what a person decides about it.

In doubt are numbers that differ in leading zeros only, merges of numbers whose people differ, and messages or images
that state another birth date, sex or name than the person whom their number leads to.
"""

import json
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


DOUBTS = """
SELECT d.authority, d.patient_id, NULL AS other_patient_id, 'open' AS state, NULL AS decided_at, NULL AS decided_by,
       d.kind, d.signs, d.sources, (SELECT group_concat(value ->> 'words', '; ') FROM json_each(d.reason)) AS words
FROM derived_doubt AS d
UNION ALL
SELECT d.authority, d.patient_id, NULL, d.decision, d.decided_at, d.decided_by, NULL, d.signs, '[]', NULL
FROM fact_signs_decision AS d
WHERE d.decision_id = (SELECT max(n.decision_id) FROM fact_signs_decision AS n
                       WHERE n.authority = d.authority AND n.patient_id = d.patient_id AND n.signs = d.signs)
ORDER BY 1, 2, 8
"""

MERGED = """
SELECT EXISTS (SELECT 1 FROM derived_identifier AS a JOIN derived_identifier AS b
               ON b.authority = a.authority AND b.person = a.person AND b.patient_id <> a.patient_id
               WHERE a.authority = ? AND a.patient_id = ? AND b.patient_id = ?)
"""


def doubts(db: Database) -> list[dict[str, object]]:
    """Signs that are in doubt or decided: authority, patient_id, state, by whom, kind, signs, sources, words."""
    return [{**row, "sources": json.loads(str(row["sources"]))} for row in db.query(DOUBTS)]


def candidates(db: Database) -> list[dict[str, object]]:
    """All pairs that are open or decided: authority, patient_id (with more zeros), other_patient_id, state, by whom."""
    return list(db.query(LISTED))


def decide(db: Database, *, numbers: tuple[str, str, str], confirmed: bool, by: str, now: datetime) -> None:
    """Say that the two numbers of a pair are one patient (they are joined like by a merge), or that they are not.

    The steps let it take effect. The newest decision holds; of numbers that a merge has joined, it parts them.

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
        merged = not confirmed and bool(db.execute(MERGED, [authority, other, longer]).fetchone()[0])
        if (authority, longer, other) not in known and not merged:
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


def decide_signs(
    db: Database, *, number: tuple[str, str], signs: str | None, confirmed: bool, by: str, now: datetime
) -> int:
    """Say that what is in doubt under a number is of its patient, or that it is of somebody else; returns how much.

    The steps let it take effect. The newest decision about the same signs holds.

    Parameters
    ----------
    number
        Authority and number.
    signs
        Which, as :func:`doubts` names them, decided already or not; all that are open without it.

    Raises
    ------
    InputError
        Nothing of the number is in doubt, or nobody is named.
    """
    if not by.strip():
        raise InputError("say who decides (--by NAME)")
    with writing(db):
        known = dict.fromkeys(
            str(one["signs"])
            for one in doubts(db)
            if (one["authority"], one["patient_id"]) == number
            and (one["state"] == "open" if signs is None else one["signs"] == signs)
        )
        if not known:
            raise InputError("nothing of this number is in doubt; `vbq-node identity list` shows what is")
        rows = [
            {
                "authority": number[0],
                "patient_id": number[1],
                "signs": one,
                "decision": "confirmed" if confirmed else "rejected",
                "decided_at": to_text(now),
                "decided_by": by.strip(),
            }
            for one in known
        ]
        insert(db, "fact_signs_decision", rows)
    return len(rows)
