"""Backups: made while everything writes, whole or not there, and brought back to the same answers."""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.clock import now, to_text
from node.errors import StoreError
from node.operate import backup as backup_module
from node.operate import generations
from node.operate import restore as restore_module
from node.operate.backup import BackedUp, back_up
from node.operate.backup_state import backup_state
from node.operate.doctor import examine
from node.operate.generations import generation, names, sealed
from node.operate.parts import part_of
from node.operate.rebuild import rebuild
from node.operate.restore import restore, verify
from node.operate.sealing import identities, new_key
from node.operate.status import status
from node.settings import Backup, Settings
from node.store import whole_file
from node.store.archive import Archive
from node.store.database import DATABASE_NAME, RESTORING, insert, open_database, writing
from tests.node.dicom_samples import stack
from tests.node.golden_data import FROM_THE_START, derive, lines, unpack
from tests.node.world import World


def with_backup(world: World, **values: object) -> Settings:
    return world.settings.model_copy(update={"backup": Backup(**values)})


def backed_up(world: World, place: Path, **values: object) -> BackedUp:
    return back_up(world.db, with_backup(world, **values), place)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of the archive, the reports and the quarantine."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in ("dicom", "reports", "quarantine")
        for path in (folder / name).rglob("*")
        if path.is_file()
    }


@pytest.fixture
def full(world: World) -> World:
    world.receive(*stack(5))
    (world.folder / "reports" / "2026-03-02").mkdir(parents=True)
    (world.folder / "reports" / "2026-03-02" / "report.html").write_text("a night")
    return world


@pytest.fixture
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("beside")


def test_a_backup_comes_back_to_an_empty_folder_and_every_view_is_equal_after_a_rebuild(
    tmp_path: Path, beside: Path
) -> None:
    golden = unpack(FROM_THE_START, tmp_path)
    settings = golden.settings()
    with closing(open_database(golden.folder, create=True)) as db:
        derive(db, settings)
        before = {view: lines(db.query(f"SELECT * FROM {view}")) for view in db.view_names()}
        back_up(db, settings, beside / "backups")
    restored = settings.model_copy(update={"storage": settings.storage.model_copy(update={"folder": beside / "new"})})
    restore(beside / "backups", beside / "new")
    assert tree(beside / "new") == tree(golden.folder)
    with closing(open_database(beside / "new")) as db:
        assert {view: lines(db.query(f"SELECT * FROM {view}")) for view in db.view_names()} == before
        rebuild(db, Archive(beside / "new"), restored)
        after = {view: lines(db.query(f"SELECT * FROM {view}")) for view in db.view_names()}
    assert sum(map(len, before.values())) > 150
    assert after == before


def test_a_second_backup_stores_what_is_new_and_both_come_back_as_they_were(full: World, beside: Path) -> None:
    first = backed_up(full, beside / "b")
    (sha256,) = full.receive(*stack(1, series="2"))
    report = full.folder / "reports" / "2026-03-02" / "report.html"
    report.write_text("written anew")
    second = backed_up(full, beside / "b")
    assert (first.new_files, second.new_files) == (6, 2)
    assert (first.generation.manifest.files, second.generation.manifest.files) == (6, 7)
    assert [one.name for one in verify(beside / "b", all_of_them=True)] == names(beside / "b")
    restore(beside / "b", beside / "old", name=first.generation.name)
    restore(beside / "b", beside / "new")
    assert (beside / "old" / "reports" / "2026-03-02" / "report.html").read_text() == "a night"
    assert tree(beside / "new") == tree(full.folder)
    assert not Archive(beside / "old").path(sha256).exists()


def test_old_backups_are_deleted_with_the_files_that_only_they_had(full: World, beside: Path) -> None:
    report = full.folder / "reports" / "2026-03-02" / "report.html"
    done = []
    for text in ("one", "two", "three"):
        report.write_text(text)
        done.append(backed_up(full, beside / "b", keep=2))
    assert done[2].pruned == (done[0].generation.name,)
    assert names(beside / "b") == [one.generation.name for one in done[1:]]
    stored = {path.read_text() for path in (beside / "b" / "files").rglob("*") if path.is_file()}
    assert stored == {"two", "three"}
    verify(beside / "b", all_of_them=True)


