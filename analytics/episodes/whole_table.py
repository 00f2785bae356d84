"""What no single row shows: units of whole columns and of a share of the rows, missing codes, rows pasted again.

Counts and ratios are compared on the log scale, where a unit is a shift: by robust standard deviations (1.4826 × MAD)
from the cohort's own median, so that up to half of the rows may be wrong without hiding each other.

References
----------
Hampel, J Am Stat Assoc 1974;69:383 (MAD); Leys et al., J Exp Soc Psychol 2013;49:764 (median and MAD for outliers).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analytics.columns import INDICES, OF_THE_PAPER
from analytics.counts.plausibility import LIKE_PERCENT_SUM, MAX_PERCENT_SUM
from analytics.episodes.cohort import Cell, CheckedRow
from analytics.plausible import TYPICAL_MEDIANS
from analytics.reasons import Reason, Value

ENOUGH = 10
"""Values of a column from which on its median is compared with those of cohorts."""
ENOUGH_FOR_ROWS = 20
"""Values of a column from which on a single one is compared with the others."""
ENOUGH_SIGNS = 20
UNUSUAL = 1.25
"""How far the median of an unusual cohort may lie beyond those of :data:`TYPICAL_MEDIANS`; further off it is something
else: months, a weight, a logarithm."""
AGAINST = -0.3
"""Correlation of the logarithms of shares of one kind of cells and counts of the other: that of counts is near 0."""
FAR = 5.0
"""Robust standard deviations from the median, on the log scale; of a year's cohort with 19 lymphocyte counts of a tenth
among 324, the platelet ratio is beyond it in these 19 and in no other."""
FAR_IN_CLUSTER = 3.0
LEAST_CLUSTER = 3
CLUSTER_TO_BETWEEN = 2
"""Values off by one factor are a cluster from this distance on, when there are three and at least twice as many as lie
between :data:`NEAR` and it: the tail of one distribution has far more nearer to its middle."""
LOOKS = 10
FAR_ALONE = 8.0
"""The same for a value that no unit explains: the counts of the truly ill lie up to 6 off those of a cohort."""
FAR_FOR_A_CODE = 3.5
"""The same for a value that is a usual code for missing."""
NEAR = 2.5
"""As near a value in another unit comes to the median once it is converted."""
LEAST_SPREAD = 0.2
"""Floor of the robust standard deviation, ln units: cohorts of equal people do not make outliers."""
FACTORS = (10.0, 100.0, 1000.0, 0.1, 0.01, 0.001)
"""By which units of counts differ: 10⁴/µL, 10⁵/µL (lakh), 10⁶/L, 10²/µL, per µL."""
CODES = frozenset({66.0, 77.0, 88.0, 99.0, 666.0, 777.0, 888.0, 999.0})
"""Codes for a missing value that lie inside the range of some column."""
AGE_GAP_YEARS = 8.0
"""An age that is a code for missing, and this far above every other age, is no age."""
COMPARED = ("neutrophils", "lymphocytes", "platelets", "monocytes", *OF_THE_PAPER)
"""Columns compared on the log scale."""
CODED = (*COMPARED, "bmi")
MEASURED = ("vbq", "age", "sex_male", "bmi", "neutrophils", "lymphocytes", "platelets", *OF_THE_PAPER)
"""What no two patients share all of."""
ENOUGH_MEASURED = 5
"""Values that a row must have, the VBQ and a count or ratio among them, to be compared with others."""
OF_ONE_COUNT = ("age", "sex_male", "bmi", "neutrophils", "lymphocytes", "platelets")
"""What no two patients share all of, whatever their VBQ; where that is the same but for rounding, it is one row."""
SAME_VBQ = 0.051
"""VBQ written with one decimal and with more."""

Array = np.ndarray[tuple[int], np.dtype[np.float64]]
Numbers = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True, kw_only=True)
class ColumnDoubt:
    """A column that cannot be right as a whole, and the factor that would make it so, if one does."""

    column: str
    reason: Reason
    factor: float | None = None
    percent: bool = False
    exchanged_with: str | None = None


def column_doubts(numbers: Numbers) -> list[ColumnDoubt]:
    """The columns whose values cannot be in the unit of the column.

    Parameters
    ----------
    numbers
        The values of each column, row by row, before any of them is judged; ``None`` where there is none.
    """
    if shares := _percentages(numbers):
        return shares
    if exchanged := [*_exchanged(numbers)]:
        return exchanged
    medians = {name: _median(numbers.get(name, ())) for name in TYPICAL_MEDIANS}
    found = [
        _share_alone(numbers, doubt) or doubt
        for name, median in medians.items()
        if median and (doubt := _inverted(name, median) or _unit(name, median))
    ]
    t_scores = [value for value in numbers.get("t_score", ()) if value is not None]
    if len(t_scores) >= ENOUGH_SIGNS and min(t_scores) >= 0 and max(t_scores) > 0.5:
        reason = Reason("signs-lost", {"column": "t_score", "n": len(t_scores)})
        found.append(ColumnDoubt(column="t_score", reason=reason, factor=-1.0))
    return found


def _median(values: Sequence[float | None]) -> float | None:
    given = [value for value in values if value is not None and value > 0]
    return float(np.median(given)) if len(given) >= ENOUGH else None


def _unit(name: str, median: float) -> ColumnDoubt | None:
    low, high = TYPICAL_MEDIANS[name]
    if low <= median <= high:
        return None
    factor = None if name == "age" else next((one for one in FACTORS if low <= median * one <= high), None)
    if factor is None:
        if low / UNUSUAL <= median <= high * UNUSUAL:
            return None  # an unusual cohort, and no unit that would explain it
        told: dict[str, Value] = {"column": name, "median": median, "low": low, "high": high}
        return ColumnDoubt(column=name, reason=Reason("column-of-something-else", told))
    about: dict[str, Value] = {"column": name, "median": median, "low": low, "high": high, "factor": factor}
    return ColumnDoubt(column=name, reason=Reason("column-in-another-unit", about), factor=factor)


def _inverted(name: str, median: float) -> ColumnDoubt | None:
    """A ratio below that of any cohort whose reciprocal is a usual one; as far from it as another unit would be."""
    low, high = TYPICAL_MEDIANS[name]
    if name not in OF_THE_PAPER or not 1 / high <= median < min(low, 1 / low):
        return None
    return ColumnDoubt(column=name, reason=Reason("ratio-inverted", {"column": name, "median": median}))


def _share_alone(numbers: Numbers, doubt: ColumnDoubt) -> ColumnDoubt | None:
    """A column of neutrophils or lymphocytes that is no count ten times too large, but percentages beside counts.

    A share of the leukocytes goes against the count of the other cells; a count does not.
    """
    other = {"neutrophils": "lymphocytes", "lymphocytes": "neutrophils"}.get(doubt.column)
    if other is None or doubt.factor != 0.1 or other not in numbers:
        return None
    pairs = [(one, count) for one, count in zip(numbers[doubt.column], numbers[other], strict=True) if one and count]
    if len(pairs) < ENOUGH_FOR_ROWS or max(one for one, _ in pairs) > 100:
        return None
    logs = np.log(np.array(pairs))
    if np.ptp(logs, axis=0).min() == 0 or np.corrcoef(logs.T)[0, 1] > AGAINST:
        return None
    about: dict[str, Value] = {"column": doubt.column, "median": doubt.reason.values["median"], "other": other}
    return ColumnDoubt(column=doubt.column, percent=True, reason=Reason("column-like-percentages", about))


def _percentages(numbers: Numbers) -> list[ColumnDoubt]:
    if not {"neutrophils", "lymphocytes"} <= numbers.keys():
        return []
    pairs = zip(numbers["neutrophils"], numbers["lymphocytes"], strict=True)
    sums = [one + other for one, other in pairs if one is not None and other is not None]
    like = sum(LIKE_PERCENT_SUM <= one <= MAX_PERCENT_SUM for one in sums)
    medians = {name: _median(numbers[name]) for name in ("neutrophils", "lymphocytes")}
    counts = any(median and median <= TYPICAL_MEDIANS[name][1] for name, median in medians.items())
    if len(sums) < ENOUGH or like <= len(sums) / 2 or counts:
        return []
    return [
        ColumnDoubt(column=name, percent=True, reason=Reason("column-of-percentages", {"column": name, "n": like}))
        for name in ("neutrophils", "lymphocytes")
    ]


def _exchanged(numbers: Numbers) -> Iterator[ColumnDoubt]:
    """Two columns of which each has the other's median."""
    for one, other in (("nlr", "plr"), ("neutrophils", "platelets"), ("lymphocytes", "platelets")):
        medians = _median(numbers.get(one, ())), _median(numbers.get(other, ()))
        if None not in medians and all(
            low <= float(median or 0) <= high
            for median, (low, high) in zip(medians, (TYPICAL_MEDIANS[other], TYPICAL_MEDIANS[one]), strict=True)
        ):
            reason = Reason("columns-exchanged", {"column": one, "other": other})
            yield ColumnDoubt(column=one, reason=reason, exchanged_with=other)
            yield ColumnDoubt(column=other, reason=reason, exchanged_with=one)
    if _looks_inverted(numbers):
        reason = Reason("columns-exchanged", {"column": "neutrophils", "other": "lymphocytes"})
        yield ColumnDoubt(column="neutrophils", reason=reason, exchanged_with="lymphocytes")
        yield ColumnDoubt(column="lymphocytes", reason=reason, exchanged_with="neutrophils")


