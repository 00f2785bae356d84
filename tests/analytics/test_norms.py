"""What is usual of a sender's counts: slips are found from the first patient on, the very ill are believed."""

import csv
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import exp, log
from pathlib import Path
from random import Random

import pytest

from analytics.counts.norms import (
    LEAST_PERSONS,
    NO_COUNTS,
    PRIOR,
    Judged,
    Norm,
    are_few_reversed,
    confirmed_elsewhere,
    exchanged_spells,
    measured_twice,
    norm_of,
    said_by,
    unlike_patient,
    unlike_sender,
    usual_between,
    waits,
)
from analytics.counts.plausibility import Quantities
from analytics.reasons import Reason

SLIPPED = Path(__file__).parents[3] / "shared" / "cases" / "cohort" / "data" / "unit_error_lymphocytes_tenth.csv"
DAY = datetime(2026, 1, 10, 8, tzinfo=UTC)


def judged(
    lymphocytes: float, platelets: float, *, confirmed: bool = False, sender: str = "LIS", day: int = 0
) -> Judged:
    return Judged(
        specimen=f"{sender}{day}",
        sender=sender,
        taken_at=DAY + timedelta(days=day),
        lymphocytes=lymphocytes,
        platelets=platelets,
        plr=platelets / lymphocytes,
        confirmed=confirmed,
    )


def found(count: Judged, norm: Norm = NO_COUNTS) -> tuple[object, object] | None:
    reason = unlike_sender(count, norm)
    return (reason.values["what"], reason.values.get("way")) if reason else None


@pytest.mark.skipif(not SLIPPED.exists(), reason="the shared cases are not here")
def test_a_unit_error_of_three_weeks_is_found_from_the_first_patient_on() -> None:
    with SLIPPED.open() as file:
        rows = [row for row in csv.DictReader(file) if row["lymphocytes"] and row["platelets"]]
    counts = [(row["id"], float(row["lymphocytes"]), float(row["plr"])) for row in rows]
    own = norm_of(counts)
    assert own.persons >= LEAST_PERSONS
    assert own.off == ()
    for norm in (NO_COUNTS, own):
        doubted = [one for one in counts if unlike_sender(judged(one[1], one[1] * one[2]), norm)]
        assert len(doubted) == 19
        assert all(lymphocytes < 0.3 for _, lymphocytes, _ in doubted)


@pytest.mark.parametrize(
    ("lymphocytes", "platelets", "expected"),
    [
        (1.8, 240, None),
        (0.6, 150, None),  # lymphopenia
        (4.5, 400, None),
        (1.5, 900, None),  # thrombocytosis
        (1.5, 60, None),  # thrombopenia
        (0.18, 240, ("lymphocytes", "below")),
        (18.0, 240, ("lymphocytes", "above")),
        (1.8, 2400, ("plr", "above")),
        (3.0, 1250, None),  # thrombocythaemia
        (3.0, 1470, ("platelets", "above")),  # 147, tenfold
        (4.0, 1600, ("platelets", "above")),  # 160, tenfold
        (0.9, 46, None),
        (1.1, 42, ("platelets", "below")),  # 420, a tenth of it
        (1.1, 31, ("platelets", "below")),  # 310, a tenth of it: the PLR of 28 alone would pass
        (1.8, 24, ("plr", "below")),  # 10⁴/µL taken for 10⁹/L
    ],
)
def test_a_slip_of_ten_and_values_of_the_ill(
    lymphocytes: float, platelets: float, expected: tuple[str, str] | None
) -> None:
    assert found(judged(lymphocytes, platelets)) == expected


def test_a_second_measurement_settles_it_but_not_for_platelets() -> None:
    assert found(judged(0.2, 1200, confirmed=True)) is None
    assert found(judged(60, 150, confirmed=True)) is None
    assert found(judged(1.8, 2400, confirmed=True)) == ("plr", "above")
    assert found(judged(0.2, 2500, confirmed=True)) == ("plr", "above")


def quantities(
    *, lymphocytes: float | None, percent: float | None, leukocytes: float | None, neutrophils: float = 4.0
) -> Quantities:
    counted: Mapping[str, float | None] = {"neutrophils": neutrophils, "lymphocytes": lymphocytes}
    return Quantities(
        counted=counted,
        percent={"neutrophils": None, "lymphocytes": percent},
        leukocytes=leukocytes,
        indices={},
    )


