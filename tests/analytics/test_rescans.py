"""Two MRIs of one patient: spread from day to day and offsets of scanners, by hand."""

from math import sqrt

import pytest

from analytics.methods.agreement import agreement
from analytics.paper.rescans import DayToDay, Pair, rescans
from analytics.reasons import Reason

FIRST = [2.0, 2.2, 2.4, 2.6, 2.8, 3.0, 3.2, 3.4, 3.6, 3.8]
CHANGES = [0.1, -0.1, 0.2, -0.2, 0.1, -0.1, 0.2, -0.2, 0.1, -0.1]


def twice(scanners: tuple[str, str] = ("A", "A"), shift: float = 0.0) -> list[Pair]:
    return [
        Pair(vbq=(one, one + change + shift), scanners=scanners, days=10 * number)
        for number, (one, change) in enumerate(zip(FIRST, CHANGES, strict=True), start=1)
    ]


def test_the_spread_from_day_to_day() -> None:
    found = rescans(twice()).day_to_day
    assert isinstance(found, DayToDay)
    # Σd²/2n = (6 · 0.01 + 4 · 0.04) / 20
    sd = sqrt(0.22 / 20)
    assert (found.n, found.days, found.sd) == (10, 55.0, pytest.approx(sd))
    # χ² with 10 degrees of freedom: 3.247 and 20.483 (any table).
    assert (found.sd_ci_low, found.sd_ci_high) == pytest.approx(
        (sd * sqrt(10 / 20.483), sd * sqrt(10 / 3.247)), rel=1e-4
    )
    assert found.cv == pytest.approx(sd / 2.9)
    assert found.icc == agreement([one.vbq for one in twice()]).one_way
    assert (found.change, found.change_ci_low < 0 < found.change_ci_high) == (pytest.approx(0, abs=1e-12), True)


def test_offsets_of_two_scanners_whichever_came_first() -> None:
    pairs = twice(("A", "B"), 0.3)[:5] + twice(("B", "A"), -0.3)[5:]
    found = rescans(pairs)
    (offset,) = found.offsets
    assert (offset.scanner, offset.reference, offset.n) == ("B", "A", 10)
    # B less A: 0.3 and the changes, those of the second half with the other sign.
    differences = [0.3 + change for change in CHANGES[:5]] + [0.3 - change for change in CHANGES[5:]]
    mean = sum(differences) / 10
    sd = sqrt(sum((one - mean) ** 2 for one in differences) / 9)
    half = 2.26216 * sd / sqrt(10)  # t with 9 degrees of freedom
    assert (offset.offset, offset.ci_low, offset.ci_high) == pytest.approx((mean, mean - half, mean + half), rel=1e-5)
    assert found.day_to_day == Reason("few-rescans", {"patients": 0, "needed": 10})


def test_too_few() -> None:
    found = rescans([*twice()[:9], *twice(("A", "B"))[:9]])
    assert (found.pairs, found.offsets, found.few) == (18, (), 1)
    assert found.to_json_dict()["day_to_day"]["reason_code"] == "few-rescans"
