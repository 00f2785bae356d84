"""Names of columns: which column of the cohort table a header means, and the unit or codes that it states."""

import re
from dataclasses import dataclass, field
from fractions import Fraction

from analytics.columns import CELLS, COHORT
from node.hl7.catalogue import load_analytes
from node.hl7.units import Count, read_unit
from node.people.files.vocabulary import key, load_vocabulary

PERCENT = "%"
NEUTRAL, INVERTED = "sex", "sex_female"
"""Headers of the column of sex that do not say which is 1, and that women are."""

NAMES = frozenset(one.name for one in COHORT)
_BRACKETS = re.compile(r"^(.*?)[\s_]*[\[({（【](.*)[\])}）】]\s*$")
_CODES = re.compile(r"(\d+)\s*[=:：]\s*([^\W\d_][\w\s-]*?)\s*(?=[,;/、，)]|$|\s\d)")
_TRUNCATED = 8
"""Characters of a name in a SAS transport file of version 5."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """What a header means: ``column`` as :data:`analytics.columns.COHORT` names it, ``as_named`` the kind of name."""

    column: str
    as_named: str
    unit: str = ""
    codes: dict[str, str] = field(default_factory=dict)
    """Words by code, where the header gives them: Sex (1 = male, 2 = female)."""
    exact: bool = False


def named(header: str) -> Named | None:
    """The column that a header means; ``None`` where it means none of a cohort table."""
    text = " ".join(header.replace("\ufeff", "").split())
    if text in NAMES or text == "leukocytes":
        return Named(column=text, as_named=text, exact=True)
    if (match := _BRACKETS.match(text)) and (found := _column(match[1])):
        return _named(found, match[2], match[2])
    if text.endswith(PERCENT) and (found := _column(text.removesuffix(PERCENT))):
        return _named(found, PERCENT, "")
    if found := _column(text):
        return _named(found, "", "")
    parts = [part for part in re.split(r"[\s_.,/:;-]+", text) if part]
    for end in range(len(parts) - 1, 0, -1):
        found = _column("".join(parts[:end]))
        if found is None:
            continue
        for joint in ("", "/", " "):
            unit = joint.join(parts[end:])
            if factor(_target(found), unit) is not None:
                return _named(found, unit, "")
    return None


def title_codes(title: str) -> dict[str, str]:
    """The words by code that a label or the brackets of a header give."""
    return {match[1]: match[2].strip() for match in _CODES.finditer(title)}


def factor(column: str, unit: str) -> Fraction | str | None:
    """What turns numbers in a unit into the unit of the column; ``%`` for shares of the leukocytes, else ``None``."""
    if column in CELLS or column in ("sii", "siri"):
        read = read_unit([unit], load_analytes().units)
        if isinstance(read, Count):
            return Fraction(str(read.factor))
        return PERCENT if read is not None and column in CELLS else None
    return load_vocabulary().factor(column, unit)


def _column(text: str) -> str | None:
    compared = key(text)
    if not compared:
        return None
    by_name = load_vocabulary().column_of
    if compared in by_name:
        return by_name[compared]
    if len(text) == _TRUNCATED:  # SAS transport, version 5
        return next((name for name in NAMES if len(name) > _TRUNCATED and key(name[:_TRUNCATED]) == compared), None)
    return None


def _target(as_named: str) -> str:
    return "sex_male" if as_named in (NEUTRAL, INVERTED) else as_named


def _named(found: str, unit: str, brackets: str) -> Named:
    return Named(column=_target(found), as_named=found, unit=unit, codes=title_codes(brackets))