@pytest.mark.parametrize(
    ("lymphocytes", "percent", "leukocytes", "neutrophils", "expected"),
    [
        (0.4, 5.7, 7.0, 6.0, True),
        (0.2, 28.5, 7.0, 4.0, False),  # the count a tenth of the percentage
        (0.2, None, 7.0, 6.0, False),
        (0.2, 28.5, 0.7, 0.4, False),  # all leukocytes a tenth: of usual percentages
        (0.6, 86.0, 0.7, 0.05, True),  # agranulocytosis
        (0.2, None, 180.0, 170.0, True),
        (0.2, 0.1, 180.0, 170.0, True),
        (100.0, 91.0, 110.0, 5.0, True),  # chronic lymphocytic leukaemia
        (20.0, 28.5, 70.0, 40.0, False),  # all cells ten times: of usual percentages
    ],
)
def test_what_confirms(
    lymphocytes: float, percent: float | None, leukocytes: float, neutrophils: float, expected: bool
) -> None:
    told = quantities(lymphocytes=lymphocytes, percent=percent, leukocytes=leukocytes, neutrophils=neutrophils)
    assert measured_twice(told, lymphocytes) is expected


def sample(factor: float = 1.0, *, persons: int = 100, seed: int = 7) -> list[tuple[str, float, float]]:
    """Log-normal patients as of the references of the module."""
    random = Random(seed)
    pairs = [(exp(random.gauss(log(1.8), 0.3)), exp(random.gauss(log(240), 0.25))) for _ in range(persons)]
    return [(f"P{n}", factor * one, platelets / (factor * one)) for n, (one, platelets) in enumerate(pairs)]


def test_a_sender_whose_counts_are_all_off() -> None:
    assert norm_of(sample()).off == ()
    tenth = norm_of(sample(0.1))
    assert set(tenth.off) == {"lymphocytes", "plr"}
    reason = unlike_sender(judged(1.0, 240), tenth)
    assert reason is not None
    assert reason.code == "sender-off", "even one that looks usual"
    assert norm_of(sample(0.1, persons=10)).off == (), "a few patients are not a sender"
    assert set(norm_of(sample(0.5 / 1.8)).off) == {"lymphocytes", "plr"}, "0.5 is what people have of monocytes"
    assert norm_of(sample(0.5)).off == (), "patients in intensive care have half of the lymphocytes"
    assert norm_of(sample(0.6)).off == (), "patients with few lymphocytes are"


def test_the_norm_is_of_the_set_and_each_patient_counts_once() -> None:
    counts = sample()
    shuffled = Random(3).sample(counts, len(counts))
    assert norm_of(counts) == norm_of(shuffled)
    often = [*counts, *(("P0", 0.3, 900.0) for _ in range(500))]
    assert norm_of(often).centres["lymphocytes"].median == pytest.approx(
        norm_of(counts).centres["lymphocytes"].median, abs=0.02
    )


def test_a_norm_stays_near_the_literature() -> None:
    """Most counts of a sender may have slipped before anybody looked."""
    mixed = norm_of([*sample(0.1, persons=60), *((f"Q{n}", *rest) for n, (_, *rest) in enumerate(sample(persons=50)))])
    assert abs(mixed.centres["lymphocytes"].median - PRIOR["lymphocytes"].median) <= 0.35
    assert found(judged(0.18, 240), mixed) is not None


def test_against_the_patients_own_counts() -> None:
    usual, slipped = judged(4.0, 250, day=0), judged(0.4, 250, day=5)
    assert unlike_patient(slipped, [usual, slipped]) is not None
    assert unlike_patient(usual, [usual, slipped]) is None, "the one further from what is usual is meant"
    assert unlike_patient(judged(0.4, 250, day=5, confirmed=True), [usual]) is None
    assert unlike_patient(judged(1.0, 250, day=5), [usual]) is None
    assert unlike_patient(judged(0.4, 250, day=200), [usual]) is None, "half a year later"
    platelets = unlike_patient(judged(4.0, 1900, day=5), [usual])
    assert platelets is not None
    assert (platelets.values["what"], platelets.values["way"]) == ("platelets", "above")


def test_two_laboratories_confirm_each_other() -> None:
    first, second = judged(0.2, 250, sender="A"), judged(0.22, 250, sender="B", day=3)
    assert confirmed_elsewhere(first, [first, second])
    assert not confirmed_elsewhere(first, [first, judged(0.2, 250, sender="A", day=3)])
    assert not confirmed_elsewhere(first, [first, judged(2.0, 250, sender="B", day=3)])


