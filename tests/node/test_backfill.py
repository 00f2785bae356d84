"""The back-fill: several processes give what the step gives, whoever is killed; a study that ends them costs itself."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from sqlite_utils import Database
from typer.testing import CliRunner

from analytics.vbq.measure import measure_stack
from node.backfill.engine import Done
from node.backfill.folders import Folders
from node.backfill.local import LocalEngine
from node.backfill.run import Backfill, Progress
from node.cli import app
from node.demo.dicom_study import Examination, data_sets
from node.demo.phantom import PhantomSpec, draw_study
from node.errors import InputError, StoreError
from node.measure.task import StudyOutcome, StudyTask, do
from node.steps.measure_automatic import measure_automatically, task_of
from node.steps.unmeasured import pending_studies
from node.store.failures import ask_again
from tests.node.backfill_child import DEADLY, DEADLY_ONCE, ENDLESS
from tests.node.dicom_samples import write_file
from tests.node.known_circles import KnownCircles
from tests.node.world import CIRCLES, World, painted
from tests.waiting import eventually

CHILD = (sys.executable, "-m", "tests.node.backfill_child")
ROOT = "1.2.826.0.1.3680043.8.498.7"


def study(number: int, *, first: int = 7) -> list[Dataset]:
    """A study of its own patient; ``first`` is the first pixel of its first image."""
    uid = f"{ROOT}.{number}"
    images = painted(
        StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1", PatientID=f"P{number}", IssuerOfPatientID="HOSPITAL"
    )
    pixels = np.frombuffer(images[0].PixelData, np.uint16).copy()
    pixels[0] = first
    images[0].PixelData = pixels.tobytes()
    for image in images:
        # Noise of its own, so that no study is the copy of another.
        noisy = np.frombuffer(image.PixelData, np.uint16).copy()
        noisy[-50:] += np.uint16(number)
        image.PixelData = noisy.tobytes()
    return images


def filled(folder: Path, *studies: list[Dataset]) -> World:
    world = World(folder)
    for images in studies:
        world.receive(*images)
    world.index()
    world.catalogue()
    return world


def rows(db: Database) -> list[tuple[str, str]]:
    """Everything that a measurement stores: series and hash of the row."""
    tables = ("derived_measurement", "derived_measured_pixels")
    found = [row for name in tables for row in db.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()]
    return [(row[0], hashlib.sha256(repr(row).encode()).hexdigest()) for row in found]


def engine(world: World, processes: int = 2, **options: float) -> LocalEngine:
    return LocalEngine(processes, world.folder, command=CHILD, **options)


def backfill(world: World, processes: int = 2, *, show: Callable[[Progress], None] = lambda _: None, **options: float):
    measuring = engine(world, processes, **options)
    try:
        return Backfill(world.db, world.settings, measuring, show=show).run()
    finally:
        measuring.close()


@pytest.fixture(scope="module")
def by_the_step(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    world = filled(tmp_path_factory.mktemp("step"), *map(study, range(6)))
    while measure_automatically(world.db, world.archive, world.settings, KnownCircles(CIRCLES)):
        pass
    found = rows(world.db)
    world.db.close()
    assert len(found) == 12
    return found


def test_several_processes_store_what_the_step_stores(tmp_path: Path, by_the_step: list[tuple[str, str]]) -> None:
    world = filled(tmp_path / "node", *map(study, range(6)))
    shown: list[tuple[int, int]] = []
    done = backfill(world, show=lambda now: shown.append((now.done, now.left)))
    assert (done.by_status, done.left, done.elsewhere) == ({"measured": 6}, 0, 0)
    assert done.left_s == 0 and done.per_minute > 0
    assert shown[-1] == (6, 0)
    assert rows(world.db) == by_the_step
    assert backfill(world, 1).done == 0, "there is nothing more to do"
    world.db.close()


def test_a_task_and_its_outcome_survive_as_text(tmp_path: Path) -> None:
    world = filled(tmp_path / "node", study(1))
    task = task_of(world.db, world.settings, f"{ROOT}.1")
    assert StudyTask.from_json(task.to_json()) == task
    outcome = do(task, KnownCircles(CIRCLES), world.archive.path)
    again = StudyOutcome.from_json(outcome.to_json())
    assert again == outcome
    assert (
        again.to_json() == do(StudyTask.from_json(task.to_json()), KnownCircles(CIRCLES), world.archive.path).to_json()
    )
    world.db.close()


def test_a_study_that_ends_its_processes_is_a_problem_and_the_rest_is_done(tmp_path: Path) -> None:
    """One that was with a process when that was killed is measured by another."""
    killed = [study(10, first=DEADLY), study(12, first=DEADLY_ONCE)]
    world = filled(tmp_path / "node", *map(study, range(2)), *killed)
    assert backfill(world).by_status == {"measured": 3, "failed": 1}
    ((source, code, codes, detail),) = world.rows("SELECT source, code, reason_codes, detail FROM problems")
    assert (source, code, json.loads(str(codes))) == (f"study {ROOT}.10", "failed", ["study-ends-process"])
    assert "SIGKILL" in str(detail)
    assert pending_studies(world.db) == 0
    assert ask_again(world.db) == 1
    world.db.close()


def test_a_study_that_does_not_come_to_an_end_is_a_problem(tmp_path: Path) -> None:
    world = filled(tmp_path / "node", study(11, first=ENDLESS))
    assert backfill(world, 1, longest_s=1).by_status == {"failed": 1}
    ((detail,),) = world.rows("SELECT detail FROM problems")
    assert "was not done in time" in str(detail)
    world.db.close()


def test_all_processes_killed_at_once_lose_nothing(tmp_path: Path) -> None:
    """Each has a study in hand and one that waits; all of them are given to the processes that come instead."""
    world = filled(tmp_path / "node", *map(study, range(4)))
    measuring = engine(world, 2)
    for number in range(4):
        measuring.submit(task_of(world.db, world.settings, f"{ROOT}.{number}"))
    for lane in measuring._lanes:
        lane.child.kill()
        lane.child.wait()
    done: set[str] = set()

    def all_done() -> bool:
        done.update(one.study_uid for one in measuring.wait(0.1) if one.outcome)
        return len(done) == 4

    try:
        assert eventually(all_done, within_s=300)
    finally:
        measuring.close()
    world.db.close()


def test_processes_that_do_not_come_up_end_the_run(tmp_path: Path) -> None:
    world = filled(tmp_path / "node", study(1))
    broken = LocalEngine(1, world.folder, command=(sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(StoreError, match="before they are ready"):
        Backfill(world.db, world.settings, broken).run()
    broken.close()
    assert pending_studies(world.db) == 1
    world.db.close()


RUN = """
import sys
from pathlib import Path
from node.backfill.local import LocalEngine
from node.backfill import run
from node.backfill.run import Backfill
from node.store.database import open_database
from tests.node.dicom_samples import settings_for
run.BATCH = 1
folder = Path(sys.argv[1])
engine = LocalEngine(2, folder, command=(sys.executable, "-m", "tests.node.backfill_child"))
show = lambda now: print(now.done, flush=True)
Backfill(open_database(folder), settings_for(folder, quiet_s=120), engine, show=show).run()
engine.close()
"""


def test_a_back_fill_that_is_killed_goes_on(tmp_path: Path, by_the_step: list[tuple[str, str]]) -> None:
    world = filled(tmp_path / "node", *map(study, range(6)))
    environment = {**os.environ, "BACKFILL_CHILD_S": "0.5"}
    child = subprocess.Popen([sys.executable, "-c", RUN, str(world.folder)], stdout=subprocess.PIPE, env=environment)
    assert child.stdout is not None
    assert 0 < int(child.stdout.readline()) < 6
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    left = pending_studies(world.db)
    assert 0 < left < 6
    assert backfill(world).done == left
    assert rows(world.db) == by_the_step
    world.db.close()


class Elsewhere:
    """An engine beside which something else happens to the studies before they are stored."""

    def __init__(self, world: World, happens: Callable[[], object]) -> None:
        self._world, self._happens = world, happens
        self._tasks: list[StudyTask] = []

    def room(self) -> int:
        return 4 - len(self._tasks)

    def submit(self, task: StudyTask) -> None:
        self._tasks.append(task)

    def wait(self, seconds: float) -> Sequence[Done]:
        tasks, self._tasks = self._tasks, []
        found = [do(task, KnownCircles(CIRCLES), self._world.archive.path) for task in tasks]
        self._happens()
        return [Done(study_uid=one.study_uid, outcome=one) for one in found]

    def close(self) -> None:
        self._tasks = []


def test_what_the_running_node_measured_meanwhile_is_not_stored_again(tmp_path: Path) -> None:
    world = filled(tmp_path / "node", study(1), study(2))
    step = KnownCircles(CIRCLES)
    beside = Elsewhere(world, lambda: measure_automatically(world.db, world.archive, world.settings, step))
    done = Backfill(world.db, world.settings, beside).run()
    assert (done.done, done.elsewhere) == (0, 2)
    world.db.close()


def test_a_study_that_changes_meanwhile_is_measured_as_it_is_then(tmp_path: Path) -> None:
    world = filled(tmp_path / "node", study(1))
    late = study(1)[0]
    late.SOPInstanceUID, late.InstanceNumber, late.ImagePositionPatient = f"{ROOT}.9.9", 7, [33.6, -10, 10]
    happened: list[int] = []

    def comes() -> None:
        if not happened:
            happened.append(1)
            world.receive(late)
            world.index()
            world.catalogue()

    done = Backfill(world.db, world.settings, Elsewhere(world, comes)).run()
    assert (done.by_status, done.elsewhere) == ({"measured": 1}, 1)
    assert pending_studies(world.db) == 0
    world.db.close()


def test_it_stops_when_it_is_told_and_keeps_what_is_done(tmp_path: Path) -> None:
    world = filled(tmp_path / "node", *map(study, range(8)))
    stop = threading.Event()
    beside = Elsewhere(world, stop.set)
    assert Backfill(world.db, world.settings, beside, stop=stop).run().done == 4
    assert pending_studies(world.db) == 4
    world.db.close()


def phantom(number: int) -> list[Dataset]:
    examination = Examination(
        key=f"backfill/{number}", patient_id=f"P{number}", authority="HOSPITAL", name="Made^Up",
        birth_date=datetime(1955, 7, 4).date(), sex="F",
        begun_at=datetime(2026, 3, 2, 9, tzinfo=ZoneInfo("Europe/Vienna")),
    )  # fmt: skip
    return data_sets(examination, draw_study(PhantomSpec(seed=number)))


def test_folders_by_the_command_are_taken_in_and_measured_as_by_the_step(tmp_path: Path) -> None:
    images = phantom(1)
    there = tmp_path / "old archive" / "deep"
    there.mkdir(parents=True)
    for number, image in enumerate(images):
        write_file(there / f"{number}", image)
    (there / "notes.txt").write_text("no image")
    secondary = images[0].copy()
    secondary.Modality, secondary.SOPInstanceUID = "OT", f"{ROOT}.5"
    secondary.file_meta.MediaStorageSOPInstanceUID = secondary.SOPInstanceUID
    write_file(there / "other", secondary)
    config = tmp_path / "node.toml"
    folder = tmp_path / "data"
    config.write_text(f'[storage]\nfolder = "{folder}"\n[dicom]\nquiet_s = 0.5\n', encoding="utf-8")
    words = ["backfill", str(tmp_path / "old archive"), "--processes", "1", "--config", str(config), "--json"]
    # The folders of an archive are the receiver's to make; here there has never been one.
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    # The phantom says nothing of prescan normalisation and the like: its score waits for a person.
    assert (found["review"], found["left"]) == (1, 0)
    assert found["files"] == {"taken": len(images), "no MR image": 1, "not readable": 1}
    again = json.loads(CliRunner().invoke(app, words).stdout)
    assert (again["review"], again["files"]["here already"]) == (0, len(images))

    world = filled(tmp_path / "step", images)
    measure_automatically(world.db, world.archive, world.settings, measure_stack)
    other = Database(folder / "node.db")
    assert rows(other) == rows(world.db) != []
    other.close()
    world.db.close()


def test_a_folder_as_archives_are(tmp_path: Path) -> None:
    """A wrong and no length of File Meta Information, no UIDs in it, a pipe, a link to nowhere, a cut file."""
    images = phantom(1)
    there = tmp_path / "there"
    there.mkdir()
    for number, image in enumerate(images):
        write_file(there / f"{number:03d}", image)
    told = b"\x02\x00\x00\x00UL\x04\x00"
    for number, length in enumerate((told + b"\xff\x00\x00\x00", b"")):
        path = there / f"{number:03d}"
        raw = path.read_bytes()
        assert raw[132:140] == told
        path.write_bytes(raw[:132] + length + raw[144:])
    nameless = dcmread(there / "002")
    del nameless.file_meta.MediaStorageSOPClassUID, nameless.file_meta.MediaStorageSOPInstanceUID
    nameless.save_as(there / "002", enforce_file_format=False)
    os.mkfifo(there / "pipe")
    (there / "nowhere").symlink_to(tmp_path / "gone")
    (there / "cut").write_bytes((there / "003").read_bytes()[:150])
    stop = threading.Event()
    world = World(tmp_path / "node")
    folders = Folders(world.settings, [there], stop)
    folders.start()
    assert eventually(lambda: not folders.bringing(), within_s=60)
    assert folders.counts == {"taken": len(images), "not readable": 3}
    world.index()
    indexed = {uid for (uid,) in world.rows("SELECT sop_instance_uid FROM derived_instance")}
    assert indexed == {image.SOPInstanceUID for image in images}
    world.db.close()


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless], ids=["implicit", "explicit", "RLE"]
)
def test_a_file_that_is_still_being_copied_is_taken_when_it_is_whole(tmp_path: Path, syntax: str) -> None:
    image = painted()[0]
    if syntax == RLELossless:
        image.compress(RLELossless)
    image.file_meta.TransferSyntaxUID = syntax
    raw = write_file(tmp_path / "whole", image).read_bytes()
    there = tmp_path / "there"
    there.mkdir()
    (there / "around").symlink_to(there)
    file = there / "1.dcm"
    world = World(tmp_path / "node")

    def taken(content: bytes) -> dict[str, int]:
        file.write_bytes(content)
        folders = Folders(world.settings, [there], threading.Event())
        folders.start()
        assert eventually(lambda: not folders.bringing())
        return dict(folders.counts)

    links = {"links to folders, not followed": 1}
    pixels = raw.index(b"\xe0\x7f\x10\x00")
    for end in (pixels - 30, pixels, pixels + 6, pixels + 500, len(raw) // 2 + pixels // 2, len(raw) - 9):
        assert taken(raw[:end]) == {"cut off": 1, **links}, end
    assert world.rows("SELECT count(*) FROM fact_object") == [(0,)]
    assert taken(raw) == {"taken": 1, **links}
    assert taken(raw) == {"here already": 1, **links}
    world.db.close()


def test_a_folder_inside_that_cannot_be_listed_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there" / "lost+found").mkdir(parents=True)
    (tmp_path / "there" / "notes.txt").write_text("no image")
    listed = os.scandir

    def forbidden(path: str | int) -> Iterator[os.DirEntry[str]]:
        if Path(str(path)).name in closed:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    world = World(tmp_path / "node")
    closed = {"lost+found"}
    folders = Folders(world.settings, [tmp_path / "there"], threading.Event())
    folders.start()
    assert eventually(lambda: not folders.bringing())
    assert folders.counts == {"not readable": 1, "folders that cannot be listed": 1}
    closed = {"there"}
    folders = Folders(world.settings, [tmp_path / "there"], threading.Event())
    folders.start()
    with pytest.raises(InputError, match="cannot list"):
        eventually(lambda: not folders.bringing())
    world.db.close()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text(f'[storage]\nfolder = "{tmp_path / "data"}"\n', encoding="utf-8")
    done = CliRunner().invoke(app, ["backfill", str(tmp_path / "no"), "--config", str(config)])
    assert done.exit_code == 1
    assert "no such file" in str(done.exception)
