"""How long the snapshot takes to renew after a few messages, against building it anew as it once was.

``python -m tests.benchmarks.snapshot --messages 400000 --series 50000`` on a free machine; all are timed in one run on
one database, and their content is compared row by row. The smaller default shows that it works. With ``--older FOLDER``
(a checkout of an earlier commit: ``git worktree add FOLDER 4ec8441``) its own snapshot is timed and compared, too, of
a database that has the same rows.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from time import perf_counter, process_time

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.store.database import insert, open_database, writing
from node.store.snapshot import publish, snapshot_path

SERIES_OF_A_PERSON = 5
"""One of them is measured."""
Seconds = tuple[float, float]
"""By the clock on the wall, and of the processor."""
SENTENCES = frozenset({"reasons", "notes", "detail", "exclusion_reasons", "completeness_reasons"})


def fill(db: Database, *, messages: int, series: int) -> None:
    """A node's database with so many messages and series; the bytes of messages and images are left out."""
    with writing(db):
        db.conn.executemany("INSERT INTO fact_frame (frame_id, sha256, raw) VALUES (?, ?, x'00')", _frames(1, messages))
        db.conn.executemany(
            "INSERT INTO fact_frame_receipt (frame_id, received_at, peer_address, ack) VALUES (?, ?, '1', 'AA')",
            ((n, _time(n)) for n in range(1, messages + 1)),
        )
        db.conn.executemany(
            "INSERT INTO derived_message VALUES (?, 1, ?, 'ORU^R01', '2.5.1', 'LAB|H', ?, 'P', ?, ?)",
            (_message(n) for n in range(1, messages + 1)),
        )
        db.conn.executemany(
            "INSERT INTO derived_extract VALUES (?, 1, 0, 'specimen', 'LOCAL', ?, ?, ?, NULL)",
            (
                (n, f"{n % max(series // SERIES_OF_A_PERSON, 1):07d}", _time(n), _specimen(n))
                for n in range(1, messages + 1)
            ),
        )
        for number in range(series):
            _put_series(db, number)


def add_messages(db: Database, first: int, number: int) -> None:
    """So many messages more, as the listener and the steps leave them: each a count of a person who is known."""
    with writing(db):
        for n in range(first, first + number):
            insert(db, "fact_frame", [{"frame_id": n, "sha256": _sha256(n), "raw": b"0"}])
            receipt = {"frame_id": n, "received_at": _time(n), "peer_address": "127.0.0.1", "ack": "AA"}
            insert(db, "fact_frame_receipt", [receipt])
            db.execute(
                "INSERT INTO derived_message VALUES (?, 1, ?, 'ORU^R01', '2.5.1', 'LAB|H', ?, 'P', ?, ?)", _message(n)
            )
            person = f"LOCAL|{n % 1000:07d}"
            db.execute("UPDATE derived_blood_count SET nlr = nlr + 0.01 WHERE person = ?", [person])
            db.execute("UPDATE derived_link SET nlr = nlr + 0.01 WHERE person = ?", [person])


def _frames(first: int, last: int) -> Iterator[tuple[int, str]]:
    return ((n, _sha256(n)) for n in range(first, last + 1))


def _specimen(n: int) -> str:
    return json.dumps({"kind": "specimen", "specimen": f"S{n}", "taken_at": _time(n), "results": []})


def _sha256(n: int) -> str:
    return hashlib.sha256(str(n).encode()).hexdigest()


def _time(n: int) -> str:
    return f"2026-{n % 12 + 1:02d}-{n % 28 + 1:02d}T{n % 24:02d}:{n % 60:02d}:00.000000+00:00"


def _message(n: int) -> tuple[object, ...]:
    held = n % 2000 == 0
    reasons = json.dumps([{"code": "patient-number-missing", "values": {}, "words": "no patient number"}])
    return n, f"C{n}", _time(n), "held" if held else "used", reasons if held else "[]"


