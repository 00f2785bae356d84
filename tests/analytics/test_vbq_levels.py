"""Which body is which, on drawn spines: the count from the sacrum, and every doubt about it."""

from dataclasses import replace

import numpy as np
import pytest

from analytics.reasons import Reason, words
from analytics.records import LEVELS
from analytics.vbq.bodies import heights_mm
from analytics.vbq.fractures import fractured
from analytics.vbq.levels import LEVEL_INDEX, SURE, name_levels
from analytics.vbq.spine import BODY, DISC, S1, find_spine, steps_mm
from tests.analytics.drawn_spine import BACKWARDS_DEG, MM, Drawn, rectangle, sure

ORDINARY = Drawn()


def named(drawn: Drawn):
    return name_levels(drawn.spine(), drawn.planes())


def test_five_lumbar_bodies_over_a_sacrum_are_named_without_a_doubt():
    spine, levels = ORDINARY.spine(), named(ORDINARY)
    assert (levels.confidence, levels.doubts, levels.refusals) == (1.0, (), ())
    for name in (*LEVELS, "L5"):
        assert spine.bodies[levels.index[name]].centre == pytest.approx(ORDINARY.centres()[name], abs=0.7)
    assert spine.s1.centre == pytest.approx(ORDINARY.centres()["S1"], abs=0.7)
    assert len(spine.bodies) == 6
    assert all(spine.discs[index] is not None for index in range(6))


def test_heights_and_steps_are_those_that_were_drawn():
    spine = ORDINARY.spine()
    assert steps_mm(spine) == pytest.approx([36.0] * 5, abs=0.5)
    # Between the 3rd and the 97th percentile of 26 mm lie 24.4; L5, L1 and T12 are tilted against their drawn axis.
    assert heights_mm(spine) == pytest.approx([24.4] * 6, abs=0.8)


def test_a_region_apart_from_the_chain_is_set_aside():
    labels = ORDINARY.labels()
    rectangle(labels, np.array([60.0, 20.0]), 0.0, 26.0, 30.0, BODY)
    spine = find_spine(sure(labels), MM)
    assert [body.centre for body in spine.bodies] == [body.centre for body in ORDINARY.spine().bodies]
    assert words(spine.set_aside) == ["1 regions that look like bodies lie apart from the chain"]


@pytest.mark.parametrize(
    ("drawn", "reason"),
    [
        (Drawn(without=frozenset({"S1", "remnant"})), "first sacral body is not seen"),
        (Drawn(without=frozenset({"remnant"})), "nothing of the sacrum is seen under"),
        (Drawn(s1_row=236, without=frozenset({"remnant"})), "the field ends at the first sacral body"),
        (Drawn(backwards_deg=(8.0, 4.0, *BACKWARDS_DEG[2:])), "does not turn backwards"),
        (Drawn(heights={"S1": 13.0}), "first sacral body is small or cut off"),
        (Drawn(heights={"L5": 17.0}), "L5 is small"),
        (Drawn(without=frozenset({"L5/S1"})), "no disc is seen under L5"),
        (Drawn(height=20.5, step=31.0, depth=28.0), "low for lumbar ones of an adult"),
        (Drawn(depth=21.0), "the pixel spacing may be wrong"),
    ],
)
def test_what_makes_the_count_doubtful_is_said_and_sends_it_to_a_person(drawn: Drawn, reason: str):
    levels = named(drawn)
    assert any(reason in doubt for doubt in words(levels.doubts))
    assert levels.confidence < SURE


def test_a_second_disc_or_a_long_remnant_under_s1_is_called_transitional():
    under = ORDINARY.centres()["S1"] + 17.0 / MM * np.array([np.cos(np.pi / 4), np.sin(np.pi / 4)])
    for value, deep in ((DISC, 30.0), (S1 + 1, 30.0)):
        labels = ORDINARY.labels()
        rectangle(labels, under, 45.0, 8.0, deep, value)
        levels = name_levels(find_spine(sure(labels), MM), sure(labels))
        assert any("transitional" in doubt for doubt in words(levels.doubts))
        assert levels.confidence < SURE


@pytest.mark.parametrize(
    ("l5_mm", "disc_mm", "doubtful"),
    [
        (22.0, (5.0, 26.0), True),
        (26.0, (5.0, 26.0), False),  # a disc that is worn down
        (22.0, (9.0, 32.0), False),  # a small L5 on a full disc
        (22.0, (5.0, 32.0), False),
    ],
)
def test_a_small_l5_on_a_short_and_thin_disc_may_be_sacral(l5_mm: float, disc_mm: tuple[float, float], doubtful: bool):
    drawn = Drawn(heights={"L5": l5_mm}, without=frozenset({"L5/S1"}))
    labels, centres = drawn.labels(), drawn.centres()
    rectangle(labels, (centres["L5"] + centres["S1"]) / 2, BACKWARDS_DEG[0], *disc_mm, DISC)
    planes = sure(labels)
    levels = name_levels(find_spine(planes, MM), planes)
    assert any("L5 and the disc under it are small" in doubt for doubt in words(levels.doubts)) == doubtful
    assert (levels.confidence < SURE) == doubtful


