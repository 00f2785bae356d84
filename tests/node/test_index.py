"""The index step: what arrived, when a study is quiet, which series is chosen and why."""

import json
from datetime import timedelta
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from node.clock import to_text
from node.settings import Settings
from node.steps.resent import settle_resent
from node.store.database import writing
from node.store.derivation import forget
from tests.node.dicom_samples import NOON, SHARED, mr_image, stack
from tests.node.world import World

AXIAL = [1, 0, 0, 0, 1, 0]
LATER = NOON + timedelta(seconds=120)


def real_study() -> list[Dataset]:
    """Scout, T2, STIR, axial T1 and post-contrast T1 beside the sagittal T1, as a lumbar examination has them."""
    coronal = [1, 0, 0, 0, 0, -1]
    scout = [
        *stack(3, series="1", SeriesNumber=1, SeriesDescription="localizer", ImageType=["ORIGINAL", "PRIMARY", "M"],
               ScanningSequence="GR", RepetitionTime=8, EchoTime=4),
        mr_image(seed=90, SeriesInstanceUID="1.2.826.0.1.3680043.8.498.1.1", SeriesNumber=1, InstanceNumber=4,
                 SeriesDescription="localizer", ImageOrientationPatient=coronal, ScanningSequence="GR",
                 RepetitionTime=8, EchoTime=4),
    ]  # fmt: skip
    return [
        *scout,
        *stack(series="2", SeriesNumber=2, SeriesDescription="t2_tse_sag", RepetitionTime=3500, EchoTime=110),
        *stack(series="3", SeriesNumber=3, SeriesDescription="t1_tse_sag"),
        *stack(
            series="4", SeriesNumber=4, SeriesDescription="t2_tirm_sag", ScanningSequence=["SE", "IR"],
            InversionTime=150, RepetitionTime=3900, EchoTime=60,
        ),
        *stack(
            series="5", SeriesNumber=5, SeriesDescription="t1_tse_tra", ImageOrientationPatient=AXIAL,
        ),
        *stack(
            series="6", SeriesNumber=6, SeriesDescription="t1_tse_sag KM", ContrastBolusAgent="Gadovist",
        ),
        mr_image(
            seed=99, SeriesInstanceUID="1.2.826.0.1.3680043.8.498.1.7", SOPClassUID=EncapsulatedPDFStorage,
            Modality="DOC", SeriesNumber=7, SeriesDescription="report",
        ),
    ]  # fmt: skip


def test_the_sagittal_t1_of_a_real_study_is_chosen_and_every_reason_kept(world: World):
    study = real_study()
    world.receive(*study)
    assert world.index() == len(study)
    assert world.index() == 0
    assert world.catalogue() == 1
    assert world.catalogue() == 0
    series = {uid.rsplit(".", 1)[1]: row for uid, row in world.series().items()}
    assert {end: (row["role"], row["chosen"]) for end, row in series.items()} == {
        "3": ("t1_sagittal", 1),
        **dict.fromkeys("124567", ("other", 0)),
    }
    reasons = {end: json.loads(str(row["reasons"])) for end, row in series.items()}
    assert reasons["3"][0] == "chosen: the only sagittal T1 series of the study"
    assert "for: T1-weighted spin echo: TR 620 ms, TE 9.2 ms" in reasons["3"]
    for end, against in {
        "1": "described as a localiser (localizer)",
        "2": "not T1-weighted: TR 3500 ms, TE 110 ms (T1 up to TR 1200, TE 30)",
        "4": "an inversion recovery (inversion time 150 ms), no spin echo",
        "5": "not sagittal: the slice normal is 90° off the left-right axis",
        "6": "a contrast agent was given",
        "7": "not MR images",
    }.items():
        assert f"against: {against}" in reasons[end]
    chosen = series["3"]
    assert chosen["scanner_stratum"] == "SIEMENS MAGNETOM_ESSENZA 1.5T"
    assert (chosen["patient_authority"], chosen["patient_id"]) == ("HOSPITAL", "0012345")
    assert (chosen["birth_date"], chosen["sex"], chosen["study_date"]) == ("1955-07-04", "F", "2026-03-02")
    assert chosen["instances"] == 11
    protocol = json.loads(str(chosen["protocol"]))
    assert (protocol["repetition_time_ms"], protocol["slice_step_mm"]) == (620.0, 4.8)
    assert world.rows("SELECT person FROM derived_identifier") == [("HOSPITAL|0012345",)]


