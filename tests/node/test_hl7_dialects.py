"""Dialects of HL7 v2 as engines, laboratories and analysers speak it: each is read, none is answered for ever."""

import socket
import struct
from pathlib import Path
from time import sleep

import pytest

from node.hl7.report import interpretation_json
from node.settings import Settings
from tests.node.test_hl7_listener import Peer, adt, frame, free_port, listening, settings_for, stored
from tests.waiting import eventually

ROWS = (
    "PID|1||P1^^^H^MR",
    "OBR|1|O1|F1|CBC|||20260110080000",
    "OBX|1|NM|751-8^N^LN||4.0|10*9/L|||||F",
    "OBX|2|NM|731-0^L^LN||2.0|10*9/L|||||F",
    "OBX|3|NM|777-3^P^LN||250|10*9/L|||||F",
)


def read(raw: bytes) -> dict[str, object]:
    (message,) = interpretation_json(raw, Settings())
    return message


def results(*, msh2: str = "^~\\&", msh9: str = "ORU^R01", msh18: str = "", taken: str = "20260110080000") -> bytes:
    header = f"MSH|{msh2}|LIS|H|||20260110120000||{msh9}|1|P|2.5||||||{msh18}"
    return "\r".join((header, *(row.replace("20260110080000", taken) for row in ROWS))).encode()


@pytest.mark.parametrize("msh2", ["^~\\&", "^~&", "^~\\\\&", "^~\\&#", "^~"])
def test_delimiters_as_analysers_write_them(msh2: str) -> None:
    (count,) = read(results(msh2=msh2))["cbcs"]
    assert (count["status"], count["nlr"], count["plr"]) == ("final", 2.0, 125.0)


@pytest.mark.parametrize("msh9", ["ORU^R01", "ORU", "ORU_R01", "ORU R01", "R01", "", "20260110120000123", "OUL^R22"])
def test_results_are_read_whatever_stands_for_the_message_type(msh9: str) -> None:
    (count,) = read(results(msh9=msh9))["cbcs"]
    assert (count["status"], count["nlr"]) == ("final", 2.0)


def test_a_message_without_type_and_results_is_refused() -> None:
    message = read(b"MSH|^~\\&|LIS|H|||20260110120000|||1|P|2.5\rPID|1||P1^^^H^MR\r")
    assert message["ack"] == "AR"
    assert message["problems"] == ["malformed MSH: no message type (MSH-9)"]


def test_segments_without_line_ends_are_told_apart() -> None:
    (count,) = read(results().replace(b"\r", b""))["cbcs"]
    assert (count["status"], count["nlr"], count["plr"]) == ("final", 2.0, 125.0)


@pytest.mark.parametrize(
    ("taken", "shown"),
    [
        ("20260110080000-500", "2026-01-10T08:00:00-05:00"),
        ("20260110080000-05", "2026-01-10T08:00:00-05:00"),
        ("20260110080000+0530", "2026-01-10T08:00:00+05:30"),
        ("2026011008000012", "2026-01-10T08:00:00.120000+00:00"),
        ("2026/01/10 08:00", "2026-01-10T08:00:00+00:00"),
        ("2026.01.10 08:00:00", "2026-01-10T08:00:00+00:00"),
        ("10.01.2026 08:00", "2026-01-10T08:00:00+00:00"),
        ("10/01/2026 08:00", None),
        ("20260110080060", "2026-01-10"),
        ("202601102560", "2026-01-10"),
        ("20260230080060", None),
        ("202601102400", "2026-01-11T00:00:00+00:00"),
        ("20260110 morning", "2026-01-10"),
        ("20260110", "2026-01-10"),
        ("202601", None),
        ("20261345", None),
    ],
)
def test_collection_times(taken: str, shown: str | None) -> None:
    (count,) = read(results(taken=taken))["cbcs"]
    assert count["specimen_time"] == shown


JAPANESE_ROWS = (
    "PID|1||P1^^^H^MR||山田^花子",
    "OBR|1|O1|F1|CBC|||20260110080000",
    "OBX|1|NM|2A990^好中球^JC10||57.0|%|||||F",
    "OBX|2|NM|2A990^リンパ球^JC10||28.5|%|||||F",
    "OBX|3|NM|2A990^血小板数^JC10||25.0|10*4/uL|||||F",
)


@pytest.mark.parametrize(
    "msh18", ["~ISO IR87", "ISO IR87", "ASCII~ISO IR87", "ISO IR6~ISO IR87~ISO IR159", "~ISO IR13~ISO IR87", ""]
)
def test_kanji_by_escape_sequences(msh18: str) -> None:
    """Escape sequences as Python's codec writes them; HL7 v2.5 2.15.9.18 and JAHIS name the sets in repetitions."""
    header = f"MSH|^~\\&|LIS|H|||20260110120000||ORU^R01|1|P|2.5||||||{msh18}||ISO 2022-1994"
    raw = "\r".join((header, *JAPANESE_ROWS)).encode("iso2022_jp")
    (count,) = read(raw)["cbcs"]
    assert (count["status"], count["nlr"]) == ("final", 2.0)