def _put_series(db: Database, n: int) -> None:
    person, uid = f"LOCAL|{n // SERIES_OF_A_PERSON:07d}", f"1.2.{n}"
    first = n % SERIES_OF_A_PERSON == 0
    db.execute(
        "INSERT INTO derived_series (series_instance_uid, public_id, study_instance_uid, patient_authority, "
        "patient_id, "
        "study_date, modality, description, scanner_stratum, instances, instances_sha256, role, chosen, reasons, "
        "protocol, last_received_at, missing_slices, completeness, completeness_reasons) "
        "VALUES (?, ?, ?, 'LOCAL', ?, '2026-01-05', 'MR', 'T1 SAG', 'S 1.5T', 15, 'x', ?, ?, '[]', '{}', ?, 0, "
        "'unverified', '[]')",
        [
            uid,
            f"{n:012x}",
            f"1.3.{n // SERIES_OF_A_PERSON}",
            person[6:],
            "t1_sagittal" if first else "other",
            int(first),
            _time(n),
        ],
    )
    if not first:
        return
    rois = json.dumps(
        {name: {"row": 1.0, "col": 2.0, "radius_px": 3.0, "mean": 100.0} for name in ("L1", "L2", "L3", "L4", "CSF")}
    )
    db.execute(
        "INSERT INTO derived_measurement (series_instance_uid, source, instances_sha256, sop_instance_uid, "
        "instance_number, status, reasons, vbq_mean, vbq_median, vbq_sd, rois, algorithm_name, algorithm_version) "
        "VALUES (?, 'auto', 'x', ?, 8, 'measured', '[]', ?, 2.5, 0.07, ?, 'vbq-auto', '5')",
        [uid, f"{uid}.8", 2.0 + n % 100 / 50, rois],
    )
    db.execute("INSERT INTO derived_identifier VALUES ('LOCAL', ?, ?)", [person[6:], person])
    db.execute("INSERT INTO derived_person (person, pseudonym) VALUES (?, ?)", [person, f"P{n}"])
    db.execute(
        "INSERT INTO derived_blood_count (person, specimen, taken_at, date_only, status, basis, nlr, plr, notes) "
        "VALUES (?, ?, ?, 0, 'final', 'absolute', 2.5, 150, '[]')",
        [person, f"S{n}", _time(n)],
    )
    db.execute(
        "INSERT INTO derived_sender_count (person, specimen, sender, ratios, confirmed) VALUES (?, ?, 'LAB|H', 1, 0)",
        [person, f"S{n}"],
    )
    db.execute(
        "INSERT INTO derived_operation (person, booking, planned_at, date_only, cancelled) VALUES (?, ?, ?, 0, 0)",
        [person, f"A{n}/", _time(n)],
    )
    db.execute(
        "INSERT INTO derived_link (episode, site, person, booking, status, reasons, surgery_date, "
        "series_instance_uid, specimen, vbq, nlr, plr, eligible, exclusion_reasons) "
        "VALUES (?, 'site', ?, ?, 'linked', '[]', '2026-03-03', ?, ?, 2.5, 2.5, 150, 1, '[]')",
        [f"E{n}", person, f"A{n}/", uid, f"S{n}"],
    )


def build_anew(db: Database, folder: Path) -> Path:
    """The snapshot as it was made before it was renewed by changes: every view copied to a new file, then renamed."""
    temporary, final = folder / ".anew.db.new", folder / "anew.db"
    temporary.unlink(missing_ok=True)
    db.conn.execute("ATTACH DATABASE ? AS anew", [str(temporary)])
    try:
        db.conn.execute("PRAGMA anew.journal_mode = OFF")
        db.conn.execute("BEGIN")
        for view in db.view_names():
            db.conn.execute(f"CREATE TABLE anew.{view} AS SELECT * FROM main.{view} LIMIT 0")
            db.conn.execute(f"INSERT INTO anew.{view} SELECT * FROM main.{view}")
        db.conn.execute("COMMIT")
    finally:
        db.conn.execute("DETACH DATABASE anew")
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(final)
    return final


