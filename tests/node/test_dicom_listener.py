"""The receiver against real peers: DCMTK and pynetdicom, over real sockets, with real files and a real database."""

import errno
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    CTImageStorage,
    EncapsulatedPDFStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    RawDataStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE
from pynetdicom.association import Association

from node.clock import now
from node.dicom.listener import run_receiver
from node.errors import ListenError, StoreError
from node.settings import Settings
from node.steps.index import catalogue_studies, index_objects
from node.store.archive import Archive
from node.store.database import open_database, writing
from tests.node.dicom_samples import (
    dcmtk,
    encode,
    mr_image,
    receiver,
    receiver_process,
    rejection_of,
    settings_for,
    stack,
)
from tests.node.raw_sender import raw_association
from tests.node.receiver_world import assert_stored, association, files, rows, sendable

KEPT_AND_SET_ASIDE = (
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    SecondaryCaptureImageStorage,
    ComprehensiveSRStorage,
    KeyObjectSelectionDocumentStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    RawDataStorage,
    EncapsulatedPDFStorage,
)

# As dcmsend -d shows an answer.
SUCCESS = re.compile(r"DIMSE Status\s+: 0x0000")
ACKNOWLEDGED = re.compile(
    r"C-STORE RSP(?:(?!C-STORE R).)*?Affected SOP Instance UID\s+: (\S+)(?:(?!C-STORE R).)*?DIMSE Status\s+: 0x0000",
    flags=re.DOTALL,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "data")


def test_echo_of_dcmtk(settings: Settings):
    with receiver(settings):
        dcmtk("echoscu", "-aec", "WHATEVER", "127.0.0.1", str(settings.dicom.port))


def test_dcmsend_and_storescu_deliver_what_they_read(settings: Settings, tmp_path: Path):
    images = stack(6)
    paths = sendable(tmp_path / "out", images)
    port = str(settings.dicom.port)
    with receiver(settings):
        dcmtk("dcmsend", "-aet", "PACS1", "127.0.0.1", port, *paths[:3])
        dcmtk("storescu", "-aet", "PACS2", "127.0.0.1", port, *paths[3:])
    assert_stored(settings, {str(image.SOPInstanceUID) for image in images})
    assert rows(
        settings, "SELECT calling_ae, peer_address, count(*) FROM fact_object_receipt GROUP BY 1, 2 ORDER BY 1"
    ) == [("PACS1", "127.0.0.1", 3), ("PACS2", "127.0.0.1", 3)]
    for path in files(settings):
        read = pydicom.dcmread(path)
        (sent,) = (image for image in images if image.SOPInstanceUID == read.SOPInstanceUID)
        assert read.PixelData == sent.PixelData
        assert read.PatientID == sent.PatientID


def test_the_same_object_again_is_success_one_copy_and_a_receipt(settings: Settings, tmp_path: Path):
    (path,) = sendable(tmp_path / "out", [mr_image()])
    with receiver(settings):
        for _ in range(3):
            dcmtk("dcmsend", "127.0.0.1", str(settings.dicom.port), path)
    assert len(files(settings)) == 1
    assert rows(settings, "SELECT (SELECT count(*) FROM fact_object), (SELECT count(*) FROM fact_object_receipt)") == [
        (1, 3)
    ]
    assert rows(settings, "SELECT * FROM problems") == []


def test_the_same_uid_with_other_bytes_is_kept_beside_it_and_shown(settings: Settings):
    one, other = mr_image(), mr_image(seed=1, PatientID="0099")
    other.SOPInstanceUID = one.SOPInstanceUID
    with receiver(settings), association(settings) as sender:
        assert [sender.send_c_store(image).Status for image in (one, other)] == [0, 0]
    assert len(files(settings)) == 2
    db = open_database(settings.storage.folder)
    index_objects(db, Archive(settings.storage.folder))
    catalogue_studies(db, settings, now=now() + timedelta(hours=1))
    db.close()
    problems = rows(settings, "SELECT source, code, detail FROM problems WHERE step = 'receive'")
    assert [problem[:2] for problem in problems] == [(f"series {one.SeriesInstanceUID}", "duplicate-uid")]
    assert "1 image of it came in several versions, with other pixels" in str(problems[0][2])


