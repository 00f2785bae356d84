"""The snapshots: renewed by what has changed they are those that would be made whole, in place, and typed."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.errors import StoreError
from node.store import snapshot
from node.store.database import insert, open_database, writing
from node.store.snapshot import columns_of, definitions, publish, research_columns, research_path, research_tables
from tests.benchmarks.snapshot import add_messages, fill
from tests.node.night_world import put_operation
from tests.node.test_agreement import put_readings
from tests.ports import free_port

PERSON, NUMBER, BOOKING, SPECIMEN = "LOCAL|0000001", "0000001", "A5/", "S5"
"""The second person of :func:`fill`, with numbers of the hospital."""


@pytest.fixture
def world(tmp_path: Path) -> Database:
    db = open_database(tmp_path, create=True, pseudonym_key="00" * 32)
    fill(db, messages=40, series=20)
    return db


def rows(path: Path, table: str, columns: tuple[str, ...]) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as read:
        return sorted(read.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall(), key=repr)


def require_equal(db: Database, folder: Path) -> None:
    """The snapshot is what the views are, and research.db what it would be if it were made of it anew."""
    path = folder / "snapshots" / "node.db"
    for name in definitions():
        wanted = db.execute(f"SELECT {', '.join(columns_of(name))} FROM {name}").fetchall()
        assert rows(path, name, columns_of(name)) == sorted(wanted, key=repr), name
    seen = {name: rows(research_path(folder), name, research_columns(name)) for name in research_tables()}
    with writing(db):
        db.execute("DELETE FROM state_published")
    publish(db, folder)
    for name, before in seen.items():
        assert rows(research_path(folder), name, research_columns(name)) == before, name


CHANGES = {
    "messages": lambda db: add_messages(db, 1000, 3),
    "a receipt": lambda db: insert(
        db, "fact_frame_receipt", [{"frame_id": 3, "received_at": "2026-01-01", "peer_address": "x", "ack": "AA"}]
    ),
    "a replay": lambda db: db.execute("DELETE FROM derived_message WHERE frame_id IN (4, 5)"),
    "a reading": lambda db: put_readings(db, "1.2.5", ("ann", 2.9)),
    "a second reading": lambda db: put_readings(db, "1.2.5", ("ann", 2.9), ("bob", 3.3)),
    "a late image": lambda db: db.execute("UPDATE derived_series SET stale = 1 WHERE study_instance_uid = '1.3.1'"),
    "a series gone": lambda db: db.execute("DELETE FROM derived_series WHERE series_instance_uid = '1.2.5'"),
    "a person pending": lambda db: db.execute("DELETE FROM derived_person WHERE person = ?", [PERSON]),
    "a person merged": lambda db: db.execute(
        "UPDATE derived_person SET pseudonym = 'PX' WHERE person = ?", [PERSON]
    ),
    "an operation": lambda db: put_operation(db, "EX"),
    "an operation moved": lambda db: db.execute("UPDATE derived_operation SET planned_at = '2027-01-01T00:00:00Z'"),
    "a link": lambda db: db.execute("UPDATE derived_link SET vbq = 3.3, status = 'held' WHERE person = ?", [PERSON]),
    "a count": lambda db: db.execute("DELETE FROM derived_blood_count WHERE person = ?", [PERSON]),
    "a flag": lambda db: insert(db, "record_flag", [{
        "night": "2026-03-02", "episode": "E5", "change": "new", "tier": "flagged", "cause": "x",
        "surgery_date": "2026-03-10",
    }]),
    "a report": lambda db: insert(db, "record_report", [{
        "report_id": "r", "night": "2026-03-02", "kind": "nightly", "made_at": "x", "subject": "s", "text": "t",
        "html": "h", "counts": "{}",
    }]),
    "a fit": lambda db: insert(db, "record_fit", [{
        "fit_id": "f", "night": "2026-03-02", "made_at": "x", "status": "refused", "n_rows": 1, "n_used": 0,
        "snapshot_sha256": "x", "snapshot": "", "result": "{}", "settings": "{}", "code_version": "1",
    }]),
    "a time": lambda db: insert(db, "state_first_measured", [{
        "series_instance_uid": "1.2.5", "instances_sha256": "x", "algorithm_version": "5", "measured_at": "2026-01-06",
    }]),
}  # fmt: skip


def test_what_is_renewed_by_changes_is_what_would_be_made_whole(world: Database, tmp_path: Path) -> None:
    publish(world, tmp_path)
    copied = snapshot._copy
    snapshot._copy = lambda _db: pytest.fail("nothing but the changes is copied")
    try:
        for name, change in CHANGES.items():
            with contextlib.ExitStack() as one:
                if name not in ("messages", "a reading", "a second reading", "an operation"):
                    one.enter_context(writing(world))
                change(world)
            publish(world, tmp_path)
            snapshot._copy = copied
            require_equal(world, tmp_path)
            snapshot._copy = lambda _db: pytest.fail("nothing but the changes is copied")
        # Several at once, in any order, between two renewals.
        order = [name for name in CHANGES if name in ("a receipt", "a link", "an operation moved", "a late image")]
        random.Random(3).shuffle(order)
        with writing(world):
            for name in order:
                CHANGES[name](world)
        publish(world, tmp_path)
    finally:
        snapshot._copy = copied
    require_equal(world, tmp_path)
    world.close()


def test_a_snapshot_that_is_not_this_databases_is_made_whole(world: Database, tmp_path: Path) -> None:
    path = publish(world, tmp_path)
    harms = (
        path.unlink,
        lambda: path.write_bytes(b"no database"),
        lambda: research_path(tmp_path).unlink(),
        lambda: sqlite3.connect(path).execute("PRAGMA application_id = 7").fetchall(),
        lambda: world.execute("UPDATE state_published SET mark = 5"),  # of a backup, say
    )
    for number, harm in enumerate(harms):
        harm()
        add_messages(world, 1000 + number, 1)
        publish(world, tmp_path)
        require_equal(world, tmp_path)
    world.close()


def scribble(path: Path) -> None:
    """Overwrite everything but the first page, as a failing disk may."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))


