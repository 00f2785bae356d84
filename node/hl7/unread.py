"""Results that a message carries and of which nothing is understood: nobody would miss them unless it is said.

What is surely something else (a known row of a blood count, other units, other specimens, facts about the patient) is
left alone: most messages of a laboratory have nothing to do with blood counts.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from zoneinfo import ZoneInfo

from analytics.counts.blood import MAKE_A_COUNT
from analytics.reasons import Reason
from node.hl7.catalogue import Analytes
from node.hl7.extracts import SpecimenExtract
from node.hl7.naming import is_foreign
from node.hl7.panels import Panel, read_panels
from node.hl7.segments import Delimiters, Segment
from node.hl7.specimens import read_specimens
from node.hl7.units import Count, canonical, read_number, read_unit
from node.hl7.words import fold

UNREAD = ("results-not-understood", "results-of-type-not-read", "counts-in-text")
"""Codes of what is one problem of the sender, not of each message."""
UNKNOWN_CODE = "unknown-code"
"""A row that looks like one of a blood count and is none that is known: one problem of the sender for each such row."""
LEAST_BARE = 3
"""Rows without a unit and of unknown codes, from which on they may be a blood count."""
LEAST_IN_TEXT = 2
"""Cells that a text names with numbers, from which on it is a blood count."""
NOT_TEXT = ("NM", "SN", "ED", "RP")
_EXAMPLE_LENGTH = 60
_NO_CELLS = re.compile(r"(mol|g|eq|iu|u|kat|osm|cfu|copies|kopien|kopi|bar|pa|hg)$")


def unread_results(
    kind: str,
    lines: Sequence[str],
    delimiters: Delimiters,
    specimens: Iterable[SpecimenExtract],
    *,
    analytes: Analytes,
    zone: ZoneInfo,
) -> Reason | None:
    """What a message with results says and nobody hears; ``None`` where there is nothing of the sort.

    Parameters
    ----------
    kind
        The message type, where results are not read in messages of this type; else empty.
    lines
        The message without MSH.
    specimens
        What was understood.
    """
    if not any(line[:3] == "OBX" for line in lines):
        return None
    if any(result.analyte in MAKE_A_COUNT for one in specimens for result in one.results):
        return None
    if kind:
        found = read_specimens(lines, delimiters, analytes, zone)
        rows = [result.label for one in found for result in one.results if result.analyte in MAKE_A_COUNT]
        rows = rows or _perhaps_counts(lines, delimiters, analytes)
        return Reason("results-of-type-not-read", {"type": kind[:20], "example": rows[0]}) if rows else None
    if rows := _perhaps_counts(lines, delimiters, analytes):
        return Reason("results-not-understood", {"example": rows[0]})
    if rows := _texts_with_counts(lines, delimiters, analytes):
        return Reason("counts-in-text", {"example": rows[0]})
    return None


def _rows(lines: Sequence[str], delimiters: Delimiters) -> Iterator[tuple[Panel, Segment]]:
    for panel, observations in read_panels(lines, delimiters):
        for one in observations:
            yield panel, one.obx


def _perhaps_counts(lines: Sequence[str], delimiters: Delimiters, analytes: Analytes) -> list[str]:
    """Names of rows that may be counts of cells and are nothing that is known."""
    with_unit, bare = [], []
    for panel, obx in _rows(lines, delimiters):
        if _is_known(panel, obx, analytes) or read_number(" ".join(obx.components(5))).value is None:
            continue
        spellings = [one for one in (obx.raw(6), *obx.components(6)[:2]) if one]
        if not spellings:
            bare.append(_label(obx))
        elif isinstance(read_unit(spellings, analytes.units), Count) or _in_volume(spellings, analytes):
            with_unit.append(_label(obx))
    return with_unit or (bare if len(bare) >= LEAST_BARE else [])


def _is_known(panel: Panel, obx: Segment, analytes: Analytes) -> bool:
    components = obx.components(3)
    if is_foreign(components, analytes) or not _label(obx):
        return True
    if analytes.not_blood.found(f"{panel.words} {fold(' '.join([*components, *obx.components(6)]))}"):
        return True
    folded = [one.casefold() for one in components if one]
    return any(term.matches(folded, folded) for term in analytes.observation)


def _in_volume(spellings: Iterable[str], analytes: Analytes) -> bool:
    """A unit that is not known and may be one of cells per volume: of no mass, substance or activity."""
    for spelling in spellings:
        head, slash, tail = canonical(spelling).partition("/")
        if slash and tail in analytes.units.per_litre and not _NO_CELLS.search(head.casefold()):
            return True
    return False


def _texts_with_counts(lines: Sequence[str], delimiters: Delimiters, analytes: Analytes) -> list[str]:
    found = []
    for panel, obx in _rows(lines, delimiters):
        text = fold(obx.raw(5))
        if obx.text(2).upper() in NOT_TEXT:
            continue
        named = {term.analyte for term in analytes.named if term.searched and _with_number(term.searched, text)}
        if len(named & MAKE_A_COUNT) >= LEAST_IN_TEXT and not analytes.not_blood.found(panel.words):
            found.append(_label(obx) or "OBX")
    return found


def _with_number(pattern: re.Pattern[str], text: str) -> bool:
    """Whether a number follows the name at once."""
    return any(re.match(r"[\w\s.,()%#:=-]{0,20}?\d", text[match.end() :]) for match in pattern.finditer(text))


def _label(obx: Segment) -> str:
    code = obx.text(3) or obx.text(3, 4)
    name = obx.text(3, 2) or obx.text(3, 5)
    unit = obx.raw(6)
    shown = f"{code} {name}".strip() if name != code else code
    return f"{shown[:_EXAMPLE_LENGTH]}{f' ({unit[:20]})' if unit else ''}" if shown else ""
