"""The MLLP listener on real sockets with a real database."""

import asyncio
import hashlib
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic, sleep

import pytest
from sqlite_utils.utils import sqlite3

from node.errors import ListenError, StoreError
from node.hl7 import storing
from node.hl7.framing import frame
from node.hl7.listener import run_listener
from node.store.database import DATABASE_NAME
from tests.node.hl7_world import Peer, adt, listening, receipts, settings_for, stored
from tests.ports import free_port

REPOSITORY = Path(__file__).resolve().parents[2]


def test_many_messages_on_one_connection(tmp_path: Path) -> None:
    with listening(settings_for(tmp_path, free_port())) as port, Peer(port) as peer:
        for number in range(20):
            peer.send(frame(adt(f"M{number}")))
            assert peer.msa()[1:3] == ["AA", f"M{number}"]
    assert stored(tmp_path) == [adt(f"M{number}") for number in range(20)]


def test_split_frames_and_several_in_one_piece(tmp_path: Path) -> None:
    with listening(settings_for(tmp_path, free_port())) as port, Peer(port) as peer:
        stream = b"junk" + frame(adt("A")) + frame(adt("B")) + frame(adt("C"))
        for piece in (stream[:9], stream[9:40], stream[40:]):
            peer.send(piece)
            sleep(0.02)
        assert [peer.msa()[2] for _ in range(3)] == ["A", "B", "C"]
    assert stored(tmp_path) == [adt("A"), adt("B"), adt("C")]


def test_same_bytes_again_are_one_frame_with_two_receipts(tmp_path: Path) -> None:
    with listening(settings_for(tmp_path, free_port())) as port, Peer(port) as peer:
        for _ in range(2):
            peer.send(frame(adt("A")))
            assert peer.msa()[1] == "AA"
        peer.send(frame(adt("A", accept="AL")))
        assert peer.msa()[1] == "CA"
    assert len(stored(tmp_path)) == 2
    assert receipts(tmp_path) == ["AA", "AA", "CA"]


@pytest.mark.parametrize("raw", [adt("A", processing="T"), b"this is not HL7"])
def test_rejected_messages_are_stored(tmp_path: Path, raw: bytes) -> None:
    with listening(settings_for(tmp_path, free_port())) as port, Peer(port) as peer:
        peer.send(frame(raw) + frame(adt("B")))
        assert [peer.msa()[1] for _ in range(2)] == ["AR", "AA"]
    assert stored(tmp_path) == [raw, adt("B")]


def test_bad_content_is_accepted_for_a_person_here_to_see(tmp_path: Path) -> None:
    bad = adt("A").replace(b"PID|1", b"PID")
    with listening(settings_for(tmp_path, free_port())) as port, Peer(port) as peer:
        peer.send(frame(bad))
        assert peer.msa()[1] == "AA"
    assert stored(tmp_path) == [bad]


def test_sender_that_wants_no_answer_gets_none(tmp_path: Path) -> None:
    with listening(settings_for(tmp_path, free_port())) as port, Peer(port) as peer:
        peer.send(frame(adt("A", accept="NE")) + frame(adt("B")))
        assert peer.msa()[2] == "B"
    assert len(stored(tmp_path)) == 2


def test_frame_beyond_the_limit_is_rejected_and_the_connection_closed(tmp_path: Path) -> None:
    with listening(settings_for(tmp_path, free_port())) as port, Peer(port) as peer:
        peer.send(frame(adt("A")) + b"\x0b" + adt("B") + b"x" * 5000)
        assert peer.msa()[1:3] == ["AA", "A"]
        assert peer.msa()[1:3] == ["AR", "B"]
        assert peer.reply() == b""
    assert stored(tmp_path) == [adt("A")]


def test_silent_peer_is_disconnected_and_costs_no_other(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, free_port(), idle_timeout_s=0.5)
    with listening(settings) as port, Peer(port) as silent, Peer(port) as busy:
        silent.send(b"\x0bMSH|half a message")
        busy.send(frame(adt("A")))
        assert busy.msa()[1] == "AA"
        assert silent.reply() == b""
    assert stored(tmp_path) == [adt("A")]


