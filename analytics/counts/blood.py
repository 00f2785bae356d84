"""Blood counts: the results of one patient, over all messages, folded into one count per specimen.

Counts are in 10⁹/L, shares in percent of the leukocytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from math import prod
from typing import Literal

from analytics.columns import CELLS, INDICES, OF_THE_PAPER, Analyte, Cell, Index
from analytics.counts.norms import measured_twice
from analytics.counts.plausibility import DIFFERENTIAL, Quantities, contradictions, oddities
from analytics.counts.results import Method, Result, Scale, SpecimenResults, differ, finality
from analytics.counts.specimens import Specimen, current_specimens
from analytics.reasons import Reason, Value
from analytics.records import ResultStatus

__all__ = ["CombinedCount", "Result", "SpecimenResults", "combine"]

Basis = Literal["absolute", "derived", "percent"]

Methods = tuple[Method, ...]
METHODS: Methods = ("automated", "unknown", "manual")
METHOD_CHOICES: tuple[Methods, ...] = (
    ("automated",),
    ("automated", "unknown"),
    ("manual",),
    ("unknown", "manual"),
)
"""Which methods may make one differential, in order of preference; automated and manual never together."""

CONFLICTS = frozenset({"cell-conflict", "segmented-above-neutrophils"})
"""Codes of a quantity that has two different values."""
NOT_REPORTED = "cell-not-reported"
MAKE_A_COUNT: frozenset[Analyte] = frozenset({"neutrophils", "segmented", "bands", "lymphocytes", "platelets"})
"""A specimen without any of these is no blood count."""
NO_PART: frozenset[Analyte] = frozenset({"monocytes"})
"""A unit or number of these that is not clear is no part of NLR or PLR, so it does not hold a count."""
CLOCKS_APART = timedelta(days=1)
"""What a specimen may be later than its message by clocks and zones that differ."""
UNITS: dict[Scale, str] = {"absolute": "10⁹/L", "percent": "%"}


@dataclass(frozen=True, kw_only=True)
class CombinedCount:
    """One blood count of one specimen. A number that cannot be had honestly is ``None``, see ``notes``."""

    specimen: str
    taken_at: datetime | None
    date_only: bool
    status: ResultStatus
    basis: Basis | None
    """``absolute``: both cells counted; ``derived``: leukocytes × percent; ``percent``: NLR of percents."""
    cells: Mapping[Cell, float | None]
    """Counts in 10⁹/L, every one of :data:`analytics.columns.CELLS`."""
    indices: Mapping[str, float | None]
    """Every one of :data:`analytics.columns.INDICES`, by name."""
    notes: tuple[Reason, ...]
    sender: str = ""
    """Who sent the newest message about it."""
    confirmed: bool = False
    """A second measurement of the same count confirms its lymphocytes."""
    after_message: bool = False
    """It is said to be taken days after all messages about it were sent: nobody knows when it was."""
    platelets_confirmed: bool = False
    """Its plateletcrit confirms its platelets."""
    forms_agree: bool = False
    """Neutrophils and lymphocytes are counted and in percent, both say the same, and nobody counted them by hand."""

    @property
    def neutrophils_10e9_per_l(self) -> float | None:
        """Of all methods, bands and segmented ones together."""
        return self.cells["neutrophils"]

    @property
    def lymphocytes_10e9_per_l(self) -> float | None:
        """By the same method as the neutrophils."""
        return self.cells["lymphocytes"]

    @property
    def platelets_10e9_per_l(self) -> float | None:
        """However they were counted."""
        return self.cells["platelets"]

    @property
    def leukocytes_10e9_per_l(self) -> float | None:
        """However they were counted."""
        return self.cells["leukocytes"]

    @property
    def nlr(self) -> float | None:
        """Neutrophil-to-lymphocyte ratio."""
        return self.indices["nlr"]

    @property
    def plr(self) -> float | None:
        """Platelet-to-lymphocyte ratio."""
        return self.indices["plr"]


def combine(specimens: Sequence[SpecimenResults]) -> list[CombinedCount]:
    """Fold everything known about one patient's blood counts into one count per specimen.

    The result depends on the set of what was said only, not on its order or on repetitions.

    Parameters
    ----------
    specimens
        What every message says about every specimen of the one patient.

    Returns
    -------
    list of CombinedCount
        Sorted by specimen. Specimens with no result on neutrophils, lymphocytes or platelets give none.

    Notes
    -----
    For each result line the newest status holds (status time, else the time of the message); at the same time
    the more final one, then the one sent last; lines that nothing puts in order all hold, and when they differ
    the count is held. F and C are usable, P, I and the like are preliminary, X and D withdraw the one result,
    W voids the specimen, everything else is held for a person. Parts of one specimen reported under different
    order numbers belong together when they were taken at the same time and do not contradict each other; where
    usable values contradict each other, all parts are held.
    """
    counts = [_count(specimen) for specimen in current_specimens(specimens)]
    return sorted((count for count in counts if count is not None), key=lambda count: count.specimen)


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One quantity of a count: its value or why there is none, and the results it came from."""

    value: float | None
    reason: Reason | None
    sources: tuple[Result, ...] = ()
    derived: bool = False

    @property
    def contradicted(self) -> bool:
        """There are two different values."""
        return _is_conflict(self.reason)

    @property
    def reported(self) -> bool:
        """There is a result on it, whatever it is worth."""
        return self.reason is None or self.reason.code != NOT_REPORTED


