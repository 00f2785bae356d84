"""The operations of one person, folded over all that appointments, orders and admissions tell.

An appointment says when an operation is. An order tells what is planned, and when where no appointment does; it is
joined to the appointments that name its number (SCH-26, SCH-27). An admission counts where neither tells of an
operation about that time. The order of arrival never matters.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from analytics.reasons import Reason
from analytics.records import Operation
from node.hl7.extracts import AppointmentExtract, Staff
from node.steps.person import Said, cancelled_visits

SAME_OPERATION = timedelta(days=90)
"""An admission this near to an operation that appointments or orders tell of is for that one."""

Told = tuple[Said, AppointmentExtract]


@dataclass(frozen=True, kw_only=True)
class PlannedOperation:
    """An operation as folded over all messages about its booking."""

    operation: Operation
    procedure: str
    moved_from: datetime | None
    first_number: str
    """The patient number in the first message about it: names the episode, whatever is merged later."""
    surgeon: Staff | None = None
    service: str = ""
    """By the newest message that names one."""
    understood: str = "operation"
    """What ``conf/procedures.toml`` makes of what the newest message about an operation names."""
    doubt: Reason | None = None
    """Why the newest message about it may be about somebody else."""


@dataclass(frozen=True, kw_only=True)
class Operations:
    """All operations of a person."""

    planned: list[PlannedOperation]
    done: list[datetime]
    """When operations were done that nobody has told of before."""
    unplaced: list[Reason]
    """Those that no message gives a date for."""
    repeats: list[datetime]
    """When revisions and removals are planned or were done: the patient has had an operation before them."""


@dataclass(frozen=True, kw_only=True)
class _Booking:
    """What is said of one booking, in order; the orders of it beside its appointments."""

    name: str
    schedule: list[Told]
    orders: list[Told]

    @property
    def told(self) -> list[Told]:
        return sorted([*self.schedule, *self.orders], key=lambda one: one[0].order)

    @property
    def cancelled(self) -> bool:
        """By the newest word on it; an order that stands does not bring back a cancelled appointment."""
        deciding = list(self.schedule)
        if self.orders and (not deciding or self.orders[-1][1].event == "cancelled"):
            deciding.append(self.orders[-1])
        return max(deciding, key=lambda one: one[0].order)[1].event == "cancelled"

    @property
    def dated(self) -> list[AppointmentExtract]:
        """What gives a date: appointments, orders only where none does."""
        for told in (self.schedule, self.orders):
            if found := [extract for _, extract in told if extract.planned_at is not None]:
                return found
        return []


def fold_operations(said: Iterable[Said]) -> Operations:
    """Fold everything said about operations."""
    told: dict[str, list[Told]] = {"schedule": [], "order": [], "admission": []}
    said = list(said)
    for one in said:
        if isinstance(one.extract, AppointmentExtract):
            told[one.extract.source].append((one, one.extract))
    planned: list[PlannedOperation] = []
    unplaced: list[Reason] = []
    repeats: list[datetime] = []
    for booking in _joined(_appointments(told["schedule"]), _orders(told["order"])):
        named = _named(booking.told)
        if named is None:
            continue
        folded = _fold(booking)
        if named == "repeat":
            repeats += [folded.operation.planned_at] if folded and not folded.operation.cancelled else []
        elif folded is None:
            unplaced.append(Reason("operation-undated", {"booking": booking.name}))
        else:
            planned.append(folded)
    admitted, done, revised = _admissions(told["admission"], cancelled_visits(said))
    known = [one.operation.planned_at for one in planned]
    planned += [
        one for one in admitted if all(abs(one.operation.planned_at - moment) > SAME_OPERATION for moment in known)
    ]
    return Operations(planned=planned, done=done, unplaced=unplaced, repeats=[*repeats, *revised])


def _named(told: Iterable[Told]) -> str | None:
    """Whether a booking is of an operation or of a repeat, by the newest message that says so; ``None``: of neither."""
    named = ["operation" if extract.operation else extract.understood for _, extract in told]
    return next((one for one in reversed(named) if one in ("operation", "repeat")), None)


def _fold(booking: _Booking) -> PlannedOperation | None:
    dated = booking.dated
    times = [extract.planned_at for extract in dated if extract.planned_at is not None]
    if not times:
        return None
    earlier = [moment for moment in times if moment != times[-1]]
    texts = sorted(
        (extract.operation, place, extract.procedure)
        for place, (_, extract) in enumerate(booking.told)
        if extract.procedure
    )
    return PlannedOperation(
        operation=Operation(
            booking=booking.name, planned_at=times[-1], date_only=dated[-1].date_only, cancelled=booking.cancelled
        ),
        procedure=texts[-1][2] if texts else "",
        moved_from=earlier[-1] if earlier else None,
        first_number=booking.told[0][0].number,
        surgeon=next((one.surgeon for _, one in reversed(booking.told) if one.surgeon), None),
        understood=_named(booking.told) or "operation",
        service=next((one.service for _, one in reversed(booking.told) if one.service), ""),
        doubt=max(booking.told, key=lambda one: one[0].order)[0].doubt,
    )


def _joined(appointments: list[_Booking], orders: list[_Booking]) -> list[_Booking]:
    """Appointments with the orders they name, and the orders that no appointment names."""
    joined = [
        _Booking(
            name=one.name,
            schedule=one.schedule,
            orders=sorted(
                (told for order in orders if _numbers(one.schedule) & _numbers(order.orders) for told in order.orders),
                key=lambda told: told[0].order,
            ),
        )
        for one in appointments
    ]
    named = {number for one in appointments for number in _numbers(one.schedule)}
    return joined + [order for order in orders if not named & _numbers(order.orders)]


def _numbers(told: Iterable[Told]) -> set[tuple[str, str]]:
    """The order numbers that messages name: of the placer and of the filler."""
    return {
        (kind, number)
        for _, extract in told
        for kind, number in (("placer", extract.order_placer), ("filler", extract.order_filler))
        if number
    }


def _orders(told: Iterable[Told]) -> list[_Booking]:
    """The messages about each order: those that share its placer or its filler number."""
    groups: list[list[Told]] = []
    for one in told:
        same = [group for group in groups if _numbers(group) & _numbers([one])]
        groups = [group for group in groups if not any(group is other for other in same)]
        groups.append([one, *(other for group in same for other in group)])
    bookings = []
    for group in groups:
        group.sort(key=lambda one: one[0].order)
        numbers = dict(sorted(_numbers(group), reverse=True))
        name = f"order:{numbers.get('placer', '')}/{numbers.get('filler', '')}"
        bookings.append(_Booking(name=name, schedule=[], orders=group))
    return sorted(bookings, key=lambda one: one.name)


def _appointments(told: Iterable[Told]) -> list[_Booking]:
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
    bookings = [
        _Booking(name=name.booking, schedule=group, orders=[]) for name, group in zip(named, groups, strict=True)
    ]
    return sorted(bookings, key=lambda one: one.name)


def _admissions(
    told: Iterable[Told], cancelled: Collection[str]
) -> tuple[list[PlannedOperation], list[datetime], list[datetime]]:
    """Operations of admissions: those that were told of before their day, when others were done, and the repeats.

    The newest message about a visit and a procedure holds; nothing of a visit that is cancelled will be.
    """
    groups: dict[str, list[Told]] = {}
    for one in told:
        groups.setdefault(f"visit:{one[1].booking}", []).append(one)
    planned: list[PlannedOperation] = []
    done: list[datetime] = []
    repeats: list[datetime] = []
    for name, group in sorted(groups.items()):
        group.sort(key=lambda one: one[0].order)
        named = _named(group)
        folded = _fold(_Booking(name=name, schedule=group, orders=[])) if named else None
        if folded is None:
            continue
        if group[0][1].placer in cancelled:
            folded = replace(folded, operation=replace(folded.operation, cancelled=True))
        if named == "repeat":
            repeats += [] if folded.operation.cancelled else [folded.operation.planned_at]
        elif any(_is_ahead(one, extract) for one, extract in group):
            planned.append(folded)
        elif not folded.operation.cancelled:
            done.append(folded.operation.planned_at)
    return planned, done, repeats


def _is_ahead(one: Said, extract: AppointmentExtract) -> bool:
    """Whether a message was sent before the day that it gives was over."""
    if one.sent_at is None or extract.planned_at is None:
        return False
    return extract.planned_at + timedelta(days=1 if extract.date_only else 0) >= one.sent_at
