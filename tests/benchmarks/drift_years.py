"""What becomes of a year at many made-up sites: how many have an alarm, and when; beside the rule of before.

    python -m tests.benchmarks.drift_years [--first 1] [--sites 60] [--every 4] [--event NAME …]

A site is that of ``year_of_nights`` (150 patients before, 300 a year) and is looked at every fourth night. The rule of
before looks for steps alone, knows no season, and alarms beyond 1300. Each event is a year of its own:

- ``nothing``; ``step``: VBQ +0.10 from day 120 on; ``trend-05``, ``-10``, ``-20``: +0.005, 0.01, 0.02 a month;
- ``season``: VBQ ± 0.03 and NLR ± 15 % over the year, highest in January, this year and before; ``first-season``: the
  same, but the patients of before had none.
"""

import argparse
from collections.abc import Sequence
from datetime import timedelta
from unittest import mock

import numpy as np
import pandas as pd

from analytics.night import drift
from analytics.night.drift import DAYS_OF_MONTH, EVIDENCE_LIMIT, FEWEST, PERHAPS_LIMIT, SEASON_SD
from tests.benchmarks.year_of_nights import BEFORE, CHANGE, DAYS, FIRST, patients

LIMIT_BEFORE = 1300.0
TRENDS = {"trend-05": 0.005, "trend-10": 0.01, "trend-20": 0.02}
EVENTS = ("nothing", "step", *TRENDS, "season", "first-season")
NEVER = DAYS + 1


def site_with(event: str, site: int) -> pd.DataFrame:
    """Rows of a site as :func:`analytics.night.drift.check_drift` takes them, in order of days."""
    rows = patients("nothing", site, 300)
    new = rows.day >= 0
    if event in TRENDS:
        rows.loc[new, "vbq"] += TRENDS[event] * rows.day[new] / DAYS_OF_MONTH
    elif event == "step":
        rows.loc[rows.day >= CHANGE, "vbq"] += 0.1
    elif event.endswith("season"):
        wave = np.cos(2 * np.pi * (rows.day + 5) / 365) * (new | (event == "season"))
        rows = rows.assign(vbq=rows.vbq + 0.03 * wave, nlr=rows.nlr * (1 + 0.15 * wave))
    dates = [(FIRST + timedelta(days=int(day))).isoformat() for day in rows.day]
    return rows.assign(mri_date=dates, scanner_stratum="")


def first_alarms(rows: pd.DataFrame, nights: Sequence[int]) -> tuple[int, int, int]:
    """The day of the first alarm, of the first line about a change (an alarm, or "drift or season"), and of the first
    alarm by the rule of before; :data:`NEVER` without one."""
    known = drift._fit(rows.iloc[:BEFORE])
    found, said, before = NEVER, NEVER, NEVER
    for night in nights:
        seen = rows[rows.day <= night]
        new = seen.iloc[BEFORE:]
        if len(new) < FEWEST:
            continue
        if found == NEVER:
            fit = drift._fit(seen, season_sd=SEASON_SD / known.sigma)
            found = night if drift._find_step(fit, new, frozenset()).evidence > EVIDENCE_LIMIT else NEVER
        if said == NEVER:
            evidence = drift._find_step(drift._fit(seen), new, frozenset()).evidence
            said = night if found == night or evidence > PERHAPS_LIMIT else NEVER
        if before == NEVER:
            with mock.patch.object(drift, "TRENDS", {}):
                older = drift._find_step(drift._fit(seen), new, frozenset())
            before = night if older.evidence > LIMIT_BEFORE else NEVER
        if NEVER not in (found, said, before):
            break
    return found, said, before


def main() -> None:
    """Print each event as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=1, help="of the sites; the constants were chosen on 1 to 60")
    parser.add_argument("--sites", type=int, default=60)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--event", nargs="+", choices=EVENTS, default=EVENTS)
    chosen = parser.parse_args()
    for event in chosen.event:
        sites = range(chosen.first, chosen.first + chosen.sites)
        days = np.array([first_alarms(site_with(event, one), range(0, DAYS, chosen.every)) for one in sites])
        both = days[(days < NEVER).all(axis=1)]
        at = [f"{(column < NEVER).sum()} (median day {np.median(column):.0f})" for column in days.T]
        later = [f"{(both[:, one] - both[:, 2]).mean():+.1f} days" if len(both) else "–" for one in range(2)]
        of = f"{at[0]} of {chosen.sites} sites"
        print(f"{event}: alarm at {of}, {later[0]}; said at {at[1]}, {later[1]}; before at {at[2]}", flush=True)


if __name__ == "__main__":
    main()
