"""The role ``web``: uvicorn in a thread, until told to stop."""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

import structlog
import uvicorn

from node.errors import ListenError
from node.memory import IDLE_S, forget_networks
from node.settings import ServerTls, Settings, Web
from node.tls import server_context
from node.web.app import create_app
from node.web.connection import guarded

POLL_S = 0.1
KEEP_ALIVE_S = 15
MAX_HEAD_BYTES = 32 * 1024
BACKLOG = 64
"""Connections that are taken at once, before any is looked at: as many descriptors beside those of the limit."""
SAID_EVERY_S = 10.0

log = structlog.get_logger()


class _Server(uvicorn.Server):
    """Says in a line, and not again and again, what goes wrong around the connections: no descriptor is left, say."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Have it said from the first connection on."""
        said_at = float("-inf")

        def say(_loop: asyncio.AbstractEventLoop, about: dict[str, Any]) -> None:
            nonlocal said_at
            if monotonic() - said_at > SAID_EVERY_S:
                said_at = monotonic()
                # The text of an error may quote what was sent.
                log.error("pages", what=about.get("message"), error=type(about.get("exception")).__name__)

        asyncio.get_running_loop().set_exception_handler(say)
        await super().startup(sockets=sockets)


def run_web(settings: Settings, stop: threading.Event, *, ready: Callable[[], None] | None = None) -> None:
    """Serve the pages until told to stop.

    Raises
    ------
    ListenError
        The port cannot be opened, or the certificate not be used.
    """
    web = settings.web
    config = uvicorn.Config(
        create_app(settings),
        http=guarded(web),  # type: ignore[arg-type]  # a class to the types, anything that makes a protocol to the code
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_graceful_shutdown=3,
        backlog=BACKLOG,
    )
    # What it would log names paths and addresses; what went wrong is logged where it goes wrong.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    config.load()
    if web.tls is not None:
        config.ssl = server_context(
            ServerTls(port=web.port, certificate=web.tls.certificate, key=web.tls.key), "web.tls"
        )
    server = _Server(config)
    with _listen(web) as listener:
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        serving.start()
        while not server.started and serving.is_alive():
            sleep(POLL_S)
        if ready and server.started:
            ready()
        looked_at = monotonic()
        while not stop.wait(POLL_S) and serving.is_alive():
            if monotonic() - looked_at > IDLE_S:
                # A reader's circles are compared with what the networks see.
                forget_networks()
                looked_at = monotonic()
        server.should_exit = True
        serving.join()
    if not stop.is_set():
        raise ListenError("the pages ended by themselves")


def _listen(web: Web) -> socket.socket:
    try:
        return socket.create_server(
            (web.host, web.port), family=socket.AF_INET6 if ":" in web.host else socket.AF_INET, backlog=BACKLOG
        )
    except OSError as error:
        raise ListenError(
            f"cannot open the port of the pages {web.host}:{web.port}: {error.strerror}; is another node running? "
            "web.port sets another one"
        ) from error
