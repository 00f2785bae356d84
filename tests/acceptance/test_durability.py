"""What the kernel is asked to do before an image or a message is acknowledged, seen by strace from outside.

The order of the README's first promise: file fsync, rename, folder fsync and the database's commit (a sync of its
write-ahead log), and only then Success or AA.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from tests.acceptance.harness import Node, dcmsend, mllp_send
from tests.node.dicom_samples import stack, write_file

CALLS = "trace=fsync,fdatasync,rename,renameat,renameat2,sendto,sendmsg,write"
LINE = re.compile(r"(?P<thread>\d+) +(?:(?P<name>\w+)\(|<\.\.\. \w+ resumed>)(?P<rest>.*)", re.DOTALL)
SYNCS, RENAMES = {"fsync", "fdatasync"}, {"rename", "renameat", "renameat2"}
SUCCESS = re.compile(rb"\x00\x00\x00\x01\x02\x00\x00\x00\x01\x80.*\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00", re.DOTALL)
"""Command field (0000,0100) of C-STORE-RSP and status (0000,0900) Success, in Implicit VR (PS3.7, annex E)."""
IMAGES = MESSAGES = 3


@dataclass(frozen=True, kw_only=True)
class Call:
    """A system call that succeeded, by the lines of the trace at which it began and ended."""

    name: str
    arguments: str
    began: int
    ended: int

    @property
    def texts(self) -> list[bytes]:
        """The strings among its arguments."""
        return [_bytes(text) for text in re.findall(r'"([^"]*)"', self.arguments)]

    @property
    def file(self) -> Path:
        """What the first argument, a descriptor, stands for."""
        found = re.match(r"\d+<([^>]*)>", self.arguments)
        assert found, self
        return Path(_bytes(found[1]).decode())


def _bytes(text: str) -> bytes:
    """Of a text as ``strace -xx`` writes it, each byte as two digits."""
    return bytes.fromhex(text.replace("\\x", ""))


def calls(trace: Path) -> list[Call]:
    """Those of all threads; where they overlap, strace writes the beginning and the end of a call in two lines."""
    found, unfinished = [], {}
    for number, line in enumerate(trace.read_text(errors="replace").splitlines()):
        parsed = LINE.match(line)
        if parsed is None:
            continue  # signals and exits
        name, rest, began = parsed["name"], parsed["rest"], number
        if name is None:
            name, before, began = unfinished.pop(parsed["thread"])
            rest = before + rest
        if rest.endswith("<unfinished ...>"):
            unfinished[parsed["thread"]] = (name, rest.removesuffix("<unfinished ...>"), began)
        elif not re.search(r"= -1 E", rest):
            found.append(Call(name=name, arguments=rest, began=began, ended=number))
    return found


@contextlib.contextmanager
def traced(role: str, node: Node, port: int, trace: Path) -> Iterator[None]:
    """A role of the node under strace, taking connections; ended as systemd ends it."""
    strace = shutil.which("strace")
    assert strace, "strace is needed: apt-get install strace"
    process = subprocess.Popen(
        [strace, "-f", "-yy", "-xx", "-s", "2000", "-e", CALLS, "-o", str(trace),
         sys.executable, "-m", "node", role, "--config", str(node.config)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = monotonic() + 60
        while not _listening(port):
            assert process.poll() is None
            assert monotonic() < deadline
            sleep(0.1)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def test_each_image_is_on_the_disk_before_it_is_acknowledged(node: Node, tmp_path: Path) -> None:
    paths = [write_file(tmp_path / f"{number}.dcm", image) for number, image in enumerate(stack(IMAGES))]
    trace = tmp_path / "dicom.strace"
    with traced("dicom", node, node.dicom_port, trace):
        dcmsend(node.dicom_port, *paths)
    seen = calls(trace)
    answers = [call for call in seen if call.name.startswith("send") and any(map(SUCCESS.search, call.texts))]
    renames = [call for call in seen if call.name in RENAMES and call.texts[-1].endswith(b".dcm")]
    syncs = [call for call in seen if call.name in SYNCS]
    assert len(answers) == len(renames) == IMAGES
    for rename, answer in zip(renames, answers, strict=True):
        temporary, final = (Path(text.decode()) for text in rename.texts)
        assert temporary.parent.name == "incoming"
        assert rename.ended < answer.began
        assert any(sync.file == temporary and sync.ended < rename.began for sync in syncs)
        after = [sync for sync in syncs if rename.ended < sync.began and sync.ended < answer.began]
        assert any(sync.file == final.parent for sync in after), "the folder"
        assert any(sync.file == node.data / "node.db-wal" for sync in after), "the commit"


def test_each_message_is_on_the_disk_before_it_is_acknowledged(node: Node, tmp_path: Path) -> None:
    trace = tmp_path / "hl7.strace"
    message = "MSH|^~\\&|LIS|L|NODE|V|20260302090000||ADT^A08|ID{}|P|2.5\r"
    with traced("hl7", node, node.hl7_port, trace):
        mllp_send(node.hl7_port, *(message.format(number).encode() for number in range(MESSAGES)))
    seen = calls(trace)
    sent = [call for call in seen if call.name.startswith("send")]
    synced = [call for call in seen if call.name in SYNCS and call.file == node.data / "node.db-wal"]
    answered = 0
    for number in range(MESSAGES):
        (answer,) = [call for call in sent if f"MSA|AA|ID{number}".encode() in b"".join(call.texts)]
        assert any(answered < sync.began and sync.ended < answer.began for sync in synced)
        answered = answer.began