@pytest.fixture
def parts_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_module, "OBJECTS", 2)


def keys(done: BackedUp) -> list[str]:
    return [part.key for part in done.generation.parts() if part.key]


def stored_objects(place: Path) -> dict[str, Path]:
    return {path.stem: path for path in (place / "dicom").glob("*/*.dcm")}


def take_away(world: World, sha256: str) -> None:
    """As retention does."""
    row = {"kind": "image", "key": sha256, "sha256": sha256, "rule": "images_days = 1", "removed_at": to_text(now())}
    with writing(world.db):
        insert(world.db, "fact_removal", [row])
    world.archive.path(sha256).unlink()


@pytest.mark.usefixtures("parts_of_two")
def test_only_what_has_changed_of_the_list_is_made_anew(full: World, beside: Path) -> None:
    # Objects 1 to 5: parts of the numbers 0 and 1, 2 and 3, 4 and 5.
    first = backed_up(full, beside / "b")
    full.receive(*stack(2, series="2"))
    second = backed_up(full, beside / "b")
    assert (len(keys(first)), second.new_files) == (3, 2)
    assert keys(second)[:3] == keys(first)
    assert [one.content for one in second.generation.parts()[:3]] == [
        one.content for one in first.generation.parts()[:3]
    ]
    (third_object,) = full.rows("SELECT sha256 FROM fact_object WHERE object_id = 3")[0]
    take_away(full, third_object)
    third = backed_up(full, beside / "b")
    assert third.new_files == 0
    assert [key in keys(second) for key in keys(third)] == [True, False, True, True]
    assert {one.path for one in third.generation.entries()} == set(tree(full.folder))
    parts = keys(third)
    (third.generation.folder / "parts.json").write_text("{}")
    fourth = backed_up(full, beside / "b")
    assert (keys(fourth), fourth.new_files) == (parts, 0)
    assert fourth.generation.manifest.files == third.generation.manifest.files == 7
    (third.generation.folder / "parts.json").unlink()
    verify(beside / "b", all_of_them=True)
    restore(beside / "b", beside / "new")
    assert tree(beside / "new") == tree(full.folder)


@pytest.mark.usefixtures("parts_of_two")
def test_what_was_taken_away_goes_with_the_last_backup_that_had_it_and_nothing_else_does(
    full: World, beside: Path
) -> None:
    sha256s = [sha256 for (sha256,) in full.rows("SELECT sha256 FROM fact_object ORDER BY object_id")]
    backed_up(full, beside / "b", keep=2)
    take_away(full, sha256s[2])
    backed_up(full, beside / "b", keep=2)
    assert set(stored_objects(beside / "b")) == set(sha256s)
    done = backed_up(full, beside / "b", keep=2)
    assert len(done.pruned) == 1
    assert set(stored_objects(beside / "b")) == {*sha256s} - {sha256s[2]}
    verify(beside / "b", all_of_them=True)


@pytest.mark.usefixtures("parts_of_two")
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_stored_file_that_is_lost_is_stored_again(full: World, beside: Path, damage: str) -> None:
    backed_up(full, beside / "b")
    victim = sorted(stored_objects(beside / "b").values())[0]
    content = victim.read_bytes()
    victim.unlink()
    if damage == "cut":
        victim.write_bytes(content[:-1])
    with pytest.raises(StoreError):
        verify(beside / "b")
    backups = 1 if damage == "gone" else backup_module.TURNS
    done = [backed_up(full, beside / "b").new_files for _ in range(backups)]
    assert sum(done) == 1
    assert victim.read_bytes() == content
    verify(beside / "b")