def _looks_inverted(numbers: Numbers) -> bool:
    """Whether neutrophils and lymphocytes stand in each other's place.

    The medians of both may be usual ones of either; that of their quotient is below the least NLR of any cohort of
    adults, and its reciprocal is a usual one.
    """
    pairs = list(zip(numbers.get("neutrophils", ()), numbers.get("lymphocytes", ()), strict=False))
    median = _median([one / other for one, other in pairs if one and other])
    low, high = TYPICAL_MEDIANS["nlr"]
    if median is None or not 1 / high <= median < low:
        return False
    return _usual("neutrophils", [other for _, other in pairs]) and _usual("lymphocytes", [one for one, _ in pairs])


def _usual(name: str, values: Sequence[float | None]) -> bool:
    """Whether values have a median of a cohort's column of this name."""
    median = _median(values)
    low, high = TYPICAL_MEDIANS[name]
    return median is not None and low <= median <= high


def row_doubts(rows: Sequence[CheckedRow], *, settled: frozenset[str] = frozenset()) -> dict[int, tuple[Reason, ...]]:
    """By index the rows that are held for a person, and why.

    Parameters
    ----------
    rows
        All rows of the table, in its order.
    settled
        Columns that a person has looked at.
    """
    found: dict[int, list[Reason]] = {}
    off: dict[int, set[str]] = {}
    for name in (name for name in (*CODED, "age") if name not in settled):
        values = np.array([_number(row.values[name]) for row in rows])
        for index, reason in _of_column(name, values):
            # A count that is off takes its ratio along; the count is the cause.
            cells = next((one.upper + one.lower for one in INDICES if one.name == name), ())
            if not off.get(index, set()).intersection(cells):
                found.setdefault(index, []).append(reason)
                off.setdefault(index, set()).add(name)
    for index, reason in _pasted(rows):
        found.setdefault(index, []).append(reason)
    return {index: tuple(reasons) for index, reasons in found.items()}


