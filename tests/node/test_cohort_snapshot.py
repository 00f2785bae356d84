"""The snapshot of a night: its text read back is the cohort, whatever stands in a text."""

from pathlib import Path

import numpy as np

from node.nightly.cohort import COLUMNS, cohort_frame, read_snapshot
from tests.node.night_world import open_world


def test_texts_with_line_ends_quotes_and_commas_come_back_as_they_are(tmp_path: Path) -> None:
    db = open_world(tmp_path, rows=6)
    odd = ('A, "B"', "two\nlines\n\nand one", "next\x85line", "unit\x1eseparator", "line\u2028separator", "")
    with db.conn:
        for number, text in enumerate(odd):
            db.execute("UPDATE derived_import_row SET scanner_stratum = ? WHERE id = ?", [text, f"S{number:03d}"])
        db.execute("UPDATE derived_import_row SET bmi = NULL WHERE id = 'S001'")
    snapshot = read_snapshot(db)
    frame = cohort_frame(snapshot.text)
    assert list(frame.columns) == list(COLUMNS)
    assert (snapshot.n, frame["id"].tolist()) == (6, [f"S{number:03d}" for number in range(6)])
    assert frame["scanner_stratum"].tolist() == list(odd)
    stored = [row[0] for row in db.execute("SELECT bmi FROM derived_import_row ORDER BY id")]
    np.testing.assert_array_equal(frame["bmi"], np.array(stored, dtype=float))
    db.close()
