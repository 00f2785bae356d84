"""Work done by a process of its own, which ends with it: what it and its libraries have taken of memory is given back.

The process is ``python -m MODULE``; the first line of its standard input says what to do, the second has the settings.
At the end of its input whoever started it is gone, and it ends in the midst of its work.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

from analytics.reasons import use_language
from node.errors import NodeError
from node.logs import configure_logging, withhold_values
from node.settings import Settings

LOOK_S = 0.2
"""How often it is asked whether to stop."""


def command(module: str) -> list[str]:
    """How a module is run by a process of its own."""
    return [sys.executable, "-m", module]


def do_apart(
    started: Sequence[str], what: str, *said: str, settings: Settings, stop: threading.Event | None = None
) -> None:
    """Have some work done, and wait for it; told to stop, end it in its midst.

    Parameters
    ----------
    started
        As of :func:`command`.
    what
        The work, for people.
    said
        What the process is told, in the order in which :func:`begin` returns it.

    Raises
    ------
    NodeError
        It has not come to its end.
    """
    with subprocess.Popen(started, stdin=subprocess.PIPE, text=True) as child:  # noqa: S603  # of this software
        assert child.stdin is not None
        child.stdin.write(f"{json.dumps(said)}\n{settings.model_dump_json()}\n")
        child.stdin.flush()
        code = _ended(child, stop)
    if code and not (stop is not None and stop.is_set()):
        raise NodeError(f"the process of {what} has ended with {code}; its error is in the log")


def _ended(child: "subprocess.Popen[str]", stop: threading.Event | None) -> int:
    while stop is not None and not stop.is_set():
        try:
            return child.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            continue
    if stop is not None and child.stdin is not None:
        child.stdin.close()
    return child.wait()


def begin() -> tuple[list[str], Settings]:
    """What a process is told, with which settings; its logging and language follow them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # The role hears these, too, and waits as long as it may.
        signal.signal(number, signal.SIG_IGN)
    said: list[str] = json.loads(sys.stdin.readline())
    settings = Settings.model_validate_json(sys.stdin.readline())
    use_language(settings.site.language)
    configure_logging(settings.logging)
    withhold_values()
    threading.Thread(target=_end_with_the_role, daemon=True).start()
    return said, settings


def _end_with_the_role() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)
