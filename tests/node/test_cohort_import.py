"""Import of a cohort table: a fact, and everything derived from it.

Numbers: the synthetic cohort of 200 and its spoilt copy of 201 rows come from ../shared/data/statistics; R's listwise
count of the spoilt one is 175, of which one row holds a slip (PLR 2210 where the counts give 285.9).
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlite_utils import Database

from analytics.episodes.cohort import COLUMNS
from analytics.reasons import Reason, load_language
from node.errors import CohortError
from node.people.imports import derive_imports, import_cohort
from node.steps.pending import pending
from node.store.database import insert, open_database, writing

STATISTICS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "statistics"
NOW = datetime(2024, 5, 6, 7, 8, tzinfo=UTC)
HEADER = ",".join(COLUMNS)
A = "A1,2.96,72,0,1,0,1,0,LDH,21.3,7.15,1.10,234,6.50,212.7"
B = "B2,3.05,74,1,1,1,1,1,LSS,20.4,8.73,1.29,274,6.77,212.4"
C = "C3,2.84,60,1,1,0,0,1,LS,20.2,2.07,1.06,242,1.95,228.3"

needs_statistics = pytest.mark.skipif(not STATISTICS.is_dir(), reason="../shared/data/statistics is not here")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path / "data", create=True)
    yield database
    database.conn.close()


def table(folder: Path, *lines: str, name: str = "cohort.csv") -> Path:
    path = folder / name
    path.write_bytes("\n".join([*lines, ""]).encode())
    return path


def take(db: Database, path: Path):
    summary = import_cohort(db, path, site="Testville", now=NOW)
    assert summary.rows == summary.new + summary.unchanged + summary.changed + summary.refused
    assert summary.eligible + summary.excluded == summary.rows - summary.refused
    return summary


def content(db: Database) -> dict[str, list[tuple]]:
    return {
        name: db.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3, 4").fetchall()
        for name in ("derived_import_row", "derived_problem", "cohort", "problems")
    }


def refused(db: Database, path: Path) -> str:
    with pytest.raises(CohortError) as caught:
        take(db, path)
    assert db.execute("SELECT count(*) FROM fact_import").fetchone() == (0,)
    assert db.execute("SELECT count(*) FROM derived_import_row").fetchone() == (0,)
    return str(caught.value)


def test_rows_reach_the_cohort_view(db: Database, tmp_path: Path) -> None:
    summary = take(db, table(tmp_path, HEADER, A, B))
    assert (summary.new, summary.eligible, summary.problems, summary.already_imported) == (2, 2, (), False)
    row = dict(next(iter(db.query("SELECT * FROM cohort WHERE id = 'A1'"))))
    assert row == {
        "id": "A1", "vbq": 2.96, "age": 72.0, "sex_male": 0, "smoking": 1, "diabetes": 0, "hypertension": 1,
        "calcium": 0, "diagnosis": "LDH", "bmi": 21.3, "neutrophils": 7.15, "lymphocytes": 1.1, "platelets": 234.0,
        "nlr": 6.5, "plr": 212.7, "site": "Testville", "scanner_stratum": None, "surgery_date": None,
        "mri_date": None, "cbc_date": None, "eligible": 1, "exclusion_reasons": "[]", "tier": None, "vbq_sd": None,
        "t_score": None, "bmd_g_per_cm2": None, "hu": None, "event": None, "exclusion_reason_codes": "[]",
        "monocytes": None, "lmr": None, "sii": None, "siri": None,
    }  # fmt: skip
    fact = db.execute("SELECT file_name, content, imported_at FROM fact_import").fetchone()
    assert fact == ("cohort.csv", f"{HEADER}\n{A}\n{B}\n".encode(), "2024-05-06T07:08:00.000000+00:00")


@needs_statistics
def test_the_synthetic_cohort_is_taken_whole_and_only_once(db: Database) -> None:
    path = STATISTICS / "inputs" / "cohort200.csv"
    first = take(db, path)
    assert (first.rows, first.new, first.eligible, first.problems) == (200, 200, 200, ())
    once = content(db)
    second = take(db, path)
    assert second.already_imported
    assert (second.new, second.unchanged, second.changed) == (0, 200, 0)
    assert content(db) == once
    assert db.execute("SELECT count(*) FROM fact_import").fetchone() == (1,)


@needs_statistics
def test_the_spoilt_cohort_says_what_is_wrong_with_it(db: Database) -> None:
    summary = take(db, STATISTICS / "inputs" / "messy201.csv")
    assert (summary.rows, summary.new, summary.refused) == (201, 200, 1)
    # R's 175 complete cases but the slip, and 11 whose blank NLR the counts give.
    assert summary.eligible == 185
    assert "line 89: id S088: plr 2210 contradicts platelets 386 / lymphocytes 1.35, which is 285.9" in summary.problems
    assert "line 41: id S040 stands again on line 202; that row is not used" in summary.problems
    (reasons,) = db.execute("SELECT exclusion_reasons FROM cohort WHERE id = 'S034'").fetchone()
    assert json.loads(reasons) == ["incomplete data: bmi"]
    sources = {row[0] for row in db.execute("SELECT source FROM problems WHERE step = 'import'")}
    assert sources == {"import 1 line 18", "import 1 line 41", "import 1 line 89"}


def test_the_newest_file_that_names_an_id_decides_it(db: Database, tmp_path: Path) -> None:
    take(db, table(tmp_path, HEADER, A, B))
    summary = take(db, table(tmp_path, HEADER, B.replace("3.05", "3.15"), C, name="later.csv"))
    assert (summary.rows, summary.new, summary.changed, summary.unchanged) == (2, 1, 1, 0)
    assert db.execute("SELECT id, vbq, import_id FROM derived_import_row ORDER BY id").fetchall() == [
        ("A1", 2.96, 1),
        ("B2", 3.15, 2),
        ("C3", 2.84, 2),
    ]
    again = take(db, table(tmp_path, HEADER, A, B))
    assert again.already_imported
    assert again.problems == ("1 rows of this file are not in effect: a file imported later decides them",)


def test_a_corrected_file_clears_the_problems_of_the_wrong_one(db: Database, tmp_path: Path) -> None:
    take(db, table(tmp_path, HEADER, A.replace("2.96", "29.6"), B, B, ",1"))
    assert db.execute("SELECT count(*) FROM problems").fetchone() == (3,)
    take(db, table(tmp_path, HEADER, A, name="a.csv"))
    assert db.execute("SELECT source, code FROM problems ORDER BY 1").fetchall() == [
        ("import 1 line 3", "repeated-id"),
        ("import 1 line 5", "malformed"),
    ]
    take(db, table(tmp_path, HEADER, B, name="b.csv"))
    assert db.execute("SELECT count(*) FROM problems").fetchone() == (0,)


def test_everything_derived_can_be_derived_again(db: Database, tmp_path: Path) -> None:
    take(db, table(tmp_path, HEADER, A.replace("2.96", "29.6"), B, B, C))
    take(db, table(tmp_path, HEADER, A, B.replace(",74,", ",47,"), name="second.csv"))
    take(db, table(tmp_path, HEADER, C.replace("1.95", "19.5"), ",2.9,", name="third.csv"))
    before = content(db)
    with writing(db):
        db.execute("DELETE FROM derived_import_row")
        db.execute("DELETE FROM derived_problem")
    assert derive_imports(db, site="Testville") == 3
    assert content(db) == before
    assert derive_imports(db, site="Testville") == 0


def test_an_interrupted_rebuild_is_made_up_for_by_the_next_import(db: Database, tmp_path: Path) -> None:
    take(db, table(tmp_path, HEADER, A))
    take(db, table(tmp_path, HEADER, B, name="second.csv"))
    with writing(db):
        db.execute("DELETE FROM derived_import_row")
    take(db, table(tmp_path, HEADER, C, name="third.csv"))
    assert db.execute("SELECT group_concat(id) FROM (SELECT id FROM cohort ORDER BY id)").fetchone() == ("A1,B2,C3",)


def test_a_file_that_cannot_be_read_any_more_is_a_problem_and_stops_nobody(db: Database, tmp_path: Path) -> None:
    """As after an update that reads more strictly: the steps go on, each time the same, and say so once."""
    take(db, table(tmp_path, HEADER, A))
    with writing(db):
        stored = {"sha256": "00", "file_name": "old.csv", "content": b"name,score\n", "imported_at": "2024-01-01"}
        insert(db, "fact_import", [stored])
        db.execute("DELETE FROM derived_import_row")
    assert pending(db)["imports to derive"] == 1
    assert derive_imports(db, site="Testville") == 2
    assert pending(db)["imports to derive"] == 0
    assert derive_imports(db, site="Testville") == 0
    assert db.execute("SELECT id FROM cohort").fetchall() == [("A1",)]
    ((source, code, detail),) = db.execute("SELECT source, code, detail FROM problems").fetchall()
    assert (source, code) == ("import 2", "unreadable")
    assert "missing 'id'" in detail
    take(db, table(tmp_path, HEADER, B, name="later.csv"))
    assert db.execute("SELECT count(*) FROM problems WHERE code = 'unreadable'").fetchone() == (1,)


def test_nothing_is_stored_when_deriving_fails(db: Database, tmp_path: Path) -> None:
    db.execute("CREATE TRIGGER full BEFORE INSERT ON derived_import_row WHEN new.id = 'B2' "
               "BEGIN SELECT RAISE(ABORT, 'disk full'); END")  # fmt: skip
    with pytest.raises(Exception, match="disk full"):
        take(db, table(tmp_path, HEADER, A, B))
    assert db.execute("SELECT count(*) FROM fact_import").fetchone() == (0,)
    assert db.execute("SELECT count(*) FROM derived_import_row").fetchone() == (0,)


@pytest.mark.parametrize(
    "make",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace(",", ";").encode(),
        lambda text: "\n".join(",".join(f'"{c}"' for c in line.split(",")) for line in text.split("\n")[:-1]).encode(),
        lambda text: text.replace("\n", "\n\n").encode(),
    ],
    ids=["byte order mark", "CRLF", "semicolons", "quoted", "blank lines"],
)
def test_the_ways_programs_write_csv_mean_the_same(db: Database, tmp_path: Path, make) -> None:
    path = tmp_path / "cohort.csv"
    path.write_bytes(make(f"{HEADER}\n{A}\n{B}\n"))
    assert take(db, path).eligible == 2
    assert db.execute("SELECT id, vbq, plr FROM cohort ORDER BY id").fetchall() == [
        ("A1", 2.96, 212.7),
        ("B2", 3.05, 212.4),
    ]


def test_columns_may_stand_in_any_order_and_dates_beside_them(db: Database, tmp_path: Path) -> None:
    header = ",".join(["surgery_date", *reversed(COLUMNS), "mri_date", "cbc_date"])
    dated = ",".join(["2024-05-31", *reversed(A.split(",")), "2024-02-29", "2024-05-01"])
    late = ",".join(["2024-05-31", *reversed(B.split(",")), "2024-02-28", "2024-04-30"])
    assert take(db, table(tmp_path, header, dated, late)).eligible == 1
    (reasons,) = db.execute("SELECT exclusion_reasons FROM cohort WHERE id = 'B2'").fetchone()
    assert json.loads(reasons) == [
        "MRI of 2024-02-28 is more than 3 months before the operation of 2024-05-31",
        "blood count of 2024-04-30 is more than 30 days before the operation of 2024-05-31",
    ]


def test_a_quoted_line_break_does_not_shift_the_line_numbers(db: Database, tmp_path: Path) -> None:
    summary = take(db, table(tmp_path, HEADER, A.replace("A1", '"A\n1"'), "short,row", B))
    assert summary.problems == ("line 4: the row has 2 cells, the header 15; it is not used",)
    assert summary.refused == 1


def test_a_row_without_an_id_is_a_problem(db: Database, tmp_path: Path) -> None:
    summary = take(db, table(tmp_path, HEADER, A, B.replace("B2", " ")))
    assert summary.problems == ("line 3: the row has no id; it is not used",)
    assert db.execute("SELECT code FROM problems").fetchall() == [("no-id",)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (f"{HEADER}\n".encode(), "no row that can be used"),
        (f"{HEADER}\n{A.replace('A1', ' ')}\n".encode(), "no row that can be used"),
        (f"{HEADER.replace('bmi', 'weight')}\n".encode(), "missing 'bmi', unknown 'weight'"),
        (f"{HEADER.replace(',lymphocytes', ',x').replace('nlr', 'y')}\n{A}\n".encode(), "missing 'nlr'"),
        (f"{HEADER},vbq\n{A},2.9\n".encode(), "repeated 'vbq'"),
        (f"{HEADER},Alter\n{A},72\n".replace("age", "AGE").encode(), "more than one column may be age: 'AGE', 'Alter'"),
        (b"PK\x03\x04\0\0", "begins like a spreadsheet"),
        (b"a\0b", "NUL"),
        (b"\x1f\x8b\x08", "R data file"),
        (b"$FL2 and no more", "the SPSS file cannot be read"),
        (b"PAR1 and no more", "Parquet"),
        (b"\xd0\xcf\x11\xe0 and no more", "the spreadsheet cannot be read"),
        (f'{HEADER}\n{A}\n"B2,3.05\n{C}\n'.encode(), "the record that begins on line 3 is not CSV"),
        (f"{HEADER}\n{A.replace('LDH', 'x' * 140_000)}\n".encode(), "the record that begins on line 2 is not CSV"),
    ],
)
def test_a_file_unreadable_as_a_whole_is_refused_and_not_stored(
    db: Database, tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "cohort.csv"
    path.write_bytes(content)
    message = refused(db, path)
    assert said in message
    assert str(path) in message


def test_a_column_coded_one_and_two_is_refused(db: Database, tmp_path: Path) -> None:
    message = refused(db, table(tmp_path, HEADER, A.replace(",72,0,", ",72,2,"), B))
    assert "sex_male is coded with 2 and without 0" in message
    assert "recode to 1 (yes) and 0 (no)" in message


def test_a_file_that_is_not_there_is_said_so(db: Database, tmp_path: Path) -> None:
    assert "No such file" in refused(db, tmp_path / "absent.csv")


MAPPING = '[columns.sex_male]\nfrom = "sex_male"\ncodes = { "2" = 0, "1" = 1 }\n'


def test_a_mapping_is_kept_with_the_file_and_makes_the_same_rows_again(db: Database, tmp_path: Path) -> None:
    path = table(tmp_path, HEADER, A.replace(",72,0,", ",72,2,"), B)
    summary = import_cohort(db, path, site="Testville", now=NOW, mapping=MAPPING)
    assert (summary.eligible, summary.problems) == (2, ())
    assert db.execute("SELECT content FROM fact_import_mapping").fetchall() == [(MAPPING,)]
    before = content(db)
    assert import_cohort(db, path, site="Testville", now=NOW, mapping=MAPPING).already_imported
    with writing(db):
        db.execute("DELETE FROM derived_import_row")
    assert derive_imports(db, site="Testville") == 1
    assert content(db) == before
    other = MAPPING.replace('"2" = 0, "1" = 1', '"2" = 1, "1" = 0')
    changed = import_cohort(db, path, site="Testville", now=NOW, mapping=other)
    assert (changed.changed, changed.already_imported) == (2, False)
    assert db.execute("SELECT id, sex_male FROM cohort ORDER BY id").fetchall() == [("A1", 1), ("B2", 0)]


@pytest.mark.parametrize(
    ("mapping", "said", "code"),
    [
        ("[columns", "not TOML", "mapping-not-toml"),
        ('[columns.weight]\nfrom = "x"', "no column of a cohort table", "mapping-of-no-column"),
        ('[columns.bmi]\nfrom = "x"', "the file has no such column", "mapping-without-source"),
        ('[columns.bmi]\nfrom = "bmi"\nfactor = "0"', "is 0", "mapping-not-valid"),
        ('[columns.bmi]\nfrom = "bmi"\nunit = "furlong"', "unit 'furlong' is not known", "mapping-unit-unknown"),
        (
            '[columns.smoking]\nfrom = "smoking"\ncodes = { "1" = "maybe" }',
            "'maybe' is none of",
            "mapping-meaning-unknown",
        ),
        ('[columns.bmi]\nfrom = "bmi"\ncolour = "red"', "colour", "mapping-not-valid"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(db: Database, tmp_path: Path, mapping: str, said: str, code: str) -> None:
    """With a code, so that it is said in the language of the site."""
    with pytest.raises(CohortError) as caught:
        import_cohort(db, table(tmp_path, HEADER, A), site="Testville", now=NOW, mapping=mapping)
    assert said in str(caught.value)
    why = caught.value.reason.values["why"]
    assert isinstance(why, Reason)
    assert (caught.value.reason.code, why.code) == ("cohort-table", code)
    assert caught.value.reason.words(load_language("de")).startswith("Kohortentabelle ")
    assert db.execute("SELECT count(*) FROM fact_import").fetchone() == (0,)


def test_problems_are_counted_by_reason_with_one_example(db: Database, tmp_path: Path) -> None:
    spoilt = [A.replace("A1", f"A{i}").replace("21.3", f"21.{i}").replace("2.96", f"29.{i}") for i in range(4)]
    summary = take(db, table(tmp_path, HEADER, *spoilt, B.replace(",74,", ",47,")))
    assert [(one["code"], one["n"]) for one in summary.problems_by_reason] == [("value-with-misplaced-point", 4)]
    assert set(summary.problem_codes) == {"value-with-misplaced-point"}
    lines = summary.lines()
    assert len(lines) == 3
    assert lines[1].startswith("  problem: 4 × vbq ")
    assert lines[2] == "  left out: id B2: age 47 is below 50 years"
