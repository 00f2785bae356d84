"""The tables of readers' agreement."""

from analytics.methods.agreement import Agreement, BlandAltman, NoAgreement
from analytics.paper.readers import ReaderReport
from node.analysis.cells import Table, interval, number, p_value


def agreement_tables(report: ReaderReport) -> tuple[Table, Table]:
    """ICC with SEM and MDC, and Bland and Altman's limits; a line for each pair."""
    lines: list[tuple[str, Agreement | NoAgreement]] = [
        (f"{pair.first} and {pair.second}", pair.agreement) for pair in report.pairs
    ]
    if report.together is not None:
        lines.insert(0, ("all readers together", report.together))
    coefficients = Table(
        name="agreement",
        title="Agreement of the readers",
        columns=("", "n", "ICC(2,1) (95 % CI)", "ICC(3,1) (95 % CI)", "p", "SEM agreement", "SEM consistency", "MDC"),
        rows=tuple((name, *_coefficients(one)) for name, one in lines),
        note="ICC(2,1): two-way random, absolute agreement, one reading. ICC(3,1): two-way mixed, consistency. SEM: "
        "standard error of measurement; MDC: smallest change of one patient beyond error (95 %, consistency), in VBQ.",
    )
    limits = Table(
        name="limits",
        title="Bland and Altman: first less second",
        columns=("", "n", "Bias (95 % CI)", "SD", "Lower limit (95 % CI)", "Upper limit (95 % CI)", "p of slope"),
        rows=tuple((f"{pair.first} − {pair.second}", *_limits(pair.limits)) for pair in report.pairs),
        note="Limits of agreement: bias ± 1.96 SD, with exact intervals (Carkeet 2015). p of slope: "
        "whether the difference depends on the size of the score.",
    )
    return coefficients, limits


def _coefficients(one: Agreement | NoAgreement) -> tuple[str, ...]:
    if isinstance(one, NoAgreement):
        return (str(one.n), str(one.reason), *("–",) * 5)
    two, three = one.single_agreement, one.single_consistency
    return (
        str(one.n),
        f"{number(two.icc)} ({interval(two.ci_low, two.ci_high)})",
        f"{number(three.icc)} ({interval(three.ci_low, three.ci_high)})",
        p_value(two.p),
        number(one.sem_agreement),
        number(one.sem_consistency),
        number(one.mdc95_consistency),
    )


def _limits(one: BlandAltman | NoAgreement) -> tuple[str, ...]:
    if isinstance(one, NoAgreement):
        return (str(one.n), str(one.reason), *("–",) * 4)
    bias = f"{number(one.bias)} ({interval(one.bias_ci_low, one.bias_ci_high)})"
    lower = f"{number(one.lower_limit)} ({interval(one.lower_limit_ci_low, one.lower_limit_ci_high)})"
    upper = f"{number(one.upper_limit)} ({interval(one.upper_limit_ci_low, one.upper_limit_ci_high)})"
    return (str(one.n), bias, number(one.sd), lower, upper, p_value(one.slope_p))
