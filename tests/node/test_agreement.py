"""Readings stored in the node, and a table of readings from a file."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from sqlite_utils import Database

from analytics.reasons import Reason
from node.analysis.agreement import against_automatic, read_readings, stored_readings
from node.errors import InputError
from node.store.database import insert, writing
from node.store.reasons import stored
from tests.node.night_world import open_world


def put_readings(db: Database, series: str, *readings: tuple[str, float]) -> None:
    """Measured readings of a series as the measure step leaves them; the score is the mean and the median form."""
    with writing(db):
        for reader, vbq in readings:
            rois = json.dumps({"slice": 8, "vbq": vbq})
            fact = {"series_instance_uid": series, "reader": reader, "rois": rois, "added_at": "x"}
            insert(db, "fact_reading", [fact])
            (reading_id,) = db.execute("SELECT max(reading_id) FROM fact_reading").fetchone()
            row = {
                "series_instance_uid": series, "source": f"reading:{reader}", "reading_id": reading_id,
                "instances_sha256": "0" * 64, "status": "measured", "reasons": "[]", "vbq_mean": vbq,
                "vbq_median": vbq + 0.1, "rois": "{}", "algorithm_name": "circles", "algorithm_version": "1",
            }  # fmt: skip
            insert(db, "derived_measurement", [row])


def test_the_newest_reading_of_each_reader_counts(tmp_path: Path) -> None:
    db = open_world(tmp_path, rows=0)
    put_readings(db, "1.2", ("ann", 2.9), ("bob", 3.0), ("ann", 2.8))
    put_readings(db, "1.3", ("ann", 3.1))
    stored = stored_readings(db, form="median")
    assert list(stored.table.columns) == ["ann", "bob"]
    assert stored.table.loc["1.2"].tolist() == pytest.approx([2.9, 3.1])
    assert math.isnan(stored.table.loc["1.3", "bob"])
    db.close()


def put_automatic(db: Database, series: str, vbq: float) -> None:
    """An automatic measurement as the measure step leaves it."""
    with writing(db):
        row = {
            "series_instance_uid": series, "source": "auto", "instances_sha256": "0" * 64, "status": "measured",
            "reasons": "[]", "vbq_mean": vbq, "vbq_median": vbq + 0.1, "rois": "{}", "algorithm_name": "vbq-auto",
            "algorithm_version": "1",
        }  # fmt: skip
        insert(db, "derived_measurement", [row])


def test_who_settles_two_readings_is_no_third_reader_and_what_waits_is_a_reading(tmp_path: Path) -> None:
    db = open_world(tmp_path, rows=0)
    put_automatic(db, "1.2", 2.5)
    put_readings(db, "1.2", ("ann", 2.9), ("bob", 3.4), ("eve", 3.0))
    with writing(db):
        insert(db, "fact_reading_step", [{"reading_id": 3, "step": "settling", "independent": 0}])
        doubt = stored([Reason("readings-differ", {"difference": 0.5, "most": 0.2})])
        db.execute(
            "UPDATE derived_measurement SET status = 'review', doubts = 1, reasons = ? WHERE reading_id = 2", [doubt]
        )
    assert list(stored_readings(db, form="mean").table.columns) == ["ann", "automatic", "bob"]
    assert against_automatic(db, form="mean") == {"ann": pytest.approx([0.4]), "bob": pytest.approx([0.9])}
    db.close()


def test_an_approved_automatic_measurement_is_no_reading_of_its_own(tmp_path: Path) -> None:
    db = open_world(tmp_path, rows=0)
    put_readings(db, "1.2", ("ann", 2.9))
    put_automatic(db, "1.2", 2.95)
    put_readings(db, "1.3", ("ann", 3.1))  # the circles of the automatic measurement, taken over
    put_automatic(db, "1.3", 3.1)
    stored = stored_readings(db, form="mean")
    assert stored.approved == 1
    assert list(stored.table.columns) == ["ann", "automatic"]
    assert stored.table.loc["1.2"].tolist() == [2.9, 2.95]
    assert math.isnan(stored.table.loc["1.3", "ann"])
    db.close()


def test_one_reader_alone_is_said(tmp_path: Path) -> None:
    db = open_world(tmp_path, rows=0)
    put_readings(db, "1.2", ("ann", 2.9))
    with pytest.raises(InputError, match="two readers of the same series; measured so far by: ann"):
        stored_readings(db, form="mean")
    db.close()


def test_a_table_of_readings_with_blanks_and_semicolons(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_bytes("\ufeffsubject;ann;automatic\nb;2.9;\na;3.1;3.0\n".encode())
    table = read_readings(file)
    assert list(table.columns) == ["ann", "automatic"]
    assert list(table.index) == ["a", "b"]
    assert math.isnan(table.loc["b", "automatic"])


def test_readings_in_long_format_are_those_in_wide(tmp_path: Path) -> None:
    long, wide = tmp_path / "long.csv", tmp_path / "wide.csv"
    long.write_text("subject,Reader,vbq\ns2,A,2.8\ns1,A,3.1\ns1,B,3.0\ns3,B,2.5\n")
    wide.write_text("subject,A,B\ns1,3.1,3.0\ns2,2.8,\ns3,,2.5\n")
    pd.testing.assert_frame_equal(read_readings(long), read_readings(wide))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,reader,vbq\na,r1,3\na,r1,3.1\n", "line 3: 'r1' has read 'a' twice"),
        ("id,reader,vbq\na,r1,3\nb,r1,3.1\n", "two readers are needed, not r1"),
        ("id,reader,vbq\na,,3\n", "line 2: subject or reader is blank"),
        ("id,r1\na,2.9\n", "at least two readers"),
        ("id,r1,r1\na,2.9,3\n", "different names"),
        ("id,r1,r2\na,2.9,3\na,2.9,3\n", "line 3: subject 'a' is blank or stands there twice"),
        ("id,r1,r2\na,2.9,high\n", "line 2, r2: 'high' is no number"),
        ("id,r1,r2\na,2.9,inf\n", "line 2, r2: 'inf' is no VBQ"),
        ("", "the file is empty"),
    ],
)
def test_what_is_no_table_of_readings_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "r.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=said):
        read_readings(file)