def test_nothing_depends_on_the_order_of_arrival(tmp_path: Path):
    contents = []
    for number, order in enumerate((1, -1)):
        world = World(tmp_path / str(number))
        for dataset in real_study()[::order]:
            world.receive(dataset)
        world.index()
        world.catalogue()
        contents.append(world.series())
        world.db.close()
    assert contents[0] == contents[1]


def test_a_study_waits_until_it_has_been_quiet(world: World):
    images = stack(6)
    world.receive(*images[:5])
    world.receive(images[5], at=NOON + timedelta(seconds=90))
    world.index()
    assert world.catalogue(now=NOON + timedelta(seconds=209)) == 0
    assert world.rows("SELECT state, instances FROM series") == [("arriving", 6)]
    assert world.catalogue(now=NOON + timedelta(seconds=210)) == 1


def test_the_same_bytes_again_are_no_news(world: World):
    images = stack(6)
    world.receive(*images)
    world.index()
    world.receive(*images, at=NOON + timedelta(seconds=119))
    assert world.index() == 0
    assert world.catalogue() == 1
    world.receive(*images, at=NOON + timedelta(hours=1))
    assert (world.index(), world.catalogue(now=NOON + timedelta(days=1))) == (0, 0)


def test_a_late_image_has_the_study_judged_again_and_until_then_it_holds(world: World):
    images = stack(7)
    world.receive(*images[:6])
    world.index()
    world.catalogue()
    before = next(iter(world.series().values()))
    world.db["derived_person"].insert({"person": "HOSPITAL|0012345", "pseudonym": "P1"})
    world.receive(images[6], at=LATER)
    assert world.index() == 1
    assert world.series() == {before["series_instance_uid"]: before | {"stale": 1}}
    assert world.rows("SELECT state FROM series") == [("arriving",)]
    assert len(world.rows("SELECT * FROM derived_person")) == 1, "nothing about the patient has changed yet"
    assert world.catalogue(now=LATER + timedelta(seconds=119)) == 0
    assert world.catalogue(now=LATER + timedelta(seconds=120)) == 1
    assert world.rows("SELECT * FROM derived_person") == []
    after = next(iter(world.series().values()))
    assert (before["instances"], after["instances"]) == (6, 7)
    assert before["instances_sha256"] != after["instances_sha256"]


def test_what_cannot_be_read_is_a_problem_and_blocks_nothing(world: World):
    good = stack(6)
    broken, *_ = world.receive(b"\x08\0\x05\0CS\x0a\0ISO_IR 1", *good)
    assert world.index() == 7
    assert world.index() == 0
    assert world.catalogue() == 1
    assert world.rows("SELECT step, source, code FROM problems") == [("index", f"object {broken[:12]}", "unreadable")]


def test_more_unreadable_objects_than_a_batch(world: World):
    world.receive(*(f"no DICOM at all, number {number}".encode() for number in range(150)), *stack(6))
    assert world.index() == 156
    assert world.index() == 0
    assert world.catalogue() == 1


def test_a_file_that_is_gone_is_a_problem(world: World):
    sha256, *_ = world.receive(*stack(6))
    world.archive.path(sha256).unlink()
    assert world.index() == 6
    assert world.rows("SELECT detail FROM problems") == [("the file is missing from the archive",)]


