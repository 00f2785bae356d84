"""The demo's small hospital: its patients, what its systems send about them, and what ought to come of it.

Everything follows from a seed and the date of the night. The patients are made up; so are their numbers.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from pydicom import Dataset

from analytics.records import Tier
from node.demo import messages
from node.demo.anatomy import Spine
from node.demo.dicom_study import Examination, data_sets
from node.demo.history import history_csv
from node.demo.messages import AUTHORITY, BloodCountResult, Booking, Facts, Person
from node.demo.phantom import AXIAL, PAPER_SAGITTAL, Matrix, PhantomSpec, PhantomStudy, Readings, draw_study, readings

DEFAULT_NIGHT = date(2026, 3, 2)
TIME_ZONE = "Europe/Vienna"

DIAGNOSES = {
    "LDH": ("M51.16", "Lumbar disc disorder with radiculopathy"),
    "LSS": ("M48.06", "Spinal stenosis, lumbar region"),
    "LS": ("M43.16", "Spondylolisthesis, lumbar region"),
}
PROCEDURES = {
    "LDH": ("LMD", "Lumbar microdiscectomy L4/5"),
    "LSS": ("LDF", "Lumbar decompression and fusion L4/5"),
    "LS": ("TLIF", "TLIF L5/S1, lumbar fusion"),
}
HIGH_VBQ, LOW_VBQ = 3.28, 2.64
"""Far enough from any cohort's upper quartile of about 3.04 that no measurement error moves a patient across it."""

CALM = {"neutrophils": 2.62, "lymphocytes": 1.41, "platelets": 251.0, "leukocytes": 4.9}
NEUTROPHILIC = {"neutrophils": 7.94, "lymphocytes": 1.27, "platelets": 236.0, "leukocytes": 10.1}
THROMBOCYTOTIC = {"neutrophils": 3.05, "lymphocytes": 1.22, "platelets": 391.0, "leukocytes": 5.1}
BOTH = {"neutrophils": 7.35, "lymphocytes": 1.12, "platelets": 367.0, "leukocytes": 9.2}
"""Blood counts in 10⁹/L: NLR and PLR ordinary, only NLR high, only PLR high, both high."""

