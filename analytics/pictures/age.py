"""Figure of VBQ over age by sex: points, curves and bands."""

from typing import TYPE_CHECKING

import pandas as pd

from analytics.methods.rows import complete_rows
from analytics.paper.age_curve import SEXES, AgeCurves
from analytics.paper.regression import PREDICTORS
from analytics.pictures.base import LEFT_EDGE, LINE_COLOUR, POINT_COLOUR, TEXT_COLOUR, in_pixels, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOKS = {"women": (LINE_COLOUR, "o", "-"), "men": (POINT_COLOUR, "^", "--")}
"""Colour, point and line of each sex, so that they are told apart without colour as well."""


def age_figure(cohort: pd.DataFrame, found: AgeCurves) -> "Figure":
    """The patients of the model with each sex's curve and 95 % band; the two joint tests stand above the panel."""
    frame = complete_rows(cohort, ("vbq", *PREDICTORS)).frame
    figure = new_figure()
    axes = figure.add_axes((LEFT_EDGE, 0.145, 0.975 - LEFT_EDGE, 0.735))
    plain_axes(axes, "Age (years)", "VBQ (higher: poorer bone)")
    size = 22 if len(frame) <= 500 else max(3.0, 22 * (500 / len(frame)) ** 0.5)
    for sex, value in SEXES:
        colour, marker, _ = LOOKS[sex]
        own = frame[frame["sex_male"] == value]
        axes.scatter(own["age"], own["vbq"], s=size, marker=marker, color=colour, alpha=0.3, linewidths=0,
                     rasterized=in_pixels(len(own)))  # fmt: skip
    for curve in found.curves:
        colour, _, style = LOOKS[curve.sex]
        axes.fill_between(curve.age, curve.ci_low, curve.ci_high, color=colour, alpha=0.18, linewidth=0)
        label = f"{curve.sex} (n = {curve.n})"
        axes.plot(curve.age, curve.vbq, color=colour, linewidth=2.2, linestyle=style, label=label)
    axes.margins(x=0.03, y=0.06)
    axes.locator_params(nbins=6)
    axes.legend(
        loc="upper left", fontsize=10.5, framealpha=0.7, edgecolor="none", handlelength=2.6, labelcolor=TEXT_COLOUR
    )
    figure.text(LEFT_EDGE, 0.925, _tests(found), fontsize=10, color=TEXT_COLOUR, ha="left", va="center")
    return figure


def age_alt_text(found: AgeCurves) -> str:
    """What the figure shows, for who does not see it."""
    ends = "; ".join(
        f"{curve.sex} (n = {curve.n}) from {curve.vbq[0]:.2f} at {curve.age[0]:.0f} years to {curve.vbq[-1]:.2f} at "
        f"{curve.age[-1]:.0f}"
        for curve in found.curves
    )
    return (
        "Expected VBQ over age by sex, the other predictors at their means, natural splines with 95 % bands: "
        f"{ends}. {_tests(found)}."
    )


def _tests(found: AgeCurves) -> str:
    return f"Curvature {_p(found.bends.p)}, different course by sex {_p(found.differ.p)}, n = {found.n_used}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
