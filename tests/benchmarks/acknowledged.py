"""Senders that keep what a node has acknowledged, and the comparison of that with what is stored, byte for byte."""

import hashlib
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from node.store.archive import Archive
from node.store.database import open_database
from node.store.removed import removed_images
from tests.node.bad_things import BadObject, bad_messages, bad_objects
from tests.node.dicom_samples import encode, mr_image
from tests.node.hl7_world import Peer
from tests.node.raw_sender import STATUS, raw_association, store_request

AGAIN_AFTER_S = 0.05
IMAGES_A_STUDY = 8
TO_MEASURE = 10
"""Every so many studies one is a sagittal T1; the others are set aside at once."""


@dataclass
class Ledger:
    """What was offered and what was acknowledged, by all senders together."""

    images: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each data set that was answered with Success, and its SOP Instance UID in the request."""
    messages: set[bytes] = field(default_factory=set)
    offered: set[str] = field(default_factory=set)
    """SHA-256 of each data set and each message that was sent, whatever came of it."""
    more: threading.Event = field(default_factory=threading.Event)
    """Something was acknowledged since it was cleared."""

    def offer(self, content: bytes) -> str:
        """Note that these bytes are sent."""
        digest = hashlib.sha256(content).hexdigest()
        self.offered.add(digest)
        return digest

    def take_image(self, content: bytes, uid: str) -> None:
        """Note a Success."""
        self.images[hashlib.sha256(content).hexdigest()] = uid
        self.more.set()

    def take_message(self, message: bytes) -> None:
        """Note an AA or CA."""
        self.messages.add(message)
        self.more.set()

    def forget(self, uids: Collection[str], messages: Collection[bytes]) -> None:
        """Somebody's, who was erased: none of it has to be there any more."""
        self.images = {digest: uid for digest, uid in self.images.items() if uid not in uids}
        self.messages -= set(messages)


def until_acknowledged(do: Callable[[], bool], stop: threading.Event | None = None) -> bool:
    """Do it until it is acknowledged, over as many connections as that takes; false when it was stopped."""
    while stop is None or not stop.is_set():
        try:
            if do():
                return True
        except OSError:
            pass  # nobody listens for the moment, or the node was killed
        time.sleep(AGAIN_AFTER_S)
    return False


class ImageSender(threading.Thread):
    """Sends one image after the other, each until it is acknowledged."""

    def __init__(self, number: int, port: int, ledger: Ledger, stop: threading.Event, *, pause_s: float) -> None:
        super().__init__(daemon=True)
        self._number, self._port, self._ledger, self._ended, self._pause_s = number, port, ledger, stop, pause_s

    def run(self) -> None:
        """Until it is stopped; what is under way then is not acknowledged."""
        images = self._images()
        image = next(images)
        while not self._ended.is_set():
            try:
                with raw_association(self._port, calling=f"SENDER{self._number}") as association:
                    while not self._ended.is_set():
                        content = encode(image)
                        self._ledger.offer(content)
                        if association.store(image) != 0x0000:
                            break
                        self._ledger.take_image(content, str(image.SOPInstanceUID))
                        image = next(images)
                        time.sleep(self._pause_s)
            except OSError:
                time.sleep(AGAIN_AFTER_S)

    def _images(self) -> Iterator[Dataset]:
        for study in range(1_000_000):
            root = f"1.2.826.0.1.3680043.8.498.{self._number}.{study + 1}"
            t2 = {} if study % TO_MEASURE == 0 else {"RepetitionTime": 3500, "EchoTime": 110, "SeriesDescription": "t2"}
            for place in range(IMAGES_A_STUDY):
                yield mr_image(
                    seed=(self._number * 1_000_000 + study) * IMAGES_A_STUDY + place, InstanceNumber=place + 1,
                    StudyInstanceUID=root, SeriesInstanceUID=f"{root}.1", PatientID=f"S{self._number}-{study}",
                    ImagePositionPatient=[4.8 * place, -10, 10], **t2,
                )  # fmt: skip


class MessageSender(threading.Thread):
    """Sends one message after the other, each until it is acknowledged."""

    def __init__(self, number: int, port: int, ledger: Ledger, stop: threading.Event, *, pause_s: float) -> None:
        super().__init__(daemon=True)
        self._number, self._port, self._ledger, self._ended, self._pause_s = number, port, ledger, stop, pause_s

    def run(self) -> None:
        """Until it is stopped."""
        count = 0
        while not self._ended.is_set():
            try:
                with Peer(self._port) as peer:
                    while not self._ended.is_set():
                        if not exchange(peer, self._message(count), self._ledger):
                            break
                        count += 1
                        time.sleep(self._pause_s)
            except OSError:
                time.sleep(AGAIN_AFTER_S)

    def _message(self, count: int) -> bytes:
        name, day = f"M{self._number}-{count}", f"202603{1 + count % 28:02}"
        head = f"MSH|^~\\&|LAB|H|NODE|V|{day}090000||ORU^R01|{name}|P|2.5"
        lines = [head, f"PID|1||{name}^^^H^MR||Doe^Jane||19600229|F", f"OBR|1||O{name}|58410-2^CBC^LN|||{day}0800"]
        values = {"751-8": 4.0 + count % 7, "731-0": 1.5, "777-3": 200 + count % 90}
        lines += [f"OBX|1|NM|{code}^^LN||{value}|10*9/L|||||F" for code, value in values.items()]
        return ("\r".join(lines) + "\r").encode()


