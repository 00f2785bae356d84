"""The DICOM receiver: C-ECHO and C-STORE.

Success is answered only once the file, its directory entry and its row survive power loss. The data set is taken as
the bytes that came: never parsed, never decoded. Whatever goes wrong while storing is answered with a failure status,
so that the sender keeps the image and tries again.
"""

import errno
import logging
import re
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from socketserver import BaseServer
from time import monotonic
from typing import Any, cast

import structlog
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.transport import ThreadedAssociationServer
from sqlite_utils.utils import sqlite3

from node.archive import Archive
from node.clock import now
from node.dicom.contexts import accepted_contexts
from node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, file_header
from node.dicom.reconcile import reconcile
from node.dicom.recorder import Receipt, Recorder
from node.dicom.tls import server_context
from node.errors import ListenError, StoreError
from node.settings import Dicom, Settings

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
"""The disk is full: the sender may try again later (PS3.4, table B.2-1)."""
CANNOT_UNDERSTAND = 0xC000
"""A request without an object, or that names it by something that is no UID."""
UID = re.compile(r"[0-9.]{1,64}")
"""What a UID is made of; leading zeros and the like occur and do no harm."""
PROCESSING_FAILURE = 0x0110
"""Anything else that kept the object from being stored (PS3.7, annex C)."""

BYTES_PER_MB = 1_000_000
MAX_PDU_BYTES = 131_072
REQUEST_TIMEOUT_S = 10.0
"""A connection that has not said a word by then is closed, and so is one that then does not ask for an association."""
HANDSHAKE_TIMEOUT_S = 10.0
"""For the whole TLS handshake."""
IDLE_TIMEOUT_S = 60.0
"""An association on which nothing came for so long is aborted."""
WATCH_S = 1.0
"""How often the receiver looks whether its recorder is alive."""
CLOSING_S = 2.0
"""How long associations may go on when the receiver is told to stop, before they are aborted."""

REJECTED_PERMANENT, BY_SERVICE_USER, CALLING_AE_NOT_RECOGNISED = 0x01, 0x01, 0x03
"""The answer to an address or AE title that is not allowed (PS3.8, table 9-21)."""
CALLED_AE_NOT_RECOGNISED = 0x07

log = structlog.get_logger()


class _Server(ThreadedAssociationServer):
    request_queue_size = 128
    daemon_threads = True
    """A handshake in progress does not hold up the end of the process."""
    settings: Dicom
    tls: ssl.SSLContext | None = None

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, address = super().get_request()
        # Answers are small; without this each could wait for the peer's delayed acknowledgement.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands and wait for a first word here, in the connection's own thread.

        Until then it holds none of the association slots: load balancers connect only to close again.
        """
        connection = request
        try:
            if self.tls is not None:
                connection = self._secured(self.tls, request, client_address[0])
            connection.settimeout(REQUEST_TIMEOUT_S)
            # Of the socket itself: one of TLS cannot peek. What TLS has read already has been said, too.
            spoke = _pending(connection) or bool(socket.socket.recv(connection, 1, socket.MSG_PEEK))
            connection.settimeout(None)
        except TimeoutError:
            spoke = False
        except OSError as error:
            log.warning("connection refused", peer=client_address[0], reason=str(error))
            spoke = False
        if spoke:
            super().process_request_thread(connection, client_address)
        else:
            self.shutdown_request(connection)

    def _secured(self, tls: ssl.SSLContext, request: socket.socket, address: str) -> ssl.SSLSocket:
        if not self.settings.allows(address):
            raise ConnectionRefusedError("its address is not in dicom.allow or dicom.peers")
        request.settimeout(HANDSHAKE_TIMEOUT_S)
        return tls.wrap_socket(request, server_side=True)


def _pending(connection: socket.socket) -> bool:
    return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0


class _Receiver:
    """What happens on the events of the associations, in their threads."""

    def __init__(self, settings: Settings, archive: Archive, recorder: Recorder) -> None:
        self._settings = settings.dicom
        self._kept_free_bytes = settings.storage.keep_free_mb * BYTES_PER_MB
        self._archive = archive
        self._recorder = recorder

    def on_request(self, event: Event) -> None:
        """Reject whom the settings do not name, and who calls for another than this node where that is checked."""
        association = event.assoc
        address, request = association.requestor.address, association.requestor.primitive
        calling, called = (request.calling_ae_title.strip(), request.called_ae_title.strip()) if request else ("", "")
        reason, diagnostic = self._settings.refusal(address=address, calling_ae=calling), CALLING_AE_NOT_RECOGNISED
        if reason is None and self._settings.check_called_ae and called != self._settings.ae_title:
            reason, diagnostic = "it calls for another AE title than dicom.ae_title", CALLED_AE_NOT_RECOGNISED
        if reason is None:
            return
        log.warning("association rejected", reason=reason, peer=address, calling_ae=calling, called_ae=called)
        association.acse.send_reject(REJECTED_PERMANENT, BY_SERVICE_USER, diagnostic)
        association.kill()

    def on_accept(self, event: Event) -> None:
        """Log who sends."""
        request = event.assoc.requestor
        log.info(
            "association",
            peer=request.address,
            calling_ae=request.ae_title.strip(),
            called_ae=request.primitive.called_ae_title.strip() if request.primitive else None,
        )

    def on_store(self, event: Event) -> int:
        """Make the object durable; the returned status is answered. Never raises."""
        request, peer = event.request, event.assoc.requestor
        if not (
            isinstance(request, C_STORE)
            and request.DataSet
            and request.AffectedSOPClassUID
            and request.AffectedSOPInstanceUID
        ):
            return CANNOT_UNDERSTAND
        named = {
            "sop_class_uid": str(request.AffectedSOPClassUID),
            "sop_instance_uid": str(request.AffectedSOPInstanceUID),
            "transfer_syntax_uid": str(event.context.transfer_syntax),
        }
        if not all(UID.fullmatch(uid) for uid in named.values()):
            return CANNOT_UNDERSTAND
        try:
            self._require_space(request.DataSet.getbuffer().nbytes)
            stored = self._archive.store(
                header=file_header(**named),
                dataset=request.DataSet.getvalue(),
                transfer_syntax_uid=named["transfer_syntax_uid"],
            )
            self._recorder.record(
                Receipt(
                    stored=stored,
                    received_at=now(),
                    calling_ae=peer.ae_title.strip(),
                    peer_address=peer.address,
                    **named,
                )
            )
        except (OSError, sqlite3.Error, TimeoutError) as error:
            status = _failure(error)
            log.error("not stored, not acknowledged", error=str(error), status=f"0x{status:04X}", peer=peer.address)
            return status
        return SUCCESS

    def _require_space(self, size_bytes: int) -> None:
        """Refuse before the disk is full: a full one would stop the database and the laboratory's messages, too."""
        if self._archive.free_bytes() - size_bytes < self._kept_free_bytes:
            raise OSError(errno.ENOSPC, "less than storage.keep_free_mb would be left free")


