"""Compressed pixels decoded in a child process, bounded in time and memory: a decoder can end or stall its process.

Decoders are C and C++ behind thin wrappers. What they do to their process (an abort, a segmentation fault, a loop
without end, all the memory there is) costs that process, never the role. The child is started when it is first needed
and serves one request after the other. A request in which it dies or that takes too long is put to a new one; at the
second time the pixels count as undecodable. Pixels that lie in a file of ordinary size as they are need no decoder and
are read in this process: the start of the child costs more than the measurement of a series.

A request is a line of JSON on the child's standard input. The answer is two lengths (:data:`HEAD`), JSON of the first
and bytes of the second; arrays are sent in the type that they are stored in. Nothing that the child sends is executed.
"""

import atexit
import hashlib
import json
import os
import select
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import structlog

from analytics.reasons import Reason, from_dict
from node.dicom.header import Slice
from node.dicom.part10 import read_identity
from node.errors import DecodingError, DicomReadError, StoreError

COMMAND = (sys.executable, "-m", "node.measure.decoding_child")
LIMIT_S = 10.0
"""Processor time for one object, with :data:`PER_MEGABYTE_S` for its size. JPEG 2000, the slowest, takes 0.1 s for
512 × 512 pixels, a third of a megabyte."""
PER_MEGABYTE_S = 1.0
WAITING = 6.0
"""Factor by which the time on the clock may exceed that, on a machine that has much else to do."""
START_S = 60.0
"""Time allowed for the start of the child, which loads NumPy and pydicom."""
MEMORY_BYTES = 4 * 1024**3
"""Address space of the child: the largest image that is decoded, twice as float64, beside the libraries."""
TRIES = 2
HEAD = struct.Struct(">QQ")
MAX_SAID_BYTES = 64 * 1024**2
MAX_OBJECT_BYTES = 2 * 1024**3
AS_THEY_ARE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"})
"""Implicit and Explicit VR Little Endian."""
MAX_HERE_BYTES = 32 * 1024**2
"""Largest file whose pixels are read in this process, where they are not compressed."""
CHUNK_BYTES = 1 << 20

log = structlog.get_logger()


