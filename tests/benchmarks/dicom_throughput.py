"""How fast the receiver takes images, beside DCMTK's storescp, Orthanc and pynetdicom's storescp app; run by hand.

``python -m tests.benchmarks.dicom_throughput [--images N] [--pixels N] [--senders N] [--repeats N] [--processes N]``

Every receiver gets the same files from the same sender (``dcmsend``, TCP_NODELAY=1), the receivers in turn in each
repeat, each time into an empty folder; shown are medians and their ratio to the node, and the largest resident memory
of any of its processes (Linux counts what they share in each). The node syncs file, folder and record to the disk
before it answers; Orthanc, as it comes, syncs each file; what DCMTK and pynetdicom have answered may be lost with the
power. Where there is a C compiler, DCMTK also runs with each file synced to the disk as it is closed (still without its
directory entry and without a record).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np

from tests.node.dicom_samples import mr_image, receiver_process, settings_for, write_file
from tests.ports import free_port

READY_S = 20.0
Receiver = Callable[[Path, int], AbstractContextManager[int]]
"""In which it runs, in a folder and on a port; gives its process id."""
SCRIPTS = Path(sys.executable).parent
SENDER = {
    **os.environ,
    "TCP_NODELAY": "1",
    # pynetdicom installs commands of the names of DCMTK's, which an activated environment would find first.
    "PATH": os.pathsep.join(one for one in os.environ["PATH"].split(os.pathsep) if Path(one) != SCRIPTS),
}


@contextmanager
def node(folder: Path, port: int, *, processes: int) -> Iterator[int]:
    """The receiver of this software."""
    with receiver_process(settings_for(folder, port=port, processes=processes)) as process:
        yield process.pid


def command(*arguments: str) -> Receiver:
    """A receiver that is a program; ``FOLDER`` and ``PORT`` among its arguments are filled in."""

    @contextmanager
    def run(folder: Path, port: int) -> Iterator[int]:
        filled = [one.replace("FOLDER", str(folder)).replace("PORT", str(port)) for one in arguments]
        with subprocess.Popen(filled, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=SENDER) as process:
            try:
                wait_for(port)
                yield process.pid
            finally:
                process.terminate()

    return run


@contextmanager
def orthanc(folder: Path, port: int) -> Iterator[int]:
    """Orthanc with its defaults, on a port and in a folder of its own."""
    settings = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "DicomPort": port,
        "DicomAlwaysAllowStore": True,
        "DicomCheckCalledAet": False,
        "HttpServerEnabled": False,
        "Plugins": [],
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(settings))
    with command("Orthanc", str(path))(folder, port) as pid:
        yield pid


SYNC_AT_CLOSE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
int fclose(FILE *file) {
    int (*next)(FILE *) = (int (*)(FILE *))dlsym(RTLD_NEXT, "fclose");
    struct stat found;
    int number = fileno(file);
    if (number >= 0 && (fcntl(number, F_GETFL) & O_ACCMODE) != O_RDONLY && !fstat(number, &found)
        && S_ISREG(found.st_mode)) {
        fflush(file);
        fsync(number);
    }
    return next(file);
}
"""
"""Loaded before the C library (LD_PRELOAD) into a program that closes its files by fclose."""


def syncing(folder: Path) -> dict[str, Receiver]:
    """DCMTK's storescp that waits for the disk; nothing where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return {}
    source, library = folder / "sync.c", folder / "sync.so"
    source.write_text(SYNC_AT_CLOSE)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    loaded = f"LD_PRELOAD={library}"
    return {"DCMTK --fork, files synced": command("env", loaded, "storescp", "--fork", "-od", "FOLDER", "PORT")}


def wait_for(port: int) -> None:
    """Return once the receiver answers C-ECHO."""
    deadline = time.monotonic() + READY_S
    while subprocess.run(["echoscu", "127.0.0.1", str(port)], capture_output=True, check=False, env=SENDER).returncode:
        if time.monotonic() > deadline:
            raise SystemExit(f"no receiver answers on port {port}")
        time.sleep(0.1)


def peak_mb(pid: int) -> float:
    """The largest resident memory that a process, or one of its children, has ever had.

    A child that forks per association may end between its name and its file.
    """
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    peaks = []
    for one in (str(pid), *children):
        with suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
            peaks += [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return max(peaks) / 1000


def make_files(folder: Path, *, images: int, pixels: int, senders: int) -> list[list[str]]:
    """The files of each sender: MR images of ``pixels`` × ``pixels``, all different."""
    rng = np.random.default_rng(1)
    groups: list[list[str]] = [[] for _ in range(senders)]
    for number in range(images):
        image = mr_image(seed=number, Rows=pixels, Columns=pixels, InstanceNumber=number + 1)
        image.PixelData = rng.integers(0, 4096, (pixels, pixels), dtype=np.uint16).tobytes()
        groups[number % senders].append(str(write_file(folder / f"{number:05}.dcm", image)))
    return groups


def run_once(receiver: Receiver, groups: Sequence[Sequence[str]]) -> tuple[float, float]:
    """One run of all senders at once against a fresh receiver: images per second, and its memory in MB."""
    folder, port = Path(tempfile.mkdtemp(dir=Path.cwd(), prefix=".benchmark-")), free_port()
    try:
        with receiver(folder, port) as pid:
            began = time.monotonic()
            running = [
                subprocess.Popen(["dcmsend", "127.0.0.1", str(port), *group], env=SENDER, stderr=subprocess.PIPE)
                for group in groups
            ]
            said = [one.communicate()[1] for one in running]
            elapsed = time.monotonic() - began
            memory = peak_mb(pid)
        if any(one.returncode for one in running):
            raise SystemExit(f"a sender failed: {said}")
    finally:
        shutil.rmtree(folder)
    return sum(map(len, groups)) / elapsed, memory


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--pixels", type=int, default=516, help="516 gives 534 kB, 92 gives 18 kB")
    parser.add_argument("--senders", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processes", type=int, nargs="*", default=[2], help="of the node, as dicom.processes")
    parser.add_argument("--only", default="", help="receivers whose names hold this, beside the node")
    given = parser.parse_args()
    receivers: dict[str, Receiver] = {
        **{f"vbq-node, {count} processes": partial(node, processes=count) for count in given.processes},
        "Orthanc": orthanc,
        "DCMTK storescp": command("storescp", "-od", "FOLDER", "PORT"),
        "DCMTK storescp --fork": command("storescp", "--fork", "-od", "FOLDER", "PORT"),
        "pynetdicom storescp": command(sys.executable, "-m", "pynetdicom", "storescp", "PORT", "-od", "FOLDER", "-q"),
    }
    made = ExitStack()
    receivers |= syncing(Path(made.enter_context(tempfile.TemporaryDirectory())))
    receivers = {name: one for name, one in receivers.items() if given.only in name or name.startswith("vbq")}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in receivers}
    with made, tempfile.TemporaryDirectory() as files:
        groups = make_files(Path(files), images=given.images, pixels=given.pixels, senders=given.senders)
        for _ in range(given.repeats):
            for name, receiver in receivers.items():
                found[name].append(run_once(receiver, groups))
    own = statistics.median(rate for rate, _ in next(iter(found.values())))
    for name, runs in found.items():
        rates = sorted(rate for rate, _ in runs)
        middle = statistics.median(rates)
        print(
            f"{name:27} {middle:7.0f} images/s ({rates[0]:.0f}–{rates[-1]:.0f}), the node is {own / middle:.2f} × it; "
            f"{max(memory for _, memory in runs):.0f} MB"
        )


if __name__ == "__main__":
    main()
