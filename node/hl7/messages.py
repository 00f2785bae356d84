"""From the bytes of a frame to messages: character set, line ends, batches, headers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from analytics.reasons import Reason
from node.errors import MessageError
from node.hl7.segments import SEGMENT_START, Delimiters, Segment, part, read_segment

BOM = b"\xef\xbb\xbf"
UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")
JAPANESE = "iso2022_jp_ext"
"""JIS X 0201, 0208 and 0212 by the escape sequences of ISO 2022."""
CHARSETS = {
    "ASCII": "ascii",
    "ISOIR6": "ascii",
    "UTF8": "utf-8",
    "UNICODE": "utf-8",
    "UNICODEUTF8": "utf-8",
    "ISOIR192": "utf-8",
    "GB180302000": "gb18030",
    "GB18030": "gb18030",
    "GBK": "gb18030",
    "GB2312": "gb18030",
    "BIG5": "big5",
    "ISOIR13": JAPANESE,
    "ISOIR14": "shift_jis",
    "ISOIR87": JAPANESE,
    "ISOIR159": JAPANESE,
    "8859": "iso8859-1",
    "KSX1001": "euc_kr",
    "EUCKR": "euc_kr",
    "KSC5601": "cp949",
    "KSC56011987": "cp949",
    "MS949": "cp949",
    "CP949": "cp949",
    "SHIFTJIS": "shift_jis",
    "SJIS": "shift_jis",
    "MS932": "cp932",
    "CP932": "cp932",
    "WINDOWS31J": "cp932",
    "EUCJP": "euc_jp",
    "GB231280": "gb18030",
    "CP936": "gb18030",
    "TIS620": "tis_620",
    "WINDOWS874": "cp874",
    "CP874": "cp874",
    "KOI8R": "koi8_r",
    "KOI8U": "koi8_u",
    "ISOIR100": "iso8859-1",
    "LATIN1": "iso8859-1",
    "LATIN2": "iso8859-2",
    "USASCII": "ascii",
    "IBM850": "cp850",
    "CP850": "cp850",
    **{f"WINDOWS{number}": f"cp{number}" for number in range(1250, 1259)},
    **{f"CP{number}": f"cp{number}" for number in range(1250, 1259)},
    **{f"8859{number}": f"iso8859-{number}" for number in (*range(1, 12), *range(13, 16))},
    **{f"ISO8859{number}": f"iso8859-{number}" for number in (*range(1, 12), *range(13, 16))},
}
"""Names of MSH-18 (HL7 table 0211 and what senders write), letters and digits only, and the Python codec."""

NO_RULES: Mapping[str, str] = MappingProxyType({})
"""Codecs by sender, where the site has set none."""
ONE_BYTE = re.compile(r"ascii|iso8859-\d+|cp125\d")
"""Sets of which no text, by its letters, is UTF-8 by chance."""
JAPANESE_ESCAPE = re.compile(rb"\x1b\$(?:[@B]|\([@D])")
"""The switch to a set of kanji: bytes that are ASCII throughout and Japanese all the same."""
GLUED = re.compile(r"(?=(?:PID|PD1|PV1|PV2|NK1|ORC|OBR|OBX|NTE|SPM|SCH|RGS|AIS|AIP|AIL|DG1|PR1|MRG|EVN|TQ1)\|)")
"""Where a segment begins in a message without line ends."""
_NAMED_OTHERWISE = re.compile(
    r"(?:msh|pid|pd1|pv1|pv2|nk1|orc|obr|obx|nte|spm|sch|rgs|ais|aip|ail|aig|dg1|pr1|mrg|evn|tq1|arq|rxe|rxa)\|",
    re.IGNORECASE,
)
"""A segment whose name is not all upper case, as 2.5.1 (2.5.2) has it. Other engines take it for an unknown segment;
here it is read, as no text of a field that was broken over lines begins so."""
BATCH_SEGMENTS = ("FHS", "BHS", "BTS", "FTS")


CODES_BY_TRIGGER = {
    **dict.fromkeys(("R01", "R03", "R30", "R31", "R32"), "ORU"),
    **dict.fromkeys((f"R{number}" for number in range(21, 25)), "OUL"),
    **dict.fromkeys((f"A{number:02}" for number in range(1, 63)), "ADT"),
    **dict.fromkeys((f"S{number}" for number in range(12, 27)), "SIU"),
    "O01": "ORM",
}
"""The message that a trigger event belongs to (HL7 table 0354), where MSH-9 holds the event alone."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What MSH says. Fields are empty where nothing was sent."""

    delimiters: Delimiters
    fields: tuple[str, ...]
    """MSH fields still escaped; ``fields[0]`` is the segment name, ``fields[n - 1]`` is MSH-n for n ≥ 2."""
    content_code: str = ""
    """The message code that the segments speak for, where MSH-9 names none."""

    def raw(self, number: int) -> str:
        """MSH-``number`` (≥ 2), still escaped."""
        return self.fields[number - 1] if number <= len(self.fields) else ""

    def text(self, number: int, component: int = 1) -> str:
        """One component of MSH-``number`` (≥ 3), unescaped and stripped."""
        return part(self.raw(number).split(self.delimiters.repetition)[0], self.delimiters, component)

    @property
    def message_code(self) -> str:
        """MSH-9.1, for example ``ORU``; also where the structure (``ORU_R01``), both in one component (``ORU R01``) or
        the trigger alone (``R01``) was sent in its place; else what the segments of the message are those of."""
        sent = re.match(r"([A-Z]{3})(?:[_ -]|$)", self.text(9, 1).upper())
        return sent[1] if sent else CODES_BY_TRIGGER.get(self.text(9, 1).upper(), self.content_code)

    @property
    def trigger(self) -> str:
        """MSH-9.2, for example ``R01``."""
        if sent := self.text(9, 2).upper():
            return sent
        alone = re.fullmatch(r"(?:[A-Z]{3}[_ -])?([A-Z]\d\d)", self.text(9, 1).upper())
        return alone[1] if alone else ""

    @property
    def type(self) -> str:
        """Message code and trigger, for example ``ORU^R01``."""
        return f"{self.message_code}^{self.trigger}" if self.trigger else self.message_code

    @property
    def control_id(self) -> str:
        """MSH-10."""
        return self.text(10)

    @property
    def processing_id(self) -> str:
        """MSH-11.1: P production, T training, D debugging."""
        return self.text(11).upper()

    @property
    def version(self) -> str:
        """MSH-12.1."""
        return self.text(12)

    @property
    def sender(self) -> str:
        """Sending application and facility as ``application|facility``."""
        return f"{self.text(3)}|{self.text(4)}"


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a frame; ``header`` is ``None`` where MSH cannot be read, ``problem`` says why."""

    header: Header | None
    lines: tuple[str, ...] = ()
    """The segments after MSH."""
    problem: Reason | None = None

    def segments(self, *names: str) -> list[Segment]:
        """The segments of these names in their order, read through hl7apy.

        Raises
        ------
        MessageError
            One of them cannot be read.
        """
        if self.header is None:
            return []
        return [read_segment(line, self.header.delimiters) for line in self.lines if line[:3] in names]


def read_header(line: str) -> Header:
    """Read an MSH segment.

    Raises
    ------
    MessageError
        It has no usable delimiters.
    """
    delimiters = Delimiters.of(line)
    return Header(delimiters=delimiters, fields=tuple(line.split(delimiters.field)))


def codec_of(raw: bytes, default_charset: str, by_sender: Mapping[str, str] = NO_RULES) -> str:
    """The Python codec of a frame.

    By its byte order mark, else the rule for its sender (``APPLICATION|FACILITY``), else MSH-18 (but UTF-8 under the
    name of a set of one byte, left by an engine on the way, is UTF-8), else UTF-8 where it fits, else GB 18030 where
    all that is not ASCII comes in pairs as Chinese text has them, else the default (a default other than Latin-1 is
    the site's word, and goes before Chinese).

    Raises
    ------
    MessageError
        MSH-18 names a character set that is not known.
    """
    if raw.startswith(BOM):
        return "utf-8-sig"
    if raw.startswith(UTF_16_BOMS):
        return "utf-16"
    fields, delimiters = _header_fields(raw)
    sender = "|".join((fields[number].split(delimiters[:1] or "^")[0].strip()) for number in (2, 3))
    for name, ruled in by_sender.items():
        if name.encode(ruled, errors="replace") == sender.encode("latin-1"):
            return ruled
    declared = [one.strip() for one in fields[17].split(delimiters[1:2] or "~") if one.strip()]
    if not declared:
        return _undeclared_codec(raw, default_charset)
    codec = _declared_codec(declared)
    return "utf-8" if ONE_BYTE.fullmatch(codec) and not raw.isascii() and _is_utf_8(raw) else codec


def _undeclared_codec(raw: bytes, default_charset: str) -> str:
    if JAPANESE_ESCAPE.search(raw):
        return JAPANESE
    if _is_utf_8(raw):
        return "utf-8"
    return "gb18030" if default_charset == "latin-1" and _looks_chinese(raw) else default_charset


def _is_utf_8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _declared_codec(names: Sequence[str]) -> str:
    """Of MSH-18: its first repetition is the set at the start of each line, the others are reached by escape sequences.

    Sets that ISO 2022 switches to hold ASCII as well, so theirs is the codec of all.
    """
    codecs = []
    for name in names:
        codec = CHARSETS.get(re.sub(r"[^A-Z0-9]", "", name.upper()))
        if codec is None:
            raise MessageError(Reason("message-charset-unknown", {"name": name[:40]}))
        codecs.append(codec)
    return JAPANESE if JAPANESE in codecs else codecs[0]


def _looks_chinese(raw: bytes) -> bool:
    """Whether the bytes that are not ASCII are pairs of GB 2312's range for hanzi and signs, without exception."""
    runs = re.findall(rb"[\x80-\xff]+", raw)
    return len(runs) > 1 and all(re.fullmatch(rb"(?:[\xa1-\xa3\xb0-\xf7][\xa1-\xfe])+", one) for one in runs)


def _header_fields(raw: bytes) -> tuple[list[str], str]:
    """At least 18 fields of the first MSH, a character a byte, and its MSH-2."""
    start = raw.find(b"MSH")
    line = re.split(r"[\r\n]", raw[start : start + 4096].decode("latin-1"), maxsplit=1)[0] if start >= 0 else ""
    line = GLUED.split(line, maxsplit=1)[0]
    fields = line.split(line[3]) if len(line) > 3 else []
    return [*fields, *[""] * 18], fields[1] if len(fields) > 1 else ""


def decode(raw: bytes, default_charset: str, by_sender: Mapping[str, str] = NO_RULES) -> str:
    """The text of a frame.

    Raises
    ------
    MessageError
        The character set is unknown or the bytes do not fit it.
    """
    codec = codec_of(raw, default_charset, by_sender)
    try:
        return raw.decode(codec)
    except UnicodeDecodeError as error:
        raise MessageError(Reason("message-charset-does-not-fit", {"byte": error.start, "charset": codec})) from error


def split_messages(text: str) -> list[Message]:
    """The messages of a frame: one, or those of a batch with or without headers.

    A line that does not begin like a segment continues the one before it (a line end inside a field).
    """
    messages: list[Message] = []
    group: list[str] = []
    for line in _logical_lines(text):
        if line[:3] in BATCH_SEGMENTS:
            continue
        if line[:3] == "MSH" and group:
            messages.append(_message(group))
            group = []
        group.append(line)
    return [*messages, _message(group)]


_ALONE = re.compile(r"[ \t\ufeff\r\n]*(MSH[^\r\n]*)[\r\n]+(?=[ \t]*[A-Z][A-Z0-9]{2}[^A-Za-z0-9 ])")


def split_headers(text: str) -> list[Message]:
    """The messages of a frame without their segments where it is one message, which needs no look at the rest."""
    first = _ALONE.match(text)
    # Where MSH stands in the text of a message only, it is split in vain.
    if first is None or text.find("MSH", first.end(1)) >= 0:
        return split_messages(text)
    alone = _message([first[1]])
    # Without a type it is what its segments are.
    return [alone] if alone.header is not None else split_messages(text)


_LINE_END = re.compile(r"(\r\n|\r|\n)")


def _segments_apart(text: str) -> list[str]:
    """The lines of a text; of one that is a single line, the segments that its sender has sent without line ends."""
    lines = _LINE_END.split(text)[::2]
    glued = _glued(lines)
    return lines if glued is None else GLUED.split(glued)


def _glued(lines: list[str]) -> str | None:
    """The line that may hold all segments of a message."""
    sent = [line for line in lines if line.strip()]
    return sent[0] if len(sent) == 1 and sent[0].lstrip(" \t\ufeff").startswith("MSH") else None


def _logical_lines(text: str) -> list[str]:
    lines: list[list[str]] = []
    for line in _segments_apart(text):
        if not line.strip():
            continue
        stripped = _begun_as_segments_are(line)
        if SEGMENT_START.match(stripped) or not lines:
            lines.append([stripped])
        else:
            lines[-1].append(line)
    return ["\n".join(parts) for parts in lines]


def _begun_as_segments_are(line: str) -> str:
    stripped = line.lstrip(" \t\ufeff")
    return stripped[:3].upper() + stripped[3:] if _NAMED_OTHERWISE.match(stripped) else stripped


class Sent(NamedTuple):
    """A segment of a frame as it is read, and the text that it is read from, line ends and all."""

    read: str
    text: str


def as_sent(text: str) -> list[Sent]:
    """The segments of a frame, those of batches too; their texts in a row are the frame's."""
    parts = _LINE_END.split(text)
    glued = _glued(parts[::2])
    if glued is None:
        pieces = list(zip(parts[::2], [*parts[1::2], ""], strict=True))
    else:
        before, _, after = text.partition(glued)
        pieces = [(piece, "") for piece in (before, *GLUED.split(glued), after)]
    found: list[tuple[list[str], list[str]]] = []
    for line, end in pieces:
        begun = _begun_as_segments_are(line)
        if not found or (line.strip() and (SEGMENT_START.match(begun) or not found[-1][0])):
            found.append(([begun] if line.strip() else [], [line, end]))
        else:
            read, sent = found[-1]
            read += [line] if line.strip() else []
            sent += [line, end]
    return [Sent("\n".join(read), "".join(sent)) for read, sent in found]


def _message(lines: list[str]) -> Message:
    if not lines or not lines[0].startswith("MSH"):
        return Message(header=None, lines=tuple(lines), problem=Reason("message-not-hl7"))
    try:
        header = read_header(lines[0])
    except MessageError as error:
        return Message(header=None, lines=tuple(lines[1:]), problem=error.reason)
    if header.message_code:
        return Message(header=header, lines=tuple(lines[1:]))
    header = replace(header, content_code=_content_code(lines))
    untyped = None if header.message_code else Reason("message-without-type")
    return Message(header=header if header.message_code else None, lines=tuple(lines[1:]), problem=untyped)


def _content_code(lines: Sequence[str]) -> str:
    """Results are a result message, whatever MSH-9 holds; nothing else is taken for what it does not say that it is."""
    names = {line[:3] for line in lines}
    return "ORU" if {"OBR", "OBX"} <= names else ""


def read_frame(raw: bytes, default_charset: str, by_sender: Mapping[str, str] = NO_RULES) -> list[Message]:
    """The messages of a frame; at least one. What cannot be read is a message with a ``problem``."""
    try:
        return split_messages(decode(raw, default_charset, by_sender))
    except MessageError as error:
        # The header is all ASCII in practice: read it, so that the message can be named.
        shown = split_messages(raw.decode("latin-1"))
        return [Message(header=one.header, problem=one.problem or error.reason) for one in shown]
