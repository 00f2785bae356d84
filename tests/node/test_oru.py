"""Results as HL7 messages: what they say, whom they are sent to, and what happens when they do not arrive."""

import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

from node.errors import InputError
from node.hl7.client import connected, read_answer
from node.operate.doctor import examine
from node.outgoing.delivery import Tally, send_due
from node.outgoing.oru import ORU
from node.outgoing.queue import register
from node.people.readings import approve
from node.people.results import resend, withdraw
from node.results.content import Result, digest
from node.results.oru import messages, render
from node.results.statements import part_told
from node.settings import Fhir, FhirReceiver, Hl7Receiver, ServerTls, Settings
from node.steps.link import link_persons
from node.steps.measure import measure_readings
from node.tls import server_context
from tests.certificates import Certificates
from tests.node.dicom_samples import NOON
from tests.node.mllp_receiver import MllpReceiver, acknowledgement
from tests.node.result_samples import APPROVAL, FINDING, OFFSET, SCORE, STANDING, WHOSE, result, withdrawn
from tests.node.test_measure_automatic import arrive, measure
from tests.node.world import SERIES, World, painted

SITE = Settings.model_validate({"site": {"name": "Haus am See", "time_zone": "Europe/Vienna"}})
ALL = Hl7Receiver(
    host="127.0.0.1", port=1, application="KIS", facility="KH", tell=("levels", "ratios", "counts", "tier")
)
NEVER = threading.Event()


def rendered(one: Result, receiver: Hl7Receiver = ALL) -> bytes:
    return render(one, receiver=receiver, settings=SITE).content


def fields(content: bytes, name: str) -> list[list[str]]:
    return [line.split("|") for line in content.decode().split("\r") if line.startswith(f"{name}|")]


def observed(content: bytes, *numbers: int) -> dict[str, tuple[str, ...]]:
    """The fields of each OBX by the code in OBX-3."""
    return {
        one[3].partition("^")[0]: tuple([*one, *[""] * 20][number] for number in numbers)
        for one in fields(content, "OBX")
    }


# ---- what a message says ---------------------------------------------------------------------------------------
def test_values_with_their_codes_and_cuts() -> None:
    content = rendered(result())
    assert observed(content, 5, 6, 7, 8) == {
        "VBQ": ("2.5", "{ratio}^^UCUM", "<2.5", "H"),  # high at its cut
        "VBQLOW": ("2.304", "{ratio}^^UCUM", "", ""),  # 2.5 - 1.96 × 0.1
        "VBQHIGH": ("2.696", "{ratio}^^UCUM", "", ""),
        "VBQMEDIAN": ("2.48", "{ratio}^^UCUM", "", ""),
        "VBQL1": ("3", "{ratio}^^UCUM", "", ""),
        "VBQL2": ("2.6", "{ratio}^^UCUM", "", ""),
        "VBQL3": ("2.4", "{ratio}^^UCUM", "", ""),
        "VBQL4": ("2", "{ratio}^^UCUM", "", ""),
        "NLR": ("4", "{ratio}^^UCUM", "<=4", "N"),  # high above its cut only
        "PLR": ("160", "{ratio}^^UCUM", "<=150", "H"),
        "26499-4": ("6", "10*9/L^^UCUM", "", ""),
        "26474-7": ("1.5", "10*9/L^^UCUM", "", ""),
        "26515-7": ("240", "10*9/L^^UCUM", "", ""),
        "TIER": ("FLAGGED^flagged^99VBQNODE", "", "", ""),
        "THRESHOLDS": ("3", "", "", ""),
    }
    assert observed(content, 11, 14, 16, 17)["VBQ"] == (
        "P", "20260201101500+0100", "", "vbq-auto-5^vbq-auto 5^99VBQNODE",
    )  # fmt: skip
    assert observed(content, 11, 14, 17)["NLR"] == ("P", "20260220083000+0100", "")
    notes = [one[3] for one in fields(content, "NTE")]
    assert notes[0].startswith("Research use only")
    assert "Study protocol: EK 2026/17" in notes


