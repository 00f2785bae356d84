"""Figures of the models: coefficients, residuals and leverage, calibration, and ROC curves with their cuts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analytics.methods.linear import Array, LinearFit, externally_studentised
from analytics.methods.roc import Roc
from analytics.paper.regression import OlsFit
from analytics.pictures.base import LINE_COLOUR, POINT_COLOUR, TEXT_COLOUR, in_pixels, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TENTHS = 10
CURVE_COLOURS = (POINT_COLOUR, LINE_COLOUR, "#5a7d2a")


def coefficients(model: OlsFit, labels: Mapping[str, str]) -> "Figure":
    """The standardised coefficients (VBQ in SD per SD of each predictor) and their 95 % intervals; no withheld ones."""
    terms = [term for term in reversed(model.terms) if term.beta_std is not None and term.b != 0 and not term.withheld]
    figure = new_figure()
    axes = figure.add_axes((0.22, 0.145, 0.75, 0.79))
    plain_axes(axes, "β standardised (SD of VBQ per SD), 95 % interval", "")
    for place, term in enumerate(terms):
        scale = (term.beta_std or 0.0) / term.b
        axes.plot([term.ci_low * scale, term.ci_high * scale], [place, place], color=POINT_COLOUR, linewidth=2.2)
        axes.plot([term.beta_std or 0.0], [place], "o", color=POINT_COLOUR, markersize=7)
    axes.axvline(0, color=TEXT_COLOUR, linewidth=1, linestyle="--")
    axes.set_yticks(range(len(terms)), [labels[term.term] for term in terms])
    return figure


def residuals(fit: LinearFit, ids: Sequence[str]) -> "Figure":
    """Residuals against fitted values, and studentised residuals against leverage; the three furthest are named."""
    figure = new_figure()
    studentised = externally_studentised(fit)
    panels = (
        (figure.add_axes((0.11, 0.145, 0.37, 0.79)), fit.fitted, fit.residuals, "Fitted VBQ", "Residual (VBQ)"),
        (figure.add_axes((0.61, 0.145, 0.37, 0.79)), fit.leverage, studentised, "Leverage", "Studentised residual"),
    )
    size = 18 if fit.n <= 500 else 5
    for axes, x, y, x_label, y_label in panels:
        plain_axes(axes, x_label, y_label)
        axes.scatter(x, y, s=size, color=POINT_COLOUR, alpha=0.55, linewidths=0, rasterized=in_pixels(fit.n))
        axes.axhline(0, color=LINE_COLOUR, linewidth=1.2)
        axes.locator_params(nbins=4)
        for i in np.argsort(-np.nan_to_num(np.abs(studentised)), kind="stable")[:3].tolist():
            axes.annotate(
                ids[i], (x[i], y[i]), fontsize=8, color=TEXT_COLOUR, xytext=(3, 3), textcoords="offset points"
            )
    return figure


def calibration(fit: LinearFit) -> "Figure":
    """Observed against predicted VBQ, mean by tenth of the prediction; on the line they are the same."""
    figure = new_figure()
    axes = figure.add_axes((0.13, 0.145, 0.84, 0.79))
    plain_axes(axes, "Predicted VBQ, mean of each tenth", "Observed VBQ, mean with ± 2 SE")
    predicted, observed, error = calibration_points(fit)
    ends = [min(predicted.min(), observed.min()), max(predicted.max(), observed.max())]
    axes.plot(ends, ends, color=LINE_COLOUR, linewidth=1.5)
    axes.errorbar(predicted, observed, yerr=2 * error, fmt="o", color=POINT_COLOUR, capsize=3)
    return figure


def calibration_points(fit: LinearFit) -> tuple[Array, Array, Array]:
    """Mean prediction, mean observation and its standard error in each tenth of the prediction, (10,) each."""
    groups = np.array_split(np.argsort(fit.fitted, kind="stable"), TENTHS)
    return (
        np.array([fit.fitted[group].mean() for group in groups]),
        np.array([fit.outcome[group].mean() for group in groups]),
        np.array([fit.outcome[group].std(ddof=1) / np.sqrt(len(group)) for group in groups]),
    )


def roc_curves(
    cohort: pd.DataFrame, positive: pd.Series, curves: Mapping[str, Roc], labels: Mapping[str, str]
) -> "Figure":
    """The curve of each marker with Youden's cut marked and its area in the legend."""
    figure = new_figure()
    axes = figure.add_axes((0.13, 0.145, 0.84, 0.79))
    plain_axes(axes, "1 − specificity", "Sensitivity")
    for colour, (name, curve) in zip(CURVE_COLOURS, curves.items(), strict=False):
        false_rate, true_rate = roc_points(cohort[name].to_numpy(float), positive.to_numpy(float))
        text = f"{labels[name]}: area {curve.auc:.3f} ({curve.auc_ci_low:.3f}–{curve.auc_ci_high:.3f})"
        axes.plot(false_rate, true_rate, color=colour, linewidth=1.8, label=text)
        best = curve.youden
        if best.sensitivity.value is not None and best.specificity.value is not None:
            where = (1 - best.specificity.value, best.sensitivity.value)
            axes.plot(*where, "o", color=colour, markersize=8)
            axes.annotate(f"{best.cut:.4g}", where, fontsize=10, xytext=(8, -12), textcoords="offset points")
    axes.plot([0, 1], [0, 1], color="#8a949c", linewidth=1, linestyle="--")
    axes.legend(loc="lower right", fontsize=10, frameon=False)
    return figure


def roc_points(marker: Array, positive: Array) -> tuple[Array, Array]:
    """False and true positive rates from (0, 0) to (1, 1), a point for each different value of the marker."""
    there = np.isfinite(marker) & np.isfinite(positive)
    cuts = np.concatenate([np.unique(marker[there]), [np.inf]])[::-1]
    rates = []
    for group in (marker[there & (positive == 0)], marker[there & (positive > 0)]):
        rates.append(1 - np.searchsorted(np.sort(group), cuts, side="left") / len(group))
    return rates[0], rates[1]
