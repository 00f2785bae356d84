"""Whether a drawn slice looks like T1, and its marrow like marrow that a score can be had from."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from analytics.reasons import Reason, words
from analytics.records import CSF, LEVELS, Circle
from analytics.vbq import appearance
from analytics.vbq.grid import to_grid
from analytics.vbq.score import score
from analytics.vbq.spine import BODY, DISC
from tests.analytics.drawn_spine import MM, Drawn

SPINE = Drawn().spine()


def scored(image):
    centres = Drawn().centres()
    circles = {name: Circle(row=centres[name][0], col=centres[name][1], radius_px=6.0) for name in LEVELS}
    circles[CSF] = Circle(row=centres["L3"][0], col=centres["L3"][1] + 26 / MM, radius_px=2.0)
    return score(image.signal, circles, spacing_mm=(MM, MM))


def reasons_of(image, *, t1_stated: bool = True) -> list[Reason]:
    grid, result = to_grid(image), scored(image)
    return [
        *appearance.not_t1(grid, SPINE, result),
        *appearance.doubts(grid, SPINE, result, t1_stated=t1_stated),
        *appearance.doubts_of_signal(image, result),
        *appearance.doubts_of_marrow(grid, SPINE, result),
    ]


def found(image, *, t1_stated: bool = True) -> list[str]:
    return words(reasons_of(image, t1_stated=t1_stated))


def codes_of(image) -> set[str]:
    return {one.code for one in reasons_of(image)}


def changed(change, drawn: Drawn | None = None):
    image = (drawn or Drawn()).image()
    return replace(image, signal=change(image.signal))


def test_a_t1_of_ordinary_marrow_gives_no_doubt():
    image = Drawn().image()
    assert scored(image).vbq_mean == pytest.approx(2.5, abs=0.01)  # drawn: 100 over 40
    assert found(image) == []


def test_without_headers_that_say_so_it_is_only_like_a_t1():
    assert found(Drawn().image(), t1_stated=False) == [
        "the headers do not say whether this is T1 without contrast; the image looks like T1"
    ]


def test_bright_fluid_is_no_t1():
    assert "not T1-weighted" in " ".join(found(changed(lambda signal: 255 - signal)))


def test_fat_saturation_makes_marrow_darker_than_discs():
    fat_saturated = changed(lambda signal: np.where(signal > 80, 55.0, signal))
    reasons = found(fat_saturated)
    assert "the marrow is not brighter than the discs: infiltrated, or fat-saturated" in reasons
    assert any("no fat brighter than the marrow" in reason for reason in reasons)


def test_a_gain_is_no_matter_and_an_offset_is():
    assert found(changed(lambda signal: signal * 37.0)) == []
    assert found(changed(lambda signal: signal / 500.0)) == []
    up = found(changed(lambda signal: signal + 30.0))
    assert up == ["nothing in the image is dark: an offset, enhanced local contrast or ghosts of motion lie over it"]
    down = found(changed(lambda signal: signal - 10.0))
    assert down == ["the image holds signals below zero: its scale has an offset, and no ratio can be had"]


def test_noise_is_measured_and_fluid_that_is_hardly_above_it_is_doubtful():
    rng = np.random.default_rng(3)

    def noisy(sigma: float):
        return changed(
            lambda s: np.hypot(s + rng.normal(0, sigma, s.shape), rng.normal(0, sigma, s.shape)),
        )

    quiet, loud = noisy(4.0), noisy(12.0)
    assert appearance.noise(quiet, scored(quiet)) == pytest.approx(4.0, rel=0.25)
    assert appearance.noise(loud, scored(loud)) == pytest.approx(12.0, rel=0.25)
    assert "the fluid is hardly above the noise" not in found(quiet)
    assert "the fluid is hardly above the noise" in found(loud)


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("signal", [45.0, 160.0])
def test_a_body_unlike_the_others_is_named(name: str, signal: float):
    reasons = found(Drawn(signals={name: signal}).image())
    assert f"{name} has {signal / 100:.2f} times the signal of the other levels: a lesion, or shading" in reasons


def test_a_tenth_more_or_less_is_no_lesion():
    assert found(Drawn(signals={"L1": 90.0, "L3": 108.0}).image()) == []


def test_a_picture_that_is_blurred_as_by_motion_is_said_to_be():
    reasons = found(changed(lambda signal: ndimage.gaussian_filter(signal, 3.0)))
    assert "the walls of the bodies are blurred: motion, or a coarse matrix" in reasons
    assert found(changed(lambda signal: ndimage.gaussian_filter(signal, 0.7))) == []


@pytest.mark.parametrize("name", ["L2", "L5", "S1"])
def test_metal_in_a_body_is_seen_also_where_no_circle_lies(name: str):
    centre = Drawn().centres()[name]

    def with_a_screw(signal):
        rows, columns = np.indices(signal.shape)
        return np.where(np.hypot(rows - centre[0] - 8, columns - centre[1]) * MM < 4.0, 1.0, signal)

    assert "signal voids are seen in a body: metal, gas or calcium" in found(changed(with_a_screw))


def drawn_in(label: int, value: float):
    """Another signal for all that is of one class."""
    there = Drawn().labels() == label
    return lambda signal: np.where(there, value, signal)


def with_fat_of(value: float):
    return lambda signal: np.where(signal > 200, value, signal)


def patchy(share: float):
    """L3 brighter and darker by a share, in squares of 4 pixels."""
    rows, columns = np.indices(Drawn().labels().shape)
    centre = Drawn().centres()["L3"]
    there = (np.hypot(rows - centre[0], columns - centre[1]) * MM < 24) & (Drawn().labels() == BODY)
    factor = 1 + share * np.where((rows // 4 + columns // 4) % 2, 1, -1)
    return lambda signal: np.where(there, signal * factor, signal)


def with_a_hole(radius_mm: float, value: float):
    rows, columns = np.indices(Drawn().labels().shape)
    centre = Drawn().centres()["L5"]
    return lambda signal: np.where(np.hypot(rows - centre[0], columns - centre[1]) * MM < radius_mm, value, signal)


def blurred(sigma: float):
    return lambda signal: ndimage.gaussian_filter(signal, sigma)


def with_noise(sigma: float):
    rng = np.random.default_rng(3)
    return lambda signal: np.hypot(signal + rng.normal(0, sigma, signal.shape), rng.normal(0, sigma, signal.shape))


@pytest.mark.parametrize(
    ("code", "beyond", "within"),
    [
        # Marrow 100, fluid 40, discs 60, fat 250.
        ("no-bright-fat", with_fat_of(130), with_fat_of(140)),
        ("discs-not-brighter-than-fluid", drawn_in(DISC, 41), drawn_in(DISC, 43)),
        ("marrow-hardly-brighter-than-discs", drawn_in(DISC, 86), drawn_in(DISC, 81)),
        ("marrow-not-brighter-than-discs", drawn_in(DISC, 103), drawn_in(DISC, 97)),
        ("marrow-uneven", patchy(0.35), patchy(0.29)),
        ("walls-blurred", blurred(1.9), blurred(1.6)),
        ("signal-voids", with_a_hole(3.2, 1.0), with_a_hole(2.8, 1.0)),
        ("signal-voids", with_a_hole(4.0, 27.0), with_a_hole(4.0, 33.0)),
        ("signals-below-zero", lambda signal: signal - 2.3, lambda signal: signal - 1.8),
        ("fluid-in-noise", with_noise(10.5), with_noise(9.3)),
    ],
)
def test_each_limit_lies_between_what_is_doubted_and_what_is_not(code: str, beyond, within):
    """Of both sides of the limit, near to it; ``within`` may be doubted for something else."""
    assert code in codes_of(changed(beyond))
    assert code not in codes_of(changed(within))


@pytest.mark.parametrize(("beyond", "within"), [(67.0, 73.0), (136.0, 130.0)])
def test_the_signal_of_one_level_has_two_limits(beyond: float, within: float):
    assert "level-of-other-signal" in codes_of(Drawn(signals={"L2": beyond}).image())
    assert "level-of-other-signal" not in codes_of(Drawn(signals={"L2": within}).image())
