"""A reading is of the pixels it was placed on: where the image in effect shows others, its circles give no score."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from analytics.reasons import Reason
from node.clock import now
from node.operate.rebuild import rebuild
from node.people.readings import AddedReading, add_reading
from node.people.readings import withdraw as withdraw_reading
from node.people.studies import use_newest, withdraw
from node.people.two_readers import Step, standings
from node.settings import Readers
from node.steps.measure import measure_readings
from node.steps.worker import run_pending
from node.store.archive import Archive
from node.store.database import open_database, writing
from node.store.public_id import public_id_of
from node.web.worklist import Asker, items
from tests.node.dicom_samples import NOON, receive
from tests.node.reason_words import with_words
from tests.node.web_world import Browser, MakeNode, serving
from tests.node.world import CIRCLES, SERIES, World, painted

STUDY = SERIES.removesuffix(".1")
FILES = """
SELECT o.sha256 FROM derived_instance AS i JOIN fact_object AS o USING (object_id) WHERE i.series_instance_uid = ?
"""
CONFIRMED = ["score-not-plausible"]
HOUR = timedelta(hours=1)
FIRST, SECOND = 2.5, 5.0
"""VBQ of the images as they came first, and with the fluid half as bright."""
OTHER = "slice 3: the circles were placed on other pixels than the image in effect has; they are not scored on these"
UNKNOWN = "slice 3: it came with other pixels too, and on which of them the circles were placed cannot be told"


def darker(images: list[Dataset]) -> list[Dataset]:
    """The same images under their UIDs, with the fluid half as bright."""
    found = painted()
    for one, before in zip(found, images, strict=True):
        pixels = np.frombuffer(one.PixelData, "<u2").copy()
        pixels[pixels == 100] = 50
        one.PixelData = pixels.tobytes()
        one.SOPInstanceUID = before.SOPInstanceUID
    return found


def settle(world: World, *, now: datetime) -> None:
    """All that the steps have to do, an hour after what came last."""
    while run_pending(world.db, world.archive, world.settings, at=now + HOUR):
        pass


def read(world: World, *, at: datetime, reader: str = "A", rule: Readers | None = None) -> AddedReading:
    return add_reading(
        world.db, world.archive, series_uid=SERIES, reader=reader, rois_text=json.dumps({"slice": 3, **CIRCLES}),
        now=at, rule=rule or Readers(), hidden=rule is not None, confirmed=["score-not-plausible", "slice-off-midline"],
    )  # fmt: skip


def without_pixels(world: World) -> None:
    """As readings were stored before their pixels were kept."""
    world.db.execute("DROP TRIGGER fact_reading_pixels_no_delete")
    world.db.execute("DELETE FROM fact_reading_pixels")


def readings(world: World) -> list[tuple[object, ...]]:
    rows = map(with_words, world.db["derived_measurement"].rows)
    rows = sorted((row for row in rows if row["reading_id"]), key=lambda row: int(str(row["reading_id"])))
    return [(row["status"], row["vbq_mean"], json.loads(str(row["reasons"]))) for row in rows]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A series that somebody has read, and that came again with other pixels."""
    one = World(tmp_path / "data")
    images = painted()
    one.receive(*images, at=NOON)
    settle(one, now=NOON)
    read(one, at=NOON + 2 * HOUR)
    settle(one, now=NOON + 2 * HOUR)
    assert readings(one) == [("measured", FIRST, [])]
    one.receive(*darker(images), at=NOON + 4 * HOUR)
    settle(one, now=NOON + 4 * HOUR)
    yield one
    one.db.close()


def replace(world: World, *, at: datetime = NOON + 6 * HOUR) -> None:
    use_newest(world.db, STUDY, by="Dr. B", at=at)
    settle(world, now=at)


def test_circles_are_not_scored_on_pixels_that_nobody_saw_under_them(world: World):
    replace(world)
    assert readings(world) == [("review", None, [OTHER])]
    shown = "SELECT status, reasons, reason_codes, vbq_mean, vbq_sd, in_effect FROM readings"
    found = [("review", json.dumps([OTHER]), '["read-on-other-pixels"]', None, None, 1)]
    assert world.rows(shown) == found
    assert world.rows("SELECT step, source, code FROM problems") == [("measure", f"series {SERIES}", "review")]
    (item,) = items(world.db, now=NOON + 8 * HOUR, asker=Asker(name="A", rule=Readers()))
    assert (item.kind, [one.code for one in item.reasons]) == ("series", ["read-on-other-pixels"])
    rebuild(world.db, world.archive, world.settings)
    assert world.rows(shown) == found


def test_the_same_circles_stored_again_confirm_them_on_what_is_in_effect(world: World):
    replace(world)
    again = read(world, at=NOON + 8 * HOUR)
    assert again.new
    settle(world, now=NOON + 8 * HOUR)
    assert readings(world) == [("review", None, [OTHER]), ("measured", SECOND, [])]
    assert not read(world, at=NOON + 9 * HOUR).new
    assert world.rows("SELECT count(*) FROM problems WHERE code = 'review'") == [(0,)]


def test_what_was_read_counts_again_when_its_image_is_in_effect_again(world: World):
    replace(world)
    assert withdraw(world.db, STUDY, by="Dr. B", at=NOON + 8 * HOUR) == 1
    settle(world, now=NOON + 8 * HOUR)
    ((status, vbq, (ambiguous,)),) = readings(world)
    assert (status, vbq) == ("rejected", None)
    assert str(ambiguous).startswith("slice 3: 2 different images")
    world.receive(*painted(), at=NOON + 10 * HOUR)
    replace(world, at=NOON + 12 * HOUR)
    assert readings(world) == [("measured", FIRST, [])]


