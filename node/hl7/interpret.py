"""What a message says: which patients, which blood counts, which appointments and merges; or why it cannot be used."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Literal
from zoneinfo import ZoneInfo

from analytics.counts.blood import CLOCKS_APART
from analytics.reasons import Reason
from node.errors import MessageError
from node.hl7.appointments import SEGMENTS, read_appointment
from node.hl7.catalogue import load_analytes, load_eligibility
from node.hl7.context import (
    PatientNumber,
    is_order_number,
    missing_number_reason,
    patient_number,
    read_merges,
    read_patient,
)
from node.hl7.extracts import AppointmentExtract, Extract, Medication, SpecimenExtract, UnmergeExtract
from node.hl7.medication import read_medications
from node.hl7.messages import Header, Message, read_frame
from node.hl7.procedures import read_orders, read_procedures, visit_of
from node.hl7.segments import Segment, read_segment
from node.hl7.specimens import read_specimens
from node.hl7.staff import with_own_fields
from node.hl7.stated import Source, Stated, read_stated
from node.hl7.surgery import load_procedures
from node.hl7.times import read_time
from node.hl7.unread import UNKNOWN_CODE, UNREAD, unread_results
from node.settings import Sender, Settings
from node.store.failures import tried

PRODUCTION = "P"
RESULT_MESSAGES = ("ORU", "OUL", "ORF")
DRUG_MESSAGES = ("RDE", "RAS")
ORDER_MESSAGES = ("ORM", "OMG", "OMI")
BOOKING_MESSAGES = ("SIU", "SRM", "SRR")
STAY_MESSAGES = ("ADT", "BAR")
"""They may tell of procedures (PR1) and diagnoses (DG1) of a stay."""
MERGE_EVENTS = ("A18", "A34", "A36", "A40", "A47")
UNDO_EVENTS = ("A37",)
LINK_EVENTS = ("A24", "A30", "A39", "A43")
"""Numbers that belong together, linked (A24) or moved (A43), or merged by fields of older versions: for a person."""

MAX_SEGMENTS = 50_000
"""Most segments of a message; the longest of a laboratory have some hundred."""
STRUCTURED = ("PID", "MRG", "SCH", "PV1", "AIS", "PR1", "TQ1", "RXE", "RXA")
MAX_STRUCTURED = 500
"""Most segments of each kind that hl7apy reads, a few milliseconds each, or that are seen in the light of each
other."""

Status = Literal["used", "held", "refused", "ignored"]
Problem = tuple[str, Reason]
"""Code under which people see it, and the reason."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One extract and the patient it is about; no patient where the message names none."""

    patient: PatientNumber | None
    extract: Extract
    stated: Stated | None = None
    """What the message states of whom the number is."""


@dataclass(frozen=True, kw_only=True)
class Interpretation:
    """One message as understood. ``items`` are what it says even when its status keeps it from being used."""

    header: Header | None
    sent_at: datetime | None
    status: Status
    reasons: tuple[Reason, ...]
    """Why it is not used; none where it is."""
    items: tuple[Item, ...]
    problems: tuple[Problem, ...]
    """What a person should see beside ``reasons``; without patient data."""
    error: Exception | None = None
    """What was raised where the software failed on the message, which is then held."""


def interpret_frame(raw: bytes, settings: Settings) -> list[Interpretation]:
    """Every message of a frame, at least one."""
    messages = tried(partial(read_frame, raw, settings.hl7.default_charset, settings.hl7.charsets))
    if messages.error is not None:
        return [failed(None, messages.error)]
    found = [(message.header, tried(partial(interpret_message, message, settings))) for message in messages.result()]
    return [one.result() if one.error is None else failed(header, one.error) for header, one in found]


def failed(header: Header | None, error: Exception) -> Interpretation:
    """What stands for a message that nobody foresaw; it must not keep the others from being read."""
    held = _kept(header, None, "held", Reason("message-failed", {"fault": type(error).__name__}))
    return replace(held, error=error)


