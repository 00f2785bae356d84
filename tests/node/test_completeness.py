"""Complete, incomplete or unverified: by the count of a PACS, by the gaps between slices, and after rebuild."""

import json
from collections.abc import Mapping
from datetime import timedelta

import pytest

from analytics.reasons import Reason, words
from node.clock import to_text
from node.operate.rebuild import rebuild
from node.settings import Readers
from node.steps.completeness import (
    INCOMPLETE,
    Answer,
    Completeness,
    doubt_incomplete,
    judge_completeness,
    take_answers,
)
from node.store.database import insert, writing
from node.store.reasons import stored
from tests.node.dicom_samples import NOON, stack
from tests.node.test_index import AXIAL, LATER
from tests.node.world import World

STUDY = "1.2.826.0.1.3680043.8.498.1"
BEFORE, RECEIVED, AFTER = (to_text(NOON + timedelta(minutes=minutes)) for minutes in (-1, 0, 1))


def judged(*answers: Answer, instances: int = 11, missing_slices: int = 0) -> Completeness:
    return judge_completeness(
        instances=instances, missing_slices=missing_slices, last_received_at=RECEIVED, answers=answers
    )


def counted(instances: int | None, *, at: str = AFTER, peer: str = "pacs") -> Answer:
    return Answer(peer=peer, asked_at=at, instances=instances)


@pytest.mark.parametrize(
    ("answers", "missing_slices", "state", "expected"),
    [
        ((), 0, "unverified", None),
        ((counted(None),), 0, "unverified", None),
        ((counted(11),), 0, "complete", 11),
        # More than the PACS has: it was deleted there, or came from elsewhere; nothing is missing here.
        ((counted(9),), 0, "complete", 9),
        ((counted(12),), 0, "incomplete", 12),
        ((counted(11),), 1, "incomplete", 11),
        ((), 1, "incomplete", None),
        # Asked before the last image came: it may have had fewer then. But what it had then, it has.
        ((counted(11, at=BEFORE),), 0, "unverified", 11),
        ((counted(12, at=BEFORE),), 0, "incomplete", 12),
        # Of two archives the one that has more.
        ((counted(11), counted(12, peer="old")), 0, "incomplete", 12),
        ((counted(11), counted(None, peer="old")), 0, "complete", 11),
        ((counted(11), counted(11, at=BEFORE, peer="old")), 0, "complete", 11),
    ],
)
def test_the_verdict(answers: tuple[Answer, ...], missing_slices: int, state: str, expected: int | None) -> None:
    found = judged(*answers, missing_slices=missing_slices)
    assert (found.state, found.expected) == (state, expected)
    assert found.reasons


def answer(
    world: World, series: Mapping[str, int | dict[str, object]], *, peer: str = "pacs", minutes: float = 3
) -> None:
    with writing(world.db):
        row = {
            "peer": peer,
            "study_instance_uid": STUDY,
            "asked_at": to_text(NOON + timedelta(minutes=minutes)),
            "series": json.dumps(
                {
                    uid: {"images": said, "modality": "MR", "description": None, "body_part": None}
                    if isinstance(said, int)
                    else said
                    for uid, said in series.items()
                }
            ),
        }
        insert(world.db, "fact_study_query", [row])


def shown(world: World) -> list[tuple[object, ...]]:
    return world.rows("SELECT completeness, instances, expected_instances FROM series ORDER BY series_instance_uid")


def test_an_answer_that_is_a_count_alone_as_it_once_was_stored_is_read(world: World) -> None:
    world.receive(*stack(9))
    world.index()
    world.catalogue()
    row = {
        "peer": "pacs",
        "study_instance_uid": STUDY,
        "asked_at": to_text(NOON + timedelta(minutes=3)),
        "series": json.dumps({f"{STUDY}.1": 11, f"{STUDY}.3": 30, f"{STUDY}.4": 0}),
    }
    with writing(world.db):
        insert(world.db, "fact_study_query", [row])
    assert take_answers(world.db) == 1
    assert shown(world) == [("incomplete", 9, 11), ("incomplete", 0, 30)]


