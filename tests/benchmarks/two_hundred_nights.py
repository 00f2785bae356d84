"""200 nights at 40 made-up sites with the real nightly code: who changes tier without new data, and what drift is said.

    python -m tests.benchmarks.two_hundred_nights [--sites 40] [--nights 200] [--jobs 1] [--method quantile]

A site has imported 150 patients like the paper's and operates on 200 a year. Every night runs
:func:`node.nightly.night.run_night` on a database of its own, with the rule that adopts cut-offs by itself
(``thresholds.adopt = "rule"``: nothing waits for a person, so nothing holds a tier still). No patient's data ever
change; every tier that changes is counted. From night 60 on the same site goes on a second time with VBQ +0.10 in every
new patient, until 60 of them have come or it is an alarm. The figures are not drawn, all else is as at night.
"""

import argparse
import json
import shutil
import tempfile
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from multiprocessing import Pool
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import structlog
from sqlite_utils import Database

from node.nightly import night as night_module
from node.nightly.night import run_night
from node.nightly.sections.counts import FLOW
from node.nightly.sections.section import Figure
from node.settings import Settings, Storage, Thresholds
from node.store.database import insert, open_database, writing
from tests.benchmarks.drift_power import people

FIRST = date(2026, 1, 5)
FROZEN = 150
PER_NIGHT = 200 / 365
SHIFT_AFTER_NIGHTS = 60
ALARM = ("alarm",)
SAID = ("alarm", "perhaps_season")
SOON = 60
"""Patients within which a shift has to be reported."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one site.

    The shift was an alarm ``found_after`` patients from it on, and first said (an alarm, or "drift or season")
    ``said_after``; ``None``: not within :data:`SOON`.
    """

    site: int
    patients: int
    changed_tiers: int
    versions_adopted: int
    false_alarm: bool
    said_falsely: bool
    found_after: int | None
    said_after: int | None


def quiet() -> None:
    """Draw no figures and log errors only, in this process."""
    night_module._draw = lambda cohort: ()
    drawn = Figure(name=FLOW, png=b"", alt_text="")
    night_module._draw_flow = lambda basis, fit: drawn
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))


def settings_for(folder: Path, method: str) -> Settings:
    """A site whose cut-offs follow the rule."""
    outcome: dict[str, Any] = (
        {"method": method, "outcome": "t_score", "outcome_cut": -2.5} if method == "youden" else {}
    )
    return Settings(storage=Storage(folder=folder), thresholds=Thresholds(adopt="rule", **outcome))


def with_bones(random: np.random.Generator, frame: pd.DataFrame) -> pd.DataFrame:
    """T-scores that go with VBQ and PLR."""
    t_score = (
        -2.2 - 3.0 * (frame.vbq - frame.vbq.mean()) - 0.006 * (frame.plr - 185) + random.normal(0, 0.9, len(frame))
    )
    return frame.assign(t_score=t_score.clip(-7, 5).round(1))


