"""Blood-count results: from OBX segments to :class:`analytics.counts.results.Result`, one list for each specimen."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from math import isclose
from typing import get_args
from zoneinfo import ZoneInfo

from analytics.columns import Analyte
from analytics.counts.results import Method, Result, Scale
from analytics.plausible import RANGES
from analytics.reasons import Reason
from node.hl7.catalogue import Analytes, Term, code_key
from node.hl7.extracts import SpecimenExtract
from node.hl7.segments import Delimiters, Segment, scan_segment
from node.hl7.times import Moment, read_time
from node.hl7.units import Count, Percent, Reading, Unit, read_number, read_unit
from node.hl7.words import fold
from node.settings import Sender

LOINC = re.compile(r"\d{1,5}-\d")
_CODED_COMPONENTS = 6
_MAX_REMEMBERED = 300
"""Longest OBX-3, in characters, whose meaning is cached."""
_NAME_LENGTH = 60
_WITH_UNIT = re.compile(r"([\d.]+)\s*([^\d\s.].*|1?0.*)")
USUAL_UPPER_LIMIT_10E9_PER_L: dict[str, float] = {
    "neutrophils": 7.5,
    "lymphocytes": 4.5,
    "platelets": 400.0,
    "leukocytes": 11.0,
}
"""Upper reference limits of adults as the Oxford Handbook of Clinical Medicine has them."""
UPPER_LIMIT_TOLERANCE = 2.5
"""How far a laboratory's own limit may be from it: less than any two units, or a count and a percentage, differ."""
SLIPPED_LIMIT = 5.0
"""A limit this many times the usual one, or this part of it, is one in another unit: units differ tenfold at least."""
SAME_ORDER = 20.0
"""A value within this factor of the upper limit is in the unit of the range, whatever that is."""
CELLS_PER_UL = 1e-3
"""Factor from cells per µL to 10⁹/L; such counts are whole numbers."""
LEAST_WITH_FRACTION = 100.0
"""Cells per µL, from which on a calculated count may be sent with one or two decimals; three are a thousands sign."""
WHOLE = 1e-6
NO_RULES = Sender()


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What OBX-3 says a result is; ``conflict`` when its parts disagree."""

    analyte: Analyte
    scale: Scale | None
    method: Method
    conflict: Reason | None
    certain: bool
    """Named by LOINC or in words, not by a short local code alone."""
    secondary: bool = False
    """A channel of its own: used only where no other row gives the quantity."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The order and specimen that a run of OBX belongs to."""

    order: Segment | None
    specimen: Segment | None
    fallback_order: str

    @property
    def number(self) -> str:
        """Filler order number, else the placer's, else that of ORC."""
        if self.order is None:
            return self.fallback_order
        return self.order.text(3) or self.order.text(2) or self.fallback_order

    @property
    def words(self) -> str:
        """Everything that tells what material was examined and how, folded."""
        parts = [*self.order.components(4), *self.order.components(15)] if self.order else []
        parts += self.specimen.components(4) if self.specimen else []
        return fold(" ".join(parts))

    def collected(self, zone: ZoneInfo) -> Moment | None:
        """When the specimen was taken: SPM-17, then OBR-7."""
        for segment, field in ((self.specimen, 17), (self.order, 7)):
            if segment and (moment := read_time(segment.text(field), zone)):
                return moment
        return None


def identify(components: list[str], analytes: Analytes) -> Identity | None:
    """What a result is, from the components of OBX-3; ``None`` when it is not part of a blood count."""
    told = tuple(components[:_CODED_COMPONENTS])
    if sum(map(len, told)) > _MAX_REMEMBERED:
        return _identified(told, analytes)
    return _remembered(told, analytes)


