"""Files that are there whole or not at all."""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file beside its place and move it there: a kill leaves what was there before.

    A device or a pipe (/dev/stdout) is written to and never replaced.

    Parameters
    ----------
    durable
        Whether it must outlive a loss of power once this has returned: what the database takes for done, or cannot tell
        again. What is made again (a picture, a report) need not, nor what is written every few seconds.

    Raises
    ------
    OSError
        It cannot be written; the path is named as it was given.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path = path.resolve() if path.is_symlink() else path
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder outlive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def syncing(folder: Path) -> Iterator[Callable[[], None]]:
    """Write many files to the disk of a folder; what is yielded makes all of them outlive a loss of power.

    That raises an :class:`OSError` where one of them did not reach the disk, of which ``os.sync`` says nothing.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield lambda: _sync_disk_of(descriptor, folder)
    finally:
        os.close(descriptor)


def _sync_disk_of(descriptor: int, folder: Path) -> None:
    system = ctypes.CDLL(None, use_errno=True)
    if system.syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(folder))
