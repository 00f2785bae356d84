"""Appointments: what SIU, SRM and SRR say of a booking, its time and its services."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

from analytics.reasons import Reason
from node.hl7.catalogue import Words
from node.hl7.extracts import AppointmentExtract
from node.hl7.segments import Segment
from node.hl7.staff import read_service, read_surgeon
from node.hl7.surgery import LONGEST_TEXT, MOST_FURTHER, Procedures, Service, Understood, understand
from node.hl7.times import Moment, read_time
from node.hl7.words import fold

Event = Literal["booked", "moved", "modified", "cancelled"]

EVENTS: dict[str, dict[str, Event]] = {
    "SIU": {
        "S12": "booked",
        "S13": "moved",
        "S14": "modified",
        "S15": "cancelled",
        "S16": "cancelled",
        "S17": "cancelled",
        "S18": "modified",
        "S19": "modified",
        "S20": "modified",
        "S21": "modified",
        "S22": "modified",
        "S26": "cancelled",
    },
    "SRM": {
        "S01": "booked",
        "S02": "moved",
        "S03": "modified",
        "S04": "cancelled",
        "S05": "cancelled",
        "S06": "cancelled",
        "S07": "modified",
        "S08": "modified",
        "S09": "modified",
        "S10": "modified",
        "S11": "modified",
    },
}
"""Trigger events (HL7 v2.5.1, chapter 10). S16 discontinues the appointment, S17 deletes it, at S26 the patient did not
come; S20 to S22 and S09 to S11 cancel, discontinue and delete its services."""
EVENTS["SRR"] = EVENTS["SRM"]
SERVICES_TAKEN_BACK = {"SIU": ("S20", "S21", "S22"), "SRM": ("S09", "S10", "S11"), "SRR": ("S09", "S10", "S11")}

SURGICAL = ("operation", "repeat")
SEGMENTS = ("SCH", "ARQ", "TQ1", "AIS", "AIG", "AIL", "AIP", "PR1", "PV1", "NTE", "OBX")
"""The segments that tell of an appointment."""

_STATUS_COMPONENTS = 2


@dataclass(frozen=True, kw_only=True)
class _Booked:
    """The services of an appointment: those that stand, those that were taken back, and the texts beside them."""

    standing: tuple[Service, ...]
    taken_back: tuple[Service, ...]
    texts: tuple[str, ...]
    kinds: tuple[str, ...]
    """What the appointment is called as a whole (SCH-6 and 8, ARQ-6 and 8)."""

    @property
    def shown(self) -> str:
        """The services as people read them: those that stand, else those that were taken back, else a text."""
        shown = [one.shown for one in self.standing or self.taken_back] or list(self.texts[:1])
        return "; ".join(dict.fromkeys(text for text in shown if text))


def read_appointment(
    kind: str, trigger: str, segments: list[Segment], *, procedures: Procedures, zone: ZoneInfo
) -> AppointmentExtract | Reason:
    """What a message says about its appointment, or why it cannot be used.

    The time is that of the service (AIS-4, also AIL-6, AIG-8, AIP-6), else TQ1-7, else SCH-11 or ARQ-11: the last is
    kept for older versions only and often holds when the booking was made.
    """
    event = EVENTS.get(kind, {}).get(trigger)
    if event is None:
        return Reason("appointment-unchanged", {"type": f"{kind}^{trigger}"})
    schedule = next((one for one in segments if one.name in ("SCH", "ARQ")), None)
    if schedule is None or not (schedule.text(1) or schedule.text(2)):
        return Reason("appointment-without-number")
    cancelled = procedures.cancelled
    booked = _booked(segments, schedule, procedures, all_taken_back=trigger in SERVICES_TAKEN_BACK[kind])
    understood, gone = _understood(booked, procedures)
    called_off = procedures.words.is_called_off(fold(" ".join(schedule.components(7))[:LONGEST_TEXT]))
    if _is_cancelled(schedule, 25, cancelled) or called_off or gone:
        event = "cancelled"
    planned = _planned(segments, schedule, procedures, zone)
    if planned is None and event != "cancelled":
        return Reason("appointment-without-time")
    order = (26, 27) if schedule.name == "SCH" else (24, 25)
    return AppointmentExtract(
        placer=schedule.text(1),
        filler=schedule.text(2),
        order_placer=schedule.text(order[0]),
        order_filler=schedule.text(order[1]),
        event=event,
        planned_at=planned.at if planned else None,
        date_only=planned.date_only if planned else False,
        procedure=booked.shown,
        operation=understood == "operation",
        understood=understood,
        surgeon=read_surgeon(segments),
        service=read_service(segments),
    )


def _understood(booked: _Booked, procedures: Procedures) -> tuple[Understood, bool]:
    """What is booked, and whether an operation was taken back so that none is left.

    The texts of the appointment stay as they were when a service is deleted: they are about what is gone.
    """
    taken_back = bool(booked.taken_back) and (
        understand(booked.taken_back, () if booked.standing else booked.texts, procedures) in SURGICAL
    )
    texts = () if taken_back else booked.texts
    understood = understand(booked.standing, texts, procedures, kinds=booked.kinds)
    return understood, taken_back and understood not in SURGICAL


def _booked(segments: Sequence[Segment], schedule: Segment, procedures: Procedures, *, all_taken_back: bool) -> _Booked:
    standing: list[Service] = []
    taken_back: list[Service] = []
    for one in segments:
        if not _names_a_service(one):
            continue
        service, is_ais = _service(one), one.name == "AIS"
        back = is_ais and (all_taken_back or one.text(2).upper() == "D" or _is_cancelled(one, 10, procedures.cancelled))
        back = back or procedures.words.is_called_off(fold(service.text))
        (taken_back if back else standing).append(service)
    # SCH-7 and ARQ-7 are the reason, SCH-6 and ARQ-6 the event, SCH-8 and ARQ-8 the type.
    reasons = [" ".join(part for part in schedule.components(field) if part) for field in (7, 6, 8)]
    notes = [text for one in segments for text in _notes(one)]
    if not standing and not taken_back and schedule.raw(7):
        standing.append(Service.of(schedule.components(7)))
    return _Booked(
        standing=tuple(standing),
        taken_back=tuple(taken_back),
        texts=tuple(one for one in (*reasons, *notes) if one),
        kinds=tuple(reasons[1:]),
    )


def _names_a_service(segment: Segment) -> bool:
    """Whether a segment is one of a service, with a code or, where there is none, its description (PR1-4)."""
    if segment.name == "PR1":
        return bool(segment.raw(3) or segment.raw(4))
    return segment.name == "AIS" and bool(segment.raw(3))


def _service(segment: Segment) -> Service:
    return Service.of(segment.components(3), segment.components(4) if segment.name == "PR1" else ())


def _notes(segment: Segment) -> Iterable[str]:
    if segment.name == "NTE":
        return [segment.lines(3)]
    if segment.name == "OBX":
        return [" ".join([*segment.components(3)[1:2], segment.lines(5)])]
    return []


def _is_cancelled(segment: Segment, field: int, cancelled: Words) -> bool:
    """Whether a filler status (table 0278, also as hospitals write it) says that nothing will happen."""
    if segment.name == "ARQ":
        return False
    told = [one for one in segment.components(field)[:_STATUS_COMPONENTS] if one]
    return cancelled.match((), told, [fold(one) for one in told])


def _planned(segments: Sequence[Segment], schedule: Segment, procedures: Procedures, zone: ZoneInfo) -> Moment | None:
    services = [one for one in segments if one.name == "AIS"]
    if len(services) > 1:
        # The operation has its own time beside those of what is booked with it.
        told = services[:MOST_FURTHER]
        first = [one for one in told if understand([_service(one)], (), procedures) in SURGICAL]
        segments = [*first, *segments]
    places = (("AIS", 4), ("AIL", 6), ("AIG", 8), ("AIP", 6), ("TQ1", 7))
    texts = [one.text(field) for name, field in places for one in segments if one.name == name]
    texts.append(schedule.text(11, 4) if schedule.name == "SCH" else schedule.text(11))
    return next((moment for text in texts if (moment := read_time(text, zone))), None)