def _identified(components: tuple[str, ...], analytes: Analytes) -> Identity | None:
    lowered = [fold(one) for one in components] + [""] * _CODED_COMPONENTS
    names = [one for one in (lowered[1], lowered[4]) if one and not LOINC.fullmatch(one)] or [lowered[0]]
    loincs = [one for one in lowered if LOINC.fullmatch(one)]
    codes = [one for one in (lowered[0], lowered[1], lowered[3], lowered[4]) if one and one not in loincs]
    texts = [
        analytes.denominator.without(re.sub(r"\[[^]]*]", " ", one).replace("_", " "))
        for one in dict.fromkeys([*names, *codes])
    ]
    by_loinc = [analytes.by_loinc[one] for one in loincs if one in analytes.by_loinc]
    excluded = analytes.never.match(loincs, codes, texts) or analytes.flags.match(loincs, codes, texts)
    if excluded and not by_loinc:
        return None
    terms = [*by_loinc, *(analytes.by_code[key] for key in map(code_key, codes) if key in analytes.by_code)]
    by_name = _kinds_in_names(texts, analytes)
    kinds = {term.analyte for term in terms} | by_name
    if "segmented" in kinds:
        kinds.discard("neutrophils")
    coded_other = analytes.other.match(loincs, codes, [])
    other = excluded or coded_other or analytes.other.match([], [], texts)
    if not kinds or (other and not coded_other and not terms):
        denied = any(term.denied(text) for term in analytes.named for text in texts)
        suspect = not other and not denied and analytes.suspect.match([], [], texts)
        return _unknown(texts, analytes) if suspect else None
    share = analytes.share.match([], [], texts)
    if share and not by_loinc and (len(kinds) > 1 or kinds & {"platelets", "leukocytes"}):
        return None
    scales = {term.scale for term in terms if term.scale} | _scale_words([*texts, *names], analytes)
    if share and not scales:
        scales = {"percent"}
    return Identity(
        analyte=next(kind for kind in get_args(Analyte) if kind in (by_name & kinds or kinds)),
        scale=next(iter(scales)) if len(scales) == 1 else None,
        method=_method(terms, " ".join(names), analytes),
        conflict=_conflict(kinds, scales, other=other),
        certain=bool(by_loinc or by_name or len(set(names) - {lowered[0]}) == 0),
        secondary=any(term.secondary for term in terms),
    )


def is_foreign(components: list[str], analytes: Analytes) -> bool:
    """Whether what OBX-3 names is known to be something else than the quantities of a differential."""
    told = [fold(one) for one in components[:_CODED_COMPONENTS] if one]
    loincs = [one for one in told if LOINC.fullmatch(one)]
    return any(words.match(loincs, told, told) for words in (analytes.never, analytes.flags, analytes.other))


def _conflict(kinds: set[Analyte], scales: set[Scale], *, other: bool) -> Reason | None:
    """What the parts of OBX-3 disagree on."""
    if len(kinds) > 1 or other:
        named = sorted(kinds | ({"another"} if other else set()))
        return Reason("code-and-name-disagree", {"kinds": tuple(named)})
    return Reason("code-and-name-disagree-on-scale") if len(scales) > 1 else None


_remembered = lru_cache(maxsize=4096)(_identified)
"""A laboratory sends the same few hundred codes over and over."""


def _unknown(texts: list[str], analytes: Analytes) -> Identity:
    scales = _scale_words(texts, analytes)
    return Identity(
        analyte="unknown",
        scale=next(iter(scales)) if len(scales) == 1 else None,
        method="unknown",
        conflict=Reason("analyte-not-known"),
        certain=False,
    )


def _kinds_in_names(names: Iterable[str], analytes: Analytes) -> set[Analyte]:
    kinds: set[Analyte] = set()
    for name in names:
        found: set[Analyte] = {term.analyte for term in analytes.named if term.found(name)}
        if {"bands", "segmented"} <= found or analytes.together.found(name):
            found = (found - {"bands", "segmented"}) | {"neutrophils"}
        if found & {"bands", "segmented"}:
            found -= {"neutrophils", "granulocytes"}
        kinds |= found
    if kinds & {"bands", "segmented"}:
        kinds.discard("neutrophils")
    if len(kinds) > 1:
        kinds.discard("leukocytes")
    return kinds


def _scale_words(texts: Iterable[str], analytes: Analytes) -> set[Scale]:
    scales: set[Scale] = set()
    for text in texts:
        if analytes.scale_words.percent.found(text):
            scales.add("percent")
        elif analytes.scale_words.absolute.found(text):
            scales.add("absolute")
    return scales


def _method(terms: list[Term], words: str, analytes: Analytes) -> Method:
    known = {term.method for term in terms} - {"unknown"}
    if len(known) == 1:
        return known.pop()
    if analytes.method_words.manual.found(words):
        return "manual"
    return "automated" if analytes.method_words.automated.found(words) else "unknown"


