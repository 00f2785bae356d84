"""A cohort table as understood: which column is which, its cells in the cohort's units and codes, and every doubt."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial

from analytics.columns import CELLS, COHORT, INDICES, OF_THE_PAPER, columns
from analytics.episodes.cohort import NUMBER
from analytics.episodes.whole_table import ColumnDoubt, column_doubts
from analytics.reasons import Reason
from node.errors import CohortError
from node.people.files.days import Order, stated_orders
from node.people.files.formats import read_file
from node.people.files.header import PERCENT, Named, factor, named, title_codes
from node.people.files.mapping import OPEN, ColumnPart, FilePart
from node.people.files.mapping import Mapping as FileMapping
from node.people.files.numbers import Marks, marks, plain
from node.people.files.raw import RawRow, RawTable
from node.people.files.values import Become, Source, answers, days, diagnoses, numbers, prepared, without_unit
from node.people.files.vocabulary import load_vocabulary, word

NEEDED = ("id", "vbq", "age", "sex_male", "smoking", "diabetes", "diagnosis", "bmi")
"""Columns that a table must have; the ratios may be computed from the counts."""
RATIO_CELLS = {index.name: (*index.upper, *index.lower) for index in INDICES if index.name in OF_THE_PAPER}
LONGEST_NAME, MOST_NAMES = 40, 40
"""Characters of a name of a column, and how many of them, that an error shows."""
SUMMARY_ROWS = 6
"""At the end of a table, where rows that sum up the others stand."""
SAME_SHARE = 0.02
"""A ratio within this of the quotient of two columns was computed from them."""

ORDER = (*(one.name for one in COHORT), "leukocytes")


class UnnamedColumnsError(CohortError):
    """Needed columns are not found in the file; ``proposal`` is a mapping that asks for them."""

    def __init__(self, reason: Reason, proposal: FileMapping) -> None:
        super().__init__(reason)
        self.proposal = proposal


@dataclass(frozen=True, kw_only=True)
class TableColumn:
    """One column of the cohort table: where it comes from and what it became."""

    name: str
    header: str
    cells: tuple[str, ...]
    unit: str = ""
    factor: Fraction = Fraction(1)
    codes: Mapping[str, str] = field(default_factory=dict)
    dates: str = ""
    doubts: tuple[Reason, ...] = ()
    notes: tuple[Reason, ...] = ()
    proposal: ColumnPart


@dataclass(frozen=True, kw_only=True)
class Understood:
    """A file as understood; ``columns`` and ``others`` (by header) have a cell for each of ``lines``."""

    raw: RawTable
    columns: tuple[TableColumn, ...]
    others: Mapping[str, tuple[str, ...]]
    lines: tuple[int, ...]
    malformed: tuple[tuple[int, Reason], ...]
    computed: Mapping[str, int]
    """Ratios that were computed from the counts, by column."""
    settled: frozenset[str]

    @property
    def doubts(self) -> tuple[Reason, ...]:
        """What is wrong with columns as a whole."""
        return tuple(dict.fromkeys(doubt for column in self.columns for doubt in column.doubts))

    @property
    def empty(self) -> tuple[Reason, ...]:
        """The columns of a cohort table that the file has and that hold nothing."""
        needed = columns(required=True)
        blank = [one.name for one in self.columns if one.header and one.name in needed and not any(one.cells)]
        return tuple(Reason("column-empty", {"column": name}) for name in blank)

    def rows(self) -> list[dict[str, str]]:
        """The cells row by row, by column; other columns by their header, where it is none of a cohort table."""
        named_cells = [(one.name, one.cells) for one in self.columns]
        taken = {name for name, _ in named_cells}
        named_cells += [(name, cells) for name, cells in self.others.items() if name not in taken]
        return [{name: cells[i] for name, cells in named_cells} for i in range(len(self.lines))]

    def proposal(self) -> FileMapping:
        """A mapping that says what was understood and asks what was not."""
        by_default = self.raw.encoding in ("", "utf-8") and self.raw.separator in ("", ",")
        opened = FilePart() if by_default else FilePart(encoding=self.raw.encoding, separator=self.raw.separator)
        return FileMapping(file=opened, columns={one.name: one.proposal for one in self.columns if one.header})


def understand(content: bytes, mapping: FileMapping | None = None) -> Understood:
    """Read a file in any format and understand its columns.

    Raises
    ------
    CohortError
        The file as a whole cannot be read, or its columns are not those of a cohort table.
    """
    mapping = mapping or FileMapping()
    opened = mapping.file
    sources = {part.source for part in mapping.columns.values()}
    raw = read_file(
        content,
        known=lambda text: named(text) is not None or text.strip() in sources,
        encoding=opened.encoding,
        separator=opened.separator,
        sheet=opened.sheet,
    )
    rows, malformed = _rows(raw)
    grid = [tuple(row.cells[i] for row in rows) for i in range(len(raw.header))]
    assigned = _assigned(raw, grid, mapping)
    _complete(raw, assigned)
    found = _converted(raw, grid, assigned, mapping)
    settled = frozenset(name for name, part in mapping.columns.items() if part.checked)
    found = _judged(found, settled)
    found, computed = _with_ratios(found, len(rows))
    others = {
        header: tuple(cell.strip() for cell in grid[i])
        for i, header in enumerate(raw.header)
        if header and i not in {index for index, _ in assigned.values()}
    }
    in_order = tuple(sorted(found.values(), key=lambda one: ORDER.index(one.name)))
    return Understood(
        raw=raw,
        columns=in_order,
        others=others,
        lines=tuple(row.line for row in rows),
        malformed=tuple(malformed),
        computed=computed,
        settled=settled,
    )


def _rows(raw: RawTable) -> tuple[list[RawRow], list[tuple[int, Reason]]]:
    """The rows with as many cells as the header, without blank ones and those that sum up the others."""
    width = len(raw.header)
    rows: list[RawRow] = []
    malformed: list[tuple[int, Reason]] = []
    for row in raw.rows:
        cells = row.cells
        if not any(cell.strip() for cell in cells):
            continue
        while len(cells) > width and not cells[-1].strip():
            cells = cells[:-1]
        if tuple(cell.strip() for cell in cells) == raw.header:
            malformed.append((row.line, Reason("row-of-names")))
        elif len(cells) == width:
            rows.append(RawRow(line=row.line, cells=cells))
        else:
            malformed.append((row.line, Reason("row-of-other-length", {"cells": len(cells), "header": width})))
    return rows, malformed


def _assigned(raw: RawTable, grid: Sequence[Sequence[str]], mapping: FileMapping) -> dict[str, tuple[int, Named]]:
    """The index of the column that each column of the cohort table is made from."""
    header = list(raw.header)
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        raise CohortError(Reason("file-columns-repeated", {"columns": _quoted(repeated)}))
    found: dict[str, tuple[int, Named]] = {}
    for name, part in mapping.columns.items():
        if part.source not in header:
            raise CohortError(Reason("mapping-without-source", {"column": name, "source": part.source}))
        own = named(part.source)
        as_named = own.as_named if own is not None and own.column == name else name
        found[name] = header.index(part.source), Named(column=name, as_named=as_named, unit=part.unit)
    for name, several in _candidates(raw, mapping, found).items():
        exact = [one for one in several if one[1].exact]
        if len(several) > 1 and len(exact) != 1:
            raise CohortError(
                Reason(
                    "file-column-ambiguous",
                    {"column": name, "headers": _quoted(header[index] for index, _ in several)},
                )
            )
        found[name] = exact[0] if exact else several[0]
    if "id" not in found and "" in header and _row_names(grid[header.index("")]):
        found["id"] = header.index(""), Named(column="id", as_named="id")
    return found


def _candidates(
    raw: RawTable, mapping: FileMapping, found: Mapping[str, tuple[int, Named]]
) -> dict[str, list[tuple[int, Named]]]:
    """What each column of the cohort table that has not been found yet may be made from, by the names of the header."""
    taken = {index for index, _ in found.values()}
    candidates: dict[str, list[tuple[int, Named]]] = {}
    for index, text in enumerate(raw.header):
        if index in taken or not text or text in mapping.ignore:
            continue
        meant = named(text) or named(raw.titles.get(text, ""))
        if meant is not None and meant.column not in found:
            candidates.setdefault(meant.column, []).append((index, meant))
    return candidates


def _row_names(cells: Sequence[str]) -> bool:
    given = [cell.strip() for cell in cells]
    return bool(given) and all(given) and len(set(given)) == len(given)


def _complete(raw: RawTable, assigned: Mapping[str, tuple[int, Named]]) -> None:
    missing = [name for name in NEEDED if name not in assigned]
    missing += [
        name for name, cells in RATIO_CELLS.items() if name not in assigned and not set(cells) <= assigned.keys()
    ]
    if missing:
        spare = [header for header in raw.header if header and named(header) is None]
        found = {
            name: ColumnPart(source=raw.header[index]) for name, (index, _) in assigned.items() if raw.header[index]
        }
        proposal = FileMapping(columns={**{name: ColumnPart(source=OPEN) for name in missing}, **found})
        raise UnnamedColumnsError(
            Reason(
                "file-columns-missing",
                {
                    "missing": _quoted(missing),
                    "spare": _quoted(spare),
                    "needed": ", ".join(columns(required=True)),
                    "optional": ", ".join(columns(required=False)),
                },
            ),
            proposal,
        )


def _quoted(names: Iterable[str]) -> str:
    """Names of columns; a first line that is none may be anything."""
    quoted = [repr(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…") for name in names]
    return ", ".join(quoted[:MOST_NAMES]) + (", …" if len(quoted) > MOST_NAMES else "")


def _converted(
    raw: RawTable, grid: Sequence[Sequence[str]], assigned: Mapping[str, tuple[int, Named]], mapping: FileMapping
) -> dict[str, TableColumn]:
    sources = {
        name: Source(
            column=name,
            header=raw.header[index],
            as_named=meant.as_named,
            cells=grid[index],
            labels={**meant.codes, **title_codes(raw.titles.get(raw.header[index], "")),
                    **raw.labels.get(raw.header[index], {})},
            typed=raw.typed,
            day_0=raw.day_0,
            part=mapping.columns.get(name),
        )
        for name, (index, meant) in assigned.items()
    }  # fmt: skip
    kinds = {one.name: one.kind for one in COHORT} | {"leukocytes": "number"}
    units = {name: meant.unit for name, (_, meant) in assigned.items()}
    for name in [name for name in sources if kinds[name] == "number"]:
        sources[name], units[name] = _without_units(sources[name], units[name])
    written: dict[str, Marks] = {
        name: marks(plain(cell) for cell in prepared(one)) for name, one in sources.items() if kinds[name] == "number"
    }
    dated = [one for name, one in sources.items() if kinds[name] == "date"]
    orders = frozenset[Order]().union(*(stated_orders(prepared(one)) for one in dated))
    found: dict[str, TableColumn] = {}
    for name, source in sources.items():
        factored = _factor(name, units[name], source.part)
        scale = factored if isinstance(factored, Fraction) else Fraction(1)
        others = [one for other, one in written.items() if other != name]
        make: Mapping[str, Callable[[], Become]] = {
            "number": partial(numbers, source, others, scale),
            "flag": partial(answers, source),
            "class": partial(diagnoses, source),
            "date": partial(days, source, orders),
        }
        become = make[kinds[name]]() if kinds[name] in make else Become(cells=_texts(source, kinds[name]))
        found[name] = _column(name, source, become, units[name], factored)
    return _of_percentages(found)


def _without_units(source: Source, unit: str) -> tuple[Source, str]:
    """A column of numbers whose cells all name one known unit, as if its name did; one that contradicts it stays."""
    stated, cells = without_unit(prepared(source))
    known = factor(source.column, stated) if stated else None
    if known is None or (unit and factor(source.column, unit) != known):
        return source, unit
    return replace(source, cells=cells), unit or stated


def _texts(source: Source, kind: str) -> list[str]:
    # An id is what the site says it is, whatever it looks like.
    return [cell.strip() for cell in source.cells] if kind == "id" else prepared(source)


def _factor(name: str, unit: str, part: ColumnPart | None) -> Fraction | str:
    if part is not None and part.factor:
        return Fraction(part.factor)
    return factor(name, unit) or Fraction(1) if unit else Fraction(1)


def _column(name: str, source: Source, become: Become, unit: str, factored: Fraction | str) -> TableColumn:
    part = source.part or ColumnPart(source=source.header, unit=unit if factor(name, unit) is not None else "")
    if become.doubts:
        part = part.model_copy(update={"codes": dict(become.codes), "dates": become.dates})
    return TableColumn(
        name=name,
        header=source.header,
        cells=tuple(become.cells),
        unit=PERCENT if factored == PERCENT else unit,
        factor=factored if isinstance(factored, Fraction) else Fraction(1),
        codes=become.codes,
        dates=become.dates,
        doubts=tuple(become.doubts),
        notes=tuple(become.notes),
        proposal=part,
    )


def _of_percentages(found: dict[str, TableColumn]) -> dict[str, TableColumn]:
    """Counts from percentages and leukocytes; without leukocytes the ratio of the two, and no counts."""
    shares = [name for name, one in found.items() if one.unit == PERCENT and name in CELLS]
    leukocytes = found.get("leukocytes")
    made = found | {name: _counts_of(found[name], leukocytes) for name in shares}
    if leukocytes is None and {"neutrophils", "lymphocytes"} <= set(shares) and "nlr" in found:
        # The ratio needs no counts: it is that of the percentages.
        quotients = _quotients(found["neutrophils"].cells, found["lymphocytes"].cells)
        cells = tuple(cell or quotient for cell, quotient in zip(found["nlr"].cells, quotients, strict=True))
        made["nlr"] = replace(found["nlr"], cells=cells)
    if leukocytes is None and "lymphocytes" in shares and {"plr", "platelets"} <= found.keys():
        quotients = _quotients(found["platelets"].cells, found["lymphocytes"].cells)
        if _mostly_same(_values(found["plr"].cells), _values(quotients)):
            doubt = Reason("ratio-of-percentages", {"column": "plr"})
            made["plr"] = replace(made["plr"], doubts=(*made["plr"].doubts, doubt))
    return made


def _counts_of(share: TableColumn, leukocytes: TableColumn | None) -> TableColumn:
    """The counts that a column of percentages stands for; blank where there are no leukocytes."""
    if leukocytes is None or leukocytes.unit == PERCENT:
        return replace(share, cells=("",) * len(share.cells))
    pairs = zip(_values(leukocytes.cells), _values(share.cells), strict=True)
    cells = ("" if total is None or percent is None else repr(total * percent / 100) for total, percent in pairs)
    return replace(share, cells=tuple(cells))


def _mostly_same(stated: Sequence[float | None], computed: Sequence[float | None]) -> bool:
    pairs = zip(stated, computed, strict=True)
    same = [a is not None and b is not None and abs(a - b) <= SAME_SHARE * b for a, b in pairs]
    return sum(same) > len(same) / 2


def _values(cells: Sequence[str]) -> list[float | None]:
    return [float(cell) if NUMBER.fullmatch(cell) else None for cell in cells]


def _quotients(upper: Sequence[str], lower: Sequence[str]) -> list[str]:
    pairs = zip(_values(upper), _values(lower), strict=True)
    return [repr(one / other) if one is not None and other else "" for one, other in pairs]


def _judged(found: dict[str, TableColumn], settled: frozenset[str]) -> dict[str, TableColumn]:
    """The columns with what is wrong with their numbers as a whole, and the proposal that would settle it."""
    kinds = {one.name: one.kind for one in COHORT}
    given = {
        name: _values(one.cells)
        for name, one in found.items()
        if kinds.get(name, "number") == "number" and not one.doubts
    }
    made = dict(found)
    headers = {name: one.header for name, one in found.items()}
    for doubt in column_doubts(given):
        if doubt.column not in settled:
            column = found[doubt.column]
            proposal = _proposal(column, doubt, headers)
            made[doubt.column] = replace(column, doubts=(*column.doubts, doubt.reason), proposal=proposal)
    return made


def _proposal(column: TableColumn, doubt: ColumnDoubt, headers: Mapping[str, str]) -> ColumnPart:
    if doubt.exchanged_with is not None:
        return column.proposal.model_copy(update={"source": headers[doubt.exchanged_with]})
    if doubt.percent:
        return column.proposal.model_copy(update={"unit": PERCENT})
    whole = column.factor * Fraction(str(doubt.factor or 1.0))
    return column.proposal.model_copy(update={"unit": "", "factor": str(whole)})


def _with_ratios(found: dict[str, TableColumn], n_rows: int) -> tuple[dict[str, TableColumn], dict[str, int]]:
    """NLR and PLR computed from the counts where they are blank."""
    made, computed = dict(found), dict[str, int]()
    for name, (upper, lower) in RATIO_CELLS.items():
        column = found.get(name) or TableColumn(
            name=name, header="", cells=("",) * n_rows, proposal=ColumnPart(source="")
        )
        cells = list(column.cells)
        if upper in found and lower in found:
            quotients = _quotients(found[upper].cells, found[lower].cells)
            for i, cell in enumerate(cells):
                if not cell and quotients[i]:
                    cells[i] = quotients[i]
                    computed[name] = computed.get(name, 0) + 1
        made[name] = replace(column, cells=tuple(cells))
    return made, computed


def is_summary(table: Understood, index: int) -> bool:
    """Whether a row near the end of the table sums up the others, by its id."""
    ids = next(one.cells for one in table.columns if one.name == "id")
    return index >= len(ids) - SUMMARY_ROWS and word(ids[index]) in load_vocabulary().summary_words
