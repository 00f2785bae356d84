"""Durably acknowledged messages per second beside a bare write and fsync, and interpretation beside hl7apy.

Run by hand: ``python -m tests.benchmarks.hl7_throughput [--seconds S]``. Everything of one run is measured on the same
machine, file system and load, so the ratios are what to compare.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from hl7apy.parser import parse_message

from node.hl7.framing import FrameDecoder, frame
from node.hl7.interpret import interpret_frame
from node.settings import Settings

SENDERS = (1, 8)
START_PATIENCE_S = 30.0


def message(number: int) -> bytes:
    """An ORU^R01 of about 2.4 kB with 25 OBX; every number gives other bytes."""
    codes = ["751-8^Neutrophils^LN", "731-0^Lymphocytes^LN", "777-3^Platelets^LN"]
    codes += [f"X{place}^Analyte of the haematology panel {place}^L" for place in range(22)]
    obx = [f"OBX|{n}|NM|{code}||{n}.5|10*9/L|1.0-80.0||||F|||20260302083000" for n, code in enumerate(codes, start=1)]
    msh = f"MSH|^~\\&|LAB|HOSPITAL|NODE|VBQ|20260302090000||ORU^R01^ORU_R01|C{number}|P|2.5"
    head = [msh, f"PID|1||{number:08d}^^^HOSPITAL^MR||||19600229|F", f"OBR|1|P{number}|F{number}|CBC|||20260302083000"]
    return ("\r".join([*head, *obx]) + "\r").encode()


def bare_rate(folder: Path, seconds: float) -> float:
    """Messages per second of writing and fsyncing the same bytes to one file."""
    count, until = 0, time.monotonic() + seconds
    with (folder / "bare").open("wb", buffering=0) as file:
        while time.monotonic() < until:
            file.write(message(count))
            os.fsync(file.fileno())
            count += 1
    return count / seconds


def send(port: int, first: int, until: float, latencies_s: list[float]) -> None:
    """Send one message after the other, each after the acknowledgement of the one before."""
    with socket.create_connection(("127.0.0.1", port)) as peer:
        decoder, number = FrameDecoder(1 << 20), first
        while time.monotonic() < until:
            began = time.monotonic()
            peer.sendall(frame(message(number)))
            replies: list[bytes] = []
            while not replies:
                replies = decoder.feed(peer.recv(65536))
            if b"|AA|" not in replies[0]:
                raise RuntimeError(f"not acknowledged: {replies[0]!r}")
            latencies_s.append(time.monotonic() - began)
            number += 1


def acknowledged(port: int, senders: int, seconds: float) -> dict[str, float]:
    """Acknowledged messages per second of all senders, and how long an acknowledgement takes."""
    latencies: list[list[float]] = [[] for _ in range(senders)]
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=send, args=(port, (senders * 100 + one) * 1_000_000, until, latencies[one]))
        for one in range(senders)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [one * 1000 for some in latencies for one in some]
    cuts = statistics.quantiles(everything, n=100)
    return {"per_s": len(everything) / seconds, "p50_ms": cuts[49], "p99_ms": cuts[98]}


def listener(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A real listener in a process of its own, ready."""
    config = folder / "node.toml"
    config.write_text(f'[storage]\nfolder = "data"\n[hl7]\nport = {port}\n[logging]\nlevel = "warning"\n')
    process = subprocess.Popen([sys.executable, "-m", "node", "hl7", "--config", str(config)])
    until = time.monotonic() + START_PATIENCE_S
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            return process
    process.kill()
    raise RuntimeError("the listener did not start")


def interpretation_rates(seconds: float) -> tuple[float, float]:
    """Messages per second and core: this interpretation, and ``hl7apy.parse_message`` alone."""
    settings, rates = Settings(), []
    for read in (lambda raw: interpret_frame(raw, settings), lambda raw: parse_message(raw.decode())):
        read(message(0))
        count, began = 0, time.process_time()
        while time.process_time() - began < seconds:
            read(message(count))
            count += 1
        rates.append(count / (time.process_time() - began))
    return rates[0], rates[1]


def main() -> None:
    """Run it and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each part")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        bare = bare_rate(Path(name), seconds)
        process = listener(Path(name), port)
        try:
            found = {senders: acknowledged(port, senders, seconds) for senders in SENDERS}
        finally:
            process.terminate()
            process.wait()
    ours, hl7apy = interpretation_rates(seconds)
    report = {
        "message_bytes": len(message(0)),
        "bare_fsync_per_s": bare,
        "acknowledged": {
            f"senders_{senders}": {**rates, "ratio_to_bare": rates["per_s"] / bare} for senders, rates in found.items()
        },
        "interpreted_per_s": ours,
        "hl7apy_parse_message_per_s": hl7apy,
        "interpretation_ratio": ours / hl7apy,
    }
    json.dump(report, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
