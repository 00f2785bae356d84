"""Blood-count results: from an OBX segment to :class:`analytics.counts.results.Result`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import isclose
from zoneinfo import ZoneInfo

from analytics.columns import Analyte
from analytics.counts.results import Result, Scale, finality
from analytics.plausible import RANGES
from analytics.reasons import Reason
from node.hl7.catalogue import Analytes, Words
from node.hl7.doubts import load_doubts, read_marked
from node.hl7.naming import Identity, identify, is_foreign
from node.hl7.panels import Panel
from node.hl7.remembered import remembered
from node.hl7.segments import Segment
from node.hl7.times import read_time
from node.hl7.units import Count, Percent, Reading, Unit, read_number, read_unit
from node.hl7.words import fold
from node.settings import Sender

_NAME_LENGTH = 60
_LIMITS = re.compile(r"\s*([\d.,]+)\s*(?:-|–|\^|bis|to|até|a|à)\s*([\d.,]+)\s*")
_IN_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:(?:\.\d{3})+|(?:,\d{3})+)")
_WHOLE_CELLS = re.compile(r"[1-9]\d{3,5}")
_WITH_UNIT = re.compile(r"([\d.]+)\s*([^\d\s.].*|1?0.*)")
USUAL_UPPER_LIMIT_10E9_PER_L: dict[str, float] = {
    "neutrophils": 7.5,
    "segmented": 7.5,
    "lymphocytes": 4.5,
    "platelets": 400.0,
    "leukocytes": 11.0,
}
"""Upper reference limits of adults as the Oxford Handbook of Clinical Medicine has them."""
UPPER_LIMIT_TOLERANCE = 2.5
"""How far a laboratory's own limit may be from it: less than any two units, or a count and a percentage, differ."""
LEAST_OF_LYMPHOCYTES = 0.85
"""Upper limits of neutrophils are one and a half times those of lymphocytes (7.5 to 4.5, 75 to 45 %); below this part
of them the ranges are each other's."""
SLIPPED_LIMIT = 5.0
"""A limit this many times the usual one, or this part of it, is one in another unit: units differ tenfold at least."""
SAME_ORDER = 20.0
"""A value within this factor of the upper limit is in the unit of the range, whatever that is."""
FAR_OUTSIDE = 2.5
"""A value this many times beyond a limit is not the one that was flagged as normal: slips are tenfold, and some
laboratories round their limits."""
NEAR_LIMIT = 1.05
"""A value this near to a limit may be flagged either way: laboratories flag before they round."""
_STATUS_OF_ALL = ("F", "C", "P", "R")
"""Statuses of an order (OBR-25, table 0123) that are those of each of its results."""
CELLS_PER_UL = 1e-3
"""Factor from cells per µL to 10⁹/L; such counts are whole numbers."""
LEAST_WITH_FRACTION = 100.0
"""Cells per µL, from which on a calculated count may be sent with one or two decimals; three are a thousands sign."""
WHOLE = 1e-6
MOST_OF_A_SHARE = 100.0
"""A percentage above it is none."""
NO_RULES = Sender()


def read_result(
    obx: Segment,
    panel: Panel,
    analytes: Analytes,
    zone: ZoneInfo,
    rules: Sender = NO_RULES,
    *,
    thousands: bool = False,
) -> Result | None:
    """Read one OBX under the rules for its sender; ``None`` when it is not a blood-count result.

    Parameters
    ----------
    thousands
        Points part thousands in whole cells, by :func:`points_part_thousands` of the rows beside it.
    """
    identity = identify(obx.components(3), analytes)
    if identity is None or not_blood(obx, panel, analytes):
        return None
    spellings = _unit_spellings(obx)
    unit = read_unit(spellings, analytes.units)
    if unit is None and spellings and not identity.certain:
        return None
    reading = _value_of(obx, identity.analyte, unit, rules, thousands=thousands)
    if identity.analyte == "unknown" and (unit is None or reading.value is None):
        return None
    reading, unit = _looked_closer(obx, reading, unit, unit_sent=bool(spellings), rules=rules, analytes=analytes)
    if unit is None and not spellings:
        unit = _unit_not_sent(obx, identity, reading, rules, analytes)
    unclear = identity.conflict is None and _is_unclear(identity, unit, reading.value)
    doubt = (
        identity.conflict
        or _other_unit(obx, identity.analyte, reading.value, unit, rules)
        or _other_value(obx, identity.analyte, reading.value, unit, rules, thousands=thousands)
    )
    scale, reading = _scaled(identity, unit, reading, doubt=doubt, unit_sent=bool(spellings))
    status_at = read_time(panel.order.text(22), zone) if panel.order else None
    by_hand = identity.method == "unknown" and analytes.method_words.manual.found(panel.words)
    return Result(
        analyte=identity.analyte,
        scale=scale,
        value=reading.value,
        reason=reading.reason,
        doubtful=reading.doubtful,
        unclear=reading.doubtful and unclear,
        secondary=identity.secondary,
        status=_status(obx, panel, rules),
        status_at=status_at.at if status_at else None,
        method="manual" if by_hand else identity.method,
        code=_code(obx),
        name=_name(obx),
        order=panel.number,
        run=obx.text(4)[:_NAME_LENGTH],
    )


