"""How long a node takes from its start to ready, and what its processes hold in memory while nothing happens.

``python -m tests.benchmarks.start --objects 1000000`` on a free machine; ``--tree FOLDER`` starts another version of
the software by turns with this one, as it is checked out there, with this interpreter and on an empty folder (it has
another schema). Memory is PSS, in which a page that n processes share counts as 1/n of it in each (proc_pid_smaps(5)).
Bytecode is compiled before, as an installation has it.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

from sqlite_utils import Database

from node.store.archive import Archive
from node.store.database import open_database, writing
from tests.ports import free_port

PROJECT = Path(__file__).resolve().parents[2]
IMAGES = 15
"""Of a series."""
SERIES = 5
"""Of a study; a patient has one."""
UP = "vbq-node is up"
HEADER = '{"sop_instance_uid": "%s", "images": []}'


def fill(folder: Path, objects: int) -> None:
    """A folder with so many objects, received and indexed, nothing left to do; the files are holes of 512 bytes."""
    archive = Archive(folder)
    with closing(open_database(folder, create=True)) as db, writing(db):
        archive.prepare()
        _rows(db, objects)
    for n in range(objects):
        path = archive.path(_sha256(n))
        path.touch()
        os.truncate(path, 512)


def _rows(db: Database, objects: int) -> None:
    at = "2026-01-05T10:00:00.000000+00:00"
    db.conn.executemany(
        "INSERT INTO fact_object VALUES (?, ?, 512, '1.2.840.10008.5.1.4.1.1.4', ?, '1.2.840.10008.1.2.1')",
        ((n + 1, _sha256(n), f"1.1.{n}") for n in range(objects)),
    )
    db.conn.executemany(
        "INSERT INTO fact_object_receipt VALUES (?, ?, ?, 'PACS', '127.0.0.1')",
        ((n, n, at) for n in range(1, objects + 1)),
    )
    db.conn.executemany(
        "INSERT INTO derived_instance (object_id, sop_instance_uid, series_instance_uid, study_instance_uid, modality, "
        "instance_number, headers) VALUES (?, ?, ?, ?, 'MR', ?, ?)",
        (
            (n + 1, f"1.1.{n}", f"1.2.{n // IMAGES}", f"1.3.{n // IMAGES // SERIES}", n % IMAGES, HEADER % f"1.1.{n}")
            for n in range(objects)
        ),
    )
    db.conn.executemany(
        "INSERT INTO derived_series (series_instance_uid, public_id, study_instance_uid, modality, description, "
        "instances, instances_sha256, role, chosen, reasons, protocol, last_received_at, missing_slices, completeness, "
        "completeness_reasons) "
        "VALUES (?, ?, ?, 'MR', 'T1 SAG', ?, 'x', 'other', 0, '[]', '{}', ?, 0, 'unverified', '[]')",
        ((f"1.2.{n}", f"{n:012x}", f"1.3.{n // SERIES}", IMAGES, at) for n in range(-(-objects // IMAGES))),
    )


def _sha256(n: int) -> str:
    return f"{n * 0x9E3779B97F4A7C15 % 2**64:016x}" + "0" * 48


def measured(tree: Path, folder: Path, *, idle_s: float) -> dict[str, Any]:
    """Start a node on the folder, wait until it is up and then for so long, and end it."""
    config = folder.with_suffix(".toml")
    ports = "".join(f"[{name}]\nport = {free_port()}\n" for name in _rooms(tree))
    config.write_text(f'[storage]\nfolder = "{folder}"\n{ports}')
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = monotonic()
    node = subprocess.Popen(
        [sys.executable, "-m", "node", "run", "--config", str(config)],
        cwd=tree,
        env=environment | {"PYTHONPATH": str(tree)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert node.stdout is not None
        if not any(line.startswith(UP) for line in node.stdout):
            raise SystemExit(f"the node of {tree} did not start")
        ready_s = monotonic() - began
        Thread(target=node.stdout.read, daemon=True).start()
        processor_s = sum(map(_processor_s, family(node.pid)))
        sleep(idle_s)
        memory = {_name(pid): round(_pss_mb(pid), 1) for pid in family(node.pid)}
    finally:
        node.send_signal(signal.SIGTERM)
        node.wait(30)
    return {"ready_s": ready_s, "processor_s": processor_s, "pss_mb": sum(memory.values()), "each_mb": memory}


def _rooms(tree: Path) -> list[str]:
    return ["dicom", "hl7", "metrics", *(["web"] if (tree / "node" / "web").is_dir() else [])]


def family(pid: int) -> Iterator[int]:
    """A process and all that it has started."""
    yield pid
    with suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _pss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _name(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return f"{words[2]} {words[3]} ({pid})"


def main() -> None:
    """Measure each in turn, print the median of each."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--objects", type=int, nargs="*", default=[], help="folders with so many, too")
    options.add_argument("--tree", type=Path, nargs="*", default=[])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--idle", type=float, default=15.0, help="seconds until memory is read")
    given = options.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folders = {objects: Path(name) / str(objects) for objects in given.objects}
        for objects, folder in folders.items():
            fill(folder, objects)
        for number in range(given.rounds + 1):
            for tree in (PROJECT, *given.tree):
                shown = measured(tree.resolve(), Path(name) / f"empty-{tree.name}-{number}", idle_s=given.idle)
                found.setdefault(f"{tree.name}, empty", []).append(shown)
            for objects, folder in folders.items():
                found.setdefault(f"{objects} objects", []).append(measured(PROJECT, folder, idle_s=given.idle))
    for what, (_, *rounds) in found.items():  # the first one compiles
        medians = {
            key: round(statistics.median(one[key] for one in rounds), 2) for key in ("ready_s", "processor_s", "pss_mb")
        }
        print(json.dumps({what: medians, "each_mb": rounds[-1]["each_mb"]}), flush=True)


if __name__ == "__main__":
    main()
