"""Quarantine: what cannot be taken in is kept, shown, and taken in after a fix, over rebuild as well."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from analytics.reasons import Reason
from node.clock import now, to_text
from node.dicom.header import Header
from node.errors import DicomReadError
from node.operate.rebuild import rebuild
from node.people.quarantine import mirror
from node.steps import index
from tests import commands
from tests.node.dicom_samples import NOON, dcmtk, encode, mr_image, receiver, settings_for, stack
from tests.node.raw_sender import raw_association
from tests.node.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path / "data")
    one.settings = settings_for(one.folder, quiet_s=0)
    yield one
    one.db.close()


@pytest.fixture
def config(world: World) -> Path:
    path = world.folder.parent / "node.toml"
    path.write_text(f"[storage]\nfolder = '{world.folder}'\n[logging]\nlevel = 'error'\n")
    return path


def call(config: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    return commands.call(monkeypatch, "quarantine", *arguments, "--config", config)


def without_study() -> Dataset:
    image = mr_image(seed=50, InstanceNumber=12, ImagePositionPatient=[57.6, -10, 10])
    del image.StudyInstanceUID
    return image


def steps(world: World) -> None:
    """What a round of the steps does here."""
    world.index()
    mirror(world.db, world.archive, world.folder)


def folder(world: World) -> list[str]:
    return sorted(path.name for path in (world.folder / "quarantine").glob("*"))


def test_kept_with_the_reason_and_taken_in_once_it_is_corrected(
    world: World, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sha256, *_ = world.receive(without_study(), *stack(11))
    steps(world)
    name = sha256[:12]
    assert folder(world) == [f"{name}.dcm", f"{name}.txt"]
    copy = world.folder / "quarantine" / f"{name}.dcm"
    assert copy.read_bytes() == world.archive.path(sha256).read_bytes()
    assert copy.with_suffix(".txt").read_text() == "StudyInstanceUID is missing\n"

    assert call(config, monkeypatch, "list", "--json") == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["id"], listed["reason"], listed["calling_ae"]) == (name, "StudyInstanceUID is missing", "PACS")
    # By its first receipt, though it came again while the clock was behind.
    world.receive(without_study(), at=NOON - timedelta(days=9))
    assert call(config, monkeypatch, "list", "--json") == 0
    (again,) = json.loads(capsys.readouterr().out)
    assert again["received_at"] == listed["received_at"] == to_text(NOON)
    assert call(config, monkeypatch, "show", name) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["file"] == str(copy)
    assert shown["header"]["SeriesInstanceUID"] == "1.2.826.0.1.3680043.8.498.1.1"
    assert shown["header"]["StudyInstanceUID"] is None

    # Not yet corrected, then by DCMTK, as an engineer does it.
    assert call(config, monkeypatch, "retry", "--by", "engineer") == 3
    assert f"{name} still not: StudyInstanceUID is missing" in capsys.readouterr().out
    dcmtk("dcmodify", "-nb", "-i", "StudyInstanceUID=1.2.826.0.1.3680043.8.498.1", str(copy))
    assert call(config, monkeypatch, "retry", name, "--by", "engineer") == 0
    assert f"{name} taken in, corrected" in capsys.readouterr().out
    steps(world)
    assert folder(world) == []
    assert world.rows("SELECT * FROM problems") == []
    world.catalogue(now=now())
    assert world.rows("SELECT instances FROM series") == [(12,)]
    assert world.rows("SELECT corrected_by FROM fact_correction") == [("engineer",)]
    assert world.archive.path(sha256).is_file(), "what was received is kept"

    before = world.series()
    rebuild(world.db, world.archive, world.settings)
    assert world.series() == before
    # What the measurement makes of images of this size is not the matter here.
    assert world.rows("SELECT * FROM problems WHERE step <> 'measure'") == []
    assert call(config, monkeypatch, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert call(config, monkeypatch, "show", name) == 1
    assert "not in quarantine" in capsys.readouterr().err


def test_read_again_once_this_software_can(
    world: World, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cannot(path: Path) -> Header:
        raise DicomReadError(Reason("not-readable-as-dicom", {"fault": "not by this version"}))

    sha256, *_ = world.receive(*stack(5))
    with monkeypatch.context() as older:
        older.setattr(index, "read_header", cannot)
        steps(world)
    assert len(folder(world)) == 10
    assert call(config, monkeypatch, "retry", sha256[:12], "--by", "engineer", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [{"id": sha256[:12], "corrected": False, "error": None}]
    assert call(config, monkeypatch, "retry", "--by", "engineer") == 0
    steps(world)
    world.catalogue()
    assert world.rows("SELECT instances FROM series") == [(5,)]
    assert folder(world) == []


def test_a_copy_that_is_worse_than_before_is_refused_and_stays(
    world: World, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sha256, gone = world.receive(without_study(), b"no DICOM at all")
    steps(world)
    copy = world.folder / "quarantine" / f"{sha256[:12]}.dcm"
    copy.write_bytes(b"overwritten by mistake")
    world.archive.path(gone).unlink()
    assert call(config, monkeypatch, "retry", "--by", "engineer") == 3
    said = capsys.readouterr().out
    assert f"{sha256[:12]} still not: not a DICOM Part 10 file" in said
    assert f"{gone[:12]} still not: the file is missing from the archive" in said
    assert copy.read_bytes() == b"overwritten by mistake"
    # Whoever wants to begin anew removes both files; what was received was never touched.
    copy.unlink()
    copy.with_suffix(".txt").unlink()
    steps(world)
    assert copy.read_bytes().endswith(encode(without_study()))


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_what_its_sender_named_by_no_uid(
    world: World, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken = mr_image(seed=1), without_study()
    with receiver(world.settings), raw_association(world.settings.dicom.port) as sender:
        assert sender.store(encode(whole), uid="../../etc/passwd") == 0
        assert sender.store(encode(broken), uid="DOE^JANE") == 0
    steps(world)
    reason = "its sender named it by a SOP Instance UID that is none"
    problems = world.rows("SELECT source, code, detail FROM problems")
    (first, second) = [str(source).removeprefix("object ") for source, _, _ in problems]
    assert {(code, detail) for _, code, detail in problems} == {("unreadable", reason)}
    assert world.rows("SELECT * FROM series") == []

    capsys.readouterr()
    # Its data set names the one well: taken in as it came. The other has to be corrected first.
    assert call(config, monkeypatch, "retry", "--by", "engineer") == 3
    said = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert sorted(said.values()) == ["still not: StudyInstanceUID is missing", "taken in"]
    (left,) = [name for name, text in said.items() if text != "taken in"]
    assert {left} < {first, second}
    copy = world.folder / "quarantine" / f"{left}.dcm"
    dcmtk("dcmodify", "-nb", "-i", "StudyInstanceUID=1.2.826.0.1.3680043.8.498.1", str(copy))
    assert call(config, monkeypatch, "retry", left, "--by", "engineer") == 0
    steps(world)
    indexed = {(str(whole.SOPInstanceUID),), (str(broken.SOPInstanceUID),)}
    assert set(world.rows("SELECT sop_instance_uid FROM derived_instance")) == indexed
    rebuild(world.db, world.archive, world.settings)
    assert set(world.rows("SELECT sop_instance_uid FROM derived_instance")) == indexed
    assert world.rows("SELECT * FROM problems WHERE step IN ('index', 'receive')") == []


def test_a_copy_that_was_not_made_to_its_end_is_deleted_with_the_next(world: World) -> None:
    place = world.folder / "quarantine"
    place.mkdir()
    for name in (".ab12.new", "tmpab12cd34"):
        (place / name).write_bytes(b"half an image")
    mirror(world.db, world.archive, world.folder)
    assert list(place.iterdir()) == []


def test_without_anything_in_it_there_is_no_folder(world: World) -> None:
    world.receive(*stack(5))
    steps(world)
    assert not (world.folder / "quarantine").exists()
