"""The picture of a measurement: the slice, the outlines, the circles with their values, the score and every reason.

It shows no name, number or date. Head up and front to the left, whichever way the image is stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analytics.records import CSF, Circle, MeasurementStatus, RoiSignal, VbqScore
from analytics.vbq.automatic import Beside, SagittalImage
from analytics.vbq.score import segmental

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE_INCHES = (10.0, 6.4)
DOTS_PER_INCH = 150
"""1500 × 960 pixels."""
PICTURE = (0.0, 0.0, 0.64, 1.0)
TEXT_LEFT, TEXT_RIGHT = 0.665, 0.985
"""Shares of the width: the slice to the left, the words to the right."""
LINE_CHARACTERS = 42
REASON_SIZE, LINE_STEP = 9.5, 0.0034
"""Points, and the share of the height that a line takes for each point."""
FOOT, FOOT_SIZE, FOOT_CHARACTERS = 0.09, 8.0, 54
FOOT_MARGIN = 0.008
SMALL_INCHES, SMALL_DOTS_PER_INCH = (2.4, 3.0), 80
"""192 × 240 pixels."""
SMALL_MARGIN_MM = 22.0
"""What is shown around the circles."""
TWO_SIDED_95 = 1.96

TEXT_COLOUR, FAINT_COLOUR = "#20262b", "#66707a"
MARROW_COLOUR, CSF_COLOUR, OUTLINE_COLOUR = "#ffd23f", "#39d0ff", "#9be59b"
STATUS = {
    MeasurementStatus.MEASURED: ("MEASURED", "#1d7a3c"),
    MeasurementStatus.REVIEW: ("REVIEW: a person must look", "#b26a00"),
    MeasurementStatus.REJECTED: ("REJECTED: no score", "#a3212b"),
}
DARKEST, BRIGHTEST = 1.0, 99.5
"""Percentiles of the signal shown as black and white."""
CANAL = "canal"
"""The name of the one outline that is no vertebra's."""
LABEL_GAP_MM = 4.0
CSF_LABEL_MM = 24.0
"""Behind the circle, so that the label of the fluid does not lie on the sac."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is shown beside the slice."""

    status: MeasurementStatus
    reasons: Sequence[str]
    score: VbqScore | None
    vbq_sd: float | None
    levels_confidence: float | None
    outlines: Mapping[str, NDArray[np.float64]]
    made_by: str
    """Who placed the circles: name and version of the algorithm."""
    beside: Beside | None = None
    printed: str = ""
    """What stands below it where the picture leaves the node: under which study protocol."""


def overlay(image: SagittalImage, measured: Measured) -> bytes:
    """The picture as PNG, 1500 × 960 pixels; the same input gives the same bytes (with the same matplotlib)."""
    buffer = BytesIO()
    _drawn(image, measured).savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def overlay_pixels(image: SagittalImage, measured: Measured) -> NDArray[np.uint8]:
    """The same as pixels, shape (rows, columns, 3)."""
    return pixels(_drawn(image, measured))


def pixels(figure: "Figure") -> NDArray[np.uint8]:
    """A figure on an opaque ground as pixels, shape (rows, columns, 3): those of its PNG, which costs more than it."""
    buffer = BytesIO()
    figure.savefig(buffer, format="raw")
    width, height = figure.canvas.get_width_height()
    return np.frombuffer(buffer.getvalue(), np.uint8).reshape(height, width, 4)[..., :3].copy()


def _drawn(image: SagittalImage, measured: Measured) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, facecolor="white")
    axes = figure.add_axes(PICTURE)
    view = _View(image)
    _draw_slice(axes, view)
    rois = measured.score.rois if measured.score else {}
    agreed = _names_agree(rois, measured.outlines)
    for name, outline in measured.outlines.items():
        if len(outline):
            _draw_outline(axes, view, outline, name=name if agreed and name not in rois and name != CANAL else None)
    for name, roi in rois.items():
        _draw_circle(axes, view, name, roi, measured.outlines.get(name) if agreed else None)
    if measured.beside and measured.beside.s1:
        _draw_faint_circle(axes, view, measured.beside.s1)
    _write(figure, measured)
    return figure


