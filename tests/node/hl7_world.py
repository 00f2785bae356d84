"""A running listener of HL7 messages, a sender, and what was stored."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node.hl7.framing import FrameDecoder
from node.hl7.listener import run_listener
from node.settings import Hl7, Settings, Storage
from node.store.database import open_database


def adt(control_id: str, *, processing: str = "P", accept: str = "") -> bytes:
    return (
        f"MSH|^~\\&|HIS|H|NODE|V|20260302090000||ADT^A08|{control_id}|{processing}|2.5|||{accept}\r"
        f"PID|1||{control_id}^^^H^MR||Doe^Jane||19600229|F\r"
    ).encode()


class Peer:
    """A sender: one connection, replies read frame by frame."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._decoder = FrameDecoder(1 << 20)
        self._replies: list[bytes] = []

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self) -> bytes:
        """The next acknowledgement; empty when the listener closed the connection."""
        while not self._replies:
            data = self.socket.recv(65536)
            if not data:
                return b""
            self._replies += self._decoder.feed(data)
        return self._replies.pop(0)

    def msa(self) -> list[str]:
        """The fields of the next MSA."""
        line = next(line for line in self.reply().decode().split("\r") if line.startswith("MSA"))
        return line.split("|")


def settings_for(folder: Path, port: int, **more: object) -> Settings:
    hl7 = Hl7.model_validate({"port": port, "max_frame_bytes": 4096, **more})
    return Settings(storage=Storage(folder=folder), hl7=hl7)


@contextmanager
def listening(settings: Settings) -> Iterator[int]:
    stop, up = threading.Event(), threading.Event()
    thread = threading.Thread(target=run_listener, args=(settings, stop), kwargs={"ready": up.set})
    thread.start()
    try:
        assert up.wait(20)
        yield settings.hl7.port
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def stored(folder: Path) -> list[bytes]:
    db = open_database(folder)
    rows = [raw for (raw,) in db.execute("SELECT raw FROM fact_frame ORDER BY frame_id")]
    db.close()
    return rows


def receipts(folder: Path) -> list[str]:
    db = open_database(folder)
    rows = [ack for (ack,) in db.execute("SELECT ack FROM fact_frame_receipt ORDER BY receipt_id")]
    db.close()
    return rows
