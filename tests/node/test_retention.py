"""What is done with is removed by the rules of the settings, and everything is derived again as if it were there."""

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlite_utils import Database

from node.clock import to_text
from node.dicom.commitment import Request, examine
from node.dicom.reconcile import reconcile
from node.errors import SliceError, StoreError
from node.nightly import retention
from node.nightly.retention import Found, look, tidy, tidy_daily
from node.operate.backup import back_up
from node.operate.erase import erase, hold
from node.operate.rebuild import rebuild
from node.operate.restore import restore
from node.people.readings import find_slice, parse_rois
from node.settings import Identity, Retention, Settings
from node.store.archive import Archive, files_alone
from node.store.database import insert, open_database, writing
from tests.node.golden_data import lines

AT = datetime(2028, 3, 1, 9, tzinfo=UTC)
"""Long after the operations of the small hospital."""
READ = "1.2.826.0.1.3680043.8.498.42"
"""A study of it that a person has read, and whose patient was reported."""


@pytest.fixture
def folder(tmp_path: Path, derived: tuple[Path, Settings]) -> Path:
    shutil.copytree(derived[0], tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def settings(folder: Path, derived: tuple[Path, Settings]) -> Settings:
    return derived[1].model_copy(
        update={
            "storage": derived[1].storage.model_copy(update={"folder": folder}),
            "identity": Identity(default_authority="DEMO"),
            "retention": Retention(images_days=365, messages_days=180, reports_days=365),
        }
    )


@pytest.fixture
def db(folder: Path) -> Iterator[Database]:
    opened = open_database(folder)
    with writing(opened):
        # The archive that images go to has taken them, and whoever asked for a commitment has heard the answer.
        opened.execute("UPDATE state_outgoing SET status = 'done'")
    yield opened
    opened.close()


def views(db: Database) -> dict[str, list[str]]:
    """All views but what tells of retention and of reports, whose texts go."""
    names = [name for name in db.view_names() if name not in ("reports", "audit")]
    return {view: lines(db.query(f"SELECT * FROM {view}")) for view in names}


def images(folder: Path) -> int:
    return len(list((folder / "dicom").glob("??/*.dcm")))


def test_what_is_removed_stays_known_and_a_rebuild_arrives_at_the_same(
    db: Database, folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, there = views(db), images(folder)
    (reading,) = db.query("SELECT * FROM measurements WHERE study_instance_uid = ? AND reading_id IS NOT NULL", [READ])
    assert reading["status"] == "measured"
    done = tidy(db, settings, now=AT)
    assert done.waits is None
    assert done.counts == {"studies": 1, "images": 6, "messages": 7, "reports": 1}
    assert images(folder) == there - 6
    assert views(db) == before
    rebuild(db, Archive(folder), settings)
    assert views(db) == before
    assert reconcile(folder, Archive(folder)).problems == 0
    monkeypatch.setattr(retention, "SETTLED", timedelta(0))
    tidy(db, settings, now=AT + timedelta(days=1))
    assert Archive(folder).aside() == {}
    assert db.execute("SELECT count(*) FROM fact_removal").fetchone() == (1 + 6 + 7 + 1,)


def test_a_backup_of_what_is_left_is_whole_and_is_restored_to_the_same(
    db: Database, folder: Path, settings: Settings, tmp_path: Path
) -> None:
    before = views(db)
    tidy(db, settings, now=AT)
    made = back_up(db, settings, tmp_path / "backups")
    assert made.generation.manifest.lacking == ()
    back = settings.model_copy(update={"storage": settings.storage.model_copy(update={"folder": tmp_path / "back"})})
    restore(tmp_path / "backups", tmp_path / "back", settings=back)
    with closing(open_database(tmp_path / "back")) as restored:
        rebuild(restored, Archive(tmp_path / "back"), back)
        assert {view: rows for view, rows in views(restored).items() if view != "problems"} == {
            view: rows for view, rows in before.items() if view != "problems"
        }


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("UPDATE derived_operation SET planned_at = '2028-03-01T05:00:00+00:00'", "operation to come"),
        ("UPDATE derived_measurement SET status = 'review' WHERE reading_id IS NOT NULL", "in doubt"),
        ("UPDATE derived_measurement SET status = 'rejected'", "not measured"),
        ("UPDATE derived_link SET series_instance_uid = NULL", "not reported"),
        ("UPDATE derived_series SET stale = 1", "being derived"),
        ("UPDATE derived_measurement SET algorithm_version = '0'", "being derived"),
        ("DELETE FROM derived_person", "being derived"),
        ("UPDATE derived_series SET withheld = 1", "in doubt"),
        ("UPDATE derived_person SET contradiction = 'two birth dates'", "in doubt"),
        ("UPDATE state_outgoing SET status = 'waiting' WHERE kind = 'forward'", "to be sent"),
        (
            "INSERT INTO fact_object_receipt (object_id, received_at, calling_ae, peer_address) "
            "SELECT object_id, '2028-02-01T00:00:00+00:00', '', '' FROM derived_instance",
            "too young",
        ),
        (
            "INSERT INTO fact_hold (authority, patient_id, decision, why, decided_at, decided_by) "
            "SELECT authority, patient_id, 'held', 'law suit', '', 'DPO' FROM derived_identifier",
            "on hold",
        ),
    ],
)
def test_nothing_goes_that_is_still_needed(db: Database, settings: Settings, change: str, why: str) -> None:
    def studies() -> Found:
        return next(one for one in look(db, settings, now=AT) if one.kind == "study")

    assert studies().due == (READ,)
    with writing(db):
        db.execute(change)
    assert studies().due == ()
    assert why in studies().stays


