"""Decoding in a child process: what kills, stalls or bloats it costs one series, and the others are measured.

Nothing here breaks a real decoder: a stand-in for the child kills or stalls its own process where a file asks for it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

from node.dicom.reader import read_slices
from node.errors import DecodingError, DicomReadError, StoreError
from node.measure import decoding
from node.measure.decoding import Decoder
from node.measure.files import find, measure_all
from node.outgoing import transcode
from node.people.readings import add_reading
from node.steps.pending import pending
from node.steps.worker import run_pending
from node.store.failures import DEATHS_AT_ONCE
from tests.node.dicom_samples import mr_image, stack, write_file
from tests.node.known_circles import KnownCircles
from tests.node.multi_frame_samples import enhanced
from tests.node.test_barrier import BAD, GOOD, LATER, Node, images, of_bad_pixels, series_of
from tests.node.world import CIRCLES

STAND_IN = """
import os, signal, sys, time
from pathlib import Path
from node.measure import decoding_child as child
real, wishes = child.decode, Path(sys.argv[1])
def decode(path, frames):
    for wish in wishes.glob("*"):
        # A wish is for the files whose bytes hold its content.
        if wish.read_bytes() not in Path(path).read_bytes():
            continue
        if wish.name == "once":
            wish.unlink()
            os.abort()
        if wish.name == "abort":
            os.abort()
        if wish.name == "stall":
            time.sleep(3600)
        if wish.name == "loop":
            while True:
                pass
        if wish.name == "memory":
            bytearray(1 << 42)
        if wish.name == "garbage":
            os.write(4, b"x" * 4096)
            os._exit(0)
    return real(path, frames)
