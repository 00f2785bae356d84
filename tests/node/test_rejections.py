"""What a PACS takes back: rejection notes (IHE IOCM), and answers that count fewer images than are here."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage, generate_uid

from node.clock import to_text
from node.dicom import rejection
from node.dicom.rejection import rejection_of
from node.settings import Dicom, Readers
from node.steps import index
from node.steps.completeness import doubt_incomplete, take_answers
from node.steps.rejections import ImageReceipt, Note, bursts_of, rejected
from node.steps.resent import Sender
from node.store import derivation
from node.store.database import insert, writing
from tests.node.dicom_samples import NOON, mr_image, settings_for, stack
from tests.node.test_completeness import answer
from tests.node.test_corrections import send, send_compressed
from tests.node.world import World

STUDY = "1.2.826.0.1.3680043.8.498.1"
SERIES = f"{STUDY}.1"
LATER, MUCH_LATER = NOON + timedelta(hours=1), NOON + timedelta(hours=9)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path / "data")
    yield one
    one.db.close()


def coded(value: str, scheme: str, version: str | None = None) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, "Rejected"
    if version:
        code.CodingSchemeVersion = version
    return code


def note(images: Sequence[Dataset], value: str, *, scheme: str = "DCM", version: str | None = None) -> Dataset:
    """A rejection note as IHE RAD TF-3, 4.66 has it."""
    found = mr_image(
        SOPClassUID=KeyObjectSelectionDocumentStorage, SOPInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid(),
        Modality="KO", InstanceNumber=1,
    )  # fmt: skip
    for name in ("PixelData", "Rows", "Columns"):
        delattr(found, name)
    found.ConceptNameCodeSequence = [coded(value, scheme, version)]
    references = []
    for image in images:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
        references.append(reference)
    series, study = Dataset(), Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = images[0].SeriesInstanceUID, references
    study.StudyInstanceUID, study.ReferencedSeriesSequence = images[0].StudyInstanceUID, [series]
    found.CurrentRequestedProcedureEvidenceSequence = [study]
    return found


def settle(world: World, *, now: datetime = MUCH_LATER) -> None:
    world.index()
    while world.catalogue(now=now):
        pass


def measured(world: World) -> None:
    """As if the automatic measurement had been made."""
    with writing(world.db):
        row = {
            "series_instance_uid": SERIES, "source": "auto", "instances_sha256": "0", "status": "measured",
            "reasons": "[]", "vbq_mean": 3.1, "rois": "{}", "algorithm_name": "any", "algorithm_version": "1",
        }  # fmt: skip
        insert(world.db, "derived_measurement", [row])


def state(world: World) -> tuple[object, ...]:
    """Chosen, images, state and the codes of what is taken back, of the T1 series."""
    (row,) = world.rows(
        "SELECT chosen, instances, state, (SELECT group_concat(value ->> '$.code') FROM json_each(taken_back)) "
        "FROM series WHERE series_instance_uid = ?", SERIES
    )  # fmt: skip
    return row


SAFETY = "rejected-for-patient-safety"
CODES = {"113037": SAFETY, "113038": "rejected-for-wrong-worklist-entry"}


@pytest.mark.parametrize("version", [None, "01"])
@pytest.mark.parametrize("value", list(CODES))
@pytest.mark.parametrize("first", ["images", "note"])
def test_a_series_that_is_taken_back_is_never_measured(world: World, first: str, value: str, version: str | None):
    images = stack(11)
    parts = [images, [note(images, value, version=version)]]
    for number, part in enumerate(parts if first == "images" else parts[::-1]):
        world.receive(*part, at=NOON + number * timedelta(minutes=30))
        settle(world, now=NOON + timedelta(minutes=29 + 31 * number))
    assert state(world) == (0, 11, "taken back", CODES[value])
    assert world.series()[SERIES]["patient_id"] == "0012345"
    assert world.rows("SELECT source, code FROM problems") == [(f"series {SERIES}", CODES[value])]
    assert world.rows("SELECT count(*) FROM derived_measurement") == [(0,)]
    with writing(world.db):
        derivation.forget(world.db)
    settle(world)
    assert state(world) == (0, 11, "taken back", CODES[value])


def test_a_part_that_is_taken_back_is_left_out_and_the_rest_waits_for_a_person(world: World):
    images = stack(11)
    world.receive(*images, note(images[:2], "113037"))
    settle(world)
    assert state(world) == (1, 9, "waiting for a measurement", SAFETY)
    measured(world)
    doubt_incomplete(world.db, Readers())
    assert state(world)[2] == "review"
    assert world.rows("SELECT reasons ->> '$[0].words' FROM derived_measurement") == [
        ("2 of 11 images of the series were rejected for patient safety in the PACS (113037)",)
    ]


def test_a_note_for_quality_makes_the_score_wait_until_it_is_taken_back(world: World):
    images = stack(11)
    world.receive(*images)
    settle(world)
    measured(world)
    assert doubt_incomplete(world.db, Readers()) == 0
    world.receive(note(images, "113001"), at=LATER)
    settle(world)
    assert (doubt_incomplete(world.db, Readers()), doubt_incomplete(world.db, Readers())) == (1, 0)
    assert state(world) == (1, 11, "review", "rejected-for-quality")
    world.receive(note(images, "REVOKE_REJECTION", scheme="99DCM4CHEE"), at=LATER + timedelta(hours=1))
    settle(world)
    assert doubt_incomplete(world.db, Readers()) == 1
    assert state(world) == (1, 11, "measured", None)


@pytest.mark.parametrize(
    ("value", "scheme"), [("113039", "DCM"), ("113000", "DCM"), ("113037", "99LOCAL"), ("113010", "DCM")]
)
def test_other_notes_change_nothing(world: World, value: str, scheme: str):
    images = stack(11)
    world.receive(*images, note(images, value, scheme=scheme))
    settle(world)
    assert state(world) == (1, 11, "waiting for a measurement", None)
    assert world.rows("SELECT * FROM problems") == []


@pytest.mark.parametrize(
    ("value", "scheme", "meaning", "code"),
    [
        ("113037", "dcm", "", "113037"),
        ("REJ2", "99LOCAL", "Rejected for Patient Safety Reasons", "113037"),
        ("REJ3", "99LOCAL", "Incorrect Modality Worklist Entry", "113038"),
        ("REJ1", "99LOCAL", "Rejected for Quality Reasons", "113001"),
        ("REJ4", "99LOCAL", "Data Retention Policy Expired", "113039"),
        ("113000", "DCM", "Of Interest", None),
        ("113010", "DCM", "Quality Issue", None),
    ],
)
def test_titles_in_codes_of_a_system_are_known_by_their_meaning(
    value: str, scheme: str, meaning: str, code: str | None
):
    found = note(stack(1), value, scheme=scheme)
    found.ConceptNameCodeSequence[0].CodeMeaning = meaning
    rejected_by = rejection_of(found)
    assert (rejected_by.code if rejected_by else None) == code


def test_images_that_the_pacs_sends_again_are_restored(world: World):
    images = stack(11)
    world.receive(*images)
    world.receive(note(images, "113037"), at=LATER)
    settle(world)
    assert state(world)[2] == "taken back"
    # In the same burst of sending nothing is restored.
    world.receive(*images, at=LATER + timedelta(seconds=10))
    settle(world)
    assert state(world)[2] == "taken back"
    world.receive(*images, at=LATER + timedelta(hours=1))
    settle(world)
    assert state(world) == (1, 11, "waiting for a measurement", None)
    assert world.rows("SELECT * FROM problems") == []


def test_a_study_that_is_sent_again_with_its_old_note_stays_taken_back_however_long_that_takes(world: World):
    images = stack(11)
    taking_back = note(images, "113037")
    world.receive(*images)
    world.receive(taking_back, at=LATER)
    settle(world, now=LATER + timedelta(minutes=30))
    again = LATER + timedelta(hours=1)
    world.receive(taking_back, at=again)
    for number, image in enumerate(images, start=1):
        # Longer in all than the two minutes of quiet, never so long between two.
        world.receive(image, at=again + number * timedelta(seconds=40))
    settle(world)
    assert state(world) == (0, 11, "taken back", SAFETY)
    world.receive(*images, at=again + timedelta(hours=1))
    settle(world)
    assert state(world)[3] is None


def test_a_note_that_comes_again_as_it_was_takes_back_what_was_restored(world: World):
    images = stack(11)
    taking_back = note(images, "113038")
    for number, part in enumerate((images, [taking_back], images)):
        world.receive(*part, at=NOON + number * timedelta(hours=1))
    settle(world, now=NOON + timedelta(hours=3))
    assert state(world)[3] is None
    world.receive(taking_back, at=NOON + timedelta(hours=4))
    settle(world)
    assert state(world) == (0, 11, "taken back", CODES["113038"])
    before = world.series()
    with writing(world.db):
        derivation.forget(world.db)
    settle(world)
    assert world.series() == before


MINUTE = timedelta(minutes=1)


def at(minutes: float) -> str:
    return to_text(NOON + timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("notes", "receipts", "code"),
    [
        ([("113037", at(5))], [(1, at(0))], "113037"),
        ([("113037", at(0))], [(1, at(5))], "113037"),  # the note first
        ([("113037", at(0))], [(1, at(5)), (1, at(5.5))], "113037"),  # sent twice in one burst
        ([("113037", at(0))], [(1, at(5)), (1, at(7))], None),
        ([("113037", at(5))], [(1, at(0)), (1, at(5.5))], "113037"),
        ([("113037", at(5))], [(1, at(0)), (1, at(6))], None),
        ([("113038", at(5))], [(1, at(0)), (2, at(5.1))], None),  # other bytes under its UID: the corrected image
        ([("113037", at(5)), ("113037", at(8))], [(1, at(0)), (1, at(7))], "113037"),  # and taken back again
        ([("113001", at(5)), ("113038", at(4))], [(1, at(0))], "113038"),
        ([("113037", at(5)), ("revoked", at(6))], [(1, at(0))], None),
        ([("revoked", at(4)), ("113037", at(5))], [(1, at(0))], "113037"),
        ([("113039", at(5))], [(1, at(0))], None),
    ],
)
def test_receipts_and_notes_decide(notes: list[tuple[str, str]], receipts: list[tuple[int, str]], code: str | None):
    times = sorted(moment for _, moment in (*notes, *receipts))
    pacs = Sender(peer="pacs")
    noted = [Note(code=one, place=times.index(moment), at=moment, senders={pacs}) for one, moment in notes]
    came = [
        ImageReceipt(header=str(one), place=times.index(moment), at=moment, sender=pacs) for one, moment in receipts
    ]
    settings = Dicom(quiet_s=60)
    assert rejected(noted, came, settings, bursts_of(enumerate(times), settings)) == code


@pytest.mark.parametrize(
    ("noted_by", "sent_by", "corrects", "code"),
    [
        ("pacs", "pacs", "own", None),
        ("pacs", "pacs", "nothing", None),  # its own note it may always take back
        ("pacs", "scanner", "own", "113037"),
        ("scanner", "pacs", "own", "113037"),
        ("scanner", "pacs", "any", None),
        (None, None, "own", "113037"),  # nobody knows who it was
    ],
)
def test_who_has_sent_a_note_may_restore(noted_by: str | None, sent_by: str | None, corrects: str, code: str | None):
    settings = settings_for(
        Path(),
        quiet_s=60,
        peers={"pacs": {"ae_titles": ["PACS"], "addresses": ["10.0.0.1"], "corrects": corrects}},
    ).dicom
    who = {"pacs": Sender(peer="pacs"), "scanner": Sender(address="10.0.0.9"), None: None}
    noted = Note(code="113037", place=1, at=at(0), senders={who[noted_by]})
    receipts = [ImageReceipt(header="one", place=0, at=at(-1), sender=who["scanner"])]
    for header, minutes in (("one", 5), ("another", 0.1)):
        again = ImageReceipt(header=header, place=2, at=at(minutes), sender=who[sent_by])
        bursts = bursts_of([(0, at(-1)), (1, at(0)), (2, at(minutes))], settings)
        assert rejected([noted], [*receipts, again], settings, bursts) == code
    revoking = Note(code="revoked", place=2, at=at(5), senders={who[sent_by]})
    assert rejected([noted, revoking], receipts, settings, ()) == code


def test_copies_that_come_late_and_scanners_that_repeat_themselves_restore_nothing(world: World):
    images = stack(11)
    send(world, images, at=NOON, calling="MR1", address="10.0.0.9")
    settle(world)
    send(world, [note(images, "113038")], at=LATER)
    # The same in another syntax, on the heels of the note.
    send_compressed(world, images, at=LATER + timedelta(seconds=5), calling="PACS", address="10.0.0.1")
    send(world, images, at=LATER + timedelta(hours=1), calling="MR1", address="10.0.0.9")
    settle(world)
    assert state(world) == (0, 11, "taken back", CODES["113038"])
    corrected = deepcopy(images)
    for one in corrected:
        one.AccessionNumber = "A2"
    send(world, corrected, at=LATER + timedelta(hours=2), calling="MR1", address="10.0.0.9")
    settle(world)
    assert state(world)[2:] == ("taken back", CODES["113038"])
    send(world, corrected, at=LATER + timedelta(hours=3))
    settle(world)
    assert state(world)[3] is None


@pytest.mark.parametrize(("by", "code"), [("PACS", "replaced"), ("OTHER", "duplicate-uid")])
def test_a_note_that_comes_again_under_its_uid_with_other_images_is_no_old_note(world: World, by: str, code: str):
    images = stack(11)
    first, second = note(images[:2], "113037"), note(images, "113037")
    second.SOPInstanceUID, second.SeriesInstanceUID = first.SOPInstanceUID, first.SeriesInstanceUID
    # The images have moved to a study of their own meanwhile; both name the study that the note is of.
    for one in images:
        one.StudyInstanceUID = f"{STUDY}.7"
    send(world, [*images, first], at=NOON)
    settle(world)
    assert state(world)[1] == 9
    send(world, [second], at=LATER, calling=by, address="10.0.0.1" if by == "PACS" else "10.0.0.8")
    settle(world)
    assert state(world) == (0, 11, "taken back", SAFETY)
    assert code in {one for (one,) in world.rows("SELECT code FROM problems")}
    if by == "PACS":
        send(world, [first], at=LATER + timedelta(hours=1))
        settle(world)
        assert state(world)[1:] == (9, "waiting for a measurement", SAFETY)


def test_a_clock_that_was_ahead_changes_nothing(world: World):
    images = stack(11)
    world.receive(*images, at=NOON + timedelta(days=400))
    world.receive(note(images, "113037"), at=NOON)
    settle(world)
    assert state(world)[2:] == ("taken back", SAFETY)
    # Images that differ, sent after a note of which a clock said a later time, are the corrected ones.
    world.receive(note(images, "113037"), at=NOON + timedelta(days=400))
    corrected = deepcopy(images)
    for image in corrected:
        image.StudyDescription = "corrected"
    world.receive(*corrected, at=LATER)
    settle(world)
    assert state(world)[3] is None


@pytest.mark.parametrize(("value", "said"), [("113037", True), ("113001", True), ("113039", False), ("113000", False)])
def test_a_note_that_names_no_image_is_said(world: World, value: str, said: bool):
    images = stack(11)
    empty = note(images, value)
    empty.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence = []
    world.receive(*images, empty)
    settle(world)
    assert state(world)[1:] == (11, "waiting for a measurement", None)
    assert world.rows("SELECT code FROM problems") == ([("rejection-names-no-image",)] if said else [])


def test_a_note_that_names_more_than_are_read_is_said(world: World, monkeypatch: pytest.MonkeyPatch):
    for module in (rejection, index):
        monkeypatch.setattr(module, "MAX_INSTANCES", 10)
    images = stack(11)
    world.receive(*images, note(images[:10], "113037"))
    settle(world)
    assert "rejection-names-too-many" not in {code for (code,) in world.rows("SELECT code FROM problems")}
    world.receive(note(images, "113037"), at=LATER)
    settle(world)
    assert "rejection-names-too-many" in {code for (code,) in world.rows("SELECT code FROM problems")}


def test_a_note_may_name_its_images_in_its_content_only() -> None:
    images = stack(3)
    found = note(images, "113037")
    items = []
    for reference in (
        found.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    ):
        item = Dataset()
        item.ReferencedSOPSequence = [reference]
        items.append(item)
    del found.CurrentRequestedProcedureEvidenceSequence
    found.ContentSequence = items
    rejected_by = rejection_of(found)
    assert rejected_by is not None
    assert rejected_by.instances == tuple(str(image.SOPInstanceUID) for image in images)


FEWER, GONE = "pacs-has-fewer-images", "pacs-no-longer-has-it"


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ([{SERIES: 9}], None),
        ([{SERIES: 5}], FEWER),
        ([{SERIES: 0}], FEWER),
        ([{SERIES: 9}, {SERIES: 0}], FEWER),
        ([{SERIES: 9}, {}], GONE),
        ([{}], None),  # one that never knew the study has taken nothing back
        ([{SERIES: 9}, {}, {SERIES: 9}], None),
        ([{SERIES: 5}, {SERIES: 9}], None),
    ],
)
def test_a_pacs_that_has_fewer_images_makes_the_score_wait(
    world: World, answers: list[dict[str, int]], code: str | None
):
    world.receive(*stack(9))
    settle(world)
    measured(world)
    for number, counts in enumerate(answers):
        answer(world, counts, minutes=3 + number)
        take_answers(world.db)
    doubt_incomplete(world.db, Readers())
    assert state(world) == (1, 9, "measured" if code is None else "review", code)
    shown = world.rows("SELECT source, code FROM problems WHERE step = 'completeness'")
    assert shown == ([] if code is None else [(f"series {SERIES}", code)])


def test_one_archive_that_has_all_of_it_is_enough(world: World):
    world.receive(*stack(9))
    settle(world)
    measured(world)
    for peer, count in (("pacs", 5), ("old", 9)):
        answer(world, {SERIES: count}, peer=peer)
    take_answers(world.db)
    assert doubt_incomplete(world.db, Readers()) == 0
