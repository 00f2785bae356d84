"""Acknowledgements: each code of HL7 table 0155 in MSH-15 and MSH-16, and each field of the answer."""

import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest

from node.hl7.acknowledge import Outcome, Reception, Reply, build_reply, receive, reply_code

AT = datetime(2026, 3, 2, 9, 5, 7, tzinfo=timezone(timedelta(hours=1)))
OUTCOMES: tuple[Outcome, ...] = ("accepted", "error", "rejected")


def message(
    *, accept: str = "", application: str = "", processing: str = "P", version: str = "2.5", charset: str = "",
    kind: str = "ORU^R01", control_id: str = "C1",
) -> bytes:  # fmt: skip
    msh = f"MSH|^~\\&|LAB|HOSP|NODE|VBQ|20260302||{kind}|{control_id}|{processing}|{version}"
    return f"{msh}|||{accept}|{application}||{charset}\rPID|1\r".encode()


def reply(raw: bytes, outcome: Outcome = "accepted", reason: str | None = "the reason") -> Reply:
    return build_reply(receive(raw, "latin-1"), outcome, reason=reason, at=AT)


def segments(answer: Reply, codec: str = "ascii") -> list[list[str]]:
    text = answer.message.decode(codec)
    assert text.endswith("\r")
    return [line.split("|") for line in text[:-1].split("\r")]


# ---- which code ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("accept", "application", "codes"),
    [
        # Original mode: neither is sent.
        ("", "", "AA AE AR"),
        # Enhanced mode; table 0155: AL always, NE never, ER on error and rejection, SU on success.
        ("AL", "", "CA CE CR"),
        ("AL", "AL", "CA CE CR"),
        ("AL", "NE", "CA CE CR"),
        ("SU", "", "CA - -"),
        ("SU", "AL", "CA - -"),
        ("ER", "", "- CE CR"),
        ("ER", "AL", "- CE CR"),
        ("NE", "", "- - -"),
        ("NE", "NE", "- - -"),
        ("NE", "AL", "AA AE AR"),
        ("NE", "SU", "AA - -"),
        ("NE", "ER", "- AE AR"),
        ("", "AL", "AA AE AR"),
        ("", "SU", "AA - -"),
        ("", "ER", "- AE AR"),
        ("", "NE", "- - -"),
        # In lower case; and what is in no table is answered always.
        ("al", "ne", "CA CE CR"),
        ("ne", "su", "AA - -"),
        ("XX", "NE", "CA CE CR"),
        ("NE", "XX", "AA AE AR"),
    ],
)
def test_the_code_is_the_one_that_the_sender_asks_for(accept: str, application: str, codes: str) -> None:
    header = receive(message(accept=accept, application=application), "latin-1").header
    assert [reply_code(header, outcome) or "-" for outcome in OUTCOMES] == codes.split()


def test_what_is_no_message_is_answered_as_in_original_mode() -> None:
    assert [reply_code(None, outcome) for outcome in OUTCOMES] == ["AA", "AE", "AR"]


def test_who_wants_no_answer_gets_none() -> None:
    assert reply(message(accept="NE", application="NE")) == Reply(code="", message=b"")


@pytest.mark.parametrize(
    ("raw", "codes"),
    [
        # Two ends that acknowledge acknowledgements never stop: HL7 2.5, 2.9.2.
        (message(kind="ACK"), "- - -"),
        (message(kind="ACK^R01^ACK", accept="AL"), "- - -"),
        (message(kind="MCF^Q02", accept="AL"), "- - -"),
        # A message with results that answers one of ours, such as ORF, is told of only where it asks for it.
        (message(kind="ORF^R04") + b"MSA|AA|1\r", "- - -"),
        (message(kind="ORF^R04") + b"\nMSA^AA^1\r", "- - -"),
        (message(kind="ORF^R04", accept="AL") + b"MSA|AA|1\r", "CA CE CR"),
        (message(kind="ORF^R04", accept="NE", application="AL") + b"MSA|AA|1\r", "AA AE AR"),
        # The same letters elsewhere make no answer of it.
        (message(control_id="MSA"), "AA AE AR"),
        (message() + b"NTE|1||MSA|AA\r", "AA AE AR"),
        (message() + b"MSAB|1\r", "AA AE AR"),
        (b"hello\r", "AA AE AR"),
        (b"hello\rMSA|AA|1\r", "- - -"),
    ],
)
def test_an_answer_is_not_answered_unless_it_asks_for_it(raw: bytes, codes: str) -> None:
    assert [reply(raw, outcome).code or "-" for outcome in OUTCOMES] == codes.split()


# ---- what is received ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("processing", "refused"), [("P", False), ("", False), ("T", True), ("D", True)])
def test_only_production_is_taken(processing: str, refused: bool) -> None:
    reception = receive(message(processing=processing), "latin-1")
    assert (reception.refusal is not None) is refused
    if refused:
        assert f"processing id {processing} " in str(reception.refusal)


def test_a_long_processing_id_is_cut_in_the_answer() -> None:
    assert "processing id TTTTTTTTTT is" in str(receive(message(processing="T" * 11), "latin-1").refusal)


@pytest.mark.parametrize(("second", "refused"), [("T", True), ("P", False)])
def test_a_frame_with_one_message_for_production_is_taken(second: str, refused: bool) -> None:
    reception = receive(message(processing="D") + message(processing=second), "latin-1")
    assert (reception.refusal is not None) is refused
    assert not refused or "processing id D is" in str(reception.refusal), "that of the first"


