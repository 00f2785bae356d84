"""The signs by which a person is known beside the number: birth date, sex, names; and in what two of them contradict.

What is missing contradicts nothing. A surname may change: it contradicts only where the birth date does not say that
it is the same person. A given name may not, but for a slip of the pen: twins share all the rest.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any

from node.hl7.stated import Stated
from node.names import SignedName, compare, sign

BIRTH_DATE, SEX, NAME = "birth date", "sex", "name"
"""In what two statements contradict, as values of reasons."""
MOST_DIGITS = 2
"""Digits of a birth date that one slip of the pen changes,"""
SLIP_DAYS = timedelta(days=366)
"""and how far apart a wrong and a right one usually are at most."""
ESTIMATED_DAYS = timedelta(days=5 * 366)
"""1 January stands for a birth date of which the year alone is known, or guessed."""


@dataclass(frozen=True, kw_only=True)
class Signs:
    """What one message or series states of whom its patient number is."""

    birth_date: date | None = None
    sex: str | None = None
    names: tuple[SignedName, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.birth_date or self.sex or self.names)

    @cached_property
    def digest(self) -> str:
        """Names these signs in decisions; 12 hex digits, under the key by their names."""
        return hashlib.sha256(json.dumps(to_dict(self), sort_keys=True).encode()).hexdigest()[:12]

    def contradicts(self, other: "Signs") -> tuple[str, ...]:
        """In what the two cannot be of one person."""
        births, sexes = (self.birth_date, other.birth_date), (self.sex, other.sex)
        found = [BIRTH_DATE] if None not in births and births[0] != births[1] else []
        found += [SEX] if None not in sexes and sexes[0] != sexes[1] else []
        relation = compare(self.names, other.names)
        married = relation == "given" and None not in births and not found
        return (
            *found,
            *([NAME] if relation in ("family", "different") or (relation == "given" and not married) else []),
        )

    def corrects(self, other: "Signs") -> bool:
        """Whether both can be of one person of whom the register has corrected a birth date or a sex."""
        contradictions = self.contradicts(other)
        if not contradictions:
            return True
        if len(contradictions) > 1 or contradictions[0] == NAME or compare(self.names, other.names) != "same":
            return False
        if contradictions[0] == SEX or self.birth_date is None or other.birth_date is None:
            return True
        return _alike(self.birth_date, other.birth_date)


def _alike(one: date, other: date) -> bool:
    """Whether one birth date may be a slip of the other, or an estimate; people of one name are born on any day."""
    digits = sum(this != that for this, that in zip(f"{one:%Y%m%d}", f"{other:%Y%m%d}", strict=True))
    turned = one.year == other.year and (one.month, one.day) == (other.day, other.month)
    apart = abs(one - other)
    estimated = (1, 1) in ((one.month, one.day), (other.month, other.day)) and apart <= ESTIMATED_DAYS
    return digits <= MOST_DIGITS or turned or apart <= SLIP_DAYS or estimated


def signs_of(content: str | None) -> tuple[str, Signs]:
    """Source and signs as :func:`stated_to_json` has written them."""
    told: dict[str, Any] = json.loads(content) if content else {}
    birth_date = told.get("birth_date")
    return told.get("source", "stay"), Signs(
        birth_date=date.fromisoformat(birth_date) if birth_date else None,
        sex=told.get("sex"),
        names=names_of(told.get("names", ())),
    )


def stated_to_json(stated: Stated, key: bytes) -> str:
    """For ``derived_extract.stated``: names as hashes under the key."""
    signs = Signs(birth_date=stated.birth_date, sex=stated.sex, names=sign(stated.names, key))
    return json.dumps({"source": stated.source, **to_dict(signs)}, separators=(",", ":"))


def to_dict(signs: Signs) -> dict[str, Any]:
    """As it is stored."""
    return {
        "birth_date": signs.birth_date.isoformat() if signs.birth_date else None,
        "sex": signs.sex,
        "names": names_to_list(signs.names),
    }


def names_to_list(names: Iterable[SignedName]) -> list[list[Any]]:
    """Signed names as lists of strings."""
    return [
        [one.script, one.whole, [" ".join(word) for word in one.family], [" ".join(word) for word in one.given]]
        for one in names
    ]


def names_of(content: Iterable[list[Any]]) -> tuple[SignedName, ...]:
    """The names that :func:`names_to_list` has written."""
    return tuple(
        SignedName(
            script=script,
            whole=whole,
            family=tuple(tuple(word.split()) for word in family),
            given=tuple(tuple(word.split()) for word in given),
        )
        for script, whole, family, given in content
    )