def interpret_message(message: Message, settings: Settings) -> Interpretation:
    """Understand one message. Pure: the same message and settings always give the same."""
    header = message.header
    if header is None or message.problem:
        return _kept(header, None, "held", message.problem or Reason("message-without-header"))
    if too_long := _too_long(message):
        return _kept(header, None, "held", too_long)
    settings = settings.model_copy(update={"identity": settings.identity_of(header.sender)})
    sent = read_time(header.text(7), settings.site.zone)
    sent_at = sent.at if sent else None
    try:
        items, problems = _read(header, message, settings, sent_at)
    except MessageError as error:
        return _kept(header, sent_at, "held", error.reason)
    status, reasons = _status(header, items, problems)
    return Interpretation(
        header=header,
        sent_at=sent_at,
        status=status,
        reasons=reasons,
        items=tuple(items),
        problems=tuple(dict.fromkeys(problems)),
    )


def _too_long(message: Message) -> Reason | None:
    """Why a message is not read although it could be: its segments."""
    names = Counter(line[:3] for line in message.lines)
    if names.total() > MAX_SEGMENTS:
        return Reason("message-too-long", {"number": names.total(), "limit": MAX_SEGMENTS})
    over = next((name for name in STRUCTURED if names[name] > MAX_STRUCTURED), None)
    if over is None:
        return None
    return Reason("message-repeats-segment", {"number": names[over], "segment": over, "limit": MAX_STRUCTURED})


def _kept(header: Header | None, sent_at: datetime | None, status: Status, reason: Reason) -> Interpretation:
    return Interpretation(header=header, sent_at=sent_at, status=status, reasons=(reason,), items=(), problems=())


def _status(header: Header, items: list[Item], problems: list[Problem]) -> tuple[Status, tuple[Reason, ...]]:
    if header.processing_id and header.processing_id != PRODUCTION:
        return "refused", (Reason("message-not-production", {"id": header.processing_id[:10]}),)
    if not header.processing_id:
        return "held", (Reason("message-perhaps-not-production"),)
    if any(item.patient is not None for item in items):
        return "used", ()
    holding = [reason for code, reason in problems if code not in UNREAD]
    if holding:
        return "held", tuple(dict.fromkeys(holding))
    if header.message_code in READERS:
        return "ignored", (Reason("message-says-nothing", {"type": header.type[:20]}),)
    return "ignored", (Reason("message-of-type-not-used", {"type": header.type[:20]}),)


def _source(header: Header) -> Source:
    kinds: tuple[tuple[tuple[str, ...], Source], ...] = (
        (STAY_MESSAGES, "stay"), (BOOKING_MESSAGES, "booking"), (ORDER_MESSAGES, "order"), (DRUG_MESSAGES, "drug"),
    )  # fmt: skip
    return next((source for codes, source in kinds if header.message_code in codes), "result")


def _read(
    header: Header, message: Message, settings: Settings, sent_at: datetime | None
) -> tuple[list[Item], list[Problem]]:
    if header.message_code not in READERS:
        return [], _unread(header, message, [], settings)
    items: list[Item] = []
    problems: list[Problem] = []
    booking = header.message_code in BOOKING_MESSAGES
    appointment = _appointment(message, header, settings, problems) if booking else None
    groups = list(_patients(message, header))
    if not groups and header.message_code != "ADT" and any(line[:3] in ("OBX", "SCH") for line in message.lines):
        problems.append(("no-patient", Reason("message-without-patient")))
        groups = [(None, list(message.lines))]
    for pid, lines in groups:
        part = _Part(
            header=header, pid=pid, lines=lines, settings=settings, appointment=appointment, problems=problems,
            sent_at=sent_at,
        )  # fmt: skip
        stated = read_stated(pid, _source(header), sent_at) if pid is not None else None
        items.extend(replace(item, stated=stated) for item in _patient_items(part))
    if header.message_code == "ADT" and header.trigger in UNDO_EVENTS:
        undone = _unmerge(header, groups, settings)
        if undone is None:
            problems.append(("unmerge", Reason("unmerge-unclear", {"type": f"ADT^{header.trigger}"})))
        else:
            items.append(undone)
    return items, [*problems, *_unread(header, message, items, settings)]