def test_a_hold_keeps_everything_of_a_person_and_its_end_lets_it_go(db: Database, settings: Settings) -> None:
    hold(db, settings, "0012346", by="DPO", why="law suit", release=False, now=AT)
    held = {one.kind: one for one in look(db, settings, now=AT)}
    assert held["study"].due == ()
    assert held["message"].stays["on hold"] == 4
    assert held["report"].stays == {"on hold": 1}
    hold(db, settings, "0012346", by="DPO", why="settled", release=True, now=AT)
    assert {one.kind: len(one.due) for one in look(db, settings, now=AT)} == {"study": 1, "message": 7, "report": 1}


def test_the_text_of_messages_and_reports_is_gone_and_their_counts_stay(
    db: Database, folder: Path, settings: Settings
) -> None:
    (sha256,) = db.execute("SELECT sha256 FROM fact_frame WHERE instr(raw, '0012346') ORDER BY frame_id").fetchone()
    (folder / "reports" / "2026-11-20").mkdir(parents=True, exist_ok=True)
    tidy(db, settings, now=AT)
    assert db.execute("SELECT raw FROM fact_frame WHERE sha256 = ?", [sha256]).fetchone() == (b"",)
    rule, at = db.execute("SELECT rule, removed_at FROM fact_removal WHERE key = ?", [sha256]).fetchone()
    assert (rule, at) == ("messages_days = 180", "2028-03-01T09:00:00.000000+00:00")
    old, newest = db.query("SELECT * FROM reports WHERE kind = 'nightly' ORDER BY night")
    assert old["text"].startswith("This text was removed on 2028-03-01")
    assert old["subject"] != ""
    assert json.loads(old["counts"])["blood_counts"] == {"final": 2, "held": 1}
    assert not newest["text"].startswith("This text was removed")
    assert not (folder / "reports" / "2026-11-20").exists()
    (mime,) = db.execute("SELECT mime FROM record_mail ORDER BY mail_id LIMIT 1").fetchone()
    assert b"This text was removed" in mime
    (row,) = db.query("SELECT * FROM audit WHERE action = 'removed'")
    assert row["subject"] == "1 studies, 6 images, 7 messages, 1 reports"


def test_a_person_whose_things_were_removed_can_be_erased(db: Database, folder: Path, settings: Settings) -> None:
    tidy(db, settings, now=AT)
    done = erase(db, settings, "0012346", by="DPO", why="Art. 17", now=AT)
    assert done.counts["images"] == 6
    assert done.counts["messages"] == 4
    after = views(db)
    rebuild(db, Archive(folder), settings)
    assert views(db) == after
    named = [path for path in folder.rglob("*") if path.is_file() and b"0012346" in path.read_bytes()]
    assert named == []


