"""Tonight's regression of VBQ with its figures, or why there is none."""

from dataclasses import dataclass
from typing import Any, ClassVar

from sqlite_utils import Database

from analytics.methods.rows import Refusal
from analytics.paper.imputation import ImputedFit
from analytics.paper.regression import OlsFit
from analytics.reasons import words
from node.nightly.sections.counts import FLOW
from node.nightly.sections.section import Audience, Figure, Findings, Section


@dataclass(frozen=True, kw_only=True)
class Regression(Section):
    """The fit, what stands out in it, and the figures of the model."""

    name: ClassVar[str] = "regression"
    for_all: ClassVar[bool] = False
    urgency: ClassVar[int] = 30
    labels: ClassVar[dict[str, str]] = {
        "(Intercept)": "Intercept",
        "age": "Age (years)",
        "sex_male": "Sex (male)",
        "smoking": "Smoking",
        "diabetes": "Diabetes",
        "bmi": "BMI (kg/m²)",
        "nlr": "NLR",
        "plr": "PLR",
    }
    fit_id: str
    fit: OlsFit | Refusal
    imputed: ImputedFit | None
    """With missing values imputed; ``None``: nobody is left out for these alone, or ``not_imputed`` says why."""
    not_imputed: str | None
    alerts: tuple[str, ...]
    model_figures: tuple[Figure, ...]

    @property
    def fitted(self) -> OlsFit | None:
        """The fit; ``None`` where it was refused."""
        return self.fit if isinstance(self.fit, OlsFit) else None

    @property
    def withheld(self) -> frozenset[str]:
        """Predictors whose effects are not shown, because others nearly determine them."""
        return frozenset(term.term for term in self.fitted.terms if term.withheld) if self.fitted else frozenset()

    @property
    def lacking(self) -> str:
        """What is missing, by predictor."""
        missing = {} if self.imputed is None else self.imputed.missing
        return ", ".join(f"{self.labels[name]} {number}" for name, number in missing.items() if number)

    @property
    def eventful(self) -> bool:
        """Whether there is no model tonight."""
        return self.fitted is None

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Those of the model."""
        return self.model_figures

    def subject(self, _audience: Audience) -> tuple[str, ...]:
        """Whether there is no model tonight."""
        return () if self.fitted else ("no model tonight",)

    def to_json_dict(self) -> dict[str, Any]:
        """The model with missing values imputed; that of the complete rows is the record of the fit."""
        return {} if self.imputed is None else {"imputed": self.imputed.to_json_dict()}


def read(db: Database, findings: Findings) -> Regression:
    """The fit, and its alerts in words for a mail."""
    return Regression(
        fit_id=findings.fit_id,
        fit=findings.fit,
        imputed=findings.imputed if isinstance(findings.imputed, ImputedFit) else None,
        not_imputed=str(findings.imputed.reason) if isinstance(findings.imputed, Refusal) else None,
        alerts=_alerts(db, findings.fit),
        model_figures=tuple(figure for figure in findings.figures if figure.name != FLOW),
    )


def _alerts(db: Database, fit: OlsFit | Refusal) -> tuple[str, ...]:
    """The fit's alerts for a mail: about study ids of this node in full, about ids that the site gave by number."""
    if isinstance(fit, Refusal) or not fit.alerts:
        return ()
    episodes = {episode for (episode,) in db.execute("SELECT episode FROM derived_link")}
    # An alert about the model names no row.
    own = words(alert for alert in fit.alerts if "id" not in alert.values or alert.values["id"] in episodes)
    others = len(fit.alerts) - len(own)
    return (*own, *([f"{others} more about imported rows, named in the result of the fit"] if others else []))
