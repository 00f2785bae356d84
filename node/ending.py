"""Signals that ask a program to end: heard by a thread, so that whatever the main thread is in, it is told."""

import os
import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import FrameType

ASKED_TO_END = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def set_when_asked_to_end(stop: threading.Event, signals: Collection[int] = ASKED_TO_END) -> Iterator[None]:
    """A context, of the main thread, in which these signals set the event.

    No handler sets it by itself: a handler runs in the main thread between any two of its instructions, also while
    that holds the lock of the event, in :meth:`threading.Event.wait` for one, and would then wait for it for ever.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)  # as signal.set_wakeup_fd demands; nobody waits for a full pipe
    listener = threading.Thread(target=_listen, args=[heard, stop, signals], name="signals", daemon=True)
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    # Without a handler of Python's own the number of a signal is not written.
    handlers = {number: signal.signal(number, _nothing_more) for number in signals}
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(told)
        listener.join()
        os.close(heard)


def _nothing_more(number: int, frame: FrameType | None) -> None:
    """What is to be done is done by the thread."""


def _listen(heard: int, stop: threading.Event, signals: Collection[int]) -> None:
    """Until the other end of the pipe is closed."""
    while number := os.read(heard, 1):
        if number[0] in signals:
            stop.set()
