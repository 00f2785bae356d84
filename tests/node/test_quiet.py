"""Nothing of what the node runs on calls anyone or leaves files behind: seen by strace, in a bare environment."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from node.demo.dicom_study import data_sets
from node.demo.hospital import open_hospital
from tests.node.dicom_samples import write_file

PROJECT = Path(__file__).resolve().parents[2]
STARTS = {
    "module": [sys.executable, "-m", "node", "measure"],
    "script": [str(Path(sys.executable).with_name("vbq-node")), "measure"],
}
OWN = (Path("/dev/null"), Path("/proc/self"))
"""The second is no file: the process that decodes says there that it may go first when memory runs out."""
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|^\d+ +(?:mkdir|rename|link|symlink|truncate|unlink)")
NAMES = re.compile(r'"((?:[^"\\]|\\.)*)"')


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The T1 series of a drawn patient of the demo."""
    folder = tmp_path_factory.mktemp("series")
    patient = open_hospital(1).patients[0]
    for number, image in enumerate(data_sets(patient.examination, patient.study())):
        if image.SeriesInstanceUID == patient.examination.t1_series_uid:
            write_file(folder / f"{number:03}", image)
    return folder


def traced(command: list[str], home: Path) -> tuple[str, list[str]]:
    """What the command wrote to standard output, and the calls it made to the network and to files.

    The environment is bare: a variable that a CI service sets turns the telemetry of some libraries off.
    """
    strace = shutil.which("strace")
    assert strace, "strace is needed: apt-get install strace"
    home.mkdir()
    log = home.with_suffix(".strace")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [strace, "-f", "-s", "4096", "-e", "trace=network,file", "-o", str(log), *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment,
        cwd=home,
    )
    assert done.returncode in {0, 3}, done.stderr
    return done.stdout, log.read_text(errors="replace").splitlines()


def connections(calls: list[str]) -> list[str]:
    """Calls that make or use a socket of the internet, or ask a daemon of this machine to resolve a name."""
    return [call for call in calls if re.search(r"\bAF_INET|\bhtons\(|nscd/socket|/etc/(?:resolv\.conf|hosts)", call)]


def written(calls: list[str], *allowed: Path) -> list[str]:
    """Calls that succeeded in making, changing or removing a file that is not below an allowed folder."""
    wrong = []
    for call in calls:
        if not WRITING.search(call) or re.search(r"= -1 E", call):
            continue
        names = [name for name in NAMES.findall(call) if name]
        if not names or not all(any(Path(name).is_relative_to(one) for one in allowed) for name in names):
            wrong.append(call)
    return wrong


@pytest.mark.parametrize("start", list(STARTS))
def test_measuring_resolves_no_host_and_writes_nothing(start: str, series: Path, tmp_path: Path) -> None:
    output, calls = traced([*STARTS[start], str(series), "--json"], tmp_path / "home")
    # The networks ran: there are circles.
    assert list(json.loads(output)["rois"]) == ["L1", "L2", "L3", "L4", "CSF"]
    assert connections(calls) == []
    assert written(calls, *OWN) == []


def test_pictures_are_written_only_where_they_were_asked_for(series: Path, tmp_path: Path) -> None:
    pictures, home = tmp_path / "pictures", tmp_path / "home"
    _, calls = traced([*STARTS["module"], str(series), "--json", "--overlay", str(pictures)], home)
    assert connections(calls) == []
    # matplotlib keeps a list of this machine's fonts in the user's cache, and makes an empty folder of settings.
    of_fonts = {home / place for place in (".cache", ".config")}
    assert written(calls, pictures, *of_fonts, *OWN) == []
    assert [path.name.split("-")[0] for path in home.rglob("*") if path.is_file()] == ["fontlist"]


def test_the_networks_alone_call_nobody(tmp_path: Path) -> None:
    code = "import numpy, analytics.vbq.networks as n; n.segment(numpy.zeros((64, 64), numpy.float32))"
    _, calls = traced([sys.executable, "-c", code], tmp_path / "home")
    assert connections(calls) == []
    assert written(calls, *OWN) == []


def test_only_one_module_loads_the_library_that_has_telemetry() -> None:
    importers = [
        str(path.relative_to(PROJECT))
        for package in ("node", "analytics")
        for path in sorted((PROJECT / package).rglob("*.py"))
        if re.search(r"^\s*(?:import|from) onnxruntime", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert importers == ["analytics/vbq/networks.py"]