@pytest.mark.usefixtures("parts_of_two")
def test_an_image_that_was_lost_and_came_back_is_in_the_next_backup(full: World, beside: Path) -> None:
    victim = sorted((full.folder / "dicom").glob("??/*.dcm"))[0]
    away = victim.rename(beside / "away")
    assert backed_up(full, beside / "b").generation.manifest.lacking == (victim.stem,)
    # As a backup that was killed leaves one: no list names it.
    (beside / "b" / "dicom" / victim.stem[:2] / victim.name).write_bytes(away.read_bytes())
    assert backed_up(full, beside / "b").generation.manifest.lacking == (victim.stem,)
    away.rename(victim)
    assert backed_up(full, beside / "b").generation.manifest.lacking == ()
    restore(beside / "b", beside / "new")
    assert tree(beside / "new") == tree(full.folder)


def test_nothing_acknowledged_before_it_is_missing_from_a_backup_beside_writers(full: World, beside: Path) -> None:
    ended = threading.Event()
    written: list[str] = []

    def write() -> None:
        number = 10
        while not ended.is_set():
            written.extend(full.receive(*stack(1, series=str(number))))
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for round_ in range(3):
            acknowledged = set(written)
            backed_up(full, beside / str(round_))
            restore(beside / str(round_), beside / f"new{round_}")
            with closing(open_database(beside / f"new{round_}")) as db:
                there = {sha256 for (sha256,) in db.execute("SELECT sha256 FROM fact_object")}
            assert acknowledged <= there
            assert all(Archive(beside / f"new{round_}").path(sha256).is_file() for sha256 in there)
    finally:
        ended.set()
        writer.join()
    assert len(written) > 3


