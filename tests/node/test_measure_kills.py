"""kill -9 in the midst of measuring: afterwards every reading is there once, as without a kill, and can be shown."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlite_utils import Database

from node.clock import now
from node.demo.dicom_study import data_sets
from node.demo.hospital import open_hospital
from node.measure.pictures import draw, stored_reading
from node.settings import Settings
from node.steps.pending import pending
from node.steps.worker import run_pending
from node.store.archive import Archive
from node.store.database import open_database
from tests.node.dicom_samples import receive
from tests.ports import free_port

SEED = 20_261_125
PATIENTS = 2
WHILE_MEASURING, WHILE_STORING = 3, 2
"""Kills at a random moment of a measurement, and at one of the storing of what was measured."""
LONGEST_MEASURING_S, LONGEST_STORING_S = 0.4, 0.02

# The steps as they run in the node, each time a process of its own, forked from one that has loaded everything; they
# say when the automatic measurement of a series begins and ends.
FORKING = """
import os, sys, threading
from node.logs import configure_logging
from node.settings import Settings
from analytics.vbq import measure as loaded_before_they_fork
from node.steps import worker
settings = Settings.model_validate_json(sys.argv[1])
configure_logging(settings.logging)
measure = worker.measure_stack
def telling(images, **about):
    print("measuring", flush=True)
    result = measure(images, **about)
    print("measured", flush=True)
    return result
worker.measure_stack = telling
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        print(os.getpid(), flush=True)
        worker.run_steps(settings, threading.Event())
        os._exit(1)
    os.waitpid(pid, 0)
    print("ended", flush=True)
"""


class Steps:
    """Starts the steps role, waits for what it says, kills it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._said, self._heard = process.stdin, process.stdout
        self._pid = 0

    def start(self) -> None:
        self._said.write("start\n")
        self._said.flush()
        self._pid = int(self._heard.readline())

    def wait_for(self, word: str) -> None:
        while (heard := self._heard.readline().strip()) != word:
            assert heard in {"measuring", "measured"}, heard

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        self.wait_for("ended")


@contextmanager
def steps(settings: Settings) -> Iterator[Steps]:
    with subprocess.Popen(
        [sys.executable, "-c", FORKING, settings.model_dump_json()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        try:
            yield Steps(process)
        finally:
            process.kill()


def settings_of(folder: Path) -> Settings:
    """A node to which the middle of the T1 of two drawn patients came an hour ago."""
    for patient in open_hospital(1).patients[:PATIENTS]:
        images = data_sets(patient.examination, patient.study())
        t1 = [image for image in images if image.SeriesInstanceUID == patient.examination.t1_series_uid]
        middle = len(t1) // 2
        receive(folder, *t1[middle - 2 : middle + 3], at=datetime.now(UTC) - timedelta(hours=1))
    return Settings.model_validate({"storage": {"folder": folder}, "metrics": {"port": free_port()}})


def stored(db: Database) -> list[dict[str, object]]:
    """All that was measured, but for the time of day."""
    rows = db.query("SELECT * FROM measurements ORDER BY series_instance_uid")
    return [{name: value for name, value in row.items() if name != "measured_at"} for row in rows]


def files(folder: Path) -> set[str]:
    """Of the data folder, without those of the databases that come and go while they are open."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def undisturbed(folder: Path) -> list[dict[str, object]]:
    settings = settings_of(folder)
    db = open_database(folder, create=True)
    while run_pending(db, Archive(folder), settings, at=now()):
        pass
    found = stored(db)
    db.close()
    return found


def settle(db: Database) -> None:
    deadline = time.monotonic() + 60
    while any(pending(db).values()):
        assert time.monotonic() < deadline, pending(db)
        time.sleep(0.05)


def test_a_kill_in_the_midst_of_measuring_leaves_nothing_half_and_nothing_twice(tmp_path: Path):
    expected = undisturbed(tmp_path / "undisturbed")
    folder = tmp_path / "data"
    settings = settings_of(folder)
    db = open_database(folder, create=True)
    chance = random.Random(SEED)
    kills = [("measuring", LONGEST_MEASURING_S)] * WHILE_MEASURING + [("measured", LONGEST_STORING_S)] * WHILE_STORING
    with steps(settings) as role:
        for word, longest_s in kills:
            role.start()
            if not any(pending(db).values()):
                role.kill()
                break
            role.wait_for(word)
            time.sleep(chance.uniform(0.0, longest_s))
            role.kill()
            # What is there is whole, whenever it was killed.
            assert all(row in expected for row in stored(db))
        role.start()
        settle(db)
        role.kill()
    assert len(expected) == PATIENTS
    assert stored(db) == expected
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    png = draw(db, Archive(folder), stored_reading(db, str(expected[0]["series_instance_uid"])))
    assert png.startswith(b"\x89PNG")
    assert png.endswith(b"IEND\xaeB`\x82")
    db.close()
    # The steps add their lock and the snapshots; the last kill may come while these are made, under names of their own
    # that the next ones take over.
    snapshots = {f"snapshots/{name}" for one in ("node.db", "research.db") for name in (one, f".{one}.new")}
    of_the_steps = {"steps.lock", *snapshots}
    assert files(folder) - files(tmp_path / "undisturbed") <= of_the_steps