def simulate(site: int, nights: int, *, method: str = "quantile", shift: float = 0.1, folder: Path) -> Outcome:
    """Run one site, then once more with the shift."""
    random = np.random.default_rng([site, 6])
    arrivals = random.poisson(PER_NIGHT, max(nights, 1000))
    rows = with_bones(random, people(random, FROZEN + int(arrivals.sum())))
    ahead = random.integers(7, 29, len(rows))
    plain, shifted = folder / f"{site}-plain", folder / f"{site}-shifted"
    settings = settings_for(plain, method)
    db = open_database(plain, create=True, pseudonym_key="00" * 32)
    put_history(db, rows.iloc[:FROZEN])
    done = FROZEN
    for number in range(nights):
        if number == min(SHIFT_AFTER_NIGHTS, nights // 3):
            db.close()
            shutil.copytree(plain, shifted)
            db, begin, before = open_database(plain), number, done
        done = one_night(db, settings, number, rows, ahead, done, int(arrivals[number]))
    (changed,) = db.execute("SELECT count(*) FROM record_flag WHERE change = 'changed'").fetchone()
    (adopted,) = db.execute("SELECT count(*) FROM fact_threshold_decision WHERE decision = 'adopted'").fetchone()
    false_alarm, said_falsely = (first_said(db, kinds) is not None for kinds in (ALARM, SAID))
    db.close()
    shutil.rmtree(plain)
    found, said = with_shift(shifted, settings_for(shifted, method), rows, ahead, arrivals, begin, before, shift)
    return Outcome(
        site=site, patients=done - FROZEN, changed_tiers=changed, versions_adopted=adopted, false_alarm=false_alarm,
        said_falsely=said_falsely, found_after=found, said_after=said,
    )  # fmt: skip


def with_shift(
    folder: Path,
    settings: Settings,
    rows: pd.DataFrame,
    ahead: np.ndarray[Any, Any],
    arrivals: np.ndarray[Any, Any],
    begin: int,
    before: int,
    shift: float,
) -> tuple[int | None, int | None]:
    """After how many patients with another VBQ it is an alarm, and the report first says so."""
    moved = rows.copy()
    moved.loc[moved.index[before:], "vbq"] += shift
    db = open_database(folder)
    number, done = begin, before
    since = FIRST + timedelta(days=begin)
    found = said = None
    while done - before < SOON and found is None:
        # Of several patients of one night that pass the sixtieth, those up to it.
        coming = min(int(arrivals[number]), SOON - (done - before))
        done = one_night(db, settings, number, moved, ahead, done, coming)
        number += 1
        if said is None and first_said(db, SAID, since=since) is not None:
            said = done - before
        if first_said(db, ALARM, since=since) is not None:
            found = done - before
    db.close()
    shutil.rmtree(folder)
    return found, said


def one_night(
    db: Database,
    settings: Settings,
    number: int,
    rows: pd.DataFrame,
    ahead: np.ndarray[Any, Any],
    done: int,
    coming: int,
) -> int:
    """Let a night's patients come, then run the night; how many rows there are then."""
    night = FIRST + timedelta(days=number)
    for index in range(done, done + coming):
        put_patient(db, index, rows.iloc[index], night, night + timedelta(days=int(ahead[index])))
    now = datetime.combine(night, time(4, 10), ZoneInfo("UTC"))
    run_night(db, settings, night=night, now=now)
    return done + coming


def put_history(db: Database, rows: pd.DataFrame) -> None:
    """The imported cohort."""
    with writing(db):
        fact = {"import_id": 1, "sha256": "0" * 64, "file_name": "c.csv", "content": b"", "imported_at": "x"}
        insert(db, "fact_import", [fact])
        for number, (_, row) in enumerate(rows.iterrows()):
            day = (FIRST - timedelta(days=len(rows) - number)).isoformat()
            more = {"id": f"H{number:04d}", "site": "site", "import_id": 1, "line": number + 2, "mri_date": day}
            insert(db, "derived_import_row", [values(row) | more | {"eligible": 1, "exclusion_reasons": "[]"}])


def put_patient(db: Database, number: int, row: pd.Series, night: date, surgery: date) -> None:
    """A patient with a planned operation, as the link step leaves one."""
    name = f"E{number:05d}"
    with writing(db):
        db.execute("INSERT INTO derived_identifier VALUES ('LOCAL', ?, ?)", [name, f"LOCAL|{name}"])
        db.execute("INSERT INTO derived_person (person, pseudonym) VALUES (?, ?)", [f"LOCAL|{name}", f"P{name}"])
        insert(
            db,
            "derived_operation",
            [
                {
                    "person": f"LOCAL|{name}", "booking": name, "planned_at": f"{surgery}T07:00:00+00:00",
                    "date_only": 0, "cancelled": 0,
                }
            ],
        )  # fmt: skip
        insert(
            db,
            "derived_link",
            [
                values(row)
                | {
                    "episode": name, "site": "site", "person": f"LOCAL|{name}", "booking": name, "status": "linked",
                    "reasons": "[]", "surgery_date": surgery.isoformat(), "mri_date": night.isoformat(),
                    "eligible": 1, "exclusion_reasons": "[]",
                }
            ],
        )  # fmt: skip


def values(row: pd.Series) -> dict[str, Any]:
    """The measured columns of a row."""
    whole = ("sex_male", "smoking", "diabetes")
    columns = ("vbq", "age", *whole, "bmi", "nlr", "plr", "t_score")
    return {name: int(row[name]) if name in (*whole, "age") else float(row[name]) for name in columns}


def first_said(db: Database, kinds: tuple[str, ...], *, since: date = FIRST) -> str | None:
    """The first night from this one on whose report says one of these of the drift."""
    for night, counts in db.execute(
        "SELECT night, counts FROM record_report WHERE kind = 'nightly' AND night >= ? ORDER BY night",
        [since.isoformat()],
    ):
        drift = json.loads(counts)["drift"] or {}
        if any(drift.get(kind) for kind in kinds):
            return str(night)
    return None


def main() -> None:
    """Print each site as it is done, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=40)
    parser.add_argument("--nights", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--method", choices=["quantile", "youden"], default="quantile")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vbq-nights-") as folder, Pool(chosen.jobs, initializer=quiet) as pool:
        waiting = [
            pool.apply_async(simulate, [site, chosen.nights], {"method": chosen.method, "folder": Path(folder)})
            for site in range(chosen.sites)
        ]
        done = []
        for one in waiting:
            done.append(one.get())
            print(done[-1], flush=True)
    found = sorted(one.found_after for one in done if one.found_after is not None)
    said = sorted(one.said_after for one in done if one.said_after is not None)
    false, falsely = (sum(each) / len(done) for each in ([o.false_alarm for o in done], [o.said_falsely for o in done]))
    print(
        f"{len(done)} sites, {chosen.nights} nights, {sum(one.patients for one in done)} new patients: "
        f"{sum(one.changed_tiers for one in done)} tier changes without new data "
        f"({sum(one.versions_adopted for one in done) - len(done)} versions adopted after the first); "
        f"false alarms at {false:.1%} of the sites, drift or season said at {falsely:.1%}; "
        f"+0.10 within {SOON} patients: alarm at {in_words(found, len(done))}, said at {in_words(said, len(done))}"
    )


def in_words(times: list[int], sites: int) -> str:
    """At how many sites, and after how many patients at half of these."""
    return f"{len(times) / sites:.1%} (median {times[len(times) // 2] if times else '–'})"


if __name__ == "__main__":
    main()
