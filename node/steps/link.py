"""The link step: everything derived about one person at a time, from all extracts and series of that person.

A person is pending when ``derived_person`` has no row for it. The whole derivation of a person is one unit of work:
blood counts folded over all messages, operations folded over all bookings, one link row for each operation (or one
provisional pair), and the cohort row with its reasons.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from sqlite_utils import Database

from analytics.columns import CELLS, INDICES, columns
from analytics.counts.approval import settled
from analytics.counts.blood import CombinedCount
from analytics.counts.norms import UNLIKE
from analytics.episodes.eligibility import age_on, exclusion_reasons
from analytics.episodes.matching import Match, match, provisional_pair
from analytics.reasons import Reason
from analytics.records import BloodCount, MeasurementStatus, Mri, Operation, ResultStatus
from node.clock import to_text
from node.hl7.catalogue import Eligibility, load_eligibility
from node.settings import Settings
from node.steps.doubtful import DoubtfulCount, as_taken, doubt_rows, doubtful_counts, held_counts
from node.steps.identity import apply_decisions
from node.steps.known import Known
from node.steps.operations import PlannedOperation, fold_operations
from node.steps.person import Person, blood_counts, moved_specimens, read_person
from node.steps.senders import compare_counts, forget_counts
from node.steps.whose import Whose, demographics
from node.store.database import insert, writing
from node.store.failures import Unit, barrier, forget_failures, note_failure, tried
from node.store.problems import forget_problems, note_problem
from node.store.pseudonym import pseudonym, pseudonym_key
from node.store.reasons import stored

KNOWN_BY = frozenset({"stay", "booking", "order"})
"""Kinds of messages by which a hospital tells of a patient; a laboratory has whatever number it was given."""
BATCH_PERSONS = 100
"""What is stored in one transaction at most; it bounds how long other writers wait."""


IN_DOUBT = "\U0010ffff"
"""Before the name of a specimen in doubt: of the same time it goes first, so that the doubt is seen."""

USABLE: dict[str, Any] = {"status": ResultStatus.FINAL, "nlr": 1.0, "plr": 1.0}
"""As if it had been used: whether it could be is no matter of what is in doubt."""


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
                unit = Unit("patient", pseudonym(pseudonym_key(db), "P", person))
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
    insert(db, "derived_person", [{"person": person, "pseudonym": pseudonym(pseudonym_key(db), "P", person)}])


def _forget_derived(db: Database, person: str) -> None:
    db.execute(
        "DELETE FROM state_failure WHERE step = 'link' AND unit_kind = 'episode' AND unit_key IN "
        "(SELECT episode FROM derived_link WHERE person = ?)",
        [person],
    )
    for table in ("derived_blood_count", "derived_operation", "derived_link", "derived_doubt"):
        db.execute(f"DELETE FROM {table} WHERE person = ?", [person])


def _derive(db: Database, settings: Settings, eligibility: Eligibility, person: Person) -> None:
    zone = settings.site.zone
    key = pseudonym_key(db)
    name = pseudonym(key, "P", person.key)
    _forget_derived(db, person.key)
    forget_failures(db, "link", "patient", name)
    owned = demographics(person)
    said = moved_specimens(owned.said, person.elsewhere)
    sure = [one for one in said if one.doubt is None]
    combined, failed_specimens = blood_counts(sure)
    counts = settled(compare_counts(db, person.key, combined), person.approvals)
    doubtful, failed_doubtful = doubtful_counts(said)
    operations, known_operations = fold_operations(said), fold_operations(sure)
    insert(
        db,
        "derived_person",
        [
            {
                "person": person.key,
                "pseudonym": name,
                "birth_date": owned.birth_date.isoformat() if owned.birth_date else None,
                "sex": owned.sex,
                "contradiction": stored(owned.holds) if owned.holds else None,
                "only_counts": int(_is_only_counted(person, counts)),
            }
        ],
    )
    _replace_problems(db, name, operations.unplaced)
    insert(db, "derived_doubt", doubt_rows(person.key, owned.doubts))
    insert(
        db,
        "derived_blood_count",
        [_count_row(person.key, count) for count in [*counts, *held_counts(counts, doubtful)]],
    )
    insert(db, "derived_operation", [_operation_row(person.key, planned) for planned in operations.planned])
    linker = _Linker(
        person=person,
        owned=owned,
        zone=zone,
        key=key,
        site=settings.site.name,
        known=Known(said=sure, zone=zone, eligibility=eligibility),
        counts=counts,
        doubtful=doubtful,
        done=[moment.astimezone(zone).date() for moment in known_operations.done],
        repeats=[moment.astimezone(zone).date() for moment in known_operations.repeats],
    )
    rows, failed = linker.rows(operations.planned)
    insert(db, "derived_link", rows)
    for episode, error in failed.items():
        note_failure(db, "link", Unit("episode", episode), error)
    for specimen, error in {**failed_doubtful, **failed_specimens}.items():
        note_failure(db, "link", Unit("patient", name, specimen), error)


@dataclass(frozen=True, kw_only=True)
class _Linker:
    """Makes the link rows of one person."""

    person: Person
    owned: Whose
    zone: ZoneInfo
    key: bytes
    site: str
    known: Known
    counts: Sequence[CombinedCount]
    doubtful: Sequence[DoubtfulCount]
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
        return pseudonym(self.key, "E", f"{planned.first_number}|{planned.operation.booking}")

    def _provisional(self) -> list[dict[str, object]]:
        pair = provisional_pair(self._mris(), self._counts(), zone=self.zone)
        if pair is None or self.owned.holds:
            return []
        reason = Reason("provisional-pair", {"days": pair.days_apart})
        row = self._row(
            episode=pseudonym(self.key, "E", f"{self.person.key}|provisional"),
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
        earlier = self._others(planned, operations)
        found = match(operation, self._mris(), self._counts(), zone=self.zone, earlier=earlier)
        status = "linked" if found.complete else "incomplete"
        reasons = found.reasons if found.mri else self._without_mri(found.reasons)
        reasons = (*reasons, *self._far_off(reasons))
        if held := self._holds(planned, found, earlier):
            status, reasons = "held", (*held, *reasons)
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

    def _others(self, planned: PlannedOperation, operations: Sequence[PlannedOperation]) -> list[Operation]:
        """Other operations of the patient that are known or planned, for what was taken after them."""
        told = [datetime.combine(day, time(), self.zone) for day in (*self.done, *self.repeats)]
        return [
            *(
                other.operation
                for other in operations
                if other is not planned and other.doubt is None and not other.operation.cancelled
            ),
            *(Operation(booking="", planned_at=moment, date_only=True, cancelled=False) for moment in told),
        ]

    def _holds(self, planned: PlannedOperation, found: Match, earlier: Sequence[Operation]) -> tuple[Reason, ...]:
        """Why the operation is held: for the person, for its booking, for what would be taken were it not in doubt."""
        reasons = [*self.owned.holds]
        if planned.doubt is not None:
            reasons.append(planned.doubt)
        images = {one.mri.series_uid: one.whose for one in self.owned.series if one.whose is not None}
        mris = [
            replace(one.mri, status=MeasurementStatus.MEASURED, vbq=1.0)
            for one in self.owned.series
            if one.mri.series_uid in images
        ]
        counts = {IN_DOUBT + one.count.specimen: one for one in self.doubtful}
        tempting = match(
            planned.operation,
            [*self._mris(), *mris],
            [*self._counts(), *(replace(as_taken(one.count), specimen=name, **USABLE) for name, one in counts.items())],
            zone=self.zone,
            earlier=earlier,
        )
        if tempting.mri is not None and (whose_image := images.get(tempting.mri.series_uid)) is not None:
            reasons.append(whose_image)
        if tempting.blood_count is not None and (count := counts.get(tempting.blood_count.specimen)) is not None:
            reasons += [] if count.doubt in reasons else [count.reason(self.zone)]
        return tuple(dict.fromkeys(reasons))

    def _far_off(self, reasons: Sequence[Reason]) -> Iterator[Reason]:
        """Why blood counts that would be used are held for what is usual: a tier made of one is taken back."""
        days = {one.values["date"] for one in reasons if one.code == "blood-count-not-final"}
        for count in self.counts:
            day = count.taken_at.astimezone(self.zone).date().isoformat() if count.taken_at else ""
            if count.status is ResultStatus.HELD and day in days:
                yield from (
                    Reason("blood-count-held", {"date": day, "why": why}) for why in count.notes if why.code in UNLIKE
                )

    def _without_mri(self, reasons: Sequence[Reason]) -> tuple[Reason, ...]:
        """The reasons, with why an MRI that is here was not taken: never that none came."""
        doubts = [doubt for series in self.owned.series for doubt in series.doubts]
        named = dict.fromkeys([*self.person.withheld, *doubts])
        here = self.person.withheld or any(one.whose for one in self.owned.series)
        return (*named, *(one for one in reasons if not (here and one.code == "no-mri")))

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
        return {
            "episode": episode,
            "site": self.site,
            "person": self.person.key,
            "booking": booking,
            "status": status,
            "reasons": stored(reasons),
            "surgery_date": surgery_date.isoformat() if surgery_date else None,
            **self._mri_columns(found.mri),
            **self._count_columns(self._combined(found.blood_count)),
            "age": age_on(self.owned.birth_date, day) if self.owned.birth_date and day else None,
            "sex_male": {"M": 1, "F": 0}.get(self.owned.sex or ""),
            **self.known.covariates(day),
            "diagnosis": self.known.diagnosis(day),
            **self.known.outcomes(surgery_date),
        }

    def _mri_columns(self, mri: Mri | None) -> dict[str, object]:
        if mri is None:
            return dict.fromkeys(("series_instance_uid", "mri_date", "scanner_stratum", "vbq", "vbq_sd"))
        series = next(one for one in self.owned.series if one.mri.series_uid == mri.series_uid)
        return {
            "series_instance_uid": mri.series_uid,
            "mri_date": mri.study_date.isoformat() if mri.study_date else None,
            "scanner_stratum": series.scanner_stratum,
            "vbq": mri.vbq,
            "vbq_sd": series.vbq_sd,
        }

    def _count_columns(self, count: CombinedCount | None) -> dict[str, object]:
        cells, indices = [name for name in CELLS if name in columns()], [one.name for one in INDICES]
        if count is None:
            return dict.fromkeys(("specimen", "cbc_date", *cells, *indices))
        return {
            "specimen": count.specimen,
            "cbc_date": count.taken_at.astimezone(self.zone).date().isoformat() if count.taken_at else None,
            **{name: count.cells[name] for name in cells},
            **{name: count.indices[name] for name in indices},
        }

    def _mris(self) -> list[Mri]:
        return [series.mri for series in self.owned.series if series.whose is None]

    def _counts(self) -> list[BloodCount]:
        return [as_taken(count) for count in self.counts]

    def _combined(self, chosen: BloodCount | None) -> CombinedCount | None:
        return next((count for count in self.counts if chosen and count.specimen == chosen.specimen), None)

    def _twins(self, planned: PlannedOperation, operations: Sequence[PlannedOperation]) -> list[str]:
        """Other bookings of the same day, of which this one is not the first by name: one operation is one row."""
        day = planned.operation.planned_at.astimezone(self.zone).date()
        booked = sorted(
            other.operation.booking
            for other in operations
            if not other.operation.cancelled
            and other.doubt is None
            and other.operation.planned_at.astimezone(self.zone).date() == day
        )
        if planned.operation.cancelled or planned.operation.booking not in booked:
            return []
        return booked[: booked.index(planned.operation.booking)][:1]

    def _earlier_operation(self, day: date, operations: Sequence[PlannedOperation]) -> date | None:
        dates = [
            planned.operation.planned_at.astimezone(self.zone).date()
            for planned in operations
            if not planned.operation.cancelled and planned.doubt is None
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
        "surgeon_number": planned.surgeon.number or None if planned.surgeon else None,
        "surgeon": planned.surgeon.name or None if planned.surgeon else None,
        "service": planned.service or None,
        "procedure_class": planned.understood,
        "moved_from": to_text(planned.moved_from) if planned.moved_from else None,
    }


def _is_only_counted(person: Person, counts: Sequence[CombinedCount]) -> bool:
    """Whether nothing but blood counts is known: no stay, booking, order or MRI, as of a number that was mistyped."""
    known = person.series or person.withheld or any(one.source in KNOWN_BY for one in person.said)
    return bool(counts) and not known


def _replace_problems(db: Database, pseudonym: str, undated: Iterable[Reason]) -> None:
    forget_problems(db, "link", "patient", pseudonym)
    for reason in undated:
        note_problem(db, "link", "patient", pseudonym, "no-date", [reason])


def _forget_problems(db: Database) -> None:
    """Take away the problems of persons who are no more, because a merge has made them somebody else."""
    with writing(db):
        db.execute(
            "DELETE FROM state_failure WHERE step = 'link' AND ("
            "unit_kind = 'patient' AND unit_key NOT IN (SELECT pseudonym FROM derived_person) "
            "OR unit_kind = 'episode' AND unit_key NOT IN (SELECT episode FROM derived_link))"
        )
        db.execute(
            "DELETE FROM derived_problem WHERE step = 'link' AND NOT EXISTS "
            "(SELECT 1 FROM derived_person AS p WHERE p.pseudonym = derived_problem.unit_key)"
        )
