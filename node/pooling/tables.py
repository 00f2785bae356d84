"""The tables of a pool as people read them: text cells, ready for CSV and HTML."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analytics.methods.linear import Estimate, JointTest
from analytics.methods.random_effects import RandomEffects
from analytics.paper.regression import EFFECT_UNITS, Term
from analytics.pooling.histogram import Between
from analytics.pooling.pool import Pool, PooledCorrelation
from analytics.reasons import Reason
from node.analysis.cells import LABELS, Table, interval, number, p_value
from node.analysis.effects import WITHHELD, effect
from node.pooling.file import Content

NOT_POOLED = (
    ("Spearman's ρ over all patients", "ranks are of all rows together", "ρ within each scanner, combined over z"),
    ("HC3 and other robust errors", "they need each row's residual", "each site's own analysis"),
    ("Medians, quartiles and quantile cut-offs", "they need the sorted values", "between which edges they lie"),
    ("ROC areas and Youden's cuts", "they need each patient's marker and outcome", "each site's own analysis"),
    ("Bootstrap intervals and optimism", "they draw patients anew", "each site left out in turn"),
    ("Age squared, splines, interactions", "the sums are of the paper's seven predictors", "each site's own analysis"),
    ("Influence of single patients", "nobody may be seen alone", "each site's own analysis"),
    ("Patients of two sites", "no site gives names away", "the sites must know that they share none"),
)
"""What sums cannot tell, why, and what stands in its place."""


def tables(pool: Pool, contents: Sequence[Content], files: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Every table of the report."""
    return [
        _files(files), _sites(pool, contents), _model(pool), _effects(pool), *_random(pool), *_without(pool),
        _levels(pool), *_correlations(pool), _quantiles(pool), _flow(contents), _not_pooled(),
    ]  # fmt: skip


def _files(files: Sequence[Mapping[str, Any]]) -> Table:
    rows = tuple(
        (
            one["site"],
            one["exported_on"],
            one["software"],
            f"{one['measurement']['name']} {one['measurement']['version']}",
            str(one["guards"]["minimum_cell"]),
            one["fingerprint"],
            "yes" if one["fingerprint_compared"] else "no",
        )
        for one in files
    )
    return Table(
        name="pool_files",
        title="Files",
        columns=("", "Exported", "Software", "Measurement", "Smallest cell", "Key (SHA-256)", "Compared"),
        rows=rows,
        note="A signature says that a file was not changed since the holder of that key signed it. Who that is, is "
        "known only when the fingerprint was compared with the site's own, over another way.",
    )


def _sites(pool: Pool, contents: Sequence[Content]) -> Table:
    rows = []
    for content in contents:
        for group in content.groups:
            means = group.means
            spread = (group.yy / (group.n - group.strata)) ** 0.5
            vbq = f"{number(means['vbq'])} ± {number(spread)}" if means else f"– ± {number(spread)}"
            cells = [number(means[name], 2) if means else "–" for name in ("age", "bmi", "nlr", "plr")]
            shares = [f"{100 * means[name]:.0f} %" if means else "–" for name in ("sex_male", "smoking", "diabetes")]
            rows.append((f"{content.site}: {group.scanner}", str(group.n), vbq, *cells, *shares))
    return Table(
        name="pool_sites",
        title="Patients by site and scanner",
        columns=("", "n", "VBQ, mean ± SD", "Age", "BMI", "NLR", "PLR", "Men", "Smoking", "Diabetes"),
        rows=(*rows, ("All", str(pool.n), *("–",) * 8)),
        note="Of scanners taken together because each has too few patients only the spread within them is known.",
    )


def _model(pool: Pool) -> Table:
    note = (
        f"n = {pool.n}, {pool.strata} scanners, each with a level of its own; R² within scanners "
        f"{number(pool.r2_within)}, adjusted {number(pool.adj_r2_within)}; residual SD {number(pool.residual_sd)}. "
        "Equal to the fit on all rows with a column for each scanner. β standardised by the standard deviations within "
        "scanners."
    )
    if pool.slopes_test is not None:
        note += f" The sites have the same seven slopes: {_f_test(pool.slopes_test)}."
    if any(term.withheld for term in pool.terms):
        note += f" {WITHHELD}"
    return Table(
        name="pool_model",
        title="Multivariable model over all sites",
        columns=("", "b", "95 % CI", "β standardised", "p", "VIF", "Partial R²"),
        rows=tuple(_term(term) for term in pool.terms),
        note=note,
    )


def _term(term: Term) -> tuple[str, ...]:
    return (LABELS[term.term], *effect(term), p_value(term.p), number(term.vif, 2), number(term.partial_r2))


def _effects(pool: Pool) -> Table:
    rows = tuple(
        (f"{LABELS[one.term]}, + {one.per:g}", number(one.b, 4), interval(one.ci_low, one.ci_high, 4))
        for one in pool.effects
    )
    return Table(name="pool_effects", title="Change of VBQ", columns=("", "VBQ", "95 % CI"), rows=rows)


def _random(pool: Pool) -> Iterator[Table]:
    rows: list[tuple[str, ...]] = []
    for name, found in pool.random.items():
        rows += [
            (f"{LABELS[name]}: {site.site}", number(one.b, 4), interval(one.ci_low, one.ci_high, 4), *("–",) * 5)
            for site in pool.sites
            for one in site.terms
            if one.term == name
        ]
        rows.append((f"{LABELS[name]}: all sites", *_cells(found)))
    yield Table(
        name="pool_random",
        title="The ratios between sites (random effects)",
        columns=("", "b", "95 % CI", "p", "τ²", "I²", "Heterogeneity: p", "A further site (95 %)"),
        rows=tuple(rows),
        note="REML; interval after Hartung and Knapp on k − 1 degrees of freedom, never narrower than without their "
        "factor. With few sites τ² and I² are uncertain themselves.",
    )


