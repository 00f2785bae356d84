"""Prometheus metrics: the counts of ``vbq-node status`` over HTTP, read from the database at every scrape."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from node.errors import ListenError
from node.operate import status
from node.settings import Settings
from node.steps.pending import pending
from node.store.database import open_database

REQUEST_TIMEOUT_S = 5.0
"""A client that connects and says nothing must hold up neither the next scrape nor the end of the role."""


class _StatusCollector(Collector):
    def __init__(self, settings: Settings) -> None:
        self._folder = settings.storage.folder

    def collect(self) -> Iterable[GaugeMetricFamily]:
        db = open_database(self._folder)
        try:
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


class _QuietHandler(WSGIRequestHandler):
    timeout = REQUEST_TIMEOUT_S

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
    metrics = make_wsgi_app(registry)
    listener = settings.metrics

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if listener.allows(environ["REMOTE_ADDR"]):
            answer: Iterable[bytes] = metrics(environ, start_response)
            return answer
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"this address is not in metrics.allow\n"]

    try:
        server = make_server(listener.host, listener.port, application, handler_class=_QuietHandler)
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