@pytest.mark.parametrize(
    ("count", "other", "said"),
    [
        ({"lymphocytes": 1.8, "platelets": 20}, {"lymphocytes": 1.5, "platelets": 24}, True),
        ({"lymphocytes": 1.8, "platelets": 20}, {"lymphocytes": 1.8, "platelets": 240}, False),
        ({"lymphocytes": 0.15, "platelets": 240}, {"lymphocytes": 1.8, "platelets": 240}, False),
        ({"lymphocytes": 0.15, "platelets": 240}, {"lymphocytes": 0.18, "platelets": 240}, True),
        ({"lymphocytes": 3.6, "platelets": 250, "nlr": 0.5}, {"lymphocytes": 3.4, "platelets": 250, "nlr": 0.65}, True),
        ({"lymphocytes": 3.6, "platelets": 250, "nlr": 0.5}, {"lymphocytes": 2.6, "platelets": 250, "nlr": 1.5}, False),
    ],
)
def test_what_another_count_says_again(count: dict[str, float], other: dict[str, float], said: bool) -> None:
    one = replace(judged(count["lymphocytes"], count["platelets"]), nlr=count.get("nlr"))
    two = replace(judged(other["lymphocytes"], other["platelets"]), nlr=other.get("nlr"), specimen="another")
    doubt = unlike_sender(one, NO_COUNTS)
    assert doubt is not None
    assert said_by(one, doubt, two, NO_COUNTS) is said
    assert not said_by(one, doubt, one, NO_COUNTS), "itself"
    assert not said_by(one, Reason("sender-off", {"what": "plr"}), two, NO_COUNTS)


@pytest.mark.parametrize(("usual", "odd", "told"), [(5, 0, True), (4, 0, False), (8, 2, True), (7, 3, False)])
def test_others_between_tell_of_the_sender(usual: int, odd: int, told: bool) -> None:
    doubt = unlike_sender(judged(1.8, 20), NO_COUNTS)
    assert doubt is not None
    others = [judged(1.8, 240)] * usual + [judged(1.8, 24)] * odd
    assert usual_between(doubt, others, NO_COUNTS) is told


def exchanged(neutrophils: float, lymphocytes: float) -> Judged:
    count = judged(lymphocytes=neutrophils, platelets=240, confirmed=True)
    return Judged(**{**vars(count), "nlr": lymphocytes / neutrophils})


def test_one_count_that_looks_exchanged_is_held_and_an_ill_one_is_not() -> None:
    """4.9 and 1.9 × 10⁹/L are usual (Oxford Handbook: 2–7.5 and 1–3.5), in each other's place they are not."""
    reason = unlike_sender(exchanged(4.9, 1.9), NO_COUNTS)
    assert reason is not None
    assert (reason.code, reason.values["what"]) == ("count-unlike-sender", "nlr")
    assert unlike_sender(exchanged(1.9, 4.9), NO_COUNTS) is None
    assert unlike_sender(exchanged(2.4, 1.9), NO_COUNTS) is None, "0.79 is rare and not impossible"
    assert unlike_sender(exchanged(16.7, 1.5), NO_COUNTS) is not None, "a count of after an operation, exchanged"
    assert unlike_sender(exchanged(60.0, 4.0), NO_COUNTS) is None, "leukaemia: nobody has 60 neutrophils for 4"


def spells(ratios: list[float]) -> tuple[tuple[datetime, datetime], ...]:
    return exchanged_spells((f"P{n}", DAY + timedelta(days=n), ratio) for n, ratio in enumerate(ratios))[0]


def test_few_patients_in_a_row_tell_that_a_sender_has_exchanged_its_cells() -> None:
    usual = [2.1, 1.7, 2.6, 3.1, 1.4, 2.2]
    assert spells([*usual, *usual]) == ()
    assert spells([*usual, 0.4, *usual]) == (), "one patient may be ill"
    assert spells([*usual, 0.62, 2.0, 0.7, *usual]) == ()
    assert spells([*usual, *(1 / one for one in usual), *usual]) == (
        (DAY + timedelta(days=6), DAY + timedelta(days=11)),
    )
    near_one = DAY + timedelta(days=8)
    assert spells([*usual, 0.4, 0.5, 1.1, *usual]) == ((DAY + timedelta(days=6), near_one),), "0.9, exchanged"
    assert spells([*usual, 0.4, 0.5, *usual]) == ((DAY + timedelta(days=6), DAY + timedelta(days=7)),)


def test_a_patient_alone_is_no_row() -> None:
    assert exchanged_spells(("P", DAY + timedelta(days=n), 0.4) for n in range(9))[0] == ()


def percents(leukocytes: float, neutrophils: float, lymphocytes: float, monocytes: float) -> Quantities:
    return Quantities(
        counted={"neutrophils": None, "lymphocytes": None},
        percent={"neutrophils": neutrophils, "lymphocytes": lymphocytes},
        leukocytes=leukocytes,
        indices={},
        monocytes_percent=monocytes,
    )


