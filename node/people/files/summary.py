"""What each column of a file became, shown back to a person before anything is stored."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analytics.columns import COHORT
from analytics.episodes.cohort import NUMBER
from analytics.reasons import Reason, codes, words
from node.people.files.tables import TableColumn, Understood

BINS = 8
BARS = "▁▂▃▄▅▆▇█"
MOST_TEXTS = 6
"""Texts that are listed of a column of words."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Numbers of a column: quartiles, range, and how many lie in each of :data:`BINS` equal parts of the range."""

    median: float
    q1: float
    q3: float
    least: float
    greatest: float
    histogram: tuple[int, ...]

    def in_words(self) -> str:
        """Median, quartiles, range and the histogram as bars."""
        top = max(self.histogram)
        bars = "".join(BARS[round(n / top * (len(BARS) - 1))] if n else " " for n in self.histogram)
        return f"{self.median:.4g} ({self.q1:.4g}–{self.q3:.4g}), {self.least:.4g} to {self.greatest:.4g} {bars}"


@dataclass(frozen=True, kw_only=True)
class ColumnSummary:
    """One column: where it comes from, how it was read, what it holds, and what is odd about it."""

    name: str
    source: str
    unit: str
    factor: str
    codes: dict[str, str]
    n: int
    missing: int
    computed: int
    spread: Spread | None
    texts: dict[str, int]
    """How often each code or word stands there; the first and last day of a column of dates."""
    odd: tuple[str, ...]
    odd_codes: tuple[str, ...]

    def row(self) -> tuple[str, ...]:
        """Cells of a table for a person."""
        read = [f"× {self.factor}"] if self.factor != "1" else []
        read += [self.unit] if self.unit else []
        read += (
            [", ".join(f"{code or 'blank'}→{meaning}" for code, meaning in self.codes.items())] if self.codes else []
        )
        read += [f"{self.computed} computed"] if self.computed else []
        holds = self.spread.in_words() if self.spread else ", ".join(f"{text} {n}" for text, n in self.texts.items())
        return self.name, self.source, "; ".join(read), str(self.n), str(self.missing), holds, "; ".join(self.odd)


HEADINGS = ("column", "from", "read as", "n", "missing", "holds", "odd")


def summaries(table: Understood, row_reasons: Sequence[Reason]) -> list[ColumnSummary]:
    """Every column of the cohort table that the file has; ``row_reasons`` are the problems of its rows."""
    told = [*table.empty, *(one for one in row_reasons if one not in table.empty)]
    return [_summary(column, table.computed.get(column.name, 0), told) for column in table.columns]


def _summary(column: TableColumn, computed: int, row_reasons: Sequence[Reason]) -> ColumnSummary:
    kind = next((one.kind for one in COHORT if one.name == column.name), "number")
    given = [cell for cell in column.cells if cell]
    numbers = [float(cell) for cell in given if NUMBER.fullmatch(cell)] if kind == "number" else []
    of_column = [reason for reason in row_reasons if reason.values.get("column") == column.name]
    of_rows = Counter(reason.short() for reason in of_column)
    odd = [*column.doubts, *column.notes]
    return ColumnSummary(
        name=column.name,
        source=column.header,
        unit=column.unit,
        factor=str(column.factor),
        codes=dict(column.codes),
        n=len(given),
        missing=len(column.cells) - len(given),
        computed=computed,
        spread=_spread(numbers) if numbers else None,
        texts=_texts(kind, given),
        odd=(*words(odd), *(f"{n} × {short}" for short, n in of_rows.most_common())),
        odd_codes=(*codes(odd), *dict.fromkeys(reason.code for reason in of_column)),
    )


def _texts(kind: str, given: Sequence[str]) -> dict[str, int]:
    counts = Counter(given)
    if kind == "date" and given:
        return {day: counts[day] for day in dict.fromkeys((min(given), max(given)))}
    return dict(counts.most_common(MOST_TEXTS)) if kind in ("flag", "class", "text") else {}


def _spread(numbers: Sequence[float]) -> Spread:
    values = np.array(numbers)
    q1, median, q3 = (float(one) for one in np.quantile(values, (0.25, 0.5, 0.75)))
    counted, _ = np.histogram(values, bins=BINS)
    return Spread(
        median=median,
        q1=q1,
        q3=q3,
        least=float(values.min()),
        greatest=float(values.max()),
        histogram=tuple(int(n) for n in counted),
    )


def to_json(table: Understood, row_reasons: Sequence[Reason]) -> dict[str, Any]:
    """The file, its columns, and what is wrong with them as a whole, as plain dicts and lists."""
    raw = table.raw
    return {
        "file": {"format": raw.form, "encoding": raw.encoding, "separator": raw.separator, "rows": len(table.lines)},
        "columns": [asdict(one) for one in summaries(table, row_reasons)],
        "not_used": sorted(table.others),
        "doubts": words(table.doubts),
        "doubt_codes": codes(table.doubts),
    }