def test_an_answer_of_the_pacs_takes_effect_and_rebuild_arrives_at_the_same(world: World) -> None:
    world.receive(*stack(9), *stack(5, series="2", ImageOrientationPatient=AXIAL))
    world.index()
    assert shown(world) == [(None, 9, None), (None, 5, None)]
    world.catalogue()
    assert shown(world) == [("unverified", 9, None), ("unverified", 5, None)]
    answer(world, {f"{STUDY}.1": 11, f"{STUDY}.2": 5, f"{STUDY}.3": 30})
    assert take_answers(world.db) == 1
    assert take_answers(world.db) == 0
    assert shown(world) == [("incomplete", 9, 11), ("complete", 5, 5), ("incomplete", 0, 30)]
    (problem,) = world.rows("SELECT source, code, detail FROM problems")
    assert problem[:2] == (f"series {STUDY}.1", "incomplete")
    assert str(problem[2]).startswith("2 of 11 images are missing by the count of pacs; ")
    assert f"vbq-node fetch --peer PACS --study {STUDY}" in str(problem[2])
    # The two that were missing, and the next answer.
    world.receive(*stack(11)[9:], at=LATER)
    world.index()
    assert shown(world)[0] == ("incomplete", 9, 11)
    assert world.rows("SELECT * FROM problems") == [], "what is still arriving is not a problem"
    world.catalogue(now=LATER + timedelta(seconds=120))
    answer(world, {f"{STUDY}.1": 11, f"{STUDY}.2": 5}, minutes=5)
    take_answers(world.db)
    assert shown(world) == [("complete", 11, 11), ("complete", 5, 5)]
    before = world.series()
    rebuild(world.db, world.archive, world.settings)
    assert world.series() == before
    assert take_answers(world.db) == 0


def test_an_answer_that_came_first_counts_when_the_study_is_judged(world: World) -> None:
    world.receive(*stack(11))
    answer(world, {f"{STUDY}.1": 12}, minutes=-60)
    answer(world, {}, peer="elsewhere")
    assert take_answers(world.db) == 2
    world.index()
    world.catalogue()
    assert shown(world) == [("incomplete", 11, 12)]


def test_a_gap_is_a_gap_whatever_the_pacs_counts(world: World) -> None:
    images = stack(11)
    del images[4]
    world.receive(*images)
    world.index()
    world.catalogue()
    answer(world, {f"{STUDY}.1": 10})
    take_answers(world.db)
    assert shown(world) == [("incomplete", 10, 10)]
    (row,) = world.series().values()
    assert json.loads(str(row["completeness_reasons"])) == [
        "the gaps between the slices have room for 1 more",
        "pacs counts 10 images, 10 are here",
    ]


def test_the_blocks_of_an_axial_series_are_no_gaps(world: World) -> None:
    images = [
        *stack(3, ImageOrientationPatient=AXIAL, ImagePositionPatient=[0, 0, 0]),
        *stack(9, ImageOrientationPatient=AXIAL)[3:],
    ]
    for number, image in enumerate(images):
        image.ImagePositionPatient = [0, 0, 4.0 * number + (40 if number > 4 else 0)]
    world.receive(*images)
    world.index()
    world.catalogue()
    assert shown(world) == [("unverified", 9, None)]


def test_an_automatic_measurement_waits_while_images_are_missing(world: World) -> None:
    world.receive(*stack(9))
    world.index()
    world.catalogue()
    series, warning = f"{STUDY}.1", Reason("echo time 25 ms is outside 8–20 ms")
    with writing(world.db):
        row = {
            "series_instance_uid": series, "source": "auto", "instances_sha256": "0", "status": "measured",
            "reasons": stored([warning]), "vbq_mean": 3.1, "rois": "{}",
            "algorithm_name": "any", "algorithm_version": "1",
        }  # fmt: skip
        insert(world.db, "derived_measurement", [row])
    state = "SELECT state, (SELECT reasons FROM measurements) FROM series"
    assert doubt_incomplete(world.db, Readers()) == 0, "unverified is no doubt"
    world.db["derived_person"].insert({"person": "HOSPITAL|0012345", "pseudonym": "P1"})
    answer(world, {series: 11})
    take_answers(world.db)
    assert (doubt_incomplete(world.db, Readers()), doubt_incomplete(world.db, Readers())) == (1, 0)
    assert world.rows(state) == [("review", json.dumps(words([warning, INCOMPLETE]), ensure_ascii=False))]
    assert world.rows("SELECT * FROM derived_person") == [], "the person is linked anew"
    answer(world, {series: 9}, minutes=60)
    take_answers(world.db)
    assert (doubt_incomplete(world.db, Readers()), doubt_incomplete(world.db, Readers())) == (1, 0)
    assert world.rows(state) == [("measured", json.dumps(words([warning]), ensure_ascii=False))]


