"""What laboratories say themselves against a result: comments, text results, flags, the state of the specimen.

The words are those of ``conf/doubts.toml``. What a laboratory does not stand by is no value of the quantity it spoils.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from analytics.columns import Analyte
from analytics.counts.results import Result
from analytics.reasons import Reason
from node.conf import conf_path
from node.hl7.catalogue import Table, Words, load_table
from node.hl7.denials import Clause, Denial
from node.hl7.panels import Observation, Panel
from node.hl7.segments import Segment
from node.hl7.units import Reading, read_number
from node.hl7.words import fold

Spoils = Literal["platelets", "differential", "count", "row"]

NEUTROPHILS: frozenset[Analyte] = frozenset({"neutrophils", "segmented", "bands", "granulocytes"})
DIFFERENTIAL: frozenset[Analyte] = NEUTROPHILS | {"lymphocytes", "monocytes", "unnamed"}
PLATELETS: frozenset[Analyte] = frozenset({"platelets"})

_CLAUSES = re.compile(r"[.;!]+(?=\s|$|[^\x00-\x7f])|[。；！？]| - |\b(?:but|however|aber|jedoch|mais|pero|mas)\b|但是?")
_COLLECTORS_COMMENT = 39
"""OBR-39; OBR-13 and OBR-31 are of the clinic and about the patient."""
_DESCRIPTION = 14
"""SPM-14."""
_LEAST_FLAG = 100.0
"""Of the values 0 to 300 of an analyser's flag, from here on it is raised."""
_LONGEST_MARK = 10
_OUTSIDE = frozenset({"H", "HH", "L", "LL"})
_RANGE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*")
_MARKED = re.compile(r"(?P<before>[^\d\s.,<>≤≥-][^\d.,<>≤≥]{0,5})?\s*(?P<number>[\d.,]*\d[\d.,]*)\s*(?P<after>\D*)")


class Kind(Words):
    """One kind of doubt."""

    what: str
    spoils: Spoils


class About(Table):
    """What a comment names beside a general doubt."""

    platelets: Words
    differential: Words
    whole: Words


class Flags(Table):
    """OBX-8: flags of unreliable results, and those that analysers send beside the range."""

    unreliable: tuple[str, ...]
    beside: tuple[str, ...]


class Marks(Table):
    """Marks at a number that say where it lies."""

    usual: tuple[str, ...]


class Doubts(Table):
    """``conf/doubts.toml``."""

    doubt: tuple[Kind, ...]
    about: About
    denial: Denial
    affirmed: Words
    other_tube: Words
    """Names of rows that are measured in another tube than a blood count."""
    remark: Words
    """Names of rows that hold a comment on the whole."""
    flags: Flags
    marks: Marks
    conditions: dict[str, str]
    roles: dict[str, str]
    """Roles of specimens (SPM-11) that are nobody's blood."""

    @cached_property
    def any(self) -> re.Pattern[str]:
        """Any of the doubts; nearly every text has none."""
        return re.compile("|".join(one.searched.pattern for one in self.doubt if one.searched))

    def clause(self, text: str) -> Clause:
        """A folded clause of a comment."""
        return Clause(text=text, denial=self.denial, doubt=self.any, cells=self.about.platelets)


@lru_cache(maxsize=4)
def load_doubts(path: Path | None = None) -> Doubts:
    """Read ``conf/doubts.toml``, once per process.

    Raises
    ------
    SettingsError
        The file cannot be read, or holds an unknown key or an impossible pattern.
    """
    return load_table(path or conf_path("doubts.toml"), Doubts.model_validate)


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """A doubt of the laboratory and the results that it spoils."""

    reason: Reason
    analytes: frozenset[Analyte] | None
    """``None``: every one."""
    manual_too: bool = True
    """Cells that were counted by hand are spoilt as well."""

    def spoils(self, result: Result) -> bool:
        """Whether a result of the specimen is no value because of this."""
        told = self.analytes is None or result.analyte in self.analytes
        return told and (self.manual_too or result.method != "manual")


