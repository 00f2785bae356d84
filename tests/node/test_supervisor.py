"""The supervisor where the machine has nothing left to start a role with: it goes on, and tries again."""

import errno
import subprocess
import sys
import threading
from typing import Any

import pytest

from node.run import supervisor
from node.run.supervisor import _Child, _restart_in_time


@pytest.fixture
def dead() -> _Child:
    """A role that has ended and is to be started again now."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return _Child(name="hl7", process=process, restart_at=0.0)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that were started in the place of a role."""
    found: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def start(_command: list[str], **how: Any) -> subprocess.Popen[bytes]:
        how.pop("pass_fds")
        found.append(real([sys.executable, "-c", "input()"], **how))
        return found[-1]

    monkeypatch.setattr(supervisor.subprocess, "Popen", start)
    return found


def end(child: _Child) -> None:
    child.process.kill()
    assert child.heard.wait(10)
    with child.process:
        pass


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EMFILE, errno.ENOMEM])
def test_a_role_for_which_there_is_no_process_is_tried_again(
    dead: _Child, started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, "nothing left")

    with monkeypatch.context() as patched:
        patched.setattr(supervisor.subprocess, "Popen", fail)
        pauses = []
        for _ in range(8):
            _restart_in_time(dead, None, 0)
            assert dead.restart_at is not None
            pauses.append(round(dead.restart_at - supervisor.monotonic()))
            dead.restart_at = 0.0
        assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    _restart_in_time(dead, None, 0)
    assert dead.restart_at is None
    assert started == [dead.process]
    end(dead)


def test_a_role_for_which_there_is_no_thread_does_not_run_unheard(
    dead: _Child, started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        _restart_in_time(dead, None, 0)
    assert dead.restart_at is not None
    assert [process.poll() for process in started] == [-9]
    dead.restart_at = 0.0
    _restart_in_time(dead, None, 0)
    assert dead.restart_at is None
    assert dead.process.poll() is None
    end(dead)
