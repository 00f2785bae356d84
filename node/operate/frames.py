"""HL7 frames without what they say of one patient: the segments from a PID of the patient to the next PID go.

A message in which no other patient is left goes as a whole, and a frame in which no message is left.
"""

import re
from collections.abc import Collection, Iterator

from node.errors import MessageError
from node.hl7.context import PatientNumber, patient_number
from node.hl7.messages import BATCH_SEGMENTS, codec_of, decode, read_header
from node.hl7.segments import Delimiters, Segment, scan_segment
from node.settings import Settings

NAMING = ("PID", "MRG")
NAMES = {"PID": (5, 9), "MRG": (7,)}
"""Fields with names of the patient."""
LINE_END = re.compile(r"(\r\n|\r|\n)")


def names_patient(raw: bytes, settings: Settings, numbers: Collection[PatientNumber]) -> bool:
    """Whether a PID or MRG of the frame has one of the numbers, in whichever place patient numbers are sent."""
    return without_patient(raw, settings, numbers) != raw


def without_patient(raw: bytes, settings: Settings, numbers: Collection[PatientNumber]) -> bytes | None:
    """The frame without the patient; ``None`` where nothing of it is left, and the same bytes where it names others.

    Line ends and everything else stay as they were sent.
    """
    if not any(number.encode(errors="replace") in _plain(raw) for _, number in numbers):
        return raw
    try:
        text = decode(raw, settings.hl7.default_charset, settings.hl7.charsets)
        codec = codec_of(raw, settings.hl7.default_charset, settings.hl7.charsets)
    except MessageError:
        text, codec = raw.decode("latin-1"), "latin-1"
    kept, changed = [], False
    for message in messages_of(text):
        left = _without(message, settings, numbers)
        changed |= left != message
        kept += left
    if not changed:
        return raw
    if not any(line.lstrip(" \t\ufeff").startswith("MSH") for line in kept):
        return None
    return "".join(kept).encode(codec, errors="replace")


def _plain(raw: bytes) -> bytes:
    """Bytes in which a number can be sought, of UTF-16 too."""
    return raw.replace(b"\0", b"")


def messages_of(text: str) -> list[list[str]]:
    """The lines of each message with their ends; headers and trailers of batches are messages of their own."""
    parts = LINE_END.split(text)
    lines = [line + end for line, end in zip(parts[::2], [*parts[1::2], ""], strict=True)]
    found: list[list[str]] = [[]]
    for line in lines:
        begins = line.lstrip(" \t\ufeff\v")[:3]
        if begins in ("MSH", *BATCH_SEGMENTS):
            found.append([])
        found[-1].append(line)
    return [one for one in found if one]


def _without(lines: list[str], settings: Settings, numbers: Collection[PatientNumber]) -> list[str]:
    header = lines[0].strip(" \t\ufeff\v\r\n")
    if not header.startswith("MSH"):
        return lines
    try:
        delimiters = read_header(header).delimiters
    except MessageError:
        return [] if any(number in line for line in lines for _, number in numbers) else lines
    head, patients = _grouped(lines)
    if not patients:
        return [] if _is_of(head, delimiters, settings, numbers) else lines
    left = [group for group in patients if not _is_of(group, delimiters, settings, numbers)]
    return [*head, *(line for group in left for line in group)] if left else []


def _grouped(lines: list[str]) -> tuple[list[str], list[list[str]]]:
    """What stands before the first patient, and the lines of each."""
    groups: list[list[str]] = [[]]
    for line in lines:
        if line.startswith("PID"):
            groups.append([])
        groups[-1].append(line)
    return groups[0], groups[1:]


def names_of(raw: bytes, settings: Settings, numbers: Collection[PatientNumber]) -> set[str]:
    """The names of the patient in a frame, components parted by ``^``; none of others in it."""
    try:
        text = decode(raw, settings.hl7.default_charset, settings.hl7.charsets)
    except MessageError:
        text = raw.decode("latin-1")
    found = set()
    for lines in messages_of(text):
        try:
            delimiters = read_header(lines[0].strip(" \t\ufeff\v\r\n")).delimiters
        except MessageError:
            continue
        head, patients = _grouped(lines)
        for group in patients or [head]:
            if _is_of(group, delimiters, settings, numbers):
                found |= {name for line in group for name in _names(line.rstrip("\r\n"), delimiters)}
    return found


def _names(line: str, delimiters: Delimiters) -> Iterator[str]:
    if line[:3] in NAMING:
        segment = scan_segment(line, delimiters)
        for field in NAMES[segment.name]:
            yield from (name.replace(delimiters.component, "^") for name in segment.repetitions(field))


def _is_of(lines: list[str], delimiters: Delimiters, settings: Settings, numbers: Collection[PatientNumber]) -> bool:
    for line in lines:
        if line[:3] in NAMING:
            segment = scan_segment(line.rstrip("\r\n"), delimiters)
            if any(one in numbers for one in _numbers(segment, settings)):
                return True
    return False


def _numbers(segment: Segment, settings: Settings) -> list[PatientNumber]:
    fields = (3, 2, 4) if segment.name == "PID" else (1, 4)
    found = [patient_number(segment, field, settings.identity) for field in fields]
    # Also what is no patient's number by its type, where it has the same digits.
    alone = [
        (settings.identity.default_authority, segment.text(field)) for field in fields if not segment.text(field, 4)
    ]
    return [one for one in (*found, *alone) if one is not None and one[1]]