def read_result(
    obx: Segment, panel: Panel, analytes: Analytes, zone: ZoneInfo, rules: Sender = NO_RULES
) -> Result | None:
    """Read one OBX under the rules for its sender; ``None`` when it is not a blood-count result."""
    identity = identify(obx.components(3), analytes)
    if identity is None:
        return None
    words = f"{panel.words} {fold(' '.join([*obx.components(3), *obx.components(6)]))}"
    if analytes.not_blood.found(words):
        return None
    spellings = _unit_spellings(obx)
    unit = read_unit(spellings, analytes.units)
    if unit is None and any(spellings) and not identity.certain:
        return None
    reading = _value(obx, rules.decimal_comma)
    if identity.analyte == "unknown" and (unit is None or reading.value is None):
        return None
    if reading.value is None and not reading.doubtful:
        reading, unit = _value_with_unit(obx, reading, unit, sent=any(spellings), analytes=analytes)
    if unit is None and not any(spellings):
        unit = _unit_not_sent(obx, identity, reading, rules, analytes)
    unclear = identity.conflict is None and (unit is None or reading.value is None)
    doubt = identity.conflict or _other_unit(obx, identity.analyte, reading.value, unit, rules)
    scale, reading = _scaled(identity, unit, reading, doubt=doubt, unit_sent=any(spellings))
    status_at = read_time(panel.order.text(22), zone) if panel.order else None
    method = identity.method
    if method == "unknown" and analytes.method_words.manual.found(panel.words):
        method = "manual"
    return Result(
        analyte=identity.analyte,
        scale=scale,
        value=reading.value,
        reason=reading.reason,
        doubtful=reading.doubtful,
        unclear=reading.doubtful and unclear,
        secondary=identity.secondary,
        status=rules.statuses.get(obx.text(11).upper(), obx.text(11).upper()),
        status_at=status_at.at if status_at else None,
        method=method,
        code=_code(obx),
        name=_name(obx),
        order=panel.number,
    )


def _code(obx: Segment) -> str:
    return obx.text(3) or obx.text(3, 4) or obx.text(3, 2)


def _name(obx: Segment) -> str:
    name = obx.text(3, 2) or obx.text(3, 5)
    return "" if name == _code(obx) else name[:_NAME_LENGTH]


def _unnamed(obx: Segment, panel: Panel, analytes: Analytes) -> Result | None:
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
    if comparator not in ("", "=") or any(rest):
        return Reading(value=None, reason=Reason("value-censored"))
    return read_number(number, decimal_comma=decimal_comma)


def _value_with_unit(
    obx: Segment, reading: Reading, unit: Unit | None, *, sent: bool, analytes: Analytes
) -> tuple[Reading, Unit | None]:
    """A number that has its unit behind it, where that is the unit in OBX-6 or there is none in OBX-6."""
    match = _WITH_UNIT.fullmatch(obx.text(5)) if len(obx.components(5)) == 1 else None
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
    limits = re.fullmatch(r"\s*([\d.,]+)\s*(?:-|–|\^|bis|to)\s*([\d.,]+)\s*", obx.text(7))
    return read_number(limits[2], decimal_comma=rules.decimal_comma).value if limits else None


def _other_unit(obx: Segment, analyte: Analyte, value: float | None, unit: Unit | None, rules: Sender) -> Reason | None:
    """Why the unit cannot be right by the reference range that the laboratory sent with the value.

    Where the value is not of the order of the range, the range is the one in another unit, and says nothing.
    """
    limit, usual = _upper_limit(obx, rules), USUAL_UPPER_LIMIT_10E9_PER_L.get(analyte)
    if not isinstance(unit, Count) or not limit or not value or usual is None:
        return None
    same_order = 1 / SAME_ORDER <= value / limit <= SAME_ORDER
    if not same_order or 1 / SLIPPED_LIMIT <= limit * unit.factor / usual <= SLIPPED_LIMIT:
        return None
    return Reason("reference-range-of-other-unit", {"limit": limit * unit.factor, "usual": usual})


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
    elif value > 100:
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


