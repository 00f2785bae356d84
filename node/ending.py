"""Signals that ask a program to end: heard by a thread, so that whatever the main thread is in, it is told."""

import os
import signal
import threading
from collections.abc import Collection
from types import FrameType

ASKED_TO_END = (signal.SIGINT, signal.SIGTERM)


def set_when_asked_to_end(stop: threading.Event, signals: Collection[int] = ASKED_TO_END) -> None:
    """Have these signals set the event; called once, in the main thread.

    No handler sets it by itself: a handler runs in the main thread between any two of its instructions, also while
    that holds the lock of the event, in :meth:`threading.Event.wait` for one, and would then wait for it for ever.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)  # as signal.set_wakeup_fd demands; nobody waits for a full pipe
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    for number in signals:
        signal.signal(number, _nothing_more)
    threading.Thread(target=_listen, args=[heard, stop, signals], name="signals", daemon=True).start()


def _nothing_more(number: int, frame: FrameType | None) -> None:
    """Without a handler of Python's the number of the signal is not written."""


def _listen(heard: int, stop: threading.Event, signals: Collection[int]) -> None:
    while os.read(heard, 1)[0] not in signals:
        pass
    stop.set()
