"""The orders and specimens that the observations of a message belong to, with the comments on them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from zoneinfo import ZoneInfo

from node.hl7.segments import Delimiters, Segment, scan_segment
from node.hl7.times import Moment, read_time
from node.hl7.words import fold

_CODE_AND_NAME = (1, 2, 4, 5)
"""Components of a coded field: code and name, alternate code and name."""
CANCELLED_ORDERS = ("CA", "OC", "CR")
"""ORC-1: it is asked to cancel the order, or that was done. One that is discontinued (DC) keeps its results."""
CANCELLED_STATUS = "CA"
"""ORC-5."""
CANCELLED_RESULT = "X"
"""OBR-25 (table 0123): no results, the procedure was cancelled."""
NOT_NAMED = ("", "0", '""')
"""What stands in OBX-3 where an analyser has its code in OBX-4 (Edan and others)."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """An OBX and what NTE says below it."""

    obx: Segment
    comment: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The order and specimen that a run of OBX belongs to."""

    order: Segment | None
    specimen: Segment | None
    fallback_order: str
    control: Segment | None = None
    """The ORC that it stands under."""
    comment: str = ""
    """What NTE says below OBR, before the first OBX."""

    @cached_property
    def number(self) -> str:
        """Filler order number, else the placer's, else that of ORC."""
        if self.order is None:
            return self.fallback_order
        return self.order.text(3) or self.order.text(2) or self.fallback_order

    @cached_property
    def cancelled(self) -> str:
        """Which field says that the order was cancelled, with its value; empty where none does."""
        told = (
            ("ORC-1", self.control.text(1).upper() if self.control else "", CANCELLED_ORDERS),
            ("ORC-5", self.control.text(5).upper() if self.control else "", (CANCELLED_STATUS,)),
            ("OBR-25", self.order.text(25).upper() if self.order else "", (CANCELLED_RESULT,)),
        )
        return next((f"{field} {value}" for field, value, known in told if value in known), "")

    @cached_property
    def material(self) -> tuple[str, ...]:
        """What was examined, by codes and names: SPM-4, and OBR-15 without the additives and the site behind them."""
        parts = [self.specimen.text(4, place) for place in _CODE_AND_NAME] if self.specimen else []
        parts += self.order.text(15).split(self.order.delimiters.subcomponent) if self.order else []
        return tuple(dict.fromkeys(fold(one) for one in parts if one))

    @cached_property
    def words(self) -> str:
        """Everything that tells what material was examined and how, folded."""
        parts = [*self.order.components(4), *self.order.components(15)] if self.order else []
        parts += self.specimen.components(4) if self.specimen else []
        return fold(" ".join(parts))

    def collected(self, zone: ZoneInfo) -> Moment | None:
        """When the specimen was taken: SPM-17, then OBR-7."""
        for segment, place in ((self.specimen, 17), (self.order, 7)):
            if segment and (moment := read_time(segment.text(place), zone)):
                return moment
        return None


def read_observation(line: str, delimiters: Delimiters) -> Segment:
    """Read an OBX; where its code stands in OBX-4, with the status in OBX-10, as if both stood in their place."""
    obx = scan_segment(line, delimiters)
    if any(one not in NOT_NAMED for one in obx.components(3)) or not obx.text(4):
        return obx
    fields = {**obx.fields, 3: obx.fields[4]}
    del fields[4]
    if 11 not in fields and len(obx.text(10)) == 1:
        fields[11] = fields.pop(10)
    return Segment(name=obx.name, fields=fields, delimiters=delimiters)


@dataclass
class _Run:
    """What is collected of a panel while its lines are read."""

    order: str | None = None
    control: Segment | None = None
    begun: bool = True
    """By ORC, OBR or SPM; a comment before them is on the patient."""
    specimens: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    observations: list[tuple[str, list[str]]] = field(default_factory=list)

    def comment(self, line: str) -> None:
        """Take a comment on what came last."""
        if self.observations:
            self.observations[-1][1].append(line)
        elif self.begun:
            self.comments.append(line)


def read_panels(lines: Iterable[str], delimiters: Delimiters) -> list[tuple[Panel, list[Observation]]]:
    """The runs of OBX under each OBR, with the specimen that SPM names before (OUL) or after them (ORU)."""
    told = list(lines)
    names = [line[:3] for line in told]
    leading = "SPM" in names and "OBR" in names and names.index("SPM") < names.index("OBR")
    return [_panel(run, delimiters) for run in _runs(told, delimiters, leading) if run.observations or run.comments]


def _runs(lines: list[str], delimiters: Delimiters, leading: bool) -> list[_Run]:
    runs = [_Run(begun=False)]
    specimen: list[str] = []
    for line in lines:
        name, last = line[:3], runs[-1]
        if name == "ORC":
            runs.append(_Run(control=scan_segment(line, delimiters), specimens=list(specimen)))
        elif name == "OBR":
            # Comments between ORC and OBR are on the order as well.
            early, last.comments = ([], last.comments) if last.order or last.observations else (last.comments, [])
            runs.append(_Run(order=line, control=last.control, specimens=list(specimen), comments=early))
        elif name == "SPM" and leading:
            specimen = [line]
            runs.append(_Run(specimens=[line]))
        elif name == "SPM":
            last.specimens.append(line)
        elif name == "OBX":
            last.observations.append((line, []))
        elif name == "NTE":
            last.comment(line)
    return runs


def _panel(run: _Run, delimiters: Delimiters) -> tuple[Panel, list[Observation]]:
    panel = Panel(
        order=scan_segment(run.order, delimiters) if run.order else None,
        specimen=scan_segment(run.specimens[0], delimiters) if len(run.specimens) == 1 else None,
        fallback_order=(run.control.text(3) or run.control.text(2)) if run.control else "",
        control=run.control,
        comment=_comment(run.comments, delimiters),
    )
    observations = [
        Observation(obx=read_observation(line, delimiters), comment=_comment(comments, delimiters))
        for line, comments in run.observations
    ]
    return panel, observations


def _comment(lines: Iterable[str], delimiters: Delimiters) -> str:
    """The text of NTE segments that follow each other: sentences of their own, or one over several lines."""
    return "\n".join(scan_segment(line, delimiters).lines(3) for line in lines)
