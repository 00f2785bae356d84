"""A good patient behind something enormous: how long until the link, beside the same patient with nothing before.

Run by hand: ``python -m tests.benchmarks.bad_neighbours [--repeats 3] [--only NAME]``. The node is the real one in its
own processes. For each thing of the list a patient is sent alone, and one right behind the
thing, in turn. The time is from the first byte of the patient's images until the link with all it is made from stands
in the database (of some drawn images the score waits for a person, which ends the same way); beside it the processor
time of all processes of the node meanwhile, which tells the same on a busy machine. The memory is the largest resident
set of any process of the node since it started. Exit code 1: the median of the time is more than twice the one without
the thing, or a process was larger than 1 GB.
"""

import argparse
import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from pydicom.dataset import Dataset
from sqlite_utils import Database

from node.demo import hospital as play
from node.demo.hospital import CAST
from tests.acceptance.harness import Node, _descendants
from tests.benchmarks.acknowledged import Ledger, exchange
from tests.benchmarks.soak import ZONE, Arriving
from tests.node.dicom_samples import mr_image, stack
from tests.node.hl7_world import Peer
from tests.node.multi_frame_samples import enhanced
from tests.node.raw_sender import STATUS, raw_association, store_request

FRAMES, REPETITIONS, RESULTS, SLICES = 10_000, 100_000, 10_000, 5_000
MOST_TIMES, MOST_BYTES = 2.0, 1_000_000_000
PATIENCE_S = 600.0
NIGHT = date(2026, 3, 2)
GOOD = next(part for part in CAST if part.key == "P03")
"""Whose images, blood count and operation come in order, and are linked."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Something enormous: objects of one SOP class, or messages."""

    images: tuple[Dataset, ...] = ()
    messages: tuple[bytes, ...] = ()


def _uids(run: int, kind: int) -> dict[str, str]:
    root = f"1.2.826.0.1.3680043.8.498.777.{run}.{kind}"
    return {"StudyInstanceUID": root, "SeriesInstanceUID": f"{root}.1", "PatientID": f"BIG{run}-{kind}"}


def frames(run: int) -> Thing:
    """One object of so many frames."""
    one = enhanced(stack(2, **_uids(run, 1), StudyID=str(run), Rows=16, Columns=16, PixelData=bytes(512)))
    one.PerFrameFunctionalGroupsSequence = [one.PerFrameFunctionalGroupsSequence[0]] * FRAMES
    one.NumberOfFrames, one.PixelData = FRAMES, bytes(512) * FRAMES
    return Thing(images=(one,))


def _message(run: int, name: str, kind: str, *segments: str) -> bytes:
    head = f"MSH|^~\\&|LAB|H|NODE|V|20260302090000||{kind}|{name}{run}|P|2.5"
    return "\r".join([head, *segments, ""]).encode()


def repetitions(run: int) -> Thing:
    """One message whose patient has so many numbers."""
    numbers = "~".join(f"{number}^^^H^MR" for number in range(REPETITIONS))
    return Thing(messages=(_message(run, "REP", "ADT^A08", f"PID|1||{numbers}||Doe^Jane||19600229|F"),))


