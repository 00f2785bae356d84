"""How long a day's backup takes beside a full one, by processor time: ``python -m tests.benchmarks.backup``.

A node with so many small objects (of a real one they are larger, which only the full backup feels), with index rows and
messages as long as real ones, is backed up into an empty folder and again into that one after a day with new ones; the
kernel's share of the time is in it. Both run in one process, so that their ratio holds on a busy machine too.
``--other-disk`` copies the database and the objects as to another file system.
"""

import argparse
import hashlib
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

from sqlite_utils import Database

from node.operate import sealing
from node.operate.backup import back_up
from node.operate.restore import verify
from node.settings import Settings, Storage
from node.store.archive import Archive
from node.store.database import open_database, writing

AT = "2026-01-05T10:00:00.000000+00:00"
SYNTAX = "1.2.840.10008.1.2.1"
HEADERS_BYTES, EXTRACT_BYTES, FRAME_BYTES = 1700, 900, 590
"""Mean of a demo's rows: ``derived_instance.headers``, ``derived_extract.content``, ``fact_frame.raw``."""
IMAGES_A_SERIES, SERIES_A_STUDY = 15, 5


def image(number: int, size: int) -> bytes:
    """A data set that no other number has; of no meaning, which a backup does not ask for."""
    return (f"{number:016d}".encode() * (size // 16 + 1))[:size]


def header() -> bytes:
    """Preamble, prefix and File Meta Information, which a backup skips by its length."""
    meta = bytes(180)
    return bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0" + len(meta).to_bytes(4, "little") + meta


def grow(db: Database, archive: Archive, objects: range, messages: range, size: int) -> None:
    """Receive and index these."""
    named = []
    for number in objects:
        content = image(number, size)
        sha256 = hashlib.sha256(f"{SYNTAX}\0".encode() + content).hexdigest()
        path = archive.path(sha256)
        path.write_bytes(header() + content)
        path.chmod(0o440)
        named.append((number, sha256))
    with writing(db):
        db.conn.executemany(
            "INSERT INTO fact_object VALUES (?, ?, ?, '1.2.840.10008.5.1.4.1.1.4', ?, ?)",
            ((number + 1, sha256, size, uid(number), SYNTAX) for number, sha256 in named),
        )
        db.conn.executemany(
            "INSERT INTO fact_object_receipt VALUES (?, ?, ?, 'PACS', '127.0.0.1')",
            ((number + 1, number + 1, AT) for number in objects),
        )
        db.conn.executemany(
            "INSERT INTO derived_instance (object_id, sop_instance_uid, series_instance_uid, study_instance_uid, "
            "modality, instance_number, headers) VALUES (?, ?, ?, ?, 'MR', ?, ?)",
            (
                (
                    number + 1, uid(number), f"1.2.826.0.1.2.{number // IMAGES_A_SERIES}",
                    f"1.2.826.0.1.3.{number // IMAGES_A_SERIES // SERIES_A_STUDY}", number % IMAGES_A_SERIES,
                    json.dumps({"sop_instance_uid": uid(number), "image": "x" * (HEADERS_BYTES - 90)}),
                )
                for number in objects
            ),
        )  # fmt: skip
        db.conn.executemany("INSERT INTO fact_frame VALUES (?, ?, ?)", frames(messages))
        db.conn.executemany(
            "INSERT INTO fact_frame_receipt VALUES (?, ?, ?, '127.0.0.1', 'AA')",
            ((number + 1, number + 1, AT) for number in messages),
        )
        db.conn.executemany(
            "INSERT INTO derived_message (frame_id, position, control_id, type, status, reasons) "
            "VALUES (?, 0, ?, 'ORU^R01', 'used', '[]')",
            ((number + 1, f"C{number}") for number in messages),
        )
        db.conn.executemany(
            "INSERT INTO derived_extract (frame_id, position, item, kind, authority, patient_id, content) "
            "VALUES (?, 0, 0, 'patient', 'H', ?, ?)",
            ((number + 1, f"{number // 5}", json.dumps({"x": "y" * EXTRACT_BYTES})) for number in messages),
        )


def uid(number: int) -> str:
    """Of an image."""
    return f"1.2.826.0.1.3680043.8.498.{10**20 + number}"


def frames(messages: range) -> Iterator[tuple[int, str, bytes]]:
    """Rows of ``fact_frame``."""
    for number in messages:
        raw = f"MSH|{number}|".encode().ljust(FRAME_BYTES, b"x")
        yield number + 1, hashlib.sha256(raw).hexdigest(), raw


def timed(do: Callable[[], object]) -> dict[str, float]:
    """Seconds of the processor and of the clock."""
    before, began = resource.getrusage(resource.RUSAGE_SELF), monotonic()
    do()
    after = resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return {
        "processor_s": round(user + system, 2),
        "system_s": round(system, 2),
        "wall_s": round(monotonic() - began, 2),
    }


def run(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Fill a node, back it up, let a day go by, back it up again."""
    settings = Settings(storage=Storage(folder=folder / "data"))
    place = folder / "backups"
    if asked.other_disk:
        vars(sealing)["_shared"] = lambda *_: False
    with closing(open_database(settings.storage.folder, create=True)) as db:
        archive = Archive(settings.storage.folder)
        archive.prepare()
        grow(db, archive, range(asked.objects), range(asked.messages), asked.bytes)
        full = timed(lambda: back_up(db, settings, place))
        days = []
        objects, messages = asked.objects, asked.messages
        for _ in range(asked.days):
            grow(
                db,
                archive,
                range(objects, objects + asked.day[0]),
                range(messages, messages + asked.day[1]),
                asked.bytes,
            )
            objects, messages = objects + asked.day[0], messages + asked.day[1]
            days.append(timed(lambda: back_up(db, settings, place)))
        size = (settings.storage.folder / "node.db").stat().st_size
    verify(place)
    ratios = {what: [round(full[what] / day[what], 1) for day in days] for what in ("processor_s", "wall_s")}
    return {
        "objects": asked.objects, "bytes_each": asked.bytes, "messages": asked.messages, "database_mb": size // 10**6,
        "a_day": asked.day, "full": full, "days": days, "full_by_day": ratios, "load_average": os.getloadavg(),
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=200_000)
    parser.add_argument("--messages", type=int, default=80_000)
    parser.add_argument("--day", type=int, nargs=2, default=(5_000, 2_000), metavar=("IMAGES", "MESSAGES"))
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--bytes", type=int, default=2_000, help="of an object")
    parser.add_argument("--other-disk", action="store_true")
    parser.add_argument("--folder", type=Path, default=None, help="where to work; a temporary folder without it")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="vbq-backup-", dir=asked.folder) as folder:
        json.dump(run(Path(folder), asked), sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
