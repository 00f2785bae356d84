"""The DICOM receiver: C-ECHO, C-STORE and Storage Commitment.

Success is answered only once the file, its directory entry and its row survive power loss. Whatever goes wrong while
storing is answered with a failure status, so that the sender keeps the image and tries again.
"""

import logging
import selectors
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Protocol

import structlog
from sqlite_utils.utils import sqlite3

from node.dicom.acceptor import Acceptor
from node.dicom.pool import Pool
from node.dicom.reconcile import finish_interrupted, reconciling
from node.dicom.recorder import Recorder
from node.dicom.refusals import Refusals
from node.dicom.slots import Limits
from node.errors import ListenError, StoreError
from node.settings import Dicom, Settings
from node.store.archive import Archive
from node.tls import server_context

WATCH_S = 0.2
"""How often the receiver looks whether it is to stop, and whether what it needs is alive."""
BACKLOG = 128
"""Connections that wait in the operating system to be taken."""

log = structlog.get_logger()


class _Serving(Protocol):
    """What takes the connections: threads of this process, or others."""

    def take(self, connection: socket.socket, address: str, *, secured: bool) -> None:
        """Serve a connection."""

    def turn_away(self, address: str) -> None:
        """Count that a connection from this address was closed at once."""

    def tend(self) -> None:
        """Look after what serves; called several times a second."""


class _InProcess:
    """Serves in threads of this process."""

    def __init__(self, acceptor: Acceptor, recorder: Recorder) -> None:
        self._acceptor = acceptor
        self._recorder = recorder

    def take(self, connection: socket.socket, address: str, *, secured: bool) -> None:
        self._acceptor.take(connection, address, secured=secured)

    def turn_away(self, address: str) -> None:
        self._acceptor.turn_away(address)

    def tend(self) -> None:
        self._recorder.require_alive()


def run_receiver(settings: Settings, stop: threading.Event, *, ready: Callable[[], None] | None = None) -> None:
    """Receive until told to stop.

    Parameters
    ----------
    settings
        ``dicom`` says where to listen and whom to hear, ``storage`` where the objects go.
    stop
        Set by another thread; running transfers then get a few seconds to end.
    ready
        Called once connections are taken.

    Raises
    ------
    ListenError
        The port cannot be opened, or the certificates cannot be used.
    StoreError
        The database or the archive cannot be used, or recording has ended for a reason nobody foresaw.
    """
    _silence_pydicom()
    archive = Archive(settings.storage.folder)
    with ExitStack() as open_now:
        listening = _bind_all(settings.dicom, open_now)
        open_now.enter_context(_prepared(archive, settings))
        serving: _Serving
        if settings.dicom.processes > 1:
            serving = open_now.enter_context(Pool(settings))
        else:
            serving = open_now.enter_context(_in_process(settings, archive))
        if ready:
            ready()
        _accept(listening, serving, settings.dicom, stop)


def _silence_pydicom() -> None:
    # It quotes what it finds wrong in a header when the archive is looked through.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")


@contextmanager
def _in_process(settings: Settings, archive: Archive) -> Iterator[_InProcess]:
    with Recorder(settings.storage.folder) as recorder, Refusals(recorder) as refusals:
        acceptor = Acceptor(settings, archive, recorder, refusals, partial(Limits, settings.dicom))
        try:
            yield _InProcess(acceptor, recorder)
        finally:
            acceptor.end()


def _accept(
    listening: list[tuple[socket.socket, bool]], serving: _Serving, settings: Dicom, stop: threading.Event
) -> None:
    with selectors.DefaultSelector() as selector:
        for one, secured in listening:
            selector.register(one, selectors.EVENT_READ, secured)
        while not stop.is_set():
            for key, _ in selector.select(WATCH_S):
                _take(key.fileobj, serving, settings, secured=key.data)
            serving.tend()


def _take(listening: object, serving: _Serving, settings: Dicom, *, secured: bool) -> None:
    if not isinstance(listening, socket.socket):
        raise TypeError("only sockets were registered")
    try:
        connection, address = listening.accept()
    except OSError as error:
        # The other side was gone again, or there are no descriptors left for the moment.
        log.warning("a connection could not be taken", error=str(error))
        return
    if not settings.allows(address[0]):
        # Before it takes a place or says a word.
        connection.close()
        serving.turn_away(address[0])
        return
    connection.setblocking(True)
    serving.take(connection, address[0], secured=secured)


def _bind_all(settings: Dicom, open_now: ExitStack) -> list[tuple[socket.socket, bool]]:
    """The plain port and, where it is set up, that of TLS (true); closed with ``open_now``."""
    places = [("dicom", settings.host, settings.port, False)]
    if settings.tls:
        server_context(settings.tls)
        places.append(("dicom.tls", settings.tls.host, settings.tls.port, True))
    return [
        (open_now.enter_context(_bind(name=name, host=host, port=port)), secured)
        for name, host, port, secured in places
    ]


def _bind(*, name: str, host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise ListenError(
            f"DICOM: cannot listen on {host}:{port}: {error.strerror or error}; "
            f"is another node or receiver running? {name}.host and {name}.port set the address"
        ) from error
    listening.setblocking(False)
    return listening


@contextmanager
def _prepared(archive: Archive, settings: Settings) -> Iterator[None]:
    """The archive, held alone, swept, and in agreement with its records."""
    folder = settings.storage.folder
    with ExitStack() as held:
        try:
            held.enter_context(archive.receiving())
            finish_interrupted(folder, archive)
            archive.prepare()
            held.enter_context(reconciling(folder, archive, run_began_ns=archive.begin_run()))
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"cannot use the archive in {folder}: {error}; check the folder, its owner and free space"
            ) from error
        yield
