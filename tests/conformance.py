"""The tables of the conformance statements, made from what the program itself goes by.

``python -m tests.readme`` writes them into ``node/dicom/CONFORMANCE.md`` and ``node/hl7/CONFORMANCE.md``.
"""

import ast
import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from types import ModuleType
from typing import Any

from hl7apy import load_library
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_description, keyword_for_tag, tag_for_keyword
from pydicom.tag import Tag
from pydicom.uid import UID, UID_dictionary
from pynetdicom.presentation import PresentationContext

from analytics.vbq.header import MR_IMAGES
from node.clock import now
from node.dicom import association, commitment, contrast, dimse, frames, native_pixels, reader, rejection, upper_layer
from node.dicom.contexts import (
    LOSSLESS,
    LOSSY,
    LOSSY_NOT_DECODED,
    OTHER_IMAGES,
    STORAGE_COMMITMENT,
    UNCOMPRESSED,
    VERIFICATION,
    WITHOUT_PIXELS,
    transfer_syntaxes,
    uid_name,
)
from node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.hl7 import interpret
from node.hl7.acknowledge import ERROR_CODES, Outcome, build_reply, receive, reply_code
from node.hl7.appointments import EVENTS
from node.hl7.client import CODES as ANSWER_CODES
from node.hl7.messages import CHARSETS, Header
from node.hl7.segments import STRUCTURE_VERSION, Segment
from node.outgoing.storing import MAX_SORTS
from node.outgoing.transcode import CONVERTIBLE
from node.pacs import peer, query, retrieve
from node.results.dicom.objects import SOP_CLASSES
from node.results.dicom.scheme import PRIVATE
from node.results.oru import render
from node.results.statements import CODES as RESULT_CODES
from node.settings import Dicom, Hl7, Hl7Receiver, Settings
from node.tls import CIPHERS
from tests.node import result_samples