child.decode = decode
sys.argv = sys.argv[:1] + sys.argv[2:]
child.main()
"""


class Fragile:
    """A decoder whose child does to itself what is wished for."""

    def __init__(self, folder: Path) -> None:
        self.wishes = folder / "wishes"
        self.wishes.mkdir()
        self.command = [sys.executable, "-c", STAND_IN, str(self.wishes)]
        self.decoder = Decoder(command=self.command, limit_s=1.0, waiting=5.0)

    def wish(self, what: str, content: str) -> None:
        (self.wishes / what).write_text(content, encoding="ascii")


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Fragile]:
    one = Fragile(tmp_path)
    yield one
    one.decoder.close()


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    one = Decoder()
    yield one
    one.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Decoder]:
    """One whose child has served others before."""
    one = Decoder()
    yield one
    one.close()


def bad_file(folder: Path) -> Path:
    return write_file(folder / "bad.dcm", images(BAD)[0])


def good_file(folder: Path) -> Path:
    return write_file(folder / "good.dcm", images(GOOD[0])[0])


def test_the_child_gives_the_same_pixels_to_the_bit(served: Decoder, tmp_path: Path) -> None:
    signed = mr_image(seed=5, PixelRepresentation=1, RescaleSlope=0.5, RescaleIntercept=-3)
    compressed = mr_image(seed=6)
    compressed.compress(RLELossless, generate_instance_uid=False)
    several = enhanced(stack(4))
    frames = list(range(1, several.NumberOfFrames + 1))
    for number, (image, wanted) in enumerate(
        [(signed, [None]), (compressed, [None]), (several, frames), (several, [3, 1, 3]), (several, [2])]
    ):
        path = write_file(tmp_path / f"{number}.dcm", image)
        here, there = read_slices(path, wanted), served.read_slices(path, wanted)
        assert len(here) == len(there) == len(wanted)
        for one, other in zip(here, there, strict=True):
            assert one.spacing_mm == other.spacing_mm
            assert other.signal.dtype == np.float64
            np.testing.assert_array_equal(one.signal, other.signal)


def test_one_child_serves_all_requests(decoder: Decoder, tmp_path: Path) -> None:
    path = good_file(tmp_path)
    decoder.read_slice(path)
    child = decoder._child
    for _ in range(3):
        decoder.read_slice(path)
    assert decoder._child is child


def test_what_cannot_be_read_is_said_as_without_a_child(served: Decoder, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        served.read_slice(tmp_path / "nothing")
    for content in (b"no DICOM", good_file(tmp_path).read_bytes()[:-100]):
        (path := tmp_path / "broken").write_bytes(content)
        with pytest.raises(DicomReadError) as here:
            read_slices(path, [None])
        with pytest.raises(DicomReadError) as there:
            served.read_slice(path)
        assert str(here.value) == str(there.value)


@pytest.mark.parametrize(
    ("wish", "how"),
    [
        ("abort", "the decoder was ended by SIGABRT, 2 times"),
        ("stall", "the decoder was not done in time, 2 times"),
        ("garbage", "the decoder answered with too much, 2 times"),
    ],
)
def test_what_ends_or_stalls_the_child_twice_is_undecodable_and_the_next_is_read(
    fragile: Fragile, tmp_path: Path, wish: str, how: str
) -> None:
    bad, good = bad_file(tmp_path), good_file(tmp_path)
    fragile.wish(wish, series_of(BAD))
    with pytest.raises(DecodingError, match=how):
        fragile.decoder.read_slice(bad)
    np.testing.assert_array_equal(fragile.decoder.read_slice(good).signal, read_slices(good, [None])[0].signal)


def test_a_loop_without_end_is_ended_by_its_processor_time(fragile: Fragile, tmp_path: Path) -> None:
    fragile.wish("loop", series_of(BAD))
    decoder = Decoder(command=fragile.command, limit_s=1.0, waiting=600.0)
    with pytest.raises(DecodingError, match="the decoder was ended by SIGXCPU, 2 times"):
        decoder.read_slice(bad_file(tmp_path))
    decoder.close()


def test_a_child_that_ends_once_is_given_a_second_try(fragile: Fragile, tmp_path: Path) -> None:
    bad = bad_file(tmp_path)
    fragile.wish("once", series_of(BAD))
    np.testing.assert_array_equal(fragile.decoder.read_slice(bad).signal, read_slices(bad, [None])[0].signal)
    assert list(fragile.wishes.iterdir()) == []


def test_the_memory_of_the_child_is_bounded(fragile: Fragile, tmp_path: Path) -> None:
    fragile.wish("memory", series_of(BAD))
    with pytest.raises(DicomReadError, match="more memory than there is for them"):
        fragile.decoder.read_slice(bad_file(tmp_path))
    decoder = Decoder(memory_bytes=2 * 1024**3)
    decoder.read_slice(good_file(tmp_path))
    assert decoder._child is not None
    limits = Path(f"/proc/{decoder._child.pid}/limits").read_text(encoding="ascii")
    decoder.close()
    (line,) = [line for line in limits.splitlines() if line.startswith("Max address space")]
    assert line.split()[3:5] == [str(2 * 1024**3)] * 2


def test_a_child_that_ended_while_it_had_nothing_to_do_costs_no_try(fragile: Fragile, tmp_path: Path) -> None:
    good = good_file(tmp_path)
    fragile.decoder.read_slice(good)
    assert fragile.decoder._child is not None
    fragile.decoder._child.kill()
    fragile.decoder._child.wait()
    fragile.wish("once", series_of(GOOD[0]))
    fragile.decoder.read_slice(good)


def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    path = good_file(tmp_path)
    code = (
        "import os, signal, sys; from pathlib import Path; from node.measure.decoding import decoder\n"
        "decoder().read_slice(Path(sys.argv[1])); print(decoder()._child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    child = Path(f"/proc/{int(done.stdout)}/stat")
    deadline = time.monotonic() + 60
    while child.exists() and child.read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---- where pixels are decoded ------------------------------------------------------------------------------------
def test_a_child_is_asked_only_where_there_is_something_to_decode(
    tmp_path: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "decoder", lambda: decoder)
    plain, compressed = mr_image(seed=8), mr_image(seed=8)
    compressed.compress(RLELossless, generate_instance_uid=False)
    as_it_is, packed = (write_file(tmp_path / name, one) for name, one in (("plain", plain), ("rle", compressed)))
    here = decoding.read_slice(as_it_is)
    assert decoder._child is None
    np.testing.assert_array_equal(here.signal, decoding.read_slice(packed).signal)
    assert decoder._child is not None
    decoder.close()
    # So much memory, and time to fill it, is not spent in a role.
    monkeypatch.setattr(decoding, "MAX_HERE_BYTES", as_it_is.stat().st_size - 1)
    np.testing.assert_array_equal(here.signal, decoding.read_slice(as_it_is).signal)
    assert decoder._child is not None


@pytest.mark.parametrize("cut", [0, 3, 140, -100])
def test_a_broken_file_is_refused_in_the_same_words_here_and_by_the_child(
    tmp_path: Path, served: Decoder, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    monkeypatch.setattr(decoding, "decoder", lambda: served)
    (path := tmp_path / "broken").write_bytes(good_file(tmp_path).read_bytes()[:cut])
    with pytest.raises(DicomReadError) as here:
        decoding.read_slice(path)
    with pytest.raises(DicomReadError) as there:
        served.read_slice(path)
    assert str(here.value) == str(there.value)


@pytest.fixture
def node(tmp_path: Path, fragile: Fragile, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setattr("node.steps.worker.measure_stack", KnownCircles(CIRCLES))
    monkeypatch.setattr(decoding, "decoder", lambda: fragile.decoder)
    monkeypatch.setattr(decoding, "AS_THEY_ARE", ())
    monkeypatch.setattr(transcode, "decoder", lambda: fragile.decoder)
    one = Node(tmp_path)
    yield one
    one.db.close()


def test_a_series_that_ends_its_decoder_is_a_problem_and_the_others_are_measured(node: Node, fragile: Fragile) -> None:
    fragile.wish("abort", series_of(BAD))
    node.run()
    assert sorted(node.complete()) == list(GOOD)
    assert node.rows("SELECT status FROM measurements WHERE series_instance_uid LIKE '%.2.1'") == [("rejected",)]
    ((source, code, detail),) = node.rows("SELECT source, code, detail FROM problems WHERE step = 'measure'")
    assert (source, code) == (f"series {series_of(BAD)}", "failed")
    assert "the pixels cannot be decoded: the decoder was " in str(detail)


def test_where_no_child_can_be_started_it_is_the_machine_and_no_series_is_rejected(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        nothing = Decoder(command=[str(tmp_path / "nothing")])
        patched.setattr(decoding, "decoder", lambda: nothing)
        with pytest.raises(StoreError, match="cannot be started: No such file"):
            node.run()
    assert node.rows("SELECT * FROM measurements") == []
    node.run()
    assert sorted(node.complete()) == sorted([BAD, *GOOD])


def test_a_reading_whose_image_ends_its_decoder_is_refused_in_words(node: Node, fragile: Fragile) -> None:
    node.run()
    fragile.wish("abort", series_of(BAD))
    text = '{"slice": 3, "L1": [10,12,3], "L2": [25,12,3], "L3": [40,12,3], "L4": [55,12,3], "CSF": [41,32,2]}'
    with pytest.raises(DecodingError, match="SIGABRT"):
        add_reading(node.db, node.archive, series_uid=series_of(BAD), reader="A", rois_text=text, now=LATER)
    add_reading(node.db, node.archive, series_uid=series_of(GOOD[0]), reader="A", rois_text=text, now=LATER)


def test_the_measure_command_goes_on(tmp_path: Path, fragile: Fragile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "decoder", lambda: fragile.decoder)
    monkeypatch.setattr(decoding, "AS_THEY_ARE", ())
    fragile.wish("abort", series_of(BAD))
    (folder := tmp_path / "files").mkdir()
    for number in (BAD, *GOOD):
        for slice_number, image in enumerate(images(number)):
            write_file(folder / f"{number}-{slice_number}.dcm", image)
    results = {series.uid: result for series, result in measure_all(find([folder]), KnownCircles(CIRCLES))}
    states = {series_of(number): "measured" for number in GOOD} | {series_of(BAD): "rejected"}
    assert {uid: result.status for uid, result in results.items()} == states
    (reason,) = results[series_of(BAD)].reasons
    assert "SIGABRT" in str(reason)


def test_a_converted_object_is_the_same_and_one_that_ends_its_decoder_is_said(
    fragile: Fragile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcode, "decoder", lambda: fragile.decoder)
    image = mr_image(seed=7)
    pixels = image.pixel_array
    image.compress(RLELossless, generate_instance_uid=False)
    path = write_file(tmp_path / "rle.dcm", image)
    converted = transcode.uncompressed(path)
    np.testing.assert_array_equal(converted.pixel_array, pixels)
    assert converted.SOPInstanceUID == image.SOPInstanceUID
    assert converted.file_meta.TransferSyntaxUID != ImplicitVRLittleEndian


# ---- a process that dies itself ------------------------------------------------------------------------------------
def killed_while_measuring(node: Node) -> int:
    """Run the steps in a process of their own that is killed when it measures the bad series; its exit status."""
    pid = os.fork()
    if not pid:
        known = KnownCircles(CIRCLES)

        def deadly(stack: object, **about: bool) -> object:
            if of_bad_pixels(stack):
                os.kill(os.getpid(), signal.SIGKILL)
            return known(stack, **about)

        from node.steps import worker

        worker.measure_stack = deadly
        again = Node.reopened(node)
        again.run()
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_a_study_that_kills_the_role_rests_and_the_others_are_done(node: Node, tmp_path: Path) -> None:
    assert [killed_while_measuring(node) for _ in range(DEATHS_AT_ONCE + 1)] == [signal.SIGKILL] * DEATHS_AT_ONCE + [0]
    assert sorted(node.complete()) == list(GOOD)
    ((source, detail),) = node.rows("SELECT source, detail FROM problems WHERE code = 'failed'")
    assert source == f"study {series_of(BAD).rpartition('.')[0]}"
    assert f"ended {DEATHS_AT_ONCE} times while it was at work on it" in str(detail)
    assert pending(node.db)["studies to measure"] == 1
    # It is tried again by itself, and this time nothing kills.
    for hours in (0, 1):
        run_pending(node.db, node.archive, node.settings, at=LATER + timedelta(days=400 * hours))
        node.run()
    assert sorted(node.complete()) == sorted([BAD, *GOOD])
    assert node.rows("SELECT step FROM state_failure") == []
