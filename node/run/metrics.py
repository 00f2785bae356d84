"""Prometheus metrics: the counts of ``vbq-node status`` over HTTP, read from the database at every scrape.

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
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlite_utils.utils import sqlite3

from node.clock import now
from node.crowding import gives_way
from node.errors import ListenError, StoreError
from node.operate import status
from node.operate.backup_state import backup_state
from node.settings import Metrics, Settings
from node.steps.pending import pending
from node.store.database import open_database
from node.store.presence import presences

REQUEST_TIMEOUT_S = 5.0
"""Time allowed for each wait for a client."""
MAX_CLIENTS = 16
"""Most clients at once; of the address with the most the longest silent gives way to further ones."""

log = structlog.get_logger()


class _StatusCollector(Collector):
    def __init__(self, settings: Settings) -> None:
        self._settings, self._folder = settings, settings.storage.folder

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The roles, then what the database holds."""
        up = GaugeMetricFamily("vbq_node_role_up", "Whether the role runs", labels=["role"])
        ended = GaugeMetricFamily(
            "vbq_node_role_ended_last_day",
            "How often the role ended in the last day without being asked",
            labels=["role"],
        )
        for one in presences(self._folder):
            up.add_metric([one.name], one.running)
            ended.add_metric([one.name], one.recent_failures(now()))
        yield from (up, ended)
        db = open_database(self._folder)
        try:
            backup = backup_state(db, self._settings.backup, now=now())
            yield GaugeMetricFamily(
                "vbq_node_backup_ok", "Whether the node is backed up, lately and without a fault", value=backup.ok
            )
            if backup.last_at is not None:
                yield GaugeMetricFamily(
                    "vbq_node_last_backup_timestamp_seconds",
                    "As of when the last backup is",
                    value=backup.last_at.timestamp(),
                )
            for name, help_text, values in (
                ("vbq_node_count", "What the node holds, by kind", status.counts(db)),
                ("vbq_node_pending", "Units of work each step still has", pending(db)),
            ):
                family = GaugeMetricFamily(name, help_text, labels=["what"])
                for what, value in values.items():
                    family.add_metric([what], value)
                yield family
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

    def __init__(self, listener: Metrics, registry: CollectorRegistry) -> None:
        self.address_family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
        self.registry = registry
        self._listener = listener
        self._lock = threading.Lock()
        self._clients: dict[socket.socket, _Client] = {}
        super().__init__((listener.host, listener.port), _Handler)

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
        """Answer a scrape; everything else is not here."""
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
def serve_metrics(settings: Settings) -> Iterator[None]:
    """Serve ``/metrics`` on the port of the settings until the block ends.

    Raises
    ------
    ListenError
        The port cannot be opened.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_StatusCollector(settings))
    listener = settings.metrics
    try:
        server = _Server(listener, registry)
    except OSError as error:
        raise ListenError(
            f"cannot open the metrics port {listener.host}:{listener.port}: {error.strerror}; "
            "is another node running? metrics.port sets another one"
        ) from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
