"""Upgrades: earlier databases are recognised, copied and migrated, or refused in words; nothing kept changes."""

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils.utils import sqlite3

from analytics.vbq.version import AUTOMATIC_NAME, AUTOMATIC_VERSION
from node.errors import StoreError
from node.nightly.due import better_later
from node.operate.rebuild import rebuild
from node.settings import Metrics, Settings, Storage
from node.steps.worker import run_steps
from node.store import derivation, earlier, migrate, schema
from node.store.archive import Archive
from node.store.database import insert, open_database, writing
from node.store.snapshot import publish_unless_deriving, snapshot_path
from tests.commands import command
from tests.node.dicom_samples import mr_image, receive
from tests.node.golden_data import COMMITS, derive, lines, read, schemas, shown, tables, unpack
from tests.ports import free_port

NEWEST = schema.newest()


def number_of(path: Path) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def copies(folder: Path) -> list[Path]:
    return sorted((folder / "backups").iterdir()) if (folder / "backups").is_dir() else []


def without_state(tables: dict[str, Any]) -> dict[str, Any]:
    """Facts and records only; later migrations move bookkeeping from table to table."""
    return {name: content for name, content in tables.items() if not name.startswith("state_")}


def kept(path: Path, before: dict[str, tuple[list[str], list[tuple[object, ...]]]]) -> dict[str, object]:
    """The tables that were there before, in the columns that they had.

    An upgrade to another measurement keeps the earlier ones as further records: of that table the rows that it had.
    """
    with closing(sqlite3.connect(path)) as db:
        found: dict[str, object] = {name: read(db, name, columns) for name, (columns, _) in before.items()}
        if "record_measurement" in before:
            columns, had = before["record_measurement"]
            rows = read(db, "record_measurement", columns)[1]
            found["record_measurement"] = (columns, [row for row in rows if row[0] in {one[0] for one in had}])
        return found


# ---- golden databases ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("commit", COMMITS)
def test_a_golden_database_keeps_facts_and_records_byte_for_byte_and_what_is_to_be_sent(
    tmp_path: Path, commit: str
) -> None:
    golden = unpack(commit, tmp_path)
    before = tables(golden.path)
    for name in ("fact_object", "fact_frame", "fact_reading", "fact_threshold_decision", "record_fit", "record_mail",
                 "record_flag", "fact_study_query", "fact_commitment_request"):  # fmt: skip
        assert before[name][1], name
    queue = queued(golden.path)
    before = without_state(before)
    open_database(golden.folder, create=True).close()
    with closing(open_database(golden.folder)) as db:
        assert kept(golden.path, before) == before
        assert schema.structure(db.conn, schema.KEPT) == schema.expected(NEWEST)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        sent = db.execute("SELECT kind, status, count(*) FROM state_outgoing GROUP BY 1, 2 ORDER BY 1, 2").fetchall()
        assert sent == queue
        derive(db, golden.settings())
    assert kept(golden.path, before) == before


def queued(path: Path) -> list[tuple[str, str, int]]:
    """What is to be sent and was, by kind and state: of the one queue, or of its three forerunners."""
    sql = "SELECT kind, status, count(*) FROM state_outgoing GROUP BY 1, 2 ORDER BY 1, 2"
    with closing(sqlite3.connect(path)) as db:
        if db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'state_outgoing'").fetchone()[0]:
            return db.execute(sql).fetchall()
        (objects,) = db.execute("SELECT count(*) FROM state_forward").fetchone()
        (mails,) = db.execute("SELECT count(*) FROM state_delivery").fetchone()
    return [("commitment", "waiting", 1), ("forward", "waiting", objects), ("mail", "done", mails)]


def without_advice(views: dict[str, list[str]]) -> dict[str, list[str]]:
    """The views without the command that settles a held count, which versions before schema 9 did not name."""
    advice = re.compile(r"; `vbq-node counts approve .*? correct values")
    return {**views, "problems": [advice.sub("", line) for line in views["problems"]]}