def test_without_a_patient_id_the_study_is_kept_and_shown(world: World):
    world.receive(*stack(6, PatientID="", IssuerOfPatientID=None))
    world.index()
    assert world.catalogue() == 1
    (row,) = world.series().values()
    assert (row["patient_authority"], row["patient_id"], row["chosen"]) == (None, None, 1)
    assert world.rows("SELECT code FROM problems") == [("unidentified",)]
    assert world.rows("SELECT * FROM derived_identifier") == []


def test_the_authority_is_the_sites_name_for_what_was_sent(tmp_path: Path):
    world = World(tmp_path)
    world.settings = Settings.model_validate(
        {
            "storage": {"folder": tmp_path},
            "identity": {"default_authority": "KIS", "authorities": {"1.2.40&ISO": "KIS"}},
        }
    )
    for number, issuer in enumerate(("1.2.40&ISO", None, "ELSEWHERE")):
        study = f"1.2.826.0.1.3680043.8.498.5.{number}"
        world.receive(*stack(5, series=f"9.{number}", StudyInstanceUID=study, IssuerOfPatientID=issuer))
    world.index()
    world.catalogue()
    found = world.rows("SELECT patient_authority FROM derived_series ORDER BY study_instance_uid")
    assert found == [("KIS",), ("KIS",), ("ELSEWHERE",)]
    world.db.close()


def qualified(universal: str, name: str = "") -> dict[str, object]:
    """An issuer as IHE has it told where its name alone is not enough (PS3.3, table 10-18)."""
    qualifiers = Dataset()
    qualifiers.UniversalEntityID, qualifiers.UniversalEntityIDType = universal, "ISO"
    return {"IssuerOfPatientID": name, "IssuerOfPatientIDQualifiersSequence": [qualifiers]}


@pytest.mark.parametrize(("name", "authority"), [("", "1.2.40.0.1"), ("HOSPITAL", "HOSPITAL")])
def test_an_issuer_without_a_name_is_that_of_its_universal_id_as_in_hl7(world: World, name: str, authority: str):
    world.receive(*stack(6, **qualified("1.2.40.0.1", name)))
    world.index()
    world.catalogue()
    assert [row["patient_authority"] for row in world.series().values()] == [authority]


def test_one_number_of_two_universal_ids_is_that_of_two_patients(world: World):
    world.receive(*stack(3, **qualified("1.2.40.0.1")), mr_image(seed=9, **qualified("1.2.40.0.2")))
    world.index()
    world.catalogue()
    assert world.rows("SELECT code FROM problems") == [("contradictory-patient",)]


def test_images_of_two_patients_in_one_study_are_linked_to_nobody(world: World):
    world.receive(*stack(6), *stack(6, series="2", PatientID="999"))
    world.index()
    world.catalogue()
    assert {row["patient_id"] for row in world.series().values()} == {None}
    problems = world.rows("SELECT code FROM problems WHERE step = 'catalogue'")
    assert problems == [("contradictory-patient",)]
    assert world.rows("SELECT * FROM derived_identifier") == []


def test_a_corrected_patient_number_in_the_same_images_takes_effect(world: World):
    images, corrected = stack(6), stack(6, PatientID="999")
    for one, other in zip(images, corrected, strict=True):
        other.SOPInstanceUID = one.SOPInstanceUID
    world.receive(*images)
    world.index()
    world.catalogue()
    assert next(iter(world.series().values()))["patient_id"] == "0012345"
    world.receive(*corrected, at=LATER)
    world.index()
    world.catalogue(now=LATER + timedelta(hours=1))
    (row,) = world.series().values()
    assert (row["patient_id"], row["instances"]) == ("999", 6)
    assert world.rows("SELECT source, code FROM problems") == [("study 1.2.826.0.1.3680043.8.498.1", "replaced")]


def test_a_secondary_capture_without_patient_does_not_unname_the_study(world: World):
    capture = mr_image(
        seed=5, SeriesInstanceUID="1.2.826.0.1.3680043.8.498.1.8", PatientID="", Modality="OT",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.7",
    )  # fmt: skip
    world.receive(*stack(6), capture)
    world.index()
    world.catalogue()
    assert {row["patient_id"] for row in world.series().values()} == {"0012345"}


