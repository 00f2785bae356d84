"""What a message states of whom its patient number is: the signs by which it is found out whether that is so."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

from node.hl7.segments import Delimiters, Segment, part
from node.hl7.times import read_date
from node.names import PersonName
from node.placeholders import known_birth_date

Source = Literal["stay", "result", "booking", "order", "drug"]
"""What kind of message states it; those of stays (ADT, BAR) come from where patients are registered."""

PSEUDONYM = "S"
"""Type of a name (XPN.7) that hides the true one."""

NAME_FIELDS = (5, 9)
"""PID-5 (names) and PID-9 (aliases)."""

FAMILY_PARTS = (1, 3, 5)
"""Surname, own surname, partner's surname (FN)."""


@dataclass(frozen=True, kw_only=True)
class Stated:
    """Birth date, sex and names as one PID gives them; the names for the time of the reading only."""

    source: Source
    birth_date: date | None = None
    sex: Literal["F", "M"] | None = None
    names: tuple[PersonName, ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        return bool(self.birth_date or self.sex or self.names)


def read_stated(pid: Segment, source: Source, sent_at: datetime | None) -> Stated:
    """The signs in PID-5, PID-7, PID-8 and PID-9; what stands for nothing is none."""
    sex = pid.text(8).upper()
    return Stated(
        source=source,
        birth_date=known_birth_date(read_date(pid.text(7)), on=sent_at.date() if sent_at else None),
        sex="F" if sex == "F" else "M" if sex == "M" else None,
        names=tuple(_names((one for number in NAME_FIELDS for one in pid.repetitions(number)), pid.delimiters)),
    )


def _names(repetitions: Iterable[str], delimiters: Delimiters) -> Iterable[PersonName]:
    for one in repetitions:
        family = " ".join(part(one, delimiters, 1, number) for number in FAMILY_PARTS).strip()
        given = " ".join(part(one, delimiters, number) for number in (2, 3)).strip()
        if (family or given) and part(one, delimiters, 7).upper() != PSEUDONYM:
            yield PersonName(family=family, given=given)
