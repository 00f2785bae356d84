"""The bundle installs without a network, and not at all when something of it was altered."""

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.readme import ROOT

WHEEL = "vbq_node-1-py3-none-any.whl"
FILES = {
    "node_stub.py": "import os, sys\ndef main():\n    print('vbq-node 1')\n"
    "    sys.exit(int(os.environ.get('FAULTS', 0)) if sys.argv[1] == 'upgrade' else 0)\n",
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
    (place / "man").mkdir()
    (place / "man" / "vbq-node.1").write_text(".TH")
    (place / "systemd" / "README.md").write_text("next")
    shutil.copy(ROOT / "systemd" / "install.sh", place)
    subprocess.run("sha256sum $(find . -type f ! -name SHA256SUMS) > SHA256SUMS", shell=True, cwd=place, check=True)
    return place


def install(bundle: Path, *to: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(bundle / "install.sh"), *to]
    if subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode == 0:
        command = ["unshare", "-n", *command]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "VBQ_NODE_USER": "root", **environment}
    )


def test_it_installs_without_a_network_and_an_upgrade_only_when_the_database_took_it(
    bundle: Path, tmp_path: Path
) -> None:
    opt = tmp_path / "opt"
    program = opt / ".venv" / "bin" / "vbq-node"
    done = install(bundle, str(opt))
    assert done.returncode == 0, done.stderr
    assert "vbq-node 1\ninstalled to" in done.stdout
    assert (opt / "systemd" / "README.md").is_file()
    assert str(program.parent) in program.read_text()
    assert (opt / ".venv" / "share" / "man" / "man1" / "vbq-node.1").is_file()
    # As a kill between two names leaves it: the version before is found again, and stays where a check fails.
    before = program.stat().st_ino
    (opt / ".venv").rename(opt / ".venv.old")
    done = install(bundle, "--upgrade", str(opt), FAULTS="1")
    assert (done.returncode, program.stat().st_ino) == (1, before)
    assert "not upgraded; the database and the software are as they were" in done.stderr
    done = install(bundle, "--upgrade", str(opt))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"upgraded {opt}"), done.stderr
    assert program.stat().st_ino != before
    assert {path.name for path in opt.iterdir()} == {".venv", "conf", "systemd"}


def test_an_altered_file_stops_it_before_anything_is_made(bundle: Path, tmp_path: Path) -> None:
    with (bundle / "wheels" / WHEEL).open("ab") as wheel:
        wheel.write(b"x")
    done = install(bundle, str(tmp_path / "opt"))
    assert done.returncode == 1
    assert "is not as it was made; nothing was installed" in done.stderr
    assert not (tmp_path / "opt").exists()
