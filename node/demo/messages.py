"""HL7 v2.5.1 messages as a hospital's systems write them, for the demo's patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

AUTHORITY = "DEMO"
"""Assigning authority of the demo's patient numbers (PID-3.4 and Issuer of Patient ID)."""

ANALYTES = {
    "leukocytes": ("6690-2", "Leukocytes [#/volume] in Blood by Automated count"),
    "neutrophils": ("751-8", "Neutrophils [#/volume] in Blood by Automated count"),
    "lymphocytes": ("731-0", "Lymphocytes [#/volume] in Blood by Automated count"),
    "platelets": ("777-3", "Platelets [#/volume] in Blood by Automated count"),
}
PANEL = "58410-2^CBC panel - Blood by Automated count^LN"
_RANGES = {"leukocytes": "4.0-10.0", "neutrophils": "1.8-7.5", "lymphocytes": "1.0-4.0", "platelets": "150-400"}


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who a message is about."""

    number: str
    name: str
    birth_date: date
    sex: str


@dataclass(frozen=True, kw_only=True)
class BloodCountResult:
    """One blood count as the laboratory reports it; counts in 10⁹/L, ``status`` as in OBX-11."""

    order: str
    taken_at: datetime
    status: str
    counts: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Booking:
    """An operation in the scheduling system; ``placer`` and ``filler`` name it in all its messages."""

    placer: str
    filler: str
    starts_at: datetime
    minutes: int
    code: str
    procedure: str


def admission(trigger: str, person: Person, *, control_id: str, at: datetime, facts: "Facts") -> bytes:
    """ADT^A04, A05 or A08: demographics, body measures, habits and diagnoses."""
    observations = [
        ("NM", "8302-2^Body height^LN", f"{facts.height_cm:g}", "cm"),
        ("NM", "29463-7^Body weight^LN", f"{facts.weight_kg:g}", "kg"),
        ("CWE", "72166-2^Tobacco smoking status^LN", _smoking(facts.smoking), ""),
        ("ST", "DIABETES^Diabetes mellitus^L", "Y" if facts.diabetes else "N", ""),
        ("ST", "HYPERTENSION^Hypertension^L", "Y" if facts.hypertension else "N", ""),
        ("ST", "CALCIUM_SUPPLEMENT^Calcium supplements^L", "Y" if facts.calcium else "N", ""),
    ]
    structure = "ADT_A05" if trigger == "A05" else "ADT_A01"
    return _message(
        "HIS",
        f"ADT^{trigger}^{structure}",
        control_id,
        at,
        f"EVN|{trigger}|{_time(at)}",
        _pid(person),
        "PV1|1|O|ORTHO^^^DEMO",
        *(
            _segment("OBX", {1: str(n), 2: kind, 3: name, 5: value, 6: unit, 11: "F", 14: _time(at)})
            for n, (kind, name, value, unit) in enumerate(observations, start=1)
        ),
        *(
            f"DG1|{n}||{code}^{text}^I10|{text}|{_time(at)}|F"
            for n, (code, text) in enumerate(facts.diagnoses, start=1)
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the hospital system knows about a patient beside the demographics."""

    height_cm: float
    weight_kg: float
    smoking: bool
    diabetes: bool
    hypertension: bool
    calcium: bool
    diagnoses: Sequence[tuple[str, str]]
    """ICD-10 code and text."""


def blood_count(person: Person, result: BloodCountResult, *, control_id: str, at: datetime) -> bytes:
    """ORU^R01: one blood count of one specimen."""
    taken = _time(result.taken_at)
    order = f"{result.order}^LIS"
    return _message(
        "LIS",
        "ORU^R01^ORU_R01",
        control_id,
        at,
        _pid(person),
        _segment("ORC", {1: "RE", 2: order, 3: order}),
        _segment("OBR", {1: "1", 2: order, 3: order, 4: PANEL, 7: taken, 22: _time(at), 24: "HM", 25: result.status}),
        *(
            _segment(
                "OBX",
                {
                    1: str(n),
                    2: "NM",
                    3: f"{ANALYTES[name][0]}^{ANALYTES[name][1]}^LN",
                    5: f"{value:g}",
                    6: "10*9/L^^UCUM",
                    7: _RANGES[name],
                    11: result.status,
                    14: taken,
                },
            )
            for n, (name, value) in enumerate(result.counts.items(), start=1)
        ),
        _segment("SPM", {1: "1", 2: order, 4: "119297000^Blood specimen^SCT", 17: taken}),
    )


def booking(trigger: str, person: Person, booked: Booking, *, control_id: str, at: datetime) -> bytes:
    """SIU^S12 (booked), S13 (moved), S14 (changed) or S15 (cancelled) of an operation."""
    start = _time(booked.starts_at)
    reason = f"{booked.code}^{_escaped(booked.procedure)}^L"
    return _message(
        "HIS",
        f"SIU^{trigger}^SIU_S12",
        control_id,
        at,
        f"SCH|{booked.placer}|{booked.filler}|||||{reason}|ELECTIVE|{booked.minutes}|min|^^{booked.minutes}^{start}",
        _pid(person),
        "RGS|1|A",
        f"AIS|1|A|{reason}|{start}|||{booked.minutes}|min",
    )


def merge(surviving: Person, retired_number: str, *, control_id: str, at: datetime) -> bytes:
    """ADT^A40: a number is retired in favour of the person's other one."""
    return _message(
        "HIS",
        "ADT^A40^ADT_A39",
        control_id,
        at,
        f"EVN|A40|{_time(at)}",
        _pid(surviving),
        f"MRG|{retired_number}^^^{AUTHORITY}^MR",
    )


def _message(sender: str, kind: str, control_id: str, at: datetime, *segments: str) -> bytes:
    header = f"MSH|^~\\&|{sender}|DEMO|VBQNODE|DEMO|{_time(at)}||{kind}|{control_id}|P|2.5.1|||AL|NE||UNICODE UTF-8"
    return ("\r".join((header, *segments)) + "\r").encode("utf-8")


def _segment(name: str, fields: Mapping[int, str]) -> str:
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields) + 1))])


def _pid(person: Person) -> str:
    return f"PID|1||{person.number}^^^{AUTHORITY}^MR||{person.name}||{person.birth_date:%Y%m%d}|{person.sex}"


def _smoking(smokes: bool) -> str:
    return "449868002^Current every day smoker^SCT" if smokes else "266919005^Never smoker^SCT"


def _time(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError(f"a message needs aware times: {moment}")
    return f"{moment:%Y%m%d%H%M%S%z}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\E\\").replace("|", "\\F\\").replace("^", "\\S\\").replace("&", "\\T\\")
