"""A result as an HL7 v2.5.1 message: ORU^R01, one OBR with an OBX for each statement.

References
----------
HL7 v2.5.1, 7.3.1 (ORU), 7.4.2 (OBX); tables 0085 (OBX-11) and 0123 (OBR-25).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from analytics.reasons import load_language
from analytics.records import Tier
from node.errors import InputError
from node.hl7.messages import CHARSETS
from node.hl7.writing import components, escaped, message, segment, time_text
from node.results.content import Earlier, Result, Status, Whose
from node.results.records import Rendered
from node.results.scheme import SCHEME
from node.results.statements import CODES, NOTICE, Statement, statements
from node.settings import Hl7Receiver, ResultName, Settings, Site

VERSION = "2.5.1"
TYPE = "ORU^R01^ORU_R01"
APPLICATION = "VBQNODE"
"""MSH-3."""
CONTROL_ID_LENGTH = 20
"""Of MSH-10, as long as every version allows."""
NUMBER_LENGTH = 22
"""Of OBR-3, as versions before 2.5 allow."""
SEXES = ("F", "M", "O")

Told = dict[str, tuple[str, str]]
"""Of the message before: OBX-5 and OBX-11 by OBX-3, as they stand there."""


def render(result: Result, *, receiver: Hl7Receiver, settings: Settings) -> Rendered:
    """The messages that tell a receiver of a result: one, or more where it was told before of other patients.

    Whatever was told before and does not hold is withdrawn, also where the version before has withdrawn it already, for
    that one may be replaced before it is sent.

    Raises
    ------
    InputError
        The receiver's character set lacks a character of them.
    """
    before = _before(result.replaces, receiver)
    parts = []
    if result.finding.score is None:
        parts = [_Message(pid=one.pid, numbers=one.numbers, said=(), told=one.told) for one in before]
    else:
        whose = _required(result.whose)
        pid = _patient(whose, receiver)
        told: Told = {}
        for one in before:
            if _number(one.pid) == _number(pid):
                told |= one.told
            else:
                # Nobody else would take it back from whom it was told of.
                parts.append(_Message(pid=one.pid, numbers=one.numbers, said=(), told=one.told))
        said = statements(result, receiver.tell, settings.site)
        parts.append(_Message(pid=pid, numbers=_numbers(result, whose, receiver), said=said, told=told))
    ids = [uuid4().hex[:CONTROL_ID_LENGTH] for _ in parts]
    texts = [_text(result, one, number, receiver, settings) for one, number in zip(parts, ids, strict=True)]
    try:
        return Rendered(identifier=ids[-1], content="".join(texts).encode(_codec(receiver)))
    except UnicodeEncodeError as error:
        raise InputError(
            f"character set {receiver.charset} of hl7.receivers.{result.destination} lacks a character of the message"
        ) from error


def messages(content: bytes) -> list[tuple[str, bytes]]:
    """The messages of what :func:`render` made, each with its control id (MSH-10)."""
    found = [one if one.startswith(b"MSH|") else b"MSH|" + one for one in content.split(b"\rMSH|")]
    return [(one.split(b"|", 10)[9].decode("ascii"), one if one.endswith(b"\r") else one + b"\r") for one in found]


@dataclass(frozen=True, kw_only=True)
class _Message:
    """What a message is made of."""

    pid: str
    numbers: Mapping[int, str]
    """Placer (2) and filler order number (3)."""
    said: Sequence[Statement]
    told: Told


@dataclass(frozen=True, kw_only=True)
class _Before:
    """What a message before said."""

    pid: str
    numbers: Mapping[int, str]
    told: Told


def _text(result: Result, parts: _Message, control_id: str, receiver: Hl7Receiver, settings: Settings) -> str:
    codes = {**CODES, **receiver.codes}
    observations = _observations(result, parts, codes, settings.site)
    notes = _notes(result, settings)
    return message(
        [
            _header(result, control_id, receiver, settings.site),
            parts.pid,
            segment("ORC", {1: "RE", **parts.numbers}),
            _request(result, parts, observations, codes["report"], settings.site),
            *(segment("NTE", {1: str(n), 2: "L", 3: escaped(one)}) for n, one in enumerate(notes, 1)),
            *(segment("OBX", {1: str(n), **fields}) for n, fields in enumerate(observations, 1)),
        ]
    )


def _required(whose: Whose | None) -> Whose:
    if whose is None:
        raise InputError("there is a score and no image that says whose it is")
    return whose


def _codec(receiver: Hl7Receiver) -> str:
    return CHARSETS[re.sub(r"[^A-Z0-9]", "", receiver.charset)]


def _header(result: Result, control_id: str, receiver: Hl7Receiver, site: Site) -> str:
    enhanced = receiver.acknowledgement == "enhanced"
    return segment(
        "MSH",
        {
            3: APPLICATION,
            4: escaped(site.name),
            5: escaped(receiver.application),
            6: escaped(receiver.facility),
            7: time_text(result.made_at.astimezone(site.zone)),
            9: TYPE,
            10: control_id,
            11: "T" if site.test_system else "P",
            12: VERSION,
            15: "AL" if enhanced else "",
            16: "NE" if enhanced else "",
            18: receiver.charset,
        },
    )


# ---- whose it is, and which order ------------------------------------------------------------------------------
def _patient(whose: Whose, receiver: Hl7Receiver) -> str:
    return segment(
        "PID",
        {
            1: "1",
            3: f"{escaped(whose.patient_id)}^^^{escaped(receiver.authority or whose.issuer)}^MR",
            5: _name(whose),
            7: escaped(whose.birth_date),
            8: whose.sex if whose.sex in SEXES else "U" if whose.sex else "",
        },
    )


def _number(pid: str) -> str:
    """PID-3 as it stands."""
    return pid.split("|")[3]


def _name(whose: Whose) -> str:
    """The first group of (0010,0010) with something in it; HL7 has suffix and prefix the other way round."""
    group = next((one for one in whose.name.split("=") if one.strip("^ ")), "")
    family, given, middle, prefix, suffix, *_ = (*group.split("^"), "", "", "", "", "")
    return components(family, given, middle, suffix, prefix)


def _numbers(result: Result, whose: Whose, receiver: Hl7Receiver) -> dict[int, str]:
    """Placer (2) and filler order number (3): that of the examination where it has one, and this node's own."""
    digest = hashlib.sha256(f"{result.finding.series_instance_uid}/{whose.patient_id}".encode()).hexdigest()
    own = f"VBQ{digest}"[:NUMBER_LENGTH] + f"^{APPLICATION}"
    accession = components(whose.accession_number, whose.accession_issuer) if whose.accession_number else ""
    if not accession or receiver.accession == "none":
        return {3: own}
    return {3: accession} if receiver.accession == "filler" else {2: accession, 3: own}


