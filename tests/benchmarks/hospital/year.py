"""A year at the hospital: what each patient goes through, and what is got wrong on the way."""

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import count
from random import Random

from node.names import PersonName
from tests.benchmarks.hospital.dialects import (
    LABORATORIES,
    OTHER_PROCEDURES,
    PROCEDURES,
    UNKNOWN_PROCEDURES,
    Booking,
    Count,
    Laboratory,
    Row,
    book,
    merge,
    register,
)
from tests.benchmarks.hospital.people import (
    COUNTRIES,
    ILL,
    Blood,
    Patient,
    after_surgery,
    draw_blood,
    draw_name,
    draw_patient,
    plain,
    today,
    very_ill,
)
from tests.benchmarks.hospital.slips import CLUMPED, SLIPS, SPOILT
from tests.benchmarks.hospital.truth import Fault, Frame, Image, Operation, Specimen, Story, Told

FIRST = datetime(2026, 1, 1)
DAYS = 365
WRONG = 0.03
"""Of counts, examinations, bookings and registrations."""
UNUSUAL = 0.06
"""Patients of whom something is unusual, and right: half of them very ill."""
PLACEHOLDERS = ("UNKNOWN", "0", "000000", "999999999", "N/A", "?", "TEST")
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class SenderFault:
    """A laboratory whose counts are all wrong for a while."""

    country: str
    first_day: int
    days: int
    cell: str
    factor: float | None = None
    """``None``: the rows of the neutrophils and the lymphocytes are swapped."""

    def touches(self, country: str, at: datetime) -> bool:
        """Whether a count of then is wrong by it."""
        return country == self.country and 0 <= (at - FIRST).days - self.first_day < self.days

    def spoil(self, laboratory: Laboratory, rows: list[Row]) -> None:
        """Do it."""
        if self.factor is None:
            for percent in (False, True):
                pair = [row for row in rows if row.cell in ("neutrophils", "lymphocytes") and row.percent == percent]
                if pair:
                    pair[0].value, pair[1].value = pair[1].value, pair[0].value
            return
        for row in rows:
            if row.cell == self.cell and row.percent == (not laboratory.absolutes and self.cell != "platelets"):
                row.factor = self.factor


@dataclass(kw_only=True)
class Hospital:
    """Makes the story of a seed."""

    seed: int
    patients: int
    wrong: float = WRONG
    story: Story = field(default_factory=Story)
    _controls: "count[int]" = field(default_factory=lambda: count(1))
    off: tuple[SenderFault, ...] = ()

    def tell(self) -> Story:
        """The whole year."""
        random = Random(f"{self.seed} hospital")
        everybody = [draw_patient(Random(f"{self.seed} patient {key}"), key) for key in range(self.patients)]
        if self.wrong:
            units, swap = random.sample(COUNTRIES, 2)
            lengths = sorted(random.sample(range(6, 22), 2))
            # Who is asked: a laboratory has to be known before its fault, and its fault to end within the year.
            self.off = (
                SenderFault(country=units, first_day=random.randrange(120, 300), days=lengths[0],
                            cell=random.choice(("lymphocytes", "platelets")), factor=random.choice((0.1, 0.01, 10.0))),
                SenderFault(country=swap, first_day=random.randrange(120, 300), days=lengths[1], cell=""),
            )  # fmt: skip
        for patient in everybody:
            _Course(self, Random(f"{self.seed} course {patient.key}"), patient).run()
        self.story.events.sort(key=lambda event: event.at)
        return self.story

    def control(self) -> str:
        """The next control number."""
        return f"C{next(self._controls)}"


@dataclass(kw_only=True)
class _Plan:
    """The days of one patient."""

    surgery: datetime
    registered: datetime
    booked: datetime
    scanned: datetime
    counted: list[datetime]


