"""The database: migration, immutability, views described, snapshot readable by others while the node writes."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.conf import conf_path
from node.errors import StoreError
from node.operate.doctor import Finding, examine
from node.settings import Settings, Storage
from node.store.database import BUSY_TIMEOUT_MS, DATABASE_NAME, bound_wal, insert, open_database, writing
from node.store.problems import note_problem
from node.store.snapshot import publish

PROMISED_VIEWS = {
    "cohort", "flags", "measurements", "readings", "blood_counts", "operations", "links", "fits", "fit_terms",
    "thresholds", "reports", "messages", "series", "problems", "results", "corrections",
    "pool_exports", "audit",
}  # fmt: skip


def test_the_promised_views_are_there_and_every_column_is_described(tmp_path: Path) -> None:
    db = open_database(tmp_path, create=True)
    described = json.loads(conf_path("datasette.json").read_text(encoding="utf-8"))["databases"]["node"]["tables"]
    assert set(db.view_names()) == PROMISED_VIEWS == set(described)
    for view in PROMISED_VIEWS:
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({view})")]
        assert columns == list(described[view]["columns"]), view
    db.close()


def _open(folder: Path) -> None:
    open_database(folder, create=True).close()


def test_many_processes_may_start_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_open, args=[tmp_path]) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6
    db = open_database(tmp_path)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert db.execute("SELECT count(*) FROM fact_site").fetchone() == (2,)
    db.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_committed_to_a_file_that_was_moved_away(tmp_path: Path, replaced: bool) -> None:
    db = open_database(tmp_path / "data", create=True)
    (tmp_path / "data").rename(tmp_path / "aside")
    if replaced:
        open_database(tmp_path / "data", create=True).close()
    with pytest.raises(sqlite3.OperationalError, match="moved or deleted while in use"), writing(db):
        insert(db, "fact_frame", [{"frame_id": 1, "sha256": "0" * 64, "raw": b"MSH"}])
    if not replaced:
        (tmp_path / "aside").rename(tmp_path / "data")
        with writing(db):
            insert(db, "fact_frame", [{"frame_id": 1, "sha256": "0" * 64, "raw": b"MSH"}])
        assert db["fact_frame"].count == 1
    db.close()


def test_facts_and_records_never_change(tmp_path: Path) -> None:
    db = open_database(tmp_path, create=True)
    for table in db.table_names():
        triggers = {row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE tbl_name = ?", [table])}
        guarded = {f"{table}_no_update", f"{table}_no_delete"} <= triggers
        assert guarded == table.startswith(("fact_", "record_")), table
    for statement in ("UPDATE fact_site SET value = 'x'", "DELETE FROM fact_site"):
        with pytest.raises(sqlite3.IntegrityError, match="fact_site is never changed"):
            db.execute(statement)
    db.close()


def test_a_unit_of_work_is_all_or_nothing(tmp_path: Path) -> None:
    db = open_database(tmp_path, create=True)
    row = {"step": "s", "unit_kind": "x", "unit_key": "1", "code": "c", "reasons": "[]"}
    with pytest.raises(KeyError), writing(db):
        insert(db, "derived_problem", [row])
        raise KeyError
    assert db.execute("SELECT count(*) FROM derived_problem").fetchone() == (0,)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        insert(db, "derived_problme", [row])
    db.close()


def test_a_missing_newer_or_unusable_database_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no database at"):
        open_database(tmp_path)
    open_database(tmp_path, create=True).close()
    db = open_database(tmp_path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="has schema 99"):
        open_database(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="cannot use the database"):
        open_database(tmp_path / "file" / "below", create=True)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "node.db").write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(StoreError, match=r"is damaged \(file is not a database\); stop the node, keep the file"):
        open_database(tmp_path / "damaged", create=True)


def test_a_disk_that_can_only_be_read_is_named(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        open_database(disk / "data", create=True).close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for create in (False, True):
            with pytest.raises(StoreError, match="its file system is mounted read-only"):
                open_database(disk / "data", create=create)
        (finding,) = [
            one for one in examine(Settings(storage=Storage(folder=disk / "data"))) if one.check == "data folder"
        ]
        assert (finding.ok, finding.detail) == (False, f"{disk / 'data'} cannot be written: Read-only file system")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_snapshot_opens_for_others_while_a_writer_writes(tmp_path: Path) -> None:
    db = open_database(tmp_path, create=True)
    with writing(db):
        note_problem(db, "s", "x", "1", "c", [])
    path = publish(db, tmp_path)
    writer = open_database(tmp_path)
    writer.execute("BEGIN IMMEDIATE")
    try:
        note_problem(writer, "s", "y", "1", "c", [])
        publish(db, tmp_path)  # neither waits for the writer nor sees what is not committed
        command = [sys.executable, "-m", "sqlite_utils", str(path), "SELECT step, source FROM problems"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert json.loads(answer) == [{"step": "s", "source": "x 1"}]
        command = [sys.executable, "-m", "datasette", "inspect", str(path)]
        seen = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert set(seen["node"]["tables"]) == PROMISED_VIEWS
        assert seen["node"]["tables"]["problems"]["count"] == 1
    finally:
        writer.execute("ROLLBACK")
        writer.close()
        db.close()
    snapshot = Database(sqlite3.connect(f"file:{path}?mode=ro", uri=True))
    assert set(snapshot.table_names()) == PROMISED_VIEWS, "no raw message, no key of the study ids"
    snapshot.close()
    assert path.stat().st_mode & 0o777 == 0o640
    assert {entry.name for entry in path.parent.iterdir()} == {"node.db", "research.db"}


def test_the_write_ahead_log_is_bounded_once_nobody_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.store.database.WAL_LIMIT_BYTES", 1 << 20)
    db = open_database(tmp_path, create=True)
    reader = open_database(tmp_path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM fact_frame").fetchone()
    for number in range(60):
        with writing(db):
            insert(db, "fact_frame", [{"sha256": f"{number:064x}", "raw": os.urandom(100_000)}])
    log = tmp_path / f"{DATABASE_NAME}-wal"
    assert log.stat().st_size > 6_000_000
    assert not bound_wal(db, tmp_path), "the reader is not waited for"
    monkeypatch.setattr("node.operate.doctor.LONG_WAL_BYTES", 2 << 20)
    settings = Settings.model_validate({"storage": {"folder": tmp_path}})

    def said() -> Finding:
        (found,) = (one for one in examine(settings) if one.check == "write-ahead log")
        return found

    assert not said().ok
    assert str(log) in said().detail
    reader.execute("COMMIT")
    assert bound_wal(db, tmp_path)
    assert said().ok
    assert log.stat().st_size <= 1 << 20
    assert db.execute("PRAGMA busy_timeout").fetchone() == (BUSY_TIMEOUT_MS,)
    reader.close()
    db.close()


def test_columns_of_a_union_have_the_type_of_their_values_in_the_snapshot(tmp_path: Path) -> None:
    db = open_database(tmp_path, create=True)
    insert(db, "fact_object", [{
        "object_id": 1, "sha256": "a" * 64, "size_bytes": 1, "sop_class_uid": "1", "sop_instance_uid": "1.2",
        "transfer_syntax_uid": "1",
    }])  # fmt: skip
    insert(db, "derived_instance", [{
        "object_id": 1, "sop_instance_uid": "1.2", "series_instance_uid": "1.2.1", "study_instance_uid": "1.2.3",
        "modality": "MR", "headers": "{}",
    }])  # fmt: skip
    path = publish(db, tmp_path)
    db.close()
    snapshot = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    # As Datasette asks.
    assert snapshot.execute("SELECT study_instance_uid FROM series WHERE instances = '1'").fetchall() == [("1.2.3",)]
    assert snapshot.execute("SELECT instances FROM series WHERE modality = 'MR'").fetchall() == [(1,)]
    for table in PROMISED_VIEWS:
        kinds = {kind for _, _, kind, *_ in snapshot.execute(f"PRAGMA table_info({table})")}
        assert kinds <= {"TEXT", "INTEGER", "REAL"}, table
    snapshot.close()
