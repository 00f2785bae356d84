"""Forest plots: an estimate with its interval for each site, and what they come to together.

References
----------
Lewis S, Clarke M. BMJ 2001;322:1479–1480 (squares, diamonds, line of no effect).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analytics.pictures.base import DOTS_PER_INCH, LINE_COLOUR, POINT_COLOUR, TEXT_COLOUR, WIDTH_INCHES, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW_INCHES = 0.42
LONGEST_LABEL = 30
"""Characters of a label that fit beside the panel."""


@dataclass(frozen=True, kw_only=True)
class ForestLine:
    """One line: an estimate with its 95 % interval (none for a reference), ``n`` patients; ``summary`` draws a diamond.

    ``beyond`` is a prediction interval.
    """

    label: str
    n: int | None
    b: float
    ci_low: float | None
    ci_high: float | None
    summary: bool = False
    beyond: tuple[float, float] | None = None


def forest(lines: Sequence[ForestLine], *, x_label: str) -> "Figure":
    """Draw the lines from the top to the bottom, with a line at no effect; a square grows with its patients."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = 1.3 + ROW_INCHES * len(lines)
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    bottom = 0.75 / height
    axes = figure.add_axes((0.40, bottom, 0.57, 1 - bottom - 0.15 / height))
    plain_axes(axes, x_label, "")
    most = max((line.n or 0 for line in lines if not line.summary), default=1) or 1
    for place, line in enumerate(reversed(lines)):
        if line.beyond is not None:
            axes.plot(line.beyond, [place, place], color=LINE_COLOUR, linewidth=1)
        if line.ci_low is None or line.ci_high is None:
            axes.plot([line.b], [place], "o", color=POINT_COLOUR, markersize=6)
        elif line.summary:
            axes.fill(
                [line.ci_low, line.b, line.ci_high, line.b], [place, place + 0.24, place, place - 0.24],
                color=LINE_COLOUR, linewidth=0,
            )  # fmt: skip
        else:
            axes.plot([line.ci_low, line.ci_high], [place, place], color=POINT_COLOUR, linewidth=1.6)
            axes.plot([line.b], [place], "s", color=POINT_COLOUR, markersize=4 + 6 * ((line.n or 0) / most) ** 0.5)
    axes.axvline(0, color=TEXT_COLOUR, linewidth=1, linestyle="--")
    axes.set_yticks(range(len(lines)), [_label(line) for line in reversed(lines)], fontsize=9)
    axes.set_ylim(-0.6, len(lines) - 0.4)
    axes.locator_params(axis="x", nbins=6)
    return figure


def _label(line: ForestLine) -> str:
    text = line.label if len(line.label) <= LONGEST_LABEL else f"{line.label[: LONGEST_LABEL - 1]}…"
    return text if line.n is None else f"{text} (n = {line.n})"
