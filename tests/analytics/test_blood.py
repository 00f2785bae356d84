"""The rules by which results become one blood count. Expected numbers are worked out by hand."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.counts.blood import CombinedCount, Result, SpecimenResults, combine
from analytics.reasons import Reason, words
from analytics.records import ResultStatus

TAKEN = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)


def result(analyte: Any, value: float | None, scale: Any = "absolute", **more: Any) -> Result:
    return Result(
        **{"analyte": analyte, "scale": scale, "value": value, "status": "F", "code": f"{analyte}/{scale}"} | more
    )


def said(*results: Result, hour: int = 9, specimen: str = "S1", **more: Any) -> SpecimenResults:
    sent_at = TAKEN.replace(hour=hour)
    fields: dict[str, Any] = {"taken_at": TAKEN, "date_only": False, "tie_break": "a", "sent_at": sent_at}
    return SpecimenResults(specimen=specimen, results=results, **fields | more)


def one(*specimens: SpecimenResults) -> CombinedCount:
    (count,) = combine(specimens)
    return count


ABSOLUTE = (
    result("neutrophils", 4.2),
    result("lymphocytes", 1.4),
    result("platelets", 210.0),
    result("leukocytes", 8.0),
)


def test_absolute_counts() -> None:
    count = one(said(*ABSOLUTE))
    assert (count.nlr, count.plr) == (pytest.approx(3.0), pytest.approx(150.0))
    assert (count.status, count.basis, count.notes) == (ResultStatus.FINAL, "absolute", ())
    assert (count.neutrophils_10e9_per_l, count.leukocytes_10e9_per_l) == (4.2, 8.0)


def test_percentages_of_the_leukocytes_are_marked_derived() -> None:
    count = one(
        said(
            result("leukocytes", 8.0),
            result("neutrophils", 60.0, "percent"),
            result("lymphocytes", 25.0, "percent"),
            result("platelets", 300.0),
        )
    )
    assert (count.neutrophils_10e9_per_l, count.lymphocytes_10e9_per_l) == (pytest.approx(4.8), pytest.approx(2.0))
    assert (count.basis, count.nlr, count.plr) == ("derived", pytest.approx(2.4), pytest.approx(150.0))


def test_two_percentages_alone_give_nlr_and_no_plr() -> None:
    count = one(
        said(result("neutrophils", 72.0, "percent"), result("lymphocytes", 20.0, "percent"), result("platelets", 221.0))
    )
    assert (count.basis, count.nlr, count.plr) == ("percent", pytest.approx(3.6), None)
    assert count.neutrophils_10e9_per_l is None
    assert any(note.startswith("no PLR") for note in words(count.notes))


def test_bands_are_added_to_segmented() -> None:
    count = one(said(result("bands", 0.43), result("segmented", 6.45), result("lymphocytes", 0.52)))
    assert count.nlr == pytest.approx(6.88 / 0.52)


def test_segmented_alone_is_not_used_when_bands_cannot_be_read() -> None:
    bands = result("bands", None, reason=Reason("text instead of a number"))
    count = one(said(bands, result("segmented", 6.45), result("lymphocytes", 0.52)))
    assert (count.nlr, count.neutrophils_10e9_per_l) == (None, None)


def test_segmented_alone_is_not_used_when_bands_are_withdrawn() -> None:
    bands = result("bands", None, status="X")
    count = one(said(bands, result("segmented", 6.45), result("lymphocytes", 0.52)))
    assert (count.nlr, count.neutrophils_10e9_per_l) == (None, None)


def test_segmented_counts_as_neutrophils_where_no_bands_are_reported() -> None:
    assert one(said(result("segmented", 4.0), result("lymphocytes", 2.0))).nlr == pytest.approx(2.0)


def test_withdrawn_bands_do_not_void_the_count() -> None:
    withdrawn = result("bands", None, status="X")
    count = one(said(*ABSOLUTE, withdrawn))
    assert (count.status, count.nlr) == (ResultStatus.FINAL, pytest.approx(3.0))


def test_automated_and_manual_differential_are_never_mixed() -> None:
    count = one(
        said(
            result("neutrophils", 8.2, method="automated", code="NA"),
            result("lymphocytes", 1.7, method="automated", code="LA"),
            result("bands", 0.16, method="manual"),
            result("segmented", 7.83, method="manual"),
            result("lymphocytes", 1.85, method="manual", code="LM"),
            result("platelets", 249.0),
        )
    )
    assert (count.nlr, count.plr) == (pytest.approx(8.2 / 1.7), pytest.approx(249 / 1.7))
    assert any("manual" in note for note in words(count.notes))


def test_one_cell_automated_and_the_other_manual_gives_no_ratio() -> None:
    count = one(said(result("neutrophils", 8.2, method="automated"), result("lymphocytes", 1.85, method="manual")))
    assert count.nlr is None


def test_manual_differential_is_used_when_the_automated_one_is_incomplete() -> None:
    count = one(
        said(
            result("neutrophils", None, reason=Reason("text instead of a number"), method="automated", code="NA"),
            result("lymphocytes", 1.7, method="automated", code="LA"),
            result("neutrophils", 6.0, method="manual", code="NM"),
            result("lymphocytes", 2.0, method="manual", code="LM"),
        )
    )
    assert count.nlr == pytest.approx(3.0)


def test_granulocytes_of_a_three_part_analyser_are_not_neutrophils() -> None:
    count = one(said(result("granulocytes", 6.1), result("lymphocytes", 3.7), result("platelets", 325.0)))
    assert (count.nlr, count.plr) == (None, pytest.approx(325 / 3.7))
    assert any("3-part" in note for note in words(count.notes))


@pytest.mark.parametrize(
    ("lymphocytes", "word"),
    [
        (result("lymphocytes", 0.0), "zero"),
        (result("lymphocytes", None, reason=Reason("censored: a limit")), "censored"),
        (result("lymphocytes", None, reason=Reason("no value")), "no value"),
    ],
)
def test_no_ratio_from_zero_censored_or_missing_lymphocytes(lymphocytes: Result, word: str) -> None:
    count = one(said(result("neutrophils", 4.0), lymphocytes, result("platelets", 200.0)))
    assert (count.nlr, count.plr) == (None, None)
    assert [note for note in words(count.notes) if word in note and note.startswith("no NLR")]
    assert [note for note in words(count.notes) if word in note and note.startswith("no PLR")]


def test_correction_supersedes_whatever_the_order() -> None:
    original, corrected = said(*ABSOLUTE), said(result("neutrophils", 5.6, status="C"), hour=11)
    for order in ([original, corrected], [corrected, original]):
        count = one(*order)
        assert (count.status, count.nlr) == (ResultStatus.CORRECTED, pytest.approx(4.0))


def test_status_time_decides_not_the_time_of_sending() -> None:
    late = result("neutrophils", 5.6, status="C", status_at=TAKEN.replace(hour=11))
    resent = result("neutrophils", 4.2, status_at=TAKEN.replace(hour=9))
    assert one(said(*ABSOLUTE), said(late, hour=12), said(resent, hour=15)).nlr == pytest.approx(4.0)


def test_final_supersedes_preliminary() -> None:
    early = said(*(replace(one, status="P") for one in ABSOLUTE))
    assert one(early).status is ResultStatus.PRELIMINARY
    assert one(early, said(*ABSOLUTE, hour=12)).status is ResultStatus.FINAL


def test_preliminary_platelets_keep_the_whole_count_preliminary() -> None:
    count = one(said(*ABSOLUTE[:2], replace(ABSOLUTE[2], status="P")))
    assert count.status is ResultStatus.PRELIMINARY


def test_withdrawn_lymphocytes_take_both_ratios_away() -> None:
    count = one(said(*ABSOLUTE), said(result("lymphocytes", None, status="X"), hour=11))
    assert (count.nlr, count.plr, count.lymphocytes_10e9_per_l) == (None, None, None)
    assert any("withdrawn" in note for note in words(count.notes))


def test_all_withdrawn() -> None:
    count = one(said(*ABSOLUTE), said(*(replace(one, value=None, status="D") for one in ABSOLUTE), hour=11))
    assert (count.status, count.nlr, count.platelets_10e9_per_l) == (ResultStatus.WITHDRAWN, None, None)


def test_wrong_patient_voids_the_specimen() -> None:
    count = one(said(*ABSOLUTE), said(result("platelets", None, status="W"), hour=11))
    assert (count.status, count.nlr, count.neutrophils_10e9_per_l) == (ResultStatus.WITHDRAWN, None, None)


@pytest.mark.parametrize("status", ["", "Z"])
def test_unknown_status_is_held(status: str) -> None:
    assert one(said(*(replace(one, status=status) for one in ABSOLUTE))).status is ResultStatus.HELD


def test_doubtful_result_holds_the_count() -> None:
    doubtful = result("lymphocytes", None, reason=Reason("code and name disagree"), doubtful=True)
    count = one(said(ABSOLUTE[0], doubtful, ABSOLUTE[2]))
    assert (count.status, count.nlr) == (ResultStatus.HELD, None)


def test_more_cells_than_leukocytes_is_held() -> None:
    count = one(said(result("neutrophils", 5.74), result("lymphocytes", 3.47), result("leukocytes", 7.36)))
    assert count.status is ResultStatus.HELD


def test_exchanged_codes_are_held() -> None:
    count = one(
        said(
            result("leukocytes", 8.0),
            result("neutrophils", 2.0),
            result("lymphocytes", 4.8),
            result("neutrophils", 60.0, "percent"),
            result("lymphocytes", 25.0, "percent"),
        )
    )
    assert count.status is ResultStatus.HELD
    assert any("exchanged" in note for note in words(count.notes))


def test_disagreement_of_count_and_percentage_is_flagged_and_the_count_used() -> None:
    count = one(said(*ABSOLUTE, result("neutrophils", 30.0, "percent")))
    assert (count.status, count.nlr) == (ResultStatus.FINAL, pytest.approx(3.0))
    assert any("disagree" in note for note in words(count.notes))


def test_two_different_values_of_one_quantity_are_held() -> None:
    count = one(said(*ABSOLUTE, result("lymphocytes", 2.8, code="other")))
    assert (count.status, count.nlr) == (ResultStatus.HELD, None)


def test_two_specimens_are_never_mixed() -> None:
    later = said(
        *(replace(one, value=(one.value or 0) * 2) for one in ABSOLUTE[:1]),
        ABSOLUTE[1],
        specimen="S2",
        taken_at=TAKEN + timedelta(hours=6),
    )
    first, second = combine([said(*ABSOLUTE), later])
    assert (first.nlr, second.nlr) == (pytest.approx(3.0), pytest.approx(6.0))
    assert second.platelets_10e9_per_l is None


def test_parts_of_one_specimen_under_two_orders_belong_together() -> None:
    count = one(said(*ABSOLUTE[:2], specimen="diff"), said(*ABSOLUTE[2:], specimen="count"))
    assert (count.nlr, count.plr) == (pytest.approx(3.0), pytest.approx(150.0))


def test_other_final_values_of_the_very_same_time_are_held_for_a_person() -> None:
    other = said(*(replace(one, value=(one.value or 0) * 1.5) for one in ABSOLUTE), specimen="S2")
    found = combine([said(*ABSOLUTE), other])
    assert [count.status for count in found] == [ResultStatus.HELD] * 2
    assert all("same time" in note for count in found for note in words(count.notes))


def test_a_withdrawn_order_does_not_stand_in_the_way_of_the_one_that_replaces_it() -> None:
    withdrawn = said(*(replace(one, value=None, status="X") for one in ABSOLUTE), specimen="A")
    found = combine([withdrawn, said(*ABSOLUTE[:2], specimen="B"), said(*ABSOLUTE[2:], specimen="C")])
    assert [(count.specimen, count.status) for count in found] == [
        ("A", ResultStatus.WITHDRAWN),
        ("B", ResultStatus.FINAL),
    ]
    assert found[1].plr == pytest.approx(150.0)


def test_preliminary_values_of_another_order_do_not_hold_the_final_ones() -> None:
    early = said(*(replace(one, value=(one.value or 0) * 1.5, status="P") for one in ABSOLUTE), specimen="A")
    found = combine([early, said(*ABSOLUTE, specimen="B")])
    assert [count.status for count in found] == [ResultStatus.PRELIMINARY, ResultStatus.FINAL]


def test_specimen_number_used_again_months_later_is_another_specimen() -> None:
    january = said(*ABSOLUTE, specimen="0042")
    june = TAKEN + timedelta(days=120)
    again = said(replace(ABSOLUTE[2], value=420.0), specimen="0042", taken_at=june, sent_at=june)
    untimed = said(
        replace(ABSOLUTE[2], value=400.0, status="C"),
        specimen="0042",
        taken_at=None,
        sent_at=june + timedelta(hours=2),
    )
    first, second = combine([january, again, untimed])
    assert (first.taken_at, first.plr) == (TAKEN, pytest.approx(150.0))
    assert (second.taken_at, second.platelets_10e9_per_l, second.plr) == (june, 400.0, None)


def test_message_without_a_collection_time_leaves_the_known_one() -> None:
    correction = said(result("neutrophils", 5.6, status="C"), hour=11, taken_at=None)
    count = one(said(*ABSOLUTE), correction)
    assert (count.taken_at, count.nlr) == (TAKEN, pytest.approx(4.0))


def test_of_two_results_with_the_same_status_time_the_one_sent_last_holds() -> None:
    stated = TAKEN.replace(hour=10)
    first = said(*ABSOLUTE[:1], result("lymphocytes", 1.4, status_at=stated), hour=11, tie_break="z")
    second = said(result("lymphocytes", 2.1, status_at=stated), hour=12, tie_break="a")
    assert one(first, second).nlr == pytest.approx(2.0)


def test_two_values_that_nothing_puts_in_order_are_held() -> None:
    found = combine([said(*ABSOLUTE, tie_break="a"), said(result("lymphocytes", 2.8), tie_break="b")])
    assert [(count.status, count.nlr, count.plr) for count in found] == [(ResultStatus.HELD, None, None)]


def test_same_content_under_another_order_number_is_one_count() -> None:
    assert len(combine([said(*ABSOLUTE), said(*ABSOLUTE, specimen="S9", hour=14)])) == 1


def test_leukocytes_alone_are_no_blood_count() -> None:
    assert combine([said(result("leukocytes", 6.0))]) == []


STATUSES = st.sampled_from(["F", "C", "P", "I", "X", "W", "Z", ""])
RESULTS = st.builds(
    lambda analyte, scale, value, status, method, minute: result(
        analyte,
        value,
        scale if analyte not in ("platelets", "leukocytes") else "absolute",
        status=status,
        method=method,
        status_at=None if minute is None else TAKEN + timedelta(minutes=minute),
    ),
    st.sampled_from(["neutrophils", "bands", "segmented", "granulocytes", "lymphocytes", "platelets", "leukocytes"]),
    st.sampled_from(["absolute", "percent"]),
    st.none() | st.sampled_from([0.0, 0.5, 1.0, 2.5, 20.0, 60.0]),
    STATUSES,
    st.sampled_from(["automated", "manual", "unknown"]),
    st.none() | st.integers(0, 3),
)
MESSAGES = st.lists(
    st.builds(
        lambda results, specimen, minute, tie: said(
            *results,
            specimen=f"S{specimen}",
            taken_at=TAKEN + timedelta(hours=specimen // 2),
            sent_at=TAKEN + timedelta(minutes=minute),
            tie_break=tie,
        ),
        st.lists(RESULTS, min_size=1, max_size=6),
        st.integers(0, 3),
        st.integers(0, 3),
        st.sampled_from("abc"),
    ),
    max_size=6,
)


@settings(max_examples=200)
@given(MESSAGES, st.data())
def test_order_and_repetition_do_not_matter(messages: Sequence[SpecimenResults], data: st.DataObject) -> None:
    shuffled = data.draw(
        st.permutations([*messages, *data.draw(st.lists(st.sampled_from(messages)))] if messages else [])
    )
    assert combine(shuffled) == combine(messages)


@settings(max_examples=200)
@given(MESSAGES)
def test_ratios_only_of_numbers_that_are_there(messages: Sequence[SpecimenResults]) -> None:
    for count in combine(messages):
        cells = (count.neutrophils_10e9_per_l, count.lymphocytes_10e9_per_l)
        if count.nlr is not None and None not in cells and count.basis != "percent":
            assert count.nlr == pytest.approx(cells[0] / cells[1])
        if count.plr is not None:
            assert count.platelets_10e9_per_l and count.lymphocytes_10e9_per_l
        if count.nlr is None or count.plr is None:
            assert count.notes