@pytest.mark.parametrize("commit", COMMITS)
def test_a_golden_database_shows_in_every_view_what_it_showed(tmp_path: Path, commit: str) -> None:
    golden = unpack(commit, tmp_path)
    if commit == "690a2e1":  # an approved measurement brings its uncertainty to the cohort since
        golden.views["cohort"] = [{k: v for k, v in row.items() if k != "vbq_sd"} for row in golden.views["cohort"]]
    before = without_advice({view: lines(rows) for view, rows in golden.views.items()})
    with closing(open_database(golden.folder, create=True)) as db:
        derive(db, golden.settings())
        after = without_advice(shown(db, golden.views))
        rebuild(db, Archive(golden.folder), golden.settings())
        assert without_advice(shown(db, golden.views)) == after
    automatic = [row for row in golden.views["measurements"] if row["source"] == "auto"]
    if {row["algorithm_version"] for row in automatic} == {AUTOMATIC_VERSION}:
        assert after == before
        return
    # Another version of the algorithm measures anew: what the earlier one measured is shown as of an earlier state.
    earlier_states = lines(row | {"current": 0, "in_effect": 0} for row in automatic)
    assert set(after["measurements"]) >= set(earlier_states)
    unmeasured = set(before) - {"measurements", "series", "problems"}
    assert {view: after[view] for view in unmeasured} == {view: before[view] for view in unmeasured}


@pytest.mark.parametrize("commit", COMMITS)
def test_rebuild_keeps_measurements_that_it_does_not_arrive_at(tmp_path: Path, commit: str) -> None:
    golden = unpack(commit, tmp_path)
    rows = golden.views["measurements"]
    assert sorted(row["current"] for row in rows if row["source"] == "auto")[0] == 0, "one of an earlier state"
    # With this quiet period the images that came apart are one arrival: no earlier state is found again.
    settings = golden.settings(quiet_s=120.0)
    with closing(open_database(golden.folder, create=True)) as db:
        derive(db, settings)
        for _ in range(2):
            rebuild(db, Archive(golden.folder), settings)
            here = shown(db, {"measurements": rows})["measurements"]
            wanted = [
                row | ({} if row["algorithm_version"] == AUTOMATIC_VERSION else {"current": 0, "in_effect": 0})
                for row in rows
                if row["source"] == "auto"
            ]
            assert set(lines(wanted)) <= set(here)
        assert db.execute("SELECT count(*) FROM derived_measurement WHERE current = 0").fetchone() == (0,)


def test_who_took_the_circles_of_an_earlier_version_keeps_their_uncertainty(tmp_path: Path) -> None:
    golden = unpack("4ec8441", tmp_path)
    with closing(open_database(golden.folder, create=True)) as db:
        derive(db, golden.settings())
        approved = "SELECT vbq_sd FROM {} WHERE approved_algorithm = 'vbq-auto 3'"
        sql = " UNION ALL ".join(approved.format(view) for view in ("measurements", "readings"))
        assert db.execute(sql).fetchall() == [(pytest.approx(0.0582547291526078, rel=1e-6),)] * 2
        with writing(db):
            db.execute("DELETE FROM derived_measurement WHERE reading_id IS NULL")
        assert db.execute(sql).fetchall() == [(pytest.approx(0.0582547291526078, rel=1e-6),)] * 2


# ---- the states that all said 1 ------------------------------------------------------------------------------------
ROWS = """
INSERT INTO fact_site VALUES ('pseudonym_key', 'k'), ('made_at', '2026-01-01T00:00:00+00:00');
INSERT INTO fact_object VALUES (7, 'aa', 1, '1.2', '1.2.3', '1.2.840');
INSERT INTO fact_object_receipt VALUES (9, 7, 't', 'PACS', '10.0.0.1');
INSERT INTO fact_frame VALUES (3, 'bb', x'4d5348000dff');
INSERT INTO fact_reading (reading_id, series_instance_uid, reader, rois, added_at)
    VALUES (4, '1.2', 'r', '{"L1": 1}', 't');
INSERT INTO record_threshold (version, night, method, n, vbq, nlr, plr, ratios, snapshot_sha256, proposed_at{more})
    VALUES (5, '2026-01-02', 'quantile 0.75', 120, 3.0, 3.5, 250.0, 'any', 'cc', 't'{values});
INSERT INTO fact_threshold_decision VALUES (1, 5, 'adopted', 't', 'rule');
INSERT INTO record_flag (flag_id, night, episode, change, tier, cause, surgery_date, vbq, threshold_version)
    VALUES (6, '2026-01-02', 'E', 'new', 'lower', 'c', '2026-02-01', 2.5, 5);
INSERT INTO record_report VALUES ('R', '2026-01-02', 'nightly', 't', NULL, 's', 'text', '<p>', '{"n": 1}');
INSERT INTO record_mail VALUES (8, 'R', 'a@b', 'id', x'00ff', '2026-01-02T03:00:00+00:00');
INSERT INTO state_delivery (mail_id, status, attempts, next_attempt_at{queued}) VALUES (8, 'sent', 1, 't'{queued_at});
"""