def exchange(peer: Peer, message: bytes, ledger: Ledger) -> bool:
    """Send a message; whether it was accepted (AA or CA)."""
    ledger.offer(message)
    peer.send(b"\x0b" + message + b"\x1c\r")
    taken = is_accepted(peer.reply())
    if taken:
        ledger.take_message(message)
    return taken


def is_accepted(answer: bytes) -> bool:
    """Whether an acknowledgement says that the message is kept, in original or enhanced mode."""
    return b"\rMSA|AA|" in answer or b"\rMSA|CA|" in answer


def send_bad(dicom_port: int, hl7_port: int, ledger: Ledger, run: int, stop: threading.Event | None = None) -> None:
    """Send each bad thing until the node has taken it, or has refused it for what it is."""
    for one in bad_objects(run):
        until_acknowledged(lambda one=one: _bad_object(dicom_port, one, ledger), stop)
    for message in bad_messages(run):
        until_acknowledged(lambda message=message: _bad_message(hl7_port, message, ledger), stop)


def _bad_object(port: int, one: BadObject, ledger: Ledger) -> bool:
    ledger.offer(one.content)
    with raw_association(port, sop_class=one.sop_class, calling="BADPACS") as association:
        answer = STATUS.search(association.say(store_request(one.content, uid=one.uid, sop_class=one.sop_class)))
    if answer is None:
        return False
    status = int.from_bytes(answer[1], "little")
    if status == 0x0000:
        ledger.take_image(one.content, one.uid)
    # A full disk, a database that is locked: later.
    return status not in (0xA700, 0x0110)


def _bad_message(port: int, message: bytes, ledger: Ledger) -> bool:
    ledger.offer(message)
    with Peer(port) as peer:
        peer.send(b"\x0b" + message + b"\x1c\r")
        answer = peer.reply()
    if is_accepted(answer):
        ledger.take_message(message)
    return b"\rMSA|" in answer and not any(code in answer for code in (b"\rMSA|AE|", b"\rMSA|CE|"))


# ---- what is stored ------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Compared:
    """What is wrong, each a few words; empty: what was acknowledged is stored, and nothing else."""

    wrong: tuple[str, ...]
    images: int
    messages: int


def compare(folder: Path, ledger: Ledger) -> Compared:
    """Compare the bytes of all that was acknowledged with the files of the archive and the frames of the database.

    Of what retention has removed only the record is there.
    """
    archive = Archive(folder)
    wrong: list[str] = []
    with closing(open_database(folder)) as db:
        found: dict[str, str] = {}
        removed = removed_images(db)
        gone = set()
        for sha256, uid, size in db.execute("SELECT sha256, sop_instance_uid, size_bytes FROM fact_object"):
            path = archive.path(sha256)
            if sha256 in removed:
                gone.add(uid)
                continue
            if not path.is_file() or path.stat().st_size != size:
                wrong.append(f"the file of a record is not there, or of another size: {sha256[:12]}")
                continue
            content = data_set_of(path)
            # The archive's name of a file is the hash of its transfer syntax and its data set.
            if hashlib.sha256(f"{ExplicitVRLittleEndian}\0".encode() + content).hexdigest() != sha256:
                wrong.append(f"a file does not bear the hash of its content: {sha256[:12]}")
            found[hashlib.sha256(content).hexdigest()] = uid
        frames = [(sha256, bytes(raw)) for sha256, raw in db.execute("SELECT sha256, raw FROM fact_frame")]
        texts_removed = {key for (key,) in db.execute("SELECT key FROM fact_removal WHERE kind = 'message'")}
        (whole,) = db.execute("PRAGMA integrity_check").fetchone()
    if whole != "ok":
        wrong.append(f"integrity_check: {whole}")
    lost = [uid for digest, uid in ledger.images.items() if digest not in found and uid not in gone]
    wrong += [f"lost image {uid}" for uid in lost]
    wrong += [f"image that nobody sent {uid}" for digest, uid in found.items() if digest not in ledger.offered]
    kept = {sha256 for sha256, _ in frames}
    wrong += [
        f"lost message {message[:60]!r}"
        for message in ledger.messages
        if hashlib.sha256(message).hexdigest() not in kept
    ]
    for sha256, raw in frames:
        if sha256 not in ledger.offered:
            wrong.append(f"message that nobody sent {raw[:60]!r}")
        if (raw == b"") != (sha256 in texts_removed) or (raw and hashlib.sha256(raw).hexdigest() != sha256):
            wrong.append(f"message with another text {sha256[:12]}")
    return Compared(wrong=tuple(wrong), images=len(found), messages=len(frames))


def data_set_of(path: Path) -> bytes:
    """A file's content behind its meta information."""
    content = path.read_bytes()
    (length,) = struct.unpack("<L", content[140:144])
    return content[144 + length :]