def test_a_series_uid_in_two_studies_is_set_aside_and_ends(world: World):
    other = "1.2.826.0.1.3680043.8.498.2"
    world.receive(*stack(6), *stack(6, StudyInstanceUID=other, PatientID="999"))
    assert world.index() == 12
    assert world.catalogue() == 2
    assert world.catalogue() == 0
    (row,) = world.series().values()
    assert (row["role"], row["chosen"], row["patient_id"], row["instances"]) == ("other", 0, None, 12)
    found = world.rows("SELECT source, code FROM problems WHERE step = 'catalogue' ORDER BY source")
    assert found == [
        ("study 1.2.826.0.1.3680043.8.498.1", "contradictory-series"),
        (f"study {other}", "contradictory-series"),
    ]
    # After a further image of either study both are judged again, and it all ends again.
    world.receive(mr_image(seed=77, StudyInstanceUID=other, InstanceNumber=50), at=LATER)
    world.index()
    assert [row["stale"] for row in world.series().values()] == [1]
    assert world.catalogue(now=LATER + timedelta(hours=1)) == 2
    assert world.catalogue(now=LATER + timedelta(hours=1)) == 0


def test_the_better_of_two_is_chosen_and_the_other_says_so(world: World):
    world.receive(*stack(6, series="1", SeriesNumber=3), *stack(11, series="2", SeriesNumber=8))
    world.index()
    world.catalogue()
    reasons = {uid[-1]: json.loads(str(row["reasons"]))[0] for uid, row in world.series().items()}
    assert reasons == {
        "1": "not chosen: series 1.2.826.0.1.3680043.8.498.1.2 of the study is better suited",
        "2": "chosen: the best of 2 possible sagittal T1 series of the study",
    }


def test_the_real_series_as_they_are_and_with_an_identity(world: World):
    if not SHARED.is_dir():
        pytest.skip("the folder shared/data with the real series is not beside this one")
    paths = sorted((SHARED / "t1-tse-dicom").rglob("*.dcm"))
    for path in paths:
        dataset = pydicom.dcmread(path)
        if "patient5" in path.parts:
            dataset.PatientID, dataset.StudyDate = "0005", "20260201"
        world.receive(dataset)
    assert world.index() == 75
    assert world.catalogue() == 5
    found = world.rows(
        "SELECT role, chosen, instances, scanner_stratum, patient_id, study_date, sex FROM derived_series "
        "ORDER BY patient_id IS NULL, series_instance_uid"
    )
    stratum = "SIEMENS MAGNETOM_ESSENZA 1.5T"
    assert found[0] == ("t1_sagittal", 1, 15, stratum, "0005", "2026-02-01", "F")
    assert found[1:] == [("t1_sagittal", 1, 15, stratum, None, None, "M")] * 4
    assert [code for (code,) in world.rows("SELECT code FROM problems")] == ["unidentified"] * 4


def test_images_that_came_while_the_clock_was_ahead_are_judged_all_the_same(world: World):
    world.receive(*stack(), at=NOON + timedelta(days=35))
    world.index()
    assert world.catalogue() == 1


def test_images_sent_again_after_the_clock_was_set_right_came_when_they_came_first(world: World):
    """So that deriving again, with both receipts known, arrives at the same."""
    world.receive(*stack(), at=NOON + timedelta(days=1))
    world.index()
    world.catalogue()
    before = world.rows("SELECT last_received_at FROM derived_series")
    world.receive(*stack(), at=NOON)
    with writing(world.db):
        forget(world.db)
    world.index()
    settle_resent(world.db, world.archive, world.settings)
    world.catalogue()
    assert world.rows("SELECT last_received_at FROM derived_series") == before == [(to_text(NOON + timedelta(days=1)),)]
