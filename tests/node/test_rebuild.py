"""Rebuild beside a running node: nothing is skipped, and nobody is shown what is half derived."""

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlite_utils import Database

from node.hl7.interpret import Interpretation
from node.operate.rebuild import rebuild
from node.settings import Metrics, Settings, Storage
from node.steps import interpret, worker
from node.steps.lock import deriving
from node.steps.worker import run_pending, run_steps
from node.store.archive import Archive
from node.store.database import insert, open_database, writing
from node.store.snapshot import snapshot_path
from tests.ports import free_port

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def frame(number: int) -> bytes:
    return (
        f"MSH|^~\\&|LIS|LAB|VBQ|SITE|202602{number % 28 + 1:02d}1000||ADT^A08^ADT_A01|{number}|P|2.5\r"
        f"PID|1||{number:06d}^^^LOCAL||||19600101|F\r"
    ).encode()


def receive(folder: Path, numbers: range) -> None:
    db = open_database(folder, create=True)
    with writing(db):
        rows = [{"frame_id": n, "sha256": f"{n:064x}", "raw": frame(n)} for n in numbers]
        insert(db, "fact_frame", rows)
    db.close()


def persons(folder: Path) -> int:
    db = open_database(folder)
    (number,) = db.execute("SELECT count(*) FROM derived_person").fetchone()
    db.close()
    return int(number)


def rebuilding(settings: Settings) -> threading.Thread:
    def work() -> None:
        db = open_database(settings.storage.folder)
        rebuild(db, Archive(settings.storage.folder), settings)
        db.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_rebuild_in_the_middle_of_a_round_of_the_steps_skips_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(tmp_path, range(1, 11))
    settings = Settings(storage=Storage(folder=tmp_path))
    db = open_database(tmp_path)
    run_pending(db, Archive(tmp_path), settings, at=NOW)
    receive(tmp_path, range(11, 16))
    began: list[threading.Thread] = []
    real = interpret.interpret_frame

    def read_while_a_rebuild_begins(raw: bytes, given: Settings) -> list[Interpretation]:
        if not began:
            began.append(rebuilding(settings))
            began[0].join(0.5)
        return real(raw, given)

    monkeypatch.setattr(interpret, "interpret_frame", read_while_a_rebuild_begins)
    with deriving(tmp_path):
        run_pending(db, Archive(tmp_path), settings, at=NOW)
    began[0].join(30)
    assert not began[0].is_alive()
    assert persons(tmp_path) == 15
    db.close()


def test_the_snapshot_is_renewed_only_for_news_and_not_during_a_rebuild(tmp_path: Path) -> None:
    receive(tmp_path, range(1, 4))
    settings = Settings(storage=Storage(folder=tmp_path, snapshot_every_s=1), metrics=Metrics(port=free_port()))
    stop = threading.Event()
    steps = threading.Thread(target=run_steps, args=[settings, stop])
    steps.start()
    try:
        while not snapshot_path(tmp_path).is_file():
            assert steps.is_alive()
            time.sleep(0.05)
        time.sleep(1.5)  # a first one may be of the time before the first round
        made = snapshot_path(tmp_path).stat()
        time.sleep(2.5)
        assert snapshot_path(tmp_path).stat().st_mtime_ns == made.st_mtime_ns
        with deriving(tmp_path, wait=True):
            db = open_database(tmp_path)
            with writing(db):
                db.execute("DELETE FROM derived_message")
            db.close()
            time.sleep(2)
            shown = Database(snapshot_path(tmp_path))
            assert shown.execute("SELECT count(*) FROM messages WHERE status <> 'pending'").fetchone() == (3,)
            shown.close()
    finally:
        stop.set()
        steps.join(30)
    assert not steps.is_alive()


def rounds_of(folder: Path, monkeypatch: pytest.MonkeyPatch, found: list[int]) -> list[str]:
    """What the role does in rounds that find so much to derive, one after the other."""
    told: list[str] = []
    stop = threading.Event()

    def derive(*_: object, **__: object) -> int:
        told.append("derive")
        if not found:
            stop.set()
        return found.pop(0) if found else 0

    monkeypatch.setattr(worker, "run_pending", derive)
    monkeypatch.setattr(worker, "publish", lambda *_: told.append("publish"))
    run_steps(Settings(storage=Storage(folder=folder)), stop)
    return told


def test_what_waits_is_derived_before_the_snapshot_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rounds_of(tmp_path, monkeypatch, [1, 1]) == ["derive", "derive", "derive", "publish"]


def test_with_always_more_to_derive_the_snapshot_is_renewed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "SNAPSHOT_LATE_S", 0.0)
    assert rounds_of(tmp_path, monkeypatch, [1, 1])[:2] == ["derive", "publish"]
