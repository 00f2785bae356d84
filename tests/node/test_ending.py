"""A program that is asked to end, at whatever its main thread is."""

import signal
import subprocess
import sys

import pytest

WAITS_S = 20.0

IN_THE_MIDST = """
import os, signal, sys, threading
from node.ending import set_when_asked_to_end
stop = threading.Event()
with set_when_asked_to_end(stop):
    # Where Event.wait is for a moment, each time that it is called.
    with stop._cond:
        os.kill(os.getpid(), int(sys.argv[1]))
    assert stop.wait(10)
"""

BESIDES_ITS_WORK = """
import os, signal, sys, threading
from node.ending import set_when_asked_to_end
stop = threading.Event()
signal.signal(signal.SIGUSR1, lambda *_: None)
with set_when_asked_to_end(stop):
    os.kill(os.getpid(), signal.SIGUSR1)
    assert not stop.wait(0.2)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.wait(10)
assert threading.active_count() == 1
os.kill(os.getpid(), signal.SIGTERM)
signal.pause()
"""


@pytest.mark.parametrize("number", [2, 15], ids=["INT", "TERM"])
def test_a_signal_while_the_event_is_locked_ends_the_wait(number: int) -> None:
    subprocess.run([sys.executable, "-c", IN_THE_MIDST, str(number)], check=True, timeout=WAITS_S)


def test_other_signals_say_nothing_and_afterwards_all_is_as_it_was() -> None:
    done = subprocess.run([sys.executable, "-c", BESIDES_ITS_WORK], check=False, timeout=WAITS_S)
    assert done.returncode == -signal.SIGTERM
