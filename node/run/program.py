"""What every program of the node does first and last: settings, logging, file modes; an error as a line and a code."""

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

from sqlite_utils.utils import sqlite3

from analytics.reasons import use_language
from node.errors import NodeError, StoreError
from node.logs import configure_logging, without_values
from node.settings import Logging, Settings, load_settings
from node.store.private import UMASK

UP = "vbq-node is up"
"""What `vbq-node run` says first on standard output, once every role is ready."""


def read_settings(config: Path | None) -> Settings:
    """The settings a program works with; logging and the language of this process follow them."""
    settings = load_settings(config)
    use_language(settings.site.language)
    configure_logging(settings.logging)
    return settings


def run_program(work: Callable[[], object]) -> None:
    """Do the work; an error a person can act on is one line on standard error and an exit code."""
    _prepare_standard_streams()
    # A program that reads no settings logs by the defaults; none prints the values of a patient.
    configure_logging(Logging())
    os.umask(os.umask(UMASK) | UMASK)
    try:
        work()
    except NodeError as error:
        _fail(str(error), error.exit_code)
    except sqlite3.OperationalError as error:
        # Locked for longer than the time-out, full disk, folder gone: not a fault of this software.
        _fail(f"the database cannot be used now: {error}; `vbq-node doctor` checks it", StoreError.exit_code)
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:
            # Of its kinds that of SQL which is wrong: a fault of this software.
            raise
        _fail(f"the database is damaged: {error}; `vbq-node doctor` says where and what to do", StoreError.exit_code)
    except OSError as error:
        _fail(f"{error.filename or _place(error)}: {error.strerror or error}", StoreError.exit_code)
    except Exception as error:  # noqa: BLE001  # the end of the program; Python's own report quotes values
        _fail(f"a fault of this software; please report it\n{without_values(error)}", NodeError.exit_code)


def _prepare_standard_streams() -> None:
    """Have streams that can be written to: /dev/null for a closed one, whose number the next file would get."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, "w" if number else "r", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # What a terminal has no sign for is no reason to say nothing.
            stream.reconfigure(errors="backslashreplace")


def _place(error: OSError) -> str:
    """Where something failed that names no file: what is printed goes to a disk, too."""
    of_disks = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
    return "the data folder, or where the output goes" if error.errno in of_disks else "the system"


def _fail(message: str, exit_code: int) -> None:
    with suppress(OSError):
        sys.stderr.write(f"vbq-node: {message}\n")
    sys.exit(exit_code)
