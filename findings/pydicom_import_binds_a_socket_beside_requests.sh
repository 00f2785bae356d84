#!/usr/bin/env bash
# pydicom 3.0.2 beside requests 2.34.2 and urllib3 2.8.0: `import pydicom` binds a socket of IPv6 loopback,
# although nothing is fetched and pydicom does not depend on requests. pydicom.data.download imports requests where it is
# installed, and urllib3 looks for IPv6 by binding ::1 when it is imported. A program that says that it opens no connection
# keeps that only while nobody installs requests into its environment; it starts later, too.
# Guess before running: no socket in either environment. Seen on 2026-11-30, Python 3.11: none without requests, one bound
# to ('::1', 0) with it (where the machine has IPv6).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/try.py" <<'PYTHON'
import sys

bound = []
sys.addaudithook(lambda event, args: bound.append(args[1]) if event == "socket.bind" else None)
import pydicom

print(f"pydicom {pydicom.__version__}, requests loaded: {'requests' in sys.modules}, bound: {bound}")
sys.exit(bool(bound) or "requests" in sys.modules)
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2
"$folder/venv/bin/python" "$folder/try.py" || { echo "the behaviour has changed: a socket without requests"; exit 1; }
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check requests==2.34.2 urllib3==2.8.0
if "$folder/venv/bin/python" "$folder/try.py"; then echo "the behaviour has changed: none beside requests"; exit 1; fi