def test_an_encrypted_backup_shows_nothing_and_opens_with_its_key_alone(full: World, beside: Path) -> None:
    public = new_key(beside / "key")
    new_key(beside / "other")
    backed_up(full, beside / "b", encrypt_to=public)
    content = b"".join(path.read_bytes() for path in (beside / "b").rglob("*") if path.is_file())
    assert b"Synthetic" not in content
    assert b"0012345" not in content
    assert b"SQLite" not in content
    verify(beside / "b")
    verify(beside / "b", key=beside / "key")
    with pytest.raises(StoreError, match="is it the key of this backup"):
        verify(beside / "b", key=beside / "other")
    for key, words in ((None, "name the file of the secret key"), (beside / "other", "is it the key of this backup")):
        with pytest.raises(StoreError, match=words):
            restore(beside / "b", beside / "new", key=key)
        assert list((beside / "new").iterdir()) == []
    restore(beside / "b", beside / "new", key=beside / "key")
    assert tree(beside / "new") == tree(full.folder)
    assert (beside / "key").stat().st_mode & 0o777 == 0o400
    assert len(identities(beside / "key")) == 1
    with pytest.raises(StoreError, match="name another folder"):
        backed_up(full, beside / "b")


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize("damage", ["cut", "altered", "gone"])
@pytest.mark.parametrize("what", ["node.db", "files.jsonl.gz", "manifest.json", "dicom", "report"])
def test_a_damaged_backup_is_said_and_nothing_is_restored(
    full: World, beside: Path, what: str, damage: str, encrypted: bool
) -> None:
    key = beside / "key"
    made = backed_up(full, beside / "b", encrypt_to=new_key(key) if encrypted else "")
    places = {"dicom": beside / "b" / "dicom", "report": beside / "b" / "files"}
    place = places.get(what, made.generation.folder)
    name = f"{what}*" if what not in places else "*/*"
    victim = next(path for path in sorted(place.glob(name)) if path.is_file())
    content = victim.read_bytes()
    victim.unlink()  # it may be one with the file of the archive
    if damage == "cut":
        victim.write_bytes(content[: len(content) // 2])
    elif damage == "altered":
        victim.write_bytes(content[:-4] + bytes([content[-4] ^ 1]) + content[-3:])
    with pytest.raises(StoreError):
        verify(beside / "b", key=key if encrypted else None)
    with pytest.raises(StoreError):
        restore(beside / "b", beside / "new", key=key if encrypted else None)
    assert not (beside / "new").exists() or list((beside / "new").iterdir()) == []
    assert len(tree(full.folder)) == 6


@pytest.mark.parametrize(
    "damage",
    [lambda text: text[:-1], lambda text: text.replace('"files": ', '"files": 1'), lambda _: "{}", lambda _: "\xff"],
    ids=["cut", "altered", "another", "no text"],
)
def test_what_is_said_of_the_parts_of_a_list_is_checked_too(
    full: World, beside: Path, damage: Callable[[str], str]
) -> None:
    made = backed_up(full, beside / "b")
    index = made.generation.folder / "parts.json"
    verify(beside / "b")
    index.write_text(damage(index.read_text(encoding="utf-8")), encoding="latin-1")
    with pytest.raises(StoreError, match=r"parts\.json is not what was stored"):
        verify(beside / "b")
    restore(beside / "b", beside / "new")  # does without
    assert tree(beside / "new") == tree(full.folder)
    index.unlink()  # of a backup of before there were parts
    verify(beside / "b")


def test_old_backups_that_cannot_be_deleted_make_no_failure_of_the_new_one(full: World, beside: Path) -> None:
    damaged = backed_up(full, beside / "b", keep=2).generation
    backed_up(full, beside / "b", keep=2)
    manifest = (damaged.folder / "manifest.json").read_bytes()
    (damaged.folder / "manifest.json").write_bytes(manifest[:-1])
    done = backed_up(full, beside / "b", keep=2)
    assert done.pruned == ()
    assert "manifest.json is not what was stored" in done.not_pruned
    assert names(beside / "b")[-1] == done.generation.name
    assert full.rows("SELECT code FROM problems WHERE step = 'backup'") == [("backups-stay",)]
    state = backup_state(full.db, Backup(folder=beside / "b"), now=now())
    assert state.last_at is not None
    assert not state.ok
    assert "manifest.json is not what was stored" in state.sentence
    assert "none" not in state.sentence
    (damaged.folder / "manifest.json").write_bytes(manifest)
    done = backed_up(full, beside / "b", keep=2)
    assert (len(done.pruned), done.not_pruned) == (2, "")
    assert backup_state(full.db, Backup(folder=beside / "b"), now=now()).ok


def test_what_does_not_reach_the_disk_is_no_backup_and_no_restored_node(
    full: World, beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backed_up(full, beside / "b")
    asked: list[Path] = []

    def fail(_descriptor: int, folder: Path) -> None:
        asked.append(folder)
        if len(asked) in (1, 2, 4):
            raise OSError(errno.EIO, "Input/output error", str(folder))

    monkeypatch.setattr(whole_file, "_sync_disk_of", fail)
    with pytest.raises(OSError, match="Input/output error"):
        backed_up(full, beside / "b")
    assert len(list((beside / "b" / "generations").iterdir())) == 1
    for _ in range(2):  # of what was brought back, then of its names
        with pytest.raises(OSError, match="Input/output error"):
            restore(beside / "b", beside / "new")
        assert list((beside / "new").iterdir()) == []
    restore(beside / "b", beside / "new")
    assert tree(beside / "new") == tree(full.folder)
    assert asked == [
        beside / "b", *[beside / "new" / RESTORING] * 2, beside / "new", beside / "new" / RESTORING, beside / "new"
    ]  # fmt: skip


def test_the_disk_is_asked_whether_all_has_reached_it(tmp_path: Path) -> None:
    with whole_file.syncing(tmp_path) as sync:
        sync()
    with pytest.raises(OSError, match="Bad file descriptor") as error:
        sync()
    assert error.value.filename == str(tmp_path)


def test_an_image_that_is_not_what_was_received_is_named_and_not_stored(full: World, beside: Path) -> None:
    damaged, missing, *_ = sorted((full.folder / "dicom").glob("??/*.dcm"))
    content = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(content[:-1] + b"\xff")
    missing.unlink()
    done = backed_up(full, beside / "b")
    assert done.generation.manifest.lacking == tuple(sorted([damaged.stem, missing.stem]))
    assert not list((beside / "b" / "dicom").glob(f"*/{damaged.stem}*"))
    verify(beside / "b")
    assert ("backup", "backup-lacks") in full.rows("SELECT source, code FROM problems")
    state = backup_state(full.db, Backup(), now=now())
    assert not state.ok
    assert "2 images are not in the backup" in state.sentence


def test_a_damaged_database_is_not_backed_up(full: World, beside: Path) -> None:
    backed_up(full, beside / "b")
    full.db.close()
    path = full.folder / DATABASE_NAME
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'fact_object_sop'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    content = bytearray(path.read_bytes())
    content[(root - 1) * size : root * size] = os.urandom(size)
    path.write_bytes(content)
    db = open_database(full.folder)
    with pytest.raises(StoreError, match="damaged; it was not backed up"):
        back_up(db, full.settings, beside / "b")
    db.close()
    assert len(names(beside / "b")) == 1
    full.db = open_database(full.folder)


def test_a_full_disk_is_said_and_leaves_no_backup(full: World, beside: Path) -> None:
    disk = beside / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=700", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        for encrypt_to in ("", new_key(beside / "key")):
            with pytest.raises(OSError, match="No space left"):
                backed_up(full, disk / f"b{len(encrypt_to)}", encrypt_to=encrypt_to)
            assert names(disk / f"b{len(encrypt_to)}") == []
            subprocess.run(["find", disk, "-mindepth", "1", "-delete"], check=True)
        made = backed_up(full, beside / "b")
        with pytest.raises(StoreError, match="are free; nothing was done"):
            restore(beside / "b", disk / "new", name=made.generation.name)
        assert not list((disk / "new").iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert full.rows("SELECT status FROM state_backup") == [("failed",), ("failed",), ("done",)]
    assert not list((full.folder / "run").glob(".backup*"))


def test_a_failed_backup_is_a_problem_until_one_succeeds(full: World, beside: Path) -> None:
    (beside / "taken").write_text("a file")
    with pytest.raises(OSError, match=r"exists|directory"):
        backed_up(full, beside / "taken")
    ((detail,),) = full.rows("SELECT detail FROM problems WHERE code = 'backup-failed'")
    assert str(beside / "taken") in str(detail)
    shown = status(full.db, full.settings, now=now())["backup"]
    assert isinstance(shown, dict)
    assert not shown["ok"]
    backed_up(full, beside / "b")
    assert full.rows("SELECT * FROM problems WHERE step = 'backup'") == []


def test_a_backup_that_is_old_is_said_where_a_folder_is_set(full: World, beside: Path) -> None:
    expected = Backup(folder=beside / "b", alert_after_hours=36)
    assert backup_state(full.db, expected, now=now()).ok
    assert not backup_state(full.db, expected, now=now() + timedelta(hours=37)).ok
    backed_up(full, beside / "b", folder=beside / "b")
    assert backup_state(full.db, expected, now=now() + timedelta(hours=35)).ok
    late = now() + timedelta(hours=37)
    assert "none for 37 hours" in backup_state(full.db, expected, now=late).sentence
    assert backup_state(full.db, Backup(), now=late).ok
    assert any(one.check == "backup" and one.ok for one in examine(with_backup(full, folder=beside / "b")))


def test_a_disk_of_its_own_is_empty_although_something_of_its_file_system_lies_there(full: World, beside: Path) -> None:
    backed_up(full, beside / "b")
    (beside / "disk" / "lost+found").mkdir(parents=True)
    restore(beside / "b", beside / "disk")
    assert tree(beside / "disk") == tree(full.folder)
    assert (beside / "disk" / "lost+found").is_dir()


def files_of(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.glob("[df]i*/*/*")}


@pytest.mark.parametrize("where", ["unlink", "rmtree"])
def test_what_a_kill_leaves_of_an_old_backup_is_deleted_with_the_next(
    full: World, beside: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    place = beside / "b"
    (full.folder / "reports" / "old.html").write_text("only in the first")
    backed_up(full, place)
    (full.folder / "reports" / "old.html").unlink()

    def killed(path: Path, **_: object) -> None:
        if path.name.endswith(generations.GONE):
            (path / "manifest.json").unlink()
        raise KeyboardInterrupt

    backed_up(full, place)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        if where == "unlink":
            patched.setattr(Path, "unlink", killed)
        else:
            patched.setattr(shutil, "rmtree", killed)
        generations.prune(place, keep=1)
    assert len(names(place)) == 1
    backed_up(full, place, keep=1)
    assert list((place / "generations").glob(".*")) == []
    assert files_of(place) == {entry.stored for entry in generation(place).entries()}
    verify(place)


def test_what_a_kill_left_of_a_file_is_deleted_with_the_next_backup(full: World, beside: Path) -> None:
    place = beside / "b"
    backed_up(full, place)
    left = [place / "dicom" / "ab" / ".ab12.dcm.new", place / "files" / "cd" / ".cd34.new"]
    for path in left:
        path.write_bytes(b"half a file")
    backed_up(full, place)
    assert [path for path in left if path.exists()] == []
    verify(place)


def test_a_disk_of_its_own_takes_backups_also_after_a_kill_at_the_very_beginning(full: World, beside: Path) -> None:
    (beside / "b" / "lost+found").mkdir(parents=True)
    (beside / "b" / ".backup.json.4711").write_text("{")
    backed_up(full, beside / "b")
    assert not list((beside / "b").glob(".*"))
    verify(beside / "b")


def test_a_disk_that_is_not_mounted_is_said_and_nothing_is_stored_below_it(full: World, beside: Path) -> None:
    mount = beside / "mount"
    backed_up(full, mount)
    mount.rename(beside / "disk")
    mount.mkdir()
    with pytest.raises(StoreError, match="is its disk mounted"):
        backed_up(full, mount)
    assert list(mount.iterdir()) == []
    assert [code for (code,) in full.rows("SELECT code FROM problems")] == ["backup-failed"]
    back_up(full.db, full.settings, mount, anew=True)
    shutil.rmtree(mount)
    (beside / "disk").rename(mount)
    assert backed_up(full, mount).new_files == 0
    assert full.rows("SELECT code FROM problems") == []


def test_folders_that_are_not_for_this_backup_are_refused(full: World, beside: Path, tmp_path: Path) -> None:
    (beside / "else").mkdir()
    (beside / "else" / "thesis.doc").write_text("")
    with pytest.raises(StoreError, match="something else than backups"):
        backed_up(full, beside / "else")
    backed_up(full, beside / "b")
    with closing(open_database(beside / "other", create=True)) as db, pytest.raises(StoreError, match="another node"):
        back_up(
            db, Settings(storage=full.settings.storage.model_copy(update={"folder": beside / "other"})), beside / "b"
        )
    with pytest.raises(StoreError, match="is not empty"):
        restore(beside / "b", tmp_path)
    with pytest.raises(StoreError, match="no folder of backups"):
        restore(beside / "else", beside / "new")
    with pytest.raises(StoreError, match="there is no backup 20200101T000000Z"):
        restore(beside / "b", beside / "new", name="20200101T000000Z")


def test_two_at_once_are_refused(full: World, beside: Path) -> None:
    with backup_module.alone(full.folder), pytest.raises(StoreError, match="at work"):
        backed_up(full, beside / "b")


@pytest.fixture
def many(world: World) -> World:
    world.receive(*(one for series in range(12) for one in stack(10, series=str(series))))
    return world


def killed_at(arguments: list[str], seen: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command that is killed as soon as a file is there."""
    process = subprocess.Popen([sys.executable, "-m", "node", *arguments], stderr=subprocess.DEVNULL)
    while process.poll() is None and not seen.exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    yield process


def test_a_killed_backup_is_none_and_the_next_one_is_whole(many: World, beside: Path) -> None:
    config = beside / "node.toml"
    config.write_text(f"[storage]\nfolder = '{many.folder}'\n")
    shelf = sorted(path.name for path in (many.folder / "dicom").glob("??") if any(path.iterdir()))[0]
    first = next(iter(sorted((many.folder / "dicom" / shelf).iterdir()))).name
    for _ in killed_at(["backup", str(beside / "b"), "--config", str(config)], beside / "b" / "dicom" / shelf / first):
        assert names(beside / "b") == []
    made = backed_up(many, beside / "b").generation
    assert made.manifest.files == 120
    assert [path.name for path in (beside / "b" / "generations").iterdir()] == [made.name]
    assert not list((beside / "b").rglob(".*"))
    verify(beside / "b")


def test_a_killed_restore_is_refused_by_the_node_and_done_again(many: World, beside: Path) -> None:
    backed_up(many, beside / "b")
    config = beside / "node.toml"
    config.write_text(f"[storage]\nfolder = '{beside / 'new'}'\n")
    command = ["restore", str(beside / "b"), "--config", str(config)]
    for _ in killed_at(command, beside / "new" / RESTORING / "dicom"):
        assert not (beside / "new" / DATABASE_NAME).exists()
        with pytest.raises(StoreError, match="do it again"):
            open_database(beside / "new", create=True)
    restore(beside / "b", beside / "new")
    assert tree(beside / "new") == tree(many.folder)
    assert not (beside / "new" / RESTORING).exists()


def test_a_restore_leaves_another_one_alone(full: World, beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backed_up(full, beside / "b")
    real = restore_module._bring_back

    def meanwhile(*given: Any) -> None:
        monkeypatch.undo()
        with pytest.raises(StoreError, match="another restore to"):
            restore(beside / "b", beside / "new")
        real(*given)

    monkeypatch.setattr(restore_module, "_bring_back", meanwhile)
    restore(beside / "b", beside / "new")
    assert tree(beside / "new") == tree(full.folder)
    with pytest.raises(StoreError, match="is not empty"):
        restore(beside / "b", beside / "new")


def test_a_backup_of_a_newer_version_is_not_brought_back_to_an_older_one(full: World, beside: Path) -> None:
    one = backed_up(full, beside / "b").generation
    newer = replace(one.manifest, schema=one.manifest.schema + 1, version="99.0")
    (one.folder / "manifest.json").write_text(sealed(newer), encoding="utf-8")
    with pytest.raises(StoreError, match=r"is of vbq-node 99\.0 with schema \d+, this version knows"):
        restore(beside / "b", beside / "new")
    assert not (beside / "new").exists()


def test_a_list_that_names_a_file_outside_the_folder_is_refused(full: World, beside: Path) -> None:
    made = backed_up(full, beside / "b").generation
    content = part_of("", [replace(one, path="../../escaped") for one in made.entries()]).content
    (made.folder / "files.jsonl.gz").write_bytes(content)
    forged = replace(made.manifest, list_sha256=hashlib.sha256(content).hexdigest())
    (made.folder / "manifest.json").write_text(sealed(forged))
    with pytest.raises(StoreError, match="outside the data folder"):
        restore(beside / "b", beside / "new")
    assert not (beside / "escaped").exists()
    assert generation(beside / "b").name == made.name


def test_what_was_backed_up_is_of_one_moment(full: World, beside: Path) -> None:
    with writing(full.db):
        insert(full.db, "fact_site", [{"name": "before", "value": "1"}])
    made = backed_up(full, beside / "b").generation
    with writing(full.db):
        insert(full.db, "fact_site", [{"name": "after", "value": "1"}])
    with closing(Database(made.folder / "node.db")) as db:
        there = {name for (name,) in db.execute("SELECT name FROM fact_site").fetchall()}
    assert "before" in there
    assert "after" not in there
