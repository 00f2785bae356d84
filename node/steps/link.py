"""The link step: everything derived about one person at a time, from all extracts and series of that person.

A person is pending when ``derived_person`` has no row for it. The whole derivation of a person is one unit of work:
blood counts folded over all messages, operations folded over all bookings, one link row for each operation (or one
provisional pair), and the cohort row with its reasons.
"""

import base64
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlite_utils import Database

from analytics.blood import CombinedCount, SpecimenResults, combine
from analytics.eligibility import age_on, body_mass_index, exclusion_reasons, in_drug_window, plausible_bmi
from analytics.matching import Match, match, provisional_pair
from analytics.model import BloodCount, MeasurementStatus, Mri, Operation
from node.clock import from_text, to_text
from node.hl7.catalogue import Eligibility, load_eligibility
from node.hl7.extracts import AppointmentExtract, Extract, PatientExtract, SpecimenExtract, from_json
from node.settings import Settings
from node.steps.identity import apply_decisions
from node.store.database import insert, writing

BATCH_PERSONS = 100
"""What is stored in one transaction at most; it bounds how long other writers wait."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """An extract with what orders it: when it was sent, then the content of its message."""

    sent_at: datetime | None
    order: tuple[str, str, int, int]
    number: str
    extract: Extract


@dataclass(frozen=True, kw_only=True)
class Series:
    """A T1 series of the person with the measurement in effect."""

    mri: Mri
    birth_date: date | None
    sex: str | None
    scanner_stratum: str | None


@dataclass(frozen=True, kw_only=True)
class PlannedOperation:
    """An operation as folded over all messages about its booking."""

    operation: Operation
    procedure: str
    moved_from: datetime | None
    first_number: str
    """The patient number in the first message about it: names the episode, whatever is merged later."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """All that is known about one person, before linking."""

    key: str
    said: Sequence[Said]
    series: Sequence[Series]
    confirmed: Sequence[tuple[str, str]]
    """Pairs of numbers that are one person because somebody confirmed a candidate."""


def link_persons(db: Database, settings: Settings) -> int:
    """Derive every pending person anew; returns how many there were."""
    eligibility = load_eligibility()
    apply_decisions(db)
    done = 0
    while pending := _pending(db):
        with writing(db):
            # Asked again inside the unit of work: a merge may have renamed the person meanwhile.
            persons = [person for person in pending if _is_pending(db, person)]
            for person in persons:
                _derive(db, settings, eligibility, _read_person(db, settings, person))
        done += len(persons)
    if done:
        _forget_problems(db)
    return done


def _pending(db: Database) -> list[str]:
    rows = db.execute(
        "SELECT DISTINCT person FROM derived_identifier AS i "
        "WHERE NOT EXISTS (SELECT 1 FROM derived_person AS p WHERE p.person = i.person) LIMIT ?",
        [BATCH_PERSONS],
    )
    return [person for (person,) in rows.fetchall()]


def _is_pending(db: Database, person: str) -> bool:
    row = db.execute(
        "SELECT EXISTS (SELECT 1 FROM derived_identifier WHERE person = ?) "
        "AND NOT EXISTS (SELECT 1 FROM derived_person WHERE person = ?)",
        [person, person],
    ).fetchone()
    return bool(row[0])


def _read_person(db: Database, settings: Settings, key: str) -> Person:
    said = [
        Said(
            sent_at=from_text(sent_at) if sent_at else None,
            order=(sent_at or "", sha256, position, item),
            number=f"{authority}|{patient_id}",
            extract=from_json(content),
        )
        for authority, patient_id, sent_at, content, sha256, position, item in db.execute(
            "SELECT e.authority, e.patient_id, e.sent_at, e.content, f.sha256, e.position, e.item "
            "FROM derived_extract AS e JOIN derived_identifier AS i USING (authority, patient_id) "
            "JOIN fact_frame AS f USING (frame_id) WHERE i.person = ?",
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
        )
        for uid, study_date, birth_date, sex, stratum, status, vbq in db.execute(
            f"SELECT s.series_instance_uid, s.study_date, s.birth_date, s.sex, s.scanner_stratum, m.status, {form} "
            "FROM derived_series AS s "
            "JOIN derived_identifier AS i ON i.authority = s.patient_authority AND i.patient_id = s.patient_id "
            # The newest reading of a series is the one in effect.
            "LEFT JOIN derived_measurement AS m ON m.series_instance_uid = s.series_instance_uid AND m.reading_id = "
            "(SELECT max(reading_id) FROM derived_measurement AS n WHERE n.series_instance_uid = s.series_instance_uid)"
            " WHERE i.person = ? AND (s.chosen = 1 OR m.status IS NOT NULL)",
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
    return Person(key=key, said=sorted(said, key=lambda one: one.order), series=series, confirmed=confirmed)


def _derive(db: Database, settings: Settings, eligibility: Eligibility, person: Person) -> None:
    zone = settings.site.zone
    key = _pseudonym_key(db)
    for table in ("derived_blood_count", "derived_operation", "derived_link"):
        db.execute(f"DELETE FROM {table} WHERE person = ?", [person.key])
    counts = _blood_counts(person.said)
    operations, unplaced = _operations(person.said)
    birth_date, sex, contradiction = _demographics(person)
    pseudonym = _pseudonym(key, "P", person.key)
    insert(
        db,
        "derived_person",
        [
            {
                "person": person.key,
                "pseudonym": pseudonym,
                "birth_date": birth_date.isoformat() if birth_date else None,
                "sex": sex,
                "contradiction": contradiction,
            }
        ],
    )
    _replace_problems(db, f"patient {pseudonym}", unplaced)
    insert(db, "derived_blood_count", [_count_row(person.key, count) for count in counts])
    insert(db, "derived_operation", [_operation_row(person.key, planned) for planned in operations])
    linker = _Linker(
        person=person,
        zone=zone,
        key=key,
        site=settings.site.name,
        eligibility=eligibility,
        counts=counts,
        birth_date=birth_date,
        sex=sex,
        contradiction=contradiction,
    )
    insert(db, "derived_link", linker.rows(operations))


def _blood_counts(said: Iterable[Said]) -> list[CombinedCount]:
    return combine(
        [
            SpecimenResults(
                sent_at=one.sent_at,
                tie_break=one.order[1],
                specimen=one.extract.specimen,
                taken_at=one.extract.taken_at,
                date_only=one.extract.date_only,
                results=one.extract.results,
            )
            for one in said
            if isinstance(one.extract, SpecimenExtract)
        ]
    )


def _operations(said: Iterable[Said]) -> tuple[list[PlannedOperation], list[str]]:
    """Fold the bookings; also those operations that no message gives a date for, in words."""
    told = [(one, one.extract) for one in said if isinstance(one.extract, AppointmentExtract)]
    operations: list[PlannedOperation] = []
    unplaced: list[str] = []
    for booking, events in _bookings(told):
        if not any(extract.operation for _, extract in events):
            continue
        times = [extract.planned_at for _, extract in events if extract.planned_at is not None]
        if not times:
            unplaced.append(f"operation {booking} has no planned date in any message about it")
            continue
        dated = [extract for _, extract in events if extract.planned_at is not None][-1]
        earlier = [moment for moment in times if moment != times[-1]]
        operations.append(
            PlannedOperation(
                operation=Operation(
                    booking=booking,
                    planned_at=times[-1],
                    date_only=dated.date_only,
                    cancelled=events[-1][1].event == "cancelled",
                ),
                procedure=next((e.procedure for _, e in reversed(events) if e.procedure), ""),
                moved_from=earlier[-1] if earlier else None,
                first_number=events[0][0].number,
            )
        )
    return operations, unplaced


Told = tuple[Said, AppointmentExtract]


def _bookings(told: Iterable[Told]) -> list[tuple[str, list[Told]]]:
    """The messages about each booking, and what its first message calls it.

    Those that share a filler number are about one booking, whatever placer numbers they have. A message without one
    is about every booking that shares its placer number: two appointments under one order keep apart, and what
    cancels the order cancels both.
    """
    by_filler: dict[str, list[Told]] = {}
    by_placer: dict[str, list[Told]] = {}
    for one in told:
        numbers, number = (by_filler, one[1].filler) if one[1].filler else (by_placer, one[1].placer)
        numbers.setdefault(number, []).append(one)
    groups = list(by_filler.values())
    for placer, events in by_placer.items():
        same_order = [group for group in by_filler.values() if any(extract.placer == placer for _, extract in group)]
        for group in same_order:
            group.extend(events)
        groups.extend([] if same_order else [events])
    for group in groups:
        group.sort(key=lambda one: one[0].order)
    first = Counter(group[0][1].booking for group in groups)
    # What is about two bookings names neither.
    named = [next((e for _, e in group if e.filler or first[e.booking] < 2), group[0][1]) for group in groups]
    return sorted(((name.booking, group) for name, group in zip(named, groups, strict=True)), key=lambda one: one[0])


def _newest(told: Iterable[PatientExtract]) -> tuple[date | None, str | None]:
    birth_date: date | None = None
    sex: str | None = None
    for extract in told:
        birth_date = extract.birth_date or birth_date
        sex = extract.sex or sex
    return birth_date, sex


def _demographics(person: Person) -> tuple[date | None, str | None, str | None]:
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
    contradiction = (
        f"{' and '.join(contradictions)} in the images and in the messages contradict each other"
        if contradictions
        else None
    )
    return birth_date or min(births, default=None), sex or min(sexes, default=None), contradiction


@dataclass(frozen=True, kw_only=True)
class _Linker:
    """Makes the link rows of one person."""

    person: Person
    zone: ZoneInfo
    key: bytes
    site: str
    eligibility: Eligibility
    counts: Sequence[CombinedCount]
    birth_date: date | None
    sex: str | None
    contradiction: str | None

    def rows(self, operations: Sequence[PlannedOperation]) -> list[dict[str, object]]:
        """One row per operation; without any, the provisional pair if there is one."""
        if operations:
            return [self._operation_row(planned, operations) for planned in operations]
        pair = provisional_pair(self._mris(), self._counts(), zone=self.zone)
        if pair is None:
            return []
        reason = f"no operation is known; MRI and blood count are {pair.days_apart} days apart"
        row = self._row(
            episode=_pseudonym(self.key, "E", f"{self.person.key}|provisional"),
            booking=None,
            status="provisional",
            reasons=(reason,),
            surgery_date=None,
            found=Match(mri=pair.mri, blood_count=pair.blood_count, reasons=()),
        )
        return [{**row, "eligible": 0, "exclusion_reasons": json.dumps([reason])}]

    def _operation_row(self, planned: PlannedOperation, operations: Sequence[PlannedOperation]) -> dict[str, object]:
        operation = planned.operation
        surgery_date = operation.planned_at.astimezone(self.zone).date()
        found = match(operation, self._mris(), self._counts(), zone=self.zone)
        status = "linked" if found.complete else "incomplete"
        reasons = found.reasons
        if self.contradiction:
            status, reasons = "held", (self.contradiction, *reasons)
        if operation.cancelled:
            status, reasons = "cancelled", ("the operation was cancelled",)
            found = Match(mri=None, blood_count=None, reasons=())
        row = self._row(
            episode=_pseudonym(self.key, "E", f"{planned.first_number}|{operation.booking}"),
            booking=operation.booking,
            status=status,
            reasons=reasons,
            surgery_date=surgery_date,
            found=found,
        )
        excluded = [*reasons] if status in ("held", "cancelled") else []
        excluded += [f"the same day is booked as {twin} too" for twin in self._twins(planned, operations)]
        excluded += exclusion_reasons(
            values=row,  # type: ignore[arg-type]  # a row also holds the text columns, which are not looked at
            diagnosis_excludes=[*self._excluding_diagnoses(surgery_date), *self._excluding_drugs(surgery_date)],
            earlier_operation=self._earlier_operation(surgery_date, operations),
        )
        return {
            **row,
            "eligible": int(not excluded),
            "exclusion_reasons": json.dumps(excluded, ensure_ascii=False),
        }

    def _row(
        self,
        *,
        episode: str,
        booking: str | None,
        status: str,
        reasons: Sequence[str],
        surgery_date: date | None,
        found: Match,
    ) -> dict[str, object]:
        day = surgery_date or (found.mri.study_date if found.mri else None)
        count = self._combined(found.blood_count)
        mri = found.mri
        return {
            "episode": episode,
            "site": self.site,
            "person": self.person.key,
            "booking": booking,
            "status": status,
            "reasons": json.dumps(list(reasons), ensure_ascii=False),
            "surgery_date": surgery_date.isoformat() if surgery_date else None,
            "series_instance_uid": mri.series_uid if mri else None,
            "mri_date": mri.study_date.isoformat() if mri and mri.study_date else None,
            "specimen": count.specimen if count else None,
            "cbc_date": count.taken_at.astimezone(self.zone).date().isoformat() if count and count.taken_at else None,
            "scanner_stratum": self._stratum(mri),
            "vbq": mri.vbq if mri else None,
            "age": age_on(self.birth_date, day) if self.birth_date and day else None,
            "sex_male": {"M": 1, "F": 0}.get(self.sex or ""),
            **self._covariates(day),
            "diagnosis": self._diagnosis(day),
            "neutrophils": count.neutrophils_10e9_per_l if count else None,
            "lymphocytes": count.lymphocytes_10e9_per_l if count else None,
            "platelets": count.platelets_10e9_per_l if count else None,
            "nlr": count.nlr if count else None,
            "plr": count.plr if count else None,
        }

    def _mris(self) -> list[Mri]:
        return [series.mri for series in self.person.series]

    def _counts(self) -> list[BloodCount]:
        return [
            BloodCount(
                specimen=count.specimen,
                taken_at=count.taken_at,
                date_only=count.date_only,
                status=count.status,
                nlr=count.nlr,
                plr=count.plr,
            )
            for count in self.counts
        ]

    def _combined(self, chosen: BloodCount | None) -> CombinedCount | None:
        return next((count for count in self.counts if chosen and count.specimen == chosen.specimen), None)

    def _stratum(self, mri: Mri | None) -> str | None:
        return next(
            (s.scanner_stratum for s in self.person.series if mri and s.mri.series_uid == mri.series_uid),
            None,
        )

    def _until(self, moment: datetime | None, day: date | None) -> bool:
        """Whether something observed (or, undated, sent) then was known by the end of that day."""
        return moment is None or day is None or moment.astimezone(self.zone).date() <= day

    def _covariates(self, day: date | None) -> dict[str, float | int | None]:
        latest: dict[str, tuple[datetime | None, float]] = {}
        for one in self.person.said:
            if not isinstance(one.extract, PatientExtract):
                continue
            for seen in one.extract.observations:
                moment = seen.observed_at or one.sent_at
                if not self._until(moment, day):
                    continue
                known = latest.get(seen.name)
                if known is None or known[0] is None or (moment is not None and moment >= known[0]):
                    latest[seen.name] = (moment, seen.value)
        value = {name: seen for name, (_, seen) in latest.items()}
        coded = self._codes(day)
        binary = {
            name: int(value[name]) if name in value else (1 if any(has(code) for code in coded) else None)
            for name, has in (
                ("smoking", lambda code: False),
                ("diabetes", self.eligibility.is_diabetes),
                ("hypertension", self.eligibility.is_hypertension),
                ("calcium", lambda code: False),
            )
        }
        computed = body_mass_index(height_cm=value.get("height_cm"), weight_kg=value.get("weight_kg"))
        return {**binary, "bmi": plausible_bmi(value["bmi"]) if "bmi" in value else computed}

    def _codes(self, day: date | None) -> list[str]:
        """Codes of all diagnoses known by that day, the newest last."""
        known = [
            (diagnosis.recorded_at or one.sent_at, one.order, diagnosis.code)
            for one in self.person.said
            if isinstance(one.extract, PatientExtract)
            for diagnosis in one.extract.diagnoses
            if self._until(diagnosis.recorded_at or one.sent_at, day)
        ]
        return [
            code for moment, _, code in sorted(known, key=lambda k: (k[0].timestamp() if k[0] else 0.0, k[1], k[2]))
        ]

    def _diagnosis(self, day: date | None) -> str | None:
        groups = [group for code in self._codes(day) if (group := self.eligibility.diagnosis_group(code))]
        return groups[-1] if groups else None

    def _excluding_diagnoses(self, day: date) -> list[str]:
        return sorted({reason for code in self._codes(day) if (reason := self.eligibility.exclusion(code))})

    def _excluding_drugs(self, day: date) -> list[str]:
        for one in self.person.said:
            for taken in one.extract.medications if isinstance(one.extract, PatientExtract) else ():
                start, end = (
                    moment and moment.astimezone(self.zone).date()
                    for moment in (taken.started_at or one.sent_at, taken.ended_at)
                )
                if start and in_drug_window(start, end, day):
                    return [self.eligibility.drugs.reason]
        return []

    def _twins(self, planned: PlannedOperation, operations: Sequence[PlannedOperation]) -> list[str]:
        """Other bookings of the same day, of which this one is not the first by name: one operation is one row."""
        day = planned.operation.planned_at.astimezone(self.zone).date()
        booked = sorted(
            other.operation.booking
            for other in operations
            if not other.operation.cancelled and other.operation.planned_at.astimezone(self.zone).date() == day
        )
        return [] if planned.operation.cancelled else booked[: booked.index(planned.operation.booking)][:1]

    def _earlier_operation(self, day: date, operations: Sequence[PlannedOperation]) -> date | None:
        dates = [
            planned.operation.planned_at.astimezone(self.zone).date()
            for planned in operations
            if not planned.operation.cancelled
        ]
        return max((other for other in dates if other < day), default=None)


def _count_row(person: str, count: CombinedCount) -> dict[str, object]:
    return {
        "person": person,
        "specimen": count.specimen,
        "taken_at": to_text(count.taken_at) if count.taken_at else None,
        "date_only": int(count.date_only),
        "status": count.status.value,
        "basis": count.basis,
        "neutrophils_10e9_per_l": count.neutrophils_10e9_per_l,
        "lymphocytes_10e9_per_l": count.lymphocytes_10e9_per_l,
        "platelets_10e9_per_l": count.platelets_10e9_per_l,
        "leukocytes_10e9_per_l": count.leukocytes_10e9_per_l,
        "nlr": count.nlr,
        "plr": count.plr,
        "notes": json.dumps(list(count.notes), ensure_ascii=False),
    }


def _operation_row(person: str, planned: PlannedOperation) -> dict[str, object]:
    operation = planned.operation
    return {
        "person": person,
        "booking": operation.booking,
        "planned_at": to_text(operation.planned_at),
        "date_only": int(operation.date_only),
        "cancelled": int(operation.cancelled),
        "procedure": planned.procedure or None,
        "moved_from": to_text(planned.moved_from) if planned.moved_from else None,
    }


def _replace_problems(db: Database, source: str, details: Iterable[str]) -> None:
    db.execute("DELETE FROM derived_problem WHERE step = 'link' AND source = ?", [source])
    rows = [{"step": "link", "source": source, "code": "no-date", "detail": detail} for detail in details]
    insert(db, "derived_problem", rows)


def _forget_problems(db: Database) -> None:
    """Take away the problems of persons who are no more, because a merge has made them somebody else."""
    with writing(db):
        db.execute(
            "DELETE FROM derived_problem WHERE step = 'link' AND NOT EXISTS "
            "(SELECT 1 FROM derived_person AS p WHERE 'patient ' || p.pseudonym = derived_problem.source)"
        )


def _pseudonym_key(db: Database) -> bytes:
    (key,) = db.execute("SELECT value FROM fact_site WHERE name = 'pseudonym_key'").fetchone()
    return bytes.fromhex(key)


def _pseudonym(key: bytes, prefix: str, name: str) -> str:
    """A study id that only this node can make, and that nobody can turn back: 50 bits of an HMAC-SHA-256."""
    digest = hmac.new(key, name.encode("utf-8"), hashlib.sha256).digest()
    return prefix + base64.b32encode(digest).decode("ascii")[:10]
