"""Who the patient is and what is known about them: PID, MRG, DG1, observations."""

import re
from collections.abc import Iterable
from typing import Literal
from zoneinfo import ZoneInfo

from analytics.counts.results import FINALITY
from analytics.reasons import Reason
from node.hl7.catalogue import Analytes, ObservationTerm
from node.hl7.extracts import Diagnosis, Medication, MergeExtract, Observation, PatientExtract
from node.hl7.remembered import remembered
from node.hl7.segments import Delimiters, Segment, part, scan_segment
from node.hl7.times import Moment, read_date, read_time
from node.hl7.units import canonical, read_number
from node.settings import Identity as IdentitySettings

PREFERRED_TYPES = ("MR", "MRN", "PI", "PT", "PN")
"""Identifier types (CX.5) that name the patient in the hospital, best first."""
NEVER_TYPES = ("AN", "VN")
"""Account and visit numbers: they name a stay, not a patient."""

MINUS_SIGNS = ("-", "−", "–")
"""Hyphen, minus sign and dash, as typed before a T-score."""

SEXES: dict[str, Literal["F", "M", "O"]] = {"F": "F", "M": "M", "O": "O"}

_CODED_COMPONENTS = 6
"""Of OBX-3: code, name and system, and the alternate ones."""

PatientNumber = tuple[str, str]
"""Assigning authority as the site names it, and the id as sent, leading zeros kept."""


def patient_number(segment: Segment, field: int, identity: IdentitySettings) -> PatientNumber | None:
    """The patient's number in PID-3 or MRG-1: the best repetition by type, else the first that names a patient."""
    return next(iter(_numbers(segment, field, identity)), None)


def _numbers(segment: Segment, field: int, identity: IdentitySettings) -> list[PatientNumber]:
    """The best repetition, and those of the same kind and authority behind it."""
    delimiters = segment.delimiters
    candidates = []
    for place, repetition in enumerate(segment.repetitions(field)):
        number = part(repetition, delimiters, 1)
        kind = part(repetition, delimiters, 5).upper()
        if number and number != '""' and kind not in NEVER_TYPES and not identity.is_placeholder(number):
            rank = PREFERRED_TYPES.index(kind) if kind in PREFERRED_TYPES else len(PREFERRED_TYPES)
            authority = part(repetition, delimiters, 4) or part(repetition, delimiters, 4, 2)
            # A number that has an end (CX.8) may be one of before.
            order = (bool(part(repetition, delimiters, 8)), place)
            candidates.append((rank, order, (identity.authority(authority), number)))
    if not candidates:
        return []
    best, _, (authority, _) = min(candidates)
    return [number for rank, _, number in sorted(candidates) if (rank, number[0]) == (best, authority)]


def is_order_number(patient: PatientNumber, lines: Iterable[str], delimiters: Delimiters) -> bool:
    """Whether what should name the patient is the number of an order or specimen of the same message."""
    fields = {"ORC": (2, 3), "OBR": (2, 3), "SPM": (2,)}
    return any(
        segment.text(field, 1, place) == patient[1]
        for line in lines
        if line[:3] in fields
        for segment in [scan_segment(line, delimiters)]
        for field in fields[segment.name]
        for place in (1, 2)
    )


def missing_number_reason(pid: Segment) -> Reason:
    """Why a PID names no patient."""
    sent = pid.text(3) not in ("", '""')
    found = Reason("patient-number-of-nobody") if sent else Reason("patient-number-missing")
    elsewhere = tuple(f"PID-{field}" for field in (2, 4, 18) if pid.text(field))
    return Reason("patient-number-elsewhere", {"what": found, "fields": elsewhere}) if elsewhere else found


def read_merges(mrg: Segment, identity: IdentitySettings) -> list[MergeExtract]:
    """The numbers that MRG retires."""
    retired = _numbers(mrg, 1, identity)
    return [MergeExtract(retired_authority=authority, retired_id=number) for authority, number in retired]


