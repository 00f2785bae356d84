"""How long the code of another commit takes to make its own snapshot, of a database equal to one of today.

Run by ``tests.benchmarks.snapshot --older FOLDER`` in FOLDER, a checkout of that commit, so that what is imported is
its own; ``python snapshot_older.py NODE_DB DATA_FOLDER ROUNDS``. Prints the seconds of each round, and those of the
processor.
"""

import json
import sys
from pathlib import Path
from time import perf_counter, process_time

from node.store.database import open_database
from node.store.snapshot import publish

OTHERWISE = {("derived_message", "reason"): "reasons ->> '$[0].words'"}
"""Columns that are another one today."""


def main(newer: str, folder: Path, rounds: int) -> None:
    """Copy what both schemas have, then make the snapshot a few times."""
    db = open_database(folder, create=True)
    db.conn.execute("PRAGMA foreign_keys = OFF")
    db.conn.execute("ATTACH DATABASE ? AS newer", [f"file:{newer}?mode=ro"])
    theirs = {name for (name,) in db.execute("SELECT name FROM newer.sqlite_master WHERE type = 'table'").fetchall()}
    for table in db.table_names():
        if table.startswith(("fact_", "derived_", "record_")) and table in theirs:
            known = {row[1] for row in db.execute(f"PRAGMA newer.table_info({table})").fetchall()}
            own = [column.name for column in db[table].columns]
            both = {name: name if name in known else OTHERWISE.get((table, name)) for name in own}
            taken = {name: read for name, read in both.items() if read}
            db.execute(
                f"INSERT OR IGNORE INTO main.{table} ({', '.join(taken)}) "
                f"SELECT {', '.join(taken.values())} FROM newer.{table}"
            )
    db.conn.commit()
    db.conn.execute("DETACH DATABASE newer")
    seconds = []
    for _ in range(rounds):
        began, busy = perf_counter(), process_time()
        publish(db, folder)
        seconds.append((perf_counter() - began, process_time() - busy))
    print(json.dumps(seconds))  # its purpose


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
