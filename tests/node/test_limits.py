"""What grows without end is read once, in proportion, or not beyond a stated limit; limits and counts, never times."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from analytics.reasons import Reason
from node.dicom import reader, stack
from node.dicom.header import MAX_FRAMES, Slice
from node.dicom.reader import decode, read_header, read_slices
from node.dicom.stack import MAX_SLICES, MAX_STACK_PIXELS, StoredImage, read_stacks
from node.errors import DicomReadError, MessageError, PeerError
from node.hl7 import segments
from node.hl7.interpret import MAX_SEGMENTS, MAX_STRUCTURED, interpret_frame
from node.hl7.messages import split_messages
from node.hl7.segments import MAX_PARTS, Delimiters, read_segment
from node.pacs.query import Query
from node.settings import Settings
from node.store import derivation
from node.store.database import writing
from tests.node.dicom_samples import stack as slices
from tests.node.dicom_samples import write_file
from tests.node.multi_frame_samples import enhanced
from tests.node.test_barrier import GOOD, Node
from tests.node.test_index import LATER, World
from tests.node.test_interpret import cbc

DELIMITERS = Delimiters(field="|", component="^", repetition="~", escape="\\", subcomponent="&")
PID = "PID|1||0042^^^H^MR||||19600229|F"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    yield one
    one.db.close()


def many_frames(number: int) -> Dataset:
    """An Enhanced MR object of that many small frames, all in one place."""
    pixels = np.zeros((4, 4), np.uint16).tobytes()
    one = enhanced(slices(2, Rows=4, Columns=4, PixelData=pixels))
    one.PerFrameFunctionalGroupsSequence = [one.PerFrameFunctionalGroupsSequence[0]] * number
    one.NumberOfFrames, one.PixelData = number, pixels * number
    return one


def calls(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[tuple[Any, ...]]:
    """The calls of a function from here on."""
    real, made = getattr(module, name), []

    def counted(*given: Any, **named: Any) -> Any:
        made.append(given)
        return real(*given, **named)

    monkeypatch.setattr(module, name, counted)
    return made


# ---- frames and slices -------------------------------------------------------------------------------------------
def test_what_is_said_of_frames_is_looked_up_once_for_all_that_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(tmp_path / "many.dcm", many_frames(40))
    made = calls(monkeypatch, reader, "frames_of")
    assert len(read_slices(path, list(range(1, 41)))) == 40
    assert len(made) == 1


def test_compressed_frames_are_found_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = enhanced(slices(12))
    image.compress(RLELossless, generate_instance_uid=False)
    path = write_file(tmp_path / "rle.dcm", image)
    runs, alone = calls(monkeypatch, reader, "iter_pixels"), calls(monkeypatch, reader, "pixel_array")
    assert len(list(decode(path, [12, 3, 7]))) == 3
    assert (len(runs), len(alone)) == (1, 0)


def test_frames_at_the_limit_are_read_and_beyond_it_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_FRAMES", 10)
    at = read_header(write_file(world.folder / "at.dcm", many_frames(10)))
    assert (len(at.frames), at.frames_left_out) == (10, 0)
    beyond = read_header(write_file(world.folder / "beyond.dcm", many_frames(11)))
    assert (beyond.frames, beyond.frames_left_out) == ((), 11)
    lying = many_frames(11)
    lying.NumberOfFrames = 2
    assert read_header(write_file(world.folder / "lying.dcm", lying)).frames_left_out == 11
    world.receive(many_frames(11))
    world.index()
    world.catalogue(now=LATER)
    ((code, detail),) = world.rows("SELECT code, detail FROM problems WHERE step = 'catalogue'")
    assert code == "too-many-frames"
    assert "11 frames" in str(detail)
    assert MAX_FRAMES == 1000


def test_an_object_of_frames_is_not_decoded_as_one_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_file(tmp_path / "many.dcm", many_frames(3))
    monkeypatch.setattr(reader, "_frame_pixels", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(DicomReadError, match="the object has 3 frames"):
        read_slices(path, [None])


def stored(images: Sequence[Dataset], folder: Path) -> list[StoredImage]:
    paths = [write_file(folder / f"{number}.dcm", image) for number, image in enumerate(images)]
    return [StoredImage(path=path, content=str(path), header=read_header(path)) for path in paths]


def test_of_a_series_of_too_many_slices_none_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = stored(slices(6), tmp_path)

    def read(path: Path, frames: Sequence[int | None]) -> list[Slice]:
        asked.append(path)
        return read_slices(path, frames)

    asked: list[Path] = []
    monkeypatch.setattr(stack, "MAX_SLICES", 6)
    assert len(read_stacks(images, read)[0].images) == 6
    monkeypatch.setattr(stack, "MAX_SLICES", 5)
    asked.clear()
    (one,) = read_stacks(images, read)
    assert (one.images, one.doubts, asked) == ((), (Reason("too-many-slices", {"slices": 6, "limit": 5}),), [])
    monkeypatch.undo()
    # 32 × 24 pixels each.
    monkeypatch.setattr(stack, "MAX_STACK_PIXELS", 6 * 32 * 24 - 1)
    (one,) = read_stacks(images, read)
    assert (one.images, asked) == ((), [])
    assert one.doubts == (Reason("stack-too-large", {"slices": 6, "pixels": 4608, "limit": 4607}),)
    assert (MAX_SLICES, MAX_STACK_PIXELS) == (500, 67_108_864)


# ---- HL7 ---------------------------------------------------------------------------------------------------------
def test_a_segment_of_too_many_parts_is_not_given_to_hl7apy(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = calls(monkeypatch, segments, "parse_segment")
    at = "PID|1||" + "~".join(["1^^^H"] * ((MAX_PARTS - 3) // 4))
    assert len(read_segment(at, DELIMITERS).repetitions(3)) == (MAX_PARTS - 3) // 4
    for sign in "~^&|":
        with pytest.raises(MessageError, match=f"PID has .* parts; at most {MAX_PARTS} are read"):
            read_segment("PID|1||" + sign * MAX_PARTS, DELIMITERS)
    assert len(parsed) == 1


def test_a_message_of_too_many_repetitions_is_held_and_the_next_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings()
    bad = cbc("0042", 4.2).replace(b"0042^^^H^MR", b"~".join([b"1^^^H^MR"] * 100_000))
    parsed = calls(monkeypatch, segments, "parse_segment")
    (held,) = interpret_frame(bad, settings)
    assert (held.status, held.items, parsed) == ("held", (), [])
    ((code, segment),) = [(one.code, one.values["segment"]) for one in held.reasons]
    assert (code, segment) == ("segment-too-long", "PID")
    (used,) = interpret_frame(cbc("0043", 4.2), settings)
    assert used.status == "used"


@pytest.mark.parametrize(
    ("segment", "number", "words"),
    [("NTE|1||x", MAX_SEGMENTS + 1, "segments"), (PID, MAX_STRUCTURED + 1, "segments PID")],
)
def test_a_message_of_too_many_segments_is_held_unread(
    segment: str, number: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = calls(monkeypatch, segments, "parse_segment")
    frame = "\r".join(["MSH|^~\\&|L|H|N|V|20260302090000||ADT^A08|1|P|2.5", *[segment] * number, ""]).encode()
    (held,) = interpret_frame(frame, Settings())
    assert (held.status, parsed) == ("held", [])
    assert f" {words}; at most " in str(held.reasons[0])


def test_many_diagnoses_are_split_and_not_made_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = calls(monkeypatch, segments, "parse_segment")
    codes = [f"DG1|{number}||M48.06^Stenosis^I10|||F" for number in range(2000)]
    frame = "\r".join(["MSH|^~\\&|L|H|N|V|20260302090000||ADT^A08|1|P|2.5", PID, *codes, ""]).encode()
    (used,) = interpret_frame(frame, Settings())
    assert used.status == "used"
    assert len(parsed) == 1


def test_lines_that_continue_a_segment_are_joined_once() -> None:
    (message,) = split_messages("MSH|^~\\&|L\rOBX|1|TX|a||first\r" + "more\r" * 200_000)
    assert [len(line) for line in message.lines] == [len("OBX|1|TX|a||first") + 200_000 * len("\nmore")]


# ---- names and answers -------------------------------------------------------------------------------------------
def test_an_object_that_its_sender_named_otherwise_is_said_and_used(tmp_path: Path) -> None:
    node = Node(tmp_path)
    (object_id, uid) = node.rows("SELECT object_id, sop_instance_uid FROM fact_object LIMIT 1")[0]
    # The receiver has kept what the command said; here as though it had said something else.
    node.db.execute("DROP TRIGGER fact_object_no_update")
    node.db.execute("UPDATE fact_object SET sop_instance_uid = '1.2.3' WHERE object_id = ?", [object_id])
    node.run()
    found = node.rows("SELECT step, code, detail FROM problems WHERE code = 'other-name'")
    assert [(step, code) for step, code, _ in found] == [("receive", "other-name")]
    assert f"SOP Instance UID 1.2.3, in itself {uid}" in str(found[0][2])
    assert len(node.rows("SELECT object_id FROM derived_instance")) == 18
    assert GOOD[0] in str(node.rows("SELECT person FROM derived_person"))
    # Of a whole series it is said once.
    ((series,),) = node.rows(f"SELECT series_instance_uid FROM derived_instance WHERE object_id = {object_id}")
    of_series = f"(SELECT object_id FROM derived_instance WHERE series_instance_uid = '{series}')"
    ((images,),) = node.rows(f"SELECT count(*) FROM {of_series}")
    assert images > 1
    with writing(node.db):
        node.db.execute(f"UPDATE fact_object SET sop_instance_uid = '1.2.3' WHERE object_id IN {of_series}")
        derivation.forget(node.db)
    node.run()
    ((source, detail),) = node.rows("SELECT source, detail FROM problems WHERE code = 'other-name'")
    assert source == f"series {series}"
    assert str(detail).startswith(
        f"{images} images of it were named otherwise by their sender, one of them like this: "
    )
    assert "SOP Instance UID 1.2.3, in itself" in str(detail)
    node.db.close()


class Endless:
    """An association whose answers have no end, or are about something else."""

    is_established = True

    def __init__(self, study: str) -> None:
        self.study, self.aborted, self.given = study, False, 0

    def send_c_find(self, *_: object) -> Iterator[tuple[Dataset, Dataset]]:
        status = Dataset()
        status.Status = 0xFF00
        while True:
            self.given += 1
            answer = Dataset()
            answer.StudyInstanceUID, answer.SeriesInstanceUID = self.study, f"1.2.{self.given}"
            answer.NumberOfSeriesRelatedInstances = 1
            yield status, answer
            if self.study != "1.2":
                break
        status = Dataset()
        status.Status = 0x0000
        yield status, Dataset()

    def abort(self) -> None:
        self.aborted, self.is_established = True, False


def query(association: Endless) -> Query:
    peer = Settings.model_validate(
        {"dicom": {"peers": {"p": {"query": {"ae_title": "PACS", "host": "localhost", "port": 104}}}}}
    ).dicom.peers["p"]
    assert peer.query is not None
    return Query(peer.query, association)


def test_answers_without_end_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.pacs.query.MAX_ANSWERS", 50)
    association = Endless("1.2")
    with pytest.raises(PeerError, match="PACS did not end its answers to a query"):
        query(association).series("1.2")
    assert (association.aborted, association.given) == (True, 51)


def test_answers_about_another_study_are_not_taken() -> None:
    with pytest.raises(PeerError, match="PACS answered a query for one study with 1 others"):
        query(Endless("1.3")).series("1.2")