def test_a_cut_that_holds_an_offset_says_so_to_who_is_told_of_the_tier() -> None:
    moved = replace(FINDING, standing=replace(STANDING, reasons=(OFFSET,)))
    said = "VBQ cut of all scanners, +0.250 for B (adopted offset above A)"
    assert said in [one[3] for one in fields(rendered(result(moved)), "NTE")]
    images = part_told(moved, ["levels"])
    assert said not in [one[3] for one in fields(rendered(result(images)), "NTE")]
    assert digest(moved) != digest(FINDING), "what was sent without it is corrected"


def test_whose_it_is_and_of_which_examination() -> None:
    content = rendered(result())
    ((*_, msh),) = [fields(content, "MSH")]
    assert msh[2:6] == ["VBQNODE", "Haus am See", "KIS", "KH"]
    assert (msh[8], msh[10], msh[11], msh[17]) == ("ORU^R01^ORU_R01", "P", "2.5.1", "UNICODE UTF-8")
    (pid,) = fields(content, "PID")
    # DICOM: family^given^middle^prefix^suffix; HL7: family^given^further^suffix^prefix.
    assert pid[3:9] == ["0012345^^^HOSPITAL^MR", "", "Müller^Eva^Maria^jun.^Dr.", "", "19600102", "F"]
    (obr,) = fields(content, "OBR")
    assert (obr[2], obr[7], obr[25]) == ("A-4711^RIS", "20260201101500+0100", "P")
    assert obr[3].endswith("^VBQNODE")
    filler = rendered(result(), ALL.model_copy(update={"accession": "filler", "authority": "KH-PID"}))
    assert fields(filler, "OBR")[0][2:4] == ["", "A-4711^RIS"]
    assert fields(filler, "PID")[0][3] == "0012345^^^KH-PID^MR"
    nothing = rendered(result(whose=replace(WHOSE, accession_number="", study_time="")))
    assert fields(nothing, "ORC")[0][2] == ""
    assert fields(nothing, "OBR")[0][7] == "20260201"


def test_another_reader_of_hl7_finds_it_valid_and_reads_the_same() -> None:
    first = result()
    second = result(replace(FINDING, approval=APPROVAL), before=first, body=rendered(first))
    third = result(withdrawn(), before=second, body=rendered(second), whose=None)
    for one, status in ((first, "P"), (second, "F"), (third, "W")):
        parsed = parse_message(rendered(one).decode(), validation_level=VALIDATION_LEVEL.STRICT)
        assert parsed.validate()
        group = parsed.oru_r01_patient_result.oru_r01_order_observation.oru_r01_observation[0]
        assert group.obx.obx_11.value == status
        assert group.obx.obx_3.obx_3_1.value == "VBQ"
        assert group.obx.obx_5.value == ("2.5" if status != "W" else "")


@pytest.mark.parametrize(("parts", "told"), [
    ((), {"VBQ", "VBQLOW", "VBQHIGH", "VBQMEDIAN"}),
    (("ratios",), {"VBQ", "VBQLOW", "VBQHIGH", "VBQMEDIAN", "NLR", "PLR"}),
])  # fmt: skip
def test_only_the_parts_that_are_wanted(parts: tuple[str, ...], told: set[str]) -> None:
    assert set(observed(rendered(result(), ALL.model_copy(update={"tell": parts})), 5)) == told


def test_codes_of_the_site() -> None:
    receiver = Hl7Receiver(host="x", port=1, codes={"vbq": "12345-6^Bone quality^LN"})
    assert observed(rendered(result(), receiver), 5)["12345-6"] == ("2.5",)
    for wrong in ("VBQ", "VBQ^x", "a|b^c^d", "^b^c"):
        with pytest.raises(ValueError, match="CODE\\^Name\\^SYSTEM"):
            Hl7Receiver.model_validate({"host": "x", "port": 1, "codes": {"vbq": wrong}})


