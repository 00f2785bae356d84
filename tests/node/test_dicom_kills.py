"""kill -9 of the receiver, again and again, under four senders: what was acknowledged is there, each exactly once."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from node.settings import Settings
from tests.node.dicom_samples import mr_image, receiver, settings_for
from tests.node.raw_sender import raw_association
from tests.node.receiver_world import assert_stored, files, rows

KILLS = 50
SEED = 20_260_301
SENDERS = 4
MOST_BEFORE_KILL = 8
"""A receiver is killed once it has acknowledged a random number of objects up to here, and a random moment later."""
LONGEST_DELAY_S = 0.05

# A receiver is a fork of a process that has loaded everything: each is a process of its own, there in milliseconds.
FORKING = """
import os, sys, threading
from node.dicom.listener import run_receiver
from node.logs import configure_logging
from node.settings import Settings
settings = Settings.model_validate_json(sys.argv[1])
configure_logging(settings.logging)
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        run_receiver(settings, threading.Event(), ready=lambda: print(os.getpid(), flush=True))
        os._exit(1)
    os.waitpid(pid, 0)
    print("ended", flush=True)
"""


class Receivers:
    """Starts a receiver, kills it, starts the next."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._said, self._heard = process.stdin, process.stdout

    def start(self) -> int:
        self._said.write("start\n")
        self._said.flush()
        return int(self._heard.readline())

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        assert self._heard.readline() == "ended\n"


@contextmanager
def receivers(settings: Settings) -> Iterator[Receivers]:
    with subprocess.Popen(
        [sys.executable, "-c", FORKING, settings.model_dump_json()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        try:
            yield Receivers(process)
        finally:
            process.kill()


class Sender(threading.Thread):
    """Sends one object after the other, each until it is acknowledged, over as many associations as that takes."""

    def __init__(self, number: int, settings: Settings, stop: threading.Event, each: threading.Semaphore) -> None:
        super().__init__()
        self._number, self._port, self._stopped, self._each = number, settings.dicom.port, stop, each
        self.acknowledged: list[str] = []
        self.offered: set[str] = set()

    def run(self) -> None:
        images = self._images()
        image = next(images)
        while not self._stopped.is_set():
            try:
                with raw_association(self._port) as association:
                    while not self._stopped.is_set():
                        self.offered.add(str(image.SOPInstanceUID))
                        if association.store(image) != 0x0000:
                            break
                        self.acknowledged.append(str(image.SOPInstanceUID))
                        self._each.release()
                        image = next(images)
            except OSError:
                # Nobody listens for the moment, or the receiver was killed.
                time.sleep(0.005)

    def _images(self) -> Iterator[Dataset]:
        """Small ones and, in between, some that take several PDUs."""
        rng = np.random.default_rng(self._number)
        for count in range(100_000):
            side = 256 if count % 4 == 0 else 32
            pixels = rng.integers(0, 4096, (side, side), dtype=np.uint16)
            yield mr_image(seed=self._number * 100_000 + count, Rows=side, Columns=side, PixelData=pixels.tobytes())


def test_fifty_kills_under_four_senders(tmp_path: Path):
    settings = settings_for(tmp_path / "data")
    chance = random.Random(SEED)
    stop = threading.Event()
    one_more = threading.Semaphore(0)
    senders = [Sender(number, settings, stop, one_more) for number in range(SENDERS)]
    with receivers(settings) as each:
        for sender in senders:
            sender.start()
        try:
            for _ in range(KILLS):
                pid = each.start()
                for _ in range(chance.randint(0, MOST_BEFORE_KILL)):
                    assert one_more.acquire(timeout=20)
                time.sleep(chance.uniform(0.0, LONGEST_DELAY_S))
                each.kill(pid)
                # The record is there before anything is brought together again.
                recorded = {uid for (uid,) in rows(settings, "SELECT sop_instance_uid FROM fact_object")}
                assert {uid for sender in senders for uid in list(sender.acknowledged)} <= recorded
        finally:
            stop.set()
            for sender in senders:
                sender.join()
    # The next receiver brings files and records together; what lies there without a record was never acknowledged.
    with receiver(settings):
        pass
    acknowledged = [uid for sender in senders for uid in sender.acknowledged]
    assert len(acknowledged) == len(set(acknowledged)) > KILLS
    assert_stored(settings, set(acknowledged))
    stored = [str(uid) for (uid,) in rows(settings, "SELECT sop_instance_uid FROM fact_object")]
    assert len(files(settings)) == len(stored)
    assert set(stored) <= {uid for sender in senders for uid in sender.offered}
    assert rows(settings, "SELECT * FROM problems") == []
    assert list((settings.storage.folder / "dicom" / "incoming").iterdir()) == []
