"""What a blood count is made of when its rows are of several methods, parts, scales and worths. By hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analytics.counts.blood import CombinedCount, Result, SpecimenResults, combine
from analytics.reasons import Reason
from analytics.records import ResultStatus

TAKEN = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
NO_VALUE = Reason("no-value")
UNIT = Reason("the unit is not clear")
"""A code that no catalogue knows."""


def row(analyte: Any, value: float | None, method: Any = "unknown", **more: Any) -> Result:
    scale = "percent" if analyte.endswith("%") else "absolute"
    analyte = analyte.removesuffix("%")
    fields = {"scale": scale, "method": method, "status": "F", "code": f"{analyte}/{scale}/{method}"}
    return Result(**{"analyte": analyte, "value": value} | fields | more)


def count(*rows: Result) -> CombinedCount:
    said = SpecimenResults(
        specimen="S", taken_at=TAKEN, date_only=False, results=rows, sent_at=TAKEN, tie_break="a", sender="LAB"
    )
    (one,) = combine([said])
    return one


def codes(one: CombinedCount) -> list[str]:
    return [note.code for note in one.notes]


def about(one: CombinedCount, code: str) -> list[dict[str, object]]:
    return [dict(note.values) for note in one.notes if note.code == code]


LEUKOCYTES, NEUTROPHILS, LYMPHOCYTES = row("leukocytes", 8.0), row("neutrophils", 4.2), row("lymphocytes", 1.4)
PLATELETS, MONOCYTES = row("platelets", 210.0), row("monocytes", 0.7)
COUNT = (LEUKOCYTES, NEUTROPHILS, LYMPHOCYTES, PLATELETS)


# ---- cells and indices beside the paper ----------------------------------------------------------------------------
def test_the_indices_are_quotients_of_counts() -> None:
    """LMR 1.4 / 0.7; SII 210 × 4.2 / 1.4 (Hu et al. 2014); SIRI 4.2 × 0.7 / 1.4 (Qi et al. 2016)."""
    one = count(*COUNT, MONOCYTES)
    expected = {"nlr": 3.0, "plr": 150.0, "lmr": 2.0, "sii": 630.0, "siri": 2.1}
    assert one.indices == pytest.approx(expected)
    assert one.cells == {
        "neutrophils": 4.2, "lymphocytes": 1.4, "platelets": 210.0, "leukocytes": 8.0, "monocytes": 0.7
    }  # fmt: skip
    assert (one.notes, one.sender) == ((), "LAB")


def test_a_cell_of_one_is_a_number_like_others() -> None:
    one = count(row("neutrophils", 1.0), row("lymphocytes", 1.0), row("platelets", 150.0), row("monocytes", 1.0))
    assert one.indices == pytest.approx({"nlr": 1.0, "plr": 150.0, "lmr": 1.0, "sii": 150.0, "siri": 1.0})


def test_monocytes_in_percent_are_a_share_of_the_leukocytes() -> None:
    """10 % of 8.0 are 0.8; 1.4 / 0.8 = 1.75."""
    one = count(*COUNT, row("monocytes%", 10.0))
    assert (one.cells["monocytes"], one.indices["lmr"]) == (pytest.approx(0.8), pytest.approx(1.75))


def test_an_index_whose_cells_were_reported_says_why_it_is_missing() -> None:
    one = count(*COUNT, row("monocytes", None, reason=NO_VALUE))
    assert (one.indices["lmr"], one.indices["siri"], one.indices["sii"]) == (None, None, pytest.approx(630.0))
    why = Reason("cell-without-value", {"analyte": "monocytes", "unit": "10⁹/L", "why": NO_VALUE})
    assert about(one, "no-ratio") == [{"ratio": "LMR", "why": why}, {"ratio": "SIRI", "why": why}]
    zero = count(*COUNT, row("monocytes", 0.0))
    assert (zero.indices["lmr"], zero.indices["siri"]) == (None, None)
    named = [{"ratio": ratio, "analyte": "monocytes"} for ratio in ("LMR", "SIRI")]
    assert about(zero, "ratio-of-zero") == named


def test_an_index_is_not_missed_where_nobody_reported_the_cell_or_the_ratios_say_so_already() -> None:
    assert count(*COUNT).notes == ()
    without = count(NEUTROPHILS, PLATELETS, row("monocytes", None, reason=NO_VALUE))
    assert [values["ratio"] for values in about(without, "no-ratio")] == ["NLR", "PLR"]


def test_monocytes_are_of_the_same_differential() -> None:
    automated = (row("neutrophils", 4.2, "automated"), row("lymphocytes", 1.4, "automated"))
    assert count(*automated, PLATELETS, row("monocytes", 0.7, "manual")).indices["lmr"] is None
    assert count(*automated, PLATELETS, row("monocytes", 0.7)).indices["lmr"] == pytest.approx(2.0)


def test_the_lymphocytes_are_confirmed_by_their_percentage() -> None:
    """17.5 % of 8.0 are 1.4."""
    assert count(*COUNT, row("lymphocytes%", 17.5)).confirmed
    assert not count(*COUNT).confirmed


def test_count_and_percentage_agree_in_both_cells_unless_counted_by_hand() -> None:
    """Of 8.0, 52.5 % are 4.2 and 17.5 % are 1.4; 60 % are 4.8, off by more than a tenth."""
    both = (row("neutrophils%", 52.5), row("lymphocytes%", 17.5))
    assert count(*COUNT, *both).forms_agree
    assert not count(*COUNT, *both[1:]).forms_agree
    assert not count(*COUNT, row("neutrophils%", 60.0), both[1]).forms_agree
    by_hand = [replace(one, method="manual") for one in (NEUTROPHILS, LYMPHOCYTES, *both)]
    assert not count(LEUKOCYTES, *by_hand, PLATELETS).forms_agree


def test_platelets_are_confirmed_by_a_row_that_is() -> None:
    confirmed = replace(PLATELETS, confirmed=True, code="2")
    assert count(*COUNT, confirmed).platelets_confirmed
    assert not count(*COUNT).platelets_confirmed
    assert not count(*COUNT, replace(confirmed, value=420.0)).platelets_confirmed, "two values are none"


@pytest.mark.parametrize(
    ("sent_before", "after"),
    [
        ([timedelta(days=1)], False),
        ([timedelta(days=1, seconds=1)], True),
        ([timedelta(days=1, seconds=1), timedelta(hours=20)], False),
        ([None, timedelta(days=2)], True),
        ([None], False),
    ],
)
def test_a_specimen_of_days_after_all_its_messages_is_told(sent_before: list[timedelta | None], after: bool) -> None:
    said = [
        SpecimenResults(
            specimen="S", taken_at=TAKEN, date_only=False, results=COUNT, tie_break=str(number),
            sent_at=None if before is None else TAKEN - before,
        )
        for number, before in enumerate(sent_before)
    ]  # fmt: skip
    (one,) = combine(said)
    assert one.after_message is after
    (undated,) = combine([replace(message, taken_at=None) for message in said])
    assert not undated.after_message


# ---- numerators and denominators -----------------------------------------------------------------------------------
def test_a_ratio_of_zero_names_what_is_zero() -> None:
    one = count(row("neutrophils", 0.0), LYMPHOCYTES, row("platelets", 0.0))
    assert (one.nlr, one.plr) == (None, None)
    assert about(one, "ratio-of-zero")[:2] == [
        {"ratio": "NLR", "analyte": "neutrophils"},
        {"ratio": "PLR", "analyte": "platelets"},
    ]
    bands = count(row("segmented", 0.0), row("bands", 0.0), LYMPHOCYTES)
    assert about(bands, "ratio-of-zero")[0] == {"ratio": "NLR", "analyte": "segmented"}


def test_percent_and_counts_are_not_taken_for_each_other() -> None:
    """Each cell from its own row: neutrophils 60 %, lymphocytes 25 % and as counted 1.9."""
    one = count(LEUKOCYTES, row("neutrophils%", 60.0), row("lymphocytes%", 25.0), row("lymphocytes", 1.9), PLATELETS)
    assert (one.neutrophils_10e9_per_l, one.lymphocytes_10e9_per_l) == (pytest.approx(4.8), 1.9)
    assert (one.nlr, one.plr, one.basis) == (pytest.approx(4.8 / 1.9), pytest.approx(210 / 1.9), "derived")
    other = count(LEUKOCYTES, row("neutrophils%", 60.0), row("neutrophils", 4.7), row("lymphocytes%", 25.0))
    assert (other.nlr, other.basis) == (pytest.approx(4.7 / 2.0), "derived")


def test_one_cell_alone_has_a_basis_and_none_has_none() -> None:
    assert (count(NEUTROPHILS).basis, count(LYMPHOCYTES).basis) == ("absolute", "absolute")
    assert count(LEUKOCYTES, row("lymphocytes%", 25.0)).basis == "derived"
    assert count(PLATELETS).basis is None


@pytest.mark.parametrize(
    ("rows", "code", "unit"),
    [
        ((NEUTROPHILS,), "cell-not-reported", "10⁹/L"),
        ((NEUTROPHILS, row("lymphocytes", None, status="X")), "cell-withdrawn", "10⁹/L"),
        ((NEUTROPHILS, row("lymphocytes", None, reason=NO_VALUE)), "cell-without-value", "10⁹/L"),
        # Only its percentage was reported, which has no value; or has one, and there are no leukocytes.
        ((NEUTROPHILS, row("lymphocytes%", None, reason=NO_VALUE)), "cell-without-value", "%"),
        ((NEUTROPHILS, row("lymphocytes%", 25.0)), "cell-not-reported", "10⁹/L"),
        # Both were: the count is what is missed.
        (
            (NEUTROPHILS, row("lymphocytes%", None, reason=NO_VALUE), row("lymphocytes", None, status="X")),
            "cell-withdrawn",
            "10⁹/L",
        ),
    ],
)
def test_a_missing_ratio_says_what_is_missing(rows: tuple[Result, ...], code: str, unit: str) -> None:
    one = count(*rows, PLATELETS)
    assert [values["ratio"] for values in about(one, "no-ratio")] == ["NLR", "PLR"]
    for values in about(one, "no-ratio"):
        why = values["why"]
        assert isinstance(why, Reason)
        analyte = "leukocytes" if rows[-1].value == 25.0 else "lymphocytes"
        assert (why.code, why.values["analyte"], why.values["unit"]) == (code, analyte, unit)


def test_what_has_no_value_and_no_reason_has_no_value() -> None:
    one = count(NEUTROPHILS, row("lymphocytes", None))
    (values,) = (values for values in about(one, "no-ratio") if values["ratio"] == "NLR")
    why = values["why"]
    assert isinstance(why, Reason)
    assert why.values["why"] == NO_VALUE


# ---- segmented neutrophils and bands -------------------------------------------------------------------------------
def test_the_total_goes_before_its_parts() -> None:
    one = count(row("neutrophils", 4.2), row("segmented", 4.0), row("bands", 0.5), LYMPHOCYTES)
    assert (one.nlr, one.status) == (pytest.approx(3.0), ResultStatus.FINAL)


@pytest.mark.parametrize(("segmented", "held"), [(4.2, False), (4.25, False), (4.3, True)])
def test_segmented_neutrophils_are_a_part_of_the_total(segmented: float, held: bool) -> None:
    """Above it by more than rounding, which is 2 % of the larger: 0.085 of 4.25, 0.086 of 4.3."""
    one = count(row("neutrophils", 4.2), row("segmented", segmented), LYMPHOCYTES)
    assert (one.status is ResultStatus.HELD, one.nlr is None) == (held, held)
    assert codes(one).count("segmented-above-neutrophils") == held


def test_a_total_of_two_values_is_not_replaced_by_its_parts() -> None:
    two = (row("neutrophils", 4.2, code="1"), row("neutrophils", 6.2, code="2"))
    one = count(*two, row("segmented", 4.0), row("bands", 0.2), LYMPHOCYTES)
    assert (one.nlr, one.status) == (None, ResultStatus.HELD)


def test_bands_count_on_their_own_scale_only() -> None:
    one = count(LEUKOCYTES, row("segmented", 4.0), row("bands%", 5.0), row("lymphocytes", 2.0))
    assert one.nlr is None, "bands are reported, but not as a count"


def test_segmented_without_a_value_beside_bands_says_why() -> None:
    one = count(row("segmented", None, reason=UNIT), row("bands", 0.2), LYMPHOCYTES)
    (values,) = (values for values in about(one, "no-ratio") if values["ratio"] == "NLR")
    why = values["why"]
    assert isinstance(why, Reason)
    assert (why.code, why.values["analyte"]) == ("cell-without-value", "segmented")


def test_a_row_of_the_panel_that_nothing_names_may_be_the_bands() -> None:
    unnamed = [row("unnamed", 0.3, code=f"X{number}", name="STAB?") for number in (1, 2)]
    one = count(row("segmented", 4.0), LYMPHOCYTES, *unnamed)
    assert one.nlr is None
    (values,) = (values for values in about(one, "no-ratio") if values["ratio"] == "NLR")
    assert values["why"] == Reason("bands-perhaps-unnamed", {"label": "X1 STAB?"})
    other_scale = row("unnamed%", 3.0)
    assert count(row("segmented", 4.0), row("lymphocytes", 2.0), other_scale).nlr == pytest.approx(2.0)


def test_granulocytes_beside_neutrophils_do_not_matter() -> None:
    one = count(row("neutrophils", None, reason=NO_VALUE), row("granulocytes", 6.0), LYMPHOCYTES)
    assert (one.nlr, "three-part-differential" in codes(one)) == (None, False)
    assert "three-part-differential" not in codes(count(LYMPHOCYTES))


# ---- methods -------------------------------------------------------------------------------------------------------
AUTOMATED = (row("neutrophils", 4.2, "automated"), row("lymphocytes", 1.4, "automated"))
MANUAL = (row("neutrophils", 6.0, "manual"), row("lymphocytes", 2.0, "manual"))


def test_which_differential_is_used_is_told_where_a_manual_one_is_there() -> None:
    for rows, nlr, told in (
        (AUTOMATED, 3.0, []),
        ((*AUTOMATED, MANUAL[0]), 3.0, ["manual-differential-unused"]),
        ((*AUTOMATED, row("neutrophils", None, "manual", reason=NO_VALUE)), 3.0, []),
        (MANUAL, 3.0, ["manual-differential"]),
        ((NEUTROPHILS, LYMPHOCYTES), 3.0, []),
        ((NEUTROPHILS, MANUAL[1]), 2.1, ["manual-differential"]),
        ((AUTOMATED[0], LYMPHOCYTES), 3.0, []),
        ((*MANUAL, NEUTROPHILS), 3.0, ["manual-differential"]),
    ):
        one = count(*rows, PLATELETS)
        assert (one.nlr, codes(one)) == (pytest.approx(nlr), told)


def test_two_cells_of_different_methods_are_told_and_one_alone_is_not() -> None:
    assert "methods-not-mixed" in codes(count(AUTOMATED[0], MANUAL[1]))
    assert "methods-not-mixed" not in codes(count(MANUAL[1]))
    assert "methods-not-mixed" not in codes(count(AUTOMATED[0]))


@pytest.mark.parametrize("method", ["automated", "unknown", "manual"])
def test_the_plr_takes_lymphocytes_of_any_method_where_there_are_no_neutrophils(method: str) -> None:
    one = count(row("lymphocytes", 1.4, method), PLATELETS)
    assert (one.plr, one.lymphocytes_10e9_per_l) == (pytest.approx(150.0), 1.4)


def test_the_plr_prefers_automated_lymphocytes() -> None:
    assert count(AUTOMATED[1], MANUAL[1], PLATELETS).plr == pytest.approx(150.0)


@pytest.mark.parametrize(
    ("other", "conflict"),
    [
        (row("lymphocytes", 2.8), {"analyte": "lymphocytes", "unit": "10⁹/L"}),
        (row("neutrophils", 6.2), {"analyte": "neutrophils", "unit": "10⁹/L"}),
        (row("lymphocytes", 1.41), None),
        (row("lymphocytes", 2.8, "manual"), None),
        (row("lymphocytes", None, reason=NO_VALUE), None),
    ],
)
def test_a_row_of_unsaid_method_must_not_contradict_the_automated_one(
    other: Result, conflict: dict[str, object] | None
) -> None:
    one = count(*AUTOMATED, PLATELETS, other)
    assert one.nlr == pytest.approx(3.0)
    assert about(one, "cell-conflict") == ([conflict] if conflict else [])
    assert one.status is (ResultStatus.HELD if conflict else ResultStatus.FINAL)


def test_two_values_of_platelets_or_leukocytes_hold_the_count() -> None:
    for rows in ((row("platelets", 420.0, code="2"),), (row("leukocytes", 9.5, code="2"),)):
        assert count(*COUNT, *rows).status is ResultStatus.HELD


# ---- secondary and doubtful rows -----------------------------------------------------------------------------------
def test_a_channel_of_its_own_is_used_only_where_no_other_row_gives_the_quantity() -> None:
    channel = row("lymphocytes", 2.8, code="2", secondary=True)
    assert count(*COUNT, channel).nlr == pytest.approx(3.0)
    assert count(*COUNT[:2], channel, PLATELETS).nlr == pytest.approx(1.5)
    empty = row("lymphocytes", None, reason=NO_VALUE)
    assert count(*COUNT[:2], empty, channel, PLATELETS).nlr == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("doubtful", "held", "code"),
    [
        # Another row of the same quantity stands for one whose unit is not clear, or for a channel of its own.
        (row("lymphocytes", None, code="2", unclear=True), False, "result-not-used"),
        (row("lymphocytes", None, code="2", secondary=True), False, "result-not-used"),
        (row("lymphocytes", None, code="2"), True, "result-doubtful"),
        # No other row gives these. Monocytes are no part of NLR or PLR.
        (row("bands", None, unclear=True), True, "result-doubtful"),
        (row("monocytes", None), False, "result-not-used"),
        (row("monocytes", None, unclear=True), False, None),
        # Beside a complete count what nobody knows is none of its parts.
        (row("unknown", None), False, None),
    ],
)
def test_a_doubtful_row_holds_the_count_unless_nothing_depends_on_it(
    doubtful: Result, held: bool, code: str | None
) -> None:
    one = count(*COUNT, Result(**{**vars(doubtful), "doubtful": True, "reason": UNIT, "name": "ROW"}))
    assert (one.status is ResultStatus.HELD, one.nlr) == (held, pytest.approx(3.0))
    told = [note for note in one.notes if note.code in {"result-not-used", "result-doubtful"}]
    about_row = {"analyte": doubtful.analyte, "label": f"{doubtful.code} ROW", "why": UNIT}
    assert told == ([Reason(code, about_row)] if code else [])


@pytest.mark.parametrize("missing", [NEUTROPHILS, PLATELETS])
@pytest.mark.parametrize(
    ("analyte", "unclear", "code"),
    [
        ("unknown", False, "result-doubtful"),
        ("monocytes", False, "result-doubtful"),
        ("monocytes", True, None),
    ],
)
def test_beside_an_incomplete_count_a_doubtful_row_may_be_what_is_missing(
    missing: Result, analyte: str, unclear: bool, code: str | None
) -> None:
    rest = [one for one in COUNT if one is not missing]
    one = count(*rest, row(analyte, None, doubtful=True, unclear=unclear, reason=UNIT))
    assert [note for note in codes(one) if note.startswith("result-")] == ([code] if code else [])
    assert (one.status is ResultStatus.HELD) is (code is not None)


def test_of_two_channels_that_are_doubtful_neither_stands_for_the_other() -> None:
    channels = [row("lymphocytes", 1.4, code=code, secondary=True, doubtful=True, reason=UNIT) for code in ("1", "2")]
    one = count(*COUNT[:2], *channels, PLATELETS)
    assert (one.status, codes(one)) == (ResultStatus.HELD, ["result-doubtful"] * 2)


# ---- what the lymphocytes are judged by ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("monocytes", "odd"),
    [
        # Monocytes of 15 % and more that are 1.25 times the lymphocytes of 12 %: these look exchanged.
        ((row("monocytes%", 16.0),), True),
        ((row("monocytes%", 14.0),), False),
        # As counted, of leukocytes of 8.0: 1.28 are 16 %, 1.19 are 14.9 %, 1.21 are 15.1 %.
        ((row("monocytes", 1.28),), True),
        ((row("monocytes", 1.19),), False),
        ((row("monocytes", 1.21),), True),
        # The percentage goes before the count.
        ((row("monocytes%", 14.0), row("monocytes", 1.28)), False),
        # A number that the laboratory flagged as another one.
        ((row("monocytes%", None, reason=Reason("flag-of-another-value", {"value": 16.0})),), True),
        ((row("monocytes%", None, reason=Reason("flag-of-another-value", {"value": 14.0})),), False),
        ((row("monocytes%", None, reason=Reason("other", {"value": 16.0})),), False),
        ((row("monocytes%", None, reason=NO_VALUE), row("monocytes", 1.28)), True),
        ((), False),
    ],
)
def test_monocytes_far_above_the_lymphocytes_hold_the_count(monocytes: tuple[Result, ...], odd: bool) -> None:
    one = count(LEUKOCYTES, row("neutrophils%", 68.0), row("lymphocytes%", 12.0), PLATELETS, *monocytes)
    assert (codes(one).count("monocytes-above-lymphocytes"), one.status is ResultStatus.HELD) == (odd, odd)


def test_monocytes_without_leukocytes_judge_nothing() -> None:
    one = count(row("neutrophils%", 68.0), row("lymphocytes%", 12.0), row("monocytes", 1.28))
    assert one.status is ResultStatus.FINAL
    zero = count(row("leukocytes", 0.0), row("neutrophils%", 68.0), row("lymphocytes%", 12.0), row("monocytes", 1.28))
    assert "monocytes-above-lymphocytes" not in codes(zero)


# ---- status --------------------------------------------------------------------------------------------------------
def test_a_void_count_has_no_numbers_and_says_only_why() -> None:
    withdrawn = count(*(row(one.analyte, one.value, status="X") for one in COUNT))
    declared = count(*COUNT, row("monocytes", 0.0, status="W"))
    for one, code in ((withdrawn, "results-withdrawn"), (declared, "results-declared-wrong")):
        assert (one.status, one.basis, codes(one)) == (ResultStatus.WITHDRAWN, None, [code])
        assert {*one.cells.values(), *one.indices.values()} == {None}


def test_a_status_that_is_not_known_is_told_with_its_row() -> None:
    one = count(*COUNT[:3], row("platelets", 210.0, status="Z"), row("monocytes", 0.7, status=""))
    assert one.status is ResultStatus.HELD
    assert about(one, "result-status-held") == [
        {"analyte": "platelets", "code": "platelets/absolute/unknown", "status": "Z"}
    ]
    assert about(one, "result-without-status") == [{"analyte": "monocytes", "code": "monocytes/absolute/unknown"}]


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        (row("lymphocytes", 1.4, status="C"), ResultStatus.CORRECTED),
        (row("neutrophils", 4.2, status="C"), ResultStatus.CORRECTED),
        (row("platelets", 210.0, status="C"), ResultStatus.CORRECTED),
        (row("lymphocytes", 1.4, status="P"), ResultStatus.PRELIMINARY),
        (row("neutrophils", 4.2, status="P"), ResultStatus.PRELIMINARY),
        # Nothing of the count rests on it.
        (row("leukocytes", 8.0, status="P"), ResultStatus.FINAL),
        (row("monocytes", 0.7, status="P"), ResultStatus.FINAL),
    ],
)
def test_the_status_is_that_of_the_rows_that_are_used(changed: Result, status: ResultStatus) -> None:
    rows = [one for one in COUNT if one.analyte != changed.analyte]
    one = count(*rows, changed)
    assert one.status is status
    assert codes(one) == (["results-preliminary"] if status is ResultStatus.PRELIMINARY else [])


def test_shares_take_their_status_from_the_leukocytes_too() -> None:
    shares = (row("neutrophils%", 60.0), row("lymphocytes%", 25.0), PLATELETS)
    assert count(*shares, row("leukocytes", 8.0, status="P")).status is ResultStatus.PRELIMINARY
    assert count(*shares, row("leukocytes", 8.0)).status is ResultStatus.FINAL


def test_what_cannot_be_and_what_is_doubtful_hold_each_for_itself() -> None:
    assert count(*COUNT, row("bands", None, doubtful=True, reason=UNIT)).status is ResultStatus.HELD
    assert count(row("leukocytes", 3.0), *COUNT[1:]).status is ResultStatus.HELD, "more cells than leukocytes"


def test_a_count_of_nothing_usable_takes_the_status_of_what_was_sent() -> None:
    one = count(row("lymphocytes", None, reason=NO_VALUE, status="P"), row("platelets", None, status="X"))
    assert one.status is ResultStatus.PRELIMINARY
    bands = count(row("bands", 0.3, status="P"))
    assert bands.status is ResultStatus.PRELIMINARY, "bands alone are used for nothing, and known"
    corrected = count(row("bands", 0.3, status="C"), row("platelets", None, status="X"))
    assert corrected.status is ResultStatus.CORRECTED


# ---- methods that contradict each other ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "rows",
    [
        (row("lymphocytes", 1.4, "automated"), row("lymphocytes", 2.8)),
        (row("lymphocytes%", 20.0, "automated"), row("lymphocytes%", 40.0), row("leukocytes", 7.0)),
        (row("neutrophils", 4.2, "automated"), row("neutrophils", 6.2), row("lymphocytes", 1.4)),
        (row("neutrophils", 4.2, "automated"), row("lymphocytes", 1.4, "automated"), row("lymphocytes", 2.8)),
    ],
)
def test_an_automated_value_is_not_outvoted_by_one_that_does_not_say_its_method(rows: tuple[Result, ...]) -> None:
    """One of the two is wrong, and nothing tells which: a person looks at it."""
    one = count(*rows, PLATELETS)
    assert one.status is ResultStatus.HELD
    assert "cell-conflict" in codes(one)


def test_what_was_counted_by_hand_may_differ_from_the_analyser() -> None:
    """Manual rows make their own differential; automated neutrophils alone beside them are no doubt."""
    by_hand = (row("neutrophils", 6.2, "manual"), row("lymphocytes", 1.4, "manual"))
    one = count(*by_hand, row("neutrophils", 4.2, "automated"), PLATELETS)
    assert (one.status, one.indices["nlr"]) == (ResultStatus.FINAL, pytest.approx(6.2 / 1.4))
    same = count(row("neutrophils", 4.2, "automated"), row("neutrophils", 4.2), LYMPHOCYTES, PLATELETS)
    assert (same.status, same.indices["nlr"]) == (ResultStatus.FINAL, pytest.approx(3.0))
