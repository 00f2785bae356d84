"""Durably acknowledged messages per second beside a bare write and fsync, and interpretation beside hl7apy.

Run by hand: ``python -m tests.benchmarks.hl7_throughput [--seconds S] [--rounds N]``. All is measured in turn, round
by round, on the same machine, file system and load, so the ratios are what to compare. Where the package ``hl7``
(python-hl7) is installed, its asyncio server, which stores nothing, stands beside the listener; it is no dependency.
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
from importlib.util import find_spec
from pathlib import Path

from hl7apy.parser import parse_message

from node.hl7.framing import FrameDecoder, frame
from node.hl7.interpret import interpret_frame
from node.settings import Settings

SENDERS = (1, 4, 8)
START_PATIENCE_S = 120.0


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


def acknowledged(port: int, senders: int, seconds: float, turn: int) -> dict[str, float]:
    """Acknowledged messages per second of all senders, and how long an acknowledgement takes."""
    latencies: list[list[float]] = [[] for _ in range(senders)]
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(
            target=send, args=(port, ((turn * 100 + senders) * 100 + one) * 1_000_000, until, latencies[one])
        )
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
    return ready(subprocess.Popen([sys.executable, "-m", "node", "hl7", "--config", str(config)]), port)


def ready(process: subprocess.Popen[bytes], port: int) -> subprocess.Popen[bytes]:
    """Wait until the process listens."""
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


PYTHON_HL7 = """
import asyncio, sys
from hl7.mllp import start_hl7_server

async def answer(reader, writer):
    while not writer.is_closing():
        message = await reader.readmessage()
        writer.writemessage(message.create_ack())
        await writer.drain()

async def main():
    async with await start_hl7_server(answer, port=int(sys.argv[1])) as server:
        await server.serve_forever()

asyncio.run(main())
"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def python_hl7(port: int) -> subprocess.Popen[bytes]:
    """The asyncio server of python-hl7 in a process of its own, ready."""
    return ready(subprocess.Popen([sys.executable, "-c", PYTHON_HL7, str(port)], stderr=subprocess.DEVNULL), port)


def measured(folder: Path, seconds: float, rounds: int) -> dict[str, object]:
    """Each thing in turn, round by round; medians over the rounds."""
    servers = {"listener": (free_port(), listener)}
    if find_spec("hl7"):
        servers["python_hl7"] = (free_port(), lambda _, port: python_hl7(port))
    processes = [start(folder, port) for port, start in servers.values()]
    bare: list[float] = []
    found: dict[str, list[dict[str, float]]] = {}
    try:
        for turn in range(rounds):
            bare.append(bare_rate(folder, seconds))
            for name, (port, _) in servers.items():
                for senders in SENDERS:
                    rates = acknowledged(port, senders, seconds, turn)
                    rates["ratio_to_bare"] = rates["per_s"] / bare[-1]
                    found.setdefault(f"{name}_senders_{senders}", []).append(rates)
    finally:
        for process in processes:
            process.terminate()
            process.wait()
    medians = {
        name: {key: round(statistics.median(one[key] for one in some), 3) for key in some[0]}
        for name, some in found.items()
    }
    beside = "measured" if "python_hl7" in servers else "not measured: the package hl7 (python-hl7) is not installed"
    return {"bare_fsync_per_s": statistics.median(bare), "acknowledged": medians, "python_hl7": beside}


def main() -> None:
    """Run it and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each part")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        report = {"message_bytes": len(message(0)), **measured(Path(name), asked.seconds, asked.rounds)}
    ours, hl7apy = interpretation_rates(asked.seconds)
    report |= {
        "interpreted_per_s": ours,
        "hl7apy_parse_message_per_s": hl7apy,
        "interpretation_ratio": ours / hl7apy,
    }
    json.dump(report, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
