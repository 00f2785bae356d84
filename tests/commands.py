"""The command line in the process of the tests: its libraries, a second or two of them, are loaded already.

What is about the process itself (a start, a signal, a kill, what a fresh interpreter loads) starts one of its own:
:func:`tests.acceptance.harness.vbq_node`.
"""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

import pytest

from node import cli


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """The exit code of a command, whose words go to where those of the test go."""
    monkeypatch.setattr(sys, "argv", ["vbq-node", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def command(*arguments: str | Path, check: bool = True) -> CompletedProcess[str]:
    """A command with its exit code and what it said, as a process of its own would have it."""
    words = ["vbq-node", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", words),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
    done = CompletedProcess(words, int(ended.value.code or 0), out.getvalue(), err.getvalue())
    if check and done.returncode != 0:
        raise AssertionError(f"vbq-node {arguments[0]} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done
