"""Figures of the cohort: over time by scanner, and two readers against each other."""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from analytics.methods.agreement import BlandAltman
from analytics.methods.linear import Array
from analytics.pictures.base import LINE_COLOUR, POINT_COLOUR, TEXT_COLOUR, in_pixels, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCANNER_COLOURS = (POINT_COLOUR, LINE_COLOUR, "#5a7d2a", "#8a5fb0", "#b0812a")
OTHER_COLOUR = "#8a949c"
RUNNING_PATIENTS = 20
"""Patients of one scanner in the running mean."""
LONGEST_NAME = 34


def over_time(days: Sequence[date], vbq: Array, scanners: Sequence[str]) -> "Figure":
    """VBQ by day with each scanner's running mean of 20 patients, and below how many patients each scanner has had.

    Parameters
    ----------
    days, vbq, scanners
        (n,) each, one patient per place; the five scanners with most patients have a colour of their own.
    """
    from matplotlib.dates import AutoDateLocator

    figure = new_figure()
    upper = figure.add_axes((0.13, 0.43, 0.84, 0.43))
    lower = figure.add_axes((0.13, 0.12, 0.84, 0.24), sharex=upper)
    plain_axes(upper, "", "VBQ")
    plain_axes(lower, "", "Patients")
    moment = np.array(days, dtype="datetime64[D]")
    names = np.array(scanners, dtype=object)
    order = np.lexsort((vbq, moment))
    shown = sorted(set(scanners), key=lambda name: (-int((names == name).sum()), name))
    size = 14 if len(vbq) <= 500 else 4
    for place, name in enumerate(shown):
        own = order[names[order] == name]
        colour = SCANNER_COLOURS[place] if place < len(SCANNER_COLOURS) else OTHER_COLOUR
        label = f"{name[:LONGEST_NAME]} (n = {len(own)})" if place < len(SCANNER_COLOURS) else None
        upper.scatter(moment[own], vbq[own], s=size, color=colour, alpha=0.45, linewidths=0,
                      rasterized=in_pixels(len(own)))  # fmt: skip
        if len(own) >= RUNNING_PATIENTS:
            mean = np.convolve(vbq[own], np.full(RUNNING_PATIENTS, 1 / RUNNING_PATIENTS), mode="valid")
            upper.plot(moment[own][RUNNING_PATIENTS - 1 :], mean, color=colour, linewidth=1.8)
        lower.step(moment[own], np.arange(1, len(own) + 1), where="post", color=colour, linewidth=1.6, label=label)
    upper.tick_params(labelbottom=False)
    lower.locator_params(axis="y", nbins=4)
    lower.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=6))  # type: ignore[no-untyped-call]  # matplotlib's
    lower.tick_params(axis="x", labelsize=9)
    figure.legend(loc="upper left", bbox_to_anchor=(0.11, 0.99), ncols=2, fontsize=9, frameon=False)
    return figure


def bland_altman_figure(first: Array, second: Array, limits: BlandAltman, *, names: tuple[str, str]) -> "Figure":
    """Difference (first less second) against mean, with the bias and the 95 % limits of agreement."""
    figure = new_figure()
    axes = figure.add_axes((0.13, 0.145, 0.72, 0.79))
    plain_axes(axes, f"Mean VBQ of {names[0]} and {names[1]}", f"{names[0]} less {names[1]}")
    both = np.isfinite(first) & np.isfinite(second)
    middle, difference = ((first + second) / 2)[both], (first - second)[both]
    axes.scatter(middle, difference, s=26, color=POINT_COLOUR, alpha=0.6, linewidths=0)
    for value, style in ((limits.bias, "-"), (limits.lower_limit, "--"), (limits.upper_limit, "--")):
        axes.axhline(value, color=LINE_COLOUR, linewidth=1.5, linestyle=style)
        axes.annotate(
            f"{value:+.3f}".replace("-", "−"), (1.01, value), xycoords=("axes fraction", "data"), va="center",
            fontsize=10.5, color=TEXT_COLOUR,
        )  # fmt: skip
    axes.axhspan(limits.bias_ci_low, limits.bias_ci_high, color=LINE_COLOUR, alpha=0.12, linewidth=0)
    axes.margins(x=0.04, y=0.12)
    return figure