def _request(result: Result, parts: _Message, observations: Sequence[Mapping[int, str]], code: str, site: Site) -> str:
    taken = next((one[14] for one in observations if one.get(14)), "")
    at = time_text(result.made_at.astimezone(site.zone))
    status = _report_status(result.status, {one[11] for one in observations})
    return segment("OBR", {1: "1", **parts.numbers, 4: code, 7: taken, 22: at, 25: status})


def _report_status(status: Status, observed: set[str]) -> str:
    """OBR-25: of what is taken back it is a correction."""
    if observed & {"C", "W"}:
        return "C"
    return "P" if status == Status.PRELIMINARY else "F"


def _notes(result: Result, settings: Settings) -> list[str]:
    """Under what it is told, and what is to be known about it."""
    language = load_language(settings.site.language)
    finding = result.finding
    notes = [*filter(None, [result.banner]), NOTICE, f"Study protocol: {result.protocol}"]
    if finding.standing is not None:
        notes.append(f"The tier is that of the operation planned on {finding.standing.surgery_date:%Y-%m-%d}.")
    return [*notes, *(reason.words(language) for reason in finding.remarks)]


# ---- observations ----------------------------------------------------------------------------------------------
def _observations(result: Result, parts: _Message, codes: Mapping[ResultName, str], site: Site) -> list[dict[int, str]]:
    """The fields of each OBX; what was told before and is no longer is withdrawn."""
    observations = [_observation(result, one, parts.told, codes[one.name], site) for one in parts.said]
    now = {one[3] for one in observations}
    gone = [{3: code, 11: "W"} for code in parts.told if code not in now]
    return [*observations, *gone]


def _observation(result: Result, one: Statement, told: Told, code: str, site: Site) -> dict[int, str]:
    coded = isinstance(one.value, Tier)
    value = f"{one.text.upper()}^{one.text}^{SCHEME}" if coded else one.text
    fields = {
        2: "CWE" if coded else "NM",
        3: code,
        5: value,
        6: f"{one.unit}^^UCUM" if one.unit else "",
        7: one.limit and f"{'<' if one.high_at_cut else '<='}{one.limit}",
        8: "" if one.high is None else "H" if one.high else "N",
        11: _status(result.status, value, told.get(code)),
        14: time_text(one.at.at.astimezone(site.zone), date_only=one.at.date_only) if one.at else "",
    }
    if one.of_images:
        finding = result.finding
        fields[16] = components("", finding.approval.name) if finding.approval else ""
        fields[17] = components(f"{finding.algorithm_name}-{finding.algorithm_version}", _method(result), SCHEME)
    return fields


def _method(result: Result) -> str:
    finding = result.finding
    return finding.algorithm if finding.circles_of is None else f"{finding.algorithm}, circles of {finding.circles_of}"


def _status(status: Status, value: str, before: tuple[str, str] | None) -> str:
    """OBX-11: C only of what was final with another value."""
    if status == Status.PRELIMINARY:
        return "P"
    return "C" if before is not None and before[1] in ("F", "C") and before[0] != value else "F"


# ---- what was told before --------------------------------------------------------------------------------------
def _before(earlier: Earlier | None, receiver: Hl7Receiver) -> list[_Before]:
    """What each message of the version before said; none where there was none."""
    if earlier is None or earlier.body is None:
        return []
    # Its character set may be another than that of the settings.
    charset = earlier.body.split(b"\r", 1)[0].split(b"|")[17].decode("ascii")
    codec = CHARSETS.get(re.sub(r"[^A-Z0-9]", "", charset), _codec(receiver))
    return [_read(body.decode(codec).split("\r")) for _, body in messages(earlier.body)]


def _read(lines: Sequence[str]) -> _Before:
    (pid,) = (line for line in lines if line.startswith("PID|"))
    (orc,) = (line.split("|") for line in lines if line.startswith("ORC|"))
    observations = [line.split("|") for line in lines if line.startswith("OBX|")]
    return _Before(
        pid=pid,
        numbers={number: orc[number] for number in (2, 3) if len(orc) > number},
        told={one[3]: (one[5], one[11]) for one in observations},
    )
