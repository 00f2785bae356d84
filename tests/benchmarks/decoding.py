"""What it costs that pixels are decoded in a child process: the time of a whole series, read there and read here.

Run by hand: ``python -m tests.benchmarks.decoding [--repeats 10]``. A drawn sagittal T1 series is measured from its
files, uncompressed and as JPEG 2000, in turn with the pixels decoded by the child process and in this one. Processor
time of both processes counts as well as the clock: on a busy machine only it means something. Exit code 1: the median
with the child is more than 5 % above that without, by processor time.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

from analytics.vbq.measure import measure_stack
from node.demo import hospital as play
from node.demo.hospital import CAST
from node.dicom import reader
from node.dicom.header import Slice
from node.dicom.reader import read_header
from node.dicom.stack import StoredImage, read_stacks
from node.measure.decoding import decoder
from tests.benchmarks.soak import ZONE
from tests.node.dicom_samples import write_file

MOST = 1.05
Read = Callable[[Path, Sequence[int | None]], list[Slice]]


def series(folder: Path, syntax: str) -> list[StoredImage]:
    """The sagittal T1 of a patient of the demo, as files."""
    patient = play._patient(CAST[0], 0, 1, date(2026, 3, 2), ZONE)
    images = [one for one in patient.images(patient.study()) if "SAG" in str(one.SeriesDescription).upper()]
    first = images[0].SeriesInstanceUID
    found = []
    for number, image in enumerate(one for one in images if one.SeriesInstanceUID == first):
        if syntax != ExplicitVRLittleEndian:
            image.compress(syntax, generate_instance_uid=False)
        path = write_file(folder / f"{number:02}.dcm", image)
        found.append(StoredImage(path=path, content=str(path), header=read_header(path)))
    return found


def used_s(child: bool) -> float:
    """Processor time of this process and, if so, of the one that decodes."""
    own = time.process_time()
    process = decoder()._child if child else None
    if process is None:
        return own
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return own + sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def measured(images: Sequence[StoredImage], read: Read, *, child: bool) -> tuple[float, float]:
    """Clock and processor time of one measurement."""
    clock, used = time.monotonic(), used_s(child)
    for stack in read_stacks(images, read):
        measure_stack(stack.images)
    return time.monotonic() - clock, used_s(child) - used


def compared(syntax: str, repeats: int) -> Mapping[str, Any]:
    """One syntax."""
    with tempfile.TemporaryDirectory(prefix="vbq-decoding-") as folder:
        images = series(Path(folder), syntax)
        ways: dict[str, tuple[Read, bool]] = {
            "here": (reader.read_slices, False), "child": (decoder().read_slices, True),
        }  # fmt: skip
        for read, child in ways.values():
            measured(images, read, child=child)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(repeats):
            for name, (read, child) in ways.items():
                times[name].append(measured(images, read, child=child))
    clock, used = ({name: statistics.median(one[at] for one in times[name]) for name in ways} for at in (0, 1))
    return {
        "syntax": syntax, "images": len(images), "clock_s": clock, "processor_s": used,
        "clock_ratio": round(clock["child"] / clock["here"], 3),
        "processor_ratio": round(used["child"] / used["here"], 3),
    }  # fmt: skip


def main() -> int:
    """Print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    found = [compared(syntax, repeats) for syntax in (ExplicitVRLittleEndian, JPEG2000Lossless)]
    json.dump({"load_average": os.getloadavg(), "series": found}, sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0 if all(one["processor_ratio"] <= MOST for one in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
