"""The same images again with another header: what came last holds where it may, else a person decides."""

import json
from collections.abc import Iterator
from copy import deepcopy
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless, SecondaryCaptureImageStorage

from node.clock import to_text
from node.dicom.part10 import file_header
from node.dicom.recorder import Receipt, Recorder
from node.errors import InputError, SliceError
from node.people.readings import find_slice, parse_rois
from node.people.studies import use_newest, withdraw
from node.results.records import SLICE
from node.results.whose import read_whose
from node.settings import Settings
from node.steps.pending import pending
from node.store import derivation
from node.store.archive import Archive
from node.store.database import insert, writing
from tests.commands import call
from tests.node.dicom_samples import NOON, encode, settings_for, stack
from tests.node.world import World

STUDY, OTHER = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.77"
SERIES = f"{STUDY}.1"
LATER = NOON + timedelta(hours=1)
MUCH_LATER = NOON + timedelta(hours=3)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path / "data")
    yield one
    one.db.close()


def again(images: list[Dataset], **values: object) -> list[Dataset]:
    """The same images under their UIDs, with other values in the header."""
    corrected = stack(len(images), **{name: value for name, value in values.items() if name != "series"})
    for one, other in zip(images, corrected, strict=True):
        other.SOPInstanceUID = one.SOPInstanceUID
        other.SeriesInstanceUID = values.get("SeriesInstanceUID", one.SeriesInstanceUID)
    return corrected


def send(
    world: World, images: list[Dataset], *, at: datetime, calling: str = "PACS", address: str = "10.0.0.1"
) -> None:
    """As received from somebody."""
    world.receive(*images, at=at)
    receipts = [(int(str(number)),) for (number,) in world.rows(
        "SELECT receipt_id FROM fact_object_receipt ORDER BY receipt_id DESC LIMIT ?", len(images)
    )]  # fmt: skip
    # The helper's receipts are of one sender; facts are never changed but here.
    world.db.execute("DROP TRIGGER fact_object_receipt_no_update")
    for (number,) in receipts:
        world.db.execute(
            "UPDATE fact_object_receipt SET calling_ae = ?, peer_address = ? WHERE receipt_id = ?",
            [calling, address, number],
        )
    world.db.execute(
        "CREATE TRIGGER fact_object_receipt_no_update BEFORE UPDATE ON fact_object_receipt "
        "BEGIN SELECT RAISE(ABORT, 'fact_object_receipt is never changed'); END"
    )


def settle(world: World, *, now: datetime = MUCH_LATER) -> None:
    world.index()
    while world.catalogue(now=now):
        pass


def owners(world: World) -> dict[str, object]:
    return {uid: row["patient_id"] for uid, row in world.series().items()}


def inputs(world: World) -> object:
    """What is measured in the study, by its content."""
    (found,) = {row["inputs_sha256"] for row in world.series().values()}
    return found


def problems(world: World) -> list[tuple[object, ...]]:
    return world.rows("SELECT source, code FROM problems ORDER BY 1, 2")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"PatientID": "999"}, "patient number"),
        ({"PatientBirthDate": "19550705"}, "birth date"),
        ({"PatientName": "Another^Name"}, "name"),
        ({"IssuerOfPatientID": "CLINIC"}, "issuer of the patient number"),
        ({"StudyInstanceUID": OTHER}, "study"),
        ({"AccessionNumber": "A2"}, "accession number"),
        ({"StudyTime": "170000"}, "time of day"),
        ({"PatientID": "999", "PatientSex": "M"}, "patient number, sex"),
    ],
)
def test_what_its_sender_corrects_takes_effect_and_is_said_once(world: World, values: dict[str, str], said: str):
    images = stack(6)
    send(world, images, at=NOON)
    settle(world)
    before = inputs(world)
    send(world, again(images, **values), at=LATER)
    settle(world)
    (row,) = world.series().values()
    assert row["patient_id"] == values.get("PatientID", "0012345")
    assert row["study_instance_uid"] == values.get("StudyInstanceUID", STUDY)
    assert (row["chosen"], row["instances"], row["stale"]) == (1, 6, 0)
    # The pixels are the same: nothing is measured again.
    assert inputs(world) == before
    assert problems(world) == [(f"study {row['study_instance_uid']}", "replaced")]
    ((detail,),) = world.rows("SELECT detail FROM problems")
    assert str(detail).startswith(f"6 images came again from PACS with another {said}; what came last holds")
    assert world.rows("SELECT count(*) FROM fact_object") == [(12,)]
    assert {name: number for name, number in pending(world.db).items() if number} == {"studies to measure": 1, **(
        {"patients to link": int(str(world.rows("SELECT count(*) FROM derived_identifier")[0][0]))}
    )}  # fmt: skip


