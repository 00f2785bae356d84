"""Segments of HL7 v2: delimiters, fields, escapes. The only module that speaks to hl7apy."""

import re
from dataclasses import dataclass

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_segment

from analytics.reasons import Reason
from node.errors import MessageError

STRUCTURE_VERSION = "2.6"
"""Segments are read as 2.6, whatever their message claims: no other version reads every segment seen."""

SEGMENT_START = re.compile(r"[A-Z][A-Z0-9]{2}(?![A-Za-z0-9 ])")
MAX_PARTS = 2000
"""Fields, repetitions, components and subcomponents of a segment that hl7apy reads; it makes objects of each."""
_NAME_LENGTH = 3


@dataclass(frozen=True, kw_only=True)
class Delimiters:
    """The delimiters of one message, from MSH-1 and MSH-2."""

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str

    @classmethod
    def of(cls, header: str) -> "Delimiters":
        """Read the delimiters at the start of an MSH segment (also FHS and BHS).

        Raises
        ------
        MessageError
            MSH-1 or MSH-2 is missing or impossible.
        """
        field = header[3:4]
        encoding = header[4:].split(field, 1)[0] if field else ""
        if len(encoding) < 2:
            raise MessageError(Reason("message-delimiters-missing"))
        chosen = _four(encoding)
        if len({field, *chosen}) != 5 or any(one.isalnum() or one.isspace() for one in field + chosen):
            raise MessageError(Reason("message-delimiters-alike"))
        return cls(field=field, component=chosen[0], repetition=chosen[1], escape=chosen[2], subcomponent=chosen[3])


