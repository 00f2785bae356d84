"""Units as laboratories spell them, and the numbers that come with them."""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from analytics.reasons import Reason
from node.hl7.catalogue import Units
from node.hl7.remembered import remembered

CELLS_PER_L = 1e9
"""Counts are kept in 10⁹/L."""

_POWER = re.compile(r"[x*]?\(?10(?:exp|[*^exs+.'´’`ˆ˄~&?(\[])*\+?0?(\d{1,2})[)\]]?|(?:x?1(?:\.0)?|x)?e\+?0?(\d{1,2})")
_EXPONENTS = (2, 3, 4, 6, 9)
_NUMBER = re.compile(r"\+?\d+(\.\d*)?|\.\d+")
_FLAGGED = re.compile(r"(\S+?)\s*(?:\((?:HH?|LL?|N)\)|(?<=[\s\d])(?:HH?|LL?|N)|[↑↓])")
"""A number with the laboratory's mark that it is high, low or normal."""
_DECIMAL_COMMA = re.compile(r"\+?\d+,\d+")
_PARTED = re.compile(r"([1-9]\d{0,2})((?:[ \u00a0\u2009\u202f'’]\d{3})+)|[1-9]\d?(?:,\d\d)+,\d{3}")
"""A number whose thousands are parted by blanks or apostrophes, which are never decimal points, or as in India."""
_FULL_WIDTH = {code: code - 0xFEE0 for code in (*range(0xFF10, 0xFF1A), *map(ord, "．，＋－＜＞"))} | {0x066B: "."}
"""Digits and signs as East Asian systems write them beside their letters, and the Arabic decimal point."""
_CENSORED = re.compile(r"\s*(?:[<>≤≥]=?|&lt;|&gt;)")


@dataclass(frozen=True, kw_only=True)
class Percent:
    """A share of the leukocytes."""


@dataclass(frozen=True, kw_only=True)
class Count:
    """Cells per volume; ``factor`` turns the number into 10⁹/L."""

    factor: float


Unit = Percent | Count


def read_unit(spellings: list[str], units: Units) -> Unit | None:
    """The unit that the first understood spelling means; ``None`` when none is understood or they contradict.

    ``spellings`` are the whole field and its parts: an unescaped ``10^9/L`` splits into components.
    """
    return _meant(tuple(spellings), units)


@remembered
def _meant(spellings: tuple[str, ...], units: Units) -> Unit | None:
    read = {unit for spelling in spellings if (unit := _one(spelling, units)) is not None}
    return read.pop() if len(read) == 1 else None


@lru_cache(maxsize=1024)  # a laboratory writes the same few in every row
def canonical(unit: str) -> str:
    """A unit without blanks and typographic variants; lower case but for the single letter G."""
    text = unicodedata.normalize("NFKC", unit.replace("´", "'")).replace("\u00c2", "")
    text = text.replace("μ", "u").replace("µ", "u").replace("×", "x").replace("−", "-")
    text = re.sub(r"[χхХ](?=\s*10|E\d)", "x", text)
    # A sign that was lost on the way: of the volumes only µL and mm³ are not written in ASCII.
    text = re.sub(r"/\s*[?\ufffd]l$", "/ul", text, flags=re.IGNORECASE)
    text = re.sub(r"mm[?\ufffd]$", "mm3", text, flags=re.IGNORECASE)
    text = re.sub(r"\s+", "", re.sub(r"\bper\b", "/", text, flags=re.IGNORECASE)).strip(".")
    text = re.sub(r"(?<![A-Za-z])G(?![A-Za-z])", "\0", text).lower().replace("\0", "G")
    return re.sub(r"[.*]?([unmp]?l|mm3?)(?:-1|\^-1|\*-1)$", r"/\1", text)


def _one(spelling: str, units: Units) -> Unit | None:
    text = canonical(re.sub(r"^\[(.+/.+)]$", r"\1", spelling.strip()))
    if text in units.percent:
        return Percent()
    head, slash, tail = text.partition("/")
    volumes = units.per_litre.get(tail.replace("^", "*").replace("mm*3", "mm3"))
    multiplier = _multiplier(head, units)
    if not slash or volumes is None or multiplier is None:
        return None
    return Count(factor=multiplier * volumes / CELLS_PER_L)


def _multiplier(head: str, units: Units) -> float | None:
    bare = units.without_cells(re.sub(r"[{}[\]]", "", head))
    for text in (head, head.removeprefix("x"), head.removesuffix("."), bare):
        if text in units.multipliers:
            return units.multipliers[text]
    match = _POWER.fullmatch(bare)
    if match is None:
        return None
    exponent = int(match[1] or match[2])
    return 10.0**exponent if exponent in _EXPONENTS else None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A number as sent, or why there is none; ``doubtful`` when a person has to say what was meant."""

    value: float | None
    reason: Reason | None = None
    doubtful: bool = False


def read_number(text: str, *, decimal_comma: bool = False) -> Reading:
    """Read the value of a result.

    Censored values stay without a number, text is missing, and a decimal comma is for a person: ``1,234`` may be
    one or a thousand. Where the sender is known to write decimal commas, a point is.
    """
    stripped = text.translate(_FULL_WIDTH).strip()
    flagged = _FLAGGED.fullmatch(stripped)
    stripped = flagged[1] if flagged else stripped
    if _PARTED.fullmatch(stripped):
        stripped = re.sub(r"\D", "", stripped)
    if decimal_comma and _NUMBER.fullmatch(stripped) and "." in stripped:
        return Reading(value=None, reason=Reason("point-among-decimal-commas"), doubtful=True)
    if decimal_comma and _DECIMAL_COMMA.fullmatch(stripped):
        stripped = stripped.replace(",", ".")
    if not stripped or stripped == '""':
        return Reading(value=None, reason=Reason("no-value"))
    if _NUMBER.fullmatch(stripped):
        return Reading(value=float(stripped))
    if _CENSORED.match(stripped):
        return Reading(value=None, reason=Reason("value-censored"))
    if _DECIMAL_COMMA.fullmatch(stripped):
        return Reading(value=None, reason=Reason("comma-in-number"), doubtful=True)
    negative = stripped[0] == "-" and _NUMBER.fullmatch(stripped[1:]) is not None
    return Reading(
        value=None, reason=Reason("value-negative") if negative else Reason("value-is-text"), doubtful=negative
    )
