"""How often drift is said where there is none, and how soon a step is found: the check alone, on many made-up sites.

    python -m tests.benchmarks.drift_power [--sites 500] [--frozen 80 150 250] [--shift 0.1]

A site has a frozen cohort of ``--frozen`` patients that follow the paper's model (residual SD 0.14) and then 300 new
patients a year. Without a step it is looked at after each of 200 patients; with one, after each of the 60 patients
from the step on, which comes after 100 (0: right after the freeze). Alarms before the step do not count as found.
"""

import argparse

import numpy as np
import pandas as pd

from analytics.night.drift import EVIDENCE_LIMIT, FEWEST, SEASON_SD, _find_step, _fit
from analytics.paper.regression import PREDICTORS

RESIDUAL_SD = 0.1406
"""Of the paper: SD(VBQ) 0.203 × √(1 − 0.5204)."""


def people(random: np.random.Generator, n: int) -> pd.DataFrame:
    """Patients like the paper's, VBQ by its Table 2 where a term counts."""
    frame = pd.DataFrame(
        {
            "age": random.normal(64, 8.4, n), "sex_male": random.integers(0, 2, n), "smoking": random.random(n) < 0.35,
            "diabetes": random.random(n) < 0.25, "bmi": random.normal(24, 3, n), "nlr": random.gamma(4, 0.8, n),
            "plr": random.normal(185, 50, n), "mri_date": "", "scanner_stratum": "",
        }
    ).astype(dict.fromkeys(PREDICTORS, np.float64))  # fmt: skip
    linear = 1.6 + 0.0126 * frame.age + 0.0198 * frame.nlr + 0.0015 * frame.plr
    return frame.assign(vbq=linear + random.normal(0, RESIDUAL_SD, n))


def first_alarm(rows: pd.DataFrame, frozen: int, looks: range) -> int | None:
    """After how many new patients the evidence first passed its limit, looked at after each of ``looks``."""
    for count in looks:
        seen = rows.iloc[: frozen + count]
        fit = _fit(seen, season_sd=SEASON_SD / RESIDUAL_SD)
        if _find_step(fit, seen.iloc[frozen:], frozenset()).evidence > EVIDENCE_LIMIT:
            return count
    return None


def main() -> None:
    """Print false alarms and detections for each size of the frozen cohort."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=500)
    parser.add_argument("--frozen", type=int, nargs="+", default=[80, 150, 250])
    parser.add_argument("--shift", type=float, default=0.1)
    parser.add_argument("--after", type=int, default=100)
    chosen = parser.parse_args()
    for frozen in chosen.frozen:
        false: list[int | None] = []
        delays: list[int | None] = []
        for site in range(chosen.sites):
            rows = people(np.random.default_rng([site, frozen]), frozen + 200)
            days = pd.date_range("2026-01-05", periods=200, freq=pd.Timedelta(days=365 / 300))
            rows.loc[rows.index[frozen:], "mri_date"] = days.strftime("%Y-%m-%d").to_numpy()
            false.append(first_alarm(rows, frozen, range(FEWEST, 201)))
            begin = frozen + chosen.after
            rows.loc[rows.index[begin:], "vbq"] += chosen.shift
            found = first_alarm(rows, frozen, range(max(FEWEST, chosen.after + 1), chosen.after + 61))
            delays.append(None if found is None else found - chosen.after)
        said, soon = (sorted(one for one in found if one is not None) for found in (false, delays))
        print(
            f"frozen {frozen}: false alarms among 200 patients at {len(said) / chosen.sites:.1%} of {chosen.sites} "
            f"sites, {sum(one <= 110 for one in said) / chosen.sites:.1%} among 110; a step of {chosen.shift:+g} after "
            f"{chosen.after} patients found within 60 at {len(soon) / chosen.sites:.1%} (median "
            f"{soon[len(soon) // 2] if soon else '–'})",
            flush=True,
        )


if __name__ == "__main__":
    main()
