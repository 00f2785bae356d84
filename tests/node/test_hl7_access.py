"""MLLP over TLS, many and strange connections, and a disk that is full."""

import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.errors import ListenError
from node.hl7.framing import FrameDecoder, frame
from node.hl7.listener import run_listener
from node.settings import Settings
from node.store.database import open_database
from tests.certificates import Certificates
from tests.node.hl7_world import Peer, adt, listening, settings_for, stored
from tests.ports import free_port


class TlsPeer(Peer):
    """A sender over TLS."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=20))
        self._decoder = FrameDecoder(1 << 20)
        self._replies: list[bytes] = []


@pytest.fixture
def folder(certificates: Certificates) -> Path:
    """Certificates of the node, of a peer whom its authority knows, and of a stranger."""
    return certificates.folder


def client(folder: Path, name: str | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(folder / "ca.pem")
    if name:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def over_tls(data: Path, folder: Path, *, clients: bool = False, **more: object) -> tuple[Settings, int]:
    port = free_port()
    tls = {"port": port, "certificate": folder / "node.pem", "key": folder / "node.key"}
    tls |= {"client_ca": folder / "ca.pem"} if clients else {}
    return settings_for(data, free_port(), tls=tls, **more), port


def test_plain_and_tls_beside_each_other(tmp_path: Path, folder: Path) -> None:
    settings, tls_port = over_tls(tmp_path, folder)
    with listening(settings) as port, Peer(port) as plain, TlsPeer(tls_port, client(folder)) as secure:
        version = secure.socket.version()
        assert version in ("TLSv1.2", "TLSv1.3")
        secure.send(frame(adt("S1")) + frame(adt("S2")))
        plain.send(frame(adt("P")))
        assert [secure.msa()[1:3] for _ in range(2)] == [["AA", "S1"], ["AA", "S2"]]
        assert plain.msa()[1:3] == ["AA", "P"]
    assert sorted(stored(tmp_path)) == sorted([adt("S1"), adt("S2"), adt("P")])


def test_only_peers_with_a_certificate_of_the_authority(tmp_path: Path, folder: Path) -> None:
    settings, tls_port = over_tls(tmp_path, folder, clients=True)
    with listening(settings):
        with TlsPeer(tls_port, client(folder, "known")) as known:
            known.send(frame(adt("A")))
            assert known.msa()[1] == "AA"
        for name in (None, "stranger"):
            # With TLS 1.3 the refusal comes after the client's side of the handshake.
            with pytest.raises(OSError), TlsPeer(tls_port, client(folder, name)) as refused:
                refused.send(frame(adt("B")))
                if refused.reply() == b"":
                    raise ConnectionResetError
    assert stored(tmp_path) == [adt("A")]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_older_than_1_2_is_refused(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings, tls_port = over_tls(tmp_path, folder)
    old = client(folder)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1_1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with listening(settings), pytest.raises(OSError):
        TlsPeer(tls_port, old)
    assert "UNSUPPORTED_PROTOCOL" in capsys.readouterr().out


def test_a_handshake_that_does_not_go_on_costs_no_other(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.hl7.listener.HANDSHAKE_TIMEOUT_S", 0.5)
    settings, tls_port = over_tls(tmp_path, folder)
    with listening(settings):
        silent = [socket.create_connection(("127.0.0.1", tls_port), timeout=20) for _ in range(20)]
        silent[0].sendall(b"\x16\x03\x01")
        with TlsPeer(tls_port, client(folder)) as busy:
            busy.send(frame(adt("A")))
            assert busy.msa()[1] == "AA"
        for one in silent:
            assert one.recv(100) == b"", "closed when its time is over"
            one.close()
    assert stored(tmp_path) == [adt("A")]


def test_addresses_that_may_not_connect_do_not_shake_hands(tmp_path: Path, folder: Path) -> None:
    settings, tls_port = over_tls(tmp_path, folder, allow=["192.0.2.0/24"])
    with listening(settings), pytest.raises(OSError):
        TlsPeer(tls_port, client(folder))


def test_a_key_that_does_not_fit_is_one_clear_error(tmp_path: Path, folder: Path) -> None:
    settings, _ = over_tls(tmp_path, folder)
    assert settings.hl7.tls is not None
    tls = settings.hl7.tls.model_copy(update={"key": folder / "stranger.key"})
    wrong = settings.model_copy(update={"hl7": settings.hl7.model_copy(update={"tls": tls})})
    with pytest.raises(ListenError, match=r"hl7\.tls\.certificate"):
        run_listener(wrong, threading.Event())


def test_end_sign_inside_a_message_and_end_without_carriage_return(tmp_path: Path) -> None:
    raw = adt("A").replace(b"Doe", b"D\x1coe")
    with listening(settings_for(tmp_path, free_port())) as port, Peer(port) as peer:
        peer.send(frame(raw))
        assert peer.msa()[1:3] == ["AA", "A"]
        peer.send(frame(adt("B"))[:-1])
        assert peer.msa()[1:3] == ["AA", "B"]
        peer.send(frame(adt("C")))
        assert peer.msa()[1:3] == ["AA", "C"]
    assert stored(tmp_path) == [raw, adt("B"), adt("C")]


def test_hundreds_of_silent_half_open_and_reset_connections(tmp_path: Path) -> None:
    with listening(settings_for(tmp_path, free_port(), max_connections=400)) as port:
        peers = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(380)]
        for one in peers[:100]:
            one.sendall(b"\x0bMSH|half a message")
        for one in peers[100:200]:
            one.shutdown(socket.SHUT_WR)
        for one in peers[200:300]:
            # Closed with a reset, as by a peer that has crashed.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
        with Peer(port) as busy:
            for number in range(10):
                busy.send(frame(adt(f"M{number}")))
                assert busy.msa()[1] == "AA"
        for one in peers:
            one.close()
    assert len(stored(tmp_path)) == 10


def test_connections_beyond_the_limit_are_closed_and_others_served(tmp_path: Path) -> None:
    with (
        listening(settings_for(tmp_path, free_port(), max_connections=2)) as port,
        Peer(port) as one,
        Peer(port) as two,
    ):
        for number, peer in enumerate((one, two)):
            peer.send(frame(adt(f"M{number}")))
            assert peer.msa()[1] == "AA"
        with Peer(port) as third:
            assert third.reply() == b""
        one.send(frame(adt("again")))
        assert one.msa()[1] == "AA"


def test_thousands_of_frames_sent_without_waiting_for_an_answer(tmp_path: Path) -> None:
    names = [f"M{number}" for number in range(2000)]
    with listening(settings_for(tmp_path, free_port())) as port, Peer(port) as peer:
        sender = threading.Thread(target=peer.send, args=(b"".join(frame(adt(name)) for name in names),))
        sender.start()
        assert [peer.msa()[2] for _ in names] == names
        sender.join()
    assert stored(tmp_path) == [adt(name) for name in names]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_answered_with_ae_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    acknowledged: list[bytes] = []
    with listening(settings_for(small_disk / "data", free_port())) as port, Peer(port) as peer:

        def send(name: str) -> str:
            raw = adt(name) + b"NTE|1||" + name.encode() * 300 + b"\r"
            peer.send(frame(raw))
            code = peer.msa()[1]
            acknowledged.extend([raw] if code == "AA" else [])
            return code

        assert send("A") == "AA"
        filler = small_disk / "filler"
        with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        codes = [send(f"F{number}") for number in range(20)]
        assert codes[-1] == "AE"
        filler.unlink()
        assert send("B") == "AA", "the same connection goes on"
    assert stored(small_disk / "data") == acknowledged


def refused(folder: Path) -> list[tuple[str, int, bool]]:
    """Code, times and whether it is settled, of this address."""
    db = open_database(folder)
    rows = db.execute(
        "SELECT code, times, settled_at IS NOT NULL FROM state_refusal WHERE peer_address = '127.0.0.1' ORDER BY code"
    ).fetchall()
    db.close()
    return [(code, times, bool(settled)) for code, times, settled in rows]


def test_an_address_that_may_not_connect_is_a_problem_until_its_message_comes(tmp_path: Path) -> None:
    with listening(settings_for(tmp_path, free_port(), allow=["127.0.0.9"])) as port:
        for _ in range(30):
            with Peer(port) as peer:
                assert peer.socket.recv(1) == b""
    assert refused(tmp_path) == [("hl7-not-allowed", 30, False)]
    db = open_database(tmp_path)
    ((source, code, detail),) = db.execute("SELECT source, code, detail FROM problems").fetchall()
    db.close()
    assert (source, code) == ("peer 127.0.0.1", "hl7-not-allowed")
    assert "not in hl7.allow" in detail
    assert "30 times" in detail
    with listening(settings_for(tmp_path, free_port())) as port, Peer(port) as peer:
        peer.send(frame(adt("M1")))
        assert peer.msa()[1] == "AA"
    assert refused(tmp_path) == [("hl7-not-allowed", 30, True)]


def test_what_is_no_message_and_what_is_too_long_are_problems(tmp_path: Path) -> None:
    with listening(settings_for(tmp_path, free_port())) as port:
        with Peer(port) as peer:
            peer.send(b"GET / HTTP/1.1\r\n\r\n")
        with Peer(port) as peer:
            peer.send(b"\x0bMSH|^~\\&|A|B|" + b"x" * 5000)
            assert peer.msa()[1] == "AR"
        with Peer(port) as peer:
            peer.send(b"\x0b" + adt("M1")[:40])
    assert {code for code, _, _ in refused(tmp_path)} == {"hl7-not-framed", "hl7-too-long", "hl7-broken-off"}


def test_a_full_listener_says_so(tmp_path: Path) -> None:
    with (
        listening(settings_for(tmp_path, free_port(), max_connections=1)) as port,
        Peer(port) as first,
    ):
        first.send(frame(adt("M1")))
        assert first.msa()[1] == "AA"
        with Peer(port) as second:
            assert second.socket.recv(1) == b""
    assert refused(tmp_path) == [("hl7-too-many", 1, False)]