def spoilt(result: Result, doubts: Iterable[Doubt]) -> Result:
    """A result as it stands with what the laboratory says against it."""
    found = next((one for one in doubts if one.spoils(result)), None)
    return result if found is None else replace(result, value=None, reason=found.reason, doubtful=False, unclear=False)


def comment_doubts(text: str, analyte: Analyte | None, doubts: Doubts, *, whole: bool = False) -> list[Doubt]:
    """The doubts that a comment states and does not deny.

    Parameters
    ----------
    analyte
        Of the result that the comment stands below; ``None`` where that is none of a blood count.
    whole
        The comment is on everything of the specimen.
    """
    folded = fold(text)
    if doubts.any.search(folded.replace("\n", " ")) is None:
        return []
    found = [
        _doubt(kind, clause.flat, analyte, doubts, whole=whole)
        for clause in (doubts.clause(part) for part in _CLAUSES.split(folded))
        for kind in doubts.doubt
        if _stated(kind, clause)
    ]
    return list(dict.fromkeys(one for one in found if one is not None))


def _stated(kind: Kind, clause: Clause) -> bool:
    """Whether a clause states a doubt of a kind somewhere."""
    if kind.searched is None:
        return False
    found = kind.searched.finditer(clause.flat)
    return any(not kind.denied(clause.part_of(match)) and not clause.denies(match) for match in found)


def _doubt(kind: Kind, clause: str, analyte: Analyte | None, doubts: Doubts, *, whole: bool) -> Doubt | None:
    reason = Reason("laboratory-doubts", {"what": kind.what})
    if kind.spoils == "count":
        return Doubt(reason=reason, analytes=None)
    if kind.spoils == "platelets" or doubts.about.platelets.found(clause):
        return Doubt(reason=reason, analytes=PLATELETS)
    if kind.spoils == "differential" or doubts.about.differential.found(clause):
        return Doubt(reason=reason, analytes=DIFFERENTIAL, manual_too=False)
    if whole or (analyte is not None and doubts.about.whole.found(clause)):
        return Doubt(reason=reason, analytes=None)
    return None if analyte is None else _of_row(reason, analyte)


def _of_row(reason: Reason, analyte: Analyte) -> Doubt:
    """A doubt about the quantity of one result, on both scales."""
    kin = next((group for group in (NEUTROPHILS, PLATELETS) if analyte in group), frozenset({analyte}))
    return Doubt(reason=reason, analytes=kin, manual_too=analyte not in DIFFERENTIAL)


def row_doubts(
    row: Observation, analyte: Analyte | None, doubts: Doubts, *, only_out_of_range: bool = False
) -> list[Doubt]:
    """What a row says against itself or others: its comment, its flags, its text.

    Parameters
    ----------
    analyte
        The quantity of the row; ``None`` where it is none of a blood count.
    only_out_of_range
        What :func:`flags_only_out_of_range` says of its message.
    """
    obx = row.obx
    found: list[Doubt] = []
    if row.comment:
        against = comment_doubts(row.comment, analyte, doubts)
        elsewhere = analyte is None and doubts.other_tube.found(fold(" ".join(obx.components(3))))
        found += only_of_blood_counts(against) if elsewhere else against
    if analyte is not None:
        found += _flagged(obx, analyte, doubts, only_out_of_range=only_out_of_range)
    told = obx.raw(5)
    if told and not told.replace(".", "", 1).isdigit() and read_number(obx.text(5)).value is None:
        remark = analyte is None and doubts.remark.found(fold(" ".join(obx.components(3))))
        found += comment_doubts(obx.lines(5), analyte, doubts, whole=remark)
    return [*found, *_raised(obx, doubts)]


def flags_only_out_of_range(rows: Sequence[Observation], doubts: Doubts) -> bool:
    """Whether the flag of doubt beside the range says no more than the range.

    Some analysers write it at every value outside (``H~A``) and ``~N`` at all others. It tells a doubt where it stands
    at a value inside, or where ``N`` stands at one outside.
    """
    if not any(row.obx.delimiters.repetition in row.obx.raw(8) for row in rows):
        return False
    usual = False
    for row in rows:
        flags = set(_flags(row.obx))
        outside, doubted = bool(flags & _OUTSIDE), bool(flags & set(doubts.flags.beside))
        if outside != doubted and (doubted or "N" in flags):
            return False
        usual |= not outside and "N" in _flags(row.obx)[1:]
    return usual


