"""The paper's whole analysis of one cohort table: every part computed, or refused with its reason.

What the paper does not state is a choice here and stands on the result: the cut, the share clipped, the covariates
of the logistic model (all of Table 2, with the logarithms of the ratios per standard deviation).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from analytics.episodes.cuts import MARKERS, institutional_cuts
from analytics.methods.correlation import Correlation, spearman
from analytics.methods.plain import to_plain
from analytics.methods.roc import AucComparison, Roc, compare_areas, roc
from analytics.methods.rows import Refusal
from analytics.paper.age_curve import AgeCurves, age_curves
from analytics.paper.imputation import ImputedFit, imputed_model
from analytics.paper.logistic import LogisticFit, logistic_model, split_by
from analytics.paper.ratio_parts import COUNTS, RatioParts, ratio_parts
from analytics.paper.readers import ReaderReport, compare_readers
from analytics.paper.regression import OlsFit, fit_vbq_model
from analytics.paper.risk import RiskReport, risk_report
from analytics.paper.sensitivity import WinsorisedFit, log_ratio_model, winsorised_model
from analytics.paper.shape import ShapeReport, shape_report
from analytics.paper.strata import StrataReport, by_scanner
from analytics.paper.tables import TableOne, median_cut, table_one
from analytics.paper.upper_quartile import QUARTILE, UpperQuartile, upper_quartile
from analytics.paper.validation import Validation, validate
from analytics.reasons import Reason, Value, codes, words

CORRELATED = ("age", "nlr", "plr", "bmi")
RATIOS = ("nlr", "plr")
NO_DISCRIMINATION = 0.5
"""ROC area of a marker that says nothing."""
CIRCULAR = (
    "the outcome is VBQ itself: a cut found here says how the ratio goes with VBQ, and must not be used "
    "together with VBQ to tier patients"
)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the analysis is asked to do.

    ``cut``: VBQ at or above it is high; ``None`` for the cohort's median. ``clipped``: share on each side of the
    ratios. ``outcome``: name of a column of 1 and 0 that the markers are judged against; ``None`` for high VBQ.
    """

    seed: int = 1
    cut: float | None = None
    clipped: float = 0.01
    outcome: str | None = None


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Every part of the analysis, or why it is not there. ``cut`` is ``None`` where nobody has a VBQ.

    ``areas`` compares the ROC areas of two markers each. ``scanners`` is ``None`` where the table does not name them,
    ``readers`` where no readings were given, ``parts`` where there are no counts, ``imputed`` where no incomplete rows
    were given, and ``risk`` without an outcome.
    """

    choices: Choices
    cut: float | None
    table_one: TableOne | Refusal
    correlations: dict[str, Correlation]
    model: OlsFit | Refusal
    validation: Validation | Refusal
    log_ratios: OlsFit | Refusal
    winsorised: WinsorisedFit | Refusal
    logistic: LogisticFit | Refusal
    shape: ShapeReport | Refusal
    age_curves: AgeCurves | Refusal
    curves: dict[str, Roc | Refusal]
    areas: dict[str, AucComparison | Refusal]
    scanners: StrataReport | Refusal | None
    readers: ReaderReport | None
    parts: RatioParts | Refusal | None
    upper_quartile: UpperQuartile | Refusal
    imputed: ImputedFit | Refusal | None
    risk: RiskReport | Refusal | None
    split: tuple[str, ...] = ()
    """Predictors that each tell high VBQ without an error."""

    def refusals(self) -> tuple[str, ...]:
        """What is not there and why, a sentence each."""
        parts: dict[str, Any] = {
            "Table 1": self.table_one,
            "multivariable model": self.model,
            "validation": self.validation,
            "model with ln ratios": self.log_ratios,
            "winsorised model": self.winsorised,
            "logistic model": self.logistic,
            "curves and interactions": self.shape,
            "curves of age by sex": self.age_curves,
            **{f"ROC of {name}": one for name, one in self.curves.items()},
            "model by scanner": self.scanners,
        }
        return (*_refused(parts), *(self.readers.refusals() if self.readers else ()))

    def further_refusals(self) -> tuple[str, ...]:
        """The same of what the paper has not; an analysis is whole without."""
        return _refused(
            {
                "model with the counts apart": self.parts,
                "upper quartile by age and sex": self.upper_quartile,
                "model with imputed values": self.imputed,
                "risk model": self.risk,
            }
        )

    def alerts(self) -> tuple[Reason, ...]:
        """What a person should look at before believing the numbers."""
        return (*self._of_the_model(), *self._of_the_curves(), *(self.readers.doubts if self.readers else ()))

    def _of_the_model(self) -> Iterator[Reason]:
        if self.split:
            yield Reason("predictors-split-groups", {"terms": self.split, "cut": self.cut})
        if isinstance(self.model, Refusal):
            return
        yield from self.model.alerts
        for name in self.model.aliased:
            yield Reason("term-not-estimated", {"term": name})
        if isinstance(self.validation, Validation) and self.validation.r2_corrected < 0:
            yield Reason("model-predicts-nothing", {"r2": self.validation.r2_corrected})
        if isinstance(self.logistic, LogisticFit) and self.logistic.method == "Firth":
            by = self.logistic.separated_by
            yield Reason("groups-separated-by", {"terms": by}) if by else Reason("groups-separated")

    def _of_the_curves(self) -> Iterator[Reason]:
        for name, curve in self.curves.items():
            if isinstance(curve, Refusal):
                continue
            outcome = self.choices.outcome or f"VBQ ≥ {self.cut:g}"
            if curve.auc == 1:
                yield Reason("roc-without-error", {"marker": name, "outcome": outcome, "rows": curve.n})
            elif self.choices.outcome is not None and curve.auc_ci_high < NO_DISCRIMINATION:
                # Against VBQ itself nothing can be coded the wrong way: a low ratio there is a finding.
                about: dict[str, Value] = {"marker": name, "outcome": outcome, "area": curve.auc}
                yield Reason("roc-backwards", {**about, "low": curve.auc_ci_low, "high": curve.auc_ci_high})

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; a part that is refused holds its ``reason``."""
        alerts = self.alerts()
        said = {"alerts": words(alerts), "alert_codes": codes(alerts)}
        return {**to_plain(self), "refusals": list(self.refusals()), **said}


