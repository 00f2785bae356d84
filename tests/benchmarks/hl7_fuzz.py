"""Mutations of real and hard messages through framing, acknowledgement and interpretation.

Run by hand: ``python -m tests.benchmarks.hl7_fuzz [--inputs N] [--seed S]``. What is mutated: the real samples, the
cases that were once read wrongly, and the messages of a made-up hospital of five countries.
Every input has to end in an interpretation and an acknowledgement, quickly, and every ratio has to come from numbers
that stand in the input. Prints one JSON object; exit code 1 when anything was wrong.
"""

import argparse
import json
import math
import random
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from node.hl7.acknowledge import build_reply, receive
from node.hl7.framing import FrameDecoder, frame
from node.hl7.report import interpretation_json
from node.settings import Settings
from tests.benchmarks.hospital.truth import Frame
from tests.benchmarks.hospital.year import Hospital

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
SAMPLES = ("data/hl7-samples/*.hl7", "cases/hl7/*.hl7", "cases/identity/*/*.hl7")
AT = datetime(2026, 3, 2, tzinfo=UTC)
SLOW_S = 2.0
"""One input that takes the processor longer than this is as good as a hang."""
PAGE_KIB = 4
PROGRESS = 1_000
"""Inputs between two lines that tell how far it is."""
SHOWN_SIGNS = 3_000
"""Of a faulty input, which is made up."""


def samples() -> list[bytes]:
    """What is mutated, each once."""
    found = [path.read_bytes() for pattern in SAMPLES for path in sorted(SHARED.glob(pattern))]
    story = Hospital(seed=0, patients=40, wrong=0.3).tell()
    found += [event.raw for event in story.events if isinstance(event, Frame)]
    return list(dict.fromkeys(found))


def mutated(rng: random.Random, sources: list[bytes]) -> bytes:
    """One to six mutations of a sample: bytes, spans, segments, delimiters, digits, another sample spliced in."""
    raw = bytearray(rng.choice(sources))
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(raw) + 1)
        end = min(len(raw), at + rng.randint(1, 40))
        kind = rng.randrange(8)
        if kind == 0 and raw:
            raw[min(at, len(raw) - 1)] = rng.randrange(256)
        elif kind == 1:
            del raw[at:end]
        elif kind == 2:
            raw[at:at] = raw[at:end]
        elif kind == 3:
            raw[at:at] = rng.choice(
                [b"|", b"^", b"~", b"\\", b"&", b"\r", b"\n", b"\x1c", b"\x0b", b"\x00", b"%", b"-"]
            )
        elif kind == 4:
            lines = bytes(raw).split(b"\r")
            rng.shuffle(lines)
            raw = bytearray(b"\r".join(lines))
        elif kind == 5:
            raw = raw[:at]
        elif kind == 6:
            digits = [place for place, byte in enumerate(raw) if 48 <= byte <= 57]
            for place in rng.sample(digits, min(len(digits), 5)):
                raw[place] = rng.choice(b"0123456789.,<>-eE ")
        else:
            other = rng.choice(sources)
            start = rng.randrange(len(other))
            raw[at:end] = other[start : start + rng.randint(1, 400)]
    return bytes(raw)


def faults_of(raw: bytes, settings: Settings) -> tuple[list[str], int]:
    """What is wrong with how an input was taken, and how many ratios it gave."""
    faults = []
    if build_reply(receive(raw, "latin-1"), "accepted", reason=None, at=AT).code not in {"AA", "CA", ""}:
        faults.append("no acknowledgement")
    ratios = 0
    messages = interpretation_json(raw, settings)
    if not messages:
        faults.append("no interpretation")
    for shown in messages:
        for count in shown["cbcs"]:
            faults += _garbage(count, raw)
            ratios += count["nlr"] is not None
    return faults, ratios


def _garbage(count: dict[str, object], raw: bytes) -> list[str]:
    nlr, lymphocytes = count["nlr"], count["lymphocytes_10e9_per_l"]
    cells = [count[f"{name}_10e9_per_l"] for name in ("neutrophils", "lymphocytes", "platelets")]
    faults = [
        f"impossible {value}"
        for value in (nlr, count["plr"], *cells)
        if isinstance(value, float) and not 0 <= value < math.inf
    ]
    if (
        isinstance(nlr, float)
        and isinstance(cells[0], float)
        and isinstance(lymphocytes, float)
        and not (lymphocytes and math.isclose(nlr, cells[0] / lymphocytes, rel_tol=1e-6))
    ):
        faults.append("NLR is not neutrophils over lymphocytes")
    if nlr is not None and count["basis"] == "absolute":
        tokens = {float(one) for one in re.findall(rb"\d+(?:\.\d+)?|\.\d+", raw)} - {0.0}
        faults += [f"{value} does not stand in the message" for value in cells[:2] if not _stands(value, tokens)]
    return faults


def _stands(value: object, tokens: set[float]) -> bool:
    """Whether a count is a number of the message, or the sum of two (bands and segmented), in some unit."""
    if not isinstance(value, float) or value == 0:
        return True
    # Per µL and per pL, and Japan's 10²/µL and 10⁴/µL.
    scales = tuple(value * factor for factor in (1, 1e3, 1e-3, 10, 0.1))
    return any(
        math.isclose(scaled, one, rel_tol=1e-6) or any(math.isclose(scaled - one, two, rel_tol=1e-6) for two in tokens)
        for scaled in scales
        for one in tokens
    )


def framed_in_pieces(rng: random.Random, raw: bytes) -> bool:
    """Whether the frame comes out whole when it arrives in pieces; only where it holds no framing byte itself."""
    if b"\x0b" in raw or b"\x1c" in raw:
        return True
    stream, decoder, out = frame(raw), FrameDecoder(1 << 24), []
    while stream:
        size = rng.randint(1, 4096)
        out += decoder.feed(stream[:size])
        stream = stream[size:]
    return out == ([raw] if raw else out)


def resident_mib() -> float:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KIB / 1024


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    rng, settings = random.Random(asked.seed), Settings()
    sources = samples()
    faults: dict[str, int] = {}
    ratios, slowest, memory = 0, 0.0, {}
    for number in range(1, asked.inputs + 1):
        raw = mutated(rng, sources)
        began = time.process_time()
        found, some = faults_of(raw, settings)
        slowest = max(slowest, time.process_time() - began)
        ratios += some
        if not framed_in_pieces(rng, raw):
            found.append("the frame did not come out whole")
        for fault in found:
            faults[f"input {number}: {fault}"] = 1
            print(f"input {number}: {fault}: {raw!r}"[:SHOWN_SIGNS], file=sys.stderr, flush=True)
        if number % PROGRESS == 0:
            told = f"{number} inputs, {ratios} ratios, {len(faults)} faults, slowest {slowest:.3f} s"
            print(told, file=sys.stderr, flush=True)
        if number in (asked.inputs // 10, asked.inputs // 2, asked.inputs):
            memory[number] = round(resident_mib(), 1)
    report = {
        "inputs": asked.inputs,
        "samples": len(sources),
        "seed": asked.seed,
        "ratios": ratios,
        "slowest_s": round(slowest, 3),
    }
    report |= {"memory_mib_after": memory, "faults": list(faults)[:20], "faulty": len(faults)}
    json.dump(report, sys.stdout, indent=2)
    return int(bool(faults) or slowest > SLOW_S)


if __name__ == "__main__":
    sys.exit(main())
