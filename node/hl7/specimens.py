"""The blood-count results of a message, by specimen."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from analytics.counts.results import Result
from analytics.reasons import Reason
from node.hl7.catalogue import Analytes
from node.hl7.doubts import (
    Doubt,
    flags_only_out_of_range,
    load_doubts,
    only_of_blood_counts,
    row_doubts,
    specimen_doubts,
    spoilt,
)
from node.hl7.extracts import SpecimenExtract
from node.hl7.panels import Observation, Panel, read_panels
from node.hl7.plateletcrit import compared
from node.hl7.results import NO_RULES, flags_exchanged, points_part_thousands, ranges_exchanged, read_result, unnamed
from node.hl7.segments import Delimiters, Segment
from node.hl7.times import Moment, read_time
from node.settings import Sender

EXCHANGED = ("neutrophils", "segmented", "lymphocytes")


def read_specimens(
    lines: Iterable[str], delimiters: Delimiters, analytes: Analytes, zone: ZoneInfo, rules: Sender = NO_RULES
) -> list[SpecimenExtract]:
    """The blood-count results of one patient's part of a message, by specimen.

    Results belong together by specimen number (SPM-2), else by order number and collection time, else by order
    number and the day of the observations (OBX-14): an order number alone may be that of several specimens. What the
    laboratory says against a specimen or a result is heard: such a result has no value.
    """
    found: dict[tuple[str, str], _Group] = {}
    elsewhere: list[Doubt] = []
    for panel, observations in read_panels(lines, delimiters):
        rows = _read_rows(panel, observations, analytes, zone, rules)
        against = [*specimen_doubts(panel, load_doubts()), *(one for row in rows for one in row.doubts)]
        collected = panel.collected(zone)
        observed = _earliest(row.observed for row in rows if row.result is not None)
        entries = [
            _Entry(result=row.result, collected=collected, observed=observed) for row in rows if row.result is not None
        ]
        key = _specimen_key(panel, collected, observed, zone)
        if entries or key[0]:
            group = found.setdefault(key, _Group())
            group.entries += entries
            group.doubts += against
        if not entries:
            elsewhere += only_of_blood_counts(against)
    groups = {key: group for key, group in found.items() if group.entries}
    beside = elsewhere if len(groups) == 1 else []
    return [_extract(name, group.judged(beside)) for (name, _), group in groups.items()]


@dataclass(frozen=True, kw_only=True)
class _Row:
    """An OBX as read: its result, if it is one of a blood count, and what it says against results."""

    obx: Segment
    result: Result | None
    observed: Moment | None
    doubts: tuple[Doubt, ...]


def _read_rows(
    panel: Panel, observations: Iterable[Observation], analytes: Analytes, zone: ZoneInfo, rules: Sender
) -> list[_Row]:
    rows, doubts = [], load_doubts()
    found = list(observations)
    only_out_of_range = flags_only_out_of_range(found, doubts)
    thousands = points_part_thousands((one.obx for one in found), analytes)
    for one in found:
        result = read_result(one.obx, panel, analytes, zone, rules, thousands=thousands)
        analyte = result.analyte if result else None
        against = row_doubts(one, analyte, doubts, only_out_of_range=only_out_of_range)
        observed = read_time(one.obx.text(14), zone)
        rows.append(_Row(obx=one.obx, result=result, observed=observed, doubts=tuple(against)))
    confirmed = compared(((row.obx, row.result) for row in rows), analytes)
    rows = [
        row if result is row.result else replace(row, result=result)
        for row, result in zip(rows, confirmed, strict=True)
    ]
    read = [(row.obx, row.result) for row in rows if row.result is not None]
    why = Reason("ranges-exchanged") if ranges_exchanged(read) else None
    if why is None and flags_exchanged(read, analytes, rules, thousands=thousands):
        why = Reason("flags-exchanged")
    if why is not None:
        rows = [replace(row, result=_exchanged(row.result, why)) for row in rows]
    kinds = {row.result.analyte for row in rows if row.result is not None}
    if "segmented" in kinds and not kinds & {"bands", "neutrophils"}:
        rows = [row if row.result else replace(row, result=unnamed(row.obx, panel, analytes)) for row in rows]
    return rows


def _exchanged(result: Result | None, why: Reason) -> Result | None:
    """A row of the differential in a panel whose neutrophils and lymphocytes look exchanged."""
    if result is None or result.analyte not in EXCHANGED or result.value is None:
        return result
    return replace(result, value=None, reason=why, doubtful=True)


@dataclass
class _Group:
    """What a message says of one specimen."""

    entries: list["_Entry"] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)

    def judged(self, more: Iterable[Doubt]) -> list["_Entry"]:
        """The entries, without the values that the laboratory does not stand by."""
        against = [*self.doubts, *more]
        return [replace(one, result=spoilt(one.result, against)) for one in self.entries] if against else self.entries


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


def _specimen_key(panel: Panel, collected: Moment | None, observed: Moment | None, zone: ZoneInfo) -> tuple[str, str]:
    """A name that is the same for the same specimen in every message, or when it is of where nothing names it."""
    if panel.specimen is not None and panel.specimen.text(2):
        return f"specimen:{panel.specimen.text(2)}", ""
    day = _day(collected or observed, zone)
    moment = collected.at.astimezone(UTC).isoformat() if collected else day
    if panel.number:
        return f"order:{panel.number}@{moment}", ""
    return "", day if collected and collected.date_only else moment