def _is_conflict(reason: Reason | None) -> bool:
    return reason is not None and reason.code in CONFLICTS


@cache
def _not_reported(analyte: Analyte, scale: Scale) -> _Cell:
    """Most quantities of most counts, by most methods."""
    return _Cell(value=None, reason=Reason("cell-not-reported", {"analyte": analyte, "unit": UNITS[scale]}))


@dataclass(frozen=True, kw_only=True)
class _Quantity:
    """The results on one analyte on one scale."""

    results: list[Result] = field(default_factory=list)
    withdrawn: list[Result] = field(default_factory=list)

    @property
    def has_primary(self) -> bool:
        """Whether a row that is no channel of its own gives the quantity, by whatever method."""
        return any(result.value is not None and not result.secondary for result in self.results)


class _Reader:
    """Reads quantities out of the results of one specimen."""

    def __init__(self, results: Iterable[Result]) -> None:
        self.results: list[Result] = []
        self.withdrawn: list[Result] = []
        self._by_quantity: dict[tuple[Analyte, Scale], _Quantity] = {}
        # Each quantity is asked for many times: by each method, as a total and as a part.
        self._cells: dict[tuple[Analyte, Scale, Methods], _Cell] = {}
        for result in results:
            gone = finality(result.status) == "withdrawn"
            (self.withdrawn if gone else self.results).append(result)
            quantity = self._by_quantity.setdefault((result.analyte, result.scale), _Quantity())
            (quantity.withdrawn if gone else quantity.results).append(result)

    def cell(self, analyte: Analyte, scale: Scale, methods: Methods = METHODS) -> _Cell:
        """The one value of a quantity; two different values are none."""
        asked = analyte, scale, methods
        if asked not in self._cells:
            self._cells[asked] = self._read(analyte, scale, methods)
        return self._cells[asked]

    def _read(self, analyte: Analyte, scale: Scale, methods: Methods) -> _Cell:
        quantity = self._by_quantity.get((analyte, scale))
        if quantity is None:
            return _not_reported(analyte, scale)
        about: dict[str, Value] = {"analyte": analyte, "unit": UNITS[scale]}
        found = [result for result in quantity.results if result.method in methods]
        if quantity.has_primary:
            found = [result for result in found if not result.secondary]
        if not found:
            if any(result.method in methods for result in quantity.withdrawn):
                return _Cell(value=None, reason=Reason("cell-withdrawn", about))
            return _not_reported(analyte, scale)
        sources = tuple(result for result in found if result.value is not None)
        values = [result.value for result in sources if result.value is not None]
        if not values:
            why = found[0].reason or Reason("no-value")
            return _Cell(value=None, reason=Reason("cell-without-value", {**about, "why": why}), sources=tuple(found))
        if differ(values):
            return _Cell(value=None, reason=Reason("cell-conflict", about), sources=sources)
        return _Cell(value=values[0], reason=None, sources=sources)

    def has(self, analyte: Analyte, methods: Methods) -> bool:
        """Whether any result line on the analyte is there, with or without a value, withdrawn or not."""
        lines = (*self.results, *self.withdrawn)
        return any(result.analyte == analyte and result.method in methods for result in lines)

    def neutrophils(self, scale: Scale, methods: Methods) -> _Cell:
        """Total neutrophils, else bands + segmented; segmented alone only where no bands are reported."""
        total = self.cell("neutrophils", scale, methods)
        segmented = self.cell("segmented", scale, methods)
        if total.value is not None or total.contradicted:
            return self._checked(total, segmented)
        if not segmented.sources:
            return total
        if not self.has("bands", METHODS):
            unnamed = [result for result in self.results if result.scale == scale and _may_be_bands(result)]
            return _perhaps_without_bands(segmented, unnamed)
        bands = self.cell("bands", scale, methods)
        if segmented.value is None or bands.value is None:
            return _Cell(value=None, reason=segmented.reason or bands.reason, sources=segmented.sources)
        return _Cell(value=segmented.value + bands.value, reason=None, sources=segmented.sources + bands.sources)

    def _checked(self, total: _Cell, segmented: _Cell) -> _Cell:
        """The total, when it is not less than the segmented ones, which are a part of it."""
        if total.value is None or segmented.value is None or total.value >= segmented.value:
            return total
        if not differ([total.value, segmented.value]):
            return total
        reason = Reason("segmented-above-neutrophils")
        return _Cell(value=None, reason=reason, sources=total.sources + segmented.sources)

    def lymphocytes(self, scale: Scale, methods: Methods) -> _Cell:
        """Lymphocytes by the same methods."""
        return self.cell("lymphocytes", scale, methods)

    def leukocytes(self) -> _Cell:
        """Leukocytes; how they were counted does not matter for a differential."""
        return self.cell("leukocytes", "absolute")