def test_what_was_right_at_first_comes_back_and_is_in_effect(world: World):
    images = stack(6)
    send(world, images, at=NOON)
    send(world, again(images, PatientID="999"), at=LATER)
    settle(world)
    assert owners(world) == {SERIES: "999"}
    send(world, images, at=LATER + timedelta(minutes=30))
    settle(world)
    assert owners(world) == {SERIES: "0012345"}


def test_deriving_again_in_any_order_arrives_at_the_same(world: World):
    images = stack(6)
    send(world, images, at=NOON)
    send(world, again(images, PatientID="999", StudyInstanceUID=OTHER), at=LATER)
    settle(world)
    before = world.series()
    with writing(world.db):
        derivation.forget(world.db)
    settle(world)
    assert world.series() == before
    assert owners(world) == {SERIES: "999"}


@pytest.mark.parametrize("corrects", ["own", "any", "nothing"])
def test_who_may_correct_is_a_setting(world: World, corrects: str):
    peers = {"pacs": {"ae_titles": ["PACS"], "addresses": ["10.0.0.1"], "corrects": corrects}}
    world.settings = settings_for(world.folder, quiet_s=120, peers=peers)
    images = stack(6)
    send(world, images, at=NOON, calling="MODALITY", address="10.0.0.9")
    send(world, again(images, PatientID="999"), at=LATER)
    settle(world)
    assert owners(world) == {SERIES: "999" if corrects == "any" else None}
    own = [*stack(6, series="2", StudyInstanceUID=OTHER)]
    send(world, own, at=NOON)
    send(world, again(own, PatientID="999", StudyInstanceUID=OTHER), at=LATER)
    settle(world)
    assert owners(world)[f"{STUDY}.2"] == (None if corrects == "nothing" else "999")


def test_another_senders_correction_waits_for_a_person_and_is_said_once(world: World, monkeypatch: pytest.MonkeyPatch):
    images = stack(6)
    send(world, images, at=NOON, calling="MODALITY", address="10.0.0.9")
    send(world, again(images, PatientID="999"), at=LATER)
    settle(world)
    assert owners(world) == {SERIES: None}
    assert problems(world) == [(f"series {SERIES}", "duplicate-uid"), (f"study {STUDY}", "contradictory-patient")]
    with pytest.raises(InputError):
        use_newest(world.db, STUDY, by=" ", at=MUCH_LATER)
    with pytest.raises(InputError):
        use_newest(world.db, "1.2.3", by="Dr. A", at=MUCH_LATER)
    config = world.folder.parent / "node.toml"
    config.write_text(f"[storage]\nfolder = '{world.folder}'\n")
    assert call(monkeypatch, "study", "use-newest", STUDY, "--by", "Dr. A", "--config", config) == 0
    settle(world)
    assert owners(world) == {SERIES: "999"}
    assert problems(world) == []
    assert world.rows("SELECT decision, decided_by FROM fact_study_decision") == [("use-newest", "Dr. A")]
    # Deriving everything again knows the decision.
    with writing(world.db):
        derivation.forget(world.db)
    settle(world)
    assert (owners(world), problems(world)) == ({SERIES: "999"}, [])
    # Taken back it is as before the decision, and can be decided again.
    assert withdraw(world.db, STUDY, by="Dr. B", at=MUCH_LATER + timedelta(days=1)) == 1
    with pytest.raises(InputError, match="nobody has said"):
        withdraw(world.db, STUDY, by="Dr. B", at=MUCH_LATER)
    settle(world)
    assert problems(world) == [(f"series {SERIES}", "duplicate-uid"), (f"study {STUDY}", "contradictory-patient")]
    use_newest(world.db, STUDY, by="Dr. A", at=MUCH_LATER + timedelta(days=2))
    settle(world)
    assert (owners(world), problems(world)) == ({SERIES: "999"}, [])


