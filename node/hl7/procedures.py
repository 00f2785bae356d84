"""Operations that orders (ORM, OMG, OMI) and admissions (ADT and BAR with PR1) tell of."""

from collections.abc import Iterable, Iterator
from typing import Literal
from zoneinfo import ZoneInfo

from node.hl7.extracts import AppointmentExtract
from node.hl7.segments import Delimiters, Segment, read_segment, scan_segment
from node.hl7.staff import read_service, read_surgeon
from node.hl7.surgery import Procedures, Service, understand
from node.hl7.times import Moment, read_time

Event = Literal["booked", "moved", "modified", "cancelled"]

NEW_ORDERS = ("NW", "SN", "NA", "RO", "")
"""ORC-1: a new order, also one that comes in place of another."""
CANCELLED_ORDERS = ("CA", "OC", "CR", "DC", "OD", "DR", "RP", "RQ", "RU")
"""ORC-1: cancelled or discontinued, asked for or done, or replaced by another order."""
CANCELLED_STATUSES = ("CA", "DC", "RP")
"""ORC-5."""
CANCELLED_VISITS = ("A11", "A27", "A38")
"""Events of ADT that take back an admission, an announced one or a pre-admission."""
OPENED_VISITS = ("A01", "A04", "A05", "A06", "A07", "A13", "A14")
"""Events of ADT that begin a visit, or take back its end."""


def read_orders(
    lines: Iterable[str], delimiters: Delimiters, *, procedures: Procedures, zone: ZoneInfo
) -> list[AppointmentExtract]:
    """The orders of operations in one patient's part of a message, and every order that is cancelled.

    A cancellation need not say of what: the order is known by its number.

    Raises
    ------
    MessageError
        A segment that matters cannot be read.
    """
    found = []
    for order in _orders(lines, delimiters):
        services = [Service.of(one.components(4)) for one in order if one.name == "OBR"]
        services += [Service.of(one.components(3), one.components(4)) for one in order if one.name == "PR1"]
        notes = [" ".join(one.components(31)) for one in order if one.name == "OBR" and one.raw(31)]
        notes += [" ".join(one.components(3)) for one in order if one.name == "NTE"]
        understood = understand(services, notes, procedures)
        event = _order_event(order)
        placer, filler = (_order_number(order, field) for field in (2, 3))
        if not (placer or filler) or not (understood in ("operation", "repeat") or event == "cancelled"):
            continue
        planned = _order_time(order, zone)
        found.append(
            AppointmentExtract(
                source="order",
                placer="",
                filler="",
                order_placer=placer,
                order_filler=filler,
                event=event,
                planned_at=planned.at if planned else None,
                date_only=planned.date_only if planned else False,
                procedure="; ".join(dict.fromkeys(one.shown for one in services if one.shown)),
                operation=understood == "operation",
                understood=understood,
            )
        )
    return found


def _orders(lines: Iterable[str], delimiters: Delimiters) -> Iterator[list[Segment]]:
    """The segments of each order: from ORC, or from an OBR that has none, up to the next."""
    order: list[Segment] = []
    for line in lines:
        name = line[:3]
        if order and (name == "ORC" or (name == "OBR" and any(one.name == "OBR" for one in order))):
            yield order
            order = []
        if name in ("ORC", "OBR", "TQ1", "PR1", "NTE"):
            order.append(scan_segment(line, delimiters))
    if order:
        yield order


def _order_event(order: list[Segment]) -> Event:
    control = next((one.text(1).upper() for one in order if one.name == "ORC"), "")
    status = next((one.text(5).upper() for one in order if one.name == "ORC"), "")
    if control in CANCELLED_ORDERS or status in CANCELLED_STATUSES:
        return "cancelled"
    return "booked" if control in NEW_ORDERS else "modified"


def _order_number(order: list[Segment], field: int) -> str:
    return next((text for one in order if one.name in ("ORC", "OBR") and (text := one.text(field))), "")


def _order_time(order: list[Segment], zone: ZoneInfo) -> Moment | None:
    """When it is scheduled (OBR-36), else to start (TQ1-7, ORC-7.4, OBR-27.4, PR1-5), else wished for (OBR-6)."""
    places = (("OBR", 36, 1), ("TQ1", 7, 1), ("ORC", 7, 4), ("OBR", 27, 4), ("PR1", 5, 1), ("OBR", 6, 1))
    texts = [one.text(field, component) for name, field, component in places for one in order if one.name == name]
    return next((moment for text in texts if (moment := read_time(text, zone))), None)


def read_procedures(
    trigger: str, lines: Iterable[str], delimiters: Delimiters, *, procedures: Procedures, zone: ZoneInfo
) -> list[AppointmentExtract]:
    """The operations that PR1 of an admission tells of, planned or done, each under the number of its visit (PV1-19).

    Raises
    ------
    MessageError
        A segment that matters cannot be read.
    """
    visit = ""
    stay: list[Segment] = []
    told: list[tuple[Segment, Service]] = []
    for line in lines:
        if line[:3] == "PV1":
            stay.append(read_segment(line, delimiters))
            visit = stay[-1].text(19)
        elif line[:3] == "PR1":
            pr1 = scan_segment(line, delimiters)
            told.append((pr1, Service.of(pr1.components(3), pr1.components(4))))
    # The code of an access says at which part of the spine the other procedures of the stay are.
    addons = [service for _, service in told if procedures.is_addon(service)]
    found = []
    for pr1, service in told:
        planned = read_time(pr1.text(5), zone)
        alone = len(addons) == len(told)
        if planned is None or (service in addons and not alone):
            continue
        understood = understand([service] if alone else [service, *addons], (), procedures)
        if understood not in ("operation", "repeat", "unclear"):
            continue
        deleted = trigger in CANCELLED_VISITS or pr1.text(20).upper() == "D"
        found.append(
            AppointmentExtract(
                source="admission",
                placer=visit or f"{planned.at.astimezone(zone):%Y-%m-%d}",
                filler=pr1.text(3) or pr1.text(3, 2) or pr1.text(4),
                event="cancelled" if deleted else "modified",
                planned_at=planned.at,
                date_only=planned.date_only,
                procedure=service.shown,
                operation=understood == "operation",
                understood=understood,
                surgeon=read_surgeon([pr1, *stay]),
                service=read_service(stay),
            )
        )
    return found


def visit_of(
    trigger: str, lines: Iterable[str], delimiters: Delimiters
) -> tuple[str, Literal["opened", "cancelled"] | None]:
    """The visit that a message of ADT is about (PV1-19), and whether the message opens or cancels it.

    Raises
    ------
    MessageError
        PV1 cannot be read.
    """
    line = next((one for one in lines if one[:3] == "PV1"), None)
    visit = read_segment(line, delimiters).text(19) if line else ""
    if visit and trigger in CANCELLED_VISITS:
        return visit, "cancelled"
    return visit, "opened" if visit and trigger in OPENED_VISITS else None
