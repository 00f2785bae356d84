"""One row of a cohort table: read, checked, and judged for the model, with a reason for every doubt.

A value that cannot be what it claims to be is not taken over; a contradiction between values that are plausible by
themselves keeps them but keeps the row out of the model, for nobody but the site can know which one is wrong.

References
----------
"Patient Samples" of the paper for the inclusion criteria; the promised columns are those of the design.
"""

import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from analytics.columns import CELLS, COHORT, INDICES, OF_THE_PAPER, Index, columns
from analytics.counts.plausibility import Quantities, contradictions
from analytics.episodes.eligibility import exclusion_reasons
from analytics.episodes.matching import blood_count_window, mri_window
from analytics.plausible import RANGES
from analytics.reasons import Reason, Value

COLUMNS = columns(required=True)
"""The promised columns of a cohort table, in order. Age in years, BMI in kg/m², counts in 10⁹/L."""

DATE_COLUMNS = columns("date")
"""Optional columns, ISO dates (YYYY-MM-DD), local to the site."""

OUTCOME_COLUMNS = ("t_score", "bmd_g_per_cm2", "hu", "event")
"""Optional columns that cut-offs can be judged against: DXA T-score (no unit), areal bone density, CT Hounsfield units
of the lumbar vertebrae, and whether the event that the site counts (fracture, screw loosening) came."""

TEXT_COLUMNS = columns("text")
"""Optional columns of free text: manufacturer, model and field strength of the MRI."""

OPTIONAL_COLUMNS = columns(required=False)

BINARY_COLUMNS = columns("flag")
"""1 or yes, 0 or no; ``sex_male`` is 1 for men."""

DIAGNOSES = ("LDH", "LSS", "LS")
"""Lumbar disc herniation, lumbar spinal stenosis, lumbar spondylolisthesis."""

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "."})
"""What stands for a missing value, in any case."""

YES_NO = {"1": 1, "1.0": 1, "yes": 1, "y": 1, "true": 1, "0": 0, "0.0": 0, "no": 0, "n": 0, "false": 0}

NO_MATTER_TO_THE_MODEL = frozenset(one.name for one in COHORT if not one.keeps_out)
"""A bad value in these is a problem, but does not keep a row out of the model."""

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?", re.ASCII)
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)

Cell = float | int | str | None


@dataclass(frozen=True, kw_only=True)
class CheckedRow:
    """A row as far as it can be believed.

    ``values`` has all of :data:`COLUMNS` and :data:`OPTIONAL_COLUMNS`: numbers, 0 or 1, text, ISO dates, or ``None``.
    ``problems`` need a person; ``exclusion_reasons`` say why the row is not ``eligible`` for the model.
    """

    values: dict[str, Cell]
    problems: tuple[Reason, ...]
    eligible: bool
    exclusion_reasons: tuple[Reason, ...]


@dataclass(kw_only=True)
class _Findings:
    """What the checks of one row have found so far."""

    problems: list[Reason] = field(default_factory=list)
    excluding: list[Reason] = field(default_factory=list)

    def add(self, reason: Reason, *, excludes: bool = True) -> None:
        self.problems.append(reason)
        if excludes:
            self.excluding.append(reason)


def check_row(values: Mapping[str, str]) -> CheckedRow:
    """Check one row of a cohort table.

    Parameters
    ----------
    values
        The cells as text, by column; a missing column counts as blank. Of other columns only ``leukocytes`` (10⁹/L) is
        looked at: the neutrophils and lymphocytes are some of them.
    """
    text = {name: values.get(name, "").strip() for name in (*COLUMNS, *OPTIONAL_COLUMNS)}
    found = _Findings()
    typed: dict[str, Cell] = {name: _typed(name, text[name], found) for name in text}
    for index in INDICES:
        _check_index(index, typed, text, found)
    if typed["lymphocytes"] == 0:
        found.add(Reason("lymphocytes-zero"))
    for reason in contradictions(_quantities(typed, values.get("leukocytes", ""))):
        found.add(reason)
    reasons = (
        *found.excluding,
        *_outside_windows(typed),
        *exclusion_reasons(values=typed, diagnosis_excludes=(), earlier_operation=None),
    )
    return CheckedRow(
        values=typed, problems=tuple(found.problems), eligible=not reasons, exclusion_reasons=tuple(reasons)
    )