def _four(encoding: str) -> str:
    """Component, repetition, escape and subcomponent sign from MSH-2.

    Analysers write it without the escape sign (``^~&``) or with a doubled one, and cannot be set otherwise.
    """
    if len(encoding) == 3 and encoding[2] == "&":
        return encoding[:2] + "\\&"
    if len(encoding) > 4 and encoding[2] == encoding[3]:
        return encoding[:3] + encoding[4]
    return encoding[:4] + "^~\\&"[len(encoding) :]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One segment. Field, component and subcomponent numbers are 1-based as in HL7, repetitions 0-based."""

    name: str
    fields: dict[int, tuple[str, ...]]
    """The repetitions of each field that is there, still escaped."""
    delimiters: Delimiters

    def raw(self, field: int) -> str:
        """The whole field, all repetitions, still escaped."""
        return self.delimiters.repetition.join(self.fields.get(field, ()))

    def repetitions(self, field: int) -> tuple[str, ...]:
        """The repetitions of a field, still escaped."""
        return self.fields.get(field, ())

    def text(self, field: int, component: int = 1, subcomponent: int = 1, repetition: int = 0) -> str:
        """One subcomponent, unescaped and stripped; empty when it is not there."""
        parts = self.fields.get(field, ())
        return part(parts[repetition], self.delimiters, component, subcomponent) if repetition < len(parts) else ""

    def components(self, field: int) -> list[str]:
        """All components of the first repetition, unescaped and stripped."""
        first = (self.fields.get(field) or ("",))[0]
        parts = first.split(self.delimiters.component)
        if self.delimiters.escape in first:
            parts = [unescape(one, self.delimiters) for one in parts]
        return [one.strip() for one in parts]

    def lines(self, field: int) -> str:
        """A text of several lines: repetitions, and the line breaks of formatted text."""
        sign = re.escape(self.delimiters.escape)
        broken = re.compile(rf"{sign}\.(?:br|sp|ce)[^{sign}]*{sign}")
        told = (broken.sub("\n", one).replace(self.delimiters.component, " ") for one in self.repetitions(field))
        return "\n".join(unescape(one, self.delimiters).strip() for one in told)


def part(repetition: str, delimiters: Delimiters, component: int = 1, subcomponent: int = 1) -> str:
    """One subcomponent of one repetition, unescaped and stripped; empty when it is not there."""
    components = repetition.split(delimiters.component)
    if component > len(components):
        return ""
    subcomponents = components[component - 1].split(delimiters.subcomponent)
    if subcomponent > len(subcomponents):
        return ""
    return unescape(subcomponents[subcomponent - 1], delimiters).strip()


def read_segment(line: str, delimiters: Delimiters) -> Segment:
    """Read one segment (not MSH) through hl7apy.

    Raises
    ------
    MessageError
        hl7apy cannot read it, or did not keep all of its fields; or it has more parts than :data:`MAX_PARTS`.
    """
    signs = (delimiters.field, delimiters.component, delimiters.subcomponent, delimiters.repetition)
    parts = 1 + sum(line.count(sign) for sign in set(signs))
    if parts > MAX_PARTS:
        raise MessageError(
            Reason("segment-too-long", {"segment": line[:_NAME_LENGTH], "parts": parts, "limit": MAX_PARTS})
        )
    characters = {
        "FIELD": delimiters.field,
        "COMPONENT": delimiters.component,
        "SUBCOMPONENT": delimiters.subcomponent,
        "REPETITION": delimiters.repetition,
        "ESCAPE": delimiters.escape,
        "SEGMENT": "\r",
        "GROUP": "\r",
    }
    name = line[:_NAME_LENGTH]
    try:
        parsed = parse_segment(
            line,
            version=STRUCTURE_VERSION,
            encoding_chars=characters,
            validation_level=VALIDATION_LEVEL.TOLERANT,
        )
        read = [(field.name, field.to_er7(encoding_chars=characters)) for field in parsed.children]
    except (HL7apyException, ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
        fault = type(error).__name__
        raise MessageError(Reason("segment-not-readable", {"segment": name, "fault": fault})) from error
    # Fields beyond the structure version have no name; none of them is used.
    fields: dict[int, list[str]] = {}
    for place, value in read:
        if place is not None:
            fields.setdefault(int(place.rpartition("_")[2]), []).append(value)
    empty = delimiters.component + delimiters.subcomponent + " \t\n"
    sent = sum(
        1
        for field in line.split(delimiters.field)[1:]
        for value in field.split(delimiters.repetition)
        if value.strip(empty)
    )
    kept = sum(1 for _, value in read if value.strip(empty))
    if kept != sent:
        raise MessageError(Reason("segment-not-understood", {"segment": name, "kept": kept, "sent": sent}))
    return Segment(
        name=name, fields={number: tuple(values) for number, values in fields.items()}, delimiters=delimiters
    )


_ESCAPES = {"F": "field", "S": "component", "T": "subcomponent", "R": "repetition", "E": "escape"}


def unescape(text: str, delimiters: Delimiters) -> str:
    r"""Decode ``\F\ \S\ \T\ \R\ \E\``, ``\Xhh\`` and the line breaks of formatted text; others are dropped."""
    if delimiters.escape not in text:
        return text
    sign = re.escape(delimiters.escape)
    return re.sub(f"{sign}([^{sign}]*){sign}", lambda match: _decoded(match.group(1), delimiters), text)


def _decoded(code: str, delimiters: Delimiters) -> str:
    if code in _ESCAPES:
        return str(getattr(delimiters, _ESCAPES[code]))
    if code.startswith("X"):
        try:
            return bytes.fromhex(code[1:]).decode("latin-1")
        except ValueError:
            return ""
    return " " if code.startswith((".br", ".sp", ".ce", ".in", ".ti")) else ""


def scan_segment(line: str, delimiters: Delimiters) -> Segment:
    """Read one segment by splitting it: for what a message has hundreds of (OBX), and to see what matters."""
    values, sign = line.split(delimiters.field), delimiters.repetition
    return Segment(
        name=line[:_NAME_LENGTH],
        fields={
            number: tuple(value.split(sign)) if sign in value else (value,)
            for number, value in enumerate(values[1:], start=1)
            if value
        },
        delimiters=delimiters,
    )
