"""Figures of a risk model: calibration by tenths, and the decision curve of the tiers."""

from typing import TYPE_CHECKING

from analytics.paper.risk import RiskReport
from analytics.pictures.base import LINE_COLOUR, POINT_COLOUR, TEXT_COLOUR, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL = (0.13, 0.145, 0.84, 0.79)


def risk_calibration(report: RiskReport) -> "Figure":
    """Share with the outcome against the mean predicted risk, by tenths, with Wilson's intervals."""
    figure = new_figure()
    axes = figure.add_axes(PANEL)
    plain_axes(axes, "Predicted risk, mean of each tenth", "Share with the outcome, 95 % interval")
    for one in report.deciles:
        if one.observed.ci_low is None or one.observed.ci_high is None or one.observed.value is None:
            continue
        axes.plot([one.predicted] * 2, [one.observed.ci_low, one.observed.ci_high], color=POINT_COLOUR, linewidth=1.6)
        axes.plot([one.predicted], [one.observed.value], "o", color=POINT_COLOUR, markersize=6)
    axes.plot([0, 1], [0, 1], color=LINE_COLOUR, linewidth=1.4, label="predicted as observed")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    words = f"corrected slope {report.slope:.2f}, intercept {report.intercept:+.2f}".replace("-", "−")
    axes.text(0.03, 0.93, words, transform=axes.transAxes, fontsize=11, color=TEXT_COLOUR)
    return figure


def decision_curve(report: RiskReport) -> "Figure":
    """Net benefit of acting by tier, by the risk model, on everybody and on nobody, over threshold probabilities."""
    figure = new_figure()
    axes = figure.add_axes(PANEL)
    plain_axes(axes, "Threshold probability of the outcome", "Net benefit per patient")
    at = [one.threshold for one in report.benefits]
    for values, colour, style, label in (
        ([one.flagged for one in report.benefits], LINE_COLOUR, "-", "flagged"),
        ([one.flagged_or_intermediate for one in report.benefits], "#c77d1a", "-", "flagged or intermediate"),
        ([one.model for one in report.benefits], POINT_COLOUR, "-", "risk model (own patients)"),
        ([one.everybody for one in report.benefits], "#8a949c", "--", "everybody"),
    ):
        axes.plot(at, values, color=colour, linestyle=style, linewidth=1.8, label=label)
    axes.axhline(0, color=TEXT_COLOUR, linewidth=1, linestyle=":", label="nobody")
    axes.set_ylim(-0.1, max(0.05, 1.1 * max(one.model for one in report.benefits)))
    axes.legend(loc="upper right", fontsize=9, frameon=False)
    return figure
