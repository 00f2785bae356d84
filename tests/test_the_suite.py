"""What the other tests rest on: ports of one's own, and a CI that skips nothing in silence."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ports

REPOSITORY = Path(__file__).resolve().parents[1]
SKIPPED = """
import pytest

def test_without_data():
    pytest.skip("the folder shared/data is not beside this one")

@pytest.mark.skipif(True, reason="Orthanc is not installed")
def test_without_orthanc(): ...

def test_without_the_right_to_mount():
    pytest.skip("mounting is not permitted here")
"""


def other_process(*arguments: str | Path, **environment: str) -> str:
    """What a Python process beside this one prints."""
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
    )  # fmt: skip
    return done.stdout + done.stderr


def test_a_port_is_given_once_and_can_be_listened_at() -> None:
    given = ports.free_ports(20)
    assert len(set(given)) == 20
    for port in given:
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_a_port_belongs_to_one_process_until_that_ends() -> None:
    mine = ports.free_port()
    asked = f"from tests import ports; print(ports._reserve({mine}), ports.free_port())"
    granted, theirs = other_process("-c", asked).split()
    assert granted == "False"
    assert ports._reserve(int(theirs))


def test_a_port_somebody_listens_at_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(ports, "PORTS", range(port, port + 1))
        with pytest.raises(AssertionError, match="no free port"):
            ports.free_port()


BOTH_FAIL = "1 failed, 1 skipped, 1 error"
"""What is skipped by a mark is skipped before it is called: pytest says error."""


@pytest.mark.parametrize(
    ("ci", "outcome"), [("true", BOTH_FAIL), ("1", BOTH_FAIL), ("", "3 skipped"), ("false", "3 skipped")]
)
def test_in_ci_a_skipped_test_is_a_failed_one(tmp_path: Path, ci: str, outcome: str) -> None:
    file = tmp_path / "test_skipped.py"
    file.write_text(SKIPPED)
    said = other_process(
        "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", tmp_path, file, CI=ci
    )
    assert outcome in said
    assert ("in CI nothing is skipped: Skipped: Orthanc is not installed" in said) is (outcome == BOTH_FAIL)
