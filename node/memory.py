"""Memory that was freed goes back to the machine: the C library keeps it for next time, and roles are idle mostly."""

import ctypes


def give_back() -> None:
    """Give back what is free of all threads' heaps (malloc_trim(3)); nothing is done without the GNU C library."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