@pytest.mark.parametrize(
    ("found", "settled"),
    [
        (percents(5.0, 85.0, 5.0, 7.0), True),  # lymphopenia: nothing is missing from 100 %
        (percents(30.0, 13.0, 83.0, 3.0), True),  # chronic lymphocytic leukaemia
        (percents(8.0, 95.5, 0.6, 3.0), True),  # ten times as many would be more than 100 %
        (percents(13.1, 89.7, 0.6, 3.5), False),  # 6 % with a point misplaced: beside 0.8 % of others, 99.9 %
        (percents(6.5, 60.0, 3.0, 8.0), False),  # 30 % with a point misplaced leave a gap
        (percents(0.65, 60.0, 30.0, 8.0), False),  # leukocytes with a point misplaced
        (percents(0.65, 85.0, 5.0, 7.0), False),  # the leukocytes are off as well
        (percents(6.5, 60.0, 7.0, 30.0), False),  # lymphocytes and monocytes in each other's row
    ],
)
def test_percentages_that_leave_no_gap_settle_the_lymphocytes(found: Quantities, settled: bool) -> None:
    leukocytes, percent = found.leukocytes, found.percent["lymphocytes"]
    assert leukocytes is not None
    assert percent is not None
    assert measured_twice(found, leukocytes * percent / 100) is settled


def reversed_count(neutrophils: float, lymphocytes: float, *, day: int = 0, agree: bool = True) -> Judged:
    one = judged(lymphocytes, 240, confirmed=agree, day=day)
    return replace(one, nlr=neutrophils / lymphocytes, forms_agree=agree)


def known(**more: object) -> Norm:
    return replace(NO_COUNTS, persons=LEAST_PERSONS, few_reversed=True, **more)


@pytest.mark.parametrize(
    ("count", "norm", "doubted"),
    [
        # 1.9 to 4.0, counted and in percent: rows that are exchanged are so for everybody, and they are not.
        (reversed_count(1.9, 4.0), known(), False),
        (reversed_count(1.9, 4.0), NO_COUNTS, True),  # a sender of whom nothing is known yet
        (reversed_count(1.9, 4.0, agree=False), known(), True),  # told once: the message alone may be wrong
        (reversed_count(2.8, 3.8, agree=False), known(), True),  # 0.74
        (reversed_count(2.4, 3.8), known(), False),
        (reversed_count(2.9, 3.8, agree=False), known(), False),  # 0.76: 1 % of people, most of them right
    ],
)
def test_a_reversed_ratio_is_believed_of_two_forms_where_the_sender_has_few(
    count: Judged, norm: Norm, doubted: bool
) -> None:
    assert (unlike_sender(count, norm) is not None) is doubted


def test_a_sender_of_whom_more_patients_than_in_health_look_exchanged_is_not_believed() -> None:
    """One of several analysers that exchanges its rows: every tenth patient."""
    usual = [(f"P{n}", reversed_count(4.0, 1.8)) for n in range(90)]
    odd = [(f"Q{n}", reversed_count(1.8, 4.0)) for n in range(10)]
    norm = replace(NO_COUNTS, persons=100)
    assert not are_few_reversed([*usual, *odd], norm)
    assert are_few_reversed([*usual, *odd[:2]], norm)
    small = replace(NO_COUNTS, persons=60)
    assert are_few_reversed([*usual[:58], *odd[:2]], small)
    assert not are_few_reversed([*usual[:57], *odd[:3]], small)
    spell = replace(norm, exchanged=((DAY, DAY),))
    assert are_few_reversed([*usual, *odd], spell), "what is held as a spell is no sign of another analyser"
    assert unlike_sender(reversed_count(1.8, 4.0), replace(norm, few_reversed=False)) is not None


def test_a_reversed_count_waits_for_the_senders_next_ones() -> None:
    """An exchange that begins with a true 1.62: nobody is doubted for 0.62, and the next patients tell."""
    first = reversed_count(2.1, 3.4)
    ratios = [("P1", DAY - timedelta(days=1), 2.1), ("P2", DAY, 0.62)]
    _, suspected = exchanged_spells(ratios)
    norm = known(suspected_since=suspected)
    assert unlike_sender(first, norm) is None
    assert waits(first, norm)
    assert not waits(first, replace(norm, persons=LEAST_PERSONS - 1)), "a small sender may not send for months"
    assert not waits(reversed_count(4.0, 1.8), norm)
    _, suspected = exchanged_spells([*ratios, ("P3", DAY + timedelta(days=1), 2.4)])
    assert suspected is None
    assert not waits(first, known(suspected_since=suspected))
    exchanged, suspected = exchanged_spells([*ratios, *((f"P{n}", DAY + timedelta(days=n), 0.5) for n in (3, 4, 5))])
    assert exchanged == ((DAY, DAY + timedelta(days=5)),)
    assert suspected == DAY
