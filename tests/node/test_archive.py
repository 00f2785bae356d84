"""The archive: one durable file per content, nothing half-written."""

import errno
import os
import subprocess
import threading
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.dicom.part10 import file_header
from node.store.archive import Archive, StoredObject
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
        subprocess.run(["umount", str(disk)], check=True)
