"""The archive: one durable file per content, nothing half-written."""

import errno
import hashlib
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.dicom.part10 import file_header
from node.errors import StoreError
from node.store.archive import Archive, StoredObject, files_alone
from tests.node.dicom_samples import dcmtk, encode, mr_image

EXPLICIT = str(ExplicitVRLittleEndian)


def header(uid: str = "1.2.3.4") -> bytes:
    return file_header(sop_class_uid="1.2.840.10008.5.1.4.1.1.4", sop_instance_uid=uid, transfer_syntax_uid=EXPLICIT)


def store(archive: Archive, dataset: bytes) -> StoredObject:
    return archive.store(header=header(), dataset=dataset, transfer_syntax_uid=EXPLICIT)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "dicom").rglob("*") if path.is_file())


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    one = Archive(tmp_path)
    one.prepare()
    return one


def test_same_content_is_one_file_whatever_the_header(archive: Archive, tmp_path: Path):
    one = store(archive, b"abcd")
    other = archive.store(header=header("1.2.3.5678"), dataset=b"abcd", transfer_syntax_uid=EXPLICIT)
    assert one == other
    assert files(tmp_path) == [archive.path(one.sha256)]
    assert archive.path(one.sha256).stat().st_size == one.size_bytes


def test_a_file_that_was_cut_off_is_written_anew(archive: Archive):
    one = store(archive, b"abcd")
    path = archive.path(one.sha256)
    whole = path.read_bytes()
    path.unlink()
    for left in (whole[:-1], whole[:50], b""):
        path.write_bytes(left)
        assert store(archive, b"abcd") == one
        assert path.read_bytes() == whole


def test_the_same_bytes_in_another_syntax_are_another_content(archive: Archive):
    one = store(archive, b"abcd")
    other = archive.store(header=header(), dataset=b"abcd", transfer_syntax_uid=str(ImplicitVRLittleEndian))
    assert one.sha256 != other.sha256


def test_files_cannot_be_written_by_accident(archive: Archive):
    stored = store(archive, b"abcd")
    assert archive.path(stored.sha256).stat().st_mode & 0o777 == 0o440


@pytest.mark.parametrize("uid", ["1.2.3.4", "1.2.3.45"])
def test_the_header_is_what_dicom_asks_for(archive: Archive, uid: str):
    image = mr_image(SOPInstanceUID=uid)
    stored = archive.store(header=header(uid), dataset=encode(image), transfer_syntax_uid=EXPLICIT)
    path = archive.path(stored.sha256)
    read = pydicom.dcmread(path)
    assert read.file_meta.MediaStorageSOPInstanceUID == uid
    assert read.file_meta.TransferSyntaxUID == EXPLICIT
    assert read.PatientID == "0012345"
    assert read.PixelData == image.PixelData
    dumped = dcmtk("dcmdump", str(path))
    assert f"(0002,0003) UI [{uid}]" in dumped.stdout
    assert "VBQ-NODE" in dumped.stdout
    assert dumped.stderr == ""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_failure_leaves_nothing(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int):
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr("node.store.archive.os.fsync", fail)
        with pytest.raises(OSError, match=os.strerror(number)):
            store(archive, b"abcd")
    assert files(tmp_path) == []
    assert store(archive, b"abcd").sha256


def test_prepare_sweeps_what_an_interrupted_receiver_left(archive: Archive, tmp_path: Path):
    stored = store(archive, b"abcd")
    (tmp_path / "dicom" / "incoming" / "tmpleft").write_bytes(b"half")
    archive.prepare()
    assert files(tmp_path) == [archive.path(stored.sha256)]


def test_many_threads_storing_the_same(archive: Archive, tmp_path: Path):
    contents = [bytes([number % 3]) * 50_000 for number in range(24)]
    threads = [threading.Thread(target=store, args=[archive, content]) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files(tmp_path)) == 3
    assert {path.read_bytes()[-50_000:] for path in files(tmp_path)} == set(contents)


