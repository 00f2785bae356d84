"""The bundle installs without a network, and not at all when something of it was altered."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.readme import ROOT

WHEEL = "vbq_node-1-py3-none-any.whl"
FILES = {
    "node_stub.py": "def main():\n    print('vbq-node 1')\n",
    "vbq_node-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: vbq-node\nVersion: 1\n",
    "vbq_node-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "vbq_node-1.dist-info/entry_points.txt": "[console_scripts]\nvbq-node = node_stub:main\n",
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle as `make bundle` lays it out, of a wheel that only says its version."""
    place = tmp_path / "bundle"
    for name in ("wheels", "conf", "systemd"):
        (place / name).mkdir(parents=True)
    with zipfile.ZipFile(place / "wheels" / WHEEL, "w") as wheel:
        for name, text in FILES.items():
            wheel.writestr(name, text)
        record = "".join(f"{name},,\n" for name in [*FILES, "vbq_node-1.dist-info/RECORD"])
        wheel.writestr("vbq_node-1.dist-info/RECORD", record)
    (place / "requirements.lock").write_text("")
    (place / "systemd" / "README.md").write_text("next")
    shutil.copy(ROOT / "systemd" / "install.sh", place)
    subprocess.run("sha256sum $(find . -type f ! -name SHA256SUMS) > SHA256SUMS", shell=True, cwd=place, check=True)
    return place


def install(bundle: Path, to: Path) -> subprocess.CompletedProcess[str]:
    command = [str(bundle / "install.sh"), str(to)]
    if subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode == 0:
        command = ["unshare", "-n", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_installs_without_a_network_and_again_over_itself(bundle: Path, tmp_path: Path) -> None:
    for _ in range(2):
        done = install(bundle, tmp_path / "opt")
        assert done.returncode == 0, done.stderr
    assert "vbq-node 1\ninstalled to" in done.stdout
    assert (tmp_path / "opt" / "systemd" / "README.md").is_file()
    assert str(tmp_path / "opt" / ".venv" / "bin") in (tmp_path / "opt" / ".venv" / "bin" / "vbq-node").read_text()
    assert not (tmp_path / "opt" / ".venv.new").exists()


def test_an_altered_file_stops_it_before_anything_is_made(bundle: Path, tmp_path: Path) -> None:
    with (bundle / "wheels" / WHEEL).open("ab") as wheel:
        wheel.write(b"x")
    done = install(bundle, tmp_path / "opt")
    assert done.returncode == 1
    assert "is not as it was made; nothing was installed" in done.stderr
    assert not (tmp_path / "opt").exists()