def make(folder: Path, script: str) -> Path:
    """A database as a commit made it, with a row in the tables that changed later."""
    folder.mkdir()
    path = folder / "node.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)
        has = {name: {row[1] for row in db.execute(f"PRAGMA table_info({name})")} for name in
               ("record_threshold", "state_delivery", "state_destination", "state_study_query")}  # fmt: skip
        strata, queued = "strata" in has["record_threshold"], "queued_at" in has["state_delivery"]
        text = ROWS.replace("{more}", ", strata, evidence" if strata else "")
        text = text.replace("{values}", ", '[]', '{\"markers\": []}'" if strata else "")
        text = text.replace("{queued}", ", queued_at" if queued else "")
        db.executescript(text.replace("{queued_at}", ", '2026-01-02T03:00:00+00:00'" if queued else ""))
        if has["state_destination"]:
            column = "enrolled_object_id" if "enrolled_object_id" in has["state_destination"] else "after_object_id"
            db.execute(f"INSERT INTO state_destination (peer, {column}, failing_since) VALUES ('archive', 7, 't')")
        db.execute("PRAGMA user_version = 1")
        db.commit()
    return path


@pytest.mark.parametrize("commit", list(schemas()))
def test_every_state_of_schema_1_is_recognised_and_its_rows_come_along(tmp_path: Path, commit: str) -> None:
    path = make(tmp_path / "data", schemas()[commit])
    before = tables(path)
    first = tmp_path / "first.db"
    shutil.copy(path, first)
    with closing(sqlite3.connect(first, isolation_level=None)) as db:
        earlier.bring_to_first(db)
        assert schema.structure(db, schema.KEPT) == schema.expected(1)
        for name in before:
            assert read(db, name, common(db, name, before))[1] == columns_of(before[name], common(db, name, before)), (
                name
            )
        assert db.execute("SELECT queued_at FROM state_delivery").fetchone() == ("2026-01-02T03:00:00+00:00",)
        found = db.execute("SELECT enrolled_object_id, failures, failing_since FROM state_destination").fetchall()
        assert found == ([(7, 0, "t")] if "state_destination" in before else [])
    open_database(path.parent, create=True).close()
    with closing(open_database(path.parent)) as db:
        assert schema.structure(db.conn, schema.KEPT) == schema.expected(NEWEST)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        for name in without_state(before):
            same = common(db.conn, name, before)
            assert read(db.conn, name, same)[1] == columns_of(before[name], same), name
        assert db.execute("SELECT strata, evidence ->> '$.markers' FROM thresholds").fetchone() == ("[]", "[]")
        with pytest.raises(sqlite3.IntegrityError, match="record_flag is never changed"):
            db.execute("UPDATE record_flag SET tier = 'flagged'")
    (copied,) = copies(path.parent)
    assert (number_of(copied), copied.stat().st_mode & 0o007) == (1, 0)
    assert tables(copied) == before


def common(db: sqlite3.Connection, table: str, before: dict[str, Any]) -> list[str]:
    """The columns that a table has kept."""
    return [column for column in before[table][0] if column in read(db, table)[0]]


def columns_of(table: tuple[list[str], list[tuple[object, ...]]], columns: list[str]) -> list[tuple[object, ...]]:
    names, rows = table
    places = [0, *(names.index(column) + 1 for column in columns)]
    return [tuple(row[place] for place in places) for row in rows]