_AXIAL = Matrix(
    slices=9,
    size=AXIAL.size,
    spacing_mm=AXIAL.spacing_mm,
    thickness_mm=AXIAL.thickness_mm,
    step_mm=13.0,
    offset_mm=AXIAL.offset_mm,
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A patient's part in the play. Days are counted from the night; negative ones are past.

    ``tier`` and ``status`` are what ought to come of it: the tier of a linked operation, the status of the link.
    """

    key: str
    story: str
    status: str
    tier: Tier | None = None
    vbq: float
    counts: Mapping[str, float]
    count_status: str = "F"
    count_day: int = -4
    first_count: Mapping[str, float] | None = None
    """What the laboratory reported first, before it corrected it."""
    count_number: str | None = None
    """The patient number on the blood count, where it is not the patient's."""
    mri_day: int = -12
    mri_number: str | None = None
    """The patient number on the images, where it is not the patient's."""
    mri_registered: bool = True
    merged: bool = False
    operation_day: int | None = 9
    operation_day_first: int | None = None
    cancelled: bool = False
    sent_twice: bool = False
    diagnosis: str = "LSS"
    age: int = 67
    sex: str = "F"

    @property
    def number(self) -> str:
        """The patient's number, with the leading zeros that belong to it."""
        return f"0040{self.key[1:]}0"


CAST = (
    Part(
        key="P01", story="high VBQ, NLR and PLR; the PACS and the laboratory both send everything twice",
        status="linked", tier=Tier.FLAGGED, vbq=HIGH_VBQ, counts=BOTH, sent_twice=True, age=76, operation_day=3,
    ),
    Part(
        key="P02", story="high VBQ and PLR; scanned under a provisional number that is merged (A40) afterwards",
        status="linked", tier=Tier.FLAGGED, vbq=HIGH_VBQ - 0.08, counts=THROMBOCYTOTIC, mri_number="9000021",
        merged=True, age=72, diagnosis="LS", operation_day=6,
    ),
    Part(
        key="P03", story="high VBQ, ordinary blood count", status="linked", tier=Tier.INTERMEDIATE,
        vbq=HIGH_VBQ + 0.05, counts=CALM, age=71, operation_day=8,
    ),
    Part(
        key="P04",
        story="ordinary VBQ, high NLR; the operation is moved (S13) to where the blood count fits",
        status="linked", tier=Tier.INTERMEDIATE, vbq=LOW_VBQ + 0.06, counts=NEUTROPHILIC, operation_day_first=41,
        operation_day=11, age=58, sex="M", diagnosis="LDH",
    ),
    Part(
        key="P05", story="ordinary VBQ; the first blood count had a high NLR, the laboratory corrects it (status C)",
        status="linked", tier=Tier.LOWER, vbq=LOW_VBQ, counts=CALM, first_count=NEUTROPHILIC, count_status="C", age=55,
        sex="M", diagnosis="LDH", operation_day=12,
    ),
    Part(
        key="P06", story="the blood count is older than 30 days at the operation", status="incomplete",
        vbq=HIGH_VBQ, counts=BOTH, count_day=-26, operation_day=14, age=74,
    ),
    Part(
        key="P07", story="the MRI is older than 3 months at the operation", status="incomplete",
        vbq=HIGH_VBQ, counts=BOTH, mri_day=-160, operation_day=7, age=70, diagnosis="LS",
    ),
    Part(
        key="P08", story="the operation is cancelled (S15)", status="cancelled", vbq=HIGH_VBQ, counts=BOTH,
        cancelled=True, operation_day=10, age=69,
    ),
    Part(
        key="P09", story="the blood count is only preliminary (status P)", status="incomplete", vbq=HIGH_VBQ,
        counts=BOTH, count_status="P", operation_day=4, age=73,
    ),
    Part(
        key="P10", story="the blood count is sent under a mistyped patient number",
        status="incomplete", vbq=LOW_VBQ, counts=BOTH, count_number="0041000", operation_day=13, age=62, sex="M",
    ),
    Part(
        key="P11", story="the laboratory has lost the leading zeros of the patient number", status="incomplete",
        vbq=HIGH_VBQ, counts=BOTH, count_number="40110", operation_day=15, age=68,
    ),
    Part(
        key="P12", story="the scanner sends the images without a patient number", status="incomplete", vbq=HIGH_VBQ,
        counts=BOTH, mri_registered=False, operation_day=5, age=66,
    ),
    Part(
        key="P13", story="no operation is planned", status="provisional", vbq=LOW_VBQ, counts=CALM, operation_day=None,
        age=60, sex="M", diagnosis="LDH",
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LivePatient:
    """A patient as the hospital's systems see them."""

    part: Part
    person: Person
    facts: Facts
    examination: Examination
    phantom: PhantomSpec

    @property
    def placer(self) -> str:
        """The number of the operation in the hospital system."""
        return f"OP{self.part.key[1:]}"

    @property
    def filler(self) -> str:
        """The number of the operation in the theatre's schedule."""
        return f"SCH{self.part.number}"

    def study(self) -> PhantomStudy:
        """The examination; drawn anew at every call (half a second), always the same."""
        return draw_study(self.phantom, sagittal=PAPER_SAGITTAL, axial=_AXIAL)

    def images(self, study: PhantomStudy) -> list[Dataset]:
        """All objects of the examination, in the order in which they are sent."""
        return data_sets(self.examination, study)

    def reading(self, study: PhantomStudy) -> Readings:
        """Where a reader places the circles in the T1 series."""
        return readings(self.phantom, study.t1)


@dataclass(frozen=True, kw_only=True)
class Hospital:
    """The whole play: ``his`` and ``lis`` are the messages of the hospital and of the laboratory system in order."""

    seed: int
    night: date
    zone: ZoneInfo
    patients: tuple[LivePatient, ...]
    his: tuple[bytes, ...]
    lis: tuple[bytes, ...]
    history: str

    @property
    def night_at(self) -> datetime:
        """When the night's work is done in the demo: ten past four, local time."""
        return datetime.combine(self.night, time(4, 10), self.zone)


def open_hospital(seed: int, *, night: date = DEFAULT_NIGHT) -> Hospital:
    """Make the patients and all that will be sent about them."""
    zone = ZoneInfo(TIME_ZONE)
    patients = tuple(_patient(part, index, seed, night, zone) for index, part in enumerate(CAST))
    events = [event for patient in patients for event in _events(patient, night, zone)]
    events.sort(key=lambda event: (event.at, event.system, event.patient))
    sent: dict[str, list[bytes]] = {"HIS": [], "LIS": []}
    for event in events:
        queue = sent[event.system]
        queue.append(event.write(f"{event.system}{len(queue) + 1:05d}"))
        if event.twice:
            queue.append(queue[-1])
    return Hospital(
        seed=seed,
        night=night,
        zone=zone,
        patients=patients,
        his=tuple(sent["HIS"]),
        lis=tuple(sent["LIS"]),
        history=history_csv(seed),
    )


def _patient(part: Part, index: int, seed: int, night: date, zone: ZoneInfo) -> LivePatient:
    rng = np.random.default_rng([seed, index])
    birth = date(night.year - part.age - 1, 6, 1) + timedelta(days=int(rng.integers(200)))
    person = Person(number=part.number, name=f"DEMO^PATIENT{part.key[1:]}", birth_date=birth, sex=part.sex)
    height = 158 if part.sex == "F" else 173
    facts = Facts(
        height_cm=height,
        weight_kg=round(float(rng.normal(20.5, 0.6)) * (height / 100) ** 2, 1),
        smoking=bool(rng.random() < 0.5),
        diabetes=bool(rng.random() < 0.5),
        hypertension=bool(rng.random() < 0.5),
        calcium=bool(rng.random() < 0.6),
        diagnoses=(DIAGNOSES[part.diagnosis],),
    )
    examination = Examination(
        key=f"{seed}/{night}/{part.key}",
        patient_id=(part.mri_number or part.number) if part.mri_registered else None,
        authority=AUTHORITY,
        name=person.name,
        birth_date=birth,
        sex=part.sex,
        begun_at=_at(night, zone, part.mri_day, 9 + index % 7, 5),
    )
    phantom = PhantomSpec(
        vbq=part.vbq,
        level_factors=tuple(float(value) for value in rng.uniform(0.96, 1.04, 4)),  # type: ignore[arg-type]  # four of them
        spine=Spine(
            lordosis=float(rng.uniform(0.8, 1.15)),
            scoliosis_mm=float(rng.uniform(0, 1.5)),
            size=float(rng.uniform(0.93, 1.05)) * (1.0 if part.sex == "M" else 0.96),
        ),
        seed=int(rng.integers(2**31)),
    )
    return LivePatient(part=part, person=person, facts=facts, examination=examination, phantom=phantom)


def _at(night: date, zone: ZoneInfo, day: int, hour: int, minute: int) -> datetime:
    return datetime.combine(night + timedelta(days=day), time(hour, minute), zone)


@dataclass(frozen=True, kw_only=True)
class _Event:
    """A message before it has its control number."""

    at: datetime
    system: str
    patient: str
    write: Callable[[str], bytes]
    twice: bool = False


def _events(patient: LivePatient, night: date, zone: ZoneInfo) -> Iterator[_Event]:
    yield from _admissions(patient, night, zone)
    yield from _blood_counts(patient, night, zone)
    yield from _bookings(patient, night, zone)


def _admissions(patient: LivePatient, night: date, zone: ZoneInfo) -> Iterator[_Event]:
    part, person, facts = patient.part, patient.person, patient.facts
    triggers = [("A04", min(part.mri_day, -20) - 1), ("A05", -6)]
    if part.key == "P03":
        triggers.append(("A08", -5))
    for trigger, day in triggers:
        at = _at(night, zone, day, 8, 10)

        def admit(control_id: str, trigger: str = trigger, at: datetime = at) -> bytes:
            return messages.admission(trigger, person, control_id=control_id, at=at, facts=facts)

        yield _Event(at=at, system="HIS", patient=part.key, write=admit)
    if part.merged and part.mri_number:
        retired, merged_at = part.mri_number, _at(night, zone, -5, 11, 40)
        yield _Event(
            at=merged_at,
            system="HIS",
            patient=part.key,
            write=lambda control_id: messages.merge(person, retired, control_id=control_id, at=merged_at),
        )


def _blood_counts(patient: LivePatient, night: date, zone: ZoneInfo) -> Iterator[_Event]:
    part = patient.part
    person = replace(patient.person, number=part.count_number or part.number)
    taken = _at(night, zone, part.count_day, 7, 20)
    reports = [(part.count_status, part.counts, taken + timedelta(hours=3))]
    if part.first_count is not None:
        reports.insert(0, ("F", part.first_count, taken + timedelta(hours=1)))
    for status, counts, at in reports:
        result = BloodCountResult(order=f"L{night:%y%m}{part.key[1:]}", taken_at=taken, status=status, counts=counts)

        def report(control_id: str, result: BloodCountResult = result, at: datetime = at) -> bytes:
            return messages.blood_count(person, result, control_id=control_id, at=at)

        yield _Event(at=at, system="LIS", patient=part.key, write=report, twice=part.sent_twice)


def _bookings(patient: LivePatient, night: date, zone: ZoneInfo) -> Iterator[_Event]:
    part = patient.part
    if part.operation_day is None:
        return
    code, procedure = PROCEDURES[part.diagnosis]
    booked = Booking(
        placer=patient.placer,
        filler=patient.filler,
        starts_at=_at(night, zone, part.operation_day_first or part.operation_day, 8, 30),
        minutes=150,
        code=code,
        procedure=procedure,
    )
    moved = replace(booked, starts_at=_at(night, zone, part.operation_day, 8, 30))
    steps = [("S12", booked, -10)]
    if part.operation_day_first is not None:
        steps.append(("S13", moved, -2))
    if part.cancelled:
        steps.append(("S15", booked, -1))
    for trigger, appointment, day in steps:
        at = _at(night, zone, day, 14, 25)

        def book(control_id: str, trigger: str = trigger, what: Booking = appointment, at: datetime = at) -> bytes:
            return messages.booking(trigger, patient.person, what, control_id=control_id, at=at)

        yield _Event(at=at, system="HIS", patient=part.key, write=book)
