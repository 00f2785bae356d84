"""Figures 2–4 of the paper: VBQ against one variable, as PNG, as SVG and in words.

The line and its 95 % band are for visualisation only; the inference is Spearman's, written on the panel. Pictures
are drawn without pyplot and without metadata, so the same cohort gives the same bytes (with the same matplotlib).
"""

import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analytics.methods.correlation import Correlation, spearman
from analytics.methods.linear import CONFIDENCE, INTERCEPT, Array, LinearFit, fit_linear
from analytics.methods.rows import as_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES = 6.0
HEIGHT_INCHES = 4.2
DOTS_PER_INCH = 200
"""1200 × 840 pixels: sharp at 600 wide on a screen of double density."""

POINT_COLOUR = "#1f5f8b"
LINE_COLOUR = "#b3371c"
GRID_COLOUR = "#e4e7ea"
TEXT_COLOUR = "#20262b"
BAND_POINTS = 101
LEFT_EDGE = 0.13
"""Left edge of the panel, as a share of the width: room for the labels of the VBQ axis."""


FONT = "DejaVu Sans"
"""The font that matplotlib brings, the first of its own list; looking for the others takes a tenth of a picture."""

PNG_LEVEL = 3
"""Of zlib; 6 takes half as long again and saves a tenth."""

PIXELS_IN_SVG = 144
"""Per inch, of what is drawn as pixels in an SVG: sharp at its size on a screen of double density."""

MOST_DRAWN_SINGLY = 500
"""More points than this are one picture inside an SVG: a path for each takes most of the time of a night."""


def in_pixels(points: int) -> bool:
    """Whether so many points are drawn as pixels in an SVG; lines and words stay what they are."""
    return points > MOST_DRAWN_SINGLY


def scatter(cohort: pd.DataFrame, x: str, *, x_label: str) -> bytes:
    """The picture of :func:`scatter_figure`, a PNG of 1200 × 840 pixels."""
    return png(scatter_figure(cohort, x, x_label=x_label))


def scatter_figure(cohort: pd.DataFrame, x: str, *, x_label: str) -> "Figure":
    """Draw VBQ against a column: points, least-squares line with 95 % band of the mean, ρ, p and n on the panel.

    Parameters
    ----------
    cohort
        One row per episode with ``vbq`` and ``x``; pairs that are not finite are left out.
    x_label
        The label of the x axis, with the unit.

    Without a correlation (too few pairs) the panel says so and has no line.
    """
    values, vbq = _pairs(cohort, x)
    correlation = spearman(values, vbq)
    figure = new_figure()
    axes = figure.add_axes((LEFT_EDGE, 0.145, 0.975 - LEFT_EDGE, 0.735))
    plain_axes(axes, x_label, "VBQ (higher: poorer bone)")
    size = 30 if len(values) <= 500 else max(4.0, 30 * (500 / len(values)) ** 0.5)
    axes.scatter(values, vbq, s=size, color=POINT_COLOUR, alpha=0.55, linewidths=0.5, edgecolors="white",
                 rasterized=in_pixels(len(values)))  # fmt: skip
    if correlation.rho is not None:
        grid = np.linspace(values.min(), values.max(), BAND_POINTS)
        fitted, low, high = trend(values, vbq, grid)
        axes.fill_between(grid, low, high, color=LINE_COLOUR, alpha=0.18, linewidth=0)
        axes.plot(grid, fitted, color=LINE_COLOUR, linewidth=2.0)
    axes.margins(x=0.03, y=0.06)
    axes.locator_params(nbins=6)
    if not len(values):
        axes.set(xticks=[], yticks=[])
    # Above the panel, where it cannot cover a point.
    figure.text(LEFT_EDGE, 0.925, _annotation(correlation), fontsize=12.5, color=TEXT_COLOUR, ha="left", va="center")
    return figure