def unclear_coding(rows: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """The yes/no columns that are coded 1 and 2, as some statistics programs do: their 1 may mean no.

    Returns one sentence per such column. A single slip among zeros and ones is the row's problem, not the column's.
    """
    sentences = []
    for name in BINARY_COLUMNS:
        if coded_one_and_two(row.get(name, "") for row in rows):
            sentences.append(f"{name} is coded with 2 and without 0, so what its 1 means is unclear")
    return tuple(sentences)


def coded_one_and_two(cells: Iterable[str]) -> bool:
    """Whether the cells of a yes/no column hold 2 and no 0."""
    seen = {cell.strip().removesuffix(".0") for cell in cells}
    return "2" in seen and "0" not in seen


def _typed(name: str, text: str, found: _Findings) -> Cell:
    excludes = name not in NO_MATTER_TO_THE_MODEL
    if text.lower() in MISSING:
        if name == "id":
            found.add(Reason("id-blank"))
        return None
    if name == "id" or name in TEXT_COLUMNS:
        return text
    if name == "diagnosis":
        return _diagnosis(text, found)
    if name in DATE_COLUMNS:
        return _date(name, text, found)
    if name in BINARY_COLUMNS:
        if (answer := YES_NO.get(text.lower())) is None:
            found.add(Reason("value-not-yes-or-no", {"column": name, "text": text}), excludes=excludes)
        return answer
    return _number(name, text, found, excludes=excludes)


def _number(name: str, text: str, found: _Findings, *, excludes: bool) -> float | None:
    number = float(text) if NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(number):
        about: dict[str, Value] = {"column": name, "text": text}
        comma = re.fullmatch(r"\d+,\d+", text) is not None
        reason = Reason("value-with-decimal-comma", about) if comma else Reason("value-not-a-number", about)
        found.add(reason, excludes=excludes)
        return None
    if not RANGES[name].holds(number):
        found.add(_implausible(name, text, number), excludes=excludes)
        return None
    return number


def _implausible(name: str, text: str, number: float) -> Reason:
    low, high = RANGES[name].low, RANGES[name].high
    about: dict[str, Value] = {"column": name, "text": text, "low": low, "high": high}
    meant = next((number / f for f in (10, 0.1, 100, 0.01) if low <= number / f <= high), None)
    if meant is not None and name in ("vbq", "age", "bmi"):
        return Reason("value-with-misplaced-point", {**about, "meant": meant})
    return Reason("value-not-plausible", about)


def _diagnosis(text: str, found: _Findings) -> str | None:
    if text.upper() in DIAGNOSES:
        return text.upper()
    found.add(Reason("diagnosis-not-known", {"text": text, "known": DIAGNOSES}))
    return None


def _date(name: str, text: str, found: _Findings) -> str | None:
    if ISO_DATE.fullmatch(text):
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            pass  # said below: a day that does not exist is as unreadable as another format
    found.add(Reason("value-not-a-date", {"column": name, "text": text}))
    return None


def _quantities(typed: Mapping[str, Cell], leukocytes: str) -> Quantities:
    """The blood count of the row, for the rules that laboratory messages pass too."""
    counted = {cell: float(value) if isinstance(value := typed.get(cell), float) else None for cell in CELLS}
    given = leukocytes.strip()
    return Quantities(
        counted=counted,
        percent=dict.fromkeys(CELLS),
        leukocytes=float(given) if NUMBER.fullmatch(given) and RANGES["leukocytes"].holds(float(given)) else None,
        indices=dict.fromkeys(OF_THE_PAPER),
    )


def _check_index(index: Index, typed: Mapping[str, Cell], text: Mapping[str, str], found: _Findings) -> None:
    """Compare an index with its counts as far as the digits given can tell."""
    given, upper, lower = typed[index.name], _numbers(index.upper, typed), _numbers(index.lower, typed)
    if not isinstance(given, float) or upper is None or lower is None or 0 in lower:
        return
    upper_halves, lower_halves = (tuple(_half_unit(text[name]) for name in side) for side in (index.upper, index.lower))
    least = math.prod(map(operator.sub, upper, upper_halves)) / math.prod(map(operator.add, lower, lower_halves))
    smallest = math.prod(max(0.0, value - half) for value, half in zip(lower, lower_halves, strict=True))
    most = math.prod(map(operator.add, upper, upper_halves)) / smallest if smallest else math.inf
    slack = _half_unit(text[index.name]) * (1 + 1e-9)
    if not least - slack <= given <= most + slack:
        about: dict[str, Value] = {
            "ratio": index.name,
            "given": text[index.name],
            "count": " × ".join(index.upper),
            "numerator": " × ".join(text[name] for name in index.upper),
            "below": " × ".join(index.lower),
            "denominator": " × ".join(text[name] for name in index.lower),
            "computed": math.prod(upper) / math.prod(lower),
        }
        found.add(Reason("ratio-contradicts-counts", about), excludes=index.name not in NO_MATTER_TO_THE_MODEL)


def _numbers(names: Sequence[str], typed: Mapping[str, Cell]) -> tuple[float, ...] | None:
    values = tuple(value for name in names if isinstance(value := typed[name], float))
    return values if len(values) == len(names) else None


def _half_unit(text: str) -> float:
    """Half a unit of the last digit given: how far rounding can have moved a number."""
    mantissa, _, exponent = text.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return float(0.5 * 10.0 ** (int(exponent or 0) - decimals))


def _outside_windows(typed: Mapping[str, Cell]) -> Iterable[Reason]:
    surgery = _as_date(typed["surgery_date"])
    if surgery is None:
        return
    mri, count = _as_date(typed["mri_date"]), _as_date(typed["cbc_date"])
    if mri is not None:
        first, last = mri_window(surgery)
        if mri > last:
            yield Reason("mri-after-stated-operation", {"date": str(mri), "operation": str(surgery)})
        elif mri < first:
            yield Reason("mri-too-early", {"date": str(mri), "operation": str(surgery)})
    if count is not None:
        first, last = blood_count_window(surgery)
        if count > last:
            yield Reason("blood-count-after-stated-operation", {"date": str(count), "operation": str(surgery)})
        elif count < first:
            yield Reason("blood-count-too-early", {"date": str(count), "operation": str(surgery)})


def _as_date(value: Cell) -> date | None:
    return date.fromisoformat(value) if isinstance(value, str) else None
