"""The metrics: the counts of the status over HTTP, whatever a client does."""

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from node.run import metrics
from node.run.metrics import serve_metrics
from node.settings import Metrics, Settings, Storage
from node.store.database import DATABASE_NAME, insert, open_database
from tests.ports import free_port


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    db = open_database(tmp_path, create=True)
    insert(db, "fact_frame", [{"frame_id": 1, "sha256": "0" * 64, "raw": b"MSH"}])
    db.close()
    return Settings(storage=Storage(folder=tmp_path), metrics=Metrics(port=free_port()))


@pytest.fixture
def port(settings: Settings) -> Iterator[int]:
    with serve_metrics(settings):
        yield settings.metrics.port


def scrape(port: int, path: str = "/metrics") -> str:
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return str(answer.read().decode())


def connect(port: int, address: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(address, 0))


def test_counts_and_pending_work(port: int) -> None:
    text = scrape(port)
    assert "vbq_node_messages_received_total 1.0" in text
    assert 'vbq_node_units_pending{step="messages to interpret"} 1.0' in text
    with pytest.raises(HTTPError, match="404"):
        scrape(port, "/elsewhere")


def test_silent_clients_hold_up_neither_a_scrape_nor_the_end(settings: Settings) -> None:
    with ExitStack() as opened, serve_metrics(settings):
        for _ in range(metrics.MAX_CLIENTS + 4):
            opened.enter_context(connect(settings.metrics.port)).sendall(b"GET /met")
        for _ in range(3):
            assert "vbq_node_messages_received_total" in scrape(settings.metrics.port)


def test_the_silent_clients_of_one_address_give_way_to_another(port: int) -> None:
    with ExitStack() as opened:
        leaked = [opened.enter_context(connect(port, "127.0.0.2")) for _ in range(metrics.MAX_CLIENTS)]
        assert "vbq_node_messages_received_total" in scrape(port)
        assert leaked[0].recv(1) == b"", "the longest silent one"


def test_who_is_not_allowed_is_answered_before_anything_is_read(settings: Settings) -> None:
    allowed = settings.model_copy(update={"metrics": settings.metrics.model_copy(update={"allow": ("127.0.0.2",)})})
    port = settings.metrics.port
    with serve_metrics(allowed), connect(port) as stranger, connect(port, "127.0.0.2") as known:
        assert stranger.recv(100).startswith(b"HTTP/1.0 403 ")
        known.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert known.recv(100).startswith(b"HTTP/1.0 200 ")


def test_what_clients_and_the_database_do_is_one_line_in_the_log(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    port = settings.metrics.port
    with serve_metrics(settings):
        for said in (b"", b"GET /metrics HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x00" * 50, b"GET " + b"x" * 70_000):
            one = connect(port)
            one.sendall(said)
            # Closed with a reset, before the answer can be delivered.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
        assert "vbq_node_messages_received_total" in scrape(port)
        (settings.storage.folder / DATABASE_NAME).rename(settings.storage.folder / "away.db")
        with pytest.raises(HTTPError, match="503"):
            scrape(port)
    out, err = capfd.readouterr()
    assert "metrics not read" in out + err
    assert "Traceback" not in out + err
    assert "Exception" not in out + err
