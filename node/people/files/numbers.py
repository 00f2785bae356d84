"""Numbers as people write them: decimal comma or point, thousands signs, full width, typographic minus."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from node.hl7.words import fold

Mark = Literal[".", ","]

_SIGNS = str.maketrans({"−": "-", "‐": "-", "‑": "-", "–": "-", "·": ".", "‧": ".", "∙": ".", "٫": "."})
_GROUPED = re.compile(r"(?<=\d)[ '’\u00a0\u2009\u202f](?=\d{3}(?!\d))")
_SIGN = r"[+-]?"
_COMMA = re.compile(rf"{_SIGN}(?:\d*,(?:\d{{1,2}}|\d{{4,}})|(?:0|\d{{4,}})?,\d{{3}})")
"""A comma that can only be the decimal mark."""
_POINT = re.compile(_COMMA.pattern.replace(",(?:", r"\.(?:").replace("?,", r"?\."))
_COMMA_GROUPS = re.compile(rf"{_SIGN}[1-9]\d{{0,2}}(?:(?:,\d{{3}}){{2,}}|(?:,\d{{3}})+\.\d+)")
"""Commas that can only be thousands signs."""
_POINT_GROUPS = re.compile(rf"{_SIGN}[1-9]\d{{0,2}}(?:(?:\.\d{{3}}){{2,}}|(?:\.\d{{3}})+,\d+)")
_EITHER = re.compile(rf"{_SIGN}[1-9]\d{{0,2}}[.,]\d{{3}}")
"""One sign before three digits: 1,234 may be one or a thousand."""
_PLAIN = re.compile(rf"{_SIGN}(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{{1,2}})?", re.ASCII)


def plain(text: str) -> str:
    """A cell without full-width forms, typographic signs and blanks between thousands."""
    stripped = text.strip()
    if stripped.isascii() and not (" " in stripped or "'" in stripped):
        return stripped
    usual = unicodedata.normalize("NFKC", stripped.translate(_SIGNS)).strip()
    return _GROUPED.sub("", usual)


@dataclass(frozen=True, kw_only=True)
class Marks:
    """How often a column writes what; ``either`` are the cells that leave it open."""

    comma: int
    point: int
    comma_groups: int
    point_groups: int
    either_comma: int
    either_point: int


def marks(cells: Iterable[str]) -> Marks:
    """Count the marks of a column of :func:`plain` cells."""
    given = [cell for cell in cells if "," in cell or "." in cell]
    either = [cell for cell in given if _EITHER.fullmatch(cell)]
    return Marks(
        comma=sum(_COMMA.fullmatch(cell) is not None for cell in given),
        point=sum(_POINT.fullmatch(cell) is not None for cell in given),
        comma_groups=sum(_COMMA_GROUPS.fullmatch(cell) is not None for cell in given),
        point_groups=sum(_POINT_GROUPS.fullmatch(cell) is not None for cell in given),
        either_comma=sum("," in cell for cell in either),
        either_point=sum("." in cell for cell in either),
    )


def decimal_mark(own: Marks, others: Sequence[Marks]) -> Mark | None:
    """The decimal mark of a column, by itself or by the other columns of the file; ``None`` where it stays open."""
    commas, points = own.comma + own.point_groups, own.point + own.comma_groups
    if commas != points:
        return "," if commas > points else "."
    if not own.either_comma and not own.either_point:
        return "."
    commas = sum(one.comma + one.point_groups for one in others)
    points = sum(one.point + one.comma_groups for one in others)
    if commas and not points:
        return ","
    if (points and not commas) or not own.either_comma:
        return "."
    return None


def number(text: str, mark: Mark) -> str | None:
    """A :func:`plain` cell as a number with a decimal point and no thousands signs; ``None`` where it is none."""
    if "," in text or (mark == "," and "." in text):
        if _COMMA.fullmatch(text) or (mark == "," and _EITHER.fullmatch(text) and "," in text):
            text = text.replace(",", ".")
        elif _COMMA_GROUPS.fullmatch(text) or (mark == "." and _EITHER.fullmatch(text)):
            text = text.replace(",", "")
        elif _POINT_GROUPS.fullmatch(text) or (mark == "," and _EITHER.fullmatch(text)):
            text = text.replace(".", "").replace(",", ".")
    return text if _PLAIN.fullmatch(text) else None


def scaled(text: str, factor: Fraction) -> str:
    """A number times a factor, with the digits that it was given with."""
    if factor == 1:
        return text
    power = len(str(factor.numerator)) - len(str(factor.denominator))
    if factor == Fraction(10) ** power:
        # Moving the point keeps how far the number was rounded.
        return str(Decimal(text).scaleb(power))
    return format(Decimal(text) * factor.numerator / factor.denominator, "f")


def missing_codes(cells: Iterable[str], codes: Iterable[str]) -> list[str]:
    """Cells with the missing codes of a mapping blanked; numbers are compared as numbers."""
    wanted = {_compared(code) for code in codes}
    return ["" if _compared(cell) in wanted else cell for cell in cells]


def _compared(text: str) -> str | Decimal:
    usual = plain(text)
    return Decimal(usual) if _PLAIN.fullmatch(usual) else fold(usual)


def coded(cell: str, codes: Mapping[str, str]) -> str | None:
    """What a mapping's code table makes of a cell; 1, 1.0 and "1" are one code."""
    wanted = _compared(cell)
    return next((meaning for code, meaning in codes.items() if _compared(code) == wanted), None)
