"""The year of a made-up hospital, small: no wrong number, nobody else's data, little held, errors said in a night."""

from tests.benchmarks.hospital_year import run


def test_a_small_hospital_in_which_a_tenth_is_wrong() -> None:
    found = run(patients=25, seed=21, wrong=0.1).to_json()
    shown = found["shown"]
    assert found["wrong_numbers_in_the_model"] == 0, shown
    assert found["wrong_people_linked"] == 0, shown
    assert found["right_counts_held_at_first"] == 0, shown
    assert found["errors_said_share"] == 1.0, shown
    # A hospital in which all was held or nothing was wrong would pass the rest.
    assert found["rows_in_the_model"] >= 10
    assert found["errors"] >= 10