def test_all_known_states_are_tested_and_the_last_is_schema_1() -> None:
    found = set()
    for script in schemas().values():
        with closing(sqlite3.connect(":memory:")) as db:
            db.executescript(script)
            found.add(schema.fingerprint(schema.structure(db, schema.KEPT)))
    assert found == set(earlier.STATES)
    assert list(earlier.STATES)[-1] == schema.fingerprint(schema.expected(1))


# ---- refused -------------------------------------------------------------------------------------------------------
def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        (["DROP TABLE state_refusal"], f"those of no schema; nearest is {NEWEST} \\(missing: state_refusal\\)"),
        (["DROP INDEX fact_object_sop"], f"those of no schema; nearest is {NEWEST} \\(missing: fact_object_sop\\)"),
        (
            ["ALTER TABLE fact_reading ADD COLUMN more TEXT"],
            f"those of no schema; nearest is {NEWEST} \\(different: fact_reading",
        ),
        (
            ["CREATE TABLE record_other (a TEXT)"],
            f"those of no schema; nearest is {NEWEST} \\(not of it: record_other\\)",
        ),
    ],
)
@pytest.mark.parametrize("create", [False, True])
def test_tables_that_are_not_those_of_the_number_are_refused_and_both_are_named(
    tmp_path: Path, statements: list[str], says: str, create: bool
) -> None:
    open_database(tmp_path, create=True).close()
    change(tmp_path / "node.db", *statements)
    before = tables(tmp_path / "node.db")
    with pytest.raises(StoreError, match=f"says that it has schema {NEWEST}, but its tables are {says}"):
        open_database(tmp_path, create=create)
    assert tables(tmp_path / "node.db") == before


def test_a_state_of_before_that_says_a_later_number_is_named_by_its_commit(tmp_path: Path) -> None:
    path = make(tmp_path / "data", schemas()["690a2e1"])
    change(path, f"PRAGMA user_version = {NEWEST}")
    with pytest.raises(StoreError, match=f"has schema {NEWEST}, but its tables are those of schema 1 as of 907b6df"):
        open_database(path.parent, create=True)
    change(path, "PRAGMA user_version = 0")
    with pytest.raises(StoreError, match="has schema 0, but its tables are those of schema 1 as of 907b6df"):
        open_database(path.parent, create=True)


def test_tables_of_an_earlier_schema_under_a_later_number_are_named_by_theirs(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    scripts = [*schema.first_schema(), *schema.statements(schema.migrations()[0].script)]
    change(path, *scripts, f"PRAGMA user_version = {NEWEST}")
    with pytest.raises(StoreError, match=f"has schema {NEWEST}, but its tables are those of schema 2; nothing"):
        open_database(tmp_path, create=True)


def test_a_newer_database_is_refused_in_words(tmp_path: Path) -> None:
    open_database(tmp_path, create=True).close()
    change(tmp_path / "node.db", f"PRAGMA user_version = {NEWEST + 1}", "CREATE TABLE fact_later (a TEXT)")
    for create in (False, True):
        with pytest.raises(StoreError, match=f"has schema {NEWEST + 1}, this version knows {NEWEST}; install"):
            open_database(tmp_path, create=create)
    assert not copies(tmp_path)


def test_what_others_added_and_how_sql_is_laid_out_does_not_matter(tmp_path: Path) -> None:
    path = make(tmp_path / "data", schemas()["3b1df4e"])
    change(
        path,
        "CREATE TABLE notes (a TEXT)",
        "CREATE INDEX mine ON fact_object (size_bytes)",
        "ANALYZE",
        "DROP TABLE state_archive",
        'CREATE TABLE "state_archive" (sha256 TEXT PRIMARY KEY, -- as named\n'
        "state   TEXT NOT NULL CHECK (state IN ('missing', 'damaged', 'foreign'))) STRICT",
    )
    for _ in range(2):
        with closing(open_database(path.parent, create=True)) as db:
            assert {"notes", "sqlite_stat1"} <= set(db.table_names())


def test_an_earlier_database_is_not_opened_by_who_only_reads(tmp_path: Path) -> None:
    path = make(tmp_path / "data", schemas()["3b1df4e"])
    with pytest.raises(StoreError, match=f"has schema 1, this version needs {NEWEST}; run vbq-node migrate"):
        open_database(path.parent)
    assert number_of(path) == 1


def test_a_migration_without_room_for_it_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "data", schemas()["3b1df4e"])
    size = path.stat().st_size
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("node.store.migrate.shutil.disk_usage", lambda _: usage._replace(free=2 * size - 1))
    with pytest.raises(StoreError, match="MB are free; nothing was changed"):
        open_database(path.parent, create=True)
    assert number_of(path) == 1
    assert not copies(path.parent)
    monkeypatch.setattr("node.store.migrate.shutil.disk_usage", lambda _: usage._replace(free=2 * size))
    open_database(path.parent, create=True).close()
    assert number_of(path) == NEWEST


