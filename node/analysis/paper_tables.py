"""The paper's tables beside this cohort's: each cell is this cohort's value, then the paper's."""

from collections.abc import Mapping

from analytics.methods.correlation import Correlation
from analytics.paper.inconsistencies import inconsistencies
from analytics.paper.printed import (
    ADJUSTED_R2,
    P_DIAGNOSIS,
    RHO,
    TABLE_1_BINARY,
    TABLE_1_CONTINUOUS,
    TABLE_1_DIAGNOSIS,
    TABLE_2,
)
from analytics.paper.regression import OlsFit
from analytics.paper.tables import TableOne
from node.analysis.cells import LABELS, Table, interval, number, p_value
from node.analysis.effects import effect


def _pair(ours: str, theirs: str) -> str:
    return f"{ours} | {theirs}"


def beside_table_1(t: TableOne) -> Table:
    """Table 1 beside the paper's."""
    rows = []
    for line in (line for line in t.continuous if line.variable in TABLE_1_CONTINUOUS):
        high, high_sd, low, low_sd, p = TABLE_1_CONTINUOUS[line.variable]
        groups = ((line.high, high, high_sd), (line.low, low, low_sd))
        cells = [
            _pair(f"{number(group.mean, 2)} ± {number(group.sd, 2)}", f"{mean} ± {sd}") for group, mean, sd in groups
        ]
        rows.append((LABELS[line.variable], *cells, _pair(p_value(line.means.welch.p), p)))
    for share in (line for line in t.binary if line.variable in TABLE_1_BINARY):
        high_yes, high_no, low_yes, low_no, p = TABLE_1_BINARY[share.variable]
        cells = [
            _pair(f"{share.high_yes} / {share.high_no}", f"{high_yes} / {high_no}"),
            _pair(f"{share.low_yes} / {share.low_no}", f"{low_yes} / {low_no}"),
        ]
        rows.append((f"{LABELS[share.variable]}, yes / no", *cells, _pair(p_value(share.p), p)))
    for kinds in (line for line in t.classes if set(line.counts) == set(TABLE_1_DIAGNOSIS)):
        for label, (of_high, of_low) in TABLE_1_DIAGNOSIS.items():
            mine = kinds.counts[label]
            cells = [_pair(str(mine[0]), str(of_high)), _pair(str(mine[1]), str(of_low))]
            rows.append((f"{LABELS[kinds.variable]}: {label}", *cells, _pair(p_value(kinds.p), P_DIAGNOSIS)))
    return Table(
        name="paper_table1",
        title="Table 1 beside the paper's (this | paper)",
        columns=("", f"High VBQ (n = {t.high} | 99)", f"Low VBQ (n = {t.low} | 101)", "p"),
        rows=tuple(rows),
        note="p beside means is Welch's t. "
        "As printed but for the women of the low group: see what the paper's print contradicts.",
    )


def print_of_the_paper() -> Table:
    """Where the paper's printed numbers do not follow from each other."""
    bmi_sds = " and ".join(TABLE_1_CONTINUOUS["bmi"][1:4:2])
    return Table(
        name="paper_inconsistencies",
        title="What the paper's print contradicts",
        columns=("", "Printed", "Follows from the rest", "How"),
        rows=tuple((one.what, one.printed, one.follows, one.arithmetic) for one in inconsistencies()),
        note="The intervals of its mean differences are Welch's with the normal quantile 1.96, not with t. The SD of "
        f"its BMI ({bmi_sds} kg/m²) is not contradicted by the rest but is a quarter of what adults have (3 to 4).",
    )


def beside_table_2(model: OlsFit, correlations: Mapping[str, Correlation]) -> Table:
    """Table 2 and the correlations beside the paper's."""
    rows = []
    for term in (term for term in model.terms if term.term in TABLE_2):
        b, beta, t, low, high, vif, partial, p = TABLE_2[term.term]
        rho = correlations[term.term].rho if term.term in RHO else None
        our_b, limits, our_beta = effect(term)
        rows.append(
            (
                LABELS[term.term],
                _pair(our_b, number(b, 4)),
                _pair(our_beta, number(beta)),
                _pair(number(term.t, 2), number(t, 2)),
                _pair(limits, interval(low, high, 4)),
                _pair(number(term.vif, 2), number(vif, 2)),
                _pair(number(term.partial_r2), number(partial)),
                _pair(p_value(term.p), p),
                _pair(number(rho), number(RHO.get(term.term))),
            )
        )
    return Table(
        name="paper",
        title="Table 2 beside the paper's (this | paper)",
        columns=("", "b", "β standardised", "t", "95 % CI", "VIF", "Partial R²", "p", "Spearman's ρ"),
        rows=tuple(rows),
        note=f"Adjusted R² {number(model.adj_r2, 4)} | {number(ADJUSTED_R2, 4)}; n = {model.n_used} | 200. "
        "The paper: 200 patients of one centre.",
    )