class _Course:
    """What happens to one patient."""

    def __init__(self, hospital: Hospital, random: Random, patient: Patient) -> None:
        self.hospital, self.random, self.patient = hospital, random, patient
        self.story = hospital.story
        self.laboratory = LABORATORIES[patient.country]
        self.number = patient.number
        self.names = patient.name
        self.ill = ""

    # The course -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        random = self.random
        surgery = FIRST + timedelta(days=random.randrange(70, DAYS - 1), hours=random.randrange(7, 16))
        registered = surgery - timedelta(days=random.randrange(55, 69), hours=random.randrange(1, 3))
        plan = _Plan(
            surgery=surgery,
            registered=registered,
            booked=registered + timedelta(days=random.randrange(0, 20), hours=1),
            scanned=surgery - timedelta(days=random.randrange(3, 52), hours=random.randrange(0, 4)),
            counted=[self._morning(surgery - timedelta(days=random.randrange(2, 27)))],
        )
        plan.counted += [
            self._morning(surgery - timedelta(days=random.randrange(28, 54)))
            for _ in range(random.choice((0, 1, 1, 2)))
        ]
        self._unusual(plan)
        self.story.patients[self.patient.key] = self.patient
        self._registration(plan)
        self._booking(plan)
        self._examination(plan)
        for taken_at in sorted(set(plan.counted)):
            self._count(today(random, self.patient.usual), taken_at)
        if random.random() < 0.4:
            evening = surgery + timedelta(hours=random.choice((6, 20, 30)))
            self._count(after_surgery(random, self.patient.usual), evening, faulty=False)
        if random.random() < 0.1:
            self._image_after(plan)

    def _morning(self, day: datetime) -> datetime:
        return day.replace(hour=self.random.randrange(6, 10), minute=self.random.randrange(60))

    def _unusual(self, plan: _Plan) -> None:
        """What is rare and right."""
        random, patient = self.random, self.patient
        if random.random() >= UNUSUAL:
            return
        if random.random() < 0.5:
            what = random.choice(ILL)
            self.patient = replace(patient, usual=very_ill(random, patient.usual, what), unusual=what)
            return
        what = random.choice(("married", "provisional number", "birth date corrected", "swapped names", "one script",
                              "second given name", "title", "sent twice", "moved"))  # fmt: skip
        self.patient = replace(patient, unusual=what, extra={"both scripts": what != "one script"})

    def _send(self, at: datetime, raw: bytes) -> None:
        self.story.events.append(Frame(at=at, raw=raw))
        if self.patient.unusual == "sent twice":
            self.story.events.append(Frame(at=at + MINUTE, raw=raw))

    def _wrong(self) -> bool:
        return self.random.random() < self.hospital.wrong

    def _fault(self, kind: str, at: datetime, **more: object) -> None:
        numbers = more.pop("numbers", (self.number,))
        self.story.faults.append(Fault(kind=kind, at=at, numbers=numbers, **more))
        self.story.touched.add(self.patient.key)

    # Registrations ----------------------------------------------------------------------------------------------

    def _registration(self, plan: _Plan) -> None:
        random, patient, at = self.random, self.patient, plan.registered
        if patient.unusual == "birth date corrected":
            slip = replace(patient, birth_date=patient.birth_date - timedelta(days=random.choice((1, 10, 31, 365))))
            self._send(at, register(slip, event="A04", at=at))
            later = at + timedelta(hours=3)
            self._send(later, register(patient, event="A08", at=later))
        else:
            self._send(at, register(patient, event="A04", at=at))
        if patient.unusual == "married":
            other = draw_name(random, patient.country, patient.sex)
            name = replace(patient.name, family=other.family, latin_family=other.latin_family)
            self.patient = patient.renamed(name)
            later = plan.surgery - timedelta(days=27, hours=12)
            self._send(later, register(self.patient, event="A08", at=later))
            self.patient = patient
            self._renamed = later, patient.renamed(name)
        if patient.unusual == "provisional number":
            self._provisional = f"9{patient.number}"
            merged = plan.surgery - timedelta(days=1)
            self._send(merged, merge(patient, self._provisional, at=merged))
        if self._wrong():
            random.choice((self._reused_number, self._wrong_merge, self._merged_twice, self._other_in_register))(plan)

    def _now(self, at: datetime) -> Patient:
        """The patient as systems know the name then."""
        renamed: tuple[datetime, Patient] | None = getattr(self, "_renamed", None)
        return renamed[1] if renamed and at >= renamed[0] else self.patient

    def _stranger(self, *, twin: bool = False) -> Patient:
        """Somebody else, under this patient's number."""
        other = draw_patient(self.random, self.patient.key)
        if not twin:
            return replace(other, number=self.number)
        same = self.patient
        while other.name.given == same.name.given or _akin(other.name.latin_given, same.name.latin_given):
            other = replace(other, name=draw_name(self.random, same.country, same.sex))
        name = replace(same.name, given=other.name.given, latin_given=other.name.latin_given)
        return replace(same, name=name, usual=draw_blood(self.random))

    def _reused_number(self, plan: _Plan) -> None:
        """The number belonged to somebody who was here earlier, with a count of theirs within the window."""
        old = self._stranger()
        at = plan.registered - timedelta(days=1)
        self._send(at, register(old, event="A04", at=at))
        taken = plan.surgery - timedelta(days=self.random.randrange(1, 3), hours=10)
        self._foreign_count(old, taken, "number given to a new patient", say=plan.registered)

    def _wrong_merge(self, plan: _Plan) -> None:
        """Two different people are merged."""
        other = replace(self._stranger(), number=f"5{self.number}")
        at = plan.registered + timedelta(hours=2)
        self._send(at, register(other, event="A04", at=at))
        self._foreign_count(other, plan.surgery - timedelta(days=1, hours=3), "", say=at)
        later = plan.surgery - timedelta(days=self.random.randrange(1, 20))
        self._send(later, merge(self.patient, other.number, at=later))
        self._fault("merge of two people", later, numbers=(self.number, other.number))

    def _merged_twice(self, plan: _Plan) -> None:
        """A provisional number is merged into this patient, then, as it should have been, into another."""
        other = replace(self._stranger(), number=f"5{self.number}")
        provisional = f"8{self.number}"
        at = plan.registered + timedelta(hours=2)
        self._send(at, register(other, event="A04", at=at))
        first, second = at + timedelta(hours=1), at + timedelta(hours=2)
        merges = (merge(self.patient, provisional, at=first), merge(other, provisional, at=second))
        self._send(first, merges[0])
        self._send(second, merges[1])
        self._foreign_count(
            replace(other, number=provisional), plan.surgery - timedelta(days=1, hours=3), "", say=second
        )
        self._fault("number merged twice", second, numbers=(self.number, other.number, provisional), messages=merges)

    def _other_in_register(self, plan: _Plan) -> None:
        """Somebody else is registered under the number, and then the right patient again."""
        at = plan.registered + timedelta(days=2)
        self._send(at, register(self._stranger(), event="A08", at=at))
        self._fault("somebody else registered under the number", at)
        later = at + timedelta(days=2)
        self._send(later, register(self.patient, event="A08", at=later))

    # Counts -----------------------------------------------------------------------------------------------------

    def _foreign_count(self, who: Patient, taken_at: datetime, kind: str, *, say: datetime) -> None:
        """A count of another person; ``kind`` is said of it where it is one by itself."""
        laboratory = LABORATORIES[who.country]
        name = self._specimen_name(taken_at)
        blood = today(self.random, who.usual)
        reported = max(taken_at, say) + timedelta(hours=2)
        sent = Count(specimen=name, patient=who, taken_at=taken_at, reported_at=reported, rows=laboratory.rows(blood))
        self._send(reported, laboratory.write(sent, control=self.hospital.control()))
        self.story.specimens[name] = Specimen(
            name=name, sent_at=reported, taken_at=taken_at, told=[Told(since=FIRST, patient=-1)], right=False
        )
        if kind:
            self._fault(kind, reported, specimen=name)
        self.story.touched.add(self.patient.key)

    def _specimen_name(self, taken_at: datetime) -> str:
        return f"{self.patient.country}{taken_at:%y%m%d}{self.patient.key:05}{self.random.randrange(100):02}"

    def _count(self, blood: Blood, taken_at: datetime, *, faulty: bool = True) -> None:
        reported = taken_at + timedelta(hours=self.random.uniform(1, 4))
        patient = self._now(reported)
        name = self._specimen_name(taken_at)
        sent = Count(specimen=name, patient=patient, taken_at=taken_at, reported_at=reported,
                     rows=self.laboratory.rows(blood))  # fmt: skip
        provisional: str | None = getattr(self, "_provisional", None)
        if provisional and reported < taken_at + timedelta(days=99):
            sent = replace(sent, number=provisional)
        known = Specimen(
            name=name, sent_at=reported, taken_at=taken_at, unusual=patient.unusual,
            told=[Told(since=FIRST, patient=patient.key, ratios=blood.ratios)],
        )  # fmt: skip
        self.story.specimens[name] = known
        spoilt = next((one for one in self.hospital.off if one.touches(patient.country, reported)), None)
        if spoilt is not None:
            spoilt.spoil(self.laboratory, list(sent.rows))
            known.right = False
            what = "swapped" if spoilt.factor is None else f"{spoilt.cell} × {spoilt.factor}"
            self._fault(f"sender off ({what})", reported, specimen=name, sender=self.laboratory.sender)
        elif faulty and self._wrong():
            self._wrong_count(sent, known, blood)
            return
        self._send(reported, self._written(sent))

    def _written(self, sent: Count) -> bytes:
        return self.laboratory.write(sent, control=self.hospital.control())

    def _wrong_count(self, sent: Count, known: Specimen, blood: Blood) -> None:
        kinds = (
            [self._slip] * 9
            + [self._clumped, self._spoilt_tube, self._withdrawn, self._corrected, self._time_corrected]
            + [self._other_number, self._twin, self._two_numbers, self._placeholder, self._nothing_known, self._gone]
        )
        self.random.choice(kinds)(sent, known, blood)

    def _slip(self, sent: Count, known: Specimen, blood: Blood) -> None:
        kind = self.random.choice(list(SLIPS))
        matters = SLIPS[kind](self.random, self.laboratory, list(sent.rows))
        self._send(sent.reported_at, self._written(sent))
        # Even where the other form of the result is right, one of both is not.
        known.right = False
        self._fault(f"slip: {kind}", sent.reported_at, specimen=sent.specimen, to_say=matters)
        if matters and self.random.random() < 0.5:
            self._correct(sent, known, blood)

    def _correct(self, sent: Count, known: Specimen, blood: Blood, **more: object) -> None:
        """The laboratory corrects it the next day."""
        later = sent.reported_at + timedelta(hours=self.random.uniform(18, 40))
        right = replace(sent, rows=self.laboratory.rows(blood), reported_at=later, status="C", **more)
        self._send(later, self._written(right))
        known.told.append(Told(since=later, patient=self.patient.key, ratios=blood.ratios))

    def _clumped(self, sent: Count, known: Specimen, blood: Blood) -> None:
        for row in sent.rows:
            if row.cell == "platelets":
                row.value *= self.random.uniform(0.15, 0.7)
                row.measured = row.value
        self._unfit(replace(sent, remarks=[CLUMPED[self.patient.country]]), known, "clumped platelets")

    def _spoilt_tube(self, sent: Count, known: Specimen, blood: Blood) -> None:
        for row in sent.rows:
            row.value *= self.random.uniform(0.4, 0.9) if row.cell in ("platelets", "lymphocytes") else 1
            row.measured = row.value
        by_code = self.laboratory.version >= "2.5" and self.random.random() < 0.5
        self._unfit(
            replace(sent, condition="CLOT^Clotted^HL70493")
            if by_code
            else replace(sent, remarks=[SPOILT[self.patient.country]]),
            known,
            "clotted tube",
        )

    def _unfit(self, sent: Count, known: Specimen, kind: str) -> None:
        known.right, known.told = False, [Told(since=FIRST, patient=None)]
        self._send(sent.reported_at, self._written(sent))
        self._fault(kind, sent.reported_at, specimen=sent.specimen)

    def _withdrawn(self, sent: Count, known: Specimen, blood: Blood) -> None:
        """Sent as final, then said to be wrong."""
        self._send(sent.reported_at, self._written(sent))
        later = sent.reported_at + timedelta(hours=30)
        status = self.random.choice("WDX")
        self._send(later, self._written(replace(sent, status=status, reported_at=later)))
        known.right = False
        known.told.append(Told(since=later, patient=None))
        self._fault("withdrawn", later, specimen=sent.specimen)

    def _corrected(self, sent: Count, known: Specimen, blood: Blood) -> None:
        """A moderate mistake that nobody can see until it is corrected."""
        known.right = False
        wrong = replace(blood, lymphocytes=blood.lymphocytes * self.random.uniform(1.3, 1.8))
        known.told = [Told(since=FIRST, patient=self.patient.key, ratios=wrong.ratios)]
        first = replace(sent, rows=self.laboratory.rows(wrong))
        self._send(sent.reported_at, self._written(first))
        self._correct(sent, known, blood)
        self._fault("corrected later", known.told[-1].since, specimen=sent.specimen, to_say=False)

    def _time_corrected(self, sent: Count, known: Specimen, blood: Blood) -> None:
        """Value and time of collection are corrected, under the same number."""
        known.right = False
        wrong = replace(blood, lymphocytes=blood.lymphocytes * self.random.uniform(1.3, 1.8))
        known.told = [Told(since=FIRST, patient=self.patient.key, ratios=wrong.ratios)]
        self._send(sent.reported_at, self._written(replace(sent, rows=self.laboratory.rows(wrong))))
        moved = sent.taken_at - self.random.choice((30, 60, 24 * 60)) * MINUTE
        self._correct(sent, known, blood, taken_at=moved)
        self._fault("time corrected", known.told[-1].since, specimen=sent.specimen, to_say=False)

    def _other_number(self, sent: Count, known: Specimen, blood: Blood) -> None:
        """A count of somebody else, who is named on it, under this number."""
        self._send(sent.reported_at, self._written(sent))
        taken_at = sent.taken_at + timedelta(hours=5)
        self._foreign_count(self._stranger(), taken_at, "count of somebody else", say=sent.reported_at)

    def _twin(self, sent: Count, known: Specimen, blood: Blood) -> None:
        self._send(sent.reported_at, self._written(sent))
        taken_at = sent.taken_at + timedelta(hours=5)
        self._foreign_count(self._stranger(twin=True), taken_at, "count of the twin", say=sent.reported_at)

    def _two_numbers(self, sent: Count, known: Specimen, blood: Blood) -> None:
        """First under somebody else's number, with that one's name: nobody can see it until it is sent again."""
        other = draw_patient(self.random, self.patient.key)
        other = replace(other, number=f"6{self.number}")
        at = sent.reported_at - timedelta(hours=1)
        self._send(at, register(other, event="A04", at=at))
        self._send(at, book(Booking(name=f"B6{self.patient.key}", patient=other, planned_at=sent.taken_at + 9 * DAY,
                                    procedure=PROCEDURES[other.country][0]), trigger="S12", at=at))  # fmt: skip
        self.story.patients[-1 - self.patient.key] = other
        self.story.operations[f"B6{self.patient.key}"] = Operation(
            name=f"B6{self.patient.key}", patient=-1 - self.patient.key, days=[(FIRST, sent.taken_at + 9 * DAY)]
        )
        self.story.touched.add(-1 - self.patient.key)
        self._send(sent.reported_at, self._written(replace(sent, patient=other)))
        later = sent.reported_at + timedelta(hours=20)
        self._send(later, self._written(replace(sent, reported_at=later)))
        known.right = False
        known.told = [
            Told(since=FIRST, patient=-1 - self.patient.key, ratios=blood.ratios),
            Told(since=later, patient=self.patient.key, ratios=blood.ratios),
        ]
        self._fault("specimen under two numbers", later, numbers=(self.number, other.number), specimen=sent.specimen)

    def _placeholder(self, sent: Count, known: Specimen, blood: Blood) -> None:
        known.right, known.told = False, [Told(since=FIRST, patient=None)]
        number = self.random.choice(PLACEHOLDERS)
        self._send(sent.reported_at, self._written(replace(sent, number=number)))
        self._fault("placeholder number", sent.reported_at, specimen=sent.specimen, sender=self.laboratory.sender)

    def _nothing_known(self, sent: Count, known: Specimen, blood: Blood) -> None:
        """Local codes that say nothing: the count is lost, which has to be said."""
        known.right, known.told = False, [Told(since=FIRST, patient=None)]
        raw = self._written(sent)
        codec = self.laboratory.codec
        lines = raw.decode(codec).split("\r")
        for place, line in enumerate(lines):
            if line.startswith("OBX|"):
                fields = line.split("|")
                fields[3] = f"{4711 + place}^^99LAB"
                lines[place] = "|".join(fields)
        self._send(sent.reported_at, "\r".join(lines).encode(codec))
        self._fault("names nobody knows", sent.reported_at, specimen=sent.specimen, sender=self.laboratory.sender)

    def _gone(self, sent: Count, known: Specimen, blood: Blood) -> None:
        """A time of collection that cannot be, far in the future or unreadable."""
        known.right, known.told = False, [Told(since=FIRST, patient=None)]
        self._send(
            sent.reported_at,
            self._written(replace(sent, collected=self.random.choice(("20991231", "20261345", "????")))),
        )
        self._fault("impossible time", sent.reported_at, specimen=sent.specimen)

    # Bookings ---------------------------------------------------------------------------------------------------

    def _booking(self, plan: _Plan) -> None:
        random, name, at = self.random, f"B{self.patient.key}", plan.booked
        operation = Operation(name=name, patient=self.patient.key, days=[(FIRST, plan.surgery)])
        self.story.operations[name] = operation
        booking = Booking(name=name, patient=self.patient, planned_at=plan.surgery,
                          procedure=random.choice(PROCEDURES[self.patient.country]))  # fmt: skip
        if self.patient.unusual == "moved":
            first = replace(booking, planned_at=plan.surgery + timedelta(days=random.randrange(1, 30)))
            self._send(at, book(first, trigger="S12", at=at))
            later = at + timedelta(days=2)
            self._send(later, book(booking, trigger="S13", at=later))
            operation.days = [(FIRST, first.planned_at), (later, plan.surgery)]
            return
        if not self._wrong():
            self._send(at, book(booking, trigger="S12", at=at))
            return
        random.choice((self._cancelled, self._other_operation, self._unknown_procedure, self._booked_for_another))(
            booking, operation, at, plan
        )

    def _cancelled(self, booking: Booking, operation: Operation, at: datetime, plan: _Plan) -> None:
        self._send(at, book(booking, trigger="S12", at=at))
        later = plan.surgery - timedelta(days=self.random.randrange(1, 12))
        trigger, changes = self.random.choice((
            ("S15", {}), ("S17", {}), ("S14", {"status": "Cancelled"}), ("S14", {"deleted": True}), ("S16", {}),
        ))  # fmt: skip
        self._send(later, book(replace(booking, **changes), trigger=trigger, at=later))
        operation.days.append((later, None))
        self._fault("cancelled", later)

    def _other_operation(self, booking: Booking, operation: Operation, at: datetime, plan: _Plan) -> None:
        """Booked, and no first operation at the lumbar spine."""
        procedure = self.random.choice(OTHER_PROCEDURES[self.patient.country])
        self._send(at, book(replace(booking, procedure=procedure), trigger="S12", at=at))
        operation.lumbar = False
        self._fault("no lumbar operation", at, to_say=False)

    def _unknown_procedure(self, booking: Booking, operation: Operation, at: datetime, plan: _Plan) -> None:
        procedure = UNKNOWN_PROCEDURES[self.patient.country]
        self._send(at, book(replace(booking, procedure=procedure), trigger="S12", at=at))
        operation.lumbar = False
        self._fault("unknown procedure", at, sender=f"HIS|{self.patient.country}")

    def _booked_for_another(self, booking: Booking, operation: Operation, at: datetime, plan: _Plan) -> None:
        """Somebody else's operation under this number."""
        self._send(at, book(replace(booking, patient=self._stranger()), trigger="S12", at=at))
        operation.lumbar = False
        self._fault("booking of somebody else", at)

    # Images -----------------------------------------------------------------------------------------------------

    def _image(self, who: Patient, at: datetime, **more: object) -> Image:
        name = PersonName(family=who.name.latin_family, given=who.name.latin_given)
        other = PersonName(family=who.name.family, given=who.name.given)
        names = (name, other) if who.country == "CN" else (name,)
        image = Image(
            at=at + timedelta(hours=1), uid=f"1.2.{self.patient.key}.{len(self.story.images)}", number=who.number,
            names=names, birth_date=who.birth_date, sex=who.sex, taken_at=at,
            vbq=self.random.uniform(1.8, 4.2),
        )  # fmt: skip
        image = replace(image, **more)
        self.story.events.append(image)
        return image

    def _examination(self, plan: _Plan) -> None:
        random, at, patient = self.random, plan.scanned, self._now(plan.scanned)
        variants = {
            "swapped names": lambda name: replace(name, latin_family=name.latin_given, latin_given=name.latin_family),
            "second given name": lambda name: replace(name, latin_given=f"{name.latin_given} {plain('Renate')}"),
            "title": lambda name: replace(name, latin_given=f"Dr. {name.latin_given}"),
        }
        shown = patient.renamed(variants.get(patient.unusual, lambda name: name)(patient.name))
        image = self._image(shown, at)
        self.story.images[image.uid] = self.patient.key
        if self._wrong():
            later = at + timedelta(hours=20)
            wrong = random.choice((self._image_of_another, self._image_of_twin, self._image_without_signs))
            wrong(later)

    def _foreign_image(self, kind: str, who: Patient, at: datetime, **more: object) -> None:
        image = self._image(who, at, **more)
        self.story.images[image.uid] = -(10**9)
        self._fault(kind, image.at)

    def _image_of_another(self, at: datetime) -> None:
        self._foreign_image("image of somebody else", self._stranger(), at)

    def _image_of_twin(self, at: datetime) -> None:
        self._foreign_image("image of the twin", self._stranger(twin=True), at)

    def _image_without_signs(self, at: datetime) -> None:
        """From another hospital's disc: the name alone says whose it is."""
        stranger = self._stranger()
        while _akin(stranger.name.latin_family, self.patient.name.latin_family) or _akin(
            stranger.name.latin_given, self.patient.name.latin_given
        ):
            stranger = self._stranger()
        self._foreign_image("image of another hospital", stranger, at, birth_date=None, sex=None)

    def _image_after(self, plan: _Plan) -> None:
        """A control after the operation, on the same day."""
        image = self._image(
            self._now(plan.surgery), plan.surgery + timedelta(hours=6), postoperative=self.random.random() < 0.5
        )
        self.story.images[image.uid] = self.patient.key
        self.story.after_surgery.add(image.uid)


def _akin(one: str, other: str) -> bool:
    """Whether two names could be spellings of one."""
    return one[:2].lower() == other[:2].lower()


def first_night() -> date:
    """The first night of the story."""
    return FIRST.date()