AHEAD = NOON + timedelta(days=400)
"""What a clock said that was wrong."""


def test_what_came_last_holds_though_a_clock_was_ahead_before(world: World):
    images = stack(6)
    send(world, images, at=AHEAD)
    send(world, again(images, PatientID="999"), at=LATER)
    settle(world)
    assert owners(world) == {SERIES: "999"}


def test_a_person_settles_what_came_while_the_clock_was_ahead(world: World):
    images = stack(6)
    send(world, images, at=AHEAD, calling="MODALITY", address="10.0.0.9")
    send(world, again(images, PatientID="999"), at=AHEAD)
    world.catalogue(now=AHEAD + timedelta(days=1))
    settle(world)
    assert owners(world) == {SERIES: None}
    use_newest(world.db, STUDY, by="Dr. A", at=MUCH_LATER)
    settle(world)
    assert owners(world) == {SERIES: "999"}
    # What comes afterwards is not what the person meant.
    send(world, again(images, PatientID="777"), at=MUCH_LATER + timedelta(hours=1), calling="OTHER", address="10.0.0.8")
    settle(world)
    assert owners(world) == {SERIES: None}


def test_decisions_from_before_their_place_was_kept_go_by_their_time(world: World):
    images = stack(6)
    send(world, images, at=NOON, calling="MODALITY", address="10.0.0.9")
    send(world, again(images, PatientID="999"), at=LATER)
    settle(world)
    row = {"study_instance_uid": STUDY, "decision": "use-newest", "decided_at": to_text(MUCH_LATER), "decided_by": "A"}
    with writing(world.db):
        insert(world.db, "fact_study_decision", [row])
    settle(world)
    assert owners(world) == {SERIES: "999"}


def test_a_person_confirms_what_took_effect_by_itself(world: World):
    images = stack(6)
    send(world, images, at=NOON)
    send(world, again(images, PatientID="999"), at=LATER)
    settle(world)
    assert problems(world) == [(f"study {STUDY}", "replaced")]
    use_newest(world.db, STUDY, by="Dr. A", at=MUCH_LATER)
    settle(world)
    assert (owners(world), problems(world)) == ({SERIES: "999"}, [])


def test_the_same_images_under_two_patients_are_linked_to_neither(world: World):
    images = stack(6)
    copied = again(images, PatientID="999", StudyInstanceUID=OTHER, SeriesInstanceUID=f"{OTHER}.1")
    send(world, images, at=NOON, calling="MODALITY", address="10.0.0.9")
    send(world, copied, at=LATER)
    settle(world)
    assert owners(world) == {SERIES: None, f"{OTHER}.1": None}
    assert {code for _, code in problems(world)} == {"duplicate-uid", "contested-images"}
    use_newest(world.db, OTHER, by="Dr. A", at=MUCH_LATER)
    settle(world)
    assert owners(world) == {f"{OTHER}.1": "999"}
    assert problems(world) == []


def test_a_moved_study_leaves_nothing_behind(world: World):
    images = stack(6)
    moved = again(images, PatientID="999", StudyInstanceUID=OTHER, SeriesInstanceUID=f"{OTHER}.1")
    send(world, images, at=NOON)
    settle(world)
    send(world, moved, at=LATER)
    settle(world)
    assert owners(world) == {f"{OTHER}.1": "999"}
    assert world.rows("SELECT series_instance_uid, state FROM series") == [(f"{OTHER}.1", "waiting for a measurement")]


@pytest.mark.parametrize("values", [{"AccessionNumber": "A2"}, {"StudyTime": "170000"}, {"InstanceNumber": 7}])
def test_no_correction_of_another_sender_is_dropped_without_a_word(world: World, values: dict[str, str]):
    images = stack(6)
    send(world, images, at=NOON)
    send(world, again(images, **values), at=LATER, calling="OTHER", address="10.0.0.8")
    settle(world)
    assert problems(world) == [(f"series {SERIES}", "duplicate-uid")]
    use_newest(world.db, STUDY, by="Dr. A", at=MUCH_LATER)
    settle(world)
    assert problems(world) == []
    ((newest,),) = world.rows("SELECT min(object_id) FROM derived_instance")
    assert newest == 7


