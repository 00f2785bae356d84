"""Held blood counts: what a person decides about them, as a fact."""

import json
from collections.abc import Mapping
from datetime import datetime

from sqlite_utils import Database

from analytics.columns import CELLS, INDICES, Cell
from analytics.counts.approval import corrected, fingerprint
from analytics.counts.blood import CombinedCount
from analytics.plausible import RANGES
from analytics.records import ResultStatus
from node.clock import from_text, to_text
from node.errors import InputError
from node.store.database import insert, writing
from node.store.pending import touch
from node.store.reasons import loaded

LISTED = """
SELECT b.patient, b.specimen, b.taken_at, b.status, b.neutrophils_10e9_per_l, b.lymphocytes_10e9_per_l,
       b.platelets_10e9_per_l, b.leukocytes_10e9_per_l, b.nlr, b.plr, b.notes, b.reason_codes
FROM blood_counts AS b
WHERE b.status = 'held' OR EXISTS (
    SELECT 1 FROM fact_count_decision AS d JOIN derived_identifier AS i USING (authority, patient_id)
    JOIN derived_person AS p USING (person) WHERE p.pseudonym = b.patient AND d.specimen = b.specimen)
ORDER BY b.taken_at, b.patient, b.specimen
"""

FOUND = """
SELECT c.person, c.taken_at, c.date_only, c.status, c.basis, c.notes, {columns}
FROM derived_blood_count AS c JOIN derived_person AS p USING (person)
WHERE c.specimen = ? AND (? IS NULL OR p.pseudonym = ?)
"""


def listed(db: Database) -> list[dict[str, object]]:
    """The held counts and those that somebody decided about, as the view ``blood_counts`` has them."""
    return [
        {**row, "notes": json.loads(row["notes"]), "reason_codes": json.loads(row["reason_codes"])}
        for row in db.query(LISTED)
    ]


def approve(
    db: Database,
    specimen: str,
    *,
    by: str,
    now: datetime,
    patient: str | None = None,
    cells: Mapping[Cell, float] | None = None,
) -> None:
    """Approve a held count, with correct values of cells in 10⁹/L where they are wrong or missing.

    Raises
    ------
    InputError
        There is no such held count or more than one, a value is not plausible, the count would have neither ratio, or
        nobody is named.
    """
    given = dict(cells or {})
    for name, value in given.items():
        allowed = RANGES.get(name, RANGES["cells"])
        if not value > 0 or not allowed.holds(value):
            raise InputError(f"{name}: {value:g} × 10⁹/L is not plausible")
    with writing(db):
        person, count = _held(db, specimen, patient)
        after = corrected(count, given) if given else count
        if after.indices["nlr"] is None and after.indices["plr"] is None:
            raise InputError(
                "the count has neither NLR nor PLR; give the values that the laboratory confirms: "
                "--neutrophils, --lymphocytes, --platelets (10⁹/L)"
            )
        _store(db, person, specimen, "approved", fingerprint(count), given, by, now)


def withdraw(db: Database, specimen: str, *, by: str, now: datetime, patient: str | None = None) -> None:
    """Take an approval back: the count is held again.

    Raises
    ------
    InputError
        Nobody approved such a count, more than one patient has it, or nobody is named.
    """
    with writing(db):
        rows = db.execute(
            "SELECT DISTINCT i.person FROM fact_count_decision AS d JOIN derived_identifier AS i "
            "USING (authority, patient_id) LEFT JOIN derived_person AS p USING (person) "
            "WHERE d.specimen = ? AND (? IS NULL OR p.pseudonym = ?) AND d.decision = 'approved' "
            "AND d.decision_id = (SELECT max(n.decision_id) FROM fact_count_decision AS n "
            "WHERE (n.authority, n.patient_id, n.specimen) = (d.authority, d.patient_id, d.specimen))",
            [specimen, patient, patient],
        ).fetchall()
        if len(rows) != 1:
            raise InputError(_which(specimen, len(rows), "approved"))
        _store(db, rows[0][0], specimen, "withdrawn", "", {}, by, now)


def _which(specimen: str, found: int, state: str) -> str:
    if found:
        return f"{found} patients have {specimen}; say which with --patient (`vbq-node counts list` shows them)"
    return f"no {state} blood count is named {specimen}; `vbq-node counts list` shows what there is"


def _held(db: Database, specimen: str, patient: str | None) -> tuple[str, CombinedCount]:
    names = [f"{name}_10e9_per_l" for name in CELLS] + [one.name for one in INDICES]
    sql = FOUND.format(columns=", ".join(f"c.{name}" for name in names))
    rows = [row for row in db.query(sql, [specimen, patient, patient]) if row["status"] == ResultStatus.HELD.value]
    if len(rows) != 1:
        raise InputError(_which(specimen, len(rows), "held"))
    (row,) = rows
    return row["person"], CombinedCount(
        specimen=specimen,
        taken_at=from_text(row["taken_at"]) if row["taken_at"] else None,
        date_only=bool(row["date_only"]),
        status=ResultStatus.HELD,
        basis=row["basis"],
        cells={name: row[f"{name}_10e9_per_l"] for name in CELLS},
        indices={one.name: row[one.name] for one in INDICES},
        notes=loaded(row["notes"]),
    )


def _store(
    db: Database,
    person: str,
    specimen: str,
    decision: str,
    count_sha256: str,
    cells: Mapping[Cell, float],
    by: str,
    now: datetime,
) -> None:
    if not by.strip():
        raise InputError("say who decides (--by NAME)")
    authority, patient_id = db.execute(
        "SELECT authority, patient_id FROM derived_identifier WHERE person = ? ORDER BY 1, 2 LIMIT 1", [person]
    ).fetchone()
    row = {
        "authority": authority,
        "patient_id": patient_id,
        "specimen": specimen,
        "decision": decision,
        "count_sha256": count_sha256,
        "cells": json.dumps(dict(sorted(cells.items()))),
        "decided_at": to_text(now),
        "decided_by": by.strip(),
    }
    insert(db, "fact_count_decision", [row])
    touch(db, authority, patient_id)
