"""The picture of a measurement: right places whichever way the image is stored, and everything said."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread

from analytics.records import Circle, MeasurementStatus, RoiSignal, VbqScore
from analytics.vbq.automatic import Beside, SagittalImage
from analytics.vbq.overlay import Measured, overlay, overlay_pixels

ROWS, COLUMNS = 120, 90
CIRCLES = {"L1": (20, 30, 6), "L2": (45, 30, 6), "L3": (70, 30, 6), "L4": (95, 30, 6), "CSF": (70, 60, 2)}
OUTLINE = np.array([[10.0, 18.0], [10.0, 42.0], [30.0, 42.0], [30.0, 18.0]])


def image() -> SagittalImage:
    signal = np.add.outer(np.arange(ROWS, dtype=float), 2 * np.arange(COLUMNS))
    return SagittalImage(
        signal=signal, spacing_mm=(2.0, 1.5), position_mm=(0.0, -60.0, 120.0), orientation=(0, 1, 0, 0, 0, -1)
    )


def measured(circles: dict[str, tuple[float, float, float]], outline: np.ndarray, **changes: object) -> Measured:
    rois = {
        name: RoiSignal(
            circle=Circle(row=row, col=col, radius_px=radius), radius_mm=radius, mean=300.0, sd=20.0, pixels=99
        )
        for name, (row, col, radius) in circles.items()
    }
    given: dict[str, object] = {
        "status": MeasurementStatus.MEASURED,
        "reasons": (),
        "score": VbqScore(vbq_mean=2.834, vbq_median=2.8, rois=rois),
        "vbq_sd": 0.06,
        "levels_confidence": 0.97,
        "outlines": {"L1": outline},
        "made_by": "vbq-auto 1",
        **changes,
    }
    return Measured(**given)


def pixels(png: bytes) -> np.ndarray:
    return imread(BytesIO(png), format="png")[..., :3]


def test_the_picture_is_the_same_however_the_slice_is_stored():
    upright = image()
    expected = pixels(overlay(upright, measured(CIRCLES, OUTLINE)))
    assert expected.shape == (960, 1500, 3)
    # Rows from foot to head.
    flipped = replace(upright, signal=upright.signal[::-1], orientation=(0, 1, 0, 0, 0, 1))
    circles = {name: (ROWS - 1 - row, col, radius) for name, (row, col, radius) in CIRCLES.items()}
    outline = np.stack([ROWS - 1 - OUTLINE[:, 0], OUTLINE[:, 1]], axis=1)
    assert np.abs(pixels(overlay(flipped, measured(circles, outline))) - expected).mean() < 1e-4
    # Columns from back to front.
    mirrored = replace(upright, signal=upright.signal[:, ::-1], orientation=(0, -1, 0, 0, 0, -1))
    circles = {name: (row, COLUMNS - 1 - col, radius) for name, (row, col, radius) in CIRCLES.items()}
    outline = np.stack([OUTLINE[:, 0], COLUMNS - 1 - OUTLINE[:, 1]], axis=1)
    assert np.abs(pixels(overlay(mirrored, measured(circles, outline))) - expected).mean() < 1e-4
    # Rows from front to back, columns from head to foot.
    sideways = replace(upright, signal=upright.signal.T, spacing_mm=(1.5, 2.0), orientation=(0, 0, -1, 0, 1, 0))
    circles = {name: (col, row, radius) for name, (row, col, radius) in CIRCLES.items()}
    assert np.abs(pixels(overlay(sideways, measured(circles, OUTLINE[:, ::-1]))) - expected).mean() < 1e-4


def test_circles_lie_where_they_were_measured_in_the_right_proportions():
    shown = pixels(overlay(image(), measured(CIRCLES, OUTLINE)))[:, :960]
    # 240 mm of rows fill the height of 960 pixels: 4 pixels a millimetre, in both directions.
    yellow = (shown[..., 0] > 0.9) & (shown[..., 1] > 0.7) & (shown[..., 2] < 0.45)
    left = (960 - 135 * 4) / 2
    for name in ("L1", "L2", "L3", "L4"):
        row, col, radius = CIRCLES[name]
        x, y = left + (col + 0.5) * 1.5 * 4, (row + 0.5) * 2 * 4
        for dx, dy in ((radius * 1.5 * 4, 0), (0, radius * 2 * 4), (0, -radius * 2 * 4)):
            at = yellow[round(y + dy) - 3 : round(y + dy) + 4, round(x + dx) - 3 : round(x + dx) + 4]
            assert at.any(), (name, dx, dy)


def test_the_same_measurement_is_the_same_file():
    one = measured(CIRCLES, OUTLINE, reasons=("echo time 25 ms is outside 8–20 ms",))
    assert overlay(image(), one) == overlay(image(), one)
    assert b"Software" not in overlay(image(), one)


def test_its_pixels_are_those_of_the_file():
    one = measured(CIRCLES, OUTLINE, reasons=("echo time 25 ms is outside 8–20 ms",))
    assert overlay_pixels(image(), one).shape == (960, 1500, 3)
    assert np.array_equal(np.rint(pixels(overlay(image(), one)) * 255), overlay_pixels(image(), one))


def written(monkeypatch: pytest.MonkeyPatch, one: Measured) -> list[str]:
    """Every text of the picture."""
    from matplotlib.figure import Figure

    texts: list[str] = []
    real = Figure.text

    def remember(self: Figure, x: float, y: float, s: str, **kwargs: object) -> object:
        texts.append(s)
        assert 0 < y < 1, f"{s!r} lies outside the picture"
        return real(self, x, y, s, **kwargs)

    monkeypatch.setattr(Figure, "text", remember)
    overlay(image(), one)
    return texts


def test_score_interval_and_reasons_stand_in_words(monkeypatch: pytest.MonkeyPatch):
    reasons = tuple(f"reason number {n} is a long sentence about what a person must look at here" for n in range(14))
    texts = written(monkeypatch, measured(CIRCLES, OUTLINE, status=MeasurementStatus.REVIEW, reasons=reasons))
    assert "REVIEW: a person must look" in texts
    assert "VBQ 2.83" in texts
    # 2.834 ± 1.96 × 0.06.
    assert "95 % interval 2.72 to 2.95" in texts
    assert "levels named with a confidence of 97 %" in texts
    assert any(text.startswith("• reason number 0") for text in texts)
    shown = sum(text.startswith("• ") for text in texts)
    assert texts[-3] == f"… and {14 - shown} more"
    assert texts[-2:] == ["vbq-auto 1", "research use only; a person decides"]


def test_what_stands_beside_the_score_is_marked(monkeypatch: pytest.MonkeyPatch):
    beside = Beside(
        s1=RoiSignal(circle=Circle(row=100, col=40, radius_px=4), radius_mm=6, mean=270.0, sd=20.0, pixels=50),
        s1_vbq=2.7,
        ebq={"L4/L5": 2.25},
    )
    texts = written(monkeypatch, measured(CIRCLES, OUTLINE, beside=beside))
    at = texts.index("beside the score, not validated here:")
    # All circles of the sample show 300, the fluid too.
    said = " ".join(texts[at + 1 : at + 4])
    assert said.startswith("VBQ by level L1 1.00, L2 1.00, L3 1.00, L4 1.00, S1 2.70")
    assert "end plates over fluid (EBQ) L4/L5 2.25" in said


def test_names_of_outlines_that_speak_against_the_circles_are_left_out(monkeypatch: pytest.MonkeyPatch):
    from matplotlib.axes import Axes

    names: list[str] = []
    monkeypatch.setattr(Axes, "text", lambda _self, _x, _y, s, **_kwargs: names.append(s))
    outlines = {"L1": OUTLINE, "L5": OUTLINE + np.array([90, 0])}
    overlay(image(), measured(CIRCLES, OUTLINE, outlines=outlines))
    assert "L5" in names
    names.clear()
    # A person counts otherwise: the circle of L1 lies in the next body.
    circles = {**CIRCLES, "L1": CIRCLES["L2"], "L2": CIRCLES["L1"]}
    overlay(image(), measured(circles, OUTLINE, outlines=outlines))
    assert "L5" not in names
    assert {"L1  300", "L2  300"} <= set(names)


def test_a_rejected_one_shows_the_slice_and_why(monkeypatch: pytest.MonkeyPatch):
    one = measured(
        CIRCLES, OUTLINE, status=MeasurementStatus.REJECTED, score=None, vbq_sd=None, reasons=("no lumbar spine",)
    )
    texts = written(monkeypatch, one)
    assert "REJECTED: no score" in texts
    assert "• no lumbar spine" in texts
    assert not any(text.startswith(("VBQ", "95 %")) for text in texts)


def test_signals_that_are_no_numbers_do_not_stop_the_picture():
    broken = image().signal.copy()
    broken[3:9] = np.nan
    assert pixels(overlay(replace(image(), signal=broken), measured(CIRCLES, OUTLINE))).shape == (960, 1500, 3)
    nothing = np.full_like(broken, np.nan)
    assert overlay(replace(image(), signal=nothing), measured({}, OUTLINE, score=None))
