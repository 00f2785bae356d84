#!/usr/bin/env bash
# pydicom 3.0.2: a value in ISO 2022 IR 58 (simplified Chinese) is decoded, but its escape sequence (ESC $ ) A) stays in
# the text, without a warning. Guess before running: it is taken away, as it is for ISO 2022 IR 149 and IR 87. So the
# same patient number in two of these sets gives two texts, and a name read by pydicom meets none from another system.
# Seen on 2026-11-29, Python 3.11: "IR 58: 'A1\x1b$)A张三'", "IR 149: 'A1홍길동'", "IR 87: 'A1山田'".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2
cat > "$folder/try.py" <<'PYTHON'
import io
import struct

from pydicom import dcmread


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    return struct.pack("<HH", group, number) + vr + struct.pack("<H", len(value)) + value


def patient_id(sets: bytes, value: bytes) -> str:
    content = element(0x0008, 0x0005, b"CS", sets) + element(0x0010, 0x0020, b"LO", value)
    return str(dcmread(io.BytesIO(content), force=True).PatientID)


seen = {
    "IR 58": patient_id(b"\\ISO 2022 IR 58", b"A1\x1b$)A" + "张三".encode("gb2312")),
    "IR 149": patient_id(b"\\ISO 2022 IR 149", b"A1\x1b$)C" + "홍길동".encode("euc_kr")),
    "IR 87": patient_id(b"\\ISO 2022 IR 87", b"A1" + "山田".encode("iso2022_jp")),
}
for name, text in seen.items():
    print(f"{name}: {text!r}")
expected = {"IR 58": "A1\x1b$)A张三", "IR 149": "A1홍길동", "IR 87": "A1山田"}
raise SystemExit(0 if seen == expected else "the behaviour has changed")
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