def test_a_frame_is_answered_for_its_first_message() -> None:
    answer = reply(message(control_id="ONE") + message(control_id="TWO"))
    assert segments(answer)[1] == ["MSA", "AA", "ONE"]


@pytest.mark.parametrize("raw", [b"", b"PID|1\r", b"GET / HTTP/1.1\r\n", b"MSH"])
def test_what_is_not_hl7_is_rejected(raw: bytes) -> None:
    reception = receive(raw, "latin-1")
    assert reception.header is None
    assert reception.refusal
    assert reception.sha256 == hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize(
    ("raw", "problem"),
    [(b"PID|1\r", "no MSH segment"), (b"MSH", "MSH-1"), (b"MSH|^~\\&|\r", "MSH-9"), (b"MSH|^~\\&|\rMSH\r", "MSH-9")],
)
def test_the_rejection_says_what_is_wrong_with_the_first_message(raw: bytes, problem: str) -> None:
    assert problem in str(receive(raw, "latin-1").refusal)


@pytest.mark.parametrize(
    ("raw", "codec"),
    [
        (message(charset="UNICODE UTF-8"), "utf-8"),
        (b"\xef\xbb\xbf" + message(charset="UNICODE UTF-8"), "utf-8"),  # with a byte order mark: not in the answer
        (message(charset="UNICODE UTF-8") + b"\xff\xfe\r", "latin-1"),  # not what it says it is
        (message(charset="NOBODY KNOWS"), "latin-1"),
    ],
)
def test_a_frame_is_read_as_declared_or_byte_by_byte(raw: bytes, codec: str) -> None:
    reception = receive(raw, "latin-1")
    assert (reception.codec, reception.header is None) == (codec, False)


# ---- the answer ----------------------------------------------------------------------------------------------------
def test_every_field_of_a_positive_answer() -> None:
    raw = message(charset="UNICODE UTF-8")
    msh, msa = segments(reply(raw))
    assert msh == [
        "MSH", "^~\\&", "NODE", "VBQ", "LAB", "HOSP", "20260302090507+0100", "", "ACK^R01^ACK",
        hashlib.sha256(raw).hexdigest()[:20], "P", "2.5", "", "", "", "", "", "UNICODE UTF-8",
    ]  # fmt: skip
    assert msa == ["MSA", "AA", "C1"]


def test_empty_fields_at_the_end_are_left_out() -> None:
    assert len(segments(reply(message()))[0]) == 12


@pytest.mark.parametrize("kind", ["ORU", ""])
def test_without_a_trigger_the_answer_has_none(kind: str) -> None:
    assert segments(reply(message(kind=kind)))[0][8] == "ACK"


def test_the_delimiters_are_those_of_the_sender() -> None:
    raw = message().replace(b"|", b"!").replace(b"^~\\&", b"$~\\@").replace(b"ORU^R01", b"ORU$R01")
    lines = reply(raw, "error").message.decode().split("\r")
    assert lines[0].startswith("MSH!$~\\@!NODE!VBQ!LAB!HOSP!")
    assert "!ACK$R01$ACK!" in lines[0]
    assert lines[1] == "MSA!AE!C1!the reason"
    assert lines[2] == "ERR!!!207$Application internal error$HL70357!E!!!!the reason"
    older = reply(raw.replace(b"!2.5", b"!2.3"), "error").message.decode().split("\r")
    assert older[2] == "ERR!MSH$1$$207@Application internal error@HL70357"


@pytest.mark.parametrize(
    ("outcome", "version", "err"),
    [
        ("error", "2.5", "ERR|||207^Application internal error^HL70357|E||||the reason"),
        ("rejected", "2.5", "ERR||MSH^1^11|202^Unsupported processing id^HL70357|E||||the reason"),
        ("rejected", "2.5.1", "ERR||MSH^1^11|202^Unsupported processing id^HL70357|E||||the reason"),
        ("rejected", "2.6", "ERR||MSH^1^11|202^Unsupported processing id^HL70357|E||||the reason"),
        # Before version 2.5 the error stands in ERR-1: segment^sequence^field^code (HL7 2.4, 2.16.5).
        ("error", "2.4", "ERR|MSH^1^^207&Application internal error&HL70357"),
        ("rejected", "2.4", "ERR|MSH^1^11^202&Unsupported processing id&HL70357"),
        ("rejected", "2.3.1", "ERR|MSH^1^11^202&Unsupported processing id&HL70357"),
    ],
)
def test_a_negative_answer_says_what_where_and_why(outcome: Outcome, version: str, err: str) -> None:
    answer = reply(message(version=version), outcome)
    lines = answer.message.decode().split("\r")
    assert answer.code == {"error": "AE", "rejected": "AR"}[outcome]
    assert lines[1:] == [f"MSA|{answer.code}|C1|the reason", err, ""]


def test_what_is_no_message_is_answered_with_the_usual_delimiters() -> None:
    answer = build_reply(receive(b"hello", "latin-1"), "rejected", reason=None, at=AT.astimezone(UTC))
    msh, msa, err = segments(answer)
    assert msh[:9] == ["MSH", "^~\\&", "", "", "", "", "20260302080507+0000", "", "ACK"]
    assert msh[10:] == ["P", "2.3"]
    assert msa == ["MSA", "AR"]
    assert err == ["ERR", "MSH^1^^100&Segment sequence error&HL70357"]


def test_what_the_senders_character_set_lacks_does_not_stop_the_answer() -> None:
    reception = Reception(header=None, codec="ascii", sha256="0" * 64, answers=False, refusal="x")
    answer = build_reply(reception, "rejected", reason="größer", at=AT)
    assert b"MSA|AR||gr??er" in answer.message
