"""The plateletcrit beside the platelets: a second quantity of the same measurement, in a unit of its own.

An analyser computes it from the count and the mean platelet volume: PCT in % = PLT in 10⁹/L × MPV in fL / 10,000. A
unit or a decimal point of the count that slips behind the analyser leaves it as it was.

References
----------
Bessman JD, Williams LJ, Gilmer PR. Mean platelet volume. Am J Clin Pathol 1981;76:289-93: the volume is 7 to 12 fL in
health and falls as the count rises. Up to 16 fL are seen in immune thrombocytopenia and with inherited giant platelets.
LOINC 51637-7: plateletcrit. Mindray BC (interface guide): 10002^PCT^99MRC in mL/L, else in %.
"""

from collections.abc import Iterable
from dataclasses import replace

from analytics.counts.results import Result, finality
from analytics.reasons import Reason
from node.hl7.catalogue import Analytes, Words
from node.hl7.remembered import remembered
from node.hl7.segments import Segment
from node.hl7.units import canonical, read_number
from node.hl7.words import fold

VOLUME_FL = (5.0, 16.0)
"""Mean platelet volumes that are seen."""
USUAL_VOLUME_FL = 10.0
USUAL_10E9_PER_L = (100.0, 600.0)
SLIPPED = 5.0
"""Platelets this many times what the plateletcrit stands for have slipped: units differ tenfold at least."""
PERCENT_OF = {"%": 1.0, "ml/l": 0.1, "‰": 0.1}
PER_PERCENT = 10_000.0
"""10⁹/L × fL in 1 % of the blood."""

Row = tuple[Segment, Result | None]


def compared(rows: Iterable[Row], analytes: Analytes) -> list[Result | None]:
    """The results of the rows of a panel, its platelets as the plateletcrit beside them has them.

    Those that it confirms are so; of platelets far from the usual, while it stands for usual ones, nobody knows which
    of both is right. Where several rows give a plateletcrit, or one that cannot be read, it says nothing.
    """
    told = list(rows)
    found = [limits for obx, _ in told if (limits := _percent(obx, analytes)) is not None]
    if len(found) != 1:
        return [result for _, result in told]
    return [_judged(result, *found[0]) for _, result in told]


def _percent(obx: Segment, analytes: Analytes) -> tuple[float, float] | None:
    """Least and most that the plateletcrit may be, in %, as it was rounded; ``None`` of another row."""
    if not _is_plateletcrit(tuple(obx.components(3)), analytes.plateletcrit):
        return None
    factor, text = PERCENT_OF.get(canonical(obx.raw(6))), obx.text(5).strip().replace(",", ".")
    value = read_number(text).value
    if (
        factor is None
        or not value
        or finality(obx.text(11).upper() or "F") not in ("final", "corrected", "preliminary")
    ):
        return None
    half = 0.5 * 10.0 ** -len(text.partition(".")[2])
    return (value - half) * factor, (value + half) * factor


@remembered
def _is_plateletcrit(components: tuple[str, ...], words: Words) -> bool:
    names = [fold(one) for one in components if one]
    return words.match(names, names, names) and not words.denied(" ".join(names))


def _judged(result: Result | None, least: float, most: float) -> Result | None:
    if result is None or result.analyte != "platelets" or result.scale != "absolute" or not result.value:
        return result
    smallest, largest = (percent * PER_PERCENT / result.value for percent in (least, most))
    if smallest <= VOLUME_FL[1] and largest >= VOLUME_FL[0]:
        return replace(result, confirmed=True)
    stands_for = (least + most) / 2 * PER_PERCENT / USUAL_VOLUME_FL
    apart = max(result.value, stands_for) / min(result.value, stands_for)
    low, high = USUAL_10E9_PER_L
    if apart < SLIPPED or not low <= stands_for <= high or low <= result.value <= high:
        return result
    reason = Reason("platelets-far-from-plateletcrit", {"value": result.value, "expected": stands_for})
    return replace(result, value=None, reason=reason, doubtful=True)