def _failure(error: Exception) -> int:
    full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
    full = full or (isinstance(error, sqlite3.Error) and "full" in str(error))
    return OUT_OF_RESOURCES if full else PROCESSING_FAILURE


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
        The port cannot be opened.
    StoreError
        The database or the archive cannot be used, or recording has ended for a reason nobody foresaw.
    """
    _silence_libraries()
    archive = Archive(settings.storage.folder)
    with Recorder(settings.storage.folder) as recorder:
        receiver = _Receiver(settings, archive, recorder)
        entity = _entity(settings)
        with ExitStack() as open_now:
            servers = _bind_all(entity, settings, receiver, open_now)
            open_now.enter_context(_prepared(archive, settings))
            open_now.callback(_end_associations, entity)
            for server in servers:
                open_now.enter_context(_serving(server))
            if ready:
                ready()
            while not stop.wait(WATCH_S):
                recorder.require_alive()


def _silence_libraries() -> None:
    # pynetdicom formats every message for its log, whether or not anybody reads it (a fifth of the receiver's time),
    # and its lines may hold what must not be logged.
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.ERROR)
    # pydicom quotes what it finds wrong in a request.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")


def _entity(settings: Settings) -> AE:
    entity = AE(ae_title=settings.dicom.ae_title)
    entity.supported_contexts = accepted_contexts()
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.maximum_associations = settings.dicom.max_associations
    entity.maximum_pdu_size = MAX_PDU_BYTES
    entity.acse_timeout = REQUEST_TIMEOUT_S
    entity.network_timeout = IDLE_TIMEOUT_S
    return entity


def _bind_all(entity: AE, settings: Settings, receiver: _Receiver, open_now: ExitStack) -> list[_Server]:
    """The plain port and, where it is set up, that of TLS; closed with ``open_now``."""
    dicom = settings.dicom
    context = server_context(dicom.tls) if dicom.tls else None
    places = [
        ("dicom", dicom.host, dicom.port),
        *([("dicom.tls", dicom.tls.host, dicom.tls.port)] if dicom.tls else []),
    ]
    servers = []
    for name, host, port in places:
        server = _bind(entity, receiver, name=name, host=host, port=port)
        open_now.callback(server.server_close)
        server.settings = dicom
        server.tls = context if name == "dicom.tls" else None
        servers.append(server)
    return servers


def _bind(entity: AE, receiver: _Receiver, *, name: str, host: str, port: int) -> _Server:
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4]
        server = entity.make_server(
            (str(address[0]), port),
            evt_handlers=[
                (evt.EVT_REQUESTED, receiver.on_request),
                (evt.EVT_ACCEPTED, receiver.on_accept),
                (evt.EVT_C_STORE, receiver.on_store),
            ],
            server_class=_Server,
        )
    except OSError as error:
        raise ListenError(
            f"DICOM: cannot listen on {host}:{port}: {error.strerror or error}; "
            f"is another node or receiver running? {name}.host and {name}.port set the address"
        ) from error
    return cast(_Server, server)


@contextmanager
def _prepared(archive: Archive, settings: Settings) -> Iterator[None]:
    """The archive, held alone, swept, and in agreement with its records."""
    folder = settings.storage.folder
    with ExitStack() as held:
        try:
            held.enter_context(archive.receiving())
            archive.prepare()
            reconcile(folder, archive)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"cannot use the archive in {folder}: {error}; check the folder, its owner and free space"
            ) from error
        yield


@contextmanager
def _serving(server: ThreadedAssociationServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, name="dicom-server")
    thread.start()
    try:
        yield
    finally:
        # pynetdicom's own shutdown() knows only servers that it has started itself.
        BaseServer.shutdown(server)
        thread.join()


def _end_associations(entity: AE) -> None:
    deadline = monotonic() + CLOSING_S
    associations: list[Association] = entity.active_associations
    for association in associations:
        association.join(timeout=max(0.0, deadline - monotonic()))
    for association in associations:
        if association.is_alive():
            association.abort()
            association.join()