def _may_be_bands(result: Result) -> bool:
    """Whether a row that nothing names, or that names some of the leukocytes only, may be the bands."""
    return result.analyte == "unnamed" or (
        result.analyte == "leukocytes" and result.scale == "percent" and result.unclear
    )


def _perhaps_without_bands(segmented: _Cell, unnamed: Sequence[Result]) -> _Cell:
    """Segmented neutrophils are all neutrophils unless a row of the same panel that nothing names may be the bands."""
    if not unnamed:
        return segmented
    reason = Reason("bands-perhaps-unnamed", {"label": unnamed[0].label})
    return _Cell(value=None, reason=reason, sources=segmented.sources)


def _stands_for(other: Result, result: Result) -> bool:
    """Whether a row is of no use because another one gives the same quantity."""
    return (
        other.analyte == result.analyte
        and other.value is not None
        and (result.unclear or (result.secondary and not other.secondary))
    )


@dataclass(frozen=True, kw_only=True)
class _Differential:
    """Neutrophils and lymphocytes by one method: absolute (counted or derived) and in percent."""

    neutrophils: _Cell
    lymphocytes: _Cell
    neutrophils_percent: _Cell
    lymphocytes_percent: _Cell
    counted: tuple[_Cell, _Cell]
    methods: Methods
    """How its cells were counted."""

    @property
    def ratio_pair(self) -> tuple[_Cell, _Cell] | None:
        """The two cells whose ratio is the NLR: absolute ones, else percents."""
        for pair in ((self.neutrophils, self.lymphocytes), (self.neutrophils_percent, self.lymphocytes_percent)):
            if all(cell.value is not None for cell in pair):
                return pair
        return None


def _derived(counted: _Cell, percent: _Cell, leukocytes: _Cell) -> _Cell:
    if counted.value is not None or counted.contradicted:
        return counted
    if percent.value is None or leukocytes.value is None:
        told = counted if not percent.reported or counted.reported else percent
        return replace(counted, reason=told.reason if percent.value is None else leukocytes.reason)
    return _Cell(
        value=leukocytes.value * percent.value / 100,
        reason=None,
        sources=percent.sources + leukocytes.sources,
        derived=True,
    )