def test_a_real_full_disk(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=600", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        archive = Archive(disk)
        archive.prepare()
        kept = store(archive, b"a" * 100_000)
        with pytest.raises(OSError, match="No space left") as caught:
            store(archive, b"b" * 200_000)
        assert caught.value.errno == errno.ENOSPC
        assert files(disk) == [archive.path(kept.sha256)]
        store(archive, b"c" * 50_000)
    finally:
        # Also while a file is open that the archive should have closed: what fails is the test, not those after it.
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_one_receiver_at_a_time(tmp_path: Path):
    folder = tmp_path / "not" / "there"
    with Archive(folder).receiving():
        with pytest.raises(StoreError, match="another DICOM receiver is at work"), Archive(folder).receiving():
            pass
        # Who only needs the folders leaves what is being received alone.
        (folder / "dicom" / "incoming").mkdir(parents=True)
        half = folder / "dicom" / "incoming" / "half"
        half.write_bytes(b"half")
        Archive(folder).require_folders()
        assert half.exists()
    with Archive(folder).receiving():
        pass
    Archive(folder).require_folders()
    assert not half.exists()
    assert sorted(path.name for path in (folder / "dicom").iterdir()) == [*(f"{n:02x}" for n in range(256)), "incoming"]


def test_an_archive_that_cannot_be_used_is_said(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot use the archive"):
        Archive(tmp_path / "file" / "data").require_folders()


def test_the_files_of_a_shelf_are_those_that_belong_there(archive: Archive, tmp_path: Path):
    stored = store(archive, b"abcd")
    shelf = stored.sha256[:2]
    assert shelf in set(archive.shelves())
    place = tmp_path / "dicom" / shelf
    other = ("0" if shelf[0] != "0" else "1") + stored.sha256[1:]
    for name in (f"{other}.dcm", f"{stored.sha256}.dcm.new", f"{stored.sha256[:-1]}.dcm", "notes.txt"):
        (place / name).touch()
    found = archive.files(shelf)
    assert {name: state.st_size for name, state in found.items()} == {stored.sha256: stored.size_bytes}


def test_what_is_renamed_after_the_beginning_of_a_run_is_not_older(archive: Archive, tmp_path: Path):
    before = store(archive, b"abcd")
    with archive.receiving():
        began = archive.begin_run()
        after = store(archive, b"efgh")
    changed = [archive.path(one.sha256).stat().st_ctime_ns for one in (before, after)]
    assert changed[0] <= began <= changed[1]
    assert archive.free_bytes() == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)


def test_the_content_of_a_file_has_the_digest_of_its_name(archive: Archive):
    content = bytes(range(256)) * 10_000  # some chunks of a megabyte
    incoming = archive.begin(header=header(), transfer_syntax_uid=EXPLICIT)
    for start in range(0, len(content), 999_999):
        incoming.write(content[start : start + 999_999])
    assert incoming.dataset_bytes == len(content)
    stored = incoming.finish()
    assert stored.sha256 == hashlib.sha256(EXPLICIT.encode() + b"\0" + content).hexdigest()
    offset = stored.size_bytes - len(content)
    assert archive.digest(stored.sha256, EXPLICIT, offset=offset) == stored.sha256
    assert archive.digest(stored.sha256, EXPLICIT, offset=offset + 1) != stored.sha256


def test_what_is_given_up_leaves_nothing_however_often(archive: Archive, tmp_path: Path):
    incoming = archive.begin(header=header(), transfer_syntax_uid=EXPLICIT)
    incoming.write(b"abcd")
    assert len(archive.leftovers()) == 1
    incoming.discard()
    incoming.discard()
    assert (archive.leftovers(), files(tmp_path)) == ([], [])


def test_nowhere_there_is_nothing_left_over(tmp_path: Path):
    assert Archive(tmp_path / "none").leftovers() == []


def test_a_file_that_cannot_be_written_on_leaves_nothing(archive: Archive, tmp_path: Path):
    incoming = archive.begin(header=header(), transfer_syntax_uid=EXPLICIT)
    incoming._file.close()  # the next write fails
    with pytest.raises(ValueError, match="closed file"):
        incoming.write(b"abcd")
    assert files(tmp_path) == []


def test_what_is_set_aside_is_put_back_or_deleted(archive: Archive):
    assert archive.aside() == {}
    stored = store(archive, b"abcd")
    path = archive.path(stored.sha256)
    whole = path.read_bytes()
    assert archive.set_aside("0" * 64) == 0
    assert archive.set_aside(stored.sha256) == stored.size_bytes
    assert {name: state.st_size for name, state in archive.aside().items()} == {stored.sha256: stored.size_bytes}
    assert not path.exists()
    archive.put_back(stored.sha256)
    assert (path.read_bytes(), archive.aside()) == (whole, {})
    # It came again meanwhile: what is in its place stays.
    archive.set_aside(stored.sha256)
    store(archive, b"abcd")
    for _ in range(2):
        archive.put_back(stored.sha256)
        assert (path.read_bytes(), archive.aside()) == (whole, {})
    archive.set_aside(stored.sha256)
    for _ in range(2):
        archive.delete_aside(stored.sha256)
        assert (path.exists(), archive.aside()) == (False, {})


def test_files_are_copied_or_deleted_by_one_at_a_time(tmp_path: Path):
    with files_alone(tmp_path) as mine, files_alone(tmp_path) as theirs:
        assert (mine, theirs) == (True, False)
    with files_alone(tmp_path) as mine:
        assert mine
