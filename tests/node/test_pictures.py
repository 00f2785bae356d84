"""The picture and the circles of a stored reading: those that are stored, wherever a person has moved them."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

from analytics.vbq.version import AUTOMATIC_VERSION
from node.dicom.reader import read_slice
from node.errors import ReadingError
from node.measure.pictures import draw, stored_reading, write_picture
from node.people.readings import add_reading, parse_rois
from node.steps.measure import measure_readings
from node.store.database import writing
from tests.node.known_circles import KnownCircles
from tests.node.multi_frame_samples import enhanced
from tests.node.test_measure import LATER
from tests.node.test_measure_automatic import arrive, doubtful, measure
from tests.node.world import CIRCLES, SERIES, World, painted

MARGIN = 40
"""Pixels around the painted ones, so that no label reaches beyond the slice."""
WIDE = {name: [row + MARGIN, col + MARGIN, radius] for name, (row, col, radius) in CIRCLES.items()}
ROWS, COLUMNS = 70 + 2 * MARGIN, 50 + 2 * MARGIN
SCALE = 960 / ROWS
"""The slice fills the height of the picture, and its pixels are square."""


def wide(world: World) -> None:
    """A series that was measured and waits for a person."""
    plane = np.frombuffer(painted()[0].PixelData, np.uint16).reshape(70, 50)
    content = np.pad(plane, MARGIN, constant_values=7).tobytes()
    arrive(world, *painted(Rows=ROWS, Columns=COLUMNS, PixelData=content))
    mean = round(float(np.frombuffer(content, np.uint16).mean()), 1)
    measure(world, KnownCircles(WIDE, doubts={mean: "CSF cannot be told from roots"}))


def moved(world: World, **circles: list[float]) -> None:
    text = json.dumps({"slice": 4, **WIDE, **circles})
    add_reading(world.db, world.archive, series_uid=SERIES, reader="Dr. B", rois_text=text, now=LATER)
    measure_readings(world.db, world.archive)


def shown(world: World, *, automatic: bool = False) -> NDArray[np.float32]:
    png = draw(world.db, world.archive, stored_reading(world.db, SERIES, automatic=automatic))
    pixels: NDArray[np.float32] = imread(BytesIO(png), format="png")[:, :960, :3]
    return pixels


def drawn_at(picture: NDArray[np.float32], row: float, col: float, radius: float) -> bool:
    """Whether a yellow rim passes above and below this centre."""
    yellow = (picture[..., 0] > 0.9) & (picture[..., 1] > 0.7) & (picture[..., 2] < 0.45)
    x = 480 + (col + 0.5 - COLUMNS / 2) * SCALE
    rims = [(row + 0.5 + sign * radius) * SCALE for sign in (-1, 1)]
    return all(yellow[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4].any() for y in rims)


def test_the_picture_shows_the_circles_that_are_in_effect(world: World):
    wide(world)
    before = shown(world)
    assert all(drawn_at(before, *WIDE[name]) for name in ("L1", "L2", "L3", "L4"))
    there = [MARGIN + 9, MARGIN + 25, 4]
    moved(world, L1=there)
    after = shown(world)
    assert drawn_at(after, *there)
    assert drawn_at(after, *WIDE["L4"])
    assert not drawn_at(after, *WIDE["L1"])
    assert drawn_at(shown(world, automatic=True), *WIDE["L1"])


def test_it_says_in_words_what_is_in_effect_and_who_made_it(world: World):
    wide(world)
    automatic = stored_reading(world.db, SERIES).words()
    # ± 1.96 × 0.061, the standard deviation of the measurement.
    assert automatic == [
        f"review, slice 3, by vbq-auto {AUTOMATIC_VERSION}",
        "VBQ 2.500 ± 0.12 (95 %) (mean form), 2.500 (median form)",
        "- CSF cannot be told from roots",
        f"picture {stored_reading(world.db, SERIES).picture}",
    ]
    moved(world)
    assert (
        stored_reading(world.db, SERIES).words()[0] == "measured, slice 4, by vbq-roi 1 under circles placed by Dr. B"
    )
    assert (
        stored_reading(world.db, SERIES, automatic=True)
        .words()[0]
        .endswith(f"by vbq-auto {AUTOMATIC_VERSION}; not in effect")
    )


def test_the_circles_come_as_they_are_taken_back(world: World):
    wide(world)
    text = stored_reading(world.db, SERIES).rois_text()
    assert {name: [c.row, c.col, c.radius_px] for name, c in parse_rois(text).rois.items()} == WIDE
    assert parse_rois(text).instance_number == 3
    assert len(text.splitlines()) == 8, "a line for each circle, to be changed by hand"


def test_a_slice_of_an_enhanced_image_is_found_by_its_frame(world: World):
    arrive(world, enhanced(painted()))
    measure(world)
    reading = stored_reading(world.db, SERIES)
    assert reading.frame_number == 3
    assert parse_rois(reading.rois_text()).frame_number == 3
    assert draw(world.db, world.archive, reading).startswith(b"\x89PNG")


def test_of_two_images_under_one_uid_that_one_is_shown_which_was_measured(world: World):
    images = painted()
    other = painted()[2]
    other.PixelData = (np.frombuffer(other.PixelData, np.uint16) * np.uint16(2) + np.uint16(5)).tobytes()
    assert other.SOPInstanceUID == images[2].SOPInstanceUID
    arrive(world, *images, other)
    measure(world)
    reading = stored_reading(world.db, SERIES)
    assert reading.sop_instance_uid == other.SOPInstanceUID
    seen = draw(world.db, world.archive, reading)
    # Whichever of the two was measured: were the other one shown, its score would not be the stored one.
    world.archive.path(_hash_of(world, reading.vbq_mean or 0.0)).unlink()
    with pytest.raises(ReadingError, match="other pixels"):
        draw(world.db, world.archive, reading)
    assert seen.startswith(b"\x89PNG")


def _hash_of(world: World, vbq: float) -> str:
    """Of the object of slice 3 whose pixels give this score: 2.5 as painted, (2·250 + 5) / (2·100 + 5) otherwise."""
    for (sha256,) in world.rows(
        "SELECT sha256 FROM fact_object JOIN derived_instance USING (object_id) WHERE instance_number = 3"
    ):
        pixels = read_slice(world.archive.path(str(sha256))).signal
        if abs((pixels[10, 12] + pixels[25, 12] + pixels[40, 12] + pixels[55, 12]) / 4 / pixels[41, 32] - vbq) < 1e-6:
            return str(sha256)
    raise AssertionError("no image has this score")


def test_what_no_longer_gives_the_stored_score_is_not_drawn(world: World):
    doubtful(world)
    with writing(world.db):
        world.db.execute("UPDATE derived_measurement SET vbq_mean = vbq_mean + 0.001")
    with pytest.raises(ReadingError, match="other pixels than when it was measured"):
        shown(world)


def test_a_slice_that_is_lost_and_a_series_without_a_reading_say_so(world: World):
    with pytest.raises(ReadingError, match=r"series 1\.2\.3 has no reading \(yet\)"):
        stored_reading(world.db, "1.2.3")
    doubtful(world)
    for (sha256,) in world.rows("SELECT sha256 FROM fact_object"):
        world.archive.path(str(sha256)).unlink()
    with pytest.raises(ReadingError, match="its slice is missing"):
        shown(world)


def test_a_rejected_one_without_a_slice_says_why_there_is_no_picture(world: World):
    arrive(world, *painted())
    mean = round(float(np.frombuffer(painted()[0].PixelData, np.uint16).mean()), 1)
    measure(world, KnownCircles(CIRCLES, rejects={mean: "motion"}))
    reading = stored_reading(world.db, SERIES)
    assert reading.words() == [f"rejected, no slice, by vbq-auto {AUTOMATIC_VERSION}", "- motion"]
    with pytest.raises(ReadingError, match=r"no slice was chosen \(motion\)"):
        draw(world.db, world.archive, reading)
    with pytest.raises(ReadingError, match="has no circles"):
        reading.rois_text()


def test_a_picture_is_written_whole_in_place_of_an_earlier_one(tmp_path: Path):
    for content in (b"first", b"second"):
        write_picture(tmp_path / "look.png", content)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("look.png", b"second")]