def _unread(header: Header, message: Message, items: list[Item], settings: Settings) -> list[Problem]:
    """What is to be said of results that nobody hears."""
    reason = unread_results(
        "" if header.message_code in RESULT_MESSAGES else header.type,
        message.lines,
        header.delimiters,
        [item.extract for item in items if isinstance(item.extract, SpecimenExtract)],
        analytes=load_analytes(),
        zone=settings.site.zone,
    )
    return [(reason.code, reason)] if reason else []


def _unmerge(header: Header, groups: list[tuple[Segment | None, list[str]]], settings: Settings) -> Item | None:
    """The merge that a message takes back: of its two patients, or of its patient and MRG-1.

    Without a time (MSH-7) it could not be told from one that was taken back before it was made.
    """
    merged = [read_segment(line, header.delimiters) for _, lines in groups for line in lines if line[:3] == "MRG"]
    named = [patient_number(pid, 3, settings.identity) for pid, _ in groups if pid is not None]
    named += [patient_number(mrg, 1, settings.identity) for mrg in merged]
    numbers = [number for number in dict.fromkeys(named) if number is not None]
    if len(numbers) != 2 or None in named or read_time(header.text(7), settings.site.zone) is None:
        return None
    first, (other_authority, other_id) = sorted(numbers)
    return Item(patient=first, extract=UnmergeExtract(other_authority=other_authority, other_id=other_id))


def _appointment(
    message: Message, header: Header, settings: Settings, problems: list[Problem]
) -> AppointmentExtract | None:
    told = read_appointment(
        header.message_code,
        header.trigger,
        message.segments(*SEGMENTS),
        procedures=load_procedures(),
        zone=settings.site.zone,
    )
    if isinstance(told, AppointmentExtract):
        problems.extend(_not_understood(told))
        rules = settings.hl7.senders.get(header.sender, Sender())
        return with_own_fields(told, message.lines, header.delimiters, rules)
    problems.append(("appointment", told))
    return None


PROCEDURE_PROBLEMS = {"unknown": "unknown-procedure", "unclear": "unclear-procedure"}
"""Code of a procedure that is not understood: kept with the booking, one problem for each sender."""


def _not_understood(told: AppointmentExtract) -> list[Problem]:
    """The problem of a booking whose procedure nobody knows; where an order is named, that tells."""
    code = PROCEDURE_PROBLEMS.get(told.understood)
    if code is None or told.event == "cancelled" or told.order_placer or told.order_filler:
        return []
    values = {"procedure": told.procedure[:80]}
    if told.understood == "unclear":
        return [(code, Reason("procedure-unclear", values))]
    return [(code, Reason("procedure-unknown", values) if told.procedure else Reason("procedure-missing"))]


def _patients(message: Message, header: Header) -> Iterator[tuple[Segment | None, list[str]]]:
    """Each PID with the lines up to the next one."""
    pid: str | None = None
    lines: list[str] = []
    for line in message.lines:
        if line[:3] == "PID":
            if pid is not None:
                yield read_segment(pid, header.delimiters), lines
            pid, lines = line, []
        elif pid is not None:
            lines.append(line)
    if pid is not None:
        yield read_segment(pid, header.delimiters), lines


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One patient's part of a message, as its readers need it; what is wrong with it goes to ``problems``."""

    header: Header
    pid: Segment | None
    lines: list[str]
    settings: Settings
    appointment: AppointmentExtract | None
    """What the message books, for each of its patients."""
    problems: list[Problem]
    sent_at: datetime | None

    @property
    def zone(self) -> ZoneInfo:
        """In which times without an offset are read."""
        return self.settings.site.zone

    @property
    def rules(self) -> Sender:
        """Those for its sender."""
        return self.settings.hl7.senders.get(self.header.sender, Sender())


def _patient_items(part: _Part) -> list[Item]:
    patient = _numbered(part)
    readers = READERS[part.header.message_code]
    return [Item(patient=patient, extract=extract) for reader in readers for extract in reader(part)]


