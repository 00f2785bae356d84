"""Memory of the listener after many messages and many connections, beside what it was after the first thousand.

Run by hand: ``python -m tests.benchmarks.hl7_soak [--messages N] [--connections N]``. Eight senders keep a hundred
frames under way each; then connections are opened, used for one message and closed, one after the other.
"""

import argparse
import json
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from node.hl7.framing import FrameDecoder, frame
from tests.benchmarks.hl7_throughput import free_port, listener

SENDERS = 8
WINDOW = 100
FIRST = 1000
PAGE_KIB = 4


def small(number: int) -> bytes:
    """A message of some 150 bytes; every number gives other bytes."""
    return (
        f"MSH|^~\\&|HIS|H|NODE|V|20260302090000||ADT^A08|{number}|P|2.5\r"
        f"PID|1||{number:08d}^^^H^MR||Doe^Jane||19600229|F\r"
    ).encode()


def resident_mib(pid: int) -> float:
    """Memory of a process."""
    return round(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KIB / 1024, 1)


def send(port: int, numbers: range) -> None:
    """Send the messages of these numbers, a window of them under way at a time."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as peer:
        decoder = FrameDecoder(1 << 20)
        for start in range(0, len(numbers), WINDOW):
            window = numbers[start : start + WINDOW]
            peer.sendall(b"".join(frame(small(number)) for number in window))
            answered = 0
            while answered < len(window):
                replies = decoder.feed(peer.recv(65536))
                if not all(b"MSA|AA|" in reply for reply in replies):
                    raise RuntimeError(f"not acknowledged: {replies!r}")
                answered += len(replies)


def send_all(port: int, first: int, count: int) -> None:
    """Send ``count`` messages from all senders together."""
    share = count // SENDERS
    threads = [
        threading.Thread(target=send, args=(port, range(first + one * share, first + (one + 1) * share)))
        for one in range(SENDERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=10_000)
    asked = parser.parse_args()
    port, memory = free_port(), {}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        process = listener(Path(name), port)
        try:
            began, sent = time.monotonic(), 0
            for goal in sorted({FIRST, *(asked.messages * tenth // 10 for tenth in range(1, 11))}):
                send_all(port, sent, goal - sent)
                sent = goal
                memory[f"messages_{sent}"] = resident_mib(process.pid)
                sys.stderr.write(f"{sent} messages, {memory[f'messages_{sent}']} MiB\n")
            seconds = time.monotonic() - began
            for number in range(asked.connections):
                send(port, range(sent + number, sent + number + 1))
                if number + 1 in (FIRST, asked.connections):
                    memory[f"connections_{number + 1}"] = resident_mib(process.pid)
        finally:
            process.terminate()
            process.wait()
    json.dump({"memory_mib_after": memory, "messages_per_s": round(sent / seconds)}, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
