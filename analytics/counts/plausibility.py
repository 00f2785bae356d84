"""Whether the numbers of one blood count can be right together.

Units slip by factors of 10, 100 and 1000, and a thousands point looks like a decimal point: numbers are compared by
their quotient, each cell against the others. What cannot be is held for a person; what is only odd is told.

References
----------
Paper, "complete blood count": neutrophils and lymphocytes make up most leukocytes; in health 55–95 % of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log

from analytics.columns import OF_THE_PAPER, Cell
from analytics.plausible import RANGES
from analytics.reasons import Reason, Value

MAX_PERCENT_SUM = 101.0
"""Neutrophils and lymphocytes together, in %; more than 100 only by rounding."""
LIKE_PERCENT_SUM = 60.0
"""Neutrophils and lymphocytes together from here on to 101 are rarely a count in 10⁹/L and usually one in %."""
MIN_SHARE = 0.15
"""Neutrophils and lymphocytes together are at least this share of the leukocytes, but for leukaemias with almost only
blasts and for eosinophilia: a person looks at those."""
MIN_SHARE_OF_THREE_PERCENT = 72.0
"""Neutrophils, lymphocytes and monocytes together; the rest is more only in eosinophilia and with blasts,"""
MIN_SHARE_OF_TWO = 0.8
"""Neutrophils and lymphocytes together where the lymphocytes are what fills the leukocytes."""
MANY_NEUTROPHILS_10E9_PER_L = 20.0
"""Neutrophils that are more came with an infection, with steroids, or in another unit."""
MANY_LEUKOCYTES_10E9_PER_L = 15.0
"""which both come with leukocytes from about here on."""
MANY_MONOCYTES_PERCENT = 15.0
"""Adults have 2 to 10 % (Oxford Handbook of Clinical Medicine); more are seen in chronic myelomonocytic leukaemia and
while marrow recovers,"""
ABOVE_LYMPHOCYTES = 1.25
"""and hardly ever this many times the lymphocytes: then the two rows look exchanged."""
USUAL_LEUKOCYTES_10E9_PER_L = 7.0
MOST_FACTOR_BELOW, MOST_FACTOR_ABOVE = 4.0, 5.0
"""Leukocytes this many times below and above the usual, of patients"""
SHARES_BELOW_PERCENT, SHARES_ABOVE_PERCENT = (5.0, 70.0), (7.0, 50.0)
"""whose lymphocytes are such a share of them, as is usual, and who are not,"""
USUAL_PLATELETS_10E9_PER_L = (150.0, 500.0)
"""with platelets as usual, short of marrow (chemotherapy, aplasia) or leukaemic (few or nearly only lymphocytes)."""
SUM_TOLERANCE_SHARE = 0.05
SUM_TOLERANCE_10E9_PER_L = 0.1
"""Largest excess of N + L over the leukocytes: the counts are rounded and may be of different channels."""
AGREEMENT_SHARE = 0.1
AGREEMENT_10E9_PER_L = 0.15
"""A count and leukocytes × % further apart than both of these disagree."""
SLIP_FACTOR = 3.0
"""A count and leukocytes × % that are this many times apart are no two measurements of one blood: a unit slipped."""
ROUNDING_10E9_PER_L = 0.3
"""Counts nearer to each other than this are not told apart by their quotient: both are rounded to 0.1."""


@dataclass(frozen=True, kw_only=True)
class Quantities:
    """The numbers of one count, in 10⁹/L, and the percentages of the leukocytes; ``None`` where not reported.

    ``counted`` are the cells as counted, not those made of leukocytes and percentages.
    """

    counted: Mapping[Cell, float | None]
    percent: Mapping[Cell, float | None]
    leukocytes: float | None
    indices: Mapping[str, float | None]
    monocytes_percent: float | None = None
    monocytes: float | None = None
    """As counted."""
    platelets: float | None = None

    def expected(self, cell: Cell) -> float | None:
        """The count that the percentage stands for."""
        percent = self.percent[cell]
        return None if percent is None or self.leukocytes is None else self.leukocytes * percent / 100

    def confirmed(self, cell: Cell) -> bool:
        """Counted, and in agreement with its percentage: two measurements say the same."""
        return close(self.counted[cell], self.expected(cell))

    @property
    def lymphocytes_fill_the_leukocytes(self) -> bool:
        """As in lymphatic leukaemia: most cells, beside neutrophils that no slip of a unit has moved."""
        counted = [self.counted[cell] for cell in DIFFERENTIAL]
        neutrophils, lymphocytes = counted if any(counted) else map(self.expected, DIFFERENTIAL)
        if neutrophils is None or lymphocytes is None or self.leukocytes is None:
            return False
        filled = neutrophils + lymphocytes >= MIN_SHARE_OF_TWO * self.leukocytes
        return filled and neutrophils <= min(lymphocytes, MANY_NEUTROPHILS_10E9_PER_L)


DIFFERENTIAL: tuple[Cell, Cell] = ("neutrophils", "lymphocytes")


def oddities(found: Quantities) -> list[Reason]:
    """What looks odd and is used all the same."""
    return [reason for cell in DIFFERENTIAL if (reason := _disagreement(found, cell)) and not _slipped(found, cell)]


def contradictions(found: Quantities) -> list[Reason]:
    """What cannot be; a count with any of these is held."""
    reasons = [*_percentages(found), *_sum(found)]
    reasons = reasons or _rest(found)
    reasons += [
        Reason("count-and-percentage-far-apart", {"analyte": cell, "count": counted, "expected": expected})
        for cell in DIFFERENTIAL
        if _slipped(found, cell)
        for counted, expected in [(found.counted[cell], found.expected(cell))]
    ]
    neutrophils, lymphocytes = (found.counted[cell] for cell in DIFFERENTIAL)
    if (
        any(_disagreement(found, cell) for cell in DIFFERENTIAL)
        and close(neutrophils, found.expected("lymphocytes"))
        and close(lymphocytes, found.expected("neutrophils"))
    ):
        reasons.append(Reason("counts-look-exchanged"))
    return [*reasons, *_monocytes(found), *_white_cells(found), *_indices(found)]


def _percentages(found: Quantities) -> list[Reason]:
    neutrophils, lymphocytes = (found.percent[cell] for cell in DIFFERENTIAL)
    if neutrophils is None or lymphocytes is None:
        return []
    together = neutrophils + lymphocytes
    if together > MAX_PERCENT_SUM:
        return [Reason("percentages-above-100", {"percent": together})]
    if 0 < together < 100 * MIN_SHARE:
        return [Reason("percentages-far-below-100", {"percent": together})]
    return []


def _sum(found: Quantities) -> list[Reason]:
    neutrophils, lymphocytes = (found.counted[cell] for cell in DIFFERENTIAL)
    together = (neutrophils or 0.0) + (lymphocytes or 0.0)
    if found.leukocytes is None:
        if neutrophils and lymphocytes and LIKE_PERCENT_SUM <= together <= MAX_PERCENT_SUM:
            return [Reason("counts-like-percentages", {"together": together})]
        return []
    about: dict[str, Value] = {"together": together, "leukocytes": found.leukocytes}
    if together > found.leukocytes * (1 + SUM_TOLERANCE_SHARE) + SUM_TOLERANCE_10E9_PER_L:
        return [Reason("counts-above-leukocytes", about)]
    both = neutrophils is not None and lymphocytes is not None
    if both and together < MIN_SHARE * found.leukocytes and found.leukocytes - together > ROUNDING_10E9_PER_L:
        return [Reason("counts-far-below-leukocytes", about)]
    return []


def _rest(found: Quantities) -> list[Reason]:
    """Three of the five kinds that leave too much to eosinophils and basophils, of leukocytes that are not many."""
    if found.monocytes_percent is None or not found.leukocytes or found.leukocytes >= MANY_LEUKOCYTES_10E9_PER_L:
        return []
    for shares in (found.percent, {cell: _share(found, cell) for cell in DIFFERENTIAL}):
        neutrophils, lymphocytes = (shares[cell] for cell in DIFFERENTIAL)
        if neutrophils is None or lymphocytes is None:
            continue
        together = neutrophils + lymphocytes + found.monocytes_percent
        if together < MIN_SHARE_OF_THREE_PERCENT:
            return [Reason("differential-incomplete", {"percent": together})]
    return []


def _share(found: Quantities, cell: Cell) -> float | None:
    counted = found.counted[cell]
    return 100 * counted / found.leukocytes if counted is not None and found.leukocytes else None


def _disagreement(found: Quantities, cell: Cell) -> Reason | None:
    counted, expected = found.counted[cell], found.expected(cell)
    if counted is None or expected is None or close(counted, expected):
        return None
    return Reason("count-and-percentage-disagree", {"analyte": cell, "count": counted, "expected": expected})


def _slipped(found: Quantities, cell: Cell) -> bool:
    counted, expected = found.counted[cell], found.expected(cell)
    if counted is None or expected is None or abs(counted - expected) <= ROUNDING_10E9_PER_L:
        return False
    return max(counted, expected) >= SLIP_FACTOR * min(counted, expected)


def _monocytes(found: Quantities) -> list[Reason]:
    """Monocytes that are probably the lymphocytes, unless these are counted and confirmed."""
    monocytes, lymphocytes = found.monocytes_percent, found.percent["lymphocytes"]
    if _fits_monocytes(found):
        return [Reason("lymphocytes-exchanged-for-monocytes")]
    if monocytes is None or lymphocytes is None or found.confirmed("lymphocytes"):
        return []
    if monocytes < max(MANY_MONOCYTES_PERCENT, ABOVE_LYMPHOCYTES * lymphocytes):
        return []
    return [Reason("monocytes-above-lymphocytes", {"monocytes": monocytes, "lymphocytes": lymphocytes})]


def _fits_monocytes(found: Quantities) -> bool:
    """Whether the counted monocytes, not the lymphocytes, are what the percentage of the lymphocytes stands for."""
    expected = found.expected("lymphocytes")
    if _disagreement(found, "lymphocytes") is None or not close(found.monocytes, expected):
        return False
    if found.monocytes_percent is None or found.leukocytes is None:
        return True
    of_monocytes = found.leukocytes * found.monocytes_percent / 100
    # Of monocytes without a percentage their own count stands here.
    return close(found.monocytes, of_monocytes) or close(found.counted["lymphocytes"], of_monocytes)


def _white_cells(found: Quantities) -> list[Reason]:
    """Leukocytes far from the usual with all else as usual: their cells have slipped with them."""
    if not found.leukocytes or found.platelets is None:
        return []
    share = found.percent["lymphocytes"]
    share = _share(found, "lymphocytes") if share is None else share
    apart = log(found.leukocytes / USUAL_LEUKOCYTES_10E9_PER_L)
    low, high = SHARES_BELOW_PERCENT if apart < 0 else SHARES_ABOVE_PERCENT
    far = abs(apart) >= log(MOST_FACTOR_BELOW if apart < 0 else MOST_FACTOR_ABOVE)
    least, most = USUAL_PLATELETS_10E9_PER_L
    if not far or share is None or not low <= share <= high or not least <= found.platelets <= most:
        return []
    return [Reason("white-cells-in-another-unit", {"leukocytes": found.leukocytes})]


def _indices(found: Quantities) -> list[Reason]:
    """Ratios outside their range, unless the lymphocytes are counted and confirmed: the very ill are so."""
    if found.confirmed("lymphocytes") or found.lymphocytes_fill_the_leukocytes:
        return []
    return [
        Reason("ratio-not-plausible", {"ratio": name.upper(), "value": value, "low": limits.low, "high": limits.high})
        for name in OF_THE_PAPER
        for value, limits in [(found.indices[name], RANGES[name])]
        if value is not None and not limits.holds(value)
    ]


def close(one: float | None, other: float | None) -> bool:
    """Whether two counts, in 10⁹/L, are the same but for rounding and the noise of two channels."""
    if one is None or other is None:
        return False
    return abs(one - other) <= max(AGREEMENT_10E9_PER_L, AGREEMENT_SHARE * max(one, other))