def test_address_that_is_not_allowed_is_refused(tmp_path: Path) -> None:
    with listening(settings_for(tmp_path, free_port(), allow=["192.0.2.0/24"])) as port, Peer(port) as peer:
        assert peer.reply() == b""


def test_taken_port_is_one_clear_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        with pytest.raises(ListenError, match=f"127.0.0.1:{port}"):
            run_listener(settings_for(tmp_path, port), threading.Event())


def test_many_connections_at_once(tmp_path: Path) -> None:
    async def send(port: int, name: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(frame(adt(name)))
        reply = await reader.readuntil(b"\x1c")
        writer.close()
        await writer.wait_closed()
        return reply

    async def send_all(port: int) -> list[bytes]:
        return await asyncio.gather(*(send(port, f"N{number}") for number in range(200)))

    with listening(settings_for(tmp_path, free_port())) as port:
        replies = asyncio.run(send_all(port))
    assert sum(b"MSA|AA|" in reply for reply in replies) == 200
    assert len(stored(tmp_path)) == 200


def test_locked_database_is_answered_with_ae_and_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "WRITE_PATIENCE_MS", 200)
    with listening(settings_for(tmp_path, free_port())) as port, Peer(port) as peer:
        other = sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        peer.send(frame(adt("A")))
        assert peer.msa()[1:3] == ["AE", "A"]
        other.execute("ROLLBACK")
        other.close()
        peer.send(frame(adt("A")))
        assert peer.msa()[1:3] == ["AA", "A"]
    assert stored(tmp_path) == [adt("A")]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_listener_that_cannot_store_any_more_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault in this software")

    monkeypatch.setattr(storing, "_write", fail)
    port, up = free_port(), threading.Event()

    def send() -> None:
        assert up.wait(20)
        with Peer(port) as peer:
            peer.send(frame(adt("A")))
            assert peer.reply() == b""

    sender = threading.Thread(target=send)
    sender.start()
    try:
        with pytest.raises(StoreError, match="storing HL7 messages has failed"):
            run_listener(settings_for(tmp_path, port), threading.Event(), ready=up.set)
    finally:
        up.set()
        sender.join(30)


SERVE = """
import sys, threading
from pathlib import Path
from node.hl7.listener import run_listener
from node.logs import configure_logging
from node.settings import Hl7, Settings, Storage
configure_logging(Settings().logging)
settings = Settings(storage=Storage(folder=Path(sys.argv[1])), hl7=Hl7(port=int(sys.argv[2])))
run_listener(settings, threading.Event(), ready=lambda: print("ready", flush=True))
"""


def flood(port: int, name: str, acknowledged: set[str]) -> None:
    """Send until the listener dies; note what it acknowledged."""
    try:
        with Peer(port) as peer:
            for number in range(100_000):
                raw = adt(f"{name}-{number}")
                peer.send(frame(raw))
                if peer.msa()[1] == "AA":
                    acknowledged.add(hashlib.sha256(raw).hexdigest())
    except (OSError, StopIteration):
        return


@pytest.mark.parametrize("delay_s", [0.3, 0.9])
def test_killed_under_load_what_was_acknowledged_is_stored(tmp_path: Path, delay_s: float) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path), str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=REPOSITORY,
    )
    acknowledged: set[str] = set()
    senders = [threading.Thread(target=flood, args=(port, f"S{number}", acknowledged)) for number in range(4)]
    try:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        for sender in senders:
            sender.start()
        deadline = monotonic() + 20
        while not acknowledged and monotonic() < deadline:
            sleep(0.01)
        sleep(delay_s)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for sender in senders:
            if sender.ident is not None:
                sender.join(30)
    kept = {hashlib.sha256(raw).hexdigest() for raw in stored(tmp_path)}
    assert acknowledged
    assert acknowledged <= kept
