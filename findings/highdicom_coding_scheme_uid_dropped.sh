#!/usr/bin/env bash
# highdicom 0.28.2: CodingSchemeIdentificationItem takes the UID of a coding scheme and, without a registry, silently leaves
# it out. Guess before running: Coding Scheme UID (0008,010C) is written; a private scheme has a UID and no registry, and
# PS3.3 (C.12.1) asks for the UID of every scheme that has one. Seen on 2026-11-30, Python 3.11: "without a registry:
# None", "with one: 2.25.1".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check highdicom==0.28.2
cat > "$folder/try.py" <<'PYTHON'
from highdicom.coding_schemes import CodingSchemeIdentificationItem

private = CodingSchemeIdentificationItem(designator="99PRIVATE", name="private codes", uid="2.25.1")
registered = CodingSchemeIdentificationItem(designator="99PRIVATE", uid="2.25.1", registry="HL7")
seen = {
    "without a registry": private.get("CodingSchemeUID"),
    "with one": registered.get("CodingSchemeUID"),
}
for name, uid in seen.items():
    print(f"{name}: {uid}")
raise SystemExit(0 if seen == {"without a registry": None, "with one": "2.25.1"} else "the behaviour has changed")
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
