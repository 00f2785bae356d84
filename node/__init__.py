"""The shell around :mod:`analytics`: sockets, files, SQL, clock and mail of the VBQ node."""

import atexit
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

__version__ = "0.1.0"

# What is left at the end goes with the process: to look for cycles in it once more took a fifth of the processor time
# of a command, and a third of a second of one that draws.
atexit.register(gc.freeze)

# Before numpy is loaded: several threads of BLAS wait for each other where the receivers want the processors too (CPU
# time five to twenty-five times as high was measured), and the last digit of a sum depends on their number.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


OF_PIXELS = ("gdcm", "PIL")
"""What pydicom loads to decode pixels, 25 MB: for a process that decodes none, or has another one do it."""


@contextmanager
def hidden(*libraries: str) -> Iterator[None]:
    """Keep libraries from what is imported in the block and would load them only because they are installed.

    What is loaded already stays as it is. Afterwards each can be imported as ever, by those who need it.
    """
    mine = [name for name in libraries if name not in sys.modules]
    # None is an ImportError; typeshed has modules only.
    cast(dict[str, None], sys.modules).update(dict.fromkeys(mine))
    try:
        yield
    finally:
        for name in mine:
            del sys.modules[name]


# sqlite_utils would load pandas and numpy to make tables of their arrays, structlog rich for tracebacks with the values
# of variables: 1.5 s and 75 MB of every process, of which few need them. Nothing here asks for either.
with hidden("pandas", "numpy", "rich"):
    import sqlite_utils as _sqlite_utils
    import structlog as _structlog
del _sqlite_utils, _structlog