def _is_unclear(identity: Identity, unit: Unit | None, value: float | None) -> bool:
    """Whether another row of the quantity stands for this one.

    The unit or the number is not known, or the row names platelets or leukocytes and tells of a share of them: large
    ones, or how their sizes spread. A code of theirs with a percentage is the count itself in a wrong unit.
    """
    if unit is None or value is None:
        return True
    named = identity.scale != "absolute" and identity.analyte in ("platelets", "leukocytes")
    return named and isinstance(unit, Percent) and value <= MOST_OF_A_SHARE


def _status(obx: Segment, panel: Panel, rules: Sender) -> str:
    """The status of a row: its own (OBX-11), else that of its order (OBR-25).

    A result of an order that was cancelled (ORC-1, ORC-5, OBR-25) is for a person, whatever the row says.
    """
    sent = obx.text(11).upper()
    status, of_order = rules.statuses.get(sent, sent), panel.order.text(25).upper() if panel.order else ""
    if panel.cancelled and finality(status) in ("final", "corrected"):
        return f"{status} {panel.cancelled}"
    return status or (of_order if of_order in _STATUS_OF_ALL else "")


def _code(obx: Segment) -> str:
    return obx.text(3) or obx.text(3, 4) or obx.text(3, 2)


def _name(obx: Segment) -> str:
    name = obx.text(3, 2) or obx.text(3, 5)
    return "" if name == _code(obx) else name[:_NAME_LENGTH]


def unnamed(obx: Segment, panel: Panel, analytes: Analytes) -> Result | None:
    """A row that may be the bands: a share or a count of something that is none of the known rows of a blood count."""
    unit = read_unit(_unit_spellings(obx), analytes.units)
    if unit is None or _value(obx, decimal_comma=False).value is None or is_foreign(obx.components(3), analytes):
        return None
    return Result(
        analyte="unnamed",
        scale="percent" if isinstance(unit, Percent) else "absolute",
        value=None,
        reason=Reason("may-be-the-bands"),
        status=obx.text(11).upper(),
        code=_code(obx),
        name=_name(obx),
        order=panel.number,
    )


def _unit_spellings(obx: Segment) -> list[str]:
    components = obx.components(6)
    joined = "^".join(components[:2])
    return [one for one in dict.fromkeys([obx.raw(6), joined, *components[:2]]) if one]


def _value(obx: Segment, decimal_comma: bool) -> Reading:
    if len(obx.repetitions(5)) > 1:
        return Reading(value=None, reason=Reason("value-repeated"), doubtful=True)
    if obx.text(2).upper() != "SN":
        return read_number(" ".join(obx.components(5)), decimal_comma=decimal_comma)
    comparator, number, *rest = [*obx.components(5), ""]
    if comparator and not any((number, *rest)):
        return read_number(comparator, decimal_comma=decimal_comma)
    if comparator not in ("", "=") or any(rest):
        return Reading(value=None, reason=Reason("value-censored"))
    return read_number(number, decimal_comma=decimal_comma)


def points_part_thousands(rows: Iterable[Segment], analytes: Analytes) -> bool:
    """Whether the reference range of a row shows that the panel parts thousands of whole cells by points or commas."""
    for obx in rows:
        limits = _LIMITS.fullmatch(obx.text(7))
        if limits is None or _IN_THOUSANDS.fullmatch(limits[2]) is None:
            continue
        identity = identify(obx.components(3), analytes)
        whole = _per_ul(read_unit(_unit_spellings(obx), analytes.units))
        if whole and identity and _usual_in_thousands(obx, identity.analyte):
            return True
    return False


