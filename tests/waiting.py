"""Waiting for what other threads and processes bring about."""

from collections.abc import Callable
from time import monotonic, sleep

WITHIN_S = 60.0
"""Long enough for a machine that does much else; whoever waits for what comes has it long before."""


def eventually(condition: Callable[[], object], within_s: float = WITHIN_S) -> bool:
    """Whether the condition holds at some time within so many seconds."""
    deadline = monotonic() + within_s
    while monotonic() < deadline:
        if condition():
            return True
        sleep(0.02)
    return False
