"""Memory that was freed goes back to the machine: the C library keeps it for next time, and roles are idle mostly."""

import ctypes


def give_back() -> None:
    """Give back what is free of all threads' heaps (malloc_trim(3)); nothing is done without the GNU C library."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Freed:
    """Gives it back once, each time that work has ended."""

    def __init__(self) -> None:
        self._busy = False

    def after(self, *, work: bool) -> None:
        """Note whether there was work in this round."""
        if self._busy and not work:
            give_back()
        self._busy = work
