"""Blood counts over time as the points of a small picture; the template draws it, without a script."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

WIDTH, HEIGHT = 300.0, 110.0
LEFT, RIGHT, TOP, BOTTOM = 34.0, 8.0, 14.0, 18.0
"""Margins in the units of the picture."""
HEADROOM = 1.1
"""The highest value or cut stands so far below the upper edge."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A value where it is drawn; ``label`` says it in words."""

    x: float
    y: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A ratio over time: its points, its cut, and what stands at the axes."""

    name: str
    points: tuple[Point, ...]
    cut_y: float | None
    cut: str
    top: str
    first: str
    last: str

    @property
    def line(self) -> str:
        """The points of a polyline."""
        return " ".join(f"{one.x:.1f},{one.y:.1f}" for one in self.points)


def chart(name: str, values: Iterable[tuple[datetime, float]], cut: float | None, *, digits: int) -> Chart | None:
    """The picture of a ratio; ``None`` where there are fewer than two values, which a table shows as well.

    Parameters
    ----------
    values
        When the specimen was taken (aware), and the ratio.
    cut
        Above it the ratio is high.
    digits
        Decimals of what is written.
    """
    known = sorted(values)
    if len(known) < 2:
        return None
    begin, end = known[0][0], known[-1][0]
    span = (end - begin).total_seconds() or 1.0
    highest = max(*(value for _, value in known), cut or 0.0) * HEADROOM

    def at(value: float) -> float:
        return round(TOP + (1 - value / highest) * (HEIGHT - TOP - BOTTOM), 1)

    return Chart(
        name=name,
        points=tuple(
            Point(
                x=round(LEFT + (moment - begin).total_seconds() / span * (WIDTH - LEFT - RIGHT), 1),
                y=at(value),
                label=f"{moment:%Y-%m-%d}: {value:.{digits}f}",
            )
            for moment, value in known
        ),
        cut_y=None if cut is None else at(cut),
        cut="" if cut is None else f"{cut:.{digits}f}",
        top=f"{highest:.{digits}f}",
        first=f"{begin:%Y-%m-%d}",
        last=f"{end:%Y-%m-%d}",
    )