def test_a_killed_run_is_finished_by_the_next(
    db: Database, folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = images(folder)

    def killed(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Archive, "set_aside", killed)
        with pytest.raises(KeyboardInterrupt):
            tidy(db, settings, now=AT)
    assert images(folder) == there
    assert db.execute("SELECT count(*) FROM fact_removal WHERE kind = 'image'").fetchone() == (6,)
    tidy(db, settings, now=AT + timedelta(days=1))
    assert images(folder) == there - 6
    assert db.execute("SELECT DISTINCT status FROM state_run WHERE kind = 'retention'").fetchall() == [("done",)]


def test_a_file_that_cannot_be_deleted_costs_itself_and_is_deleted_by_the_next_run(
    db: Database, folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = images(folder)
    (night,) = db.execute("SELECT min(night) FROM record_report WHERE kind = 'nightly'").fetchone()
    page = folder / "reports" / night / "report.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("P36URODSFPZ")
    unlink, rename = os.unlink, Path.rename
    failed: list[str] = []

    def fail(path: str, **how: int) -> None:
        if path == page.name:
            raise OSError(errno.EIO, "Input/output error", path)
        unlink(path, **how)

    def fail_once(path: Path, target: Path) -> Path:
        if path.suffix == ".dcm" and not failed:
            failed.append(path.name)
            raise OSError(errno.EIO, "Input/output error", str(path))
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", fail)
        patched.setattr(Path, "rename", fail_once)
        with pytest.raises(StoreError, match=r"2 files of .* could not be deleted \(.*Input/output error\)"):
            tidy(db, settings, now=AT)
    assert images(folder) == there - 5
    assert page.exists()
    tidy(db, settings, now=AT + timedelta(days=1))
    assert images(folder) == there - 6
    assert not page.parent.exists()
    assert db.execute("SELECT DISTINCT status FROM state_run WHERE kind = 'retention'").fetchall() == [("done",)]


def test_an_image_that_is_sent_again_while_it_is_removed_is_put_back(
    db: Database, folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SETTLED", timedelta(0))
    tidy(db, settings, now=AT)
    sha256, *others = Archive(folder).aside()
    with writing(db):
        (object_id,) = db.execute("SELECT object_id FROM fact_object WHERE sha256 = ?", [sha256]).fetchone()
        again = {"received_at": to_text(AT + timedelta(seconds=2)), "calling_ae": "PACS", "peer_address": ""}
        insert(db, "fact_object_receipt", [{"object_id": object_id, **again}])
    tidy(db, settings, now=AT + timedelta(days=1))
    assert Archive(folder).path(sha256).is_file()
    assert not any(Archive(folder).path(one).exists() for one in others)
    assert Archive(folder).aside() == {}


def test_what_a_clock_that_was_ahead_has_set_aside_is_deleted(
    db: Database, folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidy(db, settings, now=AT)
    tidy(db, settings, now=AT + timedelta(days=1))
    assert len(Archive(folder).aside()) == 6  # it was just now
    set_right = time.time() - timedelta(days=300).total_seconds()
    monkeypatch.setattr(retention.time, "time", lambda: set_right)
    tidy(db, settings, now=AT + timedelta(days=2))
    assert Archive(folder).aside() == {}


def test_circles_cannot_be_placed_on_images_that_are_gone(db: Database, settings: Settings) -> None:
    (rois,) = db.execute("SELECT rois FROM fact_reading WHERE series_instance_uid = ?", [f"{READ}.1"]).fetchone()
    assert find_slice(db, f"{READ}.1", parse_rois(rois))
    tidy(db, settings, now=AT)
    with pytest.raises(SliceError, match="removed on 2028-03-01"):
        find_slice(db, f"{READ}.1", parse_rois(rois))


def test_whoever_asks_whether_removed_images_are_kept_hears_that_they_are_not_here(
    db: Database, folder: Path, settings: Settings
) -> None:
    (uid, sop_class) = db.execute(
        "SELECT o.sop_instance_uid, o.sop_class_uid FROM derived_instance AS i JOIN fact_object AS o USING (object_id) "
        "WHERE i.study_instance_uid = ?",
        [READ],
    ).fetchone()
    asked = Request(
        request_id=1, transaction_uid="1.2", calling_ae="PACS", peer_address="", instances=((sop_class, uid),)
    )
    assert examine(db, Archive(folder), asked).failed == ()
    tidy(db, settings, now=AT)
    # PS3.3, C.14.1.1: 0112H, no such object instance.
    assert examine(db, Archive(folder), asked).failed == ((sop_class, uid, 0x0112),)


def put_night(db: Database, night: str) -> None:
    put_missed(db, night)
    put_report(db, night)


def put_missed(db: Database, night: str) -> None:
    """In the ledger as a later one leaves it that has caught it up; its report is what tells one that was made."""
    with writing(db):
        db.execute(
            "INSERT INTO state_run (kind, night, started_at, finished_at, status) "
            "VALUES ('nightly', ?, '', '', 'done')",
            [night],
        )


def put_report(db: Database, night: str) -> None:
    report = {"report_id": f"{night}-nightly", "night": night, "kind": "nightly", "made_at": to_text(AT)}
    with writing(db):
        insert(db, "record_report", [report | {"subject": "", "text": "", "html": "", "counts": "{}"}])


def test_it_runs_once_a_day_after_the_night_and_not_beside_a_backup(
    db: Database, folder: Path, settings: Settings
) -> None:
    tidy_daily(db, settings, now=AT)
    assert db.execute("SELECT count(*) FROM fact_removal").fetchone() == (0,)
    nights = [(AT - timedelta(days=ago)).date().isoformat() for ago in range(7)]
    for night in (*nights[:5], nights[6]):
        put_night(db, night)
    put_missed(db, nights[5])
    tidy_daily(db, settings, now=AT)
    assert db.execute("SELECT count(*) FROM fact_removal").fetchone() == (0,), "a gap: the clock may have jumped"
    put_report(db, nights[5])
    with files_alone(folder) as mine:
        assert mine
        tidy_daily(db, settings, now=AT)
    assert db.execute("SELECT count(*) FROM fact_removal").fetchone() == (0,)
    tidy_daily(db, settings, now=AT)
    assert db.execute("SELECT count(*) FROM fact_removal").fetchone() != (0,)
    assert tidy(db, settings.model_copy(update={"retention": Retention()}), now=AT).counts == {}
