"""A whole night beside the same analysis done the plain way, at several sizes: time and memory by part.

Run by hand: ``OPENBLAS_NUM_THREADS=1 python -m tests.benchmarks.night [--rows 200 2000 20000] [--plain-most 2000]``.
For each size a process of its own makes a node with that many imported rows and runs

- the night as it is (read, fit, cut-offs, drift, figures, records, report, mail with CSV and PDF in the outbox) and the
  whole analysis as files (every model, 2,000 bootstrap samples of each kind, all figures); then, one by one,
- the models of that analysis;

and, up to ``--plain-most`` rows, the same statistics as loops over statsmodels and scipy. The plain loops are run over
a share of their rounds and scaled (both are printed); they leave out what is not a line of statsmodels or scipy
(profile intervals, Hodges and Lehmann's shift, the conditional odds ratio), which ours include. CPU seconds are of the
process with all its threads; where other work shares the machine one thread for BLAS (as above) keeps its threads from
waiting for each other; compare CPU and ratios, not wall time. Peak memory is of each part (Linux: VmHWM, reset).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.diagnostic import het_breuschpagan
from statsmodels.stats.outliers_influence import OLSInfluence, variance_inflation_factor

from analytics.methods.correlation import spearman
from analytics.methods.roc import roc
from analytics.paper.logistic import logistic_model
from analytics.paper.regression import PREDICTORS, fit_vbq_model
from analytics.paper.sensitivity import log_ratio_model, winsorised_model
from analytics.paper.shape import shape_report
from analytics.paper.tables import median_cut, table_one
from analytics.paper.validation import validate
from analytics.pictures.base import scatter
from node.nightly.analysis import publish_analysis
from node.nightly.cohort import cohort_frame, read_snapshot
from node.nightly.night import run_night
from node.settings import Mail, MailPolicy, Settings, Storage
from node.store.database import insert, open_database, writing

NIGHT = date(2026, 3, 2)
NOW = datetime(2026, 3, 2, 3, 10, tzinfo=UTC)
BOOTSTRAPS = 2000
PLAIN_ROUNDS = 100
"""Rounds of a plain loop that are run; the rest is scaled."""
RECIPIENT = "surgeon@site.invalid"


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Imported rows in which VBQ follows age, NLR and PLR as in the paper (seed 7)."""
    random = np.random.default_rng(7)
    age, nlr = random.integers(50, 90, count), random.gamma(3.5, 0.85, count).round(2) + 0.3
    plr, bmi = random.normal(228, 42, count).round(1).clip(60), random.normal(24, 3, count).round(1)
    vbq = (1.84 + 0.011 * age + 0.02 * nlr + 0.0015 * plr - 0.09 + random.normal(0, 0.14, count)).round(3)
    flags = random.integers(0, 2, (5, count))
    kinds = np.array(["LDH", "LSS", "LS"])[random.integers(0, 3, count)]
    for i in range(count):
        yield {
            "id": f"S{i:06d}", "site": "site", "import_id": 1, "line": i + 2, "vbq": float(vbq[i]),
            "age": float(age[i]), "sex_male": int(flags[0, i]), "smoking": int(flags[1, i]),
            "diabetes": int(flags[2, i]), "hypertension": int(flags[3, i]), "calcium": int(flags[4, i]),
            "diagnosis": str(kinds[i]), "bmi": float(bmi[i]), "nlr": float(nlr[i]), "plr": float(plr[i]),
            "mri_date": f"2025-{1 + i % 12:02d}-{1 + i % 28:02d}", "eligible": 1, "exclusion_reasons": "[]",
        }  # fmt: skip