def test_the_bytes_are_kept_as_sent_in_every_offered_syntax(settings: Settings):
    compressed = mr_image(seed=1)
    compressed.compress(RLELossless, generate_instance_uid=False)
    plain = mr_image(seed=2)
    plain.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    with receiver(settings):
        for image, syntax in ((compressed, RLELossless), (plain, ImplicitVRLittleEndian)):
            with association(settings, syntax=syntax) as sender:
                assert sender.send_c_store(image).Status == 0
    assert_stored(settings, {str(compressed.SOPInstanceUID), str(plain.SOPInstanceUID)})
    assert rows(settings, "SELECT transfer_syntax_uid FROM fact_object ORDER BY object_id") == [
        (str(RLELossless),),
        (str(ImplicitVRLittleEndian),),
    ]


def test_explicit_little_endian_is_agreed_on_where_offered(settings: Settings):
    entity = AE(ae_title="SENDER")
    entity.add_requested_context(MRImageStorage, [ImplicitVRLittleEndian, RLELossless, ExplicitVRLittleEndian])
    with receiver(settings):
        one = entity.associate("127.0.0.1", settings.dicom.port)
        agreed = [context.transfer_syntax for context in one.accepted_contexts]
        one.release()
    assert agreed == [[ExplicitVRLittleEndian]]


def test_what_is_not_measured_is_taken_too(settings: Settings):
    objects = [mr_image(seed=number, SOPClassUID=uid) for number, uid in enumerate(KEPT_AND_SET_ASIDE)]
    with receiver(settings), association(settings, *KEPT_AND_SET_ASIDE, CTImageStorage) as sender:
        assert [sender.send_c_store(one).Status for one in objects] == [0] * len(objects)
        assert CTImageStorage in {context.abstract_syntax for context in sender.accepted_contexts}
    assert_stored(settings, {str(one.SOPInstanceUID) for one in objects})


def test_a_data_set_that_cannot_be_parsed_is_kept_all_the_same(settings: Settings):
    # As bytes on the wire: a valid image up to a length that lies about what follows.
    broken = encode(mr_image())[:300]
    with receiver(settings), raw_association(settings.dicom.port) as sender:
        assert sender.store(broken, uid="1.2.3.4") == 0
    assert_stored(settings, {"1.2.3.4"})


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 0xA700), (errno.EDQUOT, 0xA700), (errno.EIO, 0x0110)])
def test_a_disk_that_fails_is_answered_and_nothing_is_recorded(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, number: int, status: int
):
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    with receiver(settings), association(settings) as sender:
        with monkeypatch.context() as patched:
            patched.setattr("node.store.archive.os.fsync", fail)
            assert sender.send_c_store(mr_image(seed=1)).Status == status
        assert files(settings) == []
        # The association goes on, and so does the receiver.
        assert sender.send_c_store(mr_image(seed=2)).Status == 0
    assert_stored(settings, {str(mr_image(seed=2).SOPInstanceUID)})


def with_reserve(settings: Settings, *, keep_free_mb: int = 0) -> Settings:
    """The same settings with another low-space mark: the disks of these tests are small."""
    storage = settings.storage.model_copy(update={"keep_free_mb": keep_free_mb})
    return settings.model_copy(update={"storage": storage})


