"""The link step: everything derived about one person at a time, from all extracts and series of that person.

A person is pending when ``derived_person`` has no row for it. The whole derivation of a person is one unit of work:
blood counts folded over all messages, operations folded over all bookings, one link row for each operation (or one
provisional pair), and the cohort row with its reasons.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from zoneinfo import ZoneInfo

from sqlite_utils import Database

from analytics.columns import CELLS, INDICES, columns
from analytics.counts.approval import settled
from analytics.counts.blood import CombinedCount
from analytics.episodes.eligibility import age_on, exclusion_reasons
from analytics.episodes.matching import Match, match, provisional_pair
from analytics.reasons import Reason
from analytics.records import BloodCount, Mri
from node.clock import to_text
from node.hl7.catalogue import Eligibility, load_eligibility
from node.settings import Settings
from node.steps.identity import apply_decisions
from node.steps.known import Known
from node.steps.operations import PlannedOperation, fold_operations
from node.steps.person import Person, blood_counts, demographics, read_person
from node.steps.senders import compare_counts, forget_counts
from node.store.database import insert, writing
from node.store.failures import barrier, note_failure, tried
from node.store.problems import forget_problems, note_problem
from node.store.reasons import stored

BATCH_PERSONS = 100
"""What is stored in one transaction at most; it bounds how long other writers wait."""


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
                unit = f"patient {_pseudonym(_pseudonym_key(db), 'P', person)}"
                with barrier(db, "link", unit, instead=partial(_store_failed, db, person)):
                    _derive(db, settings, eligibility, read_person(db, settings, person))
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


def _store_failed(db: Database, person: str, _: Reason) -> None:
    """A person of whom nothing could be derived: done with, until something new is known, and linked to nothing."""
    _forget_derived(db, person)
    forget_counts(db, person)
    insert(db, "derived_person", [{"person": person, "pseudonym": _pseudonym(_pseudonym_key(db), "P", person)}])


def _forget_derived(db: Database, person: str) -> None:
    db.execute(
        "DELETE FROM state_failure WHERE step = 'link' AND unit IN "
        "(SELECT 'episode ' || episode FROM derived_link WHERE person = ?)",
        [person],
    )
    for table in ("derived_blood_count", "derived_operation", "derived_link"):
        db.execute(f"DELETE FROM {table} WHERE person = ?", [person])


def _derive(db: Database, settings: Settings, eligibility: Eligibility, person: Person) -> None:
    zone = settings.site.zone
    key = _pseudonym_key(db)
    pseudonym = _pseudonym(key, "P", person.key)
    _forget_derived(db, person.key)
    db.execute("DELETE FROM state_failure WHERE step = 'link' AND unit GLOB ?", [f"patient {pseudonym}*"])
    combined, failed_specimens = blood_counts(person.said)
    counts = settled(compare_counts(db, person.key, combined), person.approvals)
    operations = fold_operations(person.said)
    birth_date, sex, contradiction = demographics(person)
    insert(
        db,
        "derived_person",
        [
            {
                "person": person.key,
                "pseudonym": pseudonym,
                "birth_date": birth_date.isoformat() if birth_date else None,
                "sex": sex,
                "contradiction": stored([contradiction]) if contradiction else None,
            }
        ],
    )
    _replace_problems(db, pseudonym, operations.unplaced)
    insert(db, "derived_blood_count", [_count_row(person.key, count) for count in counts])
    insert(db, "derived_operation", [_operation_row(person.key, planned) for planned in operations.planned])
    linker = _Linker(
        person=person,
        zone=zone,
        key=key,
        site=settings.site.name,
        known=Known(said=person.said, zone=zone, eligibility=eligibility),
        counts=counts,
        birth_date=birth_date,
        sex=sex,
        contradiction=contradiction,
        done=[moment.astimezone(zone).date() for moment in operations.done],
        repeats=[moment.astimezone(zone).date() for moment in operations.repeats],
    )
    rows, failed = linker.rows(operations.planned)
    insert(db, "derived_link", rows)
    for episode, error in failed.items():
        note_failure(db, "link", f"episode {episode}", error)
    for specimen, error in failed_specimens.items():
        note_failure(db, "link", f"patient {pseudonym}, specimen {specimen}", error)


@dataclass(frozen=True, kw_only=True)
class _Linker:
    """Makes the link rows of one person."""

    person: Person
    zone: ZoneInfo
    key: bytes
    site: str
    known: Known
    counts: Sequence[CombinedCount]
    birth_date: date | None
    sex: str | None
    contradiction: Reason | None
    done: Sequence[date]
    """Days of operations that were told of only afterwards."""
    repeats: Sequence[date]
    """Days of revisions and removals: an operation on that day or later is not the first."""

    def rows(self, operations: Sequence[PlannedOperation]) -> tuple[list[dict[str, object]], dict[str, Exception]]:
        """One row per operation; without any, the provisional pair if there is one. And what failed, by episode."""
        if not operations:
            return self._provisional(), {}
        rows: list[dict[str, object]] = []
        failed: dict[str, Exception] = {}
        for planned in operations:
            row = tried(partial(self._operation_row, planned, operations))
            if row.error is not None:
                failed[self._episode(planned)] = row.error
            rows.append(self._held(planned) if row.error is not None else row.result())
        return rows, failed

    def _held(self, planned: PlannedOperation) -> dict[str, object]:
        """The row of an operation that could not be linked because the software failed on it."""
        reasons = stored([Reason("software-failed")])
        return {
            "episode": self._episode(planned),
            "site": self.site,
            "person": self.person.key,
            "booking": planned.operation.booking,
            "status": "held",
            "reasons": reasons,
            "surgery_date": planned.operation.planned_at.astimezone(self.zone).date().isoformat(),
            "eligible": 0,
            "exclusion_reasons": reasons,
        }

    def _episode(self, planned: PlannedOperation) -> str:
        return _pseudonym(self.key, "E", f"{planned.first_number}|{planned.operation.booking}")

    def _provisional(self) -> list[dict[str, object]]:
        pair = provisional_pair(self._mris(), self._counts(), zone=self.zone)
        if pair is None:
            return []
        reason = Reason("provisional-pair", {"days": pair.days_apart})
        row = self._row(
            episode=_pseudonym(self.key, "E", f"{self.person.key}|provisional"),
            booking=None,
            status="provisional",
            reasons=(reason,),
            surgery_date=None,
            found=Match(mri=pair.mri, blood_count=pair.blood_count, reasons=()),
        )
        return [{**row, "eligible": 0, "exclusion_reasons": stored([reason])}]

    def _operation_row(self, planned: PlannedOperation, operations: Sequence[PlannedOperation]) -> dict[str, object]:
        operation = planned.operation
        surgery_date = operation.planned_at.astimezone(self.zone).date()
        found = match(operation, self._mris(), self._counts(), zone=self.zone)
        status = "linked" if found.complete else "incomplete"
        reasons = found.reasons if found.mri else self._without_mri(found.reasons)
        if self.contradiction:
            status, reasons = "held", (self.contradiction, *reasons)
        if operation.cancelled:
            status, reasons = "cancelled", (Reason("operation-cancelled"),)
            found = Match(mri=None, blood_count=None, reasons=())
        row = self._row(
            episode=self._episode(planned),
            booking=operation.booking,
            status=status,
            reasons=reasons,
            surgery_date=surgery_date,
            found=found,
        )
        excluded = [*reasons] if status in ("held", "cancelled") else []
        excluded += [Reason("operation-booked-twice", {"booking": twin}) for twin in self._twins(planned, operations)]
        excluded += exclusion_reasons(
            values=row,  # type: ignore[arg-type]  # a row also holds the text columns, which are not looked at
            diagnosis_excludes=[
                *self.known.excluding_diagnoses(surgery_date),
                *self.known.excluding_drugs(surgery_date),
            ],
            earlier_operation=self._earlier_operation(surgery_date, operations),
        )
        return {**row, "eligible": int(not excluded), "exclusion_reasons": stored(excluded)}

    def _without_mri(self, reasons: Sequence[Reason]) -> tuple[Reason, ...]:
        """The reasons, with why an MRI that is here was not taken: never that none came."""
        doubts = [doubt for series in self.person.series for doubt in series.doubts]
        named = dict.fromkeys([*self.person.withheld, *doubts])
        return (*named, *(one for one in reasons if not (self.person.withheld and one.code == "no-mri")))

    def _row(
        self,
        *,
        episode: str,
        booking: str | None,
        status: str,
        reasons: Sequence[Reason],
        surgery_date: date | None,
        found: Match,
    ) -> dict[str, object]:
        day = surgery_date or (found.mri.study_date if found.mri else None)
        count = self._combined(found.blood_count)
        mri = found.mri
        series = next((one for one in self.person.series if mri and one.mri.series_uid == mri.series_uid), None)
        return {
            "episode": episode,
            "site": self.site,
            "person": self.person.key,
            "booking": booking,
            "status": status,
            "reasons": stored(reasons),
            "surgery_date": surgery_date.isoformat() if surgery_date else None,
            "series_instance_uid": mri.series_uid if mri else None,
            "mri_date": mri.study_date.isoformat() if mri and mri.study_date else None,
            "specimen": count.specimen if count else None,
            "cbc_date": count.taken_at.astimezone(self.zone).date().isoformat() if count and count.taken_at else None,
            "scanner_stratum": series.scanner_stratum if series else None,
            "vbq": mri.vbq if mri else None,
            "vbq_sd": series.vbq_sd if series else None,
            "age": age_on(self.birth_date, day) if self.birth_date and day else None,
            "sex_male": {"M": 1, "F": 0}.get(self.sex or ""),
            **self.known.covariates(day),
            "diagnosis": self.known.diagnosis(day),
            **{name: count.cells[name] if count else None for name in CELLS if name in columns()},
            **{one.name: count.indices[one.name] if count else None for one in INDICES},
            **self.known.outcomes(surgery_date),
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
        dates += self.done
        earlier = [other for other in dates if other < day] + [other for other in self.repeats if other <= day]
        return max(earlier, default=None)


def _count_row(person: str, count: CombinedCount) -> dict[str, object]:
    return {
        "person": person,
        "specimen": count.specimen,
        "taken_at": to_text(count.taken_at) if count.taken_at else None,
        "date_only": int(count.date_only),
        "status": count.status.value,
        "basis": count.basis,
        **{f"{name}_10e9_per_l": count.cells[name] for name in CELLS},
        **{one.name: count.indices[one.name] for one in INDICES},
        "notes": stored(count.notes),
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


def _replace_problems(db: Database, pseudonym: str, undated: Iterable[Reason]) -> None:
    forget_problems(db, "link", "patient", pseudonym)
    for reason in undated:
        note_problem(db, "link", "patient", pseudonym, "no-date", [reason])


def _forget_problems(db: Database) -> None:
    """Take away the problems of persons who are no more, because a merge has made them somebody else."""
    with writing(db):
        db.execute(
            "DELETE FROM state_failure WHERE step = 'link' "
            "AND substr(unit, 1, 19) NOT IN (SELECT 'patient ' || pseudonym FROM derived_person) "
            "AND unit NOT IN (SELECT 'episode ' || episode FROM derived_link)"
        )
        db.execute(
            "DELETE FROM derived_problem WHERE step = 'link' AND NOT EXISTS "
            "(SELECT 1 FROM derived_person AS p WHERE p.pseudonym = derived_problem.unit_key)"
        )


def _pseudonym_key(db: Database) -> bytes:
    (key,) = db.execute("SELECT value FROM fact_site WHERE name = 'pseudonym_key'").fetchone()
    return bytes.fromhex(key)


def _pseudonym(key: bytes, prefix: str, name: str) -> str:
    """A study id that only this node can make, and that nobody can turn back: 50 bits of an HMAC-SHA-256."""
    digest = hmac.new(key, name.encode("utf-8"), hashlib.sha256).digest()
    return prefix + base64.b32encode(digest).decode("ascii")[:10]