def results(run: int) -> Thing:
    """One message of so many results: four of each of many blood counts."""
    lines = [f"PID|1||RES{run}^^^H^MR||Doe^Jane||19600229|F"]
    for number in range(RESULTS // 4):
        lines.append(
            f"OBR|{number + 1}||R{run}-{number}|58410-2^CBC^LN|||20260{1 + number % 2}{1 + number % 28:02}0800"
        )
        values = {"751-8": 4.0 + number % 7, "731-0": 1.5, "777-3": 200 + number % 90, "6690-2": 6.1}
        lines += [
            f"OBX|{place}|NM|{code}^^LN||{value}|10*9/L|||||F" for place, (code, value) in enumerate(values.items(), 1)
        ]
    return Thing(messages=(_message(run, "RES", "ORU^R01", *lines),))


def results_of_one(run: int) -> Thing:
    """One message of so many results of one blood count."""
    lines = [f"PID|1||ONE{run}^^^H^MR||Doe^Jane||19600229|F", f"OBR|1||O{run}|58410-2^CBC^LN|||202603010800"]
    codes = ("751-8", "731-0", "777-3", "6690-2")
    lines += [f"OBX|{n + 1}|NM|{codes[n % 4]}^^LN||{4 + n % 5}|10*9/L|||||F" for n in range(RESULTS)]
    return Thing(messages=(_message(run, "ONE", "ORU^R01", *lines),))


def slices(run: int) -> Thing:
    """One series of so many images."""
    uids = _uids(run, 2)
    return Thing(
        images=tuple(
            mr_image(
                seed=run * SLICES + place, **uids, InstanceNumber=place + 1, Rows=16, Columns=16, PixelData=bytes(512),
                ImagePositionPatient=[0.1 * place, -10, 10],
            )
            for place in range(SLICES)
        )
    )  # fmt: skip


THINGS = {one.__name__: one for one in (frames, repetitions, results, results_of_one, slices)}


def patient(number: int) -> Arriving:
    """The good patient under a number of their own."""
    part = replace(GOOD, key=f"P7{number:03d}")
    one = play._patient(part, number, number, NIGHT, ZONE)
    events = sorted(play._events(one, NIGHT, ZONE), key=lambda event: (event.at, event.system))
    messages = [event.write(f"{event.system}{number:03d}{count:03d}") for count, event in enumerate(events)]
    return Arriving(patient=one, images=one.images(one.study()), messages=messages)


def send_thing(node: Node, thing: Thing) -> None:
    """Send it, and demand that it is acknowledged."""
    if thing.images:
        sop_class = str(thing.images[0].SOPClassUID)
        with raw_association(node.dicom_port, sop_class=sop_class, calling="BIG") as association:
            for image in thing.images:
                answer = STATUS.search(association.say(store_request(image, sop_class=sop_class)))
                assert answer is not None and int.from_bytes(answer[1], "little") == 0x0000, sop_class
    if thing.messages:
        with Peer(node.hl7_port) as peer:
            for message in thing.messages:
                assert exchange(peer, message, Ledger()), message[:60]


def linked_after_s(node: Node, one: Arriving) -> float:
    """Send a patient; how long until they are linked."""
    with node.database() as db:
        before = _linked(db)
        began = time.monotonic()
        send_thing(node, Thing(images=tuple(one.images), messages=tuple(one.messages)))
        while _linked(db) == before:
            assert time.monotonic() < began + PATIENCE_S, list(db.query("SELECT * FROM problems"))[-5:]
            time.sleep(0.05)
        return time.monotonic() - began


def _linked(db: Database) -> int:
    sql = "SELECT count(*) FROM links WHERE status = 'linked' OR reason_codes LIKE '%mri-in-review%'"
    (number,) = db.execute(sql).fetchone()
    return int(number)


def processor_s(node: Node) -> float:
    """What all processes of the node, and those of them that have ended, have used of a processor so far."""
    assert node._process is not None
    ticks = 0
    for pid in (node._process.pid, *_descendants(node._process.pid)):
        with contextlib.suppress(OSError):
            # Behind the name in brackets: utime, stime, cutime and cstime are the 12th to 15th field (proc(5)).
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def peaks(node: Node) -> dict[str, int]:
    """The largest resident set of each process of the node so far, in bytes."""
    assert node._process is not None
    found = {}
    for pid in (node._process.pid, *_descendants(node._process.pid)):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            name = next((w.decode() for w in words if w in (b"dicom", b"hl7", b"steps", b"outgoing", b"nightly")), "")
            peak = re.search(r"VmHWM:\s+(\d+) kB", status)
            if peak:
                found[name or f"{words[2][:40].decode()} {pid}"] = int(peak[1]) * 1024
    return found


def measured(name: str, repeats: int) -> Mapping[str, object]:
    """One thing of the list."""
    with tempfile.TemporaryDirectory(prefix="vbq-neighbour-", ignore_cleanup_errors=True) as folder:
        node = Node(Path(folder))
        node.start(PATIENCE_S)
        try:
            linked_after_s(node, patient(99))
            alone, behind, processor = [], [], []
            for run in range(repeats):
                marks = [processor_s(node)]
                alone.append(linked_after_s(node, patient(2 * run)))
                marks.append(processor_s(node))
                thing = THINGS[name](run + 1)
                began = time.monotonic()
                send_thing(node, thing)
                sending_s = time.monotonic() - began
                marks.append(processor_s(node))
                behind.append(linked_after_s(node, patient(2 * run + 1)))
                marks.append(processor_s(node))
                processor.append((marks[1] - marks[0], marks[3] - marks[2]))
                node.settle(PATIENCE_S)
            largest = peaks(node)
            codes = [row["code"] for row in node.query("SELECT DISTINCT code FROM problems ORDER BY code")]
        finally:
            node.kill()
    ratio = statistics.median(behind) / statistics.median(alone)
    return {
        "thing": name, "alone_s": rounded(alone), "behind_s": rounded(behind), "ratio": round(ratio, 2),
        "processor_alone_s": rounded([one for one, _ in processor]),
        "processor_behind_s": rounded([one for _, one in processor]),
        "thing_sent_in_s": round(sending_s, 1), "largest_mb": round(max(largest.values()) / 1e6),
        "mb": {name: round(size / 1e6) for name, size in largest.items()}, "problems": codes,
        "holds": ratio <= MOST_TIMES and max(largest.values()) <= MOST_BYTES,
    }  # fmt: skip


def rounded(values: list[float]) -> list[float]:
    """To a tenth of a second."""
    return [round(value, 1) for value in values]


def everything(names: list[str], repeats: int) -> Iterator[Mapping[str, object]]:
    """What came of each, as it comes."""
    for name in names:
        found = measured(name, repeats)
        sys.stderr.write(json.dumps(found) + "\n")
        yield found


def main() -> int:
    """Print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=tuple(THINGS), nargs="*", default=tuple(THINGS))
    asked = parser.parse_args()
    found = list(everything(list(asked.only), asked.repeats))
    json.dump({"load_average": os.getloadavg(), "things": found}, sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0 if all(one["holds"] for one in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
