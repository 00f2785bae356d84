"""Archive and records after a receiver that died at the worst moment, a disk that lost a file, and a restored one."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.dicom.listener import run_receiver
from node.dicom.reconcile import Reconciled, reconcile
from node.errors import StoreError
from node.settings import Settings
from node.steps.index import index_objects
from node.store.archive import Archive
from node.store.database import open_database
from tests.node.dicom_samples import encode, mr_image, receive, receiver, receiver_process, settings_for
from tests.node.raw_sender import raw_association
from tests.node.receiver_world import association, rows
from tests.ports import free_port

PROBLEMS = "SELECT step, code FROM problems ORDER BY code"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "data")


@pytest.fixture
def archive(settings: Settings) -> Archive:
    return Archive(settings.storage.folder)


def reconciled() -> None:
    """Wait until what runs beside the receiver of this process is done."""
    for thread in threading.enumerate():
        if thread.name == "reconcile":
            thread.join(20)
            assert not thread.is_alive()


def start_and_stop(settings: Settings) -> None:
    with receiver(settings):
        reconciled()


@pytest.fixture
def orphan(settings: Settings, archive: Archive, tmp_path: Path) -> Iterator[Path]:
    """A file as a receiver leaves it that is killed between the renaming and the commit: stored, not recorded."""
    elsewhere = tmp_path / "elsewhere"
    (sha256,) = receive(elsewhere, mr_image())
    open_database(settings.storage.folder, create=True).close()
    archive.prepare()
    path = archive.path(sha256)
    path.write_bytes(Archive(elsewhere).path(sha256).read_bytes())
    yield path


def test_a_file_without_a_record_is_taken_in_once(settings: Settings, archive: Archive, orphan: Path):
    image = mr_image()
    for _ in range(2):
        start_and_stop(settings)
        assert rows(settings, "SELECT sha256, size_bytes, sop_instance_uid, transfer_syntax_uid FROM fact_object") == [
            (orphan.stem, orphan.stat().st_size, image.SOPInstanceUID, "1.2.840.10008.1.2.1")
        ]
        assert rows(settings, "SELECT calling_ae, peer_address FROM fact_object_receipt") == [("", "")]
    assert rows(settings, PROBLEMS) == []
    db = open_database(settings.storage.folder)
    assert index_objects(db, archive) == 1
    assert db.execute("SELECT sop_instance_uid FROM derived_instance").fetchall() == [(image.SOPInstanceUID,)]
    db.close()
    # The sender, which got no answer, sends it again: the same bytes again.
    with receiver(settings), association(settings) as sender:
        assert sender.send_c_store(image).Status == 0
    assert rows(settings, "SELECT (SELECT count(*) FROM fact_object), (SELECT count(*) FROM fact_object_receipt)") == [
        (1, 2)
    ]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_file_that_its_sender_named_by_no_uid_is_taken_in_to_quarantine(settings: Settings, archive: Archive):
    with receiver(settings), raw_association(settings.dicom.port) as sender:
        assert sender.store(encode(mr_image()), uid="no UID") == 0
    # As the receiver that is killed before the commit leaves it.
    for path in settings.storage.folder.glob("node.db*"):
        path.unlink()
    open_database(settings.storage.folder, create=True, new=True).close()
    start_and_stop(settings)
    db = open_database(settings.storage.folder)
    assert index_objects(db, archive) == 1
    assert db.execute("SELECT sop_instance_uid FROM fact_object").fetchall() == [("",)]
    assert db.execute("SELECT step, detail FROM problems").fetchall() == [
        ("index", "its sender named it by a SOP Instance UID that is none")
    ]
    db.close()


def test_a_recorded_file_that_a_power_failure_left_under_its_first_name(settings: Settings, archive: Archive):
    recorded, other = receive(settings.storage.folder, mr_image(seed=1), mr_image(seed=2))
    # The rename of one was lost with the power, of the other only the first part of the same bytes is there.
    incoming = archive.path(recorded).parents[1] / "incoming"
    archive.path(recorded).rename(incoming / "tmp1")
    (incoming / "tmp2").write_bytes(archive.path(other).read_bytes()[:900])
    (incoming / "tmp3").write_bytes(b"")
    (incoming / "tmp4").write_bytes(archive.path(other).read_bytes())
    start_and_stop(settings)
    assert archive.path(recorded).is_file()
    assert archive.path(other).is_file()
    assert list(incoming.iterdir()) == []
    assert rows(settings, PROBLEMS) == []
    assert rows(settings, "SELECT count(*) FROM fact_object_receipt") == [(2,)]


@pytest.mark.parametrize("change", ["cut", "other", "empty"])
def test_a_file_that_is_not_what_its_name_says_is_no_object(settings: Settings, orphan: Path, change: str):
    content = orphan.read_bytes()
    orphan.write_bytes({"cut": content[:-2], "other": content[:-2] + b"\7\7", "empty": b""}[change])
    start_and_stop(settings)
    assert rows(settings, "SELECT * FROM fact_object") == []
    assert rows(settings, PROBLEMS) == [("receive", "foreign")]
    orphan.unlink()
    start_and_stop(settings)
    assert rows(settings, PROBLEMS) == []


def test_a_record_without_its_file_is_a_problem_until_it_is_sent_again(settings: Settings, archive: Archive):
    lost, kept = receive(settings.storage.folder, mr_image(seed=1), mr_image(seed=2))
    archive.path(lost).unlink()
    start_and_stop(settings)
    assert rows(settings, "SELECT source, code FROM problems") == [(f"object {lost[:12]}", "missing")]
    db = open_database(settings.storage.folder)
    index_objects(db, archive)
    assert db.execute(PROBLEMS).fetchall() == [("receive", "missing"), ("index", "unreadable")]
    with receiver(settings), association(settings) as sender:
        assert sender.send_c_store(mr_image(seed=1)).Status == 0
    start_and_stop(settings)
    index_objects(db, archive)
    assert db.execute(PROBLEMS).fetchall() == []
    assert db.execute("SELECT count(*) FROM derived_instance").fetchone() == (2,)
    db.close()
    assert archive.path(kept).is_file()


def test_a_file_that_the_disk_cut_off_is_a_problem_and_mended_by_sending_it_again(settings: Settings, archive: Archive):
    (sha256,) = receive(settings.storage.folder, mr_image())
    path = archive.path(sha256)
    path.chmod(0o640)
    os.truncate(path, path.stat().st_size - 10)
    start_and_stop(settings)
    assert rows(settings, PROBLEMS) == [("receive", "damaged")]
    with receiver(settings), association(settings) as sender:
        assert sender.send_c_store(mr_image()).Status == 0
    start_and_stop(settings)
    assert rows(settings, PROBLEMS) == []
    assert path.read_bytes().endswith(encode(mr_image())[-100:])


def test_a_second_receiver_on_the_same_folder_does_not_start_and_touches_nothing(settings: Settings, archive: Archive):
    with receiver(settings):
        in_work = settings.storage.folder / "dicom" / "incoming" / "being-written"
        in_work.write_bytes(b"half")
        other = settings.model_copy(update={"dicom": settings.dicom.model_copy(update={"port": free_port()})})
        with pytest.raises(StoreError, match="another DICOM receiver is at work"):
            run_receiver(other, threading.Event())
        assert in_work.read_bytes() == b"half"
    start_and_stop(settings)
    assert not in_work.exists()


def test_a_killed_receiver_leaves_no_lock(settings: Settings):
    with receiver_process(settings) as process:
        process.kill()
        process.wait(20)
    start_and_stop(settings)


def test_an_archive_that_takes_long_to_look_through_holds_nobody_up(settings: Settings, archive: Archive, orphan: Path):
    # A pipe in the place of a file: whoever reads it waits until somebody writes.
    pipe = archive.path("00" * 32)
    os.mkfifo(pipe)
    with receiver(settings):
        with association(settings) as sender:
            assert sender.send_c_store(mr_image(seed=7)).Status == 0
        assert rows(settings, "SELECT count(*) FROM fact_object") == [(1,)], "not at the end of it yet"
        pipe.open("wb").close()
        reconciled()
        assert rows(settings, "SELECT count(*) FROM fact_object") == [(2,)]
    assert rows(settings, "SELECT calling_ae FROM fact_object_receipt ORDER BY receipt_id") == [("SENDER",), ("",)]


def test_a_file_that_is_on_its_way_is_not_taken_in(settings: Settings, archive: Archive, tmp_path: Path):
    receive(settings.storage.folder, mr_image(seed=1))
    with archive.receiving():
        began = archive.begin_run()
        (sha256,) = receive(tmp_path / "elsewhere", mr_image(seed=2))
        path = archive.path(sha256)
        path.write_bytes(Archive(tmp_path / "elsewhere").path(sha256).read_bytes())
        assert reconcile(settings.storage.folder, archive, run_began_ns=began) == Reconciled(taken_in=0, problems=0)
        # With the next run it is one that a killed receiver has left.
        assert reconcile(settings.storage.folder, archive, run_began_ns=archive.begin_run()).taken_in == 1