def test_delimiters_in_values_are_escaped() -> None:
    content = rendered(result(whose=replace(WHOSE, name="A|B^C&D~E", patient_id="1\\2\r3")))
    assert fields(content, "PID")[0][3] == "1\\E\\2 3^^^HOSPITAL^MR"
    assert fields(content, "PID")[0][5] == "A\\F\\B^C\\T\\D\\R\\E"


def test_characters_that_the_receiver_cannot_have() -> None:
    latin = ALL.model_copy(update={"charset": "8859/1"})
    assert "Müller".encode("latin-1") in rendered(result(), latin)
    with pytest.raises(InputError, match="character set"):
        rendered(result(whose=replace(WHOSE, name="Żółć^Ewa")), latin)


# ---- what follows on what --------------------------------------------------------------------------------------
def test_final_after_approval_and_a_correction_only_of_what_has_changed() -> None:
    first = result()
    approved = replace(FINDING, approval=APPROVAL)
    second = result(approved, before=first, body=rendered(first))
    final = rendered(second)
    assert set(observed(final, 11).values()) == {("F",)}
    assert observed(final, 16)["VBQ"] == ("^Dr. A",)
    assert fields(final, "OBR")[0][25] == "F"
    moved = replace(approved, score=replace(SCORE, vbq_mean=2.6), blood=None, standing=None)
    third = rendered(result(moved, before=second, body=final))
    statuses = observed(third, 11)
    assert (statuses["VBQ"], statuses["VBQMEDIAN"]) == (("C",), ("F",))
    # What it no longer says does not stay there.
    assert {name for name, status in statuses.items() if status == ("W",)} == {
        "NLR", "PLR", "26499-4", "26474-7", "26515-7", "TIER", "THRESHOLDS",
    }  # fmt: skip
    assert fields(third, "OBR")[0][25] == "C"


def test_a_version_that_was_replaced_before_it_was_sent_leaves_nothing_standing() -> None:
    """The receiver knows the first and gets the third."""
    first = result()
    without = replace(FINDING, blood=None, standing=None)
    second = result(without, before=first, body=rendered(first))
    third = rendered(result(without, before=second, body=rendered(second)))
    assert observed(third, 11)["NLR"] == ("W",)
    assert observed(third, 11)["VBQ"] == ("P",)


def test_a_withdrawal_takes_back_every_value_and_has_none() -> None:
    first = result()
    told = rendered(first)
    content = rendered(result(withdrawn(), before=first, body=told, whose=None))
    assert set(observed(content, 5, 11).values()) == {("", "W")}
    assert observed(content, 11).keys() == observed(told, 11).keys()
    assert [fields(content, name) for name in ("PID", "ORC")] == [fields(told, name) for name in ("PID", "ORC")]
    assert [one[3] for one in fields(content, "NTE")][-1] == "withdrawn by Dr. A: wrong level"
    again = rendered(result(before=result(withdrawn(), before=first, body=told), body=content))
    assert observed(again, 11)["VBQ"] == ("P",)


def test_images_that_are_another_patients_are_withdrawn_from_whom_they_were_told_of() -> None:
    first = result()
    told = rendered(first)
    other = replace(WHOSE, patient_id="0099", name="Huber^Otto")
    content = rendered(result(before=first, body=told, whose=other))
    (_, back), (number, new) = messages(content)
    assert fields(back, "PID") == fields(told, "PID")
    assert set(observed(back, 5, 11).values()) == {("", "W")}
    assert fields(new, "PID")[0][3] == "0099^^^HOSPITAL^MR"
    assert observed(new, 5, 11)["VBQ"] == ("2.5", "P")
    assert fields(new, "ORC")[0][3] != fields(told, "ORC")[0][3]
    assert fields(new, "MSH")[0][9] == number
    # What follows takes back both, for nobody knows whether that version was ever sent.
    after = rendered(result(withdrawn(), before=first, body=content, whose=None))
    assert fields(after, "PID") == [*fields(told, "PID"), *fields(new, "PID")]
    assert {status for _, one in messages(after) for status in observed(one, 11).values()} == {("W",)}
    (_, still), (_, last) = messages(rendered(result(before=first, body=content, whose=other)))
    assert set(observed(still, 11).values()) == {("W",)}
    assert observed(last, 11)["VBQ"] == ("P",)


