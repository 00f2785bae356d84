"""Peers that do oddly what the standard allows, or nearly: each is answered, and nothing half stays."""

import struct
from collections.abc import Callable, Iterator

import pytest

from node.settings import Settings
from tests.node.dicom_samples import receiver, settings_for
from tests.node.odd_peer import (
    ACCEPTED,
    APPLICATION_CONTEXT,
    ECHO,
    IMPLICIT,
    MR,
    NO_SUCH_SYNTAX,
    RELEASE,
    STANDARD,
    STUDY,
    OddPeer,
    command,
    context,
    data,
    echo,
    element,
    fragment,
    image,
    item,
    request,
    results,
    user_information,
)
from tests.node.receiver_world import rows
from tests.waiting import eventually

BOTH = {1: ACCEPTED, 3: ACCEPTED}
MPPS = "1.2.840.10008.3.1.2.3.3"
STORED, FAILED = (0x8001, 0x0000), (0x8001, 0xC000)
ECHOED = (0x8030, 0x0000)
ABORTED = b"\x07"


def named(uid: str) -> bytes:
    """A sub-item's SOP class: its length and itself."""
    return struct.pack(">H", len(uid)) + uid.encode()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    one = settings_for(tmp_path_factory.mktemp("odd") / "data")
    with receiver(one):
        yield one


REQUESTS: dict[str, tuple[bytes, dict[int, int]]] = {
    "PDUs of any length": (request(*STANDARD, user=user_information(max_pdu=0)), BOTH),
    "no longest PDU": (request(*STANDARD, user=user_information(max_pdu=None)), BOTH),
    "no user information": (request(*STANDARD, user=b""), BOTH),
    "no implementation": (request(*STANDARD, user=user_information(uid=b"", version=b"")), BOTH),
    "an implementation too long": (request(*STANDARD, user=user_information(uid=b"1.2.3\0", version=b"X" * 30)), BOTH),
    "asynchronous operations 0 0": (request(*STANDARD, user=user_information(item(0x53, bytes(4)))), BOTH),
    "asynchronous operations 8 1": (request(*STANDARD, user=user_information(item(0x53, b"\0\x08\0\x01"))), BOTH),
    "both roles": (request(*STANDARD, user=user_information(item(0x54, named(MR) + b"\1\1"))), BOTH),
    "the role of an SCP": (request(*STANDARD, user=user_information(item(0x54, named(MR) + b"\0\1"))), BOTH),
    "extended negotiation": (
        request(*STANDARD, user=user_information(item(0x56, named(MR) + b"\2\0\0\0\1\0"))), BOTH,
    ),
    "common extended negotiation": (
        request(*STANDARD, user=user_information(item(0x57, named(MR) + named("1.2.840.10008.4.2") + b"\0\0"))), BOTH,
    ),
    "a user's name": (
        request(*STANDARD, user=user_information(item(0x58, b"\1\1" + named("user") + b"\0\0"))), BOTH,
    ),
    "a user's password": (
        request(*STANDARD, user=user_information(item(0x58, b"\2\0" + named("user") + named("pass")))), BOTH,
    ),
    "an unknown item": (request(*STANDARD, user=user_information(item(0x7E, b"abc"))), BOTH),
    "titles in small letters": (request(*STANDARD, called=b"vbq node 1234567", calling=b"pacs  a 12345678"), BOTH),
    "titles padded with NUL": (request(*STANDARD, padding=b"\0"), BOTH),
    "empty titles": (request(*STANDARD, called=b"", calling=b""), BOTH),
    "titles behind spaces": (request(*STANDARD, called=b"  VBQNODE", calling=b"  MR1"), BOTH),
    "a title in Latin-1": (request(*STANDARD, calling="MÜNCHEN".encode("latin-1")), BOTH),
    "two versions of the protocol": (request(*STANDARD, version=3), BOTH),
    "a NUL behind the application context": (request(*STANDARD, application=APPLICATION_CONTEXT + b"\0"), BOTH),
    "NUL and space behind UIDs": (
        request(context(1, ECHO + "\0", syntaxes=(IMPLICIT + "\0",)), context(3, MR + " ", syntaxes=(IMPLICIT + " ",))),
        BOTH,
    ),
    "no contexts": (request(), {}),
    "128 contexts": (
        request(*(context(2 * number + 1, MR) for number in range(128))),
        {2 * number + 1: ACCEPTED for number in range(128)},
    ),
    "200 contexts, whose numbers begin anew": (
        request(*(context((2 * number + 1) % 256, MR) for number in range(200))),
        {2 * number + 1: ACCEPTED for number in range(128)},
    ),
    "even numbers": (request(context(2, ECHO), context(4, MR)), {2: ACCEPTED, 4: ACCEPTED}),
    "40 syntaxes": (
        request(context(1, MR, syntaxes=(*(f"1.2.3.{number}" for number in range(39)), IMPLICIT))), {1: ACCEPTED},
    ),
    "no syntax": (request(context(1, ECHO), context(3, MR, syntaxes=())), {1: ACCEPTED, 3: NO_SUCH_SYNTAX}),
    "a procedure step beside images": (request(context(1, MPPS), context(3, MR)), {1: 3, 3: ACCEPTED}),
    "a procedure step alone": (request(context(1, MPPS)), {1: 3}),
    "user information first": (request(user_information(), *STANDARD, user=b""), BOTH),
}  # fmt: skip