def _value_of(obx: Segment, analyte: Analyte, unit: Unit | None, rules: Sender, *, thousands: bool) -> Reading:
    """The number, by what its unit says of its commas and points.

    A percentage has no thousands, so its comma is a decimal one. Cells per µL are whole, so that a point before each
    three digits is one of thousands where the reference range is written so too, or the sender writes decimal commas.
    """
    reading = _value(obx, rules.decimal_comma)
    if isinstance(unit, Percent) and reading.reason == Reason("comma-in-number"):
        return _value(obx, decimal_comma=True)
    if not _per_ul(unit) or obx.text(2).upper() == "SN":
        return reading
    whole = _thousands(" ".join(obx.components(5)))
    if whole is not None and (rules.decimal_comma or thousands or _usual_in_thousands(obx, analyte)):
        return Reading(value=whole)
    return reading


def _per_ul(unit: Unit | None) -> bool:
    return isinstance(unit, Count) and isclose(unit.factor, CELLS_PER_UL)


def _thousands(text: str) -> float | None:
    """A number whose points or commas part thousands (``250.000``, ``250,000``)."""
    return float(re.sub(r"\D", "", text)) if _IN_THOUSANDS.fullmatch(text.strip()) else None


def _usual_in_thousands(obx: Segment, analyte: Analyte) -> bool:
    """Whether the upper reference limit is a usual one in whole cells per µL, a point in it being one of thousands."""
    limits, usual = _LIMITS.fullmatch(obx.text(7)), USUAL_UPPER_LIMIT_10E9_PER_L.get(analyte)
    if limits is None or usual is None:
        return False
    limit = float(limits[2]) if _WHOLE_CELLS.fullmatch(limits[2]) else _thousands(limits[2])
    if limit is None:
        return False
    return 1 / UPPER_LIMIT_TOLERANCE <= limit * CELLS_PER_UL / usual <= UPPER_LIMIT_TOLERANCE


def not_blood(obx: Segment, panel: Panel, analytes: Analytes) -> bool:
    """Whether the codes or words say that it is of another material; what the specimen is says nothing else."""
    if panel.material and analytes.not_blood.match((), panel.material, [" ".join(panel.material)]):
        return True
    return _names_other((panel.words, *obx.components(3), *obx.components(6)), analytes.not_blood)


@remembered
def _names_other(texts: tuple[str, ...], words: Words) -> bool:
    folded, *others = texts
    return words.found(f"{folded} {fold(' '.join(others))}")


def _looked_closer(
    obx: Segment, reading: Reading, unit: Unit | None, *, unit_sent: bool, rules: Sender, analytes: Analytes
) -> tuple[Reading, Unit | None]:
    """What is no number, read with the unit or the mark of the laboratory that stands beside the number."""
    if reading.value is None and not reading.doubtful:
        reading, unit = _value_with_unit(obx, reading, unit, sent=unit_sent, analytes=analytes)
    if reading.value is None and not reading.doubtful and obx.text(2).upper() != "SN":
        text = " ".join(obx.components(5))
        reading = read_marked(text, load_doubts(), decimal_comma=rules.decimal_comma) or reading
    return reading, unit


def _value_with_unit(
    obx: Segment, reading: Reading, unit: Unit | None, *, sent: bool, analytes: Analytes
) -> tuple[Reading, Unit | None]:
    """A number that has its unit behind it, where that is the unit in OBX-6 or there is none in OBX-6."""
    # An unescaped 10^9/L stands in two components.
    match = _WITH_UNIT.fullmatch("^".join(obx.components(5)))
    written = read_unit([match[2]], analytes.units) if match else None
    if match is None or written is None or (sent and written != unit):
        return reading, unit
    return read_number(match[1]), written


def _unit_not_sent(
    obx: Segment, identity: Identity, reading: Reading, rules: Sender, analytes: Analytes
) -> Unit | None:
    """The unit of a result that came without one, where it is certain all the same.

    A percentage by its code or name is one, unless it is so small that it may be a fraction of one. A count has the
    unit that the sender is known to use, where the reference range is one in that unit.
    """
    if identity.scale == "absolute":
        return _confirmed_unit(obx, identity.analyte, rules, analytes) if rules.default_unit else None
    certain = identity.scale == "percent" and identity.conflict is None
    return Percent() if certain and reading.value is not None and 1 < reading.value <= 100 else None


def _confirmed_unit(obx: Segment, analyte: Analyte, rules: Sender, analytes: Analytes) -> Unit | None:
    """The sender's unit for counts that come without one, where the upper reference limit is one in that unit."""
    unit = read_unit([rules.default_unit or ""], analytes.units)
    limit, usual = _upper_limit(obx, rules), USUAL_UPPER_LIMIT_10E9_PER_L.get(analyte)
    if not isinstance(unit, Count) or limit is None or usual is None:
        return None
    return unit if 1 / UPPER_LIMIT_TOLERANCE <= limit * unit.factor / usual <= UPPER_LIMIT_TOLERANCE else None


