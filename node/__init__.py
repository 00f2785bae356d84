"""The shell around :mod:`analytics`: sockets, files, SQL, clock and mail of the VBQ node."""

import os

__version__ = "0.1.0"

# Before numpy is loaded: several threads of BLAS wait for each other where the receivers want the processors too (CPU
# time five to twenty-five times as high was measured), and the last digit of a sum depends on their number.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
