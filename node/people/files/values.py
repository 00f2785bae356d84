"""The cells of one column as those of a cohort table, or the doubt about the column as a whole."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction

from analytics.episodes.cohort import DIAGNOSES, YES_NO, coded_one_and_two
from analytics.reasons import Reason, Value
from node.hl7.catalogue import load_eligibility
from node.people.files.days import ORDERS, Order, is_open, read_day, serials, stated_orders
from node.people.files.header import INVERTED, NEUTRAL
from node.people.files.mapping import OPEN, ColumnPart
from node.people.files.numbers import Marks, coded, decimal_mark, marks, missing_codes, number, plain, scaled
from node.people.files.raw import SPREADSHEET_DAY_0
from node.people.files.vocabulary import load_vocabulary, word

RECURRING = 2
"""A text that is not understood and stands this often is a class of the column; a single one is that row's slip."""
FEW_BLANKS = 0.2
"""Share of blanks from here on where nobody answers no: a blank may be the no."""
ENOUGH_ANSWERS = 10
MOSTLY = 0.5
"""Share of the cells of a column of numbers that are none, from which on it is no matter of single rows."""
SHOWN_TEXTS = 6
"""Texts named in a doubt."""

SIGN_PAIRS = (({"+"}, {"-"}), ({"○", "〇", "◯", "√", "✓", "✔"}, {"×", "✕"}), ({"v"}, {"f"}))
"""Signs of yes with those that mean no beside them; alone a cross may be a tick."""

MISSING_CODES = frozenset({"9", "99", "999", "-9", "-99", "-999", "8", "88", "7", "77"})
"""Codes for a missing answer; in a yes/no column they are the row's problem."""

FIRST_DAY, LAST_DAY = "1900-01-01", "2200"
"""Days outside these stand for none, as systems write them (1899-12-30, 9999-12-31)."""

_ISO = re.compile(r"\d{4}-\d\d-\d\d")
_DECIMALS = re.compile(r"(?<=^\d)[.,]0+$")
"""What spreadsheets put behind a 1 or a 0."""
_WITH_UNIT = re.compile(r"([+\-−]?\d[\d.,'’ ]*?)\s*([^\W\d_].*|[%‰/×].*|(?<=\s)10[\^*⁹³⁶eE].*)")
"""A number with something behind it that may be a unit."""
_ICD = re.compile(r"([A-Z]\d[0-9A-Z](?:\.?[0-9A-Z]{1,4})?)\b")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A column of the file: its cells, what its header and its labels state, and what a person says of it."""

    column: str
    header: str
    as_named: str
    cells: Sequence[str]
    labels: Mapping[str, str] = field(default_factory=dict)
    typed: bool = False
    day_0: date = SPREADSHEET_DAY_0
    part: ColumnPart | None = None


@dataclass(kw_only=True)
class Become:
    """What a column became: canonical cells, the code table as understood, and the doubts about it as a whole."""

    cells: list[str]
    codes: dict[str, str] = field(default_factory=dict)
    dates: str = ""
    notes: list[Reason] = field(default_factory=list)
    doubts: list[Reason] = field(default_factory=list)


def prepared(source: Source) -> list[str]:
    """The cells with missing values blank: words, codes of the mapping, and labels that say so."""
    words = load_vocabulary().missing_words
    labelled = {code for code, label in source.labels.items() if word(label) in words}
    cells = ["" if cell.strip() in labelled or word(cell) in words else cell.strip() for cell in source.cells]
    return missing_codes(cells, source.part.missing) if source.part and source.part.missing else cells


def without_unit(cells: Sequence[str]) -> tuple[str, list[str]]:
    """The unit that stands behind the number in every cell that is not blank, and the cells without it.

    Empty where there is none, or not the same in all; the cells are then as they were.
    """
    found = [_WITH_UNIT.fullmatch(cell) for cell in cells if cell]
    units = {match[2] for match in found if match}
    if len(units) != 1 or None in found:
        return "", list(cells)
    (unit,) = units
    return unit, [cell.removesuffix(unit).strip() for cell in cells]


def numbers(source: Source, others: Sequence[Marks], factor: Fraction) -> Become:
    """Numbers in the column's unit; what is none stays as it is, for the check of its row."""
    cells = [plain(cell) for cell in prepared(source)]
    mark = "." if source.typed else decimal_mark(marks(cells), others)
    if mark is None:
        example = next(cell for cell in cells if "," in cell)
        return Become(cells=cells, doubts=[Reason("comma-unclear", {"column": source.column, "text": example})])
    read = [number(cell, mark) if cell else "" for cell in cells]
    become = Become(
        cells=[old if new is None else scaled(new, factor) if new else "" for old, new in zip(cells, read, strict=True)]
    )
    others_than = [cell for cell, new in zip(cells, read, strict=True) if new is None]
    if len(others_than) >= ENOUGH_ANSWERS and len(others_than) > MOSTLY * sum(map(bool, cells)):
        about: dict[str, Value] = {"column": source.column, "text": others_than[0], "n": len(others_than)}
        become.doubts.append(Reason("column-not-numbers", about))
    return become