def _number(value: Cell) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _of_column(name: str, values: Array) -> Iterator[tuple[int, Reason]]:
    given = values[values > 0]
    if len(given) < ENOUGH_FOR_ROWS:
        return
    if name == "age":
        yield from _coded_ages(values)
        return
    logs = np.log(values, out=np.full(len(values), np.nan), where=values > 0)
    factors = _other_units(logs, clusters=name not in OF_THE_PAPER) if name in COMPARED else np.zeros(len(values))
    median, spread = _centre(logs[(factors == 0) & ~np.isnan(logs)])
    for index in np.flatnonzero(~np.isnan(logs)):
        value, distance = float(values[index]), float(logs[index] - median)
        about: dict[str, Value] = {"column": name, "value": value, "median": math.exp(median)}
        if value in CODES and distance > FAR_FOR_A_CODE * spread:
            yield int(index), Reason("value-like-missing-code", {"column": name, "value": value})
        elif factors[index]:
            yield int(index), Reason("value-in-another-unit", {**about, "factor": float(factors[index])})
        elif name in COMPARED and abs(distance) > FAR_ALONE * spread:
            yield int(index), Reason("value-far-off", about)


def _centre(logs: Array) -> tuple[float, float]:
    """Median and robust standard deviation."""
    median = float(np.median(logs))
    return median, max(LEAST_SPREAD, 1.4826 * float(np.median(np.abs(logs - median))))


