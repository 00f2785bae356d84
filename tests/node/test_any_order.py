"""Images, corrections, rejection notes and decisions in any order: derived as they come, as rebuild derives them."""

import random
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from pydicom.dataset import Dataset

from node.errors import InputError
from node.people.studies import use_newest, withdraw
from node.settings import Settings
from node.steps.completeness import take_answers
from node.store import derivation
from node.store.database import writing
from tests.node.dicom_samples import NOON, mr_image, settings_for, stack
from tests.node.test_completeness import answer
from tests.node.test_corrections import OTHER, STUDY, again, send
from tests.node.test_rejections import note
from tests.node.world import World

SEEDS = (3, 7, 12, 23, 31)
"""Each is another order."""
PAUSES_S = (5, 40, 130, 3600)
"""Within a burst of sending, and after the study had been quiet."""
HOUR = timedelta(hours=1)
SENDERS = (("PACS", "10.0.0.1"), ("PACS", "10.0.0.1"), ("MR1", "10.0.0.9"))
COMPARED = {
    "derived_instance": (
        "object_id, sop_instance_uid, series_instance_uid, study_instance_uid, content_of, known_since, rejected"
    ),
    "derived_superseded": "object_id, replaced_by, changed, told",
    "derived_undecided": "*",
    "derived_claim": "*",
    "derived_rejection": "*",
    "derived_problem": "step, unit_kind, unit_key, code, reasons",
    "derived_series": "*",
    "derived_unsent_series": "*",
}


def versions() -> Mapping[str, list[Dataset]]:
    """One series as it is corrected, moved, copied and changed under its UIDs, and a series of another patient."""
    base = stack(4)
    other_pixels = again(base)
    for one in other_pixels:
        one.PixelData = bytes(reversed(one.PixelData))
    return {
        "as it was": base,
        "number": again(base, PatientID="999"),
        "study": again(base, StudyInstanceUID=OTHER),
        "all": again(base, StudyInstanceUID=OTHER, PatientID="777", SeriesInstanceUID=f"{OTHER}.9"),
        "series": again(base, SeriesInstanceUID=f"{STUDY}.5"),
        "accession": again(base, AccessionNumber="A2"),
        "another": [
            mr_image(
                seed=70 + place, StudyInstanceUID=OTHER, SeriesInstanceUID=f"{OTHER}.1", PatientID="777",
                InstanceNumber=place + 1, ImagePositionPatient=[4 * place, -10, 10],
            )
            for place in range(3)
        ],
        "pixels": other_pixels,
    }  # fmt: skip