class _Ended(Exception):  # noqa: N818  # it is what happened, not an error of the caller
    """The child has ended, or was ended, in the midst of a request; the text says how."""


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What the child answered: the line as read, and the bytes behind it."""

    said: dict[str, Any]
    content: bytearray


class Decoder:
    """One child that decodes; any thread may use it, one at a time.

    Parameters
    ----------
    command
        Starts the child; it is told the limit of its memory in bytes as the last argument.
    limit_s
        Processor time for one object, beside what its size adds.
    waiting
        By how much the time on the clock may exceed it.
    """

    def __init__(
        self,
        *,
        command: Sequence[str] = COMMAND,
        limit_s: float = LIMIT_S,
        waiting: float = WAITING,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._command = [*command, str(memory_bytes)]
        self._limit_s = limit_s
        self._waiting = waiting
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def read_slices(self, path: Path, frames: Sequence[int | None]) -> list[Slice]:
        """As :func:`node.dicom.reader.read_slices`.

        Raises
        ------
        DicomReadError, FileNotFoundError
            As there.
        DecodingError
            The pixels have ended the process that decodes them, or were not decoded in time, twice.
        """
        answer = self._ask({"do": "slices", "path": str(path), "frames": list(frames)})
        content, at, found = memoryview(answer.content), 0, []
        for rows, columns, kind, spacing in answer.said["slices"]:
            size = rows * columns * np.dtype(kind).itemsize
            stored = np.frombuffer(content[at : at + size], dtype=kind).reshape(rows, columns)
            found.append(Slice(signal=stored.astype(np.float64), spacing_mm=(float(spacing[0]), float(spacing[1]))))
            at += size
        return found

    def read_slice(self, path: Path, *, frame: int | None = None) -> Slice:
        """One slice of a stored image; as :meth:`read_slices`."""
        (found,) = self.read_slices(path, [frame])
        return found

    def stored_sha256(self, path: Path) -> str:
        """As :func:`node.dicom.reader.stored_sha256`; raises as :meth:`read_slices`."""
        return str(self._ask({"do": "sha256", "path": str(path)}).said["sha256"])

    def decompressed(self, path: Path) -> bytes:
        """A stored object as a Part 10 file with its pixels uncompressed (Explicit VR Little Endian).

        Raises
        ------
        DicomReadError, FileNotFoundError
            It cannot be decoded, or there is no such file.
        DecodingError
            As :meth:`read_slices`.
        """
        return bytes(self._ask({"do": "decompress", "path": str(path)}).content)

    def close(self) -> None:
        """End the child; the next request starts another."""
        with self._lock:
            self._end()

    def _ask(self, request: dict[str, object]) -> _Answer:
        path = Path(str(request["path"]))
        limit_s = self._limit_s + PER_MEGABYTE_S * _megabytes(path)
        with self._lock:
            for attempt in range(1, TRIES + 1):
                try:
                    answer = self._try({**request, "limit_s": limit_s}, self._waiting * limit_s)
                    break
                except _Ended as ended:
                    self._end()
                    log.warning("the decoder ended", how=str(ended), attempt=attempt, file=path.name)
                    how = str(ended)
            else:
                raise DecodingError(Reason("decoder-fails", {"how": how, "times": TRIES}))
        if "error" in answer.said:
            raise _raised(answer.said)
        return answer

    def _try(self, request: dict[str, object], seconds: float) -> _Answer:
        child = self._running()
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
        except OSError:
            raise _Ended(_how(child)) from None
        return self._answer(child, seconds)

    def _answer(self, child: subprocess.Popen[bytes], seconds: float) -> _Answer:
        deadline = monotonic() + seconds
        length, size = HEAD.unpack(self._receive(child, deadline, HEAD.size))
        if length > MAX_SAID_BYTES or size > MAX_OBJECT_BYTES:
            raise _Ended("answered with too much")
        try:
            said = dict(json.loads(self._receive(child, deadline, length)))
        except ValueError:
            raise _Ended("answered with what is no answer") from None
        return _Answer(said=said, content=self._receive(child, deadline, size))

    def _running(self) -> subprocess.Popen[bytes]:
        """The child; a new one where there is none, where it ended while it had nothing to do, and after a fork."""
        if self._child is not None and (self._owner != os.getpid() or self._child.poll() is not None):
            if self._owner == os.getpid():
                self._end()
            self._child = None
        if self._child is None:
            try:
                self._child = subprocess.Popen(  # noqa: S603  # of this software
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
            except OSError as error:
                # No fault of the pixels: the machine has no process, descriptor or memory left.
                raise StoreError(f"the process that decodes pixels cannot be started: {error.strerror}") from error
            self._owner = os.getpid()
            self._answer(self._child, START_S)
        return self._child

    def _receive(self, child: subprocess.Popen[bytes], deadline: float, size: int) -> bytearray:
        assert child.stdout is not None
        source = child.stdout.fileno()
        found = bytearray()
        ready = select.poll()
        ready.register(source, select.POLLIN | select.POLLHUP)
        while len(found) < size:
            left = deadline - monotonic()
            if left <= 0 or not ready.poll(left * 1000):
                raise _Ended("was not done in time")
            piece = os.read(source, min(CHUNK_BYTES, size - len(found)))
            if not piece:
                raise _Ended(_how(child))
            found += piece
        return found

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None or self._owner != os.getpid():
            return
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()


def _megabytes(path: Path) -> float:
    try:
        return path.stat().st_size / 1e6
    except OSError:
        return 0.0


def _how(child: subprocess.Popen[bytes]) -> str:
    """How it ended, in words."""
    try:
        code = child.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return "hung up"
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _raised(said: dict[str, Any]) -> Exception:
    if said["error"] == "missing":
        return FileNotFoundError(2, "No such file or directory")
    return DicomReadError(from_dict(said["reason"]))


@cache
def decoder() -> Decoder:
    """The decoder of this process; its child ends with it."""
    one = Decoder()
    atexit.register(one.close)
    return one


def read_slices(path: Path, frames: Sequence[int | None]) -> list[Slice]:
    """As :meth:`Decoder.read_slices` of the decoder of this process, which is asked where pixels have to be decoded."""
    if not _as_they_are(path):
        return decoder().read_slices(path, frames)
    # Not before there are pixels to be read: the web pages do without this library.
    from node.dicom import reader

    with _unreadable_files():
        return reader.read_slices(path, frames)


def stored_sha256(path: Path) -> str:
    """As :meth:`Decoder.stored_sha256`, in this process where nothing has to be decoded."""
    if not _as_they_are(path):
        return decoder().stored_sha256(path)
    from node.dicom import reader

    with _unreadable_files():
        return reader.stored_sha256(path)


@contextmanager
def _unreadable_files() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DicomReadError(Reason("file-not-readable", {"why": error.strerror})) from error


def read_slice(path: Path, *, frame: int | None = None) -> Slice:
    """One slice of a stored image; as :func:`read_slices`."""
    (found,) = read_slices(path, [frame])
    return found


def _as_they_are(path: Path) -> bool:
    """Whether the pixels of a file need no decoder; what cannot be said is left to the child."""
    try:
        return path.stat().st_size <= MAX_HERE_BYTES and read_identity(path).transfer_syntax_uid in AS_THEY_ARE
    except (OSError, DicomReadError):
        return False


def pixels_sha256(signal: np.ndarray) -> str:
    """SHA-256 of the shape (rows, columns) and the values of an image, whatever the transfer syntax it came in."""
    values = np.ascontiguousarray(signal, dtype="<f8")
    return hashlib.sha256(str(values.shape).encode("ascii") + values.tobytes()).hexdigest()
