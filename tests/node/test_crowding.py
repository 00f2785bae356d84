"""Who gives way when there is no room, on real connections: silent ones of one address lock out no other."""

import resource
import select
import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.crowding import crowding_address, gives_way
from node.dicom import acceptor, refusals
from node.hl7.framing import frame
from tests.certificates import Certificates
from tests.node.dicom_samples import receiver, receiver_process, settings_for
from tests.node.hl7_world import Peer, adt, listening, stored
from tests.node.hl7_world import settings_for as hl7_settings
from tests.node.raw_sender import RawSender, association_request
from tests.node.receiver_world import rows
from tests.node.test_dicom_access import over_tls, tls_port
from tests.node.test_hl7_access import client as hl7_client
from tests.node.test_hl7_access import folder as hl7_certificates
from tests.node.test_hl7_access import over_tls as hl7_over_tls
from tests.ports import free_port
from tests.waiting import eventually

__all__ = ["hl7_certificates"]  # the fixture

LOUD, QUIET = "127.0.0.2", "127.0.0.3"
"""Two addresses of loopback: of a peer that leaks connections and of one that sends."""
BOTH = [LOUD, QUIET]
CODES = "SELECT peer_address, code FROM state_refusal ORDER BY peer_address, code"


@dataclass(frozen=True, kw_only=True)
class Held:
    address: str
    silent_since: float | None


def held(**connections: list[float | None]) -> list[Held]:
    return [Held(address=address, silent_since=since) for address, all_ in connections.items() for since in all_]


@pytest.mark.parametrize(
    ("connections", "newcomer", "expected"),
    [
        ({}, "b", None),
        ({"a": [3, 1, 2]}, "b", Held(address="a", silent_since=1)),
        ({"a": [3, 1, 2], "b": [0]}, "b", Held(address="a", silent_since=1)),
        ({"a": [3, 1], "b": [0]}, "b", Held(address="b", silent_since=0)),
        ({"a": [1]}, "b", None),
        ({"a": [None, 2, None]}, "b", Held(address="a", silent_since=2)),
        ({"a": [None, None]}, "b", None),
        ({"a": [5, 4]}, "a", Held(address="a", silent_since=4)),
    ],
    ids=["nobody", "the most", "of the most only", "about as many", "an only one", "not at work", "all at work", "own"],
)
def test_the_longest_silent_of_the_address_with_the_most_gives_way(
    connections: dict[str, list[float | None]], newcomer: str, expected: Held | None
) -> None:
    assert gives_way(held(**connections), newcomer) == expected


def test_of_addresses_with_as_many_the_choice_is_always_the_same() -> None:
    assert crowding_address(Counter({"b": 3, "a": 3}), "c") == "a"


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(address: str, port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(address, 0))


@contextmanager
def silent(count: int, address: str, port: int, said: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections on which nothing more is said."""
    with ExitStack() as opened:
        connections = [opened.enter_context(connect(address, port)) for _ in range(count)]
        for one in connections:
            one.sendall(said)
        yield connections


class Sender(RawSender):
    """A DICOM sender from a given address."""

    def __init__(self, address: str, port: int) -> None:
        self.socket = connect(address, port)


def is_let_in(address: str, port: int) -> bool:
    sender = Sender(address, port)
    with sender.socket:
        return sender.say(association_request())[:1] == b"\x02"


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed it."""
    connection.settimeout(20)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("processes", [1, 2])
def test_an_address_that_is_not_allowed_is_closed_at_once_and_counted(
    tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch, many_descriptors: None
) -> None:
    monkeypatch.setattr(refusals, "PAUSE_S", 0.01)
    settings = settings_for(tmp_path / "data", allow=[QUIET], processes=processes)
    with receiver_process(settings), silent(600, LOUD, settings.dicom.port) as strangers:
        assert is_let_in(QUIET, settings.dicom.port)
        assert all(is_closed(one) for one in strangers)
        assert eventually(lambda: rows(settings, CODES) == [(LOUD, "rejected")])
        assert eventually(lambda: rows(settings, "SELECT times FROM state_refusal") == [(600,)])


def test_dicom_connections_that_do_not_ask_for_an_association_lock_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "MAX_WAITING_OF_ADDRESS", 8)
    monkeypatch.setattr(acceptor, "MAX_WAITING", 6)
    settings = settings_for(tmp_path / "data", allow=BOTH, max_associations=4)
    port = settings.dicom.port
    with receiver(settings), silent(30, LOUD, port) as leaked:
        assert all(is_closed(one) for one in leaked[:22]), "the longest silent first, eight are left"
        leaked[-1].sendall(association_request())
        assert leaked[-1].recv(1) == b"\x02", "the newest is not the one that had to go"
        assert is_let_in(QUIET, port)
        with silent(2, QUIET, port), silent(1, "127.0.0.1", port):
            assert is_let_in(QUIET, port), "of all together ten have room; the address with the most gives one up"
        assert is_let_in(LOUD, port)
    assert (LOUD, "too-many") in rows(settings, CODES)