def of(
    images: int, description: str | None, *, modality: str = "MR", body_part: str | None = None
) -> dict[str, object]:
    return {"images": images, "modality": modality, "description": description, "body_part": body_part}


def unsent(world: World) -> list[tuple[object, ...]]:
    return world.rows("SELECT series_instance_uid, expected_instances FROM series WHERE state = 'not sent' ORDER BY 1")


def not_sent(world: World) -> list[str]:
    return [str(detail) for (detail,) in world.rows("SELECT detail FROM problems WHERE code = 'not-sent'")]


def test_series_that_never_came_are_shown_and_a_problem_where_nothing_else_can_be_measured(world: World) -> None:
    world.receive(*stack(5, series="2", ImageOrientationPatient=AXIAL))
    world.index()
    world.catalogue()
    missing = {
        f"{STUDY}.1": of(15, "t1_tse_sag"),
        f"{STUDY}.2": of(5, "t1_tse_tra"),
        f"{STUDY}.4": of(1, "Report", modality="SR"),
        f"{STUDY}.5": of(0, "empty"),
        f"{STUDY}.6": of(20, None),
    }
    answer(world, missing)
    answer(world, {f"{STUDY}.1": of(14, "t1_tse_sag")}, peer="old")
    take_answers(world.db)
    assert unsent(world) == [(f"{STUDY}.1", 15), (f"{STUDY}.4", 1), (f"{STUDY}.6", 20)]
    assert world.rows("SELECT completeness_reasons FROM series WHERE expected_instances = 15") == [
        ('["old counts 14 images, none has come","pacs counts 15 images, none has come"]',)
    ]
    of_old, of_pacs = sorted(not_sent(world))
    assert of_old.startswith("old has MR series of it that never came: t1_tse_sag (14 images); have it send them")
    assert "t1_tse_sag (15 images), one without a name (20 images)" in of_pacs
    assert f"`vbq-node fetch --peer pacs --study {STUDY}`" in of_pacs
    before = world.rows("SELECT * FROM series ORDER BY 1"), not_sent(world)
    rebuild(world.db, world.archive, world.settings)
    assert (world.rows("SELECT * FROM series ORDER BY 1"), not_sent(world)) == before

    # It comes at last; what is still arriving is no problem, and what was sent is no longer missing.
    world.receive(*stack(15), at=LATER)
    world.index()
    assert unsent(world) == [(f"{STUDY}.4", 1), (f"{STUDY}.6", 20)]
    assert not_sent(world) == []
    world.catalogue(now=LATER + timedelta(seconds=120))
    assert not_sent(world) == [], "there is one to measure, and the other does not call itself a sagittal T1"
    answer(world, {f"{STUDY}.7": of(11, "SAG T1 FSE"), f"{STUDY}.8": of(11, "SAG T2 FSE")}, minutes=9)
    take_answers(world.db)
    (detail,) = not_sent(world)
    assert "never came: SAG T1 FSE (11 images);" in detail


def test_what_was_not_sent_of_another_part_of_the_body_is_no_problem(world: World) -> None:
    world.receive(*stack(5, SeriesDescription="localizer", ImageOrientationPatient=AXIAL))
    world.index()
    world.catalogue()
    answer(world, {f"{STUDY}.9": of(30, "t1_tse_sag", body_part="KNEE")})
    take_answers(world.db)
    assert unsent(world) == [(f"{STUDY}.9", 30)]
    assert not_sent(world) == []