# ---- killed, and several at once -----------------------------------------------------------------------------------
def _dies_in(folder: Path, module: object, name: str) -> None:
    real: Callable[..., object] = getattr(module, name)

    def dies(*arguments: object, **named: object) -> None:
        real(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(module, name, dies)
    open_database(folder, create=True)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (migrate, "_require_room"),
        (os, "fsync"),  # of the copy
        (earlier, "_make_anew"),
        (earlier, "bring_to_first"),
        (derivation, "keep_measurements"),
        (derivation, "make_anew"),
        (migrate, "_require_sound"),
    ],
)
def test_a_kill_in_the_midst_leaves_a_database_that_migrates(tmp_path: Path, module: object, name: str) -> None:
    path = make(tmp_path / "data", schemas()["9ba6f60"])
    before = tables(path)
    process = multiprocessing.get_context("fork").Process(target=_dies_in, args=[path.parent, module, name])
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert number_of(path) == 1
    assert tables(path) == before
    with closing(open_database(path.parent, create=True)) as db:
        assert schema.structure(db.conn, schema.KEPT) == schema.expected(NEWEST)
        assert db.execute("SELECT count(*) FROM record_flag").fetchone() == (1,)


def test_what_a_killed_copy_left_is_removed(tmp_path: Path) -> None:
    path = make(tmp_path / "data", schemas()["3b1df4e"])
    folder = path.parent / "backups"
    folder.mkdir()
    (folder / ".node-schema-1-20260101T000000Z.db.new").write_bytes(b"half")
    (folder / ".node-schema-1-20260101T000000Z.db.new-journal").write_bytes(b"half")
    (folder / "of-somebody.db").write_bytes(b"mine")
    open_database(path.parent, create=True).close()
    assert [copy.name == "of-somebody.db" or number_of(copy) == 1 for copy in copies(path.parent)] == [True, True]


def _open(folder: Path) -> None:
    open_database(folder, create=True).close()


def test_several_roles_that_start_at_once_migrate_once(tmp_path: Path) -> None:
    path = make(tmp_path / "data", schemas()["3b1df4e"])
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_open, args=[path.parent]) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(copies(path.parent)) == 1


# ---- the derived part ----------------------------------------------------------------------------------------------
def _another_definition(folder: Path) -> None:
    change(folder / "node.db", "UPDATE state_derivation SET definition_sha256 = 'of another version'")


