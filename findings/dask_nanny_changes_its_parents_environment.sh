#!/usr/bin/env bash
# distributed 2026.8.0, glibc: a LocalCluster (by its Nanny) puts MALLOC_TRIM_THRESHOLD_=65536 and three OMP-like variables
# into the environment of the process that makes it, for its workers, and leaves them there when it is closed: every
# program which that process starts later gives back freed memory at once, and asks for it anew, page by page. Guess before
# running: the environment is as before after close(). Who compares a pool of processes with a LocalCluster in one run slows
# the pool down as well and sees them equal. Seen on 2026-11-30, Python 3.11.7, Debian 12: touching 8 MB a hundred times in
# a new program takes some 4,700 page faults before, 196,000 after; a workload of arrays took 1.5 times as long.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check distributed==2026.8.0
cat > "$folder/try.py" <<'PYTHON'
import os
import subprocess
import sys

from distributed import LocalCluster

NAME = "MALLOC_TRIM_THRESHOLD_"
PROGRAM = """
import resource
for _ in range(100):
    bytearray(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def page_faults() -> int:
    return int(subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, text=True).stdout)


if __name__ == "__main__":
    os.environ.pop(NAME, None)
    before = page_faults()
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None):
        pass
    after = page_faults()
    print(f"{NAME} is {os.environ.get(NAME)} after the cluster was closed; page faults {before}, then {after}")
    raise SystemExit(0 if os.environ.get(NAME) == "65536" and after > 10 * before else "the behaviour has changed")
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