def test_half_open_handshakes_lock_nobody_out_of_dicom_over_tls(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "MAX_WAITING_OF_ADDRESS", 20)
    monkeypatch.setattr(acceptor, "MAX_WAITING", 20)
    settings = over_tls(tmp_path / "data", certificates, allow=BOTH, max_associations=2)
    port = int(tls_port(settings))
    context = ssl.create_default_context(cafile=certificates.folder / "ca.pem")
    context.check_hostname = False
    with receiver(settings), silent(60, LOUD, port, b"\x16\x03\x01") as leaked:
        assert is_closed(leaked[0])
        secured = context.wrap_socket(connect(QUIET, port))
        with secured:
            secured.sendall(association_request())
            assert secured.recv(1) == b"\x02"


@pytest.mark.parametrize("processes", [1, 2])
def test_silent_associations_make_room_for_another_address(tmp_path: Path, processes: int) -> None:
    settings = settings_for(tmp_path / "data", allow=BOTH, max_associations=4, processes=processes)
    port = settings.dicom.port
    with receiver_process(settings), ExitStack() as opened:
        leaked = [Sender(LOUD, port) for _ in range(4)]
        for one in leaked:
            opened.enter_context(one.socket)
            assert one.say(association_request())[:1] == b"\x02"
        assert not is_let_in(LOUD, port), "one address does not gain by it"
        # After some seconds of silence, of which the peer waits for the last ones.
        assert eventually(lambda: is_let_in(QUIET, port))
        closed, _, _ = select.select([one.socket for one in leaked], [], [], 20)
        assert 1 <= len(closed) <= processes
        assert is_let_in(QUIET, port)


def test_silent_mllp_connections_lock_nobody_out(tmp_path: Path) -> None:
    settings = hl7_settings(tmp_path, free_port(), allow=BOTH, max_connections=40)
    with listening(settings) as port, silent(40, LOUD, port) as leaked:
        speaker = Speaker(QUIET, port)
        with speaker:
            speaker.send(frame(adt("A")))
            assert speaker.msa()[1] == "AA"
            assert is_closed(leaked[0])
            with silent(5, LOUD, port):
                speaker.send(frame(adt("B")))
                assert speaker.msa()[1] == "AA", "the one that sends keeps its place"
    assert stored(tmp_path) == [adt("A"), adt("B")]


class Speaker(Peer):
    """An HL7 sender from a given address."""

    def __init__(self, address: str, port: int, context: ssl.SSLContext | None = None) -> None:
        super().__init__(port)
        self.socket.close()
        connection = connect(address, port)
        self.socket = context.wrap_socket(connection) if context else connection


def test_half_open_handshakes_lock_nobody_out_of_mllp_over_tls(tmp_path: Path, hl7_certificates: Path) -> None:
    settings, port = hl7_over_tls(tmp_path, hl7_certificates, allow=BOTH, max_connections=30)
    with listening(settings), silent(30, LOUD, port, b"\x16\x03\x01") as leaked:
        with Speaker(QUIET, port, hl7_client(hl7_certificates)) as speaker:
            speaker.send(frame(adt("A")))
            assert speaker.msa()[1] == "AA"
        assert is_closed(leaked[0])


def test_frames_that_never_end_share_one_bounded_memory(tmp_path: Path) -> None:
    # Room for eight whole frames; of twenty, each all but ended, the longest silent are given up.
    settings = hl7_settings(tmp_path, free_port(), allow=BOTH)
    almost = b"\x0bMSH|" + b"x" * 4000
    with listening(settings) as port, silent(20, LOUD, port) as leaked:
        for one in leaked:
            one.sendall(almost)
            time.sleep(0.02)
        assert all(is_closed(one) for one in leaked[:10])
        with Speaker(QUIET, port) as speaker:
            speaker.send(frame(adt("A")))
            assert speaker.msa()[1] == "AA"
        kept = leaked[-1]
        kept.sendall(b"\x1c\r")
        kept.settimeout(20)
        assert kept.recv(100), "one that is within the limit is answered"
    assert stored(tmp_path)[0] == adt("A")
