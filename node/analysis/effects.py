"""The cells of an effect; empty where the predictors determine each other."""

from analytics.paper.regression import WITHHELD_VIF, Term
from node.analysis.cells import interval, number

WITHHELD = f"Effects of predictors with a VIF above {WITHHELD_VIF:g} are not shown: others nearly determine them."


def effect(term: Term) -> tuple[str, str, str]:
    """Coefficient, its interval, and the standardised coefficient."""
    if term.withheld:
        return ("–", "–", "–")
    return number(term.b, 4), interval(term.ci_low, term.ci_high, 4), number(term.beta_std)
