"""One person as the messages and the images tell: what was said, in order, folded into facts about the person.

The order of arrival never matters: what was sent later holds, and of what was sent at the same time the bytes decide.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial

from sqlite_utils import Database

from analytics.counts.approval import Approval
from analytics.counts.blood import CombinedCount, SpecimenResults, combine
from analytics.reasons import Reason
from analytics.records import MeasurementStatus, Mri
from node.clock import from_text
from node.hl7.extracts import Extract, PatientExtract, SpecimenExtract, from_json
from node.settings import Settings
from node.steps.signs import Signs, names_of, signs_of
from node.store.failures import tried
from node.store.public_id import public_id
from node.store.reasons import loaded

WITHHELD = """
SELECT s.rejections FROM derived_series AS s
JOIN derived_identifier AS i ON i.authority = s.patient_authority AND i.patient_id = s.patient_id
WHERE i.person = :person AND s.withdrawn = 1 AND s.modality = 'MR'
UNION ALL
SELECT c.reason FROM derived_claim AS c JOIN derived_identifier AS i USING (authority, patient_id)
WHERE i.person = :person
UNION ALL
SELECT p.reason FROM derived_shared_pixels AS p JOIN derived_series AS s USING (series_instance_uid)
JOIN derived_identifier AS i ON i.authority = s.patient_authority AND i.patient_id = s.patient_id
WHERE i.person = :person
ORDER BY 1
"""


ELSEWHERE = """
SELECT DISTINCT o.content ->> '$.specimen', o.content ->> '$.taken_at', coalesce(o.sent_at, ''), f.sha256,
       o.position, o.item
FROM derived_identifier AS i
CROSS JOIN derived_extract AS e INDEXED BY derived_extract_patient
        ON e.authority = i.authority AND e.patient_id = i.patient_id AND e.kind = 'specimen'
CROSS JOIN derived_extract AS o INDEXED BY derived_extract_specimen
                          ON o.kind = 'specimen' AND o.content ->> '$.specimen' = e.content ->> '$.specimen'
                         AND o.content ->> '$.taken_at' IS e.content ->> '$.taken_at'
JOIN derived_identifier AS p ON p.authority = o.authority AND p.patient_id = o.patient_id
JOIN fact_frame AS f ON f.frame_id = o.frame_id
WHERE i.person = ?1 AND p.person <> ?1
ORDER BY 3, 4, 5, 6
"""
"""From the person to the specimens: left to itself SQLite looks through those of everybody, for each person."""

SERIES = """
SELECT s.series_instance_uid, s.patient_authority || '|' || s.patient_id, s.study_date, s.began_at, s.postoperative,
       s.birth_date, s.sex, n.names, s.scanner_stratum, s.rejections, s.fewer, s.chosen
FROM derived_series AS s
JOIN derived_identifier AS i ON i.authority = s.patient_authority AND i.patient_id = s.patient_id
LEFT JOIN derived_series_names AS n ON n.series_instance_uid = s.series_instance_uid
WHERE i.person = ? AND s.withdrawn = 0
AND NOT EXISTS (SELECT 1 FROM derived_shared_pixels AS p WHERE p.series_instance_uid = s.series_instance_uid)
"""

IN_EFFECT = """
SELECT status, CASE ?1 WHEN 'mean' THEN vbq_mean ELSE vbq_median END, vbq_sd FROM measurements
WHERE series_instance_uid = ?2 AND in_effect = 1
"""
"""Of one series at a time: joined to others, the view would be made in full, with all measurements that there are."""

Measured = tuple[str | None, float | None, float | None]
"""Status, VBQ and its standard deviation."""
SpecimenKey = tuple[str, datetime | None]
"""Name and time of a specimen: laboratories use their numbers again."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """An extract with what orders it: when it was sent, then the content of its message."""

    sent_at: datetime | None
    order: tuple[str, str, int, int]
    number: str
    extract: Extract
    sender: str = ""
    """The application and facility that sent the message."""
    source: str = "stay"
    """What kind of message it is of; a stay is of the register."""
    signs: Signs = field(default_factory=Signs)
    """What the message states of whom the number is."""
    doubt: Reason | None = None
    """Why it may be about somebody else."""

    @property
    def message(self) -> str:
        """The message, as problems name it."""
        _, sha256, position, _ = self.order
        return f"message {public_id(sha256)}.{position}"


def cancelled_visits(said: Iterable[Said]) -> set[str]:
    """The visits that were opened by mistake, or will not be: the newest word on them is that they are cancelled."""
    newest = {
        one.extract.visit: one.extract.visit_event
        for one in sorted(said, key=lambda one: one.order)
        if isinstance(one.extract, PatientExtract) and one.extract.visit_event
    }
    return {visit for visit, event in newest.items() if event == "cancelled"}


@dataclass(frozen=True, kw_only=True)
class Series:
    """A T1 series of the person with the measurement in effect."""

    mri: Mri
    number: str
    signs: Signs
    """What its images state of whom the number is."""
    scanner_stratum: str | None
    vbq_sd: float | None
    """Standard deviation of this VBQ where its measurement brings one."""
    doubts: tuple[Reason, ...] = ()
    """What a PACS has taken back of it, where its score waits for a person because of that."""
    whose: Reason | None = None
    """Why it may be of somebody else."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """All that is known about one person, before linking."""

    key: str
    said: Sequence[Said]
    series: Sequence[Series]
    approvals: Sequence[Approval]
    """What people decided about held blood counts."""
    decisions: Mapping[tuple[str, str], str]
    """What people have decided about signs, by number and digest."""
    elsewhere: Mapping[SpecimenKey, tuple[str, str, int, int]]
    """Specimens of the person that came under somebody else's number as well, with what orders the newest of it."""
    withheld: Sequence[Reason] = ()
    """Why MRI that were received under a number of the person count for nothing."""


