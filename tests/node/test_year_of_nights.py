"""A laboratory's unit error between right counts: said with the next night, and no row of it in a model."""

from pathlib import Path

import pytest

from node.nightly import night
from node.store.database import open_database
from tests.benchmarks import year_of_nights


def test_a_unit_error_is_said_with_the_next_night_and_leaves_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(year_of_nights, "CHANGE", 8)
    monkeypatch.setattr(night, "_draw", lambda _cohort: ())
    rows = year_of_nights.patients("unit", 2, 900)
    slipped = rows[(rows.day >= 8) & (rows.day < 11)]
    year = year_of_nights.run_year("unit", site=2, number=900, every=2, folder=tmp_path, days=11)
    first = next(one for one in year.said if "held-blood-count" in one.line or "sender-counts-off" in one.line)
    assert slipped.day.min() <= first.day < slipped.day.min() + 2
    assert (year.in_model, year.changed_tiers) == (150 + sum(rows.day.between(0, 7)), 0)
    db = open_database(tmp_path)
    least = db.execute(
        "SELECT min(lymphocytes), count(*) FROM cohort WHERE eligible = 1 AND lymphocytes > 0"
    ).fetchone()
    (kept_out,) = db.execute("SELECT count(*) FROM blood_counts WHERE status = 'held'").fetchone()
    db.close()
    assert least[0] > 0.5 and least[1] > 10, "those before the error are in"
    assert kept_out == len(slipped) > 3
