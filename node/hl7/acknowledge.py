"""Acknowledgements, in original and in enhanced mode, in the character set and with the delimiters of the sender."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from analytics.reasons import SOURCE_LANGUAGE, Reason, load_language
from node.errors import MessageError
from node.hl7.interpret import PRODUCTION
from node.hl7.messages import NO_RULES, Header, codec_of, split_headers

Outcome = Literal["accepted", "error", "rejected"]
"""Stored; not stored, send again; stored but never used."""

_CODES = {"accepted": "A", "error": "E", "rejected": "R"}
_WANTED: dict[str, tuple[Outcome, ...]] = {
    "AL": ("accepted", "error", "rejected"),
    "SU": ("accepted",),
    "ER": ("error", "rejected"),
    "NE": (),
}
ERR_VERSION = "2.5"
"""First version in which ERR has its present fields."""
ERROR_CODES = {
    "100": "Segment sequence error",
    "202": "Unsupported processing id",
    "207": "Application internal error",
}


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What answers one frame."""

    code: str
    """AA, AE, AR, CA, CE, CR; empty when the sender wants no answer."""
    message: bytes
    """The acknowledgement without framing; empty when there is none."""


@dataclass(frozen=True, kw_only=True)
class Reception:
    """What the listener has to know about a frame before it is stored."""

    header: Header | None
    codec: str
    sha256: str
    answers: bool
    """It is a response itself: two ends that acknowledge acknowledgements never stop."""
    refusal: str | None
    """Why the frame is answered with a rejection; it is stored all the same."""


def receive(raw: bytes, default_charset: str, by_sender: Mapping[str, str] = NO_RULES) -> Reception:
    """Look at the header of a frame; a frame of several messages is answered for its first.

    A frame that is not HL7 is rejected: sending it again would not help. Content is not looked at here: what is
    wrong with it is for a person at this site, not for the sender's queue.
    """
    try:
        codec = codec_of(raw, default_charset, by_sender)
        text = raw.decode(codec)
    except (MessageError, UnicodeDecodeError):
        codec, text = "latin-1", raw.decode("latin-1")
    messages = split_headers(text)
    headers = [one.header for one in messages if one.header is not None]
    refusal = None
    if not headers:
        # In English to every sender: their interfaces may look for it.
        refusal = (messages[0].problem or Reason("message-without-header")).words(load_language(SOURCE_LANGUAGE))
    elif all(one.processing_id not in ("", PRODUCTION) for one in headers):
        refusal = f"processing id {headers[0].processing_id[:10]} is not {PRODUCTION}"
    return Reception(
        header=headers[0] if headers else None,
        codec="utf-8" if codec == "utf-8-sig" else codec,
        sha256=hashlib.sha256(raw).hexdigest(),
        # The pattern tries every line end: it takes more than ten times as long as to look for the name alone.
        answers="MSA" in text and RESPONSE.search(text) is not None,
        refusal=refusal,
    )


RESPONSE = re.compile(r"[\r\n]+MSA[^A-Za-z0-9 ]")
"""A message with MSA answers one of ours; it is itself acknowledged only where it asks for it (MSH-15)."""


RESPONSES = frozenset({"ACK", "MCF"})
"""Message codes that are nothing but answers."""


def reply_code(header: Header | None, outcome: Outcome, *, answers: bool = False) -> str:
    """The acknowledgement code for MSA-1; empty when the sender wants none.

    In enhanced mode (MSH-15 or MSH-16 sent) the accept acknowledgement is given as MSH-15 asks; the application
    acknowledgement of MSH-16 only where no accept acknowledgement is wanted, as one frame gets one answer at most.
    """
    letter = _CODES[outcome]
    if header is None:
        return "" if answers else f"A{letter}"
    accept, application = header.text(15).upper(), header.text(16).upper()
    if header.message_code in RESPONSES or (answers and not accept):
        return ""
    if not accept and not application:
        return f"A{letter}"
    if outcome in _WANTED.get(accept or "NE", _WANTED["AL"]):
        return f"C{letter}"
    if accept in ("", "NE") and outcome in _WANTED.get(application or "NE", _WANTED["AL"]):
        return f"A{letter}"
    return ""


def build_reply(reception: Reception, outcome: Outcome, *, reason: str | None, at: datetime) -> Reply:
    """The answer to a frame; ``reason`` goes into MSA-3 and ERR of a negative one."""
    header = reception.header
    code = reply_code(header, outcome, answers=reception.answers)
    if not code:
        return Reply(code="", message=b"")
    sep = header.delimiters.field if header else "|"
    encoding = header.raw(2) if header else "^~\\&"
    comp = encoding[0]
    trigger = header.trigger if header else ""

    def echo(number: int) -> str:
        return header.raw(number) if header else ""

    msh = [
        "MSH",
        encoding,
        echo(5),
        echo(6),
        echo(3),
        echo(4),
        at.strftime("%Y%m%d%H%M%S%z"),
        "",
        f"ACK{comp}{trigger}{comp}ACK" if trigger else "ACK",
        reception.sha256[:20],
        echo(11) or PRODUCTION,
        echo(12) or "2.3",
        *[""] * 5,
        echo(18),
    ]
    msa = ["MSA", code, echo(10)]
    segments = [msh, msa]
    if outcome != "accepted":
        text = reason or ""
        msa.append(text)
        segments.append(_err(header, outcome, text, comp))
    lines = [sep.join(fields).rstrip(sep) for fields in segments]
    return Reply(code=code, message=("\r".join(lines) + "\r").encode(reception.codec, errors="replace"))


def _err(header: Header | None, outcome: Outcome, text: str, comp: str) -> list[str]:
    number, place = ("207", "") if outcome == "error" else ("202", f"MSH{comp}1{comp}11") if header else ("100", "")
    if header is not None and header.version >= ERR_VERSION:
        return ["ERR", "", place, comp.join((number, ERROR_CODES[number], "HL70357")), "E", "", "", "", text]
    sub = header.delimiters.subcomponent if header else "&"
    location = place or f"MSH{comp}1{comp}"
    return ["ERR", f"{location}{comp}{sub.join((number, ERROR_CODES[number], 'HL70357'))}"]
