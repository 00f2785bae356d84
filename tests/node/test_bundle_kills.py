"""An installation that is killed, wherever: the same command again ends it, and what ran before runs again."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.readme import ROOT

SERVICES = "vbq-node-dicom.service\nvbq-node-steps.service\nvbq-node.target\n"
KILL = """
set -o functrace
trap '((++step == ${KILL_AT:-0})) && { : >"$WORLD/killed"; kill -${SIGNAL:-KILL} $$; }' DEBUG
"""
"""Read by bash before the script (BASH_ENV): it ends before its nth command."""
PYTHON = """#!/bin/sh
case "$2" in
venv) mkdir -p "$3/bin"; cp "$0" "$3/bin/python";;
pip) for last; do :; done
    case "$last" in *.whl) d=${0%/*}; cp wheels/program "$d/vbq-node"; cp wheels/version "$d/version";; esac;;
esac
"""
PROGRAM = """#!/bin/sh
cd "${0%/*}"
read -r number < version || :
[ "$1" != upgrade ] || { [ -z "$FAULTS" ] || exit 1; cp version "$WORLD/database"; }
echo "vbq-node $number"
"""
SYSTEMCTL = """#!/bin/sh
verb=$1; shift
case "$verb" in
list-units) [ -n "$NOTHING" ] || sed 's/$/ loaded active running x/' "$WORLD/runs";;
--quiet) grep -qx "$2" "$WORLD/runs";;
stop) for one; do expressions="$expressions -e /^$one\\$/d"; done; sed -i $expressions "$WORLD/runs";;
start) for one; do echo "$one"; done >> "$WORLD/runs";;
esac
"""


class Machine:
    """A machine with services, a version that is installed, and a bundle of the next."""

    def __init__(self, place: Path) -> None:
        self.place, self.opt, self.bundle = place, place / "opt", place / "bundle"
        for name in ("bundle/wheels", "bundle/man", "bundle/conf", "bundle/systemd", "opt/.venv/bin", "bin"):
            (place / name).mkdir(parents=True)
        self._script("bin/systemctl", SYSTEMCTL)
        self._script("bin/runuser", '#!/bin/sh\nshift 3\nexec "$@"\n')
        self._script("python", PYTHON)
        for name, version in (("opt/.venv/bin", "1"), ("bundle/wheels", "2")):
            self._script(f"{name}/{'vbq-node' if version == '1' else 'program'}", PROGRAM)
            (place / name / "version").write_text(version)
        for name in ("bundle/wheels/vbq_node-2.whl", "bundle/man/vbq-node.1", "bundle/requirements.lock", "kill"):
            (place / name).write_text(KILL if name == "kill" else "")
        (place / "database").write_text("1")
        (place / "runs").write_text(SERVICES)
        shutil.copy(ROOT / "systemd" / "install.sh", self.bundle)
        subprocess.run("sha256sum $(find . -type f) > SHA256SUMS", shell=True, cwd=self.bundle, check=True)

    def _script(self, name: str, text: str) -> None:
        (self.place / name).write_text(text)
        (self.place / name).chmod(0o755)

    def install(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the installation; from a folder of its own, as people do."""
        named = {"PATH": f"{self.place / 'bin'}:{os.environ['PATH']}", "WORLD": str(self.place)}
        named |= {"PYTHON": str(self.place / "python"), "BASH_ENV": str(self.place / "kill")}
        return subprocess.run(
            ["./bundle/install.sh", *arguments], cwd=self.place, env=named | environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    @property
    def state(self) -> tuple[str, str, list[str]]:
        """Version of the software and of the database, and what runs."""
        software = (self.opt / ".venv" / "bin" / "version").read_text()
        return software, (self.place / "database").read_text(), sorted({*(self.place / "runs").read_text().split()})

    def is_tidy(self) -> bool:
        return {path.name for path in self.opt.iterdir()} <= {".venv", "conf", "systemd"}


BEFORE, AFTER = ("1", "1", sorted(SERVICES.split())), ("2", "2", sorted(SERVICES.split()))


def killed(place: Path, *arguments: str, every: int, **environment: str) -> Iterator[Machine]:
    """A machine for every nth command of the script before which it was killed."""
    for step in count(1, every):
        machine = Machine(place / str(step))
        machine.install(*arguments, KILL_AT=str(step), **environment)
        if not (machine.place / "killed").exists():
            assert step > 40
            return
        yield machine


def test_a_killed_upgrade_is_ended_by_the_same_command(tmp_path: Path) -> None:
    for machine in killed(tmp_path, "--upgrade", "opt", every=2):
        done = machine.install("--upgrade", "opt")
        assert (done.returncode, machine.state, machine.is_tidy()) == (0, AFTER, True), done.stderr


def test_after_a_kill_a_check_that_fails_leaves_a_pair_that_runs(tmp_path: Path) -> None:
    for machine in killed(tmp_path, "--upgrade", "opt", every=5):
        done = machine.install("--upgrade", "opt", FAULTS="1")
        software, database, runs = machine.state
        assert (done.returncode, runs, machine.is_tidy()) == (1, AFTER[2], True), done.stderr
        # Killed between the check of the database and the note of it: the next upgrade finds that out.
        assert software == database or "not upgraded" in done.stderr


@pytest.mark.parametrize("signal", ["TERM", "HUP", "INT"])
def test_an_upgrade_that_is_asked_to_end_leaves_a_node_that_runs(tmp_path: Path, signal: str) -> None:
    for machine in killed(tmp_path, "--upgrade", "opt", every=5, SIGNAL=signal):
        # Between the end of the database's upgrade and the note of it there is no way back.
        assert machine.state in (BEFORE, AFTER) or machine.state[:2] == ("1", "2")
        assert machine.state[2] == BEFORE[2]
        assert machine.install("--upgrade", "opt").returncode == 0
        assert machine.state == AFTER


def test_a_killed_first_installation_is_ended_by_the_same_command(tmp_path: Path) -> None:
    for machine in killed(tmp_path, "new", every=2, NOTHING="runs"):
        done = machine.install("new", NOTHING="runs")
        assert done.returncode == 0, done.stderr
        assert {path.name for path in (machine.place / "new").iterdir()} == {".venv", "conf", "systemd"}


def test_what_it_is_told_wrongly_changes_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    for arguments in (["--upgade"], ["opt", "--upgrade"], ["--help"], ["--upgrade", "opt", "other"]):
        done = machine.install(*arguments)
        assert done.returncode == 2, arguments
        assert "usage: install.sh [--upgrade] [FOLDER]" in done.stderr
    done = machine.install("opt")
    assert done.returncode == 1
    assert "services run from" in done.stderr
    assert (machine.state, machine.is_tidy()) == (BEFORE, True)
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "bundle", "database", "kill", "opt", "python", "runs"}


def test_nobody_else_can_change_what_was_installed_and_everybody_can_run_it(tmp_path: Path) -> None:
    for umask in (0o000, 0o077):
        before = os.umask(0o022)
        try:
            machine = Machine(tmp_path / str(umask))
            os.umask(umask)
            assert machine.install("--upgrade", "opt").returncode == 0
        finally:
            os.umask(before)
        made = [path for path in (machine.opt / ".venv").rglob("*") if path.name != "version"]
        assert made
        assert {oct(path.stat().st_mode & 0o077) for path in made} <= {"0o55", "0o44"}