CODE_OF_READERS = (reader, contrast, frames, rejection, native_pixels)
"""The modules that read data sets."""
SPELT_OF_PARTS = ("SeriesDate", "SeriesTime", "StudyTime", "AcquisitionDate", "AcquisitionTime")
"""Keywords that the reader puts together (``_moment``)."""
PRIVATE_NAMES = {"1.3.12.2.1107.5.9.1": "CSA Non-Image Storage (private, Siemens)"}
NO_KEYWORDS = {"", "Date", "Time"}
"""Strings of the code that are keywords of DICOM by chance."""


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table of Markdown."""
    names = list(head)
    lines = [names, ["---"] * len(names), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def dicom_blocks() -> dict[str, str]:
    """Name and content of each generated block of the DICOM conformance statement."""
    return {
        "services": _services(),
        "results": _results(),
        "private codes": _private_codes(),
        "accepted": _accepted(),
        "storage classes": _storage_classes(),
        "syntaxes": _syntaxes(),
        "proposed": _proposed(),
        "association": _association(),
        "rejections": _rejections(),
        "statuses": _statuses(),
        "attributes": _attributes(),
        "character sets": ", ".join(f"`{name}`" for name in sorted(python_encoding) if name.startswith("ISO")
                                    or name in ("GBK", "GB18030")),
        "security": _security(),
    }  # fmt: skip


# ---- DICOM -----------------------------------------------------------------------------------------------------
def _services() -> str:
    return table(
        ("service", "SOP class", "UID", "SCU", "SCP"),
        (
            ("Verification", uid_name(VERIFICATION), VERIFICATION, "yes", "yes"),
            ("Storage", "those of section 3.3 and annex A", "", "yes", "yes"),
            ("Storage Commitment", uid_name(STORAGE_COMMITMENT), STORAGE_COMMITMENT, "yes", "yes"),
            ("Query", uid_name(query.FIND), query.FIND, "yes", "no"),
            ("Retrieve", uid_name(retrieve.MOVE), retrieve.MOVE, "yes", "no"),
            ("Retrieve", uid_name(retrieve.GET), retrieve.GET, "yes", "no"),
        ),
    )


def _results() -> str:
    return table(
        ("object", "SOP class", "UID", "transfer syntax"),
        ((f"`{kind}`", uid_name(name), name, uid_name(syntax)) for kind, (name, syntax) in SOP_CLASSES.items()),
    )


def _private_codes() -> str:
    return table(("code", "meaning"), ((f"`{code.value}`", code.meaning) for code in PRIVATE))


def _taken(sop_class: str) -> str:
    found = {accept: transfer_syntaxes(sop_class, accept=accept) for accept in ("all", "study", "mr")}
    names = {
        UNCOMPRESSED: "uncompressed",
        UNCOMPRESSED + LOSSLESS: "uncompressed, lossless",
        UNCOMPRESSED + LOSSLESS + LOSSY: "uncompressed, lossless, lossy",
        (): "no",
    }
    return " | ".join(names[found[accept]] for accept in ("all", "study", "mr"))


def _accepted() -> str:
    return table(
        ("SOP class", "UID", '`accept = "all"` (default)', '`"study"`', '`"mr"`'),
        (
            (PRIVATE_NAMES.get(one) or uid_name(one), one, _taken(one))
            for one in (VERIFICATION, STORAGE_COMMITMENT, *MR_IMAGES, *OTHER_IMAGES, *WITHOUT_PIXELS)
        ),
    )


def _storage_classes() -> str:
    named = {*MR_IMAGES, *OTHER_IMAGES, *WITHOUT_PIXELS, VERIFICATION, STORAGE_COMMITMENT}
    others = [
        UID(one)
        for one, (_, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class" and one not in named and transfer_syntaxes(one, accept="all")
    ]
    return table(("SOP class", "UID"), ((uid_name(one), one) for one in sorted(others, key=uid_name)))


def _syntaxes() -> str:
    kinds = {
        **dict.fromkeys(UNCOMPRESSED, "uncompressed"),
        **dict.fromkeys(LOSSLESS, "lossless"),
        **dict.fromkeys((*LOSSY, *LOSSY_NOT_DECODED), "lossy"),
    }
    return table(
        ("order", "transfer syntax", "UID", "kind", "pixels are read", "made uncompressed when sent on"),
        (
            (
                number if one not in LOSSY_NOT_DECODED else "–",
                uid_name(one),
                one,
                kind,
                "no" if one in LOSSY_NOT_DECODED else "yes",
                "yes" if one in CONVERTIBLE else "no",
            )
            for number, (one, kind) in enumerate(kinds.items(), start=1)
        ),
    )


def _names(syntaxes: Iterable[object]) -> str:
    known = [str(one) for one in syntaxes]
    return "; ".join(uid_name(one) for one in known)


def _proposed() -> str:
    default = [str(one) for one in peer.build_context(VERIFICATION).transfer_syntax]
    rows: list[tuple[str, str, str, str, str]] = [
        ("C-ECHO", uid_name(VERIFICATION), VERIFICATION, _names(default), "SCU"),
        ("C-FIND", uid_name(query.FIND), query.FIND, _names(default), "SCU"),
        ("C-MOVE", uid_name(retrieve.MOVE), retrieve.MOVE, _names(default), "SCU"),
        ("C-GET", uid_name(retrieve.GET), retrieve.GET, _names(default), "SCU"),
    ]
    rows += [("C-STORE within C-GET", *row, "SCP") for row in _contexts(retrieve.storage_contexts())]
    rows += [
        ("C-STORE", uid_name(VERIFICATION), VERIFICATION, _names(default), "SCU"),
        ("C-STORE", "as the object", "as the object", "as the object", "SCU"),
        ("C-STORE", "as the object, where it can be made uncompressed", "as the object",
         "Explicit VR Little Endian; Implicit VR Little Endian", "SCU"),
        ("N-EVENT-REPORT", uid_name(STORAGE_COMMITMENT), STORAGE_COMMITMENT, _names(default), "SCP"),
        ("N-ACTION", uid_name(STORAGE_COMMITMENT), STORAGE_COMMITMENT, _names(default), "SCU"),
    ]  # fmt: skip
    return table(("activity", "SOP class", "UID", "transfer syntaxes", "role"), rows)


def _contexts(contexts: Iterable[PresentationContext]) -> Iterator[tuple[str, str, str]]:
    proposed: defaultdict[str, list[str]] = defaultdict(list)
    for one in contexts:
        proposed[str(one.abstract_syntax)] += [str(syntax) for syntax in one.transfer_syntax]
    for name, syntaxes in proposed.items():
        lossless = tuple(syntaxes) == UNCOMPRESSED + LOSSLESS
        assert lossless or tuple(syntaxes) == UNCOMPRESSED
        yield PRIVATE_NAMES.get(name) or uid_name(name), name, "uncompressed, lossless" if lossless else "uncompressed"


def _association() -> str:
    defaults = Dicom()
    return table(
        ("", "value", "setting"),
        (
            ("application context", upper_layer.APPLICATION_CONTEXT, "–"),
            ("implementation class UID", IMPLEMENTATION_CLASS_UID, "–"),
            ("implementation version name", IMPLEMENTATION_VERSION_NAME, "–"),
            ("AE title", f"`{defaults.ae_title}`", "`dicom.ae_title`"),
            ("port", defaults.port, "`dicom.port`"),
            ("port with TLS", "2762", "`dicom.tls`"),
            ("called AE title must be its own", "no", "`dicom.check_called_ae`"),
            ("PDU length it takes, bytes", upper_layer.MAX_PDU_BYTES, "–"),
            ("A-ASSOCIATE-RQ at most, bytes", upper_layer.MAX_REQUEST_BYTES, "–"),
            ("associations accepted at once", defaults.max_associations,
             "`dicom.max_associations`, of one peer `max_associations`"),
            ("asynchronous operations", "1 operation at a time; the window is not negotiated", "–"),
            ("time for A-ASSOCIATE-RQ, s", f"{association.REQUEST_TIMEOUT_S:g}", "–"),
            ("silence on an association until it is aborted, s", f"{association.IDLE_TIMEOUT_S:g}", "–"),
            ("sorts of objects (SOP class and syntax) proposed at once", MAX_SORTS, "–"),
            ("time to connect as SCU, s", f"{peer.CONNECT_TIMEOUT_S:g}", "–"),
            ("time for an answer as SCU, s", f"{peer.ANSWER_TIMEOUT_S:g}", "–"),
            ("time between two answers of C-MOVE and C-GET, s", f"{retrieve.RETRIEVE_TIMEOUT_S:g}", "–"),
        ),
    )  # fmt: skip


def _rejections() -> str:
    found = {
        "the calling AE title or address is not one that may send": upper_layer.CALLING_AE_UNKNOWN,
        "it calls for another AE title (`dicom.check_called_ae`)": upper_layer.CALLED_AE_UNKNOWN,
        "another application context": upper_layer.APPLICATION_CONTEXT_UNKNOWN,
        "another version of the protocol": upper_layer.VERSION_UNKNOWN,
        "as many associations as the settings allow": upper_layer.TOO_MANY,
    }
    return table(
        ("because", "result", "source", "reason/diag."),
        ((why, one.result, one.source, one.reason) for why, one in found.items()),
    )


def _statuses() -> str:
    return table(
        ("message", "status", "when"),
        (
            ("C-ECHO", f"{dimse.SUCCESS:04X}", "always"),
            ("C-STORE", f"{dimse.SUCCESS:04X}", "object and record are durable, or were before"),
            ("C-STORE", f"{dimse.OUT_OF_RESOURCES:04X}", "too little room on the disk; send it again"),
            ("C-STORE", f"{dimse.PROCESSING_FAILURE:04X}", "it could not be stored; send it again"),
            ("C-STORE", f"{dimse.CANNOT_UNDERSTAND:04X}", "it has no data set"),
            ("N-ACTION", f"{dimse.SUCCESS:04X}", "the request is durable"),
            ("N-ACTION", f"{dimse.NO_SUCH_ACTION:04X}", "another action type than 1"),
            ("N-ACTION", f"{dimse.INVALID_ARGUMENT:04X}", "no data set, or one that cannot be read or names nothing"),
            ("N-ACTION", f"{dimse.RESOURCE_LIMITATION:04X}", "the request is too long"),
            ("N-ACTION", f"{dimse.PROCESSING_FAILURE:04X}", "it could not be stored; ask again"),
            ("N-EVENT-REPORT", f"{dimse.SUCCESS:04X}", "the answer to its own request is durable"),
            ("N-EVENT-REPORT", f"{dimse.INVALID_ARGUMENT:04X}", "it cannot be read"),
            ("N-EVENT-REPORT", f"{dimse.RESOURCE_LIMITATION:04X}", "it is too long"),
            ("N-EVENT-REPORT", f"{dimse.PROCESSING_FAILURE:04X}", "it could not be stored; send it again"),
            ("N-EVENT-REPORT, Failure Reason", f"{commitment.DAMAGED:04X}", "the file is not as it came"),
            ("N-EVENT-REPORT, Failure Reason", f"{commitment.NOT_HERE:04X}", "there is no such object"),
            ("N-EVENT-REPORT, Failure Reason", f"{commitment.CLASS_CONFLICT:04X}", "it is of another SOP class"),
            ("any other", f"{dimse.UNRECOGNISED_OPERATION:04X}", "the operation is not one of the SOP class"),
        ),
    )  # fmt: skip


def keywords_read(modules: Iterable[ModuleType] = CODE_OF_READERS) -> set[str]:
    """The attributes that the code of some modules names, by their keywords."""
    found = set(SPELT_OF_PARTS)
    for module in modules:
        for one in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(one, ast.Constant) and isinstance(one.value, str):
                found.add(one.value)
            elif isinstance(one, ast.Attribute):
                found.add(one.attr)
    return {name for name in found - NO_KEYWORDS if tag_for_keyword(name) is not None}


def _attributes() -> str:
    tags = sorted(Tag(name) for name in keywords_read())
    return table(
        ("tag", "attribute", "keyword"),
        (
            (f"({one.group:04X},{one.element:04X})", dictionary_description(one), keyword_for_tag(one))
            for one in tags
            if one.group != 2
        ),
    )


def _security() -> str:
    suites = ", ".join(f"`{one}`" for one in CIPHERS.split(":"))
    return table(
        ("", "value"),
        (
            ("profile", "BCP 195 TLS Secure Transport Connection Profile (PS3.15, B.9), not the Non-Downgrading one"),
            ("versions", "TLS 1.2 and 1.3"),
            ("cipher suites of TLS 1.2 (OpenSSL's words)", suites),
            ("cipher suites of TLS 1.3", "all"),
            ("renegotiation, compression", "no"),
            ("certificate of the peer as SCP", "asked for where `client_ca` is set"),
            ("certificate of the peer as SCU", "required, of the authority `ca`; its name is not compared"),
            ("user identity negotiation", "not answered"),
        ),
    )


# ---- HL7 -------------------------------------------------------------------------------------------------------
def hl7_blocks() -> dict[str, str]:
    """Name and content of each generated block of the HL7 conformance statement."""
    return {
        "messages": _messages(),
        "fields": _fields(),
        "acknowledgements": _acknowledgements(),
        "errors": table(("ERR-3", "text"), ERROR_CODES.items()),
        "charsets": _charsets(),
        "transport": _transport(),
        "sent": _sent(),
        "answers": _answers(),
    }


def _triggers(code: str) -> str:
    if code in EVENTS:
        return _ranges(EVENTS[code])
    return "any" if code != "ADT" else f"any; merges {_ranges(interpret.MERGE_EVENTS)}; back again A37"


def _ranges(events: Iterable[str]) -> str:
    """Consecutive events as a range, such as ``S12–S22, S26``."""
    numbers = sorted(int(one[1:]) for one in events)
    letter = next(iter(events))[0]
    starts = [numbers[0], *(after for before, after in pairwise(numbers) if after != before + 1)]
    ends = [*(before for before, after in pairwise(numbers) if after != before + 1), numbers[-1]]
    return ", ".join(
        f"{letter}{first:02}" if first == last else f"{letter}{first:02}–{letter}{last:02}"
        for first, last in zip(starts, ends, strict=True)
    )


READ_FOR = {
    interpret.RESULT_MESSAGES: "blood counts, what the laboratory says against them, outcomes, covariates",
    interpret.DRUG_MESSAGES: "drugs that exclude",
    interpret.ORDER_MESSAGES: "orders of operations",
    interpret.BOOKING_MESSAGES: "planned operations",
    ("ADT",): "whose number it is, diagnoses, covariates, procedures of a stay, merges of numbers",
    ("BAR",): "diagnoses and procedures of a stay",
}


def _messages() -> str:
    told = {code: text for codes, text in READ_FOR.items() for code in codes}
    assert told.keys() == interpret.READERS.keys()
    return table(
        ("MSH-9.1", "MSH-9.2", "what is read"),
        ((code, _triggers(code), told[code]) for code in sorted(interpret.READERS)),
    )


_RESULTS = """
ORC|RE||
OBR|1|||58410-2^CBC^LN||||
NTE|1||clotted in part
OBX|1|NM|26464-8^Leukocytes^LN||6.1|10*9/L^^UCUM|4-10|N~A|||F
NTE|1||checked
OBX|2|NM|751-8^Neutrophils^LN||4.1|10*9/L|1.8-7.5||||F
OBX|3|NM|731-0^Lymphocytes^LN||1500|/uL|1000-4000||||F
OBX|4|ST|777-3^Platelets^LN||Platelet clumps||150-400||||F
OBX|6|ST|Flag01^Clumps^L||Pos||||||F
OBX|7|ST||751-8|<0.1|||||||F
OBX|8|NM|XYZ9^unknown^L||2|10*9/L|||||F
SPM|1|||119297000^Blood^SCT
"""
_ORDER = """
ORC|NW|88^H|
TQ1|1
OBR|1|||X^Spondylodesis L4/L5^L|||||||||||||||||||||||||||PLAN^spondylodesis L4/5
NTE|1||fusion L4/5
PR1|1||0SG0070^Fusion^ICD-10-PCS|Fusion
"""
_BOOKING = """
{head}
TQ1|1
NTE|1||fusion
AIS|1|A|SPINE^Lumbar fusion^L
AIG|1
AIL|1
AIP|1||77^Doe^Jane
PV1|1|O
PR1|1||0SG0070^Fusion^ICD-10-PCS|Fusion|
"""
_STAY = """
PV1|1|I
PR1|1||0SG0070^Fusion^ICD-10-PCS|Fusion|{at}
"""
_DRUG = """
ORC|RE
TQ1|1
RXE||prednisolone^Prednisolone^L
RXR|PO
ORC|RE
RXA|0|1|||prednisolone^Prednisolone^L
"""


_OF_ANY = """
OBX|9|NM|8302-2^Body height^LN||170|cm|||||F
DG1|1||M48.06^Stenosis^I10|Stenosis
"""
"""What is read of a patient in every message."""
_SOMEBODY = "PID|1||4711^^^H^MR||Doe^Jane"
_NOBODY = "PID|1|12||13"
"""Numbers where they are only named: PID-3 is empty."""


def _sample(kind: str, body: str) -> str:
    head = f"MSH|^~\\&|A|B|C|D|20260301120000||{kind}|1|P|2.5.1"
    return "\n".join((head, _SOMEBODY, body.strip(), _OF_ANY.strip(), ""))


SAMPLES: dict[str, tuple[str, ...]] = {
    **{code: (_sample(f"{code}^R01", _RESULTS),) for code in interpret.RESULT_MESSAGES},
    **{code: (_sample(f"{code}^O01", _ORDER),) for code in interpret.ORDER_MESSAGES},
    **{code: (_sample(f"{code}^O11", _DRUG),) for code in interpret.DRUG_MESSAGES},
    **{
        code: tuple(_sample(f"{code}^{event}", _BOOKING.format(head=head)) for event in events)
        for code, head, events in (
            ("SIU", "SCH||1", ("S12", "S15")),
            ("SRM", "ARQ||1", ("S01", "S04")),
            ("SRR", "ARQ||1", ("S01", "S04")),
        )
    },
    "ADT": (
        _sample("ADT^A01", _STAY.format(at="20260310")),
        _sample("ADT^A40", "MRG|4712^^^H^MR"),
        _sample("ADT^A37", "PID|2||4712^^^H^MR"),
    ),
    "BAR": (_sample("BAR^P01", _STAY.format(at="20260310")),),
}
"""For each message code messages with every segment that it may have, and times nowhere: so the code looks at each
place where one may stand."""

Reads = dict[str, set[int]]
"""Numbers of the fields that were looked at, by segment."""


@contextmanager
def reads() -> Iterator[Reads]:
    """Note which field of which segment the code looks at."""
    found: Reads = defaultdict(set)

    def noting(name: str) -> Any:
        method = getattr(Segment, name)

        def noted(segment: Segment, field: int, *places: int, **named: int) -> Any:
            found[segment.name].add(field)
            return method(segment, field, *places, **named)

        return noted

    header = Header.raw

    def of_header(one: Header, number: int) -> str:
        found["MSH"].add(number)
        return header(one, number)

    kept = {name: getattr(Segment, name) for name in ("raw", "repetitions", "text", "components")}
    for name in kept:
        setattr(Segment, name, noting(name))
    Header.raw = of_header
    try:
        yield found
    finally:
        Header.raw = header
        for name, method in kept.items():
            setattr(Segment, name, method)


def fields_read() -> dict[str, Reads]:
    """Of each message code the fields that its readers look at, in messages that have every segment they know."""
    found = {}
    for code, messages in SAMPLES.items():
        with reads() as looked_at:
            for text in (*messages, messages[0].replace(_SOMEBODY, _NOBODY)):
                raw = text.replace("\n", "\r").encode()
                build_reply(receive(raw, "latin-1"), "rejected", reason="", at=now())
                (one,) = interpret.interpret_frame(raw, Settings())
                assert one.error is None, (code, one.error)
        found[code] = dict(looked_at)
    return found


def _fields() -> str:
    read = fields_read()
    assert read.keys() == interpret.READERS.keys()
    known = load_library(STRUCTURE_VERSION).SEGMENTS
    places = sorted({(name, number) for one in read.values() for name, numbers in one.items() for number in numbers})
    return table(
        ("field", "name in HL7 " + STRUCTURE_VERSION, "read in"),
        (
            (
                f"{name}-{number}",
                _field_name(known, name, number),
                _where(read, name, number),
            )
            for name, number in places
        ),
    )


def _where(read: dict[str, Reads], segment: str, number: int) -> str:
    codes = [code for code in sorted(read) if number in read[code].get(segment, ())]
    return ", ".join(codes) if len(codes) < len(read) else "all"


WITHDRAWN = {"PR1_11": "Surgeon (of earlier versions)"}
"""Fields that senders still fill and this version of the standard no longer names."""


def _field_name(known: Any, segment: str, number: int) -> str:
    if f"{segment}_{number}" in WITHDRAWN:
        return WITHDRAWN[f"{segment}_{number}"]
    fields = {name: reference for name, reference, *_ in known[segment][1]}
    return str(fields[f"{segment}_{number}"][3]).replace("_", " ").capitalize()


OUTCOMES: dict[Outcome, str] = {
    "accepted": "the message is durable",
    "error": "it could not be stored; send it again",
    "rejected": "not HL7, or not for production (MSH-11); kept, never used",
}
MODES = (("", ""), ("AL", "NE"), ("ER", "NE"), ("SU", "NE"), ("NE", "AL"), ("NE", "NE"), ("AL", "AL"))


def _acknowledgements() -> str:
    rows = []
    for accept, application in MODES:
        head = f"MSH|^~\\&|A|B|C|D|20260101||ORU^R01|1|P|2.5.1|||{accept}|{application}\r"
        header = receive(head.encode(), "latin-1").header
        codes = (reply_code(header, outcome) or "none" for outcome in OUTCOMES)
        rows.append((accept or "empty", application or "empty", *codes))
    return table(("MSH-15", "MSH-16", *OUTCOMES.values()), rows)


def _charsets() -> str:
    by_codec: defaultdict[str, list[str]] = defaultdict(list)
    for name, codec in CHARSETS.items():
        by_codec[codec].append(name)
    return table(
        ("MSH-18, letters and digits only", "Python codec"),
        ((", ".join(names), f"`{codec}`") for codec, names in sorted(by_codec.items())),
    )


def _transport() -> str:
    defaults = Hl7()
    return table(
        ("", "value", "setting"),
        (
            ("port", defaults.port, "`hl7.port`"),
            ("port with TLS", "2576", "`hl7.tls`"),
            ("a message at most, bytes", defaults.max_frame_bytes, "`hl7.max_frame_bytes`"),
            ("silence until a connection is closed, s", f"{defaults.idle_timeout_s:g}", "`hl7.idle_timeout_s`"),
            ("connections at once", defaults.max_connections, "`hl7.max_connections`"),
            ("segments of a message at most", interpret.MAX_SEGMENTS, "–"),
            (f"of each of {', '.join(interpret.STRUCTURED)}", interpret.MAX_STRUCTURED, "–"),
        ),
    )


# ---- HL7, sent -------------------------------------------------------------------------------------------------
EVERYTHING = Hl7Receiver(host="record", port=1, acknowledgement="enhanced", application="A", facility="F",
                         tell=("levels", "ratios", "counts", "tier"))  # fmt: skip
SENT_FOR = {
    "MSH-3": "VBQNODE", "MSH-9": "ORU^R01^ORU_R01", "MSH-11": "P", "MSH-12": "2.5.1", "ORC-1": "RE",
    "OBR-4": "code `report`", "OBX-6": "by UCUM", "MSH-4": "`site.name`",
    "MSH-5": "`application`", "MSH-6": "`facility`", "MSH-10": "20 hexadecimal digits",
    "MSH-15": "enhanced mode only", "MSH-16": "enhanced mode only", "MSH-18": "`charset`",
    "PID-3": "(0010,0020), with `authority` or (0010,0021); type MR", "PID-5": "(0010,0010)", "PID-7": "(0010,0030)",
    "PID-8": "(0010,0040)", "ORC-2": "accession number, unless `accession` says otherwise",
    "ORC-3": "of this node, one for each series and patient", "OBR-2": "as ORC-2", "OBR-3": "as ORC-3",
    "OBR-7": "of the study", "OBR-22": "when it was rendered", "OBR-25": "P, F, C (table 0123)",
    "NTE-3": "research notice, `site.protocol`, operation of the tier, what is to be known",
    "OBX-2": "NM, CWE", "OBX-3": "code, or the site's (`codes`)", "OBX-5": "empty with status W",
    "OBX-7": "limit of the adopted thresholds", "OBX-8": "H or N, by OBX-7", "OBX-11": "P, F, C, W (table 0085)",
    "OBX-14": "of the study, or of the specimen", "OBX-16": "who approved or read it",
    "OBX-17": "algorithm and version",
}  # fmt: skip


def _rendered() -> list[bytes]:
    settings = Settings.model_validate({"site": {"name": "site"}})
    whole = replace(result_samples.FINDING, approval=result_samples.APPROVAL)
    return [
        render(result_samples.result(one), receiver=EVERYTHING, settings=settings).content
        for one in (result_samples.FINDING, whole)
    ]


def _sent() -> str:
    known = load_library(STRUCTURE_VERSION).SEGMENTS
    found: defaultdict[str, set[int]] = defaultdict(set)
    for content in _rendered():
        for line in content.decode().split("\r"):
            first, values = line[:3], line.split("|")
            shift = 1 if first == "MSH" else 0
            found[first] |= {number + shift for number, value in enumerate(values) if value and number}
    fields = [(name, number) for name, numbers in found.items() if name for number in sorted(numbers)]
    told = {f"{name}-{number}" for name, number in fields}
    assert told >= SENT_FOR.keys(), SENT_FOR.keys() - told
    return table(
        ("field", "name in HL7 " + STRUCTURE_VERSION, "what it holds"),
        (
            (f"{name}-{number}", _field_name(known, name, number), SENT_FOR.get(f"{name}-{number}", ""))
            for name, number in fields
        ),
    )


def _answers() -> str:
    does = {
        "accepted": "it is done",
        "error": "tried again, 1 minute to 4 hours apart, twelve times",
        "rejected": "the same: the receiver may be able to take it later",
    }
    return table(("MSA-1", "then"), ((code, does[outcome]) for code, outcome in ANSWER_CODES.items()))


def codes_block() -> str:
    """The codes of results."""
    parts = ((name, *code.split("^")) for name, code in RESULT_CODES.items())
    return table(
        ("`codes`", "code", "name", "system"),
        ((f"`{name}`", f"`{code}`", text, system) for name, code, text, system in parts),
    )
