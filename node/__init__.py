"""The shell around :mod:`analytics`: sockets, files, SQL, clock and mail of the VBQ node."""

__version__ = "0.1.0"
