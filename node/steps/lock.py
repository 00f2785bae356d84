"""The lock of the one process that derives: the steps role, a rebuild, or a command in their place."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_NAME = "steps.lock"


@contextmanager
def deriving(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the lock of the one process that derives or publishes; yields whether it could be had.

    Parameters
    ----------
    wait
        Until it can be had, however long that takes.
    """
    with (folder / LOCK_NAME).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