# ---- sent ------------------------------------------------------------------------------------------------------
@pytest.fixture
def peer() -> MllpReceiver:
    return MllpReceiver()


def settings_of(world: World, peer: MllpReceiver, **receiver: object) -> Settings:
    table = {"host": "127.0.0.1", "port": peer.port, "timeout_s": 5, **receiver}
    return Settings.model_validate(
        {
            "site": {"protocol": "EK 2026/17"},
            "storage": {"folder": world.folder},
            "hl7": {"receivers": {"record": table}},
        }
    )


@pytest.fixture
def measured(world: World, peer: MllpReceiver) -> World:
    """A receiver is set up, then a series is measured."""
    register(world.db, ORU, settings_of(world, peer))
    arrive(world, *painted())
    measure(world)
    link_persons(world.db, world.settings)
    return world


def send(world: World, peer: MllpReceiver, *, at: datetime = NOON, **receiver: object) -> Tally:
    link_persons(world.db, world.settings)
    return send_due(ORU, world.db, settings_of(world, peer, **receiver), "record", NEVER, clock=lambda: at)


def approved(world: World) -> None:
    approve(world.db, world.archive, series_uid=SERIES, reader="Dr. A", now=NOON)
    measure_readings(world.db, world.archive)


def state(world: World) -> list[tuple[object, ...]]:
    return world.rows("SELECT status, state FROM results ORDER BY result_id")


def statuses(peer: MllpReceiver) -> list[str]:
    return [observed(one, 11)["VBQ"][0] for one in peer.taken]


@pytest.mark.parametrize(("mode", "code"), [("original", "AA"), ("enhanced", "CA")])
def test_preliminary_then_final_then_withdrawn(measured: World, peer: MllpReceiver, mode: str, code: str) -> None:
    peer.answer = partial(acknowledgement, code)
    with peer.up():
        assert send(measured, peer, acknowledgement=mode).done == 1
        assert send(measured, peer, acknowledgement=mode) == Tally()
        approved(measured)
        assert send(measured, peer, acknowledgement=mode).done == 1
        withdraw(measured.db, 2, by="Dr. A", why="wrong level", at=NOON)
        assert send(measured, peer, acknowledgement=mode).done == 1
    assert statuses(peer) == ["P", "F", "W"]
    assert state(measured) == [("preliminary", "kept"), ("final", "kept"), ("withdrawn", "kept")]
    assert measured.rows("SELECT DISTINCT how, detail FROM record_result_answer") == [("ack", code)]
    wanted = ["AL", "NE"] if mode == "enhanced" else ["", ""]
    assert [fields(one, "MSH")[0][14:16] for one in peer.taken] == [wanted] * 3


@pytest.mark.parametrize("code", ["AE", "AR", "CE", "CR", "", "ZZ"])
def test_a_refused_message_is_tried_again_and_given_up_in_the_end(
    measured: World, peer: MllpReceiver, code: str
) -> None:
    peer.answer = partial(acknowledgement, code)
    at = NOON
    with peer.up():
        for _ in range(12):
            assert send(measured, peer, at=at).attempted == 1
            assert send(measured, peer, at=at).attempted == 0
            at += timedelta(hours=5)
        assert send(measured, peer, at=at).attempted == 0
    assert set(peer.taken) == {peer.taken[0]}, "the same bytes each time"
    assert state(measured) == [("preliminary", "given up")]
    (problem,) = measured.rows("SELECT code, detail FROM problems WHERE step = 'results'")
    assert code in str(problem[1]) or "without a code" in str(problem[1])
    # A person has it sent once more.
    peer.answer = partial(acknowledgement, "AA")
    resend(measured.db, 1, by="Dr. A", at=NOON)
    with peer.up():
        assert send(measured, peer, at=at).done == 1
    assert peer.taken[-1] == peer.taken[0]
    assert state(measured)[0][1] == "kept"
    assert measured.rows("SELECT 1 FROM problems WHERE step = 'results'") == []


