"""Several readers at once and with the automatic measurement."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analytics.methods.agreement import Agreement, BlandAltman, NoAgreement
from analytics.paper.readers import AUTOMATIC, compare_readers

# Shrout and Fleiss 1979, table 2: six subjects rated by four judges; table 4: ICC(2,1) .29, ICC(3,1) .71. Each rating
# r is (r + 1)/2 here, so that it can be a VBQ: an ICC does not see that.
JUDGES = 0.5 + 0.5 * pd.DataFrame(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]],
    columns=["J1", "J2", "J3", "J4"],
    dtype="float64",
)


def test_all_readers_together_and_every_pair() -> None:
    report = compare_readers(JUDGES)
    assert isinstance(report.together, Agreement)
    assert round(report.together.single_agreement.icc, 2) == 0.29
    assert round(report.together.single_consistency.icc, 2) == 0.71
    assert [(pair.first, pair.second) for pair in report.pairs][:3] == [("J1", "J2"), ("J1", "J3"), ("J1", "J4")]
    assert len(report.pairs) == 6
    first = report.pairs[0].limits
    assert isinstance(first, BlandAltman)
    # By hand: differences 7, 5, 4, 6, 5, 4, halved.
    assert first.bias == pytest.approx(31 / 12)
    assert first.sd == pytest.approx(0.5 * np.sqrt(((7**2 + 5**2 + 4**2 + 6**2 + 5**2 + 4**2) - 31**2 / 6) / 5))


def test_the_automatic_measurement_is_compared_with_each_reader_and_is_none_of_them() -> None:
    machine = JUDGES.assign(**{AUTOMATIC: JUDGES["J1"] + [1.0, 1, 1, 1, 1, 4]})
    report = compare_readers(machine)
    assert isinstance(report.together, Agreement)
    assert report.together.k == 4
    against = [pair for pair in report.pairs if pair.first == AUTOMATIC]
    assert [pair.second for pair in against] == ["J1", "J2", "J3", "J4"]
    assert isinstance(against[0].limits, BlandAltman)
    assert against[0].limits.bias == pytest.approx(1.5)  # the machine reads higher: positive


def test_pairs_use_the_subjects_of_both_and_say_when_they_are_too_few() -> None:
    gaps = JUDGES.assign(J2=[2.0, 1.5, np.nan, np.nan, np.nan, 2])
    pair = compare_readers(gaps[["J1", "J2"]]).pairs[0]
    assert isinstance(pair.agreement, NoAgreement)
    assert pair.agreement.n == 3
    assert compare_readers(gaps[["J1", "J2"]]).refusals() == (
        "agreement of J1 and J2: insufficient: 3 subjects rated by all, 5 are needed",
    )
    with pytest.raises(ValueError, match=r"one reader alone \(J1\)"):
        compare_readers(JUDGES[["J1"]])


def test_a_reading_that_is_no_vbq_is_left_out_with_a_word() -> None:
    rng = np.random.default_rng(4)
    truth = rng.normal(3, 0.4, 30)
    clean = pd.DataFrame({"A": truth, "B": truth + rng.normal(0, 0.1, 30)}, index=[f"s{i}" for i in range(30)])
    assert compare_readers(clean).doubts == ()
    slipped = clean.copy()
    slipped.loc["s4", "A"] = 31.0
    report = compare_readers(slipped)
    assert [(one.code, one.values["subject"], one.values["value"]) for one in report.doubts] == [
        ("reading-no-vbq", "s4", 31.0)
    ]
    assert report.pairs[0].agreement == dataclasses.replace(
        compare_readers(clean.drop(index="s4")).pairs[0].agreement, omitted=1
    )


def test_a_slip_inside_the_range_is_said_and_kept() -> None:
    """Both read to 0.1 and mostly the same, so that half of the differences are 0; 2.1 instead of 3.1."""
    grid = np.round(np.linspace(2.3, 3.7, 24), 1)
    table = pd.DataFrame({"A": grid, "B": grid + np.tile([0, 0, 0, 0.1], 6)}, index=[f"s{i}" for i in range(24)])
    assert compare_readers(table).doubts == ()
    table.loc["s13", "B"] -= 1.0
    report = compare_readers(table)
    assert [(one.code, one.values["subject"]) for one in report.doubts] == [("readers-far-apart", "s13")]
    assert isinstance(report.pairs[0].limits, BlandAltman)
    assert report.pairs[0].limits.n == 24
