"""What laboratories and interfaces get wrong in the numbers of a blood count: each slip changes the rows it is given.

The kinds are those that were seen or published: units that are off by powers of ten, points and commas, results in each
other's row, clumped platelets, clotted tubes. How often a flag of the laboratory still tells the truth is drawn.
"""

from collections.abc import Callable, Sequence
from random import Random

from tests.benchmarks.hospital.dialects import Laboratory, Row

FACTORS = (0.001, 0.01, 0.1, 10.0, 100.0, 1000.0)
CLUMPED = {
    "AT": "Thrombozytenaggregate, Zählung nicht verwertbar",
    "US": "Platelet clumps present, count unreliable",
    "CN": "血小板聚集，计数不准确",
    "BR": "Presença de agregados plaquetários",
    "JP": "血小板凝集あり",
}
SPOILT = {
    "AT": "Probe geronnen",
    "US": "Specimen clotted",
    "CN": "标本凝固",
    "BR": "Amostra coagulada",
    "JP": "検体凝固",
}

Slip = Callable[[Random, Laboratory, list[Row]], bool]
"""Changes rows; whether a ratio is wrong by it."""


def _cell(rows: Sequence[Row], cell: str, *, percent: bool = False) -> Row:
    return next(row for row in rows if row.cell == cell and row.percent == percent)


def _of_ratios(laboratory: Laboratory, rows: Sequence[Row]) -> list[Row]:
    """The rows from which the ratios are made, and the white cells."""
    percent = not laboratory.absolutes
    return [_cell(rows, cell, percent=percent) for cell in ("neutrophils", "lymphocytes")] + [_cell(rows, "platelets")]


def one_cell(random: Random, laboratory: Laboratory, rows: list[Row]) -> bool:
    """One result is off by a power of ten: by an interface that leaves the flag, or by a typing hand."""
    row = random.choice(_of_ratios(laboratory, rows))
    factors = [one for one in FACTORS if not row.percent or one < 1]
    _scale(random, [row], random.choice(factors))
    return True


def white_cells(random: Random, laboratory: Laboratory, rows: list[Row]) -> bool:
    """All white cells in another unit than said, platelets not."""
    _scale(random, [row for row in rows if row.cell != "platelets" and not row.percent], random.choice(FACTORS))
    return True


def wrong_unit(random: Random, laboratory: Laboratory, rows: list[Row]) -> bool:
    """The number is right, the unit beside it is another's."""
    candidates = [row for row in _of_ratios(laboratory, rows) if not row.percent]
    random.choice(candidates).unit = random.choice(laboratory.slips)
    return True


def point_moved(random: Random, laboratory: Laboratory, rows: list[Row]) -> bool:
    """A decimal point typed one place off; the flag is made of the wrong number."""
    row = random.choice(_of_ratios(laboratory, rows))
    row.factor = 0.1 if row.percent and row.value > 9 else random.choice((0.1, 10.0))
    row.flagged_by = row.value * row.factor
    return True


def fractions(random: Random, laboratory: Laboratory, rows: list[Row]) -> bool:
    """Percentages sent as fractions, with the unit %, in some rows."""
    percentages = [row for row in rows if row.percent]
    some = percentages if random.random() < 0.5 else [_cell(rows, "lymphocytes", percent=True)]
    for row in some:
        row.text = f"{row.value / 100:.3f}".replace(".", "," if laboratory.country == "BR" else ".")
    return not laboratory.absolutes


def swapped(random: Random, laboratory: Laboratory, rows: list[Row]) -> bool:
    """Two results in each other's row, the other form of both (percent, absolute) right."""
    percent = not laboratory.absolutes
    pairs = [("neutrophils", "lymphocytes"), ("lymphocytes", "monocytes"), ("neutrophils", "eosinophils")]
    if not percent:
        pairs += [("leukocytes", "platelets"), ("lymphocytes", "platelets"), ("neutrophils", "leukocytes")]
    first, second = (_cell(rows, cell, percent=percent) for cell in random.choice(pairs))
    if random.random() < 0.5:
        first.flagged_by, second.flagged_by = first.value, second.value
    first.value, second.value = second.value, first.value
    return True


def _scale(random: Random, rows: Sequence[Row], factor: float) -> None:
    by_hand = random.random() < 0.4
    for row in rows:
        row.factor = factor
        row.flagged_by = row.value * factor if by_hand else row.value


SLIPS: dict[str, Slip] = {
    "one cell off by a power of ten": one_cell,
    "white cells off by a power of ten": white_cells,
    "wrong unit": wrong_unit,
    "decimal point": point_moved,
    "fractions as percent": fractions,
    "swapped rows": swapped,
}