def read_person(db: Database, settings: Settings, key: str) -> Person:
    """Everything said of a person and every series of the person, of all numbers that lead to it."""
    said = [
        _said(*row)
        for row in db.execute(
            "SELECT e.authority, e.patient_id, e.sent_at, e.content, e.stated, f.sha256, e.position, e.item, m.sender "
            "FROM derived_extract AS e JOIN derived_identifier AS i USING (authority, patient_id) "
            "JOIN fact_frame AS f USING (frame_id) LEFT JOIN derived_message AS m USING (frame_id, position) "
            "WHERE i.person = ?",
            [key],
        )
    ]
    form = settings.measurement.form
    found = [_series(*row, measured=_in_effect(db, row[0], form)) for row in db.execute(SERIES, [key]).fetchall()]
    return Person(
        key=key,
        said=sorted(said, key=lambda one: one.order),
        series=[one for one in found if one is not None],
        approvals=_approvals(db, key),
        decisions=_decisions(db, key),
        elsewhere=_elsewhere(db, key),
        withheld=_withheld(db, key),
    )


def _said(
    authority: str,
    patient_id: str,
    sent_at: str | None,
    content: str,
    stated: str | None,
    sha256: str,
    position: int,
    item: int,
    sender: str | None,
) -> Said:
    extract = from_json(content)
    source, signs = signs_of(stated)
    if stated is None and isinstance(extract, PatientExtract):
        sex = extract.sex if extract.sex in ("F", "M") else None
        signs = Signs(birth_date=extract.birth_date, sex=sex)
    return Said(
        sent_at=from_text(sent_at) if sent_at else None,
        order=(sent_at or "", sha256, position, item),
        number=f"{authority}|{patient_id}",
        extract=extract,
        sender=sender or "",
        source=source,
        signs=signs,
    )


def _in_effect(db: Database, uid: str, form: str) -> Measured:
    """Of the measurement of a series that counts; nothing where it has none."""
    found: Measured = db.execute(IN_EFFECT, [form, uid]).fetchone() or (None, None, None)
    return found


def _series(
    uid: str,
    number: str,
    study_date: str | None,
    began_at: str | None,
    postoperative: int,
    birth_date: str | None,
    sex: str | None,
    names: str | None,
    stratum: str | None,
    rejections: str,
    fewer: str,
    chosen: int,
    *,
    measured: Measured,
) -> Series | None:
    """A series as its row and its measurement tell it; ``None`` where it is neither to be measured nor was."""
    status, vbq, vbq_sd = measured
    if status is None and not chosen:
        return None
    return Series(
        mri=Mri(
            series_uid=uid,
            study_date=date.fromisoformat(study_date) if study_date else None,
            status=MeasurementStatus(status) if status else None,
            vbq=vbq,
            taken_at=from_text(began_at) if began_at else None,
            postoperative=bool(postoperative),
        ),
        number=number,
        signs=Signs(
            birth_date=date.fromisoformat(birth_date) if birth_date else None,
            sex=sex if sex in ("F", "M") else None,
            names=names_of(json.loads(names or "[]")),
        ),
        scanner_stratum=stratum,
        vbq_sd=vbq_sd,
        doubts=(*loaded(rejections), *loaded(fewer)) if status == MeasurementStatus.REVIEW.value else (),
    )