def read_specimens(
    lines: Iterable[str], delimiters: Delimiters, analytes: Analytes, zone: ZoneInfo, rules: Sender = NO_RULES
) -> list[SpecimenExtract]:
    """The blood-count results of one patient's part of a message, by specimen.

    Results belong together by specimen number (SPM-2), else by order number and collection time, else by order
    number and the day of the observations (OBX-14): an order number alone may be that of several specimens.
    """
    found: dict[tuple[str, str], list[_Entry]] = {}
    for panel, observations in _panels(list(lines), delimiters):
        read: list[tuple[Result, Moment | None]] = []
        unread: list[Segment] = []
        for line in observations:
            obx = scan_segment(line, delimiters)
            result = read_result(obx, panel, analytes, zone, rules)
            if result is None:
                unread.append(obx)
            else:
                read.append((result, read_time(obx.text(14), zone)))
        kinds = {result.analyte for result, _ in read}
        if "segmented" in kinds and not kinds & {"bands", "neutrophils"}:
            unnamed = [(_unnamed(obx, panel, analytes), read_time(obx.text(14), zone)) for obx in unread]
            read += [(result, moment) for result, moment in unnamed if result is not None]
        collected = panel.collected(zone)
        observed = _earliest([moment for _, moment in read])
        day = _day(collected or observed, zone)
        name = _specimen_name(panel, collected, day)
        if not name and collected and not collected.date_only:
            day = collected.at.astimezone(UTC).isoformat()
        entries = [_Entry(result=result, collected=collected, observed=observed) for result, _ in read]
        if entries:
            found.setdefault((name, "" if name else day), []).extend(entries)
    return [_extract(name, entries) for (name, _), entries in found.items()]


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A result, when its specimen was collected, and when the results of its panel were observed."""

    result: Result
    collected: Moment | None
    observed: Moment | None


def _day(moment: Moment | None, zone: ZoneInfo) -> str:
    return moment.at.astimezone(zone).date().isoformat() if moment else ""


def _earliest(moments: Iterable[Moment | None]) -> Moment | None:
    return min((moment for moment in moments if moment), key=lambda moment: moment.at, default=None)


def _extract(name: str, entries: list[_Entry]) -> SpecimenExtract:
    collected = _earliest(entry.collected for entry in entries)
    taken = collected or _earliest(entry.observed for entry in entries)
    results = tuple(entry.result for entry in entries)
    if name == "":
        name = "results:" + _digest(taken.at if taken else None, results)
    return SpecimenExtract(
        specimen=name,
        taken_at=taken.at if taken else None,
        date_only=taken.date_only if taken else False,
        observed_only=taken is not None and collected is None,
        results=results,
    )


def _digest(taken_at: datetime | None, results: tuple[Result, ...]) -> str:
    told = (
        taken_at.astimezone(UTC).isoformat()
        if taken_at
        else repr(sorted(repr((one.code, one.value)) for one in results))
    )
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _specimen_name(panel: Panel, collected: Moment | None, day: str) -> str:
    """The same for the same specimen in every message; empty where nothing but the results tells it."""
    if panel.specimen is not None and panel.specimen.text(2):
        return f"specimen:{panel.specimen.text(2)}"
    if not panel.number:
        return ""
    return f"order:{panel.number}@{collected.at.astimezone(UTC).isoformat() if collected else day}"


def _panels(lines: list[str], delimiters: Delimiters) -> list[tuple[Panel, list[str]]]:
    """The runs of OBX under each OBR, with the specimen that SPM names before (OUL) or after them (ORU)."""
    names = [line[:3] for line in lines]
    leading = "SPM" in names and "OBR" in names and names.index("SPM") < names.index("OBR")
    runs: list[tuple[str | None, list[str], list[str], str]] = []
    specimen: list[str] = []
    filler = ""
    order: str | None = None
    observations: list[str] = []
    trailing: list[str] = []

    def close() -> None:
        runs.append((order, list(specimen if leading else trailing), list(observations), filler))
        observations.clear()
        trailing.clear()

    for line in lines:
        name = line[:3]
        if name == "ORC":
            orc = scan_segment(line, delimiters)
            close()
            order, filler = None, orc.text(3) or orc.text(2)
        elif name == "OBR":
            close()
            order = line
        elif name == "SPM":
            if leading:
                close()
                order, filler = None, ""
                specimen = [line]
            else:
                trailing.append(line)
        elif name == "OBX":
            observations.append(line)
    close()
    return [
        (
            Panel(
                order=scan_segment(order_line, delimiters) if order_line else None,
                specimen=scan_segment(specimens[0], delimiters) if len(specimens) == 1 else None,
                fallback_order=filler,
            ),
            run,
        )
        for order_line, specimens, run, filler in runs
        if run
    ]