@pytest.mark.parametrize("pixels", ["same", "other", "gone"])
def test_a_reader_saw_the_same_in_all_versions_of_an_image_that_show_the_same(world: World, pixels: str):
    images = stack(6)
    send(world, images, at=NOON)
    settle(world)
    circles = {name: [5 + 4 * place, 5, 2] for place, name in enumerate(("L1", "L2", "L3", "L4", "CSF"))}
    reading = parse_rois(json.dumps({"slice": 3, **circles}))
    before = find_slice(world.db, SERIES, reading)
    versions = again(images, AccessionNumber="OTHER")
    for one in versions if pixels == "other" else ():
        one.PixelData = bytes(reversed(one.PixelData))
    send(world, versions, at=LATER, calling="OTHER", address="10.0.0.8")
    if pixels == "gone":
        world.archive.path(before.sha256).unlink()
    settle(world)
    if pixels == "same":
        assert find_slice(world.db, SERIES, reading) == before
    else:
        with pytest.raises(SliceError) as raised:
            find_slice(world.db, SERIES, reading)
        assert raised.value.reason.code == "slice-ambiguous"


@pytest.mark.parametrize(("first", "second"), [("080000", "170000"), ("170000", "080000")])
def test_of_two_times_of_an_image_the_later_holds_until_a_person_decides(world: World, first: str, second: str):
    """An operation at noon: what may be from after it is not from before it."""
    images = stack(6, StudyTime=first)
    send(world, images, at=NOON)
    send(world, again(images, StudyTime=second), at=LATER, calling="OTHER", address="10.0.0.8")
    settle(world)
    assert str(world.series()[SERIES]["began_at"])[:13] == "2026-03-02T17"
    use_newest(world.db, STUDY, by="Dr. A", at=MUCH_LATER)
    settle(world)
    assert str(world.series()[SERIES]["began_at"])[:13] == f"2026-03-02T{second[:2]}"


def test_a_result_names_the_patient_by_the_image_that_holds(world: World):
    images = stack(6, AccessionNumber="A1")
    send(world, images, at=NOON)

    def accession() -> str:
        settle(world)
        ((sha256,),) = world.rows(SLICE, SERIES, str(images[3].SOPInstanceUID))
        return read_whose(world.archive.path(str(sha256))).accession_number

    assert accession() == "A1"
    send(world, again(images, AccessionNumber="OTHER"), at=LATER, calling="OTHER", address="10.0.0.8")
    assert accession() == "A1", "another sender may not correct it"
    send(world, again(images, AccessionNumber="A2"), at=LATER)
    assert accession() == "A2"
    send(world, images, at=LATER + timedelta(minutes=30))
    assert accession() == "A1"
    use_newest(world.db, STUDY, by="Dr. A", at=MUCH_LATER)
    assert accession() == "A1"


def colours(count: int) -> list[Dataset]:
    """Screenshots of the examination."""
    made = stack(
        count, SOPClassUID=SecondaryCaptureImageStorage, Modality="OT", SamplesPerPixel=3, PlanarConfiguration=0,
        PhotometricInterpretation="RGB", BitsAllocated=8, BitsStored=8, HighBit=7, PixelSpacing=None,
    )  # fmt: skip
    for number, one in enumerate(made):
        one.PixelData = bytes((number + place) % 251 for place in range(one.Rows * one.Columns * 3))
    return made


@pytest.mark.parametrize(
    "images",
    [
        stack(6),
        stack(6, PixelRepresentation=1),
        stack(6, PixelSpacing=None),
        stack(6, RescaleSlope=0, RescaleIntercept=0),
        colours(3),
    ],
    ids=["images", "signed", "without spacing", "slope of zero", "colours"],
)
def test_the_same_pixels_in_another_syntax_are_no_news(world: World, images: list[Dataset]):
    send(world, images, at=NOON)
    settle(world)
    before = world.series(), problems(world)
    send_compressed(world, images, at=LATER)
    settle(world)
    assert (world.series(), problems(world)) == before
    assert world.rows("SELECT count(*) FROM derived_superseded") == [(len(images),)]


