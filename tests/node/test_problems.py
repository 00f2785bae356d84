"""Problems as they are kept, by unit and reason, and as the view shows them."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from analytics.reasons import Reason, load_language, use_language
from node.store import wording
from node.store.database import open_database, writing
from node.store.migrate import VIEWS_FILE
from node.store.problems import forget_problems, note_problem
from tests.progress import steps_of

SHA256 = "3fa2bc91d0e4" + "5" * 52
MISSING = Reason("file-missing")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(tmp_path, create=True)
    yield opened
    opened.close()


def shown(db: Database) -> list[tuple[str, ...]]:
    return db.execute("SELECT source, code, detail, reason_codes FROM problems ORDER BY source").fetchall()


@pytest.mark.parametrize(
    ("kind", "key", "part", "source"),
    [
        ("object", SHA256, 0, "object 3fa2bc91d0e4"),
        ("message", SHA256, 2, "message 3fa2bc91d0e4.2"),
        ("import", "2", 0, "import 2"),
        ("import", "2", 9, "import 2 line 9"),
        ("study", "1.2.840.1", 0, "study 1.2.840.1"),
        ("decision", "7", 0, "decision 7"),
    ],
)
def test_the_source_is_made_of_the_unit(db: Database, kind: str, key: str, part: int, source: str) -> None:
    with writing(db):
        note_problem(db, "s", kind, key, "c", [MISSING], part=part)
    assert shown(db) == [(source, "c", "the file is missing from the archive", '["file-missing"]')]


def test_several_reasons_are_shown_in_one_line_with_each_code(db: Database) -> None:
    with writing(db):
        note_problem(db, "s", "study", "1.2", "c", [MISSING, Reason("row-repeated", {"id": "A", "line": 4})])
    ((_, _, detail, codes),) = shown(db)
    assert detail == "the file is missing from the archive; id A stands again on line 4; that row is not used"
    assert json.loads(codes) == ["file-missing", "row-repeated"]


def test_problems_of_a_part_a_unit_and_a_step_are_forgotten_apart(db: Database) -> None:
    with writing(db):
        for step, key, part in (("a", "1", 0), ("a", "1", 3), ("a", "1", 5), ("a", "11", 0), ("b", "1", 0)):
            note_problem(db, step, "import", key, "c", [MISSING], part=part)
        note_problem(db, "a", "import", "1", "c", [MISSING])
    assert len(shown(db)) == 5
    with writing(db):
        forget_problems(db, "a", "import", "1", part=3)
    assert [source for source, *_ in shown(db)] == ["import 1", "import 1", "import 1 line 5", "import 11"]
    with writing(db):
        forget_problems(db, "a", "import", "1")
    assert db.execute("SELECT step, source FROM problems ORDER BY step").fetchall() == [
        ("a", "import 11"),
        ("b", "import 1"),
    ]


FAULT = "connection refused"
PIXELS, PEER = "with other pixels", "the later one from a peer that may not correct the earlier"


@pytest.mark.parametrize(
    ("table", "rows", "reason"),
    [
        ("state_archive", [(SHA256, "missing")], Reason("missing")),
        ("state_archive", [(SHA256, "damaged")], Reason("damaged")),
        ("state_archive", [(SHA256, "foreign")], Reason("foreign")),
        (
            "state_fetch",
            [("pacs", "1.2", "1.2.3", "2026-03-02", FAULT)],
            Reason("not-fetched", {"peer": "pacs", "fault": FAULT}),
        ),
        (
            "state_outgoing_peer",
            [("forward", "pacs", 0, 3, "2026-03-01", None, FAULT)],
            Reason("unreachable", {"since": "2026-03-01", "fault": FAULT}),
        ),
        (
            "state_outgoing",
            [(n, "study_query", "pacs", f"1.{n}", "waiting", 3, "", "", None, FAULT, None) for n in (1, 2)],
            Reason("no-answer", {"studies": 2, "fault": FAULT}),
        ),
        (
            "derived_undecided",
            [("1.2.3.4", "1.2.3", "1.2", "pixels")],
            Reason("duplicate-uid", {"images": 1, "why": PIXELS, "study": "1.2"}),
        ),
        (
            "derived_undecided",
            [("1.2.3.4", "1.2.3", "1.2", "peer"), ("1.2.3.5", "1.2.3", "1.2", "peer")],
            Reason("duplicate-uid", {"images": 2, "why": PEER, "study": "1.2"}),
        ),
    ],
)
def test_words_made_by_the_view_are_those_of_the_catalogue(
    db: Database, table: str, rows: list[tuple[object, ...]], reason: Reason
) -> None:
    with writing(db):
        db.conn.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
    ((_, code, detail, codes),) = shown(db)
    assert (code, detail, json.loads(codes)) == (reason.code, str(reason), [reason.code])


VIEWS = VIEWS_FILE.read_text(encoding="utf-8")
MADE = re.findall(
    r"'code',\s+(?:'([a-z0-9-]+)'|iif\(.*?'([a-z0-9-]+)', '([a-z0-9-]+)'\),\s+'values')", VIEWS, re.DOTALL
)
"""The codes that views make reasons with: one, or one of two."""


@pytest.mark.parametrize("language", ["en", "de"])
def test_views_can_fill_all_words_that_they_make(language: str) -> None:
    codes = {code for found in MADE for code in found if code}
    assert {"unreachable", "object-given-up", "context-refused"} <= codes
    words = load_language(language).words
    assert [code for code in sorted(codes) if wording.parts(words[code]) is None] == []


@pytest.fixture
def german() -> Iterator[None]:
    use_language("de")
    yield
    use_language("en")


def test_another_language_is_that_of_all_words_from_the_next_start_on(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    fault = Reason("file-missing")
    with closing(open_database(tmp_path, create=True)) as db, writing(db):
        note_problem(db, "s", "study", "1.2", "c", [fault])
        db.execute("INSERT INTO state_fetch VALUES ('pacs', '1.2', '1.2.3', '2026-03-02', ?)", [FAULT])
        before = shown(db)
    request.getfixturevalue("german")
    with closing(open_database(tmp_path, create=True)) as db:
        after = shown(db)
        (kept,) = db.execute("SELECT reasons FROM derived_problem").fetchone()
    assert [(source, code, codes) for source, code, _, codes in after] == [(s, c, codes) for s, c, _, codes in before]
    assert [detail for _, _, detail, _ in before] == [f"from pacs: {FAULT}", "the file is missing from the archive"]
    assert [detail for _, _, detail, _ in after] == [f"von pacs: {FAULT}", "die Datei fehlt im Archiv"]
    assert json.loads(kept) == [{"code": "file-missing", "values": {}, "words": "die Datei fehlt im Archiv"}]
    use_language("en")
    with closing(open_database(tmp_path, create=True)) as db:
        assert shown(db) == before


def test_the_work_grows_with_the_counts_of_a_sender_not_with_their_square(db: Database) -> None:
    """Three patients of whom no count has a ratio, each with so many; then with four times as many."""
    specimens = 60

    def steps() -> int:
        return steps_of(
            db, lambda: db.execute("SELECT * FROM problems WHERE code = 'sender-without-counts'").fetchall()
        )

    def add(first: int, last: int) -> None:
        for patient in ("1", "2", "3"):
            for number in range(first, last):
                frame = db.execute(
                    "INSERT INTO fact_frame (sha256, raw) VALUES (?, x'00') RETURNING frame_id", [f"{patient}.{number}"]
                ).fetchone()[0]
                db.execute(
                    "INSERT INTO derived_message (frame_id, position, sender, status, reasons) "
                    "VALUES (?, 0, 'LAB', 'used', '[]')", [frame],
                )  # fmt: skip
                db.execute(
                    "INSERT INTO derived_extract (frame_id, position, item, kind, authority, patient_id, content) "
                    "VALUES (?, 0, 0, 'specimen', 'H', ?, '{}')", [frame, patient],
                )  # fmt: skip
                db.execute(
                    "INSERT INTO derived_blood_count (person, specimen, date_only, status, notes) "
                    "VALUES (?, ?, 0, 'final', '[]')", [f"H|{patient}", str(number)],
                )  # fmt: skip

    with writing(db):
        for patient in ("1", "2", "3"):
            db.execute("INSERT INTO derived_identifier VALUES ('H', ?, ?)", [patient, f"H|{patient}"])
        add(0, specimens)
    few = steps()
    with writing(db):
        add(specimens, 4 * specimens)
    assert steps() < 8 * few
