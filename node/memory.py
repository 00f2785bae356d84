"""Memory that was freed goes back to the machine: the C library keeps it for next time, and roles are idle mostly."""

import ctypes
import gc
import sys
from time import monotonic

IDLE_S = 60.0
"""After so long without work the networks are given up as well; to load them again takes a tenth of a second."""

GROWN_BY = 10_000
"""Objects that have come since the last search, instead of 700: few enough that no arrays in cycles pile up."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MMAP_BYTES = 32 << 20


def give_back() -> None:
    """Give back what is free of all threads' heaps (malloc_trim(3)); nothing is done without the GNU C library."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def keep_for_next_time() -> None:
    """Let the GNU C library keep what is freed, up to the limits that it comes to by itself (mallopt(3)).

    A process that Dask starts has one of them at 64 KiB, by its environment: the memory of each array goes back to the
    machine and is asked for anew, and measuring takes half as long again.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(M_MMAP_THRESHOLD, MMAP_BYTES)
        set_option(M_TRIM_THRESHOLD, 2 * MMAP_BYTES)


def collect_seldom() -> None:
    """Leave what is loaded by now out of the search for cycles, and search when there is more to look through.

    Interpreter and libraries stay as long as the process. Reading a large message makes some hundred thousand objects,
    none in a cycle: a fifth of its time went into looking at them and at everything else again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GROWN_BY)


def forget_networks() -> None:
    """Give up the networks and what they hold, where this process has used them."""
    # Not imported: it would load what is to be given up.
    networks = sys.modules.get("analytics.vbq.networks")
    if networks is not None and networks.forget():
        gc.collect()
        give_back()


class Freed:
    """Gives it back once, each time that work has ended."""

    def __init__(self) -> None:
        self._busy = False
        self._idle_since: float | None = None

    def after(self, *, work: bool) -> None:
        """Note whether there was work in this round."""
        if work:
            self._idle_since = None
        elif self._busy:
            give_back()
            self._idle_since = monotonic()
        elif self._idle_since is not None and monotonic() - self._idle_since > IDLE_S:
            forget_networks()
            self._idle_since = None
        self._busy = work
