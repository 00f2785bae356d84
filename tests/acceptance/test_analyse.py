"""The analysis of a cohort table, as a user starts it, and the script that holds every number against R's."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "statistics_against_r.py"


def against_r(inputs: Path, expected: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), "--inputs", str(inputs), "--expected", str(expected)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_every_expected_number_is_met_and_a_wrong_one_is_found(shared_data: Path, tmp_path: Path) -> None:
    statistics = shared_data / "statistics"
    done = against_r(statistics / "inputs", statistics / "expected")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ols_cohort200.json: passed 1184 of 1184" in done.stdout
    (tmp_path / "expected").mkdir()
    shutil.copy(statistics / "tolerances.json", tmp_path)
    numbers = json.loads((statistics / "expected/table1_cohort200.json").read_text())
    numbers["continuous"]["age"]["t"]["t"] *= 1 + 1e-6
    (tmp_path / "expected/table1_cohort200.json").write_text(json.dumps(numbers))
    spoilt = against_r(statistics / "inputs", tmp_path / "expected")
    assert spoilt.returncode == 1
    assert "passed 242 of 243" in spoilt.stdout
    assert "/continuous/age/t/t: expected" in spoilt.stdout