def execute(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(sql)


@pytest.mark.parametrize("place", [snapshot.snapshot_path, research_path])
@pytest.mark.parametrize("harm", [scribble, lambda path: execute(path, "DROP TABLE links")], ids=["pages", "a table"])
def test_a_snapshot_that_cannot_be_renewed_is_made_anew(
    world: Database, tmp_path: Path, place: Callable[[Path], Path], harm: Callable[[Path], None]
) -> None:
    publish(world, tmp_path)
    harm(place(tmp_path))
    with writing(world):
        CHANGES["a link"](world)
    publish(world, tmp_path)
    require_equal(world, tmp_path)
    world.close()


@pytest.mark.parametrize("place", [snapshot.snapshot_path, research_path])
def test_a_renewal_that_was_killed_is_undone_and_not_played_back_later(
    world: Database, tmp_path: Path, place: Callable[[Path], Path]
) -> None:
    publish(world, tmp_path)
    path = place(tmp_path)
    child = os.fork()
    if not child:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA cache_size = 2")  # pages of it are written before the end, as those of a large one
            other.execute("BEGIN")
            other.execute("DELETE FROM links")
            other.execute("CREATE TABLE more (a)")
            other.execute("INSERT INTO more SELECT randomblob(500) FROM series, series")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    journal = path.with_name(f"{path.name}-journal")
    assert journal.stat().st_size > 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as read, pytest.raises(sqlite3.OperationalError):
        read.execute("SELECT count(*) FROM links").fetchone()  # whoever only reads cannot undo it
    with writing(world):
        CHANGES["a link"](world)
    publish(world, tmp_path)
    assert not journal.exists()
    require_equal(world, tmp_path)
    world.close()


@pytest.mark.parametrize("place", [snapshot.snapshot_path, research_path])
def test_what_was_left_of_a_snapshot_that_is_damaged_as_well_goes_with_it(
    world: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Callable[[Path], Path]
) -> None:
    publish(world, tmp_path)
    path = place(tmp_path)
    journal = path.with_name(f"{path.name}-journal")
    journal.write_bytes(b"left by somebody")
    monkeypatch.setattr(snapshot, "_stamp", lambda _path: (0, 0))  # of a file that does not open
    publish(world, tmp_path)
    assert not journal.exists()
    world.close()


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "50 %41 #1 ? & ü"
    world = open_database(folder, create=True)
    publish(world, folder)
    before = snapshot.snapshot_path(folder).stat().st_ino
    fill(world, messages=4, series=2)
    publish(world, folder)
    assert snapshot.snapshot_path(folder).stat().st_ino == before, "renewed in place"
    world.close()


def test_every_view_has_its_table_with_the_same_columns_keys_and_types(world: Database, tmp_path: Path) -> None:
    views = {name: [column.name for column in world[name].columns] for name in world.view_names()}
    assert set(definitions()) == set(views), "node/store/snapshot.sql"
    for name, columns in views.items():
        assert set(columns_of(name)) == set(columns), f"{name} in node/store/snapshot.sql"
    path = publish(world, tmp_path)
    with closing(sqlite3.connect(path)) as read:
        assert read.execute("PRAGMA user_version").fetchone() == (snapshot.SCHEMA,)
        assert read.execute("PRAGMA foreign_key_check").fetchall() == []
        kinds = {kind for name in views for _, _, kind, *_ in read.execute(f"PRAGMA table_info({name})")}
        assert kinds == {"TEXT", "INTEGER", "REAL"}
        foreign = {name: read.execute(f"PRAGMA foreign_key_list({name})").fetchall() for name in views}
        assert {row[2] for row in foreign["links"]} == {"series", "operations", "blood_counts"}
    world.close()


def test_research_has_no_number_of_the_hospital(world: Database, tmp_path: Path) -> None:
    with writing(world):
        world.execute(
            "UPDATE derived_operation SET surgeon = 'Meyer, Anna', surgeon_number = '4711', procedure = 'TLIF'"
        )
        world.execute("UPDATE derived_series SET accession_number = 'ACC998'")
        row = {"id": "PATNO-1234", "site": "s", "import_id": 1, "line": 2, "vbq": 2.5, "eligible": 1}
        fact = {"import_id": 1, "sha256": "0" * 64, "file_name": "c.csv", "content": b"", "imported_at": "x"}
        insert(world, "fact_import", [fact])
        insert(world, "derived_import_row", [row | {"exclusion_reasons": "[]"}])
    put_readings(world, "1.2.5", ("Dr Reader", 2.9))
    publish(world, tmp_path)
    content = research_path(tmp_path).read_bytes()
    for number in (NUMBER, BOOKING, "1.2.5", "1.3.1", "Meyer", "4711", "TLIF", "ACC998", "PATNO-1234", "Dr Reader"):
        assert number.encode() not in content, number
    assert NUMBER.encode() in (tmp_path / "snapshots" / "node.db").read_bytes()
    with closing(sqlite3.connect(research_path(tmp_path))) as read:
        # What belonged together still does.
        (joined,) = read.execute(
            "SELECT count(*) FROM links AS l JOIN measurements AS m USING (series_instance_uid) "
            "JOIN blood_counts AS b ON (b.patient, b.specimen) = (l.patient, l.specimen)"
        ).fetchone()
        assert joined == 5
        assert read.execute("SELECT count(*) FROM cohort WHERE id LIKE 'E%'").fetchone() == (4,)
    world.close()


def test_a_reader_that_stays_sees_the_newest_each_time_and_is_not_waited_for_for_ever(
    world: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = publish(world, tmp_path)
    before = path.stat().st_ino
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "datasette", str(path), "--port", str(port), "--setting", "num_sql_threads", "2"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        for renewal in range(1, 11):
            add_messages(world, 1000 + renewal, 1)
            publish(world, tmp_path)
            for _ in range(3):  # its threads take turns
                connection = HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("GET", "/node.json?sql=select+count(*)+as+n+from+messages&_shape=array")
                assert json.loads(connection.getresponse().read()) == [{"n": 40 + renewal}]
                connection.close()
    finally:
        server.terminate()
        server.wait(30)
    assert path.stat().st_ino == before, "renewed in place"

    # One that reads without a pause keeps what it has; it is said, and the next renewal brings all.
    monkeypatch.setattr(snapshot, "WAIT_MS", 50)
    holder = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    holder.execute("BEGIN")
    holder.execute("SELECT count(*) FROM messages").fetchone()
    add_messages(world, 2000, 1)
    with pytest.raises(StoreError, match="has been reading"):
        publish(world, tmp_path)
    holder.close()
    publish(world, tmp_path)
    require_equal(world, tmp_path)
    world.close()