def _cells(found: RandomEffects | Reason) -> tuple[str, ...]:
    if isinstance(found, Reason):
        return (f"none: {found}", *("–",) * 6)
    ends = interval(found.prediction_low, found.prediction_high, 4)
    interval_of_mean = interval(found.ci_low, found.ci_high, 4)
    between = (f"{found.tau2:.2g}", f"{100 * found.i2:.0f} %", p_value(found.q_p), ends)
    return (number(found.b, 4), interval_of_mean, p_value(found.p), *between)


def _without(pool: Pool) -> Iterator[Table]:
    if not pool.without:
        return
    rows = []
    for one in pool.without:
        common = {line.term: line for line in one.common}
        cells = [cell for name in EFFECT_UNITS for cell in (_line(common.get(name)), _mean(one.random[name]))]
        rows.append((one.site, str(one.n), *cells))
    columns = [f"{LABELS[name]}, {how}" for name in EFFECT_UNITS for how in ("common slope", "mean of sites")]
    yield Table(
        name="pool_without",
        title="Each site left out in turn",
        columns=("Left out", "n", *columns),
        rows=tuple(rows),
    )


def _line(one: Estimate | None) -> str:
    return "–" if one is None else f"{number(one.b, 4)} ({interval(one.ci_low, one.ci_high, 4)})"


def _mean(found: RandomEffects | Reason) -> str:
    if isinstance(found, Reason):
        return "–"
    return f"{number(found.b, 4)} ({interval(found.ci_low, found.ci_high, 4)})"


def _levels(pool: Pool) -> Table:
    rows = tuple(
        (
            f"{one.site}: {one.scanner}", str(one.n), number(one.vbq_mean), number(one.level),
            number(one.offset) if one.se is not None else "reference", interval(one.ci_low, one.ci_high),
        )
        for one in pool.levels
    )  # fmt: skip
    note = "Level: VBQ of a patient with the mean predictors of all. Offset: against the scanner with most patients. "
    note += "It holds what else differs between the sites' patients, too, and is no correction by itself."
    if pool.level_test is not None:
        note += f" All scanners have one level: {_f_test(pool.level_test)}."
    return Table(
        name="pool_levels",
        title="Scanners: level of VBQ, adjusted",
        columns=("", "n", "VBQ, mean", "Level", "Offset", "95 % CI"),
        rows=rows,
        note=note,
    )


def _correlations(pool: Pool) -> Iterator[Table]:
    rows: list[tuple[str, ...]] = []
    for name, found in pool.correlations.items():
        if not isinstance(found, PooledCorrelation):
            rows.append((LABELS[name], f"none: {found}", "–", "–", "–", "–"))
            continue
        each = ", ".join(number(rho) for _, _, rho, _ in found.strata)
        ends = interval(found.prediction_low, found.prediction_high)
        share = f"{100 * found.effects.i2:.0f} %"
        rows.append((LABELS[name], number(found.rho), interval(found.ci_low, found.ci_high), share, ends, each))
    yield Table(
        name="pool_correlations",
        title="Spearman's ρ with VBQ within scanners",
        columns=("", "ρ", "95 % CI", "I²", "A further scanner (95 %)", "Each scanner"),
        rows=tuple(rows),
        note="Combined over Fisher's z with random effects, variance (1 + ρ²/2)/(n − 3).",
    )


def _quantiles(pool: Pool) -> Table:
    rows = tuple((LABELS[name], *(_between(one) for one in found)) for name, found in pool.quantiles.items())
    return Table(
        name="pool_quantiles",
        title="Quartiles of the ratios, all sites",
        columns=("", "25 %", "50 %", "75 %"),
        rows=rows,
        note="From histograms with counts rounded to 5: each quartile lies about between these edges. Cut-offs stay "
        "each site's own: VBQ depends on the scanner, NLR and PLR on the laboratory.",
    )


def _between(one: Between) -> str:
    low = "below" if one.low is None else f"{one.low:g} to"
    return f"{low} {one.high:g}" if one.high is not None else f"above {one.low:g}" if one.low is not None else "–"


def _flow(contents: Sequence[Content]) -> Table:
    rows = []
    for content in contents:
        rows.append((content.site, "rows of the cohort", _about(content.flow.rows)))
        rows += [(content.site, f"left out: {why}", _about(count)) for why, count in content.flow.left_out.items()]
        rows.append((content.site, "in the sums", str(content.n)))
    return Table(
        name="pool_flow",
        title="Flow of patients by site",
        columns=("", "", "Patients"),
        rows=tuple(rows),
        note="Counts of those left out are rounded to 5; reasons of fewer than 5 patients are counted together.",
    )


def _about(count: int | None) -> str:
    return "fewer than 5" if count is None else f"about {count}"


def _not_pooled() -> Table:
    return Table(
        name="not_pooled",
        title="What cannot be pooled from sums",
        columns=("", "Because", "In its place"),
        rows=NOT_POOLED,
    )


def _f_test(test: JointTest) -> str:
    return f"F({test.df1}, {test.df2}) = {number(test.f, 2)}, p {p_value(test.p)}"
