"""The receiver when something happens that nobody should do, or nobody foresaw: real sockets, files and disks."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE

from node.clock import now
from node.dicom import association as node_association
from node.dicom import dimse, recorder, upper_layer
from node.dicom.listener import run_receiver
from node.dicom.part10 import read_identity
from node.errors import StoreError
from node.settings import Settings
from node.store.archive import Archive, Incoming
from tests.node.dicom_samples import dcmtk, encode, mr_image, receiver, settings_for
from tests.node.raw_sender import (
    ABORT,
    CONTEXT,
    RELEASE,
    RawSender,
    association_request,
    raw_association,
    store_request,
    whole_pdus,
)
from tests.node.receiver_world import assert_stored, association, files, rows
from tests.node.test_dicom_listener import settings
from tests.waiting import eventually

__all__ = ["settings"]  # the fixture

BIG = mr_image(seed=77, Rows=512, Columns=512, PixelData=b"\1\2" * 512 * 512)
"""Half a megabyte: several PDUs."""
WITHOUT_DATA_SET = upper_layer.data(
    CONTEXT,
    command=dimse.encode(
        {
            dimse.AFFECTED_CLASS: MRImageStorage,
            dimse.COMMAND_FIELD: dimse.C_STORE_RQ,
            dimse.MESSAGE_ID: 2,
            dimse.DATASET_TYPE: dimse.NO_DATASET,
            dimse.AFFECTED_INSTANCE: "1.2.3",
        }
    ),
)
STATUS_C000 = bytes.fromhex("0000 0009 02000000 00c0")
ABORTED, REJECTED = b"\x07", b"\x03"


def incoming(settings: Settings) -> list[Path]:
    return list((settings.storage.folder / "dicom" / "incoming").iterdir())


def assert_only(settings: Settings, *images: Dataset) -> None:
    """These and nothing else are stored, recorded, and not a byte of anything else is left."""
    uids = {str(image.SOPInstanceUID) for image in images}
    assert_stored(settings, uids)
    assert {str(uid) for (uid,) in rows(settings, "SELECT sop_instance_uid FROM fact_object")} == uids
    assert len(files(settings)) == len(images)
    assert incoming(settings) == []


# ---- what a sender does -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("uid", ["../../../etc/passwd", "1.2.é", "1.2 3"])
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_what_is_named_by_no_uid_is_kept_and_the_association_goes_on(settings: Settings, uid: str):
    with receiver(settings), raw_association(settings.dicom.port) as sender:
        assert sender.store(encode(mr_image()), uid=uid) == 0
        assert sender.store(encode(mr_image(seed=2)), uid="1.2.3") == 0
    assert_stored(settings, {uid, "1.2.3"})
    kept = {path.stem for path in files(settings)}
    assert kept == {sha256 for (sha256,) in rows(settings, "SELECT sha256 FROM fact_object")}
    # Nothing of the name is in the file, and the file is what DCMTK takes for DICOM.
    (named,) = rows(settings, "SELECT sha256 FROM fact_object WHERE sop_instance_uid <> '1.2.3'")
    path = Archive(settings.storage.folder).path(str(named[0]))
    assert read_identity(path).sop_instance_uid == ""
    dcmtk("dcmdump", str(path))


@pytest.mark.parametrize("how", ["abort", "cut", "reset", "release"])
@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_an_object_that_ends_in_the_middle_leaves_nothing(settings: Settings, how: str, share: float):
    content = store_request(BIG)
    with receiver(settings):
        with raw_association(settings.dicom.port) as sender:
            # At the end of a PDU where the association is to go on in order, else anywhere.
            stop = int(len(content) * share)
            in_order = how in {"abort", "release"}
            sender.socket.sendall(whole_pdus(content, max(stop, 400)) if in_order else content[:stop])
            assert how == "cut" or eventually(lambda: share < 0.01 or len(incoming(settings)) == 1)
            if how == "abort":
                sender.socket.sendall(ABORT)
            elif how == "release":
                assert sender.say(RELEASE)[:1] == b"\x06"
            elif how == "reset":
                sender.reset()
        assert eventually(lambda: incoming(settings) == [])
        with association(settings) as other:
            assert other.send_c_store(mr_image(seed=5)).Status == 0
    assert_only(settings, mr_image(seed=5))


def test_the_fragments_of_an_object_may_be_cut_anywhere(settings: Settings):
    content = store_request(BIG)
    with receiver(settings), raw_association(settings.dicom.port) as sender:
        position, size = 0, 1
        while position < len(content):
            sender.socket.sendall(content[position : position + size])
            position, size = position + size, size * 3 % 70_001 + 1
        assert b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00" in sender.answer()
    assert_only(settings, BIG)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n", id="http"),
        pytest.param(b"\x16\x03\x01\x02\x00" + bytes(512), id="tls"),
        pytest.param(bytes(5000), id="zeros"),
        pytest.param(b"\x01\x00\xff\xff\xff\xff" + bytes(100), id="four-gigabytes"),
        pytest.param(b"\x01\x00\x00\x00\x00\x10" + bytes(16), id="short"),
        pytest.param(association_request()[:80] + b"\xff" * (len(association_request()) - 80), id="lengths"),
        pytest.param(store_request(mr_image()), id="store-first"),
        pytest.param(RELEASE, id="release-first"),
    ],
)
def test_who_does_not_ask_for_an_association_is_shown_out_at_once(settings: Settings, said: bytes):
    with receiver(settings):
        sender = RawSender(settings.dicom.port)
        with sender.socket:
            assert sender.say(said)[:1] in {ABORTED, b""}
        dcmtk("echoscu", "127.0.0.1", str(settings.dicom.port))


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"\x04\x00\x00\x00\x00\x03abc", id="cut-off"),
        pytest.param(b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x02\x09\x03", id="context-not-agreed-on"),
        pytest.param(b"\x04\x00\x00\x00\x00\x0a\x00\x00\xff\xff\x01\x03abcd", id="value-longer-than-pdu"),
        pytest.param(b"\x04\x00\x00\x00\x00\x0a\x00\x00\x00\x06\x01\x03abcd", id="no-command"),
        pytest.param(b"\x04\x00\x00\x00\x00\x0a\x00\x00\x00\x06\x01\x02abcd", id="data-without-command"),
        pytest.param(association_request(), id="a-second-request"),
        pytest.param(b"\x09\x00\x00\x00\x00\x04abcd", id="unknown-pdu"),
    ],
)
def test_who_breaks_the_protocol_is_aborted_and_hurts_nobody_else(settings: Settings, said: bytes):
    with receiver(settings), association(settings) as other:
        with raw_association(settings.dicom.port) as sender:
            assert sender.say(said)[:1] == ABORTED
            assert sender.answer() == b""
        assert other.send_c_store(mr_image(seed=1)).Status == 0
    assert_only(settings, mr_image(seed=1))
    ((reason,),) = broken_off(settings)
    assert str(reason).startswith("the association was aborted by this node: ")
    with receiver(settings), raw_association(settings.dicom.port):
        # Whoever is let in again has what it sends heard.
        assert eventually(lambda: broken_off(settings) == [])


def broken_off(settings: Settings) -> list[tuple[object, ...]]:
    return rows(settings, "SELECT reason FROM state_refusal WHERE code = 'broken-off' AND settled_at IS NULL")


def test_reasons_of_rejection(settings: Settings):
    request = association_request()
    with receiver(settings):
        for changed, expected in (
            (request.replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.2"), b"\x01\x01\x02"),
            (request[:6] + b"\x00\x02" + request[8:], b"\x01\x02\x02"),
        ):
            sender = RawSender(settings.dicom.port)
            with sender.socket:
                # PS3.8, table 9-21: result, source, reason.
                assert sender.say(changed) == b"\x03\x00\x00\x00\x00\x04\x00" + expected


def test_every_association_and_how_it_ended_is_in_the_log(settings: Settings, capsys: pytest.CaptureFixture[str]):
    with receiver(settings):
        with raw_association(settings.dicom.port) as sender:
            assert sender.store(mr_image(seed=1)) == 0
            assert STATUS_C000 in sender.say(WITHOUT_DATA_SET)
            assert sender.say(RELEASE)[:1] == b"\x06"
        with raw_association(settings.dicom.port) as raw:
            raw.socket.sendall(ABORT)
            assert raw.answer() == b""
        with raw_association(settings.dicom.port):
            pass
    said = [line for line in capsys.readouterr().out.splitlines() if "association ended" in line]
    for line, outcome, counts in zip(
        said, ["released", "aborted by the other side", "cut"], ["refused=1", "refused=0", "stored=0"], strict=True
    ):
        assert f"outcome={outcome}" in line.replace("'", "")
        assert counts in line
        assert "peer=127.0.0.1" in line


# ---- silent ones --------------------------------------------------------------------------------------------------
def test_half_a_request_holds_no_slot_and_is_closed_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(node_association, "REQUEST_TIMEOUT_S", 0.8)
    settings = settings_for(tmp_path / "data", max_associations=1)
    with receiver(settings), ExitStack() as opened:
        half = [RawSender(settings.dicom.port) for _ in range(8)]
        for number, one in enumerate(half):
            opened.callback(one.socket.close)
            one.socket.sendall(association_request()[: number * 11])
        with association(settings) as sender:
            assert sender.send_c_store(mr_image(seed=1)).Status == 0
        assert [one.answer() for one in half] == [b""] * 8


@pytest.mark.parametrize(
    "rest", [b"", b"\x04\x00\x00", store_request(BIG)[:20_000]], ids=["nothing", "header", "object"]
)
def test_a_silent_association_is_aborted_and_its_slot_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest: bytes
):
    monkeypatch.setattr(node_association, "IDLE_TIMEOUT_S", 0.5)
    settings = settings_for(tmp_path / "data", max_associations=1)
    with receiver(settings):
        with raw_association(settings.dicom.port) as silent:
            assert silent.say(rest)[:1] == ABORTED
            in_an_object = len(rest) > 100
            assert eventually(lambda: len(broken_off(settings)) == in_an_object)
            assert eventually(lambda: accepts(settings))
        assert incoming(settings) == []


def accepts(settings: Settings) -> bool:
    with association(settings) as sender:
        return bool(sender.is_established)


def test_a_trickle_of_bytes_is_no_reason_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(node_association, "IDLE_TIMEOUT_S", 1.0)
    settings = settings_for(tmp_path / "data", max_associations=1)
    ended = threading.Event()
    with receiver(settings), raw_association(settings.dicom.port) as slow:

        def trickle() -> None:
            for byte in store_request(BIG):
                if ended.wait(0.2):
                    return
                slow.socket.sendall(bytes([byte]))

        thread = threading.Thread(target=trickle)
        thread.start()
        assert slow.answer()[:1] in {ABORTED, b""}
        ended.set()
        thread.join()
        assert eventually(lambda: accepts(settings))


# ---- what the machine does ----------------------------------------------------------------------------------------
def test_a_fault_that_nobody_foresaw_is_no_acknowledgement_and_holds_no_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = settings_for(tmp_path / "data", max_associations=1)
    failed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)

    def fail(_: Incoming) -> None:
        raise RuntimeError("as nobody foresaw")

    with receiver(settings):
        with monkeypatch.context() as patched:
            patched.setattr(Incoming, "finish", fail)
            with raw_association(settings.dicom.port) as sender:
                assert sender.say(store_request(BIG)) == b""
        assert eventually(lambda: accepts(settings))
        with association(settings) as other:
            assert other.send_c_store(mr_image(seed=1)).Status == 0
    assert [one.exc_type for one in failed] == [RuntimeError]
    assert_only(settings, mr_image(seed=1))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing can be written below it, not even by root: it is mounted over itself, read-only."""
    if subprocess.run(["mount", "--bind", str(folder), str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_folder_that_cannot_be_written_is_a_failure_until_it_can(settings: Settings):
    with receiver(settings), association(settings) as sender:
        assert sender.send_c_store(mr_image(seed=1)).Status == 0
        with read_only(settings.storage.folder / "dicom"):
            answer = sender.send_c_store(mr_image(seed=2))
            assert answer.Status == 0x0110
            assert "log of the receiver" in answer.ErrorComment
            dcmtk("echoscu", "127.0.0.1", str(settings.dicom.port))
        assert sender.send_c_store(mr_image(seed=3)).Status == 0
    assert_only(settings, mr_image(seed=1), mr_image(seed=3))


def test_clock_jumps_end_no_association_and_lose_nothing(settings: Settings):
    began = now()
    with receiver(settings), raw_association(settings.dicom.port) as sender:
        for number, moment in enumerate((began, began + timedelta(days=400), began - timedelta(days=400))):
            with time_machine.travel(moment, tick=True):
                assert sender.store(mr_image(seed=number)) == 0
    assert_only(settings, *(mr_image(seed=number) for number in range(3)))
    received = [
        datetime.fromisoformat(str(at))
        for (at,) in rows(settings, "SELECT received_at FROM fact_object_receipt ORDER BY receipt_id")
    ]
    assert received[2] < received[0] < received[1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_receiver_that_cannot_record_any_more_ends(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    def break_down(*_: object) -> None:
        raise RuntimeError("as nobody foresaw")

    monkeypatch.setattr(recorder, "insert_receipt", break_down)
    monkeypatch.setattr(recorder, "ANSWER_TIMEOUT_S", 0.5)
    ready, stop, raised = threading.Event(), threading.Event(), []

    def run() -> None:
        try:
            run_receiver(settings, stop, ready=ready.set)
        except StoreError as error:
            raised.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(20)
        with association(settings, MRImageStorage) as sender:
            assert sender.send_c_store(mr_image()).Status == 0x0110
        thread.join(20)
        assert raised == ["the recorder of received images has ended; its error is in the log"]
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()


# ---- what is accepted ---------------------------------------------------------------------------------------------
OFFERED = {
    "MR": (MRImageStorage, ExplicitVRLittleEndian),
    "lossy MR": (MRImageStorage, JPEGBaseline8Bit),
    "SC": (SecondaryCaptureImageStorage, ExplicitVRLittleEndian),
    "lossy SC": (SecondaryCaptureImageStorage, JPEGBaseline8Bit),
    "PDF": (EncapsulatedPDFStorage, ExplicitVRLittleEndian),
    "CSA": ("1.3.12.2.1107.5.9.1", ExplicitVRLittleEndian),
    "CT": (CTImageStorage, ExplicitVRLittleEndian),
    "private": ("1.3.6.1.4.1.99999.1", ExplicitVRLittleEndian),
    "worklist": ("1.2.840.10008.5.1.4.31", ExplicitVRLittleEndian),
    "label map": ("1.2.840.10008.5.1.4.1.1.66.7", ExplicitVRLittleEndian),
    "JPEG XL MR": (MRImageStorage, "1.2.840.10008.1.2.4.110"),
    "deflated frames": (SegmentationStorage, "1.2.840.10008.1.2.8.1"),
    "hanging protocol": ("1.2.840.10008.5.1.4.38.1", ExplicitVRLittleEndian),
}


@pytest.mark.parametrize(
    ("accept", "taken"),
    [
        # Lossless JPEG XL is decoded, so that it is taken as every other lossless syntax.
        ("mr", {"MR", "JPEG XL MR"}),
        ("study", {"MR", "JPEG XL MR", "SC", "lossy SC", "PDF", "CSA"}),
        ("all", set(OFFERED) - {"worklist"}),
    ],
)
def test_what_is_accepted_is_a_setting(tmp_path: Path, accept: str, taken: set[str]):
    settings = settings_for(tmp_path / "data", accept=accept)
    entity = AE(ae_title="SENDER")
    for sop_class, syntax in OFFERED.values():
        entity.add_requested_context(sop_class, syntax)
    with receiver(settings):
        one = entity.associate("127.0.0.1", settings.dicom.port)
        agreed = {(context.abstract_syntax, context.transfer_syntax[0]) for context in one.accepted_contexts}
        one.release()
    assert {name for name, offered in OFFERED.items() if offered in agreed} == taken


def test_a_wrong_character_set_and_a_pixel_length_that_lies_are_kept_as_they_came(settings: Settings):
    image = encode(mr_image(seed=1))
    strange = [
        image.replace(b"ISO_IR 100", b"ISO_IR 999"),
        image.replace(b"Test^Synthetic", b"\xff\xfe\x1b$B^\x80etic"),
        image[:-100],
        image + b"\x09\x00\x10\x00LO\x04\x00\xff\xff\xff\xff" + b"\x09\x00\x00\x10UN\0\0\xff\xff\xff\x7f",
    ]
    with receiver(settings), raw_association(settings.dicom.port) as sender:
        assert [sender.store(one, uid=f"1.2.{number}") for number, one in enumerate(strange)] == [0] * 4
    archive = Archive(settings.storage.folder)
    kept = rows(settings, "SELECT sop_instance_uid, sha256 FROM fact_object ORDER BY sop_instance_uid")
    assert [archive.path(str(sha256)).read_bytes()[-200:] for _, sha256 in kept] == [one[-200:] for one in strange]
