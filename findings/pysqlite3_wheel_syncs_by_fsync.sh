#!/usr/bin/env bash
# pysqlite3 0.6.1 (SQLite 3.53.4 in its wheel for Linux): every commit to a write-ahead log calls fsync; the library never
# calls fdatasync, which distributions build SQLite with (HAVE_FDATASYNC). Guess before running: a wheel for Linux syncs by
# fdatasync as well. On ext4 a commit then waits for the journal of the file system though the log does not grow: 200
# small commits took 169 microseconds a sync by the wheel and 30 by Debian's SQLite 3.40.1, in the same folder.
# Seen on 2026-11-30, Python 3.11: "wheel: SQLite 3.53.4, imports fsync, not fdatasync" and, where strace is installed,
# "200 commits: fsync 209, fdatasync 0".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: pysqlite3==0.6.1
cat > "$folder/commits.py" <<'PYTHON'
import sys

from pysqlite3 import dbapi2

connection = dbapi2.connect(sys.argv[1])
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA synchronous = FULL")
connection.execute("CREATE TABLE one (value INTEGER)")
for number in range(200):
    with connection:
        connection.execute("INSERT INTO one VALUES (?)", [number])
PYTHON
cat > "$folder/look.py" <<'PYTHON'
from pathlib import Path

from pysqlite3 import _sqlite3, dbapi2

library = Path(_sqlite3.__file__).read_bytes()
imports = {name: b"\0" + name.encode() + b"\0" in library for name in ("fsync", "fdatasync")}
print(f"wheel: SQLite {dbapi2.sqlite_version}, imports " + ", ".join(n if i else f"not {n}" for n, i in imports.items()))
raise SystemExit(0 if imports == {"fsync": True, "fdatasync": False} else "the behaviour has changed")
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
if command -v strace > /dev/null; then
    strace -f -o "$folder/calls" -e trace=fsync,fdatasync "$folder/venv/bin/python" "$folder/commits.py" "$folder/one.db"
    count() { grep -c " $1(" "$folder/calls" || true; }
    echo "200 commits: fsync $(count fsync), fdatasync $(count fdatasync)"
    [[ $(count fsync) -ge 200 && $(count fdatasync) -eq 0 ]] || { echo "the behaviour has changed" >&2; exit 1; }
fi
