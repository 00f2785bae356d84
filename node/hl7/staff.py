"""Who operates and which service it is for, as messages about an operation name them."""

from collections.abc import Iterable, Sequence

from node.hl7.extracts import AppointmentExtract, Staff
from node.hl7.segments import Delimiters, Segment, scan_segment
from node.hl7.words import fold
from node.settings import Sender

SURGEON = ("surgeon", "chirurg", "operateur", "cirujano", "cirurgiao", "chirurgo", "primary", "主刀", "术者", "執刀")
"""Beginnings of words for the role of who operates (AIP-4; also PRS, PS of table 0182), folded."""
SURGEON_CODES = frozenset({"ps", "prs", "surg", "op"})
ATTENDING, SERVICE = 7, 10


def read_surgeon(segments: Sequence[Segment]) -> Staff | None:
    """Who operates: AIP of that role, PR1-11, else the only AIP, else who attends (PV1-7); ``None``: nobody."""
    people = [(one, _person(one, 3)) for one in segments if one.name == "AIP"]
    named = [(one, person) for one, person in people if person is not None]
    found = next((person for one, person in named if _operates(one)), None)
    operating = next((person for one in segments if one.name == "PR1" and (person := _person(one, 11))), None)
    only = named[0][1] if len(named) == 1 else None
    attending = next((person for one in segments if one.name == "PV1" and (person := _person(one, ATTENDING))), None)
    return found or operating or only or attending


def read_service(segments: Iterable[Segment]) -> str:
    """The hospital's service (PV1-10); empty: none is named."""
    return next((text for one in segments if one.name == "PV1" and (text := one.text(SERVICE))), "")


def with_own_fields(
    told: AppointmentExtract, lines: Iterable[str], delimiters: Delimiters, rules: Sender
) -> AppointmentExtract:
    """A booking with who operates, and for which service, of the fields that the settings name for its sender.

    Mostly they are of segments that a hospital has made up (Z…). Where a message has none of them, or an empty one,
    what it says elsewhere stays.
    """
    named = {
        place: found for place in (rules.surgeon, rules.service) if place and (found := _of(place, lines, delimiters))
    }
    surgeon = named.get(rules.surgeon or "")
    service = named.get(rules.service or "")
    return told.model_copy(
        update={
            "surgeon": _whom(surgeon[0], surgeon[1]) if surgeon else told.surgeon,
            "service": service[0].text(service[1]) if service else told.service,
        }
    )


def _of(place: str, lines: Iterable[str], delimiters: Delimiters) -> tuple[Segment, int] | None:
    """The first segment in which a field is not empty, and the number of the field."""
    name, _, field = place.partition("-")
    segments = (scan_segment(line, delimiters) for line in lines if line[:3] == name)
    return next(((one, int(field)) for one in segments if any(one.components(int(field)))), None)


def _whom(one: Segment, field: int) -> Staff | None:
    """As an XCN; one component alone is a number where there is a digit in it, else a name."""
    found = _person(one, field)
    if found is not None and not found.name and not any(sign.isdigit() for sign in found.number):
        return Staff(number="", name=found.number)
    return found


def _operates(one: Segment) -> bool:
    role = [fold(text) for text in one.components(4)[:2] if text]
    return any(text in SURGEON_CODES or text.startswith(SURGEON) for text in role)


def _person(one: Segment, field: int) -> Staff | None:
    """Number and name of an XCN; the family name first."""
    number, family, given = (one.text(field, component) for component in (1, 2, 3))
    name = ", ".join(text for text in (family, given) if text)
    return Staff(number=number, name=name) if number or name else None