def _flags(obx: Segment) -> list[str]:
    return [one.strip().upper() for one in obx.repetitions(8)]


def _flagged(obx: Segment, analyte: Analyte, doubts: Doubts, *, only_out_of_range: bool) -> list[Doubt]:
    flags = _flags(obx)
    beside = [one for one in flags[1:] if one in doubts.flags.beside]
    # Few platelets are what clumps look like: there the flag is heard all the same.
    if only_out_of_range and not (analyte in PLATELETS and flags[0].startswith("L")):
        beside = []
    alone = flags if len(flags) == 1 and flags[0] in doubts.flags.beside and _is_inside(obx) else []
    marks = [one for one in flags if one in doubts.flags.unreliable] + beside + alone
    return [_of_row(Reason("flagged-unreliable", {"flag": marks[0]}), analyte)] if marks else []


def _is_inside(obx: Segment) -> bool:
    """Whether the value lies in the range that is sent with it, so that it is not for its place that it is abnormal."""
    limits, value = _RANGE.fullmatch(obx.text(7)), read_number(obx.text(5)).value
    return limits is not None and value is not None and float(limits[1]) <= value <= float(limits[2])


def _raised(obx: Segment, doubts: Doubts) -> list[Doubt]:
    """A flag of an analyser, whose name is a doubt and whose value says that it is raised."""
    if obx.raw(6):
        return []
    name = fold(" ".join(one for one in obx.components(3) if one).replace("_", " "))
    if doubts.any.search(name) is None:
        return []
    value = fold(obx.text(5))
    number = read_number(value).value
    high = number is not None and number >= _LEAST_FLAG
    if not high and not doubts.affirmed.found(value):
        return []
    return comment_doubts(name, None, doubts)


def specimen_doubts(panel: Panel, doubts: Doubts) -> list[Doubt]:
    """What stands against everything of a specimen: comments on the order, its description, condition and rejection."""
    told = [panel.comment, " ".join(panel.order.components(_COLLECTORS_COMMENT)) if panel.order else ""]
    if panel.specimen is not None:
        told += [panel.specimen.text(_DESCRIPTION), *panel.specimen.repetitions(24)]
    found = [doubt for text in told if text for doubt in comment_doubts(text, None, doubts, whole=True)]
    if panel.specimen is None:
        return found
    if rejected := panel.specimen.text(21):
        found.append(Doubt(reason=Reason("specimen-rejected", {"code": rejected[:20]}), analytes=None))
    separator = panel.specimen.delimiters.component
    states = [part.strip().upper() for one in panel.specimen.repetitions(24) for part in one.split(separator)]
    known = [doubts.conditions[one] for one in states if one in doubts.conditions]
    if role := doubts.roles.get(panel.specimen.text(11).upper()):
        known.append(role)
    coded = [Doubt(reason=Reason("laboratory-doubts", {"what": one}), analytes=None) for one in known]
    return list(dict.fromkeys([*found, *coded]))


def read_marked(text: str, doubts: Doubts, *, decimal_comma: bool) -> Reading | None:
    """A number with a mark in front of it or behind it; ``None`` where the text is something else.

    Marks that say where a number lies are read; any other is one of doubt, or nobody knows of what.
    """
    match = _MARKED.fullmatch(text.strip())
    if match is None:
        return None
    marks = [one for one in ((match["before"] or "").strip(), match["after"].strip()) if one]
    if not marks:
        return None
    if all(one in doubts.marks.usual or fold(one) in doubts.marks.usual for one in marks):
        return read_number(match["number"], decimal_comma=decimal_comma)
    strange = next(one for one in marks if one not in doubts.marks.usual)
    return Reading(value=None, reason=Reason("value-marked", {"mark": strange[:_LONGEST_MARK]}), doubtful=True)


def only_of_blood_counts(found: Sequence[Doubt]) -> list[Doubt]:
    """The doubts that can be about a blood count alone, whatever they stand below."""
    return [one for one in found if one.analytes is not None]