@pytest.mark.parametrize("case", REQUESTS)
def test_odd_requests_are_accepted_and_released(settings: Settings, case: str) -> None:
    asked, expected = REQUESTS[case]
    with OddPeer(settings.dicom.port, asked) as peer:
        assert results(peer.accepted) == expected
        assert peer.release()


@pytest.mark.parametrize("number", [0, 2])
def test_a_context_that_has_not_one_abstract_syntax_is_aborted(settings: Settings, number: int) -> None:
    with OddPeer(settings.dicom.port, request(context(1, ECHO), context(3, *[MR] * number))) as peer:
        assert peer.accepted[:1] == ABORTED


def bytewise(content: bytes, *, is_command: bool) -> bytes:
    last = len(content) - 1
    return b"".join(
        data(fragment(content[at : at + 1], command=is_command, last=at == last)) for at in range(len(content))
    )


MOVED = element(0, 0x1030, b"MOVER ") + element(0, 0x1031, b"\7\0")
META = element(2, 0, struct.pack("<L", 30)) + element(2, 0x10, IMPLICIT.encode())
WAYS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "in two PDUs": lambda asked, content: data(fragment(asked, command=True)) + data(fragment(content)),
    "in one PDU": lambda asked, content: data(fragment(asked, command=True), fragment(content)),
    "a byte in each fragment": lambda asked, content: (
        bytewise(asked, is_command=True) + bytewise(content, is_command=False)
    ),
    "an empty last fragment": lambda asked, content: (
        data(fragment(asked, command=True)) + data(fragment(content, last=False)) + data(fragment(b""))
    ),
    "empty first fragments": lambda asked, content: (
        data(fragment(b"", command=True, last=False), fragment(asked, command=True))
        + data(fragment(b"", last=False), fragment(content))
    ),
    "a command in two, the data behind": lambda asked, content: (
        data(
            fragment(asked[:20], command=True, last=False), fragment(asked[20:], command=True),
            fragment(content[:30], last=False),
        )
        + data(fragment(content[30:]))
    ),
    "reserved bits": lambda asked, content: (
        data(fragment(asked, command=True, reserved=0xFC)) + data(fragment(content, reserved=0xF0))
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_an_object_may_be_cut_anywhere(settings: Settings, way: str) -> None:
    uid = f"{STUDY}.1.{list(WAYS).index(way)}"
    with OddPeer(settings.dicom.port, request(*STANDARD)) as peer:
        peer.socket.sendall(WAYS[way](command(field=1, uid=uid), image(uid)))
        assert peer.reply() == STORED
        assert peer.release()
    assert stored(settings, uid) == 1


def stored(settings: Settings, uid: str) -> int:
    return len(rows(settings, f"SELECT 1 FROM fact_object WHERE sop_instance_uid = '{uid}'"))


@pytest.mark.parametrize("longest", [1, 7])
def test_answers_keep_to_what_the_peer_can_take(settings: Settings, longest: int) -> None:
    uid = f"{STUDY}.2.{longest}"
    with OddPeer(settings.dicom.port, request(*STANDARD, user=user_information(max_pdu=longest))) as peer:
        peer.socket.sendall(WAYS["in two PDUs"](command(field=1, uid=uid), image(uid)))
        assert peer.reply() == STORED
        assert peer.release()


@pytest.mark.parametrize(
    ("uid", "asked", "before", "behind"),
    [
        (f"{STUDY}.3.1", command(field=1, uid=f"{STUDY}.3.1", more=MOVED), b"", b""),
        (f"{STUDY}.3.2", command(field=1, uid=f"{STUDY}.3.2 "), b"", b""),
        (f"{STUDY}.3.3", command(field=1, uid=f"{STUDY}.3.3"), META, b""),
        (f"{STUDY}.3.4", command(field=1, uid=f"{STUDY}.3.4"), b"", element(0x7FE0, 0x10, bytes(3_000_000))),
    ],
    ids=["moved by another", "a space behind its name", "file meta information in it", "three megabytes in one PDU"],
)
def test_odd_objects_are_kept(settings: Settings, uid: str, asked: bytes, before: bytes, behind: bytes) -> None:
    with OddPeer(settings.dicom.port, request(*STANDARD)) as peer:
        peer.socket.sendall(WAYS["in two PDUs"](asked, image(uid, before=before, behind=behind)))
        assert peer.reply() == STORED
        assert peer.release()
    assert stored(settings, uid) == 1


def test_objects_may_come_before_the_answer_to_the_one_before(settings: Settings) -> None:
    uids = [f"{STUDY}.4.{number}" for number in range(3)]
    with OddPeer(settings.dicom.port, request(*STANDARD)) as peer:
        sent = [WAYS["in one PDU"](command(field=1, uid=uid), image(uid)) for uid in uids]
        peer.socket.sendall(b"".join(sent) + RELEASE)
        assert [peer.reply() for _ in uids] == [STORED] * 3
        assert peer.answer()[:1] == b"\x06"
    assert sum(stored(settings, uid) for uid in uids) == 3


@pytest.mark.parametrize("data_set", [1, 0x101])
def test_a_request_without_an_object_fails_and_the_association_goes_on(settings: Settings, data_set: int) -> None:
    uid = f"{STUDY}.5.{data_set}"
    with OddPeer(settings.dicom.port, request(*STANDARD)) as peer:
        asked = data(fragment(command(field=1, uid=uid, data_set=data_set), command=True))
        peer.socket.sendall(asked + (data(fragment(b"")) if data_set == 1 else b""))
        assert peer.reply() == FAILED
        peer.socket.sendall(echo())
        assert peer.reply() == ECHOED
        assert peer.release()
    assert stored(settings, uid) == 0


@pytest.mark.parametrize(
    ("field", "sop_class", "more"),
    [(0x20, MR, 1), (0x140, MPPS, 1), (0x30, ECHO, 0x101)],
    ids=["C-FIND", "N-CREATE", "C-ECHO"],
)
def test_what_is_not_the_service_of_a_context_is_not_recognised(
    settings: Settings, field: int, sop_class: str, more: int
) -> None:
    """0211H, unrecognized operation (PS3.7, C.5.10)."""
    with OddPeer(settings.dicom.port, request(*STANDARD)) as peer:
        asked = data(fragment(command(field=field, sop_class=sop_class, data_set=more), command=True))
        peer.socket.sendall(asked + (data(fragment(element(8, 0x52, b"STUDY"))) if more == 1 else b""))
        assert peer.reply() == (field | 0x8000, 0x0211)


BARE = (
    element(0, 2, ECHO.encode()) + element(0, 0x100, b"\x30\0") + element(0, 0x110, b"\1\0")
    + element(0, 0x800, b"\1\1")
)  # fmt: skip
BACKWARDS = (
    element(0, 0x800, b"\1\1") + element(0, 0x110, b"\1\0") + element(0, 0x100, b"\x30\0")
    + element(0, 2, ECHO.encode())
)  # fmt: skip
CANCEL = element(0, 0x100, b"\xff\x0f") + element(0, 0x120, b"\1\0") + element(0, 0x800, b"\1\1")


@pytest.mark.parametrize(
    "said",
    [
        data(fragment(BARE, command=True, number=1)),
        data(fragment(BACKWARDS, command=True, number=1)),
        data(fragment(CANCEL, command=True, number=1)) + echo(),
        data() + echo(),
    ],
    ids=["without a group length", "in another order", "behind a C-CANCEL", "behind an empty PDU"],
)
def test_echoes_are_answered(settings: Settings, said: bytes) -> None:
    with OddPeer(settings.dicom.port, request(*STANDARD)) as peer:
        peer.socket.sendall(said)
        assert peer.reply() == ECHOED


UID = f"{STUDY}.6.1"


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (data(fragment(command(field=1, uid=UID), command=True, number=9)), ABORTED),
        (request(*STANDARD), ABORTED),
        (struct.pack(">BxL", 0x42, 4) + bytes(4), ABORTED),
        (struct.pack(">BxL", 6, 4) + bytes(4), ABORTED),
        (struct.pack(">BxL", 5, 0), b"\x06"),
        (data(fragment(command(field=1, uid=UID), command=True), fragment(image(UID), last=False)) + RELEASE, b"\x06"),
    ],
    ids=[
        "a context that was refused", "a second request", "an unknown PDU", "a release that nobody asked for",
        "a release of length 0", "a release in the middle of an object",
    ],
)  # fmt: skip
def test_what_ends_an_association_leaves_nothing_half(settings: Settings, said: bytes, answer: bytes) -> None:
    with OddPeer(settings.dicom.port, request(*STANDARD)) as peer:
        assert peer.say(said)[:1] == answer
    assert stored(settings, UID) == 0
    assert eventually(lambda: not any((settings.storage.folder / "dicom" / "incoming").iterdir()))


def test_who_talks_another_protocol_is_aborted(settings: Settings) -> None:
    with OddPeer(settings.dicom.port, b"GET / HTTP/1.0\r\n\r\n") as peer:
        assert peer.accepted[:1] == ABORTED