def new_figure() -> "Figure":
    """An empty figure of the size that all have."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def plain_axes(axes: "Axes", x_label: str, y_label: str) -> None:
    """Give axes the look that all have."""
    axes.set_axisbelow(True)
    axes.grid(color=GRID_COLOUR, linewidth=0.8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#8a949c")
    axes.set_xlabel(x_label, fontsize=12, color=TEXT_COLOUR)
    axes.set_ylabel(y_label, fontsize=12, color=TEXT_COLOUR)
    axes.tick_params(labelsize=11, colors=TEXT_COLOUR, length=3)


def png(figure: "Figure") -> bytes:
    """A PNG of 1200 × 840 pixels, without metadata."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with rc_context({"font.sans-serif": [FONT]}):
        canvas.draw()  # type: ignore[no-untyped-call]  # matplotlib has no types here
    # All is opaque, so three bytes say a pixel.
    drawn = canvas.buffer_rgba()  # type: ignore[no-untyped-call]  # nor here
    return encoded(np.asarray(drawn)[..., :3])


def encoded(pixels: "np.ndarray[Any, np.dtype[np.uint8]]") -> bytes:
    """Opaque pixels, (rows, columns, 3), as PNG.

    Without a filter of the rows: in pictures of few colours the usual choice of one for each row takes twice the time
    and makes a third more bytes.
    """
    rows, columns, _ = pixels.shape
    filtered = np.zeros((rows, 1 + 3 * columns), dtype=np.uint8)
    filtered[:, 1:] = pixels.reshape(rows, -1)
    eight_bits, true_colour, per_metre = 8, 2, round(DOTS_PER_INCH / 0.0254)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, eight_bits, true_colour, 0, 0, 0)),
            _chunk(b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1)),
            _chunk(b"IDAT", zlib.compress(filtered.data, PNG_LEVEL)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def svg(figure: "Figure") -> bytes:
    """The figure as SVG, the same bytes each time: matplotlib would put the date and random names into it."""
    from matplotlib import rc_context

    buffer = BytesIO()
    with rc_context({"font.sans-serif": [FONT], "svg.hashsalt": "vbq-node"}):
        figure.savefig(buffer, format="svg", dpi=PIXELS_IN_SVG, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def scatter_alt_text(cohort: pd.DataFrame, x: str, x_label: str) -> str:
    """What the picture of :func:`scatter` shows, for who does not see it."""
    correlation = spearman(*_pairs(cohort, x))
    text = f"Scatter plot of VBQ against {x_label}: {_annotation(correlation)}."
    if correlation.rho is None:
        return text
    return f"{text} With a least-squares line and its 95 % band, for visualisation only."


def trend(x: Array, y: Array, grid: Array) -> tuple[Array, Array, Array]:
    """The least-squares line of y on x at the points of ``grid``, and its 95 % band for the mean.

    Returns
    -------
    tuple of arrays
        The line, the lower and the upper bound, each as long as ``grid``.
    """
    from scipy import stats

    fit: LinearFit = fit_linear(y, np.column_stack([np.ones(len(x)), x]), (INTERCEPT, "x"))
    at = np.column_stack([np.ones(len(grid)), grid])
    fitted = at @ fit.b
    se = fit.sigma * np.sqrt(np.einsum("ij,jk,ik->i", at, fit.cov_unscaled, at))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, fit.df_resid)) * se
    return fitted, fitted - half, fitted + half


def _pairs(cohort: pd.DataFrame, x: str) -> tuple[Array, Array]:
    numbers = as_numbers(cohort, (x, "vbq")).to_numpy()
    complete = numbers[np.isfinite(numbers).all(axis=1)]
    return complete[:, 0], complete[:, 1]


def _annotation(correlation: Correlation) -> str:
    if correlation.rho is None or correlation.p is None:
        return f"No correlation can be given, n = {correlation.n}"
    p = "p < 0.001" if correlation.p < 0.001 else f"p = {correlation.p:.3f}"
    rho = f"{correlation.rho:.3f}".replace("-", "−")
    return f"Spearman’s ρ = {rho}, {p}, n = {correlation.n}"