def test_a_lowest_body_that_the_network_half_takes_for_sacral_is_doubtful():
    planes = ORDINARY.planes()
    l5 = ORDINARY.spine().bodies[0].mask
    planes[S1][l5], planes[BODY][l5] = 0.4, 0.55
    levels = name_levels(find_spine(planes, MM), planes)
    assert words(levels.doubts) == ["the lowest body may be the first sacral one"]
    assert levels.confidence < SURE


def test_bodies_that_are_too_few_too_small_or_too_large_are_no_lumbar_spine():
    few = named(Drawn(without=frozenset({"L1", "T12"})))
    assert words(few.refusals) == ["only 4 stacked vertebral bodies are seen; L1 to L5 are needed"]
    assert few.index == {}
    small = named(Drawn(height=15.0, step=24.0, depth=22.0))
    assert "too small for a lumbar spine" in str(small.refusals[0])
    drawn = Drawn()
    large = name_levels(find_spine(drawn.planes(), MM * 1.5), drawn.planes())
    assert "too large for a spine" in str(large.refusals[0])


def test_a_canal_in_front_of_the_bodies_means_that_the_image_is_turned():
    levels = named(Drawn(canal_mm=-28.0))
    assert words(levels.refusals) == [
        "the canal runs in front of the bodies: the image is turned otherwise than its headers say",
    ]


def test_without_a_canal_there_is_no_level():
    assert named(Drawn(without=frozenset({"canal"}))).refusals == (Reason("no-canal"),)


def test_a_body_that_is_missing_in_the_chain_is_noticed():
    # Without T12 there are four left; with a gap in the chain what is above it lies apart.
    assert named(Drawn(without=frozenset({"L3"}))).refusals


def test_two_bodies_taken_as_one_are_noticed():
    labels = Drawn(without=frozenset({"T12"})).labels()
    middle = (ORDINARY.centres()["L2"] + ORDINARY.centres()["L3"]) / 2
    rectangle(labels, middle, -10.0, 12.0, 34.0, BODY)
    planes = sure(labels)
    levels = name_levels(find_spine(planes, MM), planes)
    assert levels.refusals or levels.confidence < SURE


def test_l1_at_the_upper_edge_is_cut_off():
    drawn = replace(ORDINARY, s1_row=163, without=frozenset({"T12"}))
    planes = drawn.planes()
    planes = np.concatenate([planes[:, 2:], planes[:, :2] * 0], axis=1)
    levels = name_levels(find_spine(planes, MM), planes)
    assert "L1 is cut off by the edge of the image" in words(levels.doubts)


@pytest.mark.parametrize("name", LEVELS)
def test_a_body_of_three_quarters_of_the_height_is_fractured_and_one_of_nine_tenths_is_not(name: str):
    assert list(fractured(Drawn(heights={name: 0.75 * 26}).spine())) == [name]
    assert list(fractured(Drawn(heights={name: 0.9 * 26}).spine())) == []


def test_the_count_does_not_depend_on_where_the_spine_lies_in_the_field():
    # A prime step, so that the rounding of the drawing differs.
    for row in (190, 197, 204, 211):
        levels = named(replace(ORDINARY, s1_row=row))
        assert levels.index == LEVEL_INDEX
        assert levels.confidence == 1.0


def said_of(drawn: Drawn, scale: float) -> set[str]:
    """Codes of what is doubted or refused where every pixel is ``scale`` times as large."""
    planes = drawn.planes()
    levels = name_levels(find_spine(planes, MM * scale), planes)
    return {one.code for one in (*levels.doubts, *levels.refusals)}


@pytest.mark.parametrize(
    ("code", "drawn", "beyond", "within"),
    [
        # Heights as seen are 24.4 mm, areas 26 mm times the depth.
        ("bodies-too-large", Drawn(depth=42.0), 1.27, 1.22),  # 1,760 and 1,620 mm²
        ("bodies-too-large", Drawn(depth=30.0), 1.42, 1.36),  # 34.6 and 33.2 mm
        ("bodies-too-small", Drawn(depth=18.0), 0.88, 0.93),  # 360 and 405 mm²
        ("bodies-too-small", Drawn(depth=40.0), 0.68, 0.72),  # 16.6 and 17.6 mm
        ("bodies-low", ORDINARY, 0.78, 0.82),  # 19.0 and 20.0 mm
    ],
)
def test_bodies_are_of_the_size_of_lumbar_ones_or_said_not_to_be(code: str, drawn: Drawn, beyond: float, within: float):
    assert code in said_of(drawn, beyond)
    assert code not in said_of(drawn, within)


@pytest.mark.parametrize(("beyond", "within"), [(46.5, 42.0), (22.5, 25.5)])
def test_bodies_have_the_shape_of_lumbar_ones_or_are_said_not_to(beyond: float, within: float):
    assert "bodies-of-odd-shape" in said_of(Drawn(depth=beyond), 1.0)
    assert "bodies-of-odd-shape" not in said_of(Drawn(depth=within), 1.0)


def test_a_disc_that_is_not_seen_leaves_the_count_sure_and_a_small_l5_does_not():
    assert SURE <= named(Drawn(without=frozenset({"L3/L4"}))).confidence < 0.9
    assert named(Drawn(heights={"L5": 17.0})).confidence <= 0.6 < SURE