def test_the_low_space_mark_refuses_for_now_and_recovers_by_itself(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=5m,nr_inodes=2000", "tmpfs", str(disk)]
    if subprocess.run(small, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        settings = with_reserve(settings_for(disk / "data"), keep_free_mb=1)
        ballast = disk / "ballast"
        with receiver(settings), association(settings) as sender:
            assert sender.send_c_store(mr_image(seed=1)).Status == 0
            space = os.statvfs(disk)
            ballast.write_bytes(b"0" * (space.f_bavail * space.f_frsize - 900_000))
            assert sender.send_c_store(mr_image(seed=2)).Status == 0xA700
            # Refused before anything is written: the disk still has its 0.9 MB.
            assert len(files(settings)) == 1
            dcmtk("echoscu", "127.0.0.1", str(settings.dicom.port))
            ballast.unlink()
            assert sender.send_c_store(mr_image(seed=2)).Status == 0
        assert_stored(settings, {str(mr_image(seed=number).SOPInstanceUID) for number in (1, 2)})
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_low_space_mark_holds_within_an_object_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings, free = with_reserve(settings_for(tmp_path), keep_free_mb=1), iter((10_000_000, 10_000))
    with receiver(settings), association(settings) as sender:
        with monkeypatch.context() as patched:
            # Others fill the disk once the object has begun to come.
            patched.setattr(Archive, "free_bytes", lambda _: next(free))
            big = mr_image(seed=1, Rows=800, Columns=800, PixelData=bytes(1_280_000))
            assert sender.send_c_store(big).Status == 0xA700
            assert list((tmp_path / "dicom" / "incoming").iterdir()) == []
        assert sender.send_c_store(mr_image(seed=2)).Status == 0


def test_a_small_disk_that_fills_up_under_dcmsend(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=3m,nr_inodes=2000", "tmpfs", str(disk)]
    if subprocess.run(small, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        settings = with_reserve(settings_for(disk / "data"))
        images = [mr_image(seed=number, Rows=256, Columns=256, PixelData=os.urandom(131_072)) for number in range(30)]
        paths = sendable(tmp_path / "out", images)
        with receiver(settings):
            sent = dcmtk("dcmsend", "-v", "-nh", "127.0.0.1", str(settings.dicom.port), *paths, check=False)
            dcmtk("echoscu", "127.0.0.1", str(settings.dicom.port))
        acknowledged = len(re.findall(r"C-STORE Response \(Success\)", sent.stdout + sent.stderr))
        assert 5 < acknowledged < 30
        assert f"with status REFUSED  : {30 - acknowledged}" in sent.stdout + sent.stderr
        assert list((settings.storage.folder / "dicom" / "incoming").iterdir()) == []
        # The disk is full: look at a copy, for opening a database needs room.
        copy = settings_for(tmp_path / "copy")
        shutil.copytree(settings.storage.folder, copy.storage.folder)
        assert len(rows(copy, "SELECT 1 FROM fact_object")) >= acknowledged
        assert_stored(copy, set())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_locked_database_is_answered_as_a_failure(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("node.store.database.BUSY_TIMEOUT_MS", 200)
    with receiver(settings), association(settings) as sender:
        other = open_database(settings.storage.folder)
        with writing(other):
            assert sender.send_c_store(mr_image(seed=1)).Status == 0x0110
        assert other.execute("SELECT count(*) FROM fact_object").fetchone() == (0,)
        other.close()
        assert sender.send_c_store(mr_image(seed=1)).Status == 0
    assert_stored(settings, {str(mr_image(seed=1).SOPInstanceUID)})


def test_an_address_that_is_not_allowed_is_closed_without_a_word(tmp_path: Path):
    settings = settings_for(tmp_path / "data", allow=["10.9.8.0/24"])
    with receiver(settings):
        refused = dcmtk("echoscu", "127.0.0.1", str(settings.dicom.port), check=False)
    assert refused.returncode != 0
    assert "Association Request Failed" in refused.stdout + refused.stderr
    assert rows(settings, "SELECT code FROM state_refusal") == [("rejected",)]
    assert rows(settings, "SELECT * FROM fact_object_receipt") == []


def test_too_many_associations_are_rejected_for_now(tmp_path: Path):
    settings = settings_for(tmp_path / "data", max_associations=2)
    with receiver(settings), association(settings) as one, association(settings) as two:
        with association(settings) as three:
            assert rejection_of(three) == (2, 3, 2)
        assert one.is_established
        two.release()
        # The slot is free once the receiver's thread has ended, a moment after the release is answered.
        deadline = time.monotonic() + 10
        taken = False
        while not taken and time.monotonic() < deadline:
            with association(settings) as four:
                taken = four.is_established and four.send_c_store(mr_image()).Status == 0
        assert taken


def test_four_senders_at_once(settings: Settings):
    images = [stack(12, series=str(number)) for number in range(4)]
    statuses: list[int] = []

    def send(group: list[Dataset]) -> None:
        with association(settings) as sender:
            statuses.extend(sender.send_c_store(image).Status for image in group)

    with receiver(settings):
        threads = [threading.Thread(target=send, args=[group]) for group in images]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [0] * 48
    assert_stored(settings, {str(image.SOPInstanceUID) for group in images for image in group})


def test_a_taken_port_is_one_clear_line(settings: Settings):
    with receiver(settings):
        other = settings.model_copy(update={"storage": settings.storage.model_copy()})
        with pytest.raises(ListenError, match=rf"cannot listen on 127.0.0.1:{settings.dicom.port}: Address already"):
            run_receiver(other, threading.Event())


def test_a_host_that_is_not_here(tmp_path: Path):
    settings = settings_for(tmp_path / "data", host="203.0.113.7", allow=["127.0.0.1"])
    with pytest.raises(ListenError, match=r"cannot listen on 203\.0\.113\.7"):
        run_receiver(settings, threading.Event())


def test_a_data_folder_that_is_a_file(tmp_path: Path):
    (tmp_path / "data").write_text("")
    with pytest.raises(StoreError, match="data"):
        run_receiver(settings_for(tmp_path / "data"), threading.Event())


def test_no_patient_is_in_the_log(settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    (path,) = sendable(tmp_path / "Mustermann", [mr_image(PatientName="Mustermann^Max", PatientID="0815-4711")])
    with receiver_process(settings) as process:
        dcmtk("dcmsend", "127.0.0.1", str(settings.dicom.port), path)
        process.kill()
        assert process.stdout is not None
        said = process.stdout.read() + "".join(capfd.readouterr())
    assert "DCMSEND" in said
    for secret in ("Mustermann", "0815-4711", "19550704"):
        assert secret not in said


def test_stop_ends_associations_that_stay_open(settings: Settings):
    with association_after(settings) as (sender, elapsed):
        assert not sender.is_established or sender.is_aborted
        assert elapsed < 15


@contextmanager
def association_after(settings: Settings) -> Iterator[tuple[Association, float]]:
    """A sender that never releases, and how long the receiver took to stop under it."""
    entity = AE(ae_title="SENDER")
    entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    with receiver(settings):
        sender = entity.associate("127.0.0.1", settings.dicom.port)
        assert sender.is_established
        began = time.monotonic()
    sender.join(5)
    yield sender, time.monotonic() - began


@pytest.mark.parametrize("after", [3, 17])
def test_kill_9_under_dcmsend_loses_nothing_acknowledged(settings: Settings, tmp_path: Path, after: int):
    images = stack(60)
    paths = sendable(tmp_path / "out", images)
    port = str(settings.dicom.port)
    tool = shutil.which("dcmsend")
    if tool is None:
        dcmtk("dcmsend")
    with receiver_process(settings) as process:
        sender = subprocess.Popen(
            [str(tool), "-d", "127.0.0.1", port, *paths],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "TCP_NODELAY": "1"},
        )  # fmt: skip
        with sender:
            assert sender.stdout is not None
            said, successes = "", 0
            for line in sender.stdout:
                said += line
                successes += bool(SUCCESS.search(line))
                if successes == after and process.poll() is None:
                    process.kill()
    acknowledged = set(ACKNOWLEDGED.findall(said))
    assert after <= len(acknowledged) < 60
    assert_stored(settings, acknowledged)
    # Another receiver takes all of it again; what was there stays one copy.
    with receiver_process(settings):
        dcmtk("dcmsend", "127.0.0.1", port, *paths)
    assert_stored(settings, {str(image.SOPInstanceUID) for image in images})
    assert len(files(settings)) == 60
    assert list((settings.storage.folder / "dicom" / "incoming").iterdir()) == []
