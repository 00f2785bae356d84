"""What people have settled of late, newest first, and how each of it is taken back or decided otherwise."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlite_utils import Database

from node.clock import from_text
from node.people.two_readers import hidden_from
from node.store.public_id import public_id_of
from node.web.worklist import Asker

MOST = 100
"""So many are listed."""

READINGS = """
SELECT r.series_instance_uid, r.reader, r.added_at, w.withdrawn_at IS NOT NULL, m.vbq_mean, r.approves IS NOT NULL
FROM fact_reading AS r LEFT JOIN fact_reading_withdrawal AS w USING (reading_id)
LEFT JOIN derived_measurement AS m ON m.series_instance_uid = r.series_instance_uid AND m.reading_id = r.reading_id
ORDER BY r.reading_id DESC LIMIT ?
"""
UNREADABLE = """
SELECT series_instance_uid, decided_by, decided_at, decision FROM fact_series_decision AS d
WHERE decision_id = (SELECT max(n.decision_id) FROM fact_series_decision AS n
                     WHERE n.series_instance_uid = d.series_instance_uid)
ORDER BY decision_id DESC LIMIT ?
"""
COUNTS = """
SELECT d.specimen, d.decided_by, d.decided_at, d.decision, p.pseudonym
FROM fact_count_decision AS d
LEFT JOIN derived_identifier AS i USING (authority, patient_id) LEFT JOIN derived_person AS p USING (person)
WHERE d.decision_id = (SELECT max(n.decision_id) FROM fact_count_decision AS n
                       WHERE (n.authority, n.patient_id, n.specimen) = (d.authority, d.patient_id, d.specimen))
ORDER BY d.decision_id DESC LIMIT ?
"""
PAIRS = """
SELECT authority, patient_id, other_patient_id, decided_by, decided_at, decision FROM fact_identity_decision AS d
WHERE decision_id = (SELECT max(n.decision_id) FROM fact_identity_decision AS n
                     WHERE (n.authority, n.patient_id, n.other_patient_id) =
                           (d.authority, d.patient_id, d.other_patient_id))
ORDER BY decision_id DESC LIMIT ?
"""
SIGNS = """
SELECT d.authority, d.patient_id, d.signs, d.decided_by, d.decided_at, d.decision, p.pseudonym
FROM fact_signs_decision AS d
LEFT JOIN derived_identifier AS i USING (authority, patient_id) LEFT JOIN derived_person AS p USING (person)
WHERE d.decision_id = (SELECT max(n.decision_id) FROM fact_signs_decision AS n
                       WHERE (n.authority, n.patient_id, n.signs) = (d.authority, d.patient_id, d.signs))
ORDER BY d.decision_id DESC LIMIT ?
"""
STUDIES = """
SELECT d.study_instance_uid, coalesce(w.withdrawn_by, d.decided_by), coalesce(w.withdrawn_at, d.decided_at),
       iif(w.decision_id IS NULL, 'newest', 'withdrawn')
FROM fact_study_decision AS d LEFT JOIN fact_study_withdrawal AS w USING (decision_id)
WHERE d.decision_id = (SELECT max(n.decision_id) FROM fact_study_decision AS n
                       WHERE n.study_instance_uid = d.study_instance_uid)
ORDER BY d.decision_id DESC LIMIT ?
"""
THRESHOLDS = """
SELECT d.version, d.decided_by, d.decided_at, d.decision FROM fact_threshold_decision AS d
WHERE d.decision_id = (SELECT max(n.decision_id) FROM fact_threshold_decision AS n WHERE n.version = d.version)
ORDER BY d.decision_id DESC LIMIT ?
"""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A decision that was taken.

    Attributes
    ----------
    kind
        As of a worklist's item.
    outcome
        Which way: key of the words ``settled_*``.
    about
        What names it to those who decide otherwise; never shown in an address.
    shown
        What is shown of it: a pseudonym, or numbers where it is about numbers.
    vbq
        Of a reading.
    link
        The page on which it is taken back.
    """

    kind: str
    outcome: str
    by: str
    at: datetime
    about: Mapping[str, str] = field(default_factory=dict)
    shown: str = ""
    vbq: float | None = None
    link: str | None = None


def settled(db: Database, kinds: Collection[str], *, asker: Asker) -> list[Settled]:
    """The newest decisions of these kinds; none of a series that the asker is to read without knowing of others."""
    parts = {
        "series": _readings(db, asker),
        "count": _counts(db),
        "identity": _signs(db),
        "pair": _pairs(db),
        "study": _studies(db),
        "threshold": _thresholds(db),
    }
    found = [one for kind, part in parts.items() if kind in kinds for one in part]
    return sorted(found, key=lambda one: one.at, reverse=True)[:MOST]


def _readings(db: Database, asker: Asker) -> Iterator[Settled]:
    hidden = hidden_from(db, asker.rule, asker.name)
    for uid, by, at, withdrawn, vbq, approved in db.execute(READINGS, [MOST]).fetchall():
        if uid not in hidden:
            outcome = "withdrawn" if withdrawn else "approved" if approved else "read"
            yield _of_series(uid, outcome, by, at, vbq)
    for uid, by, at, decision in db.execute(UNREADABLE, [MOST]).fetchall():
        if uid not in hidden:
            yield _of_series(uid, decision, by, at, None)


def _of_series(uid: str, outcome: str, by: str, at: str, vbq: float | None) -> Settled:
    name = public_id_of(uid)
    return Settled(kind="series", outcome=outcome, by=by, at=from_text(at), shown=name, vbq=vbq, link=f"/series/{name}")


def _counts(db: Database) -> Iterator[Settled]:
    for specimen, by, at, decision, patient in db.execute(COUNTS, [MOST]).fetchall():
        about = {"specimen": specimen, "patient": patient or ""}
        yield Settled(kind="count", outcome=decision, by=by, at=from_text(at), about=about, shown=patient or "")


def _signs(db: Database) -> Iterator[Settled]:
    for authority, number, signs, by, at, decision, patient in db.execute(SIGNS, [MOST]).fetchall():
        about = {"authority": authority, "patient_id": number, "signs": signs}
        yield Settled(kind="identity", outcome=decision, by=by, at=from_text(at), about=about, shown=patient or "")


def _pairs(db: Database) -> Iterator[Settled]:
    for authority, number, other, by, at, decision in db.execute(PAIRS, [MOST]).fetchall():
        about = {"authority": authority, "patient_id": number, "other_patient_id": other}
        yield Settled(kind="pair", outcome=decision, by=by, at=from_text(at), about=about, shown=f"{number} · {other}")


def _studies(db: Database) -> Iterator[Settled]:
    for uid, by, at, outcome in db.execute(STUDIES, [MOST]).fetchall():
        about = {"study": uid}
        yield Settled(kind="study", outcome=outcome, by=by, at=from_text(at), about=about, shown=public_id_of(uid))


def _thresholds(db: Database) -> Iterator[Settled]:
    for version, by, at, decision in db.execute(THRESHOLDS, [MOST]).fetchall():
        about = {"version": str(version)}
        yield Settled(kind="threshold", outcome=decision, by=by, at=from_text(at), about=about, shown=str(version))