def _decisions(db: Database, key: str) -> dict[tuple[str, str], str]:
    """The newest about each signs of each number of the person."""
    rows = db.execute(
        "SELECT d.authority || '|' || d.patient_id, d.signs, d.decision FROM fact_signs_decision AS d "
        "JOIN derived_identifier AS i USING (authority, patient_id) WHERE i.person = ? ORDER BY d.decision_id",
        [key],
    )
    return {(number, signs): decision for number, signs, decision in rows}


def _elsewhere(db: Database, key: str) -> dict[SpecimenKey, tuple[str, str, int, int]]:
    """The specimens of the person that came under the number of somebody else, too."""
    return {
        (specimen, datetime.fromisoformat(taken_at) if taken_at else None): (sent_at, sha256, position, item)
        for specimen, taken_at, sent_at, sha256, position, item in db.execute(ELSEWHERE, [key])
    }


def _withheld(db: Database, key: str) -> list[Reason]:
    """Why MRI of the person count for nothing: taken back by a PACS, or linked to nobody."""
    found = db.execute(WITHHELD, {"person": key}).fetchall()
    return list(dict.fromkeys(reason for (text,) in found for reason in loaded(text)))


def _approvals(db: Database, key: str) -> list[Approval]:
    """The approvals in force of all numbers that lead to a person: of a specimen the newest decision."""
    decisions = db.execute(
        "SELECT d.specimen, d.decision, d.count_sha256, d.cells, d.decided_by FROM fact_count_decision AS d "
        "JOIN derived_identifier AS i USING (authority, patient_id) WHERE i.person = ? ORDER BY d.decision_id",
        [key],
    ).fetchall()
    newest = {specimen: (decision, sha256, cells, by) for specimen, decision, sha256, cells, by in decisions}
    return [
        Approval(specimen=specimen, fingerprint=sha256, cells=json.loads(cells), by=by)
        for specimen, (decision, sha256, cells, by) in newest.items()
        if decision == "approved"
    ]


def blood_counts(said: Iterable[Said]) -> tuple[list[CombinedCount], dict[str, Exception]]:
    """One count per specimen, over all messages about it; and what was raised by specimens that are left out."""
    results = [
        SpecimenResults(
            sent_at=one.sent_at,
            sender=one.sender,
            tie_break=one.order[1],
            specimen=one.extract.specimen,
            taken_at=one.extract.taken_at,
            date_only=one.extract.date_only,
            observed_only=one.extract.observed_only,
            results=one.extract.results,
        )
        for one in said
        if isinstance(one.extract, SpecimenExtract)
    ]
    together = tried(partial(combine, results))
    if together.error is None:
        return together.result(), {}
    failed = {
        name: alone.error
        for name in sorted({one.specimen for one in results})
        if (alone := tried(partial(combine, [one for one in results if one.specimen == name]))).error is not None
    }
    if not failed:
        raise together.error
    return combine([one for one in results if one.specimen not in failed]), failed


def moved_specimens(said: Iterable[Said], elsewhere: Mapping[SpecimenKey, tuple[str, str, int, int]]) -> list[Said]:
    """What is said, with a doubt about every specimen that came later under somebody else's number.

    A laboratory that has mistaken the patient sends the specimen again under the right number: the newest holds.
    """
    messages = list(said)
    newest: dict[SpecimenKey, tuple[str, str, int, int]] = {}
    for one in messages:
        if isinstance(one.extract, SpecimenExtract):
            key = (one.extract.specimen, one.extract.taken_at)
            newest[key] = max(one.order, newest.get(key, one.order))
    moved = {key for key, order in newest.items() if key in elsewhere and elsewhere[key] > order}
    return [
        replace(one, doubt=one.doubt or Reason("specimen-under-newer-number"))
        if isinstance(one.extract, SpecimenExtract) and (one.extract.specimen, one.extract.taken_at) in moved
        else one
        for one in messages
    ]
