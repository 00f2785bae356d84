"""HL7 frames without what they say of one patient: the segments from a PID of the patient to the next PID go.

A message in which no other patient is left goes as a whole, and a frame in which no message is left.
"""

import re
from collections.abc import Collection, Iterator

from node.errors import MessageError
from node.hl7.context import PatientNumber, patient_number
from node.hl7.messages import BATCH_SEGMENTS, Sent, as_sent, codec_of, decode, read_header
from node.hl7.segments import Delimiters, Segment, scan_segment
from node.operate.words import telling
from node.settings import Identity, Settings

NAMING = ("PID", "MRG")
NAMES = {"PID": (5, 9), "MRG": (7,)}
"""Fields with names of the patient."""
USUAL = Delimiters(field="|", component="^", repetition="~", escape="\\", subcomponent="&")
"""Of a message whose header does not say."""
SIGNS = re.compile(r"[A-Za-z0-9]+")


def names_patient(raw: bytes, settings: Settings, numbers: Collection[PatientNumber]) -> bool:
    """Whether a PID or MRG of the frame has one of the numbers, in whichever place patient numbers are sent."""
    return without_patient(raw, settings, numbers) != raw


def without_patient(raw: bytes, settings: Settings, numbers: Collection[PatientNumber]) -> bytes | None:
    """The frame without the patient; ``None`` where nothing of it is left, and the same bytes where it names others.

    Line ends and everything else stay as they were sent.
    """
    if not any(_stretch(number) in _plain(raw) for _, number in numbers):
        return raw
    text, codec = _read(raw, settings)
    kept: list[Sent] = []
    messages = messages_of(text)
    for message in messages:
        kept += _without(message, settings, numbers)
    if len(kept) == sum(map(len, messages)):
        return raw
    if not any(segment.read.startswith("MSH") for segment in kept):
        return None
    return "".join(segment.text for segment in kept).encode(codec, errors="replace")


def _read(raw: bytes, settings: Settings) -> tuple[str, str]:
    """The text of a frame and its codec; each byte a letter where nobody can read it."""
    try:
        text = decode(raw, settings.hl7.default_charset, settings.hl7.charsets)
        return text, codec_of(raw, settings.hl7.default_charset, settings.hl7.charsets)
    except MessageError:
        return raw.decode("latin-1"), "latin-1"


def _plain(raw: bytes) -> bytes:
    """Bytes in which a number can be sought, of UTF-16 too."""
    return raw.replace(b"\0", b"")


def _stretch(number: str) -> bytes:
    """The longest part of a number that is sent as it is, whatever the character set, and not escaped."""
    return max(SIGNS.findall(number), key=len, default="").encode()


def messages_of(text: str) -> list[list[Sent]]:
    """The segments of each message; headers and trailers of batches are messages of their own."""
    found: list[list[Sent]] = [[]]
    for segment in as_sent(text):
        if segment.read[:3] in ("MSH", *BATCH_SEGMENTS):
            found.append([])
        found[-1].append(segment)
    return [one for one in found if one]


def _without(message: list[Sent], settings: Settings, numbers: Collection[PatientNumber]) -> list[Sent]:
    head, patients = _grouped(message)
    try:
        delimiters, identity = _rules(message, settings)
    except MessageError:
        # Nobody reads it: it goes as a whole where it says or may say something of the patient.
        said = any(_is_of(group, USUAL, settings.identity, numbers) for group in (head, *patients))
        return [] if said or _stands_in(message, numbers) else message
    if not patients:
        return [] if _is_of(head, delimiters, identity, numbers) else message
    left = [group for group in patients if not _is_of(group, delimiters, identity, numbers)]
    return [*head, *(segment for group in left for segment in group)] if left else []


def _rules(message: list[Sent], settings: Settings) -> tuple[Delimiters, Identity]:
    """How a message is read: its delimiters, and whose its numbers are.

    Raises
    ------
    MessageError
        It has no header, or none that can be read.
    """
    header = read_header(message[0].read)
    return header.delimiters, settings.identity_of(header.sender)


def _stands_in(message: list[Sent], numbers: Collection[PatientNumber]) -> bool:
    """Whether a number stands alone in a message, and is long enough to be of this patient."""
    text = "".join(segment.text for segment in message)
    return any(
        re.search(rf"(?<![0-9A-Za-z]){re.escape(number)}(?![0-9A-Za-z])", text)
        for number in telling(number for _, number in numbers)
    )


def _grouped(message: list[Sent]) -> tuple[list[Sent], list[list[Sent]]]:
    """What stands before the first patient, and the segments of each."""
    groups: list[list[Sent]] = [[]]
    for segment in message:
        if segment.read.startswith("PID"):
            groups.append([])
        groups[-1].append(segment)
    return groups[0], groups[1:]


def names_of(raw: bytes, settings: Settings, numbers: Collection[PatientNumber]) -> set[str]:
    """The names of the patient in a frame, components parted by ``^``; none of others in it."""
    text, _ = _read(raw, settings)
    found = set()
    for message in messages_of(text):
        try:
            delimiters, identity = _rules(message, settings)
        except MessageError:
            continue
        head, patients = _grouped(message)
        for group in patients or [head]:
            if _is_of(group, delimiters, identity, numbers):
                found |= {name for segment in group for name in _names(segment.read, delimiters)}
    return found


def numbers_of(raw: bytes, settings: Settings) -> set[PatientNumber]:
    """The numbers of all patients of whom a frame says something."""
    text, _ = _read(raw, settings)
    found: set[PatientNumber] = set()
    for message in messages_of(text):
        try:
            delimiters, identity = _rules(message, settings)
        except MessageError:
            delimiters, identity = USUAL, settings.identity
        for segment in message:
            if segment.read[:3] in NAMING:
                found.update(_numbers(scan_segment(segment.read, delimiters), identity))
    return found


def _names(line: str, delimiters: Delimiters) -> Iterator[str]:
    if line[:3] in NAMING:
        segment = scan_segment(line, delimiters)
        for field in NAMES[segment.name]:
            yield from (name.replace(delimiters.component, "^") for name in segment.repetitions(field))


def _is_of(group: list[Sent], delimiters: Delimiters, identity: Identity, numbers: Collection[PatientNumber]) -> bool:
    return any(
        number in numbers
        for segment in group
        if segment.read[:3] in NAMING
        for number in _numbers(scan_segment(segment.read, delimiters), identity)
    )


def _numbers(segment: Segment, identity: Identity) -> list[PatientNumber]:
    fields = (3, 2, 4) if segment.name == "PID" else (1, 4)
    found = [patient_number(segment, field, identity) for field in fields]
    # Also what is no patient's number by its type, where it has the same digits.
    alone = [(identity.default_authority, segment.text(field)) for field in fields if not segment.text(field, 4)]
    return [one for one in (*found, *alone) if one is not None and one[1]]