def test_one_that_is_away_costs_nothing_until_it_is_back(measured: World, peer: MllpReceiver) -> None:
    for hour in range(24):
        assert send(measured, peer, at=NOON + timedelta(hours=hour)) == Tally(reached=False)
    assert measured.rows("SELECT attempts, status FROM state_outgoing") == [(0, "waiting")]
    assert "cannot be reached" in str(measured.rows("SELECT detail FROM problems WHERE step = 'oru'"))
    with peer.up():
        assert send(measured, peer, at=NOON + timedelta(days=2)).done == 1


def test_an_answer_to_another_message_confirms_nothing(measured: World, peer: MllpReceiver) -> None:
    peer.answer = lambda _: acknowledgement("AA", "somethingelse")
    with peer.up():
        assert send(measured, peer).waiting == 1
    assert state(measured) == [("preliminary", "waiting")]
    assert measured.rows("SELECT count(*) FROM record_result_answer") == [(0,)]
    peer.answer = partial(acknowledgement, "AA")
    with peer.up():
        assert send(measured, peer, at=NOON + timedelta(hours=1)).done == 1
    assert peer.taken[0] == peer.taken[1]


@pytest.mark.parametrize("answer", [lambda _: None, lambda _: b"HTTP/1.1 400 Bad Request"])
def test_one_that_hangs_up_or_says_what_is_no_answer(measured: World, peer: MllpReceiver, answer) -> None:
    peer.answer = answer
    with peer.up():
        assert send(measured, peer).waiting == 1
    assert state(measured) == [("preliminary", "waiting")]
    peer.answer = partial(acknowledgement, "AA")
    with peer.up():
        assert send(measured, peer, at=NOON + timedelta(hours=1)).done == 1


def test_one_that_always_hangs_up_is_a_problem_before_long(measured: World, peer: MllpReceiver) -> None:
    peer.answer = lambda _: None
    problems = []
    with peer.up():
        for minutes in (0, 2, 5):
            assert send(measured, peer, at=NOON + timedelta(minutes=minutes)).waiting == 1
            problems.append(measured.rows("SELECT source, code FROM problems WHERE step = 'results'"))
    assert problems == [[], [], [(f"series {SERIES}", "undeliverable")]]


def test_one_that_never_answers(measured: World, peer: MllpReceiver) -> None:
    stop = threading.Event()

    def silent(_: str) -> None:
        stop.wait(20)

    peer.answer = silent
    with peer.up():
        assert send(measured, peer, timeout_s=0.2).waiting == 1
        stop.set()
    assert "no answer within 0.2 s" in str(measured.rows("SELECT last_error FROM state_outgoing"))


def test_what_was_not_sent_is_replaced_by_what_is_newer(measured: World, peer: MllpReceiver) -> None:
    peer.answer = partial(acknowledgement, "AE")
    with peer.up():
        assert send(measured, peer).waiting == 1
        approved(measured)
        peer.answer = partial(acknowledgement, "AA")
        at = NOON + timedelta(seconds=1)
        assert send(measured, peer, at=at).done == 1
        assert send(measured, peer, at=NOON + timedelta(hours=5)).attempted == 0
    assert statuses(peer) == ["P", "F"]
    assert state(measured) == [("preliminary", "replaced before it was sent"), ("final", "kept")]


def test_a_second_answer_of_an_engine_is_passed_over(peer: MllpReceiver) -> None:
    """In enhanced mode the application may answer as well, later and over the same connection."""
    peer.answer = lambda number: acknowledgement("CA", number) + b"\x1c\r\x0b" + acknowledgement("AA", number)
    receiver = Hl7Receiver(host="127.0.0.1", port=peer.port, timeout_s=5)
    with peer.up(), connected(receiver) as client:
        answers = [client.send(f"MSH|^~\\&|||||||ORU|{n}|P|2.5.1\r".encode(), str(n)) for n in range(3)]
    assert [(one.code, one.control_id) for one in answers] == [("CA", "0"), ("CA", "1"), ("CA", "2")]
    assert peer.connections == 1


