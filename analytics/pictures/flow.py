"""The flow of patients into a model (STROBE): how many there were, how many left at each step and why.

References
----------
von Elm E, et al. The STROBE statement. Lancet 2007;370:1453–1457, item 13.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from analytics.pictures.base import DOTS_PER_INCH, TEXT_COLOUR, WIDTH_INCHES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE_INCHES = 0.205
"""Height of a line of text."""
PADDING_INCHES = 0.2
GAP_INCHES = 0.22
MOST_REASONS = 12
"""Reasons listed in one box; the rest are counted together."""
LONGEST_REASON = 46
"""Characters of a reason that fit on its line."""


@dataclass(frozen=True, kw_only=True)
class FlowStep:
    """Patients at one step; ``left`` counts those who go no further, by reason."""

    label: str
    n: int
    left: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Steps from the first to the last; whoever does not leave arrives at the next.

    Raises
    ------
    ValueError
        The numbers do not add up.
    """

    steps: tuple[FlowStep, ...]

    def __post_init__(self) -> None:
        for step, after in zip(self.steps, self.steps[1:], strict=False):
            if step.n - sum(step.left.values()) != after.n:
                raise ValueError(
                    f"{step.label}: {step.n} less {sum(step.left.values())} are not the {after.n} of {after.label}"
                )

    def in_words(self) -> str:
        """The flow in one sentence, for who does not see the figure."""
        parts = []
        for step in self.steps:
            reasons = "; ".join(f"{number} {reason}" for reason, number in step.left.items())
            parts.append(f"{step.label} {step.n}" + (f" (left: {reasons})" if reasons else ""))
        return "Flow of patients: " + ", then ".join(parts) + "."

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        return asdict(self)


def flow_figure(flow: Flow) -> "Figure":
    """Draw the steps as boxes one below the other, what leaves in boxes beside the arrows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sides = [_reasons(step.left) for step in flow.steps]
    box = 2 * LINE_INCHES + PADDING_INCHES
    between = [
        max(2 * GAP_INCHES, len(side) * LINE_INCHES + PADDING_INCHES + 2 * GAP_INCHES if side else 0) for side in sides
    ]
    between[-1] = len(sides[-1]) * LINE_INCHES + PADDING_INCHES + 2 * GAP_INCHES if sides[-1] else 0.0
    height = len(flow.steps) * box + sum(between) + 0.2
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH_INCHES), ylim=(0, height))
    axes.set_axis_off()
    top = height - 0.1
    for index, (step, side) in enumerate(zip(flow.steps, sides, strict=True)):
        _box(axes, 0.1, top, 2.3, [step.label, f"n = {step.n}"], bold=True)
        top -= box
        last = index == len(flow.steps) - 1
        if not last:
            _arrow(axes, (1.25, top), (1.25, top - between[index]))
        if side:
            middle = top - between[index] / 2
            _arrow(axes, (1.25, middle), (2.55, middle))
            _box(axes, 2.55, middle + (len(side) * LINE_INCHES + PADDING_INCHES) / 2, 3.35, side)
        top -= between[index]
    return figure


def _reasons(left: Mapping[str, int]) -> list[str]:
    """One line each, the frequent ones first."""
    ordered = sorted(((reason, number) for reason, number in left.items() if number), key=lambda one: (-one[1], one[0]))
    shown = [f"{number}  {_short(reason)}" for reason, number in ordered[:MOST_REASONS]]
    rest = sum(number for _, number in ordered[MOST_REASONS:])
    return [*shown, *([f"{rest}  for other reasons"] if rest else [])]


def _short(reason: str) -> str:
    return reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON - 1]}…"


def _box(axes: "Axes", left: float, top: float, width: float, lines: list[str], *, bold: bool = False) -> None:
    from matplotlib.patches import Rectangle

    height = len(lines) * LINE_INCHES + PADDING_INCHES
    face = "#eef3f8" if bold else "#ffffff"
    axes.add_patch(Rectangle((left, top - height), width, height, facecolor=face, edgecolor="#8a949c", linewidth=0.9))
    for number, text in enumerate(lines):
        y = top - PADDING_INCHES / 2 - (number + 0.5) * LINE_INCHES
        weight = "bold" if bold and number else "normal"
        size = 10.5 if bold else 9
        where = (left + width / 2, "center") if bold else (left + 0.1, "left")
        axes.text(where[0], y, text, ha=where[1], va="center", fontsize=size, fontweight=weight, color=TEXT_COLOUR)


def _arrow(axes: "Axes", start: tuple[float, float], end: tuple[float, float]) -> None:
    from matplotlib.patches import FancyArrowPatch

    arrow = FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=9, color="#57606a", linewidth=1, shrinkA=0, shrinkB=0
    )
    axes.add_patch(arrow)