def _other_units(logs: Array, *, clusters: bool) -> Array:
    """By value the factor that would bring it among the others, 0 where it is among them.

    Single values are looked for far off. Where several counts are off by one factor and hardly any lie between, they
    are a cluster in another unit (ratios spread too widely for that). What is found does not count in the next look, so
    that many do not hide each other.
    """
    factors = np.zeros(len(logs))
    for _ in range(LOOKS):
        rest = (factors == 0) & ~np.isnan(logs)
        median, spread = _centre(logs[rest])
        found = np.zeros(len(logs), dtype=bool)
        for factor in sorted(FACTORS, key=lambda one: -abs(math.log(one))):
            # Towards the others: what is too small has a factor above 1.
            off = np.where(rest, (median - logs) * math.copysign(1.0, math.log(factor)), 0.0) / spread
            converted = np.abs(np.where(rest, logs, math.inf) + math.log(factor) - median) / spread
            cluster = (converted <= FAR_IN_CLUSTER) & (off > FAR_IN_CLUSTER)
            between = int(np.sum((off > NEAR) & (off <= FAR_IN_CLUSTER)))
            if not clusters or cluster.sum() + np.sum(factors == factor) < max(
                LEAST_CLUSTER, CLUSTER_TO_BETWEEN * between + 1
            ):
                cluster = (converted <= NEAR) & (off > FAR)
            factors[cluster & ~found] = factor
            found |= cluster
        if not found.any():
            break
    return factors


def _coded_ages(values: Array) -> Iterator[tuple[int, Reason]]:
    coded = np.isin(values, list(CODES))
    others = values[~coded & ~np.isnan(values)]
    if len(others) == 0:
        return
    for index in np.flatnonzero(coded & (values >= np.max(others) + AGE_GAP_YEARS)):
        yield int(index), Reason("value-like-missing-code", {"column": "age", "value": float(values[index])})


def _pasted(rows: Sequence[CheckedRow]) -> Iterator[tuple[int, Reason]]:
    """Later rows of which every measured value stands under another id too."""
    first: dict[tuple[Cell, ...], Cell] = {}
    counted: dict[tuple[Cell, ...], CheckedRow] = {}
    for index, row in enumerate(rows):
        blood_count = tuple(row.values[name] for name in OF_ONE_COUNT)
        alike = counted.setdefault(blood_count, row) if None not in blood_count else row
        if alike is not row and abs(_number(alike.values["vbq"]) - _number(row.values["vbq"])) <= SAME_VBQ:
            yield index, Reason("row-pasted-again", {"of": str(alike.values["id"])})
            continue
        values = tuple(row.values[name] for name in MEASURED)
        given = sum(value is not None for value in values)
        blood = any(row.values[name] is not None for name in (*OF_THE_PAPER, "lymphocytes"))
        if row.values["vbq"] is None or not blood or given < ENOUGH_MEASURED:
            continue
        if values in first:
            yield index, Reason("row-pasted-again", {"of": str(first[values])})
        else:
            first[values] = row.values["id"]