def read_patient(
    pid: Segment,
    lines: Iterable[str],
    *,
    analytes: Analytes,
    zone: ZoneInfo,
    decimal_comma: bool = False,
    medications: tuple[Medication, ...] = (),
    visit: tuple[str, Literal["opened", "cancelled"] | None] = ("", None),
) -> PatientExtract | None:
    """Demographics, observations and diagnoses of one patient's part of a message; ``None`` when it says nothing.

    Raises
    ------
    MessageError
        A segment that matters cannot be read.
    """
    delimiters = pid.delimiters
    observations: list[Observation] = []
    diagnoses: list[Diagnosis] = []
    panel_time: Moment | None = None
    for line in lines:
        name = line[:3]
        if name == "OBR":
            panel_time = read_time(scan_segment(line, delimiters).text(7), zone)
        elif name == "OBX":
            obx = scan_segment(line, delimiters)
            term = _observation_term(obx, analytes)
            found = _observation(obx, term, panel_time, zone, decimal_comma) if term else None
            observations.extend([found] if found else [])
        elif name == "DG1":
            found_diagnosis = _diagnosis(scan_segment(line, delimiters), zone)
            diagnoses.extend([found_diagnosis] if found_diagnosis else [])
    extract = PatientExtract(
        birth_date=read_date(pid.text(7)),
        sex=SEXES.get(pid.text(8).upper()),
        observations=tuple(dict.fromkeys(observations)),
        diagnoses=tuple(dict.fromkeys(diagnoses)),
        medications=medications,
        visit=visit[0],
        visit_event=visit[1],
    )
    return None if extract == PatientExtract() else extract


def _observation_term(obx: Segment, analytes: Analytes) -> ObservationTerm | None:
    return _term(tuple(obx.components(3)[:_CODED_COMPONENTS]), analytes)


@remembered
def _term(components: tuple[str, ...], analytes: Analytes) -> ObservationTerm | None:
    code, name, _, other_code, other_name, *_ = [*(one.casefold() for one in components), *[""] * _CODED_COMPONENTS]
    names = [one for one in (name, other_name) if one] or [code]
    return next((term for term in analytes.observation if term.matches([code, other_code, other_name], names)), None)


def _observation(
    obx: Segment, term: ObservationTerm, panel: Moment | None, zone: ZoneInfo, decimal_comma: bool
) -> Observation | None:
    status = obx.text(11).upper()
    if status and FINALITY.get(status) not in ("final", "corrected"):
        return None
    value = _measured(obx, term, decimal_comma) if term.factors else _answered(obx, term)
    if value is None:
        return None
    seen = read_time(obx.text(14), zone) or panel
    return Observation(name=term.name, value=value, observed_at=seen.at if seen else None)


def _measured(obx: Segment, term: ObservationTerm, decimal_comma: bool) -> float | None:
    text = obx.text(5).strip()
    below_zero = text.startswith(MINUS_SIGNS) and term.range is not None and term.range[0] < 0
    number = read_number(text[1:] if below_zero else text, decimal_comma=decimal_comma).value
    number = -number if below_zero and number is not None else number
    factors = {canonical(unit): factor for unit, factor in term.factors.items()}
    units = [canonical(unit) for unit in (obx.raw(6), *obx.components(6)[:2]) if unit] or [""]
    factor = next((factors[unit] for unit in units if unit in factors), None)
    if number is None or factor is None:
        return None
    value = number * factor
    low, high = term.range or (value, value)
    return value if low <= value <= high else None


def _answered(obx: Segment, term: ObservationTerm) -> float | None:
    answers = [one.casefold() for one in obx.components(5) if one]
    for answer in answers:
        if re.search(term.no, answer):
            return 0.0
        if re.search(term.yes, answer):
            return 1.0
    return None


def _diagnosis(dg1: Segment, zone: ZoneInfo) -> Diagnosis | None:
    code = (dg1.text(3) or dg1.text(3, 4)).rstrip(".").upper()
    if not code or dg1.text(21).upper() == "D":
        return None
    recorded = read_time(dg1.text(5), zone)
    return Diagnosis(code=code, text=dg1.text(3, 2) or dg1.text(4), recorded_at=recorded.at if recorded else None)