def _differential(reader: _Reader, methods: Methods) -> _Differential:
    leukocytes = reader.leukocytes()
    counted = (reader.neutrophils("absolute", methods), reader.lymphocytes("absolute", methods))
    percent = (reader.neutrophils("percent", methods), reader.lymphocytes("percent", methods))
    return _Differential(
        neutrophils=_derived(counted[0], percent[0], leukocytes),
        lymphocytes=_derived(counted[1], percent[1], leukocytes),
        neutrophils_percent=percent[0],
        lymphocytes_percent=percent[1],
        counted=counted,
        methods=methods,
    )


def _choose_differential(reader: _Reader) -> tuple[_Differential, list[Reason]]:
    """One method for both cells: the automated count where it is complete, never a mixture with the manual one."""
    choices: list[_Differential] = []
    chosen: _Differential | None = None
    for methods in METHOD_CHOICES:
        choices.append(_differential(reader, methods))
        if choices[-1].ratio_pair:
            chosen = choices[-1]
            break
    if chosen is None:
        sides = [
            any(getattr(one, name).value is not None for one in choices) for name in ("neutrophils", "lymphocytes")
        ]
        notes = [Reason("methods-not-mixed")] if all(sides) else []
        # Of two methods that contradict each other the next is no way out.
        told = (one for one in choices[1:] if one.lymphocytes.value is not None or one.lymphocytes.contradicted)
        return next(told, choices[1]), notes
    methods = chosen.methods
    manual = any(result.method == "manual" and result.value is not None for result in reader.results)
    notes = [] if manual and "manual" in methods else _other_values(reader, methods)
    if manual and "manual" not in methods:
        return chosen, [*notes, Reason("manual-differential-unused")]
    return chosen, [*notes, Reason("manual-differential")] if "manual" in methods and manual else notes


def _other_values(reader: _Reader, methods: Methods) -> list[Reason]:
    """Whether automated results, and those that do not say their method, contradict each other where the differential
    is made of one kind alone."""
    kinds: Methods = ("automated", "unknown")
    there = {result.method for result in reader.results}
    if set(kinds) <= set(methods) or not set(kinds) <= there:
        return []
    quantities: list[tuple[Analyte, Scale]] = [
        (analyte, scale) for analyte in ("neutrophils", "lymphocytes") for scale in ("absolute", "percent")
    ]
    return [
        Reason("cell-conflict", {"analyte": analyte, "unit": UNITS[scale]})
        for analyte, scale in quantities
        for values in [[reader.cell(analyte, scale, (method,)).value for method in kinds]]
        if None not in values and differ([value for value in values if value is not None])
    ]


def _count(specimen: Specimen) -> CombinedCount | None:
    if not any(result.analyte in MAKE_A_COUNT for result in specimen.current):
        return None
    reader = _Reader(specimen.current)
    differential, notes = _choose_differential(reader)
    platelets, leukocytes = reader.cell("platelets", "absolute"), reader.leukocytes()
    nlr, nlr_notes = _nlr(reader, differential)
    plr, plr_notes = _ratio("PLR", platelets, differential.lymphocytes)
    found = _quantities(reader, differential, platelets, nlr=nlr, plr=plr)
    impossible = contradictions(found)
    unused, doubts = _doubtful(reader.results, complete=nlr is not None and plr is not None)
    warnings = [*oddities(found), *unused]
    pair = (differential.neutrophils, differential.lymphocytes)
    said = [*(cell.reason for cell in (*differential.counted, *pair, platelets, leukocytes)), *notes]
    doubts += [reason for reason in said if reason is not None and _is_conflict(reason)]
    used = [*_sources(differential), *platelets.sources]
    held = bool(doubts or impossible or specimen.contested)
    status, status_notes = _status(specimen.current, used, held=held)
    void = status is ResultStatus.WITHDRAWN
    all_notes = [*specimen.notes, *notes, *nlr_notes, *plr_notes, *warnings, *impossible, *doubts, *status_notes]
    cells, indices, more_notes = _beside(reader, differential, platelets, leukocytes)
    indices |= {"nlr": nlr, "plr": plr}
    all_notes += more_notes
    return CombinedCount(
        specimen=specimen.name,
        taken_at=specimen.taken_at,
        date_only=specimen.date_only,
        status=status,
        basis=None if void else _basis(differential),
        cells={name: None if void else cell.value for name, cell in cells.items()},
        indices={one.name: None if void else indices[one.name] for one in INDICES},
        notes=tuple(dict.fromkeys(status_notes if void else all_notes)),
        sender=specimen.sender,
        confirmed=measured_twice(found, differential.lymphocytes.value),
        after_message=_is_after_message(specimen),
        forms_agree=all(map(found.confirmed, DIFFERENTIAL)) and "manual" not in differential.methods,
        platelets_confirmed=platelets.value is not None and any(one.confirmed for one in platelets.sources),
    )


