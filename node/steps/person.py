"""One person as the messages and the images tell: what was said, in order, folded into facts about the person.

The order of arrival never matters: what was sent later holds, and of what was sent at the same time the bytes decide.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
from node.store.failures import tried
from node.store.reasons import loaded

WITHHELD = """
SELECT s.rejections FROM derived_series AS s
JOIN derived_identifier AS i ON i.authority = s.patient_authority AND i.patient_id = s.patient_id
WHERE i.person = :person AND s.withdrawn = 1 AND s.modality = 'MR'
UNION ALL
SELECT c.reason FROM derived_claim AS c JOIN derived_identifier AS i USING (authority, patient_id)
WHERE i.person = :person
ORDER BY 1
"""


@dataclass(frozen=True, kw_only=True)
class Said:
    """An extract with what orders it: when it was sent, then the content of its message."""

    sent_at: datetime | None
    order: tuple[str, str, int, int]
    number: str
    extract: Extract
    sender: str = ""
    """The application and facility that sent the message."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """A T1 series of the person with the measurement in effect."""

    mri: Mri
    birth_date: date | None
    sex: str | None
    scanner_stratum: str | None
    vbq_sd: float | None
    """Standard deviation of this VBQ where its measurement brings one."""
    doubts: tuple[Reason, ...] = ()
    """What a PACS has taken back of it, where its score waits for a person because of that."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """All that is known about one person, before linking."""

    key: str
    said: Sequence[Said]
    series: Sequence[Series]
    approvals: Sequence[Approval]
    """What people decided about held blood counts."""
    confirmed: Sequence[tuple[str, str]]
    """Pairs of numbers that are one person because somebody confirmed a candidate."""
    withheld: Sequence[Reason] = ()
    """Why MRI that were received under a number of the person count for nothing."""


def read_person(db: Database, settings: Settings, key: str) -> Person:
    """Everything said of a person and every series of the person, of all numbers that lead to it."""
    said = [
        Said(
            sent_at=from_text(sent_at) if sent_at else None,
            order=(sent_at or "", sha256, position, item),
            number=f"{authority}|{patient_id}",
            extract=from_json(content),
            sender=sender or "",
        )
        for authority, patient_id, sent_at, content, sha256, position, item, sender in db.execute(
            "SELECT e.authority, e.patient_id, e.sent_at, e.content, f.sha256, e.position, e.item, m.sender "
            "FROM derived_extract AS e JOIN derived_identifier AS i USING (authority, patient_id) "
            "JOIN fact_frame AS f USING (frame_id) LEFT JOIN derived_message AS m USING (frame_id, position) "
            "WHERE i.person = ?",
            [key],
        )
    ]
    form = "m.vbq_mean" if settings.measurement.form == "mean" else "m.vbq_median"
    series = [
        Series(
            mri=Mri(
                series_uid=uid,
                study_date=date.fromisoformat(study_date) if study_date else None,
                status=MeasurementStatus(status) if status else None,
                vbq=vbq,
            ),
            birth_date=date.fromisoformat(birth_date) if birth_date else None,
            sex=sex,
            scanner_stratum=stratum,
            vbq_sd=vbq_sd,
            doubts=(*loaded(rejections), *loaded(fewer)) if status == MeasurementStatus.REVIEW.value else (),
        )
        for uid, study_date, birth_date, sex, stratum, status, vbq, vbq_sd, rejections, fewer in db.execute(
            f"SELECT s.series_instance_uid, s.study_date, s.birth_date, s.sex, s.scanner_stratum, m.status, {form}, "
            "m.vbq_sd, s.rejections, s.fewer "
            "FROM derived_series AS s "
            "JOIN derived_identifier AS i ON i.authority = s.patient_authority AND i.patient_id = s.patient_id "
            "LEFT JOIN measurements AS m ON m.series_instance_uid = s.series_instance_uid AND m.in_effect = 1"
            " WHERE i.person = ? AND s.withdrawn = 0 AND (s.chosen = 1 OR m.status IS NOT NULL)",
            [key],
        )
    ]
    confirmed = db.execute(
        "SELECT d.authority || '|' || d.patient_id, d.authority || '|' || d.other_patient_id "
        "FROM fact_identity_decision AS d JOIN derived_identifier AS i USING (authority, patient_id) "
        "WHERE i.person = ? AND d.decision = 'confirmed' AND d.decision_id = (SELECT max(n.decision_id) "
        "FROM fact_identity_decision AS n WHERE n.authority = d.authority AND n.patient_id = d.patient_id "
        "AND n.other_patient_id = d.other_patient_id)",
        [key],
    ).fetchall()
    return Person(
        key=key,
        said=sorted(said, key=lambda one: one.order),
        series=series,
        approvals=_approvals(db, key),
        confirmed=confirmed,
        withheld=_withheld(db, key),
    )


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


def _newest(told: Iterable[PatientExtract]) -> tuple[date | None, str | None]:
    birth_date: date | None = None
    sex: str | None = None
    for extract in told:
        birth_date = extract.birth_date or birth_date
        sex = extract.sex or sex
    return birth_date, sex


def demographics(person: Person) -> tuple[date | None, str | None, Reason | None]:
    """Birth date and sex (the newest message decides), and what contradicts them among the images."""
    told = [(one.number, one.extract) for one in person.said if isinstance(one.extract, PatientExtract)]
    birth_date, sex = _newest(extract for _, extract in told)
    # Who confirms a candidate may be mistaken: what the two numbers say of themselves has to agree.
    pairs = [
        [_newest(extract for number, extract in told if number == one) for one in pair] for pair in person.confirmed
    ]
    births = {series.birth_date for series in person.series if series.birth_date}
    sexes = {series.sex for series in person.series if series.sex in ("F", "M")}
    contradictions = []
    if len(births | ({birth_date} if birth_date else set())) > 1 or any(
        len({one[0] for one in pair} - {None}) > 1 for pair in pairs
    ):
        contradictions.append("birth date")
    if len(sexes | ({sex} if sex in ("F", "M") else set())) > 1 or any(
        len({one[1] for one in pair} & {"F", "M"}) > 1 for pair in pairs
    ):
        contradictions.append("sex")
    contradiction = Reason("contradictory-person", {"what": tuple(contradictions)}) if contradictions else None
    return birth_date or min(births, default=None), sex or min(sexes, default=None), contradiction