def _numbered(part: _Part) -> PatientNumber | None:
    """The patient's number, unless it stands for nobody."""
    if part.pid is None:
        return None
    patient = patient_number(part.pid, 3, part.settings.identity)
    if patient is None:
        part.problems.append(("no-patient", missing_number_reason(part.pid)))
    elif is_order_number(patient, part.lines, part.header.delimiters):
        part.problems.append(("no-patient", Reason("patient-number-of-order")))
        return None
    return patient


def _person(part: _Part) -> Iterator[Extract]:
    """What the message says of the patient, with the drugs and the visit of the messages that have them."""
    if part.pid is None:
        return
    delimiters, code = part.header.delimiters, part.header.message_code
    medications: tuple[Medication, ...] = ()
    if code in DRUG_MESSAGES:
        medications = read_medications(part.lines, delimiters, drugs=load_eligibility().drugs, zone=part.zone)
    known = read_patient(
        part.pid,
        part.lines,
        analytes=load_analytes(),
        zone=part.zone,
        decimal_comma=part.rules.decimal_comma,
        medications=medications,
        visit=visit_of(part.header.trigger, part.lines, delimiters) if code == "ADT" else ("", None),
    )
    if known:
        yield known


def _specimens(part: _Part) -> Iterator[Extract]:
    specimens = read_specimens(part.lines, part.header.delimiters, load_analytes(), part.zone, part.rules)
    part.problems.extend(
        (UNKNOWN_CODE, Reason("code-not-known", {"label": one.label[:60], "why": one.reason}))
        for specimen in specimens
        for one in specimen.results
        if one.analyte in ("unknown", "unnamed")
    )
    part.problems.extend(
        ("specimen-time", Reason("specimen-after-message"))
        for specimen in specimens
        if specimen.taken_at and part.sent_at and specimen.taken_at - part.sent_at > CLOCKS_APART
    )
    yield from specimens


def _booking(part: _Part) -> Iterator[Extract]:
    if part.appointment is not None:
        yield part.appointment


def _orders(part: _Part) -> Iterator[Extract]:
    delimiters = part.header.delimiters
    orders = read_orders(part.lines, delimiters, procedures=load_procedures(), zone=part.zone)
    yield from (with_own_fields(one, part.lines, delimiters, part.rules) for one in orders)


def _stays(part: _Part) -> Iterator[Extract]:
    header = part.header
    stays = read_procedures(header.trigger, part.lines, header.delimiters, procedures=load_procedures(), zone=part.zone)
    part.problems.extend(problem for one in stays for problem in _not_understood(one))
    yield from (with_own_fields(one, part.lines, header.delimiters, part.rules) for one in stays)


def _merges(part: _Part) -> Iterator[Extract]:
    header = part.header
    if header.trigger in LINK_EVENTS:
        part.problems.append(("merge", Reason("link-not-read", {"type": f"ADT^{header.trigger}"})))
    if header.trigger not in MERGE_EVENTS:
        return
    merges = [read_segment(line, header.delimiters) for line in part.lines if line[:3] == "MRG"]
    retired = [read_merges(mrg, part.settings.identity) for mrg in merges]
    if not merges or [] in retired:
        part.problems.append(("merge", Reason("merge-unclear", {"type": f"ADT^{header.trigger}"})))
    yield from (merge for some in retired for merge in some)


_Reader = Callable[[_Part], Iterable[Extract]]
READERS: dict[str, tuple[_Reader, ...]] = {
    **dict.fromkeys(RESULT_MESSAGES, (_person, _specimens)),
    **dict.fromkeys(DRUG_MESSAGES, (_person,)),
    **dict.fromkeys(ORDER_MESSAGES, (_person, _orders)),
    **dict.fromkeys(BOOKING_MESSAGES, (_person, _booking)),
    "ADT": (_person, _stays, _merges),
    "BAR": (_person, _stays),
}
"""What reads each patient's part of a message, by message code (MSH-9.1)."""
