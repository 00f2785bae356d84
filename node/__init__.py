"""The shell around :mod:`analytics`: sockets, files, SQL, clock and mail of the VBQ node."""

import os
import sys

__version__ = "0.1.0"

# Before numpy is loaded: several threads of BLAS wait for each other where the receivers want the processors too (CPU
# time five to twenty-five times as high was measured), and the last digit of a sum depends on their number.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

if "sqlite_utils" not in sys.modules and "pandas" not in sys.modules:
    # sqlite_utils 3 imports pandas where it finds it, to make tables of data frames, which nothing here asks of it: a
    # second and 55 MB of every process, of which few need pandas themselves.
    sys.modules["pandas"] = None  # type: ignore[assignment]  # typeshed has modules only; None is an ImportError
    import sqlite_utils as _sqlite_utils

    del sys.modules["pandas"], _sqlite_utils