def small(image: SagittalImage, circles: Mapping[str, Circle]) -> bytes:
    """The part of the slice around the circles as PNG, 192 × 240 pixels and no words."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle as Drawn

    figure = Figure(figsize=SMALL_INCHES, dpi=SMALL_DOTS_PER_INCH, facecolor="black")
    axes = figure.add_axes((0, 0, 1, 1))
    view = _View(image)
    _draw_slice(axes, view)
    for name, one in circles.items():
        (across,), (down,) = view.place(np.array([[one.row, one.col]]))
        radius = one.radius_px * view.spacing_mm[1]
        colour = CSF_COLOUR if name == CSF else MARROW_COLOUR
        axes.add_patch(Drawn((across, down), radius, fill=False, edgecolor=colour, linewidth=1))
    if circles:
        across, down = view.place(np.array([[one.row, one.col] for one in circles.values()]))
        half = max(float(np.ptp(down)), float(np.ptp(across))) / 2 + SMALL_MARGIN_MM
        middle = (across.min() + across.max()) / 2, (down.min() + down.max()) / 2
        shape = SMALL_INCHES[0] / SMALL_INCHES[1]
        axes.set_xlim(middle[0] - half * shape, middle[0] + half * shape)
        axes.set_ylim(middle[1] + half, middle[1] - half)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _names_agree(rois: Mapping[str, RoiSignal], outlines: Mapping[str, NDArray[np.float64]]) -> bool:
    """Whether every circle lies in the outline of its name: a person may have placed them on other levels, and then
    the names of the outlines would speak against those of the circles."""
    from matplotlib.path import Path

    return all(
        Path(outlines[name]).contains_point((roi.circle.row, roi.circle.col))
        for name, roi in rois.items()
        if name != CSF and len(outlines.get(name, ()))
    )


class _View:
    """The slice turned so that the head is up and the front to the left, in mm from its upper left pixel."""

    def __init__(self, image: SagittalImage) -> None:
        across, down = np.array(image.orientation[:3]), np.array(image.orientation[3:])
        self._turned = abs(across[2]) > abs(down[2])
        signal, (down_mm, across_mm) = image.signal, image.spacing_mm
        if self._turned:
            signal, across, down, down_mm, across_mm = signal.T, down, across, across_mm, down_mm
        self._upside_down, self._mirrored = bool(down[2] > 0), bool(across[1] < 0)
        signal = signal[::-1] if self._upside_down else signal
        self.signal = signal[:, ::-1] if self._mirrored else signal
        self.spacing_mm = (down_mm, across_mm)

    @property
    def extent_mm(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge, as imshow takes them."""
        (rows, columns), (down, across) = self.signal.shape, self.spacing_mm
        return -across / 2, (columns - 0.5) * across, (rows - 0.5) * down, -down / 2

    def place(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points in native rows and columns, shape (n, 2), as mm to the right and mm down."""
        down, across = (points[:, 1], points[:, 0]) if self._turned else (points[:, 0], points[:, 1])
        down = self.signal.shape[0] - 1 - down if self._upside_down else down
        across = self.signal.shape[1] - 1 - across if self._mirrored else across
        return across * self.spacing_mm[1], down * self.spacing_mm[0]


def _draw_slice(axes: "Axes", view: _View) -> None:
    axes.set(xticks=[], yticks=[], facecolor="black")
    for spine in axes.spines.values():
        spine.set_visible(False)
    finite = view.signal[np.isfinite(view.signal)]
    low, high = np.percentile(finite, (DARKEST, BRIGHTEST)) if finite.size else (0.0, 1.0)
    axes.imshow(
        np.nan_to_num(view.signal, nan=low, posinf=high, neginf=low),
        cmap="gray", vmin=low, vmax=max(high, low + 1e-9), extent=view.extent_mm, interpolation="bilinear",
    )  # fmt: skip
    for x, y, letter in ((0.015, 0.5, "A"), (0.985, 0.5, "P"), (0.5, 0.975, "H"), (0.5, 0.025, "F")):
        axes.text(x, y, letter, transform=axes.transAxes, color="white", alpha=0.7, ha="center", va="center")


def _draw_outline(axes: "Axes", view: _View, outline: NDArray[np.float64], *, name: str | None) -> None:
    """An outline, with a name where no circle bears it: who sees L5 and S1 can count for himself."""
    across, down = view.place(np.vstack([outline, outline[:1]]))
    axes.plot(across, down, color=OUTLINE_COLOUR, linewidth=0.8, alpha=0.8)
    if name:
        middle = ((across.min() + across.max()) / 2, (down.min() + down.max()) / 2)
        axes.text(*middle, name, color=OUTLINE_COLOUR, fontsize=9.5, ha="center", va="center")


def _draw_circle(axes: "Axes", view: _View, name: str, roi: RoiSignal, outline: NDArray[np.float64] | None) -> None:
    colour = CSF_COLOUR if name == CSF else MARROW_COLOUR
    circle = roi.circle
    across, down = _rim(view, roi)
    axes.plot(across, down, color=colour, linewidth=1.6)
    (_,), (y,) = view.place(np.array([[circle.row, circle.col]]))
    edge = across if outline is None or not len(outline) else np.concatenate([view.place(outline)[0], across])
    # Levels in front of the column, the fluid behind the sac: no label lies on what is measured.
    x, side = (across.max() + CSF_LABEL_MM, "left") if name == CSF else (edge.min() - LABEL_GAP_MM, "right")
    axes.plot([across.max() if name == CSF else across.min(), x], [y, y], color=colour, linewidth=0.7, alpha=0.7)
    axes.text(
        x, y, f"{name}  {roi.mean:.0f}", color=colour, fontsize=10.5, fontweight="bold", ha=side, va="center",
        bbox={"facecolor": "black", "alpha": 0.55, "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip


def _rim(view: _View, roi: RoiSignal) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A circle of native pixels; where rows and columns differ in spacing it is an ellipse in the patient."""
    angles, circle = np.linspace(0, 2 * np.pi, 73), roi.circle
    return view.place(
        np.stack(
            [circle.row + circle.radius_px * np.sin(angles), circle.col + circle.radius_px * np.cos(angles)], axis=1
        )
    )


def _draw_faint_circle(axes: "Axes", view: _View, roi: RoiSignal) -> None:
    """Of S1, which does not enter the score."""
    axes.plot(*_rim(view, roi), color=OUTLINE_COLOUR, linewidth=1.0, linestyle=":")


# ---- words -----------------------------------------------------------------------------------------------------
def _write(figure: "Figure", measured: Measured) -> None:
    title, colour = STATUS[measured.status]
    figure.text(
        TEXT_LEFT, 0.95, title, fontsize=12.5, fontweight="bold", color="white", va="center",
        bbox={"facecolor": colour, "edgecolor": "none", "boxstyle": "round,pad=0.45"},
    )  # fmt: skip
    foot = [*wrap(measured.made_by, FOOT_CHARACTERS)[:2], "research use only; a person decides"]
    foot += wrap(measured.printed, FOOT_CHARACTERS)
    foot_top = max(FOOT, FOOT_MARGIN + len(foot) * FOOT_SIZE * LINE_STEP)
    at = 0.86
    if measured.score:
        figure.text(
            TEXT_LEFT, at, f"VBQ {measured.score.vbq_mean:.2f}", fontsize=30, fontweight="bold",
            color=TEXT_COLOUR, va="center",
        )  # fmt: skip
        at = _lines(figure, at - 0.065, _about(measured, measured.score), size=10.5)
        at = _table(figure, at - 0.02, measured.score)
        at = _lines(figure, at - 0.005, _beside(measured.score, measured.beside), size=FOOT_SIZE, colour=FAINT_COLOUR)
    if measured.reasons:
        heading = "To note" if measured.status is MeasurementStatus.MEASURED else "Why"
        figure.text(TEXT_LEFT, at - 0.02, heading, fontsize=11, fontweight="bold", color=TEXT_COLOUR, va="top")
        room = int((at - 0.06 - foot_top - 0.01) / (REASON_SIZE * LINE_STEP))
        _lines(figure, at - 0.06, _fitting(measured.reasons, room), size=REASON_SIZE)
    _lines(figure, foot_top, foot, size=FOOT_SIZE, colour=FAINT_COLOUR)


def _about(measured: Measured, score: VbqScore) -> list[str]:
    lines = []
    if measured.vbq_sd is not None:
        reach = TWO_SIDED_95 * measured.vbq_sd
        lines.append(f"95 % interval {score.vbq_mean - reach:.2f} to {score.vbq_mean + reach:.2f}")
    lines.append(f"median form {score.vbq_median:.2f}")
    if measured.levels_confidence is not None:
        # Nobody is as sure as 100 %.
        lines.append(f"levels named with a confidence of {min(99, round(100 * measured.levels_confidence))} %")
    return lines


def _beside(score: VbqScore, beside: Beside | None) -> list[str]:
    by_level = ", ".join(f"{name} {value:.2f}" for name, value in segmental(score).items())
    lines = ["beside the score, not validated here:", f"VBQ by level {by_level}"]
    if beside and beside.s1_vbq is not None:
        lines[-1] += f", S1 {beside.s1_vbq:.2f}"
    if beside and beside.ebq:
        ebq = ", ".join(f"{disc} {value:.2f}" for disc, value in beside.ebq.items())
        lines += wrap(f"end plates over fluid (EBQ) {ebq}", FOOT_CHARACTERS)
    return [line for text in lines for line in wrap(text, FOOT_CHARACTERS)]


def _table(figure: "Figure", top: float, score: VbqScore) -> float:
    """Signal, spread and size of each circle; returns where the next thing may begin."""
    columns = (TEXT_LEFT, TEXT_LEFT + 0.125, TEXT_LEFT + 0.195, TEXT_LEFT + 0.30)
    rows = [("", "signal", "SD", "pixels")]
    rows += [(name, f"{roi.mean:.0f}", f"{roi.sd:.0f}", f"{roi.pixels}") for name, roi in score.rois.items()]
    for number, row in enumerate(rows):
        for x, text in zip(columns, row, strict=True):
            figure.text(
                x, top - 0.034 * number, text, fontsize=9.5, color=TEXT_COLOUR if number else FAINT_COLOUR, va="top",
                ha="left" if x == TEXT_LEFT else "right", fontweight="bold" if x == TEXT_LEFT else "normal",
            )  # fmt: skip
    return top - 0.034 * len(rows)


def _fitting(reasons: Sequence[str], room: int) -> list[str]:
    """As many reasons as there is room for, in lines, and how many are left out."""
    lines: list[str] = []
    for number, reason in enumerate(reasons):
        wrapped = wrap(f"• {reason}", LINE_CHARACTERS, subsequent_indent="   ")
        last = number == len(reasons) - 1
        if len(lines) + len(wrapped) > room - (0 if last else 1):
            return [*lines, f"… and {len(reasons) - number} more"]
        lines += wrapped
    return lines


def _lines(figure: "Figure", top: float, lines: Sequence[str], *, size: float, colour: str = TEXT_COLOUR) -> float:
    step = size * LINE_STEP
    for number, line in enumerate(lines):
        figure.text(TEXT_LEFT, top - step * number, line, fontsize=size, color=colour, va="top")
    return top - step * len(lines)