class Sequence:
    """What happens, by a seed."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.random, self.seed = world, random.Random(seed), seed
        self.versions, self.notes, self.at = versions(), list[Dataset](), NOON

    def go(self) -> datetime:
        """All of it; returns when everything has been quiet for long."""
        for _ in range(self.random.randint(4, 10)):
            self.at += timedelta(seconds=self.random.choice(PAUSES_S))
            self._step()
            if self.random.random() < 0.6:
                settle(self.world, at=self.at + timedelta(seconds=self.random.choice((1, 200))))
        return self.at + timedelta(days=2)

    def _step(self) -> None:
        kind = self.random.random()
        if kind < 0.55:
            images = self.random.choice(list(self.versions.values()))
            number = self.random.choice((len(images), len(images), 2))
            self._send(self.random.choice((images[:number], images[-number:])))
        elif kind < 0.8:
            self._send([self._note()])
        elif kind < 0.9 and self.notes:
            self._send([self.random.choice(self.notes)])
        else:
            self._decide()

    def _send(self, objects: list[Dataset]) -> None:
        calling, address = self.random.choice(SENDERS)
        send(self.world, objects, at=self.at, calling=calling, address=address)

    def _note(self) -> Dataset:
        images = self.versions[self.random.choice(("as it was", "another"))]
        code, scheme = self.random.choice(
            [("113037", "DCM"), ("113038", "DCM"), ("113001", "DCM"), ("REVOKE_REJECTION", "99DCM4CHEE")]
        )
        found = note(images[: self.random.choice((len(images), 2))], code, scheme=scheme)
        found.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.3.{self.seed}.{len(self.notes) + 1}"
        found.SeriesInstanceUID = f"1.2.826.0.1.3680043.8.498.4.{self.seed}.{len(self.notes) + 1}"
        self.notes.append(found)
        return found

    def _decide(self) -> None:
        settle(self.world, at=self.at)
        decide = self.random.choice((use_newest, use_newest, withdraw))
        try:
            decide(self.world.db, self.random.choice((STUDY, OTHER)), by="Dr. A", at=self.at)
        except InputError:
            # There is nothing to decide, or to take back.
            return


def settle(world: World, *, at: datetime) -> None:
    while world.index() + world.catalogue(now=at) + take_answers(world.db):
        pass


def derived(world: World) -> dict[str, list[str]]:
    return {
        name: sorted(map(repr, world.rows(f"SELECT {columns} FROM {name}"))) for name, columns in COMPARED.items()
    } | {"problems": sorted(map(repr, world.rows("SELECT step, source, code, detail FROM problems")))}


def corrects(world: World, what: str) -> Settings:
    peer = {"ae_titles": ["PACS"], "addresses": ["10.0.0.1"], "corrects": what}
    return settings_for(world.folder, quiet_s=120, peers={"pacs": peer})


@pytest.mark.parametrize("seed", SEEDS)
def test_deriving_again_arrives_at_the_same_after_any_order(world: World, seed: int) -> None:
    if seed % 3 == 0:
        world.settings = corrects(world, "any")
    assert_rebuilt_alike(world, at=Sequence(world, seed).go())


def assert_rebuilt_alike(world: World, *, at: datetime) -> None:
    settle(world, at=at)
    as_it_came = derived(world)
    with writing(world.db):
        derivation.forget(world.db)
    settle(world, at=at)
    assert derived(world) == as_it_came


def test_a_version_that_held_and_stands_beside_another_is_no_longer_measured_as_the_first(world: World) -> None:
    images = stack(4)
    corrected = again(images, PatientID="999")
    send(world, images, at=NOON)
    settle(world, at=NOON + HOUR)
    send(world, corrected, at=NOON + HOUR)
    settle(world, at=NOON + 2 * HOUR)
    send(world, again(images, SeriesInstanceUID=f"{STUDY}.5"), at=NOON + 2 * HOUR)
    # Who may not correct it brings the one before.
    send(world, corrected, at=NOON + 3 * HOUR, calling="MR1", address="10.0.0.9")
    assert_rebuilt_alike(world, at=NOON + 4 * HOUR)


def test_an_image_in_two_studies_is_restored_in_both(world: World) -> None:
    images = stack(4)
    send(world, images, at=NOON)
    copied = again(images, StudyInstanceUID=OTHER, SeriesInstanceUID=f"{OTHER}.9")
    send(world, copied, at=NOON + HOUR, calling="MR1", address="10.0.0.9")
    send(world, [note(images, "113037")], at=NOON + 2 * HOUR)
    settle(world, at=NOON + 3 * HOUR)
    assert world.rows("SELECT DISTINCT rejected FROM derived_instance WHERE modality = 'MR'") == [("113037",)]
    send(world, images, at=NOON + 4 * HOUR)
    assert_rebuilt_alike(world, at=NOON + 5 * HOUR)
    assert world.rows("SELECT DISTINCT rejected FROM derived_instance WHERE modality = 'MR'") == [(None,)]


def test_a_study_is_judged_though_one_of_its_series_names_another_that_was_judged_first(world: World) -> None:
    """The row of that series is of the study with the smaller UID; it is none of the other series of it."""
    own, shared = stack(3, series="5"), stack(2)
    send(world, shared, at=NOON)
    send(world, own, at=NOON + timedelta(minutes=9))
    moved = mr_image(seed=7, StudyInstanceUID=OTHER, InstanceNumber=9, ImagePositionPatient=[40, -10, 10])
    send(world, [moved], at=NOON)
    # The other is quiet, this study is not.
    settle(world, at=NOON + timedelta(minutes=10))
    settle(world, at=NOON + HOUR)
    assert {uid: row["stale"] for uid, row in world.series().items()} == {f"{STUDY}.1": 0, f"{STUDY}.5": 0}
    found = world.rows("SELECT source FROM problems WHERE code = 'contradictory-series' ORDER BY 1")
    assert found == [(f"study {STUDY}",), (f"study {OTHER}",)]


def test_a_version_that_waited_is_news_when_it_comes_from_who_may_correct(world: World) -> None:
    images = stack(4)
    corrected = again(images, PatientID="999")
    send(world, images, at=NOON)
    send(world, corrected, at=NOON + HOUR, calling="MR1", address="10.0.0.9")
    settle(world, at=NOON + 2 * HOUR)
    assert {row["patient_id"] for row in world.series().values()} == {None}
    send(world, corrected, at=NOON + 3 * HOUR)
    settle(world, at=NOON + 4 * HOUR)
    assert {row["patient_id"] for row in world.series().values()} == {"999"}


def test_what_a_pacs_said_of_a_study_that_has_moved_is_no_problem(world: World) -> None:
    images = stack(4)
    send(world, images, at=NOON)
    answer(world, {f"{STUDY}.1": 4, f"{STUDY}.2": 7}, minutes=5)
    settle(world, at=NOON + HOUR)
    send(world, again(images, StudyInstanceUID=OTHER), at=NOON + HOUR)
    assert_rebuilt_alike(world, at=NOON + 2 * HOUR)
    assert world.rows("SELECT * FROM derived_unsent_series") == []


def test_a_later_count_is_known_of_a_series_that_is_taken_back(world: World) -> None:
    images = stack(4)
    send(world, [*images, note(images, "113037")], at=NOON)
    settle(world, at=NOON + HOUR)
    answer(world, {f"{STUDY}.1": 0}, minutes=70)
    assert_rebuilt_alike(world, at=NOON + 2 * HOUR)
    assert world.series()[f"{STUDY}.1"]["fewer"] == "[]"


def test_images_that_move_to_another_series_of_their_study_are_measured_again(world: World) -> None:
    images = stack(12)
    send(world, images, at=NOON)
    settle(world, at=NOON + HOUR)
    before = world.series()[f"{STUDY}.1"]["inputs_sha256"]
    send(world, again(images, SeriesInstanceUID=f"{STUDY}.5")[6:], at=NOON + HOUR)
    assert_rebuilt_alike(world, at=NOON + 2 * HOUR)
    assert {uid: row["instances"] for uid, row in world.series().items()} == {f"{STUDY}.1": 6, f"{STUDY}.5": 6}
    assert before not in {row["inputs_sha256"] for row in world.series().values()}