def answers(source: Source) -> Become:
    """1 and 0 of a yes/no column or of the sex, where every class of it is understood."""
    cells = [_DECIMALS.sub("", cell) for cell in prepared(source)]
    if source.part and source.part.codes:
        return _by_codes(source.part.codes, list(source.cells))
    known = _sex(cells, source) if source.column == "sex_male" else _yes_no(cells, source)
    cells = [_labelled(cell, source.labels, known) for cell in cells]
    if source.column == "sex_male":
        known = _sex(cells, source)
    seen = Counter(word(cell) for cell in cells if cell)
    become = Become(cells=[_answer(cell, known) for cell in cells])
    become.codes = {text: str(known[text]) for text in sorted(seen) if text in known}
    unknown = _not_understood(source, seen, known)
    doubt = _coding_doubt(source, cells, become.cells, seen, unknown)
    if doubt is not None:
        become.doubts.append(doubt)
        asked = seen if doubt.code == "column-coded-one-and-two" else unknown or seen
        become.codes |= dict.fromkeys(asked, OPEN)
        if "" in become.cells and set(become.codes.values()) <= {OPEN, "1"}:
            become.codes[""] = OPEN  # nobody answers no: a blank may be it
    return become


def _not_understood(source: Source, seen: Mapping[str, int], known: Mapping[str, int]) -> dict[str, int]:
    """Answers of no class, with how often; one that is missing, or neither sex, concerns its row alone."""
    rows_own = MISSING_CODES | (load_vocabulary().neither_sex if source.column == "sex_male" else frozenset())
    return {text: n for text, n in seen.items() if text not in known and text not in rows_own}


def _coding_doubt(
    source: Source, cells: Sequence[str], read: Sequence[str], seen: Mapping[str, int], unknown: Mapping[str, int]
) -> Reason | None:
    """Why it is not sure which answers the cells of a column are, by how often each text stands there."""
    if source.as_named == NEUTRAL and seen.keys() & {"0", "1"}:
        return Reason("sex-coding-unclear", {"column": source.header, "texts": _texts(seen)})
    if coded_one_and_two(cells):
        return Reason("column-coded-one-and-two", {"column": source.column})
    if any(n >= RECURRING for n in unknown.values()):
        return Reason("column-coding-unclear", {"column": source.column, "texts": _texts(unknown)})
    if _only_yes(source, read):
        return Reason("blank-answers-unclear", {"column": source.column, "blanks": read.count("")})
    return None


def diagnoses(source: Source) -> Become:
    """The three diagnoses from their short names, words, or ICD-10 codes by ``conf/eligibility.toml``."""
    cells = prepared(source)
    if source.part and source.part.codes:
        return _by_codes(source.part.codes, list(source.cells))
    cells = [_labelled(cell, source.labels, _diagnosis) for cell in cells]
    table = {text: _diagnosis(text) for text in dict.fromkeys(cells) if text}
    become = Become(cells=[table.get(cell) or cell for cell in cells])
    become.codes = {text: group for text, group in table.items() if group and group != text.upper()}
    counts = Counter(cells)
    unknown = {text: counts[text] for text, group in table.items() if group is None and not _ICD.match(text.upper())}
    if any(n >= RECURRING for n in unknown.values()):
        become.doubts = [Reason("column-coding-unclear", {"column": source.column, "texts": _texts(unknown)})]
        become.codes |= dict.fromkeys(unknown, OPEN)
    return become