def _is_after_message(specimen: Specimen) -> bool:
    sent = [sent_at for _, sent_at in specimen.messages if sent_at is not None]
    return specimen.taken_at is not None and bool(sent) and specimen.taken_at - max(sent) > CLOCKS_APART


def _doubtful(results: Sequence[Result], *, complete: bool) -> tuple[list[Reason], list[Reason]]:
    """The doubtful results that another one stands for or that no complete count needs, and those that hold it."""
    doubtful = [result for result in results if result.doubtful]
    spare = [result for result in doubtful if any(_stands_for(other, result) for other in results)]
    if complete:
        spare += [one for one in doubtful if one.analyte in NO_PART and not one.unclear and one not in spare]
    holding = [
        result
        for result in doubtful
        # What nobody knows may be what is missing; beside a complete count it is none of its parts.
        if result not in spare and not (result.analyte in NO_PART and result.unclear)
        if not (complete and result.analyte == "unknown")
    ]
    return (
        [Reason("result-not-used", _told(result)) for result in spare],
        [Reason("result-doubtful", _told(result)) for result in holding],
    )


def _beside(
    reader: _Reader, differential: _Differential, platelets: _Cell, leukocytes: _Cell
) -> tuple[dict[Cell, _Cell], dict[str, float | None], list[Reason]]:
    """All cells, the indices beside NLR and PLR, and why one of these is missing although its cells were reported."""
    cells: dict[Cell, _Cell] = {
        "neutrophils": differential.neutrophils,
        "lymphocytes": differential.lymphocytes,
        "platelets": platelets,
        "leukocytes": leukocytes,
    }
    others = [name for name in CELLS if name not in cells]
    # Of the same differential, or of one that does not say how it was made.
    methods: Methods = (*differential.methods, "unknown")
    for name in others:
        counted, percent = reader.cell(name, "absolute", methods), reader.cell(name, "percent", methods)
        cells[name] = _derived(counted, percent, leukocytes)
    indices: dict[str, float | None] = {}
    notes: list[Reason] = []
    for index in INDICES:
        if index.name in OF_THE_PAPER:
            continue
        indices[index.name], why = _index(index, cells)
        # What NLR and PLR lack is told of them already, and what was not reported is not missed here.
        lacking = [name for name in (*index.upper, *index.lower) if cells[name].value is None]
        notes += why if all(name in others and cells[name].reported for name in lacking) else []
    return cells, indices, notes


def _index(index: Index, cells: Mapping[Cell, _Cell]) -> tuple[float | None, list[Reason]]:
    """The value of an index from absolute counts, or why there is none."""
    values: dict[Cell, float] = {}
    for name in (*index.upper, *index.lower):
        cell = cells[name]
        if cell.value is None:
            return None, [Reason("no-ratio", {"ratio": index.shown, "why": cell.reason})]
        if cell.value == 0:
            return None, [Reason("ratio-of-zero", {"ratio": index.shown, "analyte": name})]
        values[name] = cell.value
    return prod(values[name] for name in index.upper) / prod(values[name] for name in index.lower), []


def _told(result: Result) -> dict[str, Value]:
    return {"analyte": result.analyte, "label": result.label, "why": result.reason}


def _sources(differential: _Differential) -> tuple[Result, ...]:
    pair = differential.ratio_pair or (differential.neutrophils, differential.lymphocytes)
    return pair[0].sources + pair[1].sources