@dataclass
class Watch:
    """Wall and CPU seconds and peak memory (MB) of named parts."""

    parts: dict[str, dict[str, float]] = field(default_factory=dict)

    def run(self, name: str, work: Callable[[], Any], *, times: float = 1.0) -> Any:
        """Do a part; ``times`` scales what was measured."""
        Path("/proc/self/clear_refs").write_text("5")
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        spent = {"wall_s": (time.perf_counter() - wall) * times, "cpu_s": (time.process_time() - cpu) * times}
        status = Path("/proc/self/status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
        self.parts[name] = spent | {"peak_mb": peak, "scaled_by": times}
        return result


def warm() -> None:
    """Load what the first use of scipy and matplotlib loads, once and beside the measurements."""
    few = pd.DataFrame(rows(120))
    validate(few, seed=1, bootstraps=10)
    scatter(few, "age", x_label="Age (years)")


def ours(count: int, folder: Path) -> dict[str, Any]:
    """The night and every model on a node with this many rows."""
    db = open_database(folder, create=True, pseudonym_key="00" * 32)
    with writing(db):
        fact = {"import_id": 1, "sha256": "0" * 64, "file_name": "c.csv", "content": b"", "imported_at": "x"}
        insert(db, "fact_import", [fact])
        insert(db, "derived_import_row", list(rows(count)))
    policies = {RECIPIENT: MailPolicy(attach=("csv", "pdf"))}
    mail = Mail(port=1, recipients=(RECIPIENT,), policies=policies)
    settings = Settings(storage=Storage(folder=folder), mail=mail)
    watch = Watch()
    watch.run("imports", warm)
    cohort = watch.run("read", lambda: cohort_frame(read_snapshot(db).text))
    watch.run("night up to the mail", lambda: run_night(db, settings, night=NIGHT, now=NOW))
    watch.run("whole analysis and its figures", lambda: publish_analysis(db, folder, now=NOW))
    db.close()
    cut = median_cut(cohort)
    assert isinstance(cut, float)
    high = (cohort["vbq"] >= cut).astype(float)
    watch.run("Table 1", lambda: table_one(cohort, cut=cut))
    watch.run(
        "correlations", lambda: [spearman(cohort[x].to_numpy(), cohort["vbq"].to_numpy()) for x in ("age", "nlr")]
    )
    watch.run("model", lambda: fit_vbq_model(cohort))
    watch.run(f"validation, {BOOTSTRAPS} bootstraps", lambda: validate(cohort, seed=1, bootstraps=BOOTSTRAPS))
    watch.run("ln ratios, winsorised", lambda: (log_ratio_model(cohort), winsorised_model(cohort, share=0.01)))
    watch.run("logistic", lambda: logistic_model(cohort, cut=cut))
    watch.run("splines, interactions", lambda: shape_report(cohort))
    watch.run(
        f"ROC of two, {BOOTSTRAPS} bootstraps",
        lambda: [roc(cohort[name], high, seed=1, bootstraps=BOOTSTRAPS) for name in ("nlr", "plr")],
    )
    return watch.parts


def plain(count: int) -> dict[str, Any]:
    """The same statistics, as one would write them with statsmodels, scipy and loops."""
    frame = pd.DataFrame(rows(count))
    x, y = sm.add_constant(frame[list(PREDICTORS)].astype(float)), frame["vbq"].to_numpy()
    high = (y >= np.median(y)).astype(float)
    random = np.random.default_rng(1)
    watch = Watch()
    watch.run("imports", warm)

    def sensitivity() -> None:
        logs = x.assign(nlr=np.log(x["nlr"]), plr=np.log(x["plr"]))
        clipped = x.assign(**{k: x[k].clip(*x[k].quantile([0.01, 0.99])) for k in ("nlr", "plr")})
        sm.OLS(y, logs).fit().summary()
        sm.OLS(y, clipped).fit(cov_type="HC3", use_t=True).summary()
        sm.Logit(high, logs).fit(disp=0).summary()

    def bootstrap(rounds: int) -> None:
        design = x.to_numpy()
        for _ in range(rounds):
            drawn = random.integers(count, size=count)
            fit = sm.OLS(y[drawn], design[drawn]).fit()
            _ = fit.rsquared - (1 - np.sum((y - design @ fit.params) ** 2) / np.sum((y - y.mean()) ** 2))

    def youden(values: Any, positive: Any) -> float:
        order = np.argsort(-values, kind="stable")
        hits = np.cumsum(positive[order]) / positive.sum() - np.cumsum(1 - positive[order]) / (1 - positive).sum()
        stats.rankdata(values)  # for the area
        return float(values[order][np.argmax(hits)])

    def roc_bootstrap(rounds: int) -> None:
        for name in ("nlr", "plr"):
            values = frame[name].to_numpy()
            for _ in range(rounds):
                drawn = random.integers(count, size=count)
                youden(values[drawn], high[drawn])

    def table() -> None:
        one, other = frame[high == 1], frame[high == 0]
        for name in ("age", "bmi", "nlr", "plr"):
            stats.shapiro(one[name]), stats.ttest_ind(one[name], other[name]), stats.levene(one[name], other[name])
            stats.mannwhitneyu(one[name], other[name])
        for name in ("sex_male", "smoking", "diabetes", "hypertension", "calcium", "diagnosis"):
            stats.chi2_contingency(pd.crosstab(high, frame[name]))

    model = watch.run("model", lambda: sm.OLS(y, x).fit())
    watch.run(
        "summary and VIF", lambda: (model.summary(), [variance_inflation_factor(x.values, i) for i in range(1, 8)])
    )
    watch.run("studentised leave-one-out", lambda: OLSInfluence(model).resid_studentized_external)
    watch.run("assumptions", lambda: het_breuschpagan(model.resid, x))
    watch.run("sensitivity models", sensitivity)
    watch.run("Table 1", table)
    scale = BOOTSTRAPS / PLAIN_ROUNDS
    watch.run(f"{BOOTSTRAPS} bootstraps of the model", lambda: bootstrap(PLAIN_ROUNDS), times=scale)
    watch.run(f"{BOOTSTRAPS} bootstraps of two ROC", lambda: roc_bootstrap(PLAIN_ROUNDS), times=scale)
    return watch.parts


def child(kind: str, count: int) -> dict[str, dict[str, float]]:
    """One measurement in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.night", "--child", kind, "--rows", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(title: str, parts: dict[str, dict[str, float]]) -> None:
    """Print one measurement."""
    print(f"\n{title}")
    for name, part in parts.items():
        scaled = f"  (scaled × {part['scaled_by']:g})" if part["scaled_by"] != 1 else ""
        print(f"  {name:<36} {part['wall_s']:9.2f} s wall {part['cpu_s']:9.2f} s CPU {part['peak_mb']:8.0f} MB{scaled}")


SAME_AS_PLAIN = ("Table 1", "model", "validation", "ln ratios", "logistic", "ROC of two")
"""Beginnings of the parts that the plain way has as well."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[200, 2000, 20000, 200000])
    parser.add_argument("--plain-most", type=int, default=2000)
    parser.add_argument("--child", choices=("ours", "plain"))
    chosen = parser.parse_args()
    if chosen.child:
        with tempfile.TemporaryDirectory() as name:
            parts = ours(chosen.rows[0], Path(name)) if chosen.child == "ours" else plain(chosen.rows[0])
        print(json.dumps(parts))
        return
    for count in chosen.rows:
        mine = child("ours", count)
        show(f"{count} rows", mine)
        if count <= chosen.plain_most:
            theirs = child("plain", count)
            show(f"{count} rows, the plain way", theirs)
            same = [part["cpu_s"] for name, part in mine.items() if name.startswith(SAME_AS_PLAIN)]
            whole = sum(part["cpu_s"] for name, part in theirs.items() if name != "imports")
            print(f"  plain / ours, the same statistics, CPU: {whole / sum(same):.1f}")


if __name__ == "__main__":
    main()
