"""A system that takes HL7 messages over MLLP, on real sockets, and is as difficult as it is told."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.ports import free_port

Answer = Callable[[str], bytes | None]
"""What is answered to the message with this control id; ``None``: the connection is closed without a word."""


def acknowledgement(code: str, control_id: str) -> bytes:
    return f"MSH|^~\\&|KIS|KH|VBQNODE|X|20260301||ACK|1|P|2.5.1\rMSA|{code}|{control_id}\r".encode()


def accepting(control_id: str) -> bytes:
    return acknowledgement("AA", control_id)


@dataclass
class MllpReceiver:
    """Takes one message after the other over one connection; ``taken`` are their bytes."""

    port: int = field(default_factory=free_port)
    answer: Answer = accepting
    taken: list[bytes] = field(default_factory=list)
    connections: int = 0

    @contextmanager
    def up(self, tls: ssl.SSLContext | None = None) -> Iterator[None]:
        with socket.create_server(("127.0.0.1", self.port)) as listening:
            thread = threading.Thread(target=self._accept, args=[listening, tls])
            thread.start()
            try:
                yield
            finally:
                listening.shutdown(socket.SHUT_RDWR)
                thread.join(20)
                assert not thread.is_alive()

    def _accept(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            self.connections += 1
            with suppress(OSError), connection:
                if tls is None:
                    self._serve(connection)
                else:
                    with tls.wrap_socket(connection, server_side=True) as secured:
                        self._serve(secured)

    def _serve(self, connection: socket.socket) -> None:
        received = b""
        while data := connection.recv(4096):
            received += data
            while b"\x1c\r" in received:
                message, _, received = received.partition(b"\x1c\r")
                assert message.startswith(b"\x0b")
                self.taken.append(message[1:])
                answer = self.answer(message.split(b"|")[9].decode())
                if answer is None:
                    return
                connection.sendall(b"\x0b" + answer + b"\x1c\r")
