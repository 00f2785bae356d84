"""The demo's senders and mail server, over real sockets, against peers that fail."""

import smtplib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from mailbox import Maildir
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, evt

from node.demo.senders import MailServer, MllpSender, NotAcknowledgedError, Peer, send_study
from tests.ports import free_port


def image(number: int) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = MRImageStorage
    made.SOPInstanceUID = f"2.25.{number}"
    made.Rows = made.Columns = 4
    made.BitsAllocated, made.PixelRepresentation = 16, 0
    made.PixelData = np.full((4, 4), number, dtype="<u2").tobytes()
    return made


@contextmanager
def store(statuses: list[int], port: int = 0) -> Iterator[tuple[int, list[str]]]:
    """A storage SCP that answers with these statuses in turn, then Success; yields its port and what it took."""
    taken: list[str] = []

    def handle(event: evt.Event) -> int:
        status = statuses.pop(0) if statuses else 0x0000
        if status == 0x0000:
            taken.append(str(event.dataset.SOPInstanceUID))
        return status

    ae = AE(ae_title="STORE")
    ae.add_supported_context(MRImageStorage, ExplicitVRLittleEndian)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, handle)])
    try:
        yield server.socket.getsockname()[1], taken
    finally:
        server.shutdown()


def test_images_refused_for_want_of_space_are_sent_again() -> None:
    with store([0x0000, 0xA700, 0x0000, 0xA700]) as (port, taken):
        sent = send_study([image(n) for n in range(1, 5)], Peer(host="127.0.0.1", port=port), called_ae="STORE")
    assert sent == ("2.25.1", "2.25.2", "2.25.3", "2.25.4")
    assert taken == list(sent)


def test_a_node_that_comes_up_late_still_gets_all() -> None:
    port = free_port()
    found: list[tuple[str, ...]] = []
    sender = threading.Thread(
        target=lambda: found.append(
            send_study([image(1), image(2)], Peer(host="127.0.0.1", port=port), called_ae="STORE", timeout_s=20)
        )
    )
    sender.start()
    with store([], port) as (_, taken):
        sender.join(20)
        assert not sender.is_alive()
    assert found == [("2.25.1", "2.25.2")]
    assert taken == ["2.25.1", "2.25.2"]


def test_a_node_that_never_comes_is_named_after_the_time() -> None:
    with pytest.raises(NotAcknowledgedError, match=r"1 images were not acknowledged within 0\.2 s"):
        send_study([image(1)], Peer(host="127.0.0.1", port=free_port()), called_ae="STORE", timeout_s=0.2)


# ---- MLLP ----------------------------------------------------------------------------------------------------------
def message(control_id: str) -> bytes:
    return f"MSH|^~\\&|LIS|DEMO|||20260301||ORU^R01|{control_id}|P|2.5.1\rPID|1\r".encode()


@contextmanager
def listener(answers: list[str | None]) -> Iterator[tuple[int, list[str]]]:
    """Answers each frame with the next code (``None``: hang up), then AA; yields its port and the control ids."""
    seen: list[str] = []
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.1)
    stop = threading.Event()

    def serve_one(connection: socket.socket) -> None:
        with connection:
            buffer = b""
            while True:
                while b"\x1c\r" not in buffer:
                    if not (more := connection.recv(4096)):
                        return
                    buffer += more
                frame, _, buffer = buffer.partition(b"\x1c\r")
                control_id = frame.decode().split("|")[9]
                seen.append(control_id)
                code = answers.pop(0) if answers else "AA"
                if code is None:
                    return
                reply = f"MSH|^~\\&|||||||ACK|1|P|2.5.1\rMSA|{code}|{control_id}\r".encode()
                connection.sendall(b"\x0b" + reply[:7])
                connection.sendall(reply[7:] + b"\x1c\r")

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            connection.settimeout(5)
            serve_one(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1], seen
    finally:
        stop.set()
        thread.join(10)
        server.close()


def test_each_message_waits_for_the_acknowledgement_of_the_one_before() -> None:
    with listener(["AA", "AE", None]) as (port, seen), MllpSender(Peer(host="127.0.0.1", port=port)) as sender:
        sent = sender.send([message("A1"), message("A2"), message("A3")])
    assert seen == ["A1", "A2", "A2", "A2", "A3"]
    assert [one.control_id for one in sent] == ["A1", "A2", "A3"]
    assert len({one.sha256 for one in sent}) == 3


def test_a_refusal_for_good_is_not_tried_again() -> None:
    with (
        listener(["AR"]) as (port, seen),
        MllpSender(Peer(host="127.0.0.1", port=port)) as sender,
        pytest.raises(NotAcknowledgedError, match="message A1 was refused with AR"),
    ):
        sender.send([message("A1")])
    assert seen == ["A1"]


# ---- mail ----------------------------------------------------------------------------------------------------------
def test_mail_is_kept_in_memory_and_in_a_folder(tmp_path: Path) -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Report Ω", "node@demo.invalid", "surgeons@demo.invalid"
    mail.set_content("text")
    mail.add_alternative("<p>html</p>", subtype="html")
    with MailServer(tmp_path / "mail") as server:
        assert server.wait_for(1, timeout_s=0.05) == ()
        with smtplib.SMTP("127.0.0.1", server.port) as client:
            client.send_message(mail)
        (received,) = server.wait_for(1, timeout_s=5)
    assert received["Subject"] == "Report Ω"
    html = received.get_body(("html",))
    assert html is not None
    assert html.get_content().strip() == "<p>html</p>"
    box = Maildir(tmp_path / "mail")
    assert [kept["To"] for kept in box] == ["surgeons@demo.invalid"]
    box.close()
