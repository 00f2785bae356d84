"""How fast the receiver takes images, beside DCMTK's storescp and pynetdicom's storescp app; run by hand.

``python -m tests.benchmarks.dicom_throughput [--images N] [--pixels N] [--senders N] [--repeats N]``

Every receiver gets the same files from the same sender (``dcmsend``, TCP_NODELAY=1), the receivers in turn in each
repeat, each time into an empty folder; shown are medians and their ratio to the node. Only the node syncs file,
folder and record to the disk before it answers; what DCMTK and pynetdicom have answered may be lost with the power.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np

from tests.node.dicom_samples import free_port, mr_image, receiver_process, settings_for, write_file

READY_S = 20.0
Receiver = Callable[[Path, int], AbstractContextManager[None]]
SENDER = {**os.environ, "TCP_NODELAY": "1"}


@contextmanager
def node(folder: Path, port: int) -> Iterator[None]:
    """The receiver of this software."""
    with receiver_process(settings_for(folder, port=port)):
        yield


def command(*arguments: str) -> Receiver:
    """A receiver that is a program; ``FOLDER`` and ``PORT`` among its arguments are filled in."""

    @contextmanager
    def run(folder: Path, port: int) -> Iterator[None]:
        filled = [one.replace("FOLDER", str(folder)).replace("PORT", str(port)) for one in arguments]
        with subprocess.Popen(filled, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=SENDER) as process:
            try:
                wait_for(port)
                yield
            finally:
                process.terminate()

    return run


def wait_for(port: int) -> None:
    """Return once the receiver answers C-ECHO."""
    deadline = time.monotonic() + READY_S
    while subprocess.run(["echoscu", "127.0.0.1", str(port)], capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            raise SystemExit(f"no receiver answers on port {port}")
        time.sleep(0.1)


RECEIVERS: dict[str, Receiver] = {
    "vbq-node (durable, recorded)": node,
    "DCMTK storescp": command("storescp", "-od", "FOLDER", "PORT"),
    "DCMTK storescp --fork": command("storescp", "--fork", "-od", "FOLDER", "PORT"),
    "pynetdicom storescp": command(sys.executable, "-m", "pynetdicom", "storescp", "PORT", "-od", "FOLDER", "-q"),
}


def make_files(folder: Path, *, images: int, pixels: int, senders: int) -> list[list[str]]:
    """The files of each sender: MR images of ``pixels`` × ``pixels``, all different."""
    rng = np.random.default_rng(1)
    groups: list[list[str]] = [[] for _ in range(senders)]
    for number in range(images):
        image = mr_image(seed=number, Rows=pixels, Columns=pixels, InstanceNumber=number + 1)
        image.PixelData = rng.integers(0, 4096, (pixels, pixels), dtype=np.uint16).tobytes()
        groups[number % senders].append(str(write_file(folder / f"{number:05}.dcm", image)))
    return groups


def images_per_s(receiver: Receiver, groups: Sequence[Sequence[str]]) -> float:
    """One run of all senders at once against a fresh receiver."""
    folder, port = Path(tempfile.mkdtemp(dir=Path.cwd(), prefix=".benchmark-")), free_port()
    try:
        with receiver(folder, port):
            began = time.monotonic()
            running = [
                subprocess.Popen(["dcmsend", "127.0.0.1", str(port), *group], env=SENDER, stderr=subprocess.PIPE)
                for group in groups
            ]
            said = [one.communicate()[1] for one in running]
            elapsed = time.monotonic() - began
        if any(one.returncode for one in running):
            raise SystemExit(f"a sender failed: {said}")
    finally:
        shutil.rmtree(folder)
    return sum(map(len, groups)) / elapsed


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--pixels", type=int, default=516, help="516 gives 534 kB, 92 gives 18 kB")
    parser.add_argument("--senders", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    rates: dict[str, list[float]] = {name: [] for name in RECEIVERS}
    with tempfile.TemporaryDirectory() as files:
        groups = make_files(Path(files), images=given.images, pixels=given.pixels, senders=given.senders)
        for _ in range(given.repeats):
            for name, receiver in RECEIVERS.items():
                rates[name].append(images_per_s(receiver, groups))
    own = statistics.median(rates["vbq-node (durable, recorded)"])
    for name, found in rates.items():
        middle = statistics.median(found)
        spread = f"{min(found):.0f}–{max(found):.0f}"
        print(f"{name:32} {middle:7.0f} images/s ({spread}), the node is {own / middle:.2f} × it")


if __name__ == "__main__":
    main()