def send_compressed(
    world: World, images: list[Dataset], *, at: datetime, calling: str = "X", address: str = "10.9.9.9"
) -> None:
    """The same images in RLE, from somebody."""
    archive = Archive(world.folder)
    with Recorder(world.folder) as recorder:
        for one in map(deepcopy, images):
            one.compress(RLELossless, generate_instance_uid=False)
            named = {
                "sop_class_uid": str(one.SOPClassUID), "sop_instance_uid": str(one.SOPInstanceUID),
                "transfer_syntax_uid": str(RLELossless),
            }  # fmt: skip
            stored = archive.store(
                header=file_header(**named), dataset=encode(one), transfer_syntax_uid=str(RLELossless)
            )
            recorder.record(Receipt(stored=stored, received_at=at, calling_ae=calling, peer_address=address, **named))


@pytest.mark.parametrize("of_which", ["earlier", "later"])
def test_what_can_no_longer_be_compared_waits_for_a_person_and_fails_nothing(world: World, of_which: str):
    images = stack(6)
    send(world, images, at=NOON)
    settle(world)
    send(world, again(images, PatientID="999"), at=LATER)
    world.index()
    operator = "<=" if of_which == "earlier" else ">"
    for (sha256,) in world.rows(f"SELECT sha256 FROM fact_object WHERE object_id {operator} 6"):
        world.archive.path(str(sha256)).unlink()
    settle(world)
    assert problems(world) == [(f"series {SERIES}", "duplicate-uid"), (f"study {STUDY}", "contradictory-patient")]
    ((detail,),) = world.rows("SELECT detail FROM problems WHERE code = 'duplicate-uid'")
    assert "in several versions, with pixels that cannot be compared" in str(detail)
    use_newest(world.db, STUDY, by="Dr. A", at=MUCH_LATER)
    settle(world)
    assert (owners(world), problems(world)) == ({SERIES: "999"}, [])
    assert world.rows("SELECT count(*) FROM derived_instance WHERE content_of IS NOT NULL") == [(0,)], "measured again"


def test_other_pixels_under_the_same_uid_stand_beside_the_first_until_a_person_decides(world: World):
    images = stack(6)
    other = again(images)
    for one in other:
        one.PixelData = bytes(reversed(one.PixelData))
    send(world, images, at=NOON)
    settle(world)
    first = inputs(world)
    send(world, other, at=LATER)
    settle(world)
    assert problems(world) == [(f"series {SERIES}", "duplicate-uid")]
    ((detail,),) = world.rows("SELECT detail FROM problems")
    assert str(detail).startswith("6 images of it came in several versions, with other pixels")
    assert world.rows("SELECT count(*) FROM derived_instance") == [(12,)]
    use_newest(world.db, STUDY, by="Dr. A", at=MUCH_LATER)
    settle(world)
    assert problems(world) == []
    assert world.rows("SELECT count(*) FROM derived_instance") == [(6,)]
    # What was measured in the earlier pixels is no measurement of these, whoever they come to be of afterwards.
    alone = World(world.folder.parent / "alone")
    send(alone, other, at=NOON)
    settle(alone)
    assert inputs(world) == inputs(alone) != first
    corrected = deepcopy(other)
    for one in corrected:
        one.PatientID = "999"
    send(world, corrected, at=MUCH_LATER + timedelta(hours=1))
    settle(world, now=MUCH_LATER + timedelta(hours=2))
    assert (owners(world), inputs(world)) == ({SERIES: "999"}, inputs(alone))
    alone.db.close()


def test_what_is_said_of_a_held_patient_is_true(world: World):
    images = stack(6)
    send(world, images, at=NOON, calling="MODALITY", address="10.0.0.9")
    send(world, again(images, PatientID="999"), at=LATER)
    settle(world)
    claims = world.rows("SELECT patient_id, reason ->> '$[0].code' FROM derived_claim ORDER BY 1")
    assert claims == [("0012345", "mri-of-several-patients"), ("999", "mri-of-several-patients")]
    assert "unidentified" not in {code for _, code in problems(world)}


def test_the_settings_know_no_other_way_to_correct() -> None:
    with pytest.raises(ValueError, match="corrects"):
        Settings.model_validate({"dicom": {"peers": {"a": {"corrects": "all"}}}})