def analyse(
    cohort: pd.DataFrame,
    choices: Choices,
    *,
    readings: pd.DataFrame | None = None,
    incomplete: pd.DataFrame | None = None,
) -> Analysis:
    """Analyse a cohort.

    Parameters
    ----------
    cohort
        One row per episode with the promised columns, and ``choices.outcome`` if there is one; with
        ``scanner_stratum`` the model is also given by scanner. Rows not eligible are the caller's to leave out.
    readings
        As for :func:`analytics.paper.readers.compare_readers`.
    incomplete
        Rows like those of the cohort that would be in it but for the values that they lack.
    """
    median = median_cut(cohort)
    cut = choices.cut if choices.cut is not None else median if isinstance(median, float) else None
    correlations = {name: spearman(cohort[name].to_numpy(), cohort["vbq"].to_numpy()) for name in CORRELATED}
    return Analysis(
        choices=choices,
        cut=cut,
        table_one=_no_cut(cohort) if cut is None else table_one(cohort, cut=cut),
        correlations=correlations,
        model=fit_vbq_model(cohort),
        validation=validate(cohort, seed=choices.seed),
        log_ratios=log_ratio_model(cohort),
        winsorised=winsorised_model(cohort, share=choices.clipped),
        logistic=_no_cut(cohort) if cut is None else logistic_model(cohort, cut=cut),
        shape=shape_report(cohort),
        age_curves=age_curves(cohort),
        curves=_curves(cohort, cut, choices),
        areas=_areas(cohort, cut, choices),
        scanners=by_scanner(cohort) if "scanner_stratum" in cohort else None,
        readers=None if readings is None else compare_readers(readings),
        parts=_parts(cohort),
        upper_quartile=upper_quartile(cohort),
        imputed=None if incomplete is None else imputed_model(pd.concat([cohort, incomplete]), seed=choices.seed),
        risk=None if choices.outcome is None else _risk(cohort, choices.outcome, choices),
        split=() if cut is None else split_by(cohort, cut=cut),
    )


def _refused(parts: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(f"{name}: {part.reason}" for name, part in parts.items() if isinstance(part, Refusal))


def _parts(cohort: pd.DataFrame) -> RatioParts | Refusal | None:
    if not set(COUNTS) <= set(cohort.columns) or not cohort[list(COUNTS)].notna().any().all():
        return None
    return ratio_parts(cohort)


def _risk(cohort: pd.DataFrame, outcome: str, choices: Choices) -> RiskReport | Refusal:
    """With the cuts of the node: upper quartiles, and of VBQ the one that was chosen."""
    quartiles = cohort[list(MARKERS)].quantile(QUARTILE)
    if not (quartiles > 0).all():
        return _no_cut(cohort)
    vbq = choices.cut if choices.cut is not None else float(quartiles["vbq"])
    cuts = institutional_cuts(vbq, float(quartiles["nlr"]), float(quartiles["plr"]))
    return risk_report(cohort, outcome=outcome, cuts=cuts, seed=choices.seed)


def _curves(cohort: pd.DataFrame, cut: float | None, choices: Choices) -> dict[str, Roc | Refusal]:
    outcome = _outcome(cohort, cut, choices)
    if outcome is None:
        return {name: _no_cut(cohort) for name in RATIOS}
    circular = CIRCULAR if choices.outcome is None else None
    return {name: roc(cohort[name], outcome, seed=choices.seed, circular=circular) for name in _markers(choices)}


def _areas(cohort: pd.DataFrame, cut: float | None, choices: Choices) -> dict[str, AucComparison | Refusal]:
    outcome = _outcome(cohort, cut, choices)
    if outcome is None:
        return {}
    pairs = combinations(_markers(choices), 2)
    return {f"{one} − {other}": compare_areas(cohort[one], cohort[other], outcome) for one, other in pairs}


def _markers(choices: Choices) -> tuple[str, ...]:
    return RATIOS if choices.outcome is None else ("vbq", *RATIOS)


def _outcome(cohort: pd.DataFrame, cut: float | None, choices: Choices) -> pd.Series | None:
    """The outcome column, or else high VBQ; ``None`` where nobody has a VBQ."""
    if choices.outcome is not None:
        return cohort[choices.outcome]
    return None if cut is None else (cohort["vbq"] >= cut).astype("float64").where(cohort["vbq"].notna())


def _no_cut(cohort: pd.DataFrame) -> Refusal:
    return Refusal(reason=Reason("nobody-has-vbq"), n_rows=len(cohort), n_used=0, omitted={})
