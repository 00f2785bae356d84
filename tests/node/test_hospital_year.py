"""A small hospital for a year, wrong in many ways: no wrong number or person in the model, and errors are said.

The whole one, of 3,000 patients, is ``python -m tests.benchmarks.hospital_year``.
"""

from tests.benchmarks.hospital_year import run

NOT_TO_BE_KNOWN = {"sender off (swapped)"}
"""Cells and percentages exchanged alike: only several patients tell, which so few do not make in time."""


def test_a_year_of_a_small_hospital() -> None:
    outcome = run(patients=40, seed=11, wrong=0.12)
    assert sum(outcome.faults.values()) >= 20
    assert outcome.wrong_numbers == {}
    assert outcome.wrong_people == {}
    assert set(outcome.unsaid) <= NOT_TO_BE_KNOWN
    assert outcome.right_held_at_first == {}
    assert outcome.rows_lost == {}
    assert outcome.rows_in_model >= 15