def _upper_limit(obx: Segment, rules: Sender) -> float | None:
    """Of the laboratory's reference range (OBX-7), in its own unit."""
    limits = _LIMITS.fullmatch(obx.text(7))
    return read_number(limits[2], decimal_comma=rules.decimal_comma).value if limits else None


def _other_unit(obx: Segment, analyte: Analyte, value: float | None, unit: Unit | None, rules: Sender) -> Reason | None:
    """Why the unit cannot be right by the reference range that the laboratory sent with the value.

    Where the value is not of the order of the range, the range is the one in another unit, and says nothing.
    """
    limit, usual = _upper_limit(obx, rules), USUAL_UPPER_LIMIT_10E9_PER_L.get(analyte)
    if not isinstance(unit, Count) or not limit or not value or usual is None:
        return None
    if _per_ul(unit) and _usual_in_thousands(obx, analyte):
        return None
    same_order = 1 / SAME_ORDER <= value / limit <= SAME_ORDER
    if not same_order or 1 / SLIPPED_LIMIT <= limit * unit.factor / usual <= SLIPPED_LIMIT:
        return None
    return Reason("reference-range-of-other-unit", {"limit": limit * unit.factor, "usual": usual})


def ranges_exchanged(rows: Iterable[tuple[Segment, Result]]) -> bool:
    """Whether neutrophils have a lower reference range than lymphocytes: of adults it is always the higher one.

    Rows that are exchanged behind the laboratory take their ranges along.
    """
    highest: dict[tuple[str, str], float] = {}
    for obx, result in rows:
        limits = _LIMITS.fullmatch(obx.text(7))
        # Commas are the same in both, whatever they part.
        limit = limits and (read_number(limits[2]).value or read_number(limits[2], decimal_comma=True).value)
        if limit:
            highest["neutrophils" if result.analyte == "segmented" else result.analyte, obx.raw(6)] = limit
    return any(
        cell == "neutrophils" and limit < LEAST_OF_LYMPHOCYTES * highest.get(("lymphocytes", unit), 0.0)
        for (cell, unit), limit in highest.items()
    )


@dataclass(frozen=True, kw_only=True)
class _Flagged:
    """A value with its flag and its reference range, all as written."""

    value: float
    flag: str
    limits: tuple[float, float]


def flags_exchanged(
    rows: Iterable[tuple[Segment, Result]], analytes: Analytes, rules: Sender, *, thousands: bool
) -> bool:
    """Whether neutrophils and lymphocytes have the flags of each other's values, or values with each other's flags.

    Both flags contradict the values beside them, and both fit once the two are changed back. Of a panel in which
    other flags contradict their values as well they say nothing.
    """
    found: dict[tuple[str, str], _Flagged] = {}
    for obx, result in rows:
        one = _flagged(obx, result, analytes, rules, thousands=thousands)
        if one is None:
            continue
        cell = "neutrophils" if result.analyte == "segmented" else result.analyte
        if cell in ("neutrophils", "lymphocytes"):
            found[cell, obx.raw(6)] = one
        elif not _fits(one.flag, one.value, one.limits):
            return False
    return any(
        _each_others(one, other)
        for (cell, unit), one in found.items()
        if cell == "neutrophils" and (other := found.get(("lymphocytes", unit))) is not None
    )


def _flagged(obx: Segment, result: Result, analytes: Analytes, rules: Sender, *, thousands: bool) -> _Flagged | None:
    flags = _place_flags(obx)
    if result.value is None or len(flags) != 1:
        return None
    unit = read_unit(_unit_spellings(obx), analytes.units)
    limits = _limits(obx, result.analyte, unit, rules, thousands=thousands)
    if unit is None or limits is None:
        return None
    value = result.value / unit.factor if isinstance(unit, Count) else result.value
    return _Flagged(value=value, flag=flags.pop(), limits=limits)


def _each_others(one: _Flagged, other: _Flagged) -> bool:
    if _fits(one.flag, one.value, one.limits) or _fits(other.flag, other.value, other.limits):
        return False
    values_moved = _fits(one.flag, other.value, one.limits) and _fits(other.flag, one.value, other.limits)
    flags_moved = _fits(one.flag, one.value, other.limits) and _fits(other.flag, other.value, one.limits)
    return values_moved or flags_moved