def days(source: Source, in_file: frozenset[Order]) -> Become:
    """ISO dates; ``in_file`` are the orders that the days of all columns show."""
    cells = prepared(source)
    own = stated_orders(cells)
    stated = ORDERS[source.part.dates] if source.part and source.part.dates else None
    orders = frozenset({stated}) if stated else (own or in_file)
    become = Become(cells=cells)
    if len(orders) > 1 or (not orders and is_open(cells)):
        example = next((cell for cell in cells if is_open([cell])), next(cell for cell in cells if cell))
        code = {"column": source.column, "text": example}
        become.doubts = [Reason("date-order-unclear", code) if not own else Reason("date-orders-mixed", code)]
        become.dates = OPEN
        return become
    order: Order = next(iter(orders), "dmy")
    become.cells = [_day(cell, order, source) if cell else "" for cell in cells]
    if orders:
        become.dates = next(name for name, one in ORDERS.items() if one == order)
    if found := serials(cells):
        become.notes.append(Reason("dates-are-serial-numbers", {"column": source.column, "n": found}))
    return become


def _day(cell: str, order: Order, source: Source) -> str:
    """The ISO date of a cell: blank for a day that stands for none, the cell itself where it is no date."""
    read = read_day(cell, order, load_vocabulary().month_of, source.day_0) or cell
    return "" if _ISO.fullmatch(read) and not FIRST_DAY < read < LAST_DAY else read


def _by_codes(codes: Mapping[str, str], cells: list[str]) -> Become:
    """By the code table of a mapping; what is not in it stays as it is, for the check of its row."""
    made = {"missing": "", "other": "other diagnosis"}
    meanings = ((coded(cell, codes), cell) for cell in cells)
    found = [cell.strip() if meaning is None else made.get(meaning, meaning) for meaning, cell in meanings]
    return Become(cells=found, codes=dict(codes))


def _labelled(cell: str, labels: Mapping[str, str], known: Mapping[str, int] | Callable[[str], str | None]) -> str:
    """The value label in place of a code, where the words of the label are understood."""
    label = labels.get(cell)
    if label is None:
        return cell
    understood = word(label) in known if isinstance(known, Mapping) else known(label) is not None
    return label if understood or word(label) in _all_sex_words() else cell


def _yes_no(cells: Sequence[str], source: Source) -> dict[str, int]:
    known = {**load_vocabulary().answers(source.column), **YES_NO}
    for yes, no in SIGN_PAIRS:
        if yes & {word(cell) for cell in cells}:
            known |= dict.fromkeys(yes, 1) | dict.fromkeys(no, 0)
    return known


def _sex(cells: Sequence[str], source: Source) -> dict[str, int]:
    """1 for men: by the words where all languages that have them agree, else by what the header says of 1."""
    seen = {word(cell) for cell in cells if cell}
    tables = []
    for one in load_vocabulary().sex.words:
        table = {word(text): 0 for text in one.female} | {word(text): 1 for text in one.male}
        if seen and seen - MISSING_CODES - load_vocabulary().neither_sex <= table.keys():
            tables.append({text: table[text] for text in seen if text in table})
    if tables:
        return tables[0] if all(one == tables[0] for one in tables) else {}
    numbers = YES_NO if source.column == "sex_male" and source.as_named != NEUTRAL else {}
    own = load_vocabulary().answers("sex_male") if source.as_named != NEUTRAL else {}
    known = {**own, **numbers}
    return {text: 1 - value for text, value in known.items()} if source.as_named == INVERTED else known


def _all_sex_words() -> frozenset[str]:
    sets = load_vocabulary().sex.words
    return frozenset(word(text) for one in sets for text in (*one.male, *one.female))


def _answer(cell: str, known: Mapping[str, int]) -> str:
    value = known.get(word(cell))
    return cell if value is None else str(value)


def _only_yes(source: Source, cells: Sequence[str]) -> bool:
    if source.column not in ("smoking", "diabetes"):
        return False  # the model does without the others, and a sex of blanks is no class
    blanks = cells.count("")
    given = set(cells) - {""}
    return given == {"1"} and len(cells) >= ENOUGH_ANSWERS and blanks >= FEW_BLANKS * len(cells)


def _diagnosis(text: str) -> str | None:
    upper = text.strip().upper()
    if upper in DIAGNOSES:
        return upper
    if match := _ICD.match(upper):
        return load_eligibility().diagnosis_group(match[1])
    folded = word(text)
    found = [
        group
        for group, keywords in load_vocabulary().diagnoses.items()
        if any(word(keyword) in folded for keyword in keywords)
    ]
    return found[0] if len(found) == 1 else None


def _texts(counts: Mapping[str, int]) -> tuple[str, ...]:
    most = sorted(counts, key=lambda text: (-counts[text], text))
    return tuple(repr(text) for text in most[:SHOWN_TEXTS])