def _basis(differential: _Differential) -> Basis | None:
    cells = [cell for cell in (differential.neutrophils, differential.lymphocytes) if cell.value is not None]
    pair = differential.ratio_pair
    if pair is not None and pair[1] is differential.lymphocytes_percent:
        return "percent"
    if not cells:
        return None
    return "derived" if any(cell.derived for cell in cells) else "absolute"


def _ratio(name: str, numerator: _Cell, denominator: _Cell) -> tuple[float | None, list[Reason]]:
    values: list[float] = []
    for cell in (numerator, denominator):
        if cell.value is None:
            return None, [Reason("no-ratio", {"ratio": name, "why": cell.reason})]
        if cell.value == 0:
            return None, [Reason("ratio-of-zero", {"ratio": name, "analyte": cell.sources[0].analyte})]
        values.append(cell.value)
    upper, lower = values
    return upper / lower, []


def _nlr(reader: _Reader, differential: _Differential) -> tuple[float | None, list[Reason]]:
    pair = differential.ratio_pair
    if pair is not None:
        return _ratio("NLR", *pair)
    if not reader.has("neutrophils", METHODS) and reader.has("granulocytes", METHODS):
        return None, [Reason("three-part-differential")]
    return _ratio("NLR", differential.neutrophils, differential.lymphocytes)


def _monocytes_percent(reader: _Reader, differential: _Differential) -> float | None:
    """Monocytes in % of the leukocytes, counted or as such, of the same differential.

    A value that the laboratory flagged as another one may stand in the wrong row: nothing is computed from it, but the
    lymphocytes are judged by it.
    """
    methods: Methods = (*differential.methods, "unknown")
    cell = reader.cell("monocytes", "percent", methods)
    percent = cell.value
    if percent is None:
        reasons = [one.reason for one in cell.sources if one.reason]
        if [reason.code for reason in reasons] == ["flag-of-another-value"]:
            percent = float(str(reasons[0].values["value"]))
    counted, leukocytes = reader.cell("monocytes", "absolute", methods).value, reader.leukocytes().value
    if percent is None and counted is not None and leukocytes:
        return 100 * counted / leukocytes
    return percent


def _quantities(
    reader: _Reader, differential: _Differential, platelets: _Cell, *, nlr: float | None, plr: float | None
) -> Quantities:
    neutrophils, lymphocytes = differential.counted
    counted: dict[Cell, float | None] = {"neutrophils": neutrophils.value, "lymphocytes": lymphocytes.value}
    percent: dict[Cell, float | None] = {
        "neutrophils": differential.neutrophils_percent.value,
        "lymphocytes": differential.lymphocytes_percent.value,
    }
    return Quantities(
        counted=counted,
        percent=percent,
        leukocytes=reader.leukocytes().value,
        monocytes_percent=_monocytes_percent(reader, differential),
        monocytes=reader.cell("monocytes", "absolute", (*differential.methods, "unknown")).value,
        platelets=platelets.value,
        indices={"nlr": nlr, "plr": plr},
    )


def _status(current: tuple[Result, ...], used: list[Result], *, held: bool) -> tuple[ResultStatus, list[Reason]]:
    if any(result.status == "W" for result in current):
        return ResultStatus.WITHDRAWN, [Reason("results-declared-wrong")]
    finalities = {finality(result.status) for result in current}
    if finalities == {"withdrawn"}:
        return ResultStatus.WITHDRAWN, [Reason("results-withdrawn")]
    notes = [
        Reason("result-status-held", {"analyte": result.analyte, "code": result.code, "status": result.status})
        if result.status
        else Reason("result-without-status", {"analyte": result.analyte, "code": result.code})
        for result in current
        if finality(result.status) == "held"
    ]
    in_use = {finality(result.status) for result in used} or finalities - {"withdrawn"}
    if held or notes:
        return ResultStatus.HELD, notes
    if "preliminary" in in_use:
        return ResultStatus.PRELIMINARY, [Reason("results-preliminary")]
    return (ResultStatus.CORRECTED if "corrected" in in_use else ResultStatus.FINAL), notes