def _fits(flag: str, value: float, limits: tuple[float, float]) -> bool:
    """Whether a flag is that of a value, or the value so near to a limit that it may have been rounded."""
    low, high = limits
    if flag == "N":
        return low / NEAR_LIMIT <= value <= high * NEAR_LIMIT
    return value <= low * NEAR_LIMIT if flag[0] == "L" else value >= high / NEAR_LIMIT


def _place_flags(obx: Segment) -> set[str]:
    """The flags that say where a value lies (OBX-8)."""
    return {one.strip().upper() for one in obx.repetitions(8)} & {"N", "L", "LL", "H", "HH"}


def _limits(
    obx: Segment, analyte: Analyte, unit: Unit | None, rules: Sender, *, thousands: bool
) -> tuple[float, float] | None:
    """Both limits of the reference range (OBX-7), written as the value is; ``None`` where that is not certain."""
    limits = _LIMITS.fullmatch(obx.text(7))
    if limits is None:
        return None
    if _per_ul(unit) and _IN_THOUSANDS.fullmatch(limits[2]):
        if not (rules.decimal_comma or thousands or _usual_in_thousands(obx, analyte)):
            return None
        found = [_thousands(one) or read_number(one).value for one in limits.groups()]
    else:
        comma = rules.decimal_comma or isinstance(unit, Percent)
        found = [read_number(one).value or read_number(one, decimal_comma=comma).value for one in limits.groups()]
    low, high = found
    return None if low is None or not high else (low, high)


def _other_value(
    obx: Segment, analyte: Analyte, value: float | None, unit: Unit | None, rules: Sender, *, thousands: bool
) -> Reason | None:
    """Why the value cannot be the one from which the laboratory made its flag (OBX-8).

    A flag is made where the value is; what is changed behind it (a unit, a row, a decimal point) leaves it as it was.
    Where the value is not of the order of the range, the range is the one in another unit, and says nothing.
    """
    flags = _place_flags(obx)
    if not value or len(flags) != 1:
        return None
    limits = _limits(obx, analyte, unit, rules, thousands=thousands)
    if limits is None:
        return None
    (flag,) = flags
    low, high = limits
    above, below = value / high, low / value
    if max(above, below) > SAME_ORDER:
        return None
    normal = flag == "N" and max(above, below) > FAR_OUTSIDE
    opposite = (flag[0] == "L" and above > 1) or (flag[0] == "H" and below > 1)
    if not (normal or opposite):
        return None
    return Reason("flag-of-another-value", {"flag": flag, "value": value, "low": low, "high": high})


def _scaled(
    identity: Identity, unit: Unit | None, reading: Reading, *, doubt: Reason | None, unit_sent: bool
) -> tuple[Scale, Reading]:
    """The value in 10⁹/L or %, and on which scale; without a value where code, name and unit do not agree."""
    scale = identity.scale or ("percent" if isinstance(unit, Percent) else "absolute")
    if reading.value is None:
        return scale, reading
    value = reading.value
    if unit is None:
        doubt = doubt or (Reason("unit-not-known") if unit_sent else Reason("unit-missing"))
    elif (scale == "percent") != isinstance(unit, Percent):
        doubt = doubt or Reason("code-and-unit-disagree-on-scale")
    elif isinstance(unit, Count):
        doubt = doubt or _not_whole(value, unit)
        value *= unit.factor
        doubt = doubt or _implausible_count(identity.analyte, value)
    elif identity.analyte in ("platelets", "leukocytes"):
        doubt = doubt or Reason("percentage-of-what-is-counted")
    elif value > MOST_OF_A_SHARE:
        doubt = doubt or Reason("percentage-above-100")
    return scale, Reading(value=None, reason=doubt, doubtful=True) if doubt else Reading(value=value)


def _not_whole(value: float, unit: Count) -> Reason | None:
    """Cells per µL below 100 are never fractions; averages and products above may end in one."""
    fraction = abs(value - round(value)) > WHOLE
    thousandths = abs(value * 1000 - round(value * 1000)) < WHOLE < abs(value * 100 - round(value * 100))
    if isclose(unit.factor, CELLS_PER_UL) and fraction and (value < LEAST_WITH_FRACTION or thousandths):
        return Reason("cells-not-whole", {"value": value})
    return None


def _implausible_count(analyte: Analyte, value: float) -> Reason | None:
    if not RANGES.get(analyte, RANGES["cells"]).holds(value):
        return Reason("count-impossible", {"value": value})
    return None