def test_another_definition_of_the_derived_part_has_it_derived_again_while_receivers_go_on(tmp_path: Path) -> None:
    golden = unpack("4ec8441", tmp_path)
    with closing(open_database(golden.folder, create=True)) as db:
        derive(db, golden.settings())
        before = shown(db, golden.views)
    _another_definition(golden.folder)
    with pytest.raises(StoreError, match="run vbq-node migrate"):
        open_database(golden.folder)
    with closing(open_database(golden.folder, create=True)) as db:
        assert derivation.again_since(db) is not None
        assert db.execute("SELECT count(*) FROM derived_message").fetchone() == (0,)
        receive(golden.folder, mr_image(seed=5, PatientID=None, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.4"))
        assert db.execute("SELECT count(*) FROM fact_object WHERE object_id > 12").fetchone() == (1,)
        derive(db, golden.settings())
        assert derivation.again_since(db) is None
        after = shown(db, golden.views)
    for view in before:
        assert set(before[view]) <= set(after[view]), view
    assert len(copies(golden.folder)) == 1, "a change of the derived part alone takes no copy"


def test_a_derived_table_that_is_gone_is_made_again(tmp_path: Path) -> None:
    open_database(tmp_path, create=True).close()
    change(tmp_path / "node.db", "DROP TABLE derived_unsent_series")
    with pytest.raises(StoreError, match="run vbq-node migrate"):
        open_database(tmp_path)
    open_database(tmp_path, create=True).close()
    open_database(tmp_path).close()


def test_the_definition_is_its_text_without_comments_and_layout() -> None:
    one = "-- why\nCREATE TABLE derived_x (a TEXT, -- that\n    b TEXT\n) STRICT;\n"
    assert schema.normalised(one) == "CREATE TABLE derived_x(a TEXT,b TEXT)STRICT"
    assert schema.normalised(one.replace("b TEXT", "b REAL")) != schema.normalised(one)


def test_until_everything_is_derived_again_no_night_is_run_and_the_snapshot_stays(tmp_path: Path) -> None:
    settings = Settings(storage=Storage(folder=tmp_path, snapshot_every_s=1), metrics=Metrics(port=free_port()))
    with closing(open_database(tmp_path, create=True)) as db:
        long_ago = datetime.now(UTC) - timedelta(days=3)
        assert not better_later(db, settings, long_ago.date(), long_ago)
        publish_unless_deriving(db, tmp_path).unlink()
        with writing(db):
            derivation.forget(db)
        assert better_later(db, settings, long_ago.date(), long_ago)
        with pytest.raises(StoreError, match=r"everything is being derived again since .*; `vbq-node status` shows"):
            publish_unless_deriving(db, tmp_path)
    stop = threading.Event()
    steps = threading.Thread(target=run_steps, args=[settings, stop])
    with closing(open_database(tmp_path, create=True)) as db:
        with writing(db):
            raw = b"MSH|^~\\&|LIS|LAB|VBQ|SITE|20260201||ADT^A08^ADT_A01|1|P|2.5\rPID|1||1^^^LOCAL||||19600101|F\r"
            insert(db, "fact_frame", [{"frame_id": 1, "sha256": "0" * 64, "raw": raw}])
        steps.start()
        try:
            deadline = time.monotonic() + 60
            while not snapshot_path(tmp_path).is_file():
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            stop.set()
            steps.join(60)
        assert derivation.again_since(db) is None
        with closing(sqlite3.connect(snapshot_path(tmp_path))) as snapshot:
            assert snapshot.execute("SELECT count(*) FROM messages WHERE status <> 'pending'").fetchone() == (1,)


def test_migrate_says_what_it_did_and_problems_answers_afterwards(tmp_path: Path) -> None:
    golden = unpack("690a2e1", tmp_path)
    config = tmp_path / "node.toml"
    config.write_text(f"[storage]\nfolder = '{golden.folder}'\n")

    call = [sys.executable, "-m", "node", "migrate", "--config", str(config)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "is current" in " ".join(done.stdout.split())
    for name in ("problems", "refusals"):
        assert command(name, "--config", config).returncode == 0, name
    assert command("status", "--config", config, check=False).returncode == 3, "something in it waits for a person"


def test_a_measurement_is_kept_once_however_often_it_is_forgotten(tmp_path: Path) -> None:
    row = {
        "series_instance_uid": "1.2", "source": "auto", "reading_id": None, "instances_sha256": "aa", "current": 1,
        "status": "measured", "reasons": "[]", "vbq_mean": 2.5, "rois": "{}", "algorithm_name": AUTOMATIC_NAME,
        "algorithm_version": "1",
    }  # fmt: skip
    with closing(open_database(tmp_path, create=True)) as db:
        for current in (1, 0):
            with writing(db):
                insert(db, "derived_measurement", [row | {"current": current}])
                derivation.forget(db)
        assert db.execute("SELECT vbq_mean, algorithm_version FROM record_measurement").fetchall() == [(2.5, "1")]
