"""Results that a message carries and of which nothing is understood: nobody would miss them unless it is said.

What is surely something else (a known row of a blood count, other units, other specimens, facts about the patient) is
left alone: most messages of a laboratory have nothing to do with blood counts.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from zoneinfo import ZoneInfo

from analytics.counts.blood import MAKE_A_COUNT
from analytics.reasons import Reason
from node.hl7.catalogue import Analytes, Term
from node.hl7.extracts import SpecimenExtract
from node.hl7.naming import is_foreign
from node.hl7.panels import Panel, read_panels
from node.hl7.results import not_blood
from node.hl7.segments import Delimiters, Segment
from node.hl7.specimens import read_specimens
from node.hl7.units import Count, canonical, read_number, read_unit
from node.hl7.words import fold

UNREAD = ("results-not-understood", "results-of-type-not-read", "counts-in-text", "count-as-document")
"""Codes of what is one problem of the sender, not of each message."""
UNKNOWN_CODE = "unknown-code"
"""A row that looks like one of a blood count and is none that is known: one problem of the sender for each such row."""
LEAST_BARE = 3
"""Rows without a unit and of unknown codes, from which on they may be a blood count."""
LEAST_IN_TEXT = 2
"""Cells that the texts of an order name with numbers, from which on they are a blood count."""
DOCUMENTS = ("ED", "RP")
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
    perhaps = _perhaps_counts(lines, delimiters, analytes)
    if kind:
        found = read_specimens(lines, delimiters, analytes, zone)
        rows = [result.label for one in found for result in one.results if result.analyte in MAKE_A_COUNT] or perhaps
        if rows:
            return Reason("results-of-type-not-read", {"type": kind[:20], "example": rows[0]})
    elif perhaps:
        return Reason("results-not-understood", {"example": perhaps[0]})
    return _not_in_rows(kind, lines, delimiters, analytes)


def _not_in_rows(kind: str, lines: Sequence[str], delimiters: Delimiters, analytes: Analytes) -> Reason | None:
    """A blood count that is text, or a document in a message in which results are read."""
    if rows := _texts_with_counts(lines, delimiters, analytes):
        return Reason("counts-in-text", {"example": rows[0]})
    if not kind and (rows := _documents(lines, delimiters, analytes)):
        return Reason("count-as-document", {"example": rows[0]})
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
    if not_blood(obx, panel, analytes):
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
    """Orders whose texts name the cells of a blood count with numbers, in one row or line by line in several."""
    found = []
    for panel, observations in read_panels(lines, delimiters):
        texts = [one.obx for one in observations if one.obx.text(2).upper() not in NOT_TEXT]
        named = {term.analyte for obx in texts for term in analytes.named if _counted_in(term, fold(obx.raw(5)))}
        if len(named & MAKE_A_COUNT) >= LEAST_IN_TEXT and not analytes.not_blood.found(panel.words):
            found.append(_label(texts[0]) or "OBX")
    return found


def _documents(lines: Sequence[str], delimiters: Delimiters, analytes: Analytes) -> list[str]:
    """Orders of a blood count with documents alone."""
    found = []
    for panel, observations in read_panels(lines, delimiters):
        rows = [one.obx for one in observations]
        if not rows or any(obx.text(2).upper() not in DOCUMENTS for obx in rows):
            continue
        told = [*(panel.order.components(4) if panel.order else []), *rows[0].components(3)]
        folded = [fold(one) for one in told if one]
        if analytes.blood_count.match(folded, (), folded):
            found.append(_label(rows[0]) or "OBX")
    return found


def _counted_in(term: Term, text: str) -> bool:
    return term.searched is not None and _with_number(term.searched, text)


def _with_number(pattern: re.Pattern[str], text: str) -> bool:
    """Whether a number follows the name at once."""
    return any(re.match(r"[\w\s.,()%#:=-]{0,20}?\d", text[match.end() :]) for match in pattern.finditer(text))


def _label(obx: Segment) -> str:
    code = obx.text(3) or obx.text(3, 4)
    name = obx.text(3, 2) or obx.text(3, 5)
    unit = obx.raw(6)
    shown = f"{code} {name}".strip() if name != code else code
    return f"{shown[:_EXAMPLE_LENGTH]}{f' ({unit[:20]})' if unit else ''}" if shown else ""
