"""Limits of one association: the length of a command, whose fragments they are, what confirms an answer."""

import struct
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.presentation import build_context

from node.settings import Settings
from tests.node.dicom_samples import encode, mr_image, receiver, settings_for
from tests.node.raw_sender import RawSender, raw_association, store_request
from tests.node.receiver_world import rows
from tests.node.test_dicom_commitment import Answers, ask, asking
from tests.node.test_dicom_commitment import pending as pending_requests

ABORTED = b"\x07"
COMMAND, LAST = 1, 2
"""Bits of the message control header (PS3.8, annex E.2)."""
MAX_COMMAND_BYTES = 65_536
CANNOT_UNDERSTAND = bytes.fromhex("0000 0009 02000000 00c0")
"""Status C000: a C-STORE without a data set."""
SUCCESS = bytes.fromhex("0000 0009 02000000 0000")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "data")


def value(control: int, content: bytes, *, context: int = 1) -> bytes:
    """A P-DATA-TF of one presentation data value (PS3.8, section 9.3.5)."""
    item = struct.pack(">LBB", len(content) + 2, context, control) + content
    return struct.pack(">BBL", 4, 0, len(item)) + item


def element(number: int, content: bytes) -> bytes:
    return struct.pack("<HHL", 0, number, len(content)) + content


def command(size: int | None = None, *, dataset: bool = False, instance: str = "1.2.3") -> bytes:
    """A C-STORE request, filled up to so many bytes with an element of group 0000 that nobody knows."""
    content = element(0x0002, MRImageStorage.encode() + b"\0" * (len(MRImageStorage) % 2))
    content += element(0x0100, b"\x01\x00") + element(0x0110, b"\x07\x00")
    content += element(0x0800, b"\x00\x00" if dataset else b"\x01\x01")
    content += element(0x1000, instance.encode() + b"\0" * (len(instance) % 2))
    return content if size is None else content + element(0xFFFE, bytes(size - len(content) - 8))


@pytest.mark.parametrize("piece", [MAX_COMMAND_BYTES, 10_000])
@pytest.mark.parametrize(
    ("size", "taken"), [(MAX_COMMAND_BYTES - 2, True), (MAX_COMMAND_BYTES, True), (MAX_COMMAND_BYTES + 2, False)]
)
def test_a_command_has_64_kib_at_most_in_one_fragment_or_many(
    settings: Settings, size: int, taken: bool, piece: int
) -> None:
    content = command(size)
    parts = [content[start : start + piece] for start in range(0, len(content), piece)]
    said = b"".join(value(COMMAND | (LAST if part is parts[-1] else 0), part) for part in parts)
    with receiver(settings), raw_association(settings.dicom.port) as sender:
        answer = sender.say(said)
        assert (CANNOT_UNDERSTAND in answer, answer[:1] == ABORTED) == (taken, not taken)


def test_a_command_that_never_ends_is_not_kept(settings: Settings) -> None:
    """Its last fragment never comes; a receiver that waits for it would answer nothing until the time-out."""
    with receiver(settings), raw_association(settings.dicom.port) as sender:
        sender.socket.sendall(b"".join(value(COMMAND, bytes(16_384)) for _ in range(4)))
        assert sender.say(value(COMMAND, b"\0\0"))[:1] == ABORTED


def two_contexts(port: int) -> RawSender:
    """An association with MR images in the presentation contexts 1 and 3."""
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = "SENDER", "VBQNODE"
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16_382
    implementation.implementation_class_uid = "1.2.826.0.1.3680043.8.498.9"
    request.user_information = [length, implementation]
    request.presentation_context_definition_list = []
    for number in (1, 3):
        context = build_context(MRImageStorage, ExplicitVRLittleEndian)
        context.context_id = number
        request.presentation_context_definition_list.append(context)
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    sender = RawSender(port)
    assert sender.say(bytes(pdu.encode()))[:1] == b"\x02"
    return sender


def test_two_contexts_are_served_one_message_after_the_other(settings: Settings) -> None:
    with receiver(settings):
        sender = two_contexts(settings.dicom.port)
        with sender.socket:
            for context in (1, 3):
                whole = value(COMMAND | LAST, command(dataset=True, instance=generate_uid()), context=context)
                whole += value(LAST, encode(mr_image(seed=context)), context=context)
                assert SUCCESS in sender.say(whole)
    assert rows(settings, "SELECT count(*) FROM fact_object") == [(2,)]


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(value(LAST, encode(mr_image()), context=3), id="data-of-another-context"),
        pytest.param(value(COMMAND | LAST, command(), context=3), id="command-of-another-context"),
        pytest.param(value(COMMAND | LAST, command()), id="command-where-data-are-due"),
        pytest.param(value(COMMAND, b"\0\0"), id="more-of-a-command-that-had-its-last-fragment"),
    ],
)
def test_the_fragments_of_two_messages_are_not_mixed(settings: Settings, second: bytes) -> None:
    first = value(COMMAND | LAST, command(dataset=True)) + value(0, encode(mr_image())[:300])
    with receiver(settings):
        sender = two_contexts(settings.dicom.port)
        with sender.socket:
            assert sender.say(first + second)[:1] == ABORTED
    assert rows(settings, "SELECT count(*) FROM fact_object") == [(0,)]


def test_a_command_may_not_go_on_in_another_context(settings: Settings) -> None:
    with receiver(settings):
        sender = two_contexts(settings.dicom.port)
        with sender.socket:
            half = command()
            said = value(COMMAND, half[:20]) + value(COMMAND | LAST, half[20:], context=3)
            assert sender.say(said)[:1] == ABORTED


def test_a_message_behind_another_is_its_own(settings: Settings) -> None:
    """Two C-STORE in one go, both whole: both are answered."""
    with receiver(settings), raw_association(settings.dicom.port) as sender:
        both = store_request(mr_image(seed=1)) + store_request(mr_image(seed=2))
        assert sender.say(both)[:1] == b"\x04"
        assert sender.answer()[:1] == b"\x04"
    assert rows(settings, "SELECT count(*) FROM fact_object") == [(2,)]


@pytest.mark.parametrize(("status", "left"), [(0x0000, 0), (0x0110, 1), (0x0112, 1)])
def test_an_answer_on_the_same_association_counts_only_when_it_is_confirmed(
    settings: Settings, status: int, left: int
) -> None:
    answers = Answers(status=status)
    with receiver(settings), asking(settings, answers) as sender:
        assert ask(sender, [(MRImageStorage, "1.2.3")]) == 0
        assert answers.came.wait(20)
    assert len(answers.said) == 1
    assert len(pending_requests(settings)) == left