def test_images_whose_numbers_were_changed_are_other_slices(world: World):
    """The circles of slice 3 lie on the image that bears number 4 since."""
    one = World(world.folder.parent / "renumbered")
    images = painted()
    images[3].PixelData = darker(images)[3].PixelData
    one.receive(*images, at=NOON)
    settle(one, now=NOON)
    read(one, at=NOON + 2 * HOUR)
    images[2].InstanceNumber, images[3].InstanceNumber = 4, 3
    one.receive(*images, at=NOON + 4 * HOUR)
    settle(one, now=NOON + 4 * HOUR)
    assert readings(one) == [("review", None, [OTHER])]
    one.db.close()


def test_an_older_reading_is_of_the_image_that_was_in_effect_when_it_was_stored(world: World):
    without_pixels(world)
    replace(world)
    assert readings(world) == [("review", None, [OTHER])]
    assert read(world, at=NOON + 8 * HOUR).new


def test_an_older_reading_of_what_a_person_had_let_stand_is_of_that(world: World):
    replace(world)
    read(world, at=NOON + 8 * HOUR)
    without_pixels(world)
    rebuild(world.db, world.archive, world.settings)
    assert readings(world) == [("review", None, [OTHER]), ("measured", SECOND, [])]


def test_an_older_reading_whose_image_cannot_be_told_is_scored_and_says_so(world: World):
    replace(world)
    without_pixels(world)
    for (sha256,) in world.rows("SELECT sha256 FROM fact_object JOIN derived_superseded USING (object_id)"):
        world.archive.path(str(sha256)).unlink()
    with writing(world.db):
        world.db.execute("DELETE FROM derived_measurement")
    measure_readings(world.db, world.archive)
    assert readings(world) == [("measured", SECOND, [UNKNOWN])]


def test_older_readings_of_images_that_came_once_say_nothing(world: World):
    one = World(world.folder.parent / "once")
    one.receive(*painted(), at=NOON)
    settle(one, now=NOON)
    # By a clock that was behind: nothing had come by then.
    read(one, at=NOON - HOUR)
    without_pixels(one)
    settle(one, now=NOON)
    assert readings(one) == [("measured", FIRST, [])]
    one.db.close()


def test_readings_of_other_pixels_are_nobodys_first_or_second(world: World):
    rule = Readers(number=2)
    replace(world)
    assert standings(world.db, rule) == {}
    read(world, at=NOON + 8 * HOUR, reader="B", rule=rule)
    assert world.rows("SELECT step FROM readings ORDER BY reading_id") == [("first",), ("first",)]
    assert standings(world.db, rule)[SERIES].next is Step.SECOND


def test_a_second_reader_lifts_a_doubt_on_the_same_pixels_alone(world: World, monkeypatch: pytest.MonkeyPatch):
    off_midline = Reason("slice-off-midline", {"slices": 3})
    monkeypatch.setattr("node.people.readings.check_circles", lambda *_, **__: [off_midline])

    def doubtful(reader: str, at: datetime) -> None:
        read(world, at=at, reader=reader)
        settle(world, now=at)

    withdraw_reading(world.db, reading_id=1, reader="A", why="another circle", now=NOON + 5 * HOUR)
    use_newest(world.db, STUDY, by="Dr. B", at=NOON + 6 * HOUR)
    settle(world, now=NOON + 6 * HOUR)
    doubtful("A", NOON + 7 * HOUR)
    world.receive(*painted(), at=NOON + 8 * HOUR)
    replace(world, at=NOON + 9 * HOUR)
    doubtful("B", NOON + 10 * HOUR)
    assert [status for status, *_ in readings(world)] == ["review", "review"]
    doubtful("C", NOON + 11 * HOUR)
    assert [(status, vbq) for status, vbq, _ in readings(world)][1:] == [("measured", FIRST)] * 2


def test_the_pages_show_why_and_take_the_circles_again(tmp_path: Path, make_node: MakeNode):
    settings = make_node(tmp_path / "data")
    archive = Archive(settings.storage.folder)

    def derive() -> None:
        while run_pending(db, archive, settings, at=now() + HOUR):
            pass

    with closing(open_database(settings.storage.folder)) as db, serving(settings):
        uid, study, number, rois = db.execute(
            "SELECT series_instance_uid, study_instance_uid, instance_number, rois FROM measurements "
            "WHERE source = 'auto' AND status = 'measured'"
        ).fetchone()
        circles = {name: [one["row"], one["col"], one["radius_px"]] for name, one in json.loads(rois).items()}
        reader = Browser(settings.web.port)
        reader.log_in("reader")
        page = f"/series/{public_id_of(uid)}"

        def store() -> dict[str, object]:
            content = {"slice": number, **circles, "confirm": CONFIRMED}
            answer = reader.send(f"{page}/reading", json.dumps(content).encode(), x_form_token=reader.token(page))
            assert answer.status == 200, answer.text
            derive()
            return dict(json.loads(answer.body))

        before = store()
        images = [dcmread(archive.path(sha)) for (sha,) in db.execute(FILES, [uid])]
        for one in images:
            one.PixelData = (one.pixel_array // 2 + 3 * one.pixel_array % 7).astype("<u2").tobytes()
        receive(settings.storage.folder, *images, at=now())
        derive()
        use_newest(db, study, by="engineer", at=now())
        derive()
        said = "the circles were placed on other pixels than the image in effect has"
        assert said in reader.get(page).text
        assert said in reader.get("/").text
        after = store()
        assert (after["new"], after["reading_id"]) == (True, int(str(before["reading_id"])) + 1)
        assert said not in reader.get(page).text
