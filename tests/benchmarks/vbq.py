"""How fast whole series are measured, from files to score, on one core; run by hand.

``python -m tests.benchmarks.vbq [--series FOLDER] [--repeats N] [--worker N] [--beside FOLDER]``

Pinned to one core. First the command as a user runs it, start included; then series after series in one process:
headers, pixels, networks, circles, score (median, worst, peak memory). Then what the T2 of the same examination adds:
drawn studies, each measured without it and with it in turn. ``--worker N``: N studies, the same series under
UIDs of their own and each with noise of its own, through the steps; after each tenth the studies per second, seconds
of processor per study, and the memory held, which must not grow.
``--beside FOLDER``: the same of another build, whose code lies there (``git archive COMMIT | tar x -C FOLDER``).
Without ``--series`` (a folder with a folder of files for each series) phantoms are drawn.
"""

import argparse
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pydicom
import structlog
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from analytics.vbq.measure import measure_stack
from node.demo.dicom_study import data_sets
from node.demo.hospital import open_hospital
from node.measure.files import find, measure_all
from node.settings import Dicom, Settings, Storage
from node.steps.pending import pending
from node.steps.worker import run_pending
from node.store.archive import Archive
from node.store.database import open_database
from tests.node.dicom_samples import receive, write_file

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
BATCH = 20
"""Studies received before the steps get them."""


def drawn(folder: Path, number: int, *, with_t2: bool = False) -> list[Path]:
    """The T1 series of this many patients of the demo, a folder each, and the T2 that shows where its fluid is."""
    found = []
    for patient in open_hospital(1).patients[:number]:
        place = folder / patient.part.key
        place.mkdir(parents=True)
        for image in data_sets(patient.examination, patient.study()):
            is_t1 = image.SeriesInstanceUID == patient.examination.t1_series_uid
            if is_t1 or (with_t2 and "t2" in str(image.SeriesDescription).lower()):
                write_file(place / f"{image.SeriesNumber:03}-{image.InstanceNumber:03}", image)
        found.append(place)
    return found


def peak_mb() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mb() -> float:
    """The memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def with_start(folders: Sequence[Path]) -> None:
    """The command on one series, start included."""
    took = []
    for folder in folders:
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "node", "measure", str(folder), "--json"], check=False, capture_output=True
        )
        took.append(time.monotonic() - began)
    print(f"command on one series, start included: median {statistics.median(took):.2f} s, worst {max(took):.2f} s")


def in_one_process(folders: Sequence[Path], repeats: int) -> None:
    """Series after series; the first one loads the networks and is not counted."""
    walls, cpus = [], []
    for number in range(repeats * len(folders) + 1):
        began, cpu = time.monotonic(), time.process_time()
        list(measure_all(find([folders[number % len(folders)]]), measure_stack))
        if number:
            walls.append(time.monotonic() - began)
            cpus.append(time.process_time() - cpu)
    print(
        f"files to score: {len(walls)} series, median {statistics.median(walls):.2f} s wall, "
        f"{statistics.median(cpus):.2f} s of processor, worst {max(walls):.2f} s; peak memory {peak_mb():.0f} MB"
    )


def with_and_without_t2(folder: Path, number: int, repeats: int) -> None:
    """Drawn studies in turn: seconds of processor without the T2 and with it, of those of which one was looked at."""
    plain, both = drawn(folder / "plain", number), drawn(folder / "both", number, with_t2=True)
    took: dict[bool, list[float]] = {False: [], True: []}
    looked_at = 0
    for turn in range(repeats + 1):
        for one, other in zip(plain, both, strict=True):
            for with_t2, place in ((False, one), (True, other)):
                began = time.process_time()
                results = [result for _, result in measure_all(find([place]), measure_stack)]
                spent = time.process_time() - began
                if turn:
                    took[with_t2].append(spent)
                    looked_at += with_t2 and any(result.t2 is not None for result in results)
    without, with_it = (statistics.median(took[which]) for which in (False, True))
    print(
        f"T2 of the same study: {without:.2f} s of processor without, {with_it:.2f} s with it "
        f"({with_it - without:+.2f} s, {with_it / without:.2f} times); looked at in {looked_at} of {len(took[True])}"
    )


def copies(images: Sequence[Dataset], pixels: Sequence[NDArray[np.uint16]], number: int) -> list[Dataset]:
    """The images as those of another study: other identities, and noise of one grey level."""
    dice = np.random.default_rng(number)
    for position, (image, signal) in enumerate(zip(images, pixels, strict=True)):
        image.PixelData = (signal + dice.integers(0, 2, signal.shape, dtype=np.uint16)).tobytes()
        image.StudyInstanceUID = f"2.25.{10**20 + number}"
        image.SeriesInstanceUID = f"2.25.{2 * 10**20 + number}"
        image.SOPInstanceUID = f"2.25.{3 * 10**20 + 1000 * number + position}"
        image.PatientID = f"{number:06}"
    return list(images)


def through_the_worker(folders: Sequence[Path], number: int) -> None:
    """So many studies, received and derived in batches, as a node does it."""
    series = [[pydicom.dcmread(path) for path in sorted(folder.iterdir())] for folder in folders]
    pixels = [[image.pixel_array.astype(np.uint16) for image in images] for images in series]
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".benchmark-") as name:
        folder = Path(name)
        settings = Settings(storage=Storage(folder=folder), dicom=Dicom(quiet_s=1))
        db, archive = open_database(folder, create=True), Archive(folder)
        wall = processor = 0.0
        shown = {max(BATCH, number * share // 10 // BATCH * BATCH) for share in range(1, 11)} | {number}
        print("worker, one core: studies, studies a second, seconds of processor a study, memory held, its peak (MB)")
        for first in range(0, number, BATCH):
            done = min(first + BATCH, number)
            for one in range(first, done):
                which = one % len(series)
                receive(folder, *copies(series[which], pixels[which], one), at=NOON)
            began, cpu = time.monotonic(), time.process_time()
            while run_pending(db, archive, settings, at=NOON + timedelta(minutes=1)):
                pass
            wall, processor = wall + time.monotonic() - began, processor + time.process_time() - cpu
            if done in shown:
                held = f"{resident_mb():.0f}, {peak_mb():.0f}"
                print(f"  {done}: {done / wall:.2f}, {processor / done:.2f}, {held}", flush=True)
        assert not any(pending(db).values())
        states = dict(db.execute("SELECT status, count(*) FROM measurements GROUP BY status").fetchall())
        db.close()
    print(f"  {states}")


def beside(build: Path, folder: Path, repeats: int) -> None:
    """The benchmark of another build, with its own code and the libraries of this one, on the same series."""
    print(f"{build}:", flush=True)
    subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.vbq", "--series", str(folder.resolve()), "--repeats", str(repeats)],
        cwd=build,
        env={**os.environ, "PYTHONPATH": str(build.resolve())},
        check=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=Path, help="a folder with a folder of files for each series")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--beside", type=Path, help="the code of another build")
    parser.add_argument("--worker", type=int, default=0, help="studies through the steps")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as place:
        if given.series:
            folders = sorted(path for path in given.series.iterdir() if path.is_dir())
        else:
            folders = drawn(Path(place) / "drawn", 3)
        with_start(folders)
        in_one_process(folders, given.repeats)
        with_and_without_t2(Path(place) / "studies", 3, given.repeats)
        if given.beside:
            beside(given.beside, given.series or Path(place) / "drawn", given.repeats)
        if given.worker:
            through_the_worker(folders, given.worker)


if __name__ == "__main__":
    main()