@pytest.mark.parametrize(
    ("msh18", "codec", "name"),
    [
        ("WINDOWS-1252", "cp1252", "Polynucléaires neutrophiles"), ("windows-1250", "cp1250",
        "Neutrofilní granulocyty"), ("CP1251", "cp1251", "Нейтрофилы"), ("KOI8-R", "koi8-r", "Нейтрофилы"),
        ("Shift_JIS", "shift_jis", "好中球"), ("EUC-KR", "euc-kr", "호중구"), ("TIS-620", "tis-620", "นิวโทรฟิล"),
        ("LATIN1", "latin-1", "Nötrofil"), ("ISO_IR 100", "latin-1", "Nötrofil"),
    ],
)  # fmt: skip
def test_sets_by_the_names_that_systems_have_for_them(msh18: str, codec: str, name: str) -> None:
    rows = (*ROWS[:2], ROWS[2].replace("751-8^N^LN", f"n^{name}"), *ROWS[3:])
    raw = "\r".join((f"MSH|^~\\&|LIS|H|||20260110120000||ORU^R01|1|P|2.5||||||{msh18}", *rows)).encode(codec)
    (count,) = read(raw)["cbcs"]
    assert count["nlr"] == 2.0


def test_a_number_without_part_is_the_first_of_8859() -> None:
    rows = ROWS[:2] + tuple(row.replace("777-3^P^LN", "PLT^Plättchen") for row in ROWS[2:])
    raw = "\r".join(("MSH|^~\\&|LIS|H|||20260110120000||ORU^R01|1|P|2.5||||||8859", *rows)).encode("iso8859-1")
    (count,) = read(raw)["cbcs"]
    assert count["nlr"] == 2.0


def test_an_unknown_set_in_any_repetition_is_held() -> None:
    assert "unknown character set 'EBCDIC'" in str(read(results(msh18="ASCII~EBCDIC"))["problems"])


# On the wire -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\x1c", b"\x1c\r", b"\x1c\x0c", b"\x1c\x00", b"\x1c\n"])
def test_a_frame_is_answered_at_once_however_it_ends(tmp_path: Path, end: bytes) -> None:
    with listening(settings_for(tmp_path, free_port())) as port, Peer(port) as peer:
        peer.send(b"\x0b" + adt("M1") + end)
        assert peer.msa()[1:3] == ["AA", "M1"]
        peer.send(b"\x0b" + adt("M2") + end)
        assert peer.msa()[1:3] == ["AA", "M2"]
    assert stored(tmp_path) == [adt("M1"), adt("M2")]


def test_a_frame_without_cr_before_a_half_close_is_stored_and_answered(tmp_path: Path) -> None:
    with listening(settings_for(tmp_path, free_port())) as port, Peer(port) as peer:
        peer.send(b"\x0b" + adt("M1") + b"\x1c")
        peer.socket.shutdown(socket.SHUT_WR)
        assert peer.msa()[1:3] == ["AA", "M1"]
        assert peer.reply() == b""
    assert stored(tmp_path) == [adt("M1")]


@pytest.mark.parametrize("reset", [False, True])
def test_a_frame_without_cr_before_a_close_is_stored(tmp_path: Path, reset: bool) -> None:
    with listening(settings_for(tmp_path, free_port())) as port:
        with Peer(port) as peer:
            peer.send(frame(adt("M0")))
            assert peer.msa()[1:3] == ["AA", "M0"]
            peer.send(b"\x0b" + adt("M1") + b"\x1c")
            if reset:
                sleep(0.1)
                peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert eventually(lambda: stored(tmp_path) == [adt("M0"), adt("M1")])


def test_an_acknowledgement_is_kept_and_not_acknowledged(tmp_path: Path) -> None:
    ack = b"MSH|^~\\&|HIS|H|NODE|V|20260302090000||ACK^R01|A1|P|2.5\rMSA|AA|X1\r"
    response = b"MSH|^~\\&|HIS|H|NODE|V|20260302090000||ORR^O02|A2|P|2.5\rMSA|AA|X2\r"
    with listening(settings_for(tmp_path, free_port())) as port, Peer(port) as peer:
        peer.send(frame(ack) + frame(response) + frame(adt("M1")))
        assert peer.msa()[1:3] == ["AA", "M1"]
    assert stored(tmp_path) == [ack, response, adt("M1")]


def test_a_response_that_asks_for_an_accept_acknowledgement_gets_it(tmp_path: Path) -> None:
    response = b"MSH|^~\\&|HIS|H|NODE|V|20260302090000||ORR^O02|A2|P|2.5|||AL\rMSA|AA|X2\r"
    with listening(settings_for(tmp_path, free_port())) as port, Peer(port) as peer:
        peer.send(frame(response))
        assert peer.msa()[1:3] == ["CA", "A2"]
