"""Prometheus metrics and health over HTTP, read from the database at every scrape.

Each client has a thread of its own, and gives way to others when too many are open. Whether its address is allowed is
asked before anything of it is read.
"""

import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from time import monotonic
from typing import Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from sqlite_utils.utils import sqlite3

from node.clock import now
from node.crowding import gives_way
from node.errors import ListenError, StoreError
from node.run.figures import PREFIX, figures, not_ready, of_backups, of_the_machine
from node.settings import Settings
from node.store.database import open_database

REQUEST_TIMEOUT_S = 5.0
"""Time allowed for each wait for a client."""
MAX_CLIENTS = 16
"""Most clients at once; of the address with the most the longest silent gives way to further ones."""

MEASURED_HELP = "How long a study took to be measured, from the reading of its images to the commit"
MEASURED_BUCKETS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0, 600.0)
"""A usual study takes one to five seconds; a decoder that stalls is given up after minutes."""

log = structlog.get_logger()


class _NodeCollector(Collector):
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def collect(self) -> Iterable[Metric]:
        """What the machine says, then what the database holds."""
        yield from of_the_machine(self._settings, now=now())
        db = open_database(self._settings.storage.folder)
        try:
            yield from of_backups(db, self._settings, now=now())
            yield from figures(db, now=now())
        finally:
            db.close()


@dataclass(kw_only=True, eq=False)
class _Client:
    """A connection that is served."""

    address: str
    socket: socket.socket
    silent_since: float | None = field(default_factory=monotonic)

    def cut(self) -> None:
        """End it, whatever its thread waits for."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingMixIn, TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, settings: Settings, registry: CollectorRegistry) -> None:
        listener = settings.metrics
        self._settings = settings
        self.address_family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
        self.registry = registry
        self._listener = listener
        self._lock = threading.Lock()
        self._clients: dict[socket.socket, _Client] = {}
        super().__init__((listener.host, listener.port), _Handler)

    def faults(self) -> list[str]:
        """Why the node is not ready."""
        try:
            db = open_database(self._settings.storage.folder)
        except StoreError as error:
            return not_ready(error, self._settings)
        try:
            return not_ready(db, self._settings)
        finally:
            db.close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Turn away who may not ask, before anything is read."""
        if self._listener.allows(client_address[0]):
            return True
        request.settimeout(REQUEST_TIMEOUT_S)
        with suppress(OSError):
            request.sendall(
                b"HTTP/1.0 403 Forbidden\r\nContent-Type: text/plain\r\n\r\nthis address is not in metrics.allow\n"
            )
        log.info("metrics refused", peer=client_address[0], reason="not in metrics.allow")
        return False

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve it in a thread of its own, where there is room."""
        address = str(client_address[0])
        with self._lock:
            if len(self._clients) >= MAX_CLIENTS:
                given_up = gives_way(self._clients.values(), address)
                if given_up is None:
                    self.shutdown_request(request)
                    return
                del self._clients[given_up.socket]
                given_up.cut()
            self._clients[request] = _Client(address=address, socket=request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a client that has been served."""
        with self._lock:
            self._clients.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a client that went away, or a fault, in one line."""
        error = sys.exception()
        log.info("metrics not delivered", peer=client_address[0], error=f"{type(error).__name__}: {error}")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_TIMEOUT_S

    def do_GET(self) -> None:
        """Answer a scrape or a question for health; everything else is not here.

        ``/healthz``: this process answers. ``/readyz``: all roles run, and the database and the disk can be used.
        """
        if self.path == "/healthz":
            self._answer(HTTPStatus.OK, b"ok\n", "text/plain")
            return
        if self.path == "/readyz":
            faults = self.server.faults()
            code = HTTPStatus.SERVICE_UNAVAILABLE if faults else HTTPStatus.OK
            self._answer(code, ("\n".join(faults or ["ok"]) + "\n").encode(), "text/plain; charset=utf-8")
            return
        if self.path.partition("?")[0] not in ("/", "/metrics"):
            self._answer(HTTPStatus.NOT_FOUND, b"the metrics are at /metrics\n", "text/plain")
            return
        try:
            content = generate_latest(self.server.registry)
        except (StoreError, sqlite3.Error) as error:
            log.error("metrics not read", error=str(error))
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"the database cannot be read now\n", "text/plain")
        else:
            self._answer(HTTPStatus.OK, content, CONTENT_TYPE_LATEST)

    def _answer(self, code: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not worth a log line."""


@contextmanager
def serve_metrics(settings: Settings) -> Iterator[Histogram]:
    """Serve ``/metrics`` on the port of the settings until the block ends.

    Yields
    ------
    Histogram
        To be told how long each study took to be measured, in seconds.

    Raises
    ------
    ListenError
        The port cannot be opened.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_NodeCollector(settings))
    ProcessCollector(registry=registry)
    measured = Histogram(
        f"{PREFIX}measurement_duration_seconds", MEASURED_HELP, registry=registry, buckets=MEASURED_BUCKETS_S
    )
    listener = settings.metrics
    try:
        server = _Server(settings, registry)
    except OSError as error:
        raise ListenError(
            f"cannot open the metrics port {listener.host}:{listener.port}: {error.strerror}; "
            "is another node running? metrics.port sets another one"
        ) from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
    thread.start()
    try:
        yield measured
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