@pytest.mark.parametrize(("raw", "code", "control_id"), [
    (b"MSH|^~\\&|A\rMSA|AA|17\r", "AA", "17"),
    (b"\xef\xbb\xbfMSH|^~\\&|A\r\nMSA|aa|17\r\n", "AA", "17"),
    (b"MSH#*~\\&#A\rMSA#CE#17*x", "CE", "17"),
    (b"MSH|^~\\&|A\rMSA|AE\r", "AE", ""),
    (b"MSH|^~\\&|A\rERR|x\r", "", ""),
    (b"no HL7", "", ""),
])  # fmt: skip
def test_answers_as_engines_write_them(raw: bytes, code: str, control_id: str) -> None:
    answer = read_answer(raw)
    assert (answer.code, answer.control_id) == (code, control_id)


def test_over_tls_to_whom_the_authority_knows(peer: MllpReceiver, certificates: Certificates) -> None:
    folder = certificates.folder
    context = server_context(
        ServerTls(port=1, certificate=folder / "known.pem", key=folder / "known.key", client_ca=folder / "ca.pem")
    )
    tls = {"ca": folder / "ca.pem", "certificate": folder / "node.pem", "key": folder / "node.key"}
    message = b"MSH|^~\\&|||||||ORU|7|P|2.5.1\r"
    with peer.up(context):
        known = Hl7Receiver.model_validate({"host": "127.0.0.1", "port": peer.port, "tls": tls, "timeout_s": 5})
        with connected(known) as client:
            assert client.send(message, "7").code == "AA"
        stranger = known.model_copy(update={"tls": known.tls.model_copy(update={"ca": folder / "other.pem"})})
        with pytest.raises(Exception, match="cannot be reached over TLS"), connected(stranger):
            pass
    assert peer.taken == [message]


def test_the_doctor_looks_whether_receivers_are_there(measured: World, peer: MllpReceiver) -> None:
    settings = settings_of(measured, peer)
    settings = settings.model_copy(
        update={"fhir": Fhir(receivers={"files": FhirReceiver(folder=measured.folder / "missing")})}
    )
    with peer.up():
        found = {one.check: one for one in examine(settings)}
        assert found["HL7 receiver record"].ok
    assert not found["FHIR receiver files"].ok
    away = {one.check: one for one in examine(settings)}["HL7 receiver record"]
    assert not away.ok
    assert "cannot be reached" in away.detail


# ---- killed ----------------------------------------------------------------------------------------------------
KILLED = """
import os, signal, sys, threading
from pathlib import Path
from node.outgoing.delivery import send_due
from node.outgoing import oru, rendered
from node.results import records
from node.settings import Settings
from node.store.database import open_database

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

place, settings = sys.argv[1], Settings.model_validate_json(sys.argv[2])
if place == "rendering":
    records.insert = die
elif place == "sending":
    rendered.body_of = die
else:
    rendered.kept = die
send_due(oru.ORU, open_database(settings.storage.folder), settings, "record", threading.Event())
"""


@pytest.mark.parametrize(("place", "sent"), [("rendering", 0), ("sending", 0), ("confirming", 1)])
def test_killed_between_rendering_sending_and_confirming(
    measured: World, peer: MllpReceiver, place: str, sent: int
) -> None:
    settings = settings_of(measured, peer)
    with peer.up():
        done = subprocess.run(
            [sys.executable, "-c", KILLED, place, settings.model_dump_json()], timeout=60, check=False
        )
        assert done.returncode == -signal.SIGKILL
        assert len(peer.taken) == sent
        # Its lease runs out, or the role releases it when it starts.
        assert send(measured, peer, at=datetime.now(NOON.tzinfo) + timedelta(hours=2)).done == 1
    assert len(set(peer.taken)) == 1, "the same bytes, so that the receiver can tell"
    assert state(measured) == [("preliminary", "kept")]