def compared(db: Database, folder: Path, anew: Path) -> int:
    """Rows of the snapshot, each equal to that of the other build.

    Raises
    ------
    AssertionError
        A table is not.
    """
    total = 0
    with closing(sqlite3.connect(f"file:{snapshot_path(folder)}?mode=ro", uri=True)) as read:
        read.execute("ATTACH DATABASE ? AS anew", [f"file:{anew}?mode=ro"])
        for view in db.view_names():
            columns = ", ".join(column.name for column in db[view].columns)
            one, other = (f"SELECT {columns} FROM {schema}.{view}" for schema in ("main", "anew"))
            (n,) = read.execute(f"SELECT count(*) FROM main.{view}").fetchone()
            assert (n,) == read.execute(f"SELECT count(*) FROM anew.{view}").fetchone(), view
            assert read.execute(f"SELECT count(*) FROM ({one} EXCEPT {other})").fetchone() == (0,), view
            total += n
    return total


def by_older(code: Path, folder: Path, rounds: int) -> tuple[list[Seconds], int]:
    """Times of each snapshot that the code of another commit makes, and its rows, which are those of today's.

    Compared are the columns that both have, but sentences, which are worded otherwise by now.

    Raises
    ------
    AssertionError
        A table is not.
    """
    data = folder / "older"
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("snapshot_older.py")), folder / "node.db", data, str(rounds)],
        check=True, cwd=code, env={**os.environ, "PYTHONPATH": str(code)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    total = 0
    with closing(sqlite3.connect(f"file:{snapshot_path(folder)}?mode=ro", uri=True)) as read:
        read.execute("ATTACH DATABASE ? AS older", [f"file:{snapshot_path(data)}?mode=ro"])
        for (table,) in read.execute("SELECT name FROM older.sqlite_master WHERE type = 'table'").fetchall():
            today, older = (
                {row[1] for row in read.execute(f"PRAGMA {schema}.table_info({table})")} for schema in ("main", "older")
            )
            columns = ", ".join(sorted((today & older) - SENTENCES))
            one, other = (f"SELECT {columns} FROM {schema}.{table}" for schema in ("main", "older"))
            (n,) = read.execute(f"SELECT count(*) FROM older.{table}").fetchone()
            assert (n,) == read.execute(f"SELECT count(*) FROM main.{table}").fetchone(), table
            assert read.execute(f"SELECT count(*) FROM ({one} EXCEPT {other})").fetchone() == (0,), (table, columns)
            total += n
    return [(wall, busy) for wall, busy in json.loads(ran.stdout)], total


def main() -> None:
    """Fill, renew a few times, build anew as often, compare, print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--messages", type=int, default=20_000)
    options.add_argument("--series", type=int, default=2_500)
    options.add_argument("--changed", type=int, default=100)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--older", type=Path, help="a checkout of the commit whose own snapshot is timed, too")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        db = open_database(folder, create=True)
        fill(db, messages=given.messages, series=given.series)
        made = {"whole": [_seconds(lambda: publish(db, folder))], "renewed": [], "anew": []}
        for number in range(given.rounds):
            add_messages(db, given.messages + 1 + number * given.changed, given.changed)
            made["renewed"].append(_seconds(lambda: publish(db, folder)))
            made["anew"].append(_seconds(lambda: build_anew(db, folder)))
        rows = {"rows": compared(db, folder, folder / "anew.db")}
        if given.older:
            made["by the older commit"], rows["rows of the older commit"] = by_older(
                given.older.resolve(), folder, given.rounds
            )
        db.close()
    best = {what: tuple(min(one) for one in zip(*times, strict=True)) for what, times in made.items()}
    shown = {
        what: {
            "s": round(wall, 3), "s of the processor": round(busy, 3),
            "times as long": round(wall / best["renewed"][0], 1),
            "times as much of the processor": round(busy / best["renewed"][1], 1),
        }
        for what, (wall, busy) in best.items()
    }  # fmt: skip
    print(json.dumps({**rows, **shown}, indent=1))  # its purpose


def _seconds(what: Callable[[], object]) -> Seconds:
    began, busy = perf_counter(), process_time()
    what()
    return perf_counter() - began, process_time() - busy


if __name__ == "__main__":
    main()
