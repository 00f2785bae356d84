"""A year at one made-up site with everything that changes there, and what the reports said when.

    python -m tests.benchmarks.year_of_nights [--patients 300] [--every 4] [--site 1] [--event NAME …]

A site has imported 150 patients like the paper's and operates on 300 a year. Their admissions, bookings and blood
counts are HL7 messages, interpreted, compared and linked by the real steps; their MRI stands as the measurement leaves
it. Every fourth night is :func:`node.nightly.night.run_night`. Each event is a year of its own, with the same patients:

- ``nothing``;
- ``unit``: for three weeks from day 120 the laboratory sends a tenth of the lymphocytes;
- ``scanner``: from day 120 on all patients are at another scanner, which reads VBQ 0.15 higher;
- ``season``: VBQ ± 0.03 and NLR ± 15 % over the year, highest in January, this year and before;
- ``trend``: VBQ rises by 0.02 a month.

Printed are the lines that a report had and the one before it had not, by day.
"""

import argparse
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
from sqlite_utils import Database

from analytics.vbq.version import AUTOMATIC_NAME, AUTOMATIC_VERSION
from node.clock import to_text
from node.demo.messages import AUTHORITY, BloodCountResult, Booking, Facts, Person, admission, blood_count, booking
from node.nightly.night import run_night
from node.settings import Nightly, Settings, Storage
from node.steps.interpret import interpret_frames
from node.steps.link import link_persons
from node.steps.senders import judge_senders
from node.store.database import insert, open_database, writing
from node.store.pending import touch
from tests.benchmarks.drift_power import people
from tests.benchmarks.two_hundred_nights import quiet

FIRST = date(2025, 1, 6)
BEFORE = 150
DAYS = 365
CHANGE, UNIT_DAYS = 120, 21
OLD, NEW = "GE Signa 1.5T", "Siemens Avanto 1.5T"
EVENTS = ("nothing", "unit", "scanner", "season", "trend")


@dataclass(frozen=True, kw_only=True)
class Said:
    """A line of a report that the one before had not, and the day of the year."""

    day: int
    line: str


@dataclass(frozen=True, kw_only=True)
class Year:
    """What became of a year: what was said, and the counts at its end."""

    event: str
    said: tuple[Said, ...]
    proposals: int
    changed_tiers: int
    in_model: int
    nlr_b: float
    plr_b: float


def patients(event: str, site: int, number: int) -> pd.DataFrame:
    """Rows in order of arrival: ``day`` (negative before the node), ``scanner``, and what is measured.

    NLR is no lower than that of all but 2.5 % of the healthy (0.78; Forget 2017): the cells come in one form, and a
    normal tail below would be held as exchanged.
    """
    random = np.random.default_rng([site, 99])
    arrivals = random.poisson(number / DAYS, DAYS)
    rows = people(random, BEFORE + int(arrivals.sum()))
    lymphocytes = np.exp(random.normal(np.log(1.8), 0.28, len(rows)))
    rows = rows.assign(
        day=np.concatenate([np.arange(-2 * BEFORE, 0, 2), np.repeat(np.arange(DAYS), arrivals)]),
        nlr=rows.nlr.clip(0.8), plr=rows.plr.clip(60), lymphocytes=lymphocytes, scanner=OLD,
        ahead=random.integers(7, 29, len(rows)),
    )  # fmt: skip
    new = rows.day >= 0
    if event == "scanner":
        rows.loc[rows.day >= CHANGE, ["vbq"]] += 0.15
        rows.loc[rows.day >= CHANGE, "scanner"] = NEW
    elif event == "season":
        wave = np.cos(2 * np.pi * (rows.day + 5) / DAYS)
        rows = rows.assign(vbq=rows.vbq + 0.03 * wave, nlr=rows.nlr * (1 + 0.15 * wave))
    elif event == "trend":
        rows.loc[new, "vbq"] += 0.02 * rows.day[new] / 30.4
    return rows


def unit_slips(event: str, day: int) -> float:
    """What the laboratory multiplies the lymphocytes of that day with."""
    return 0.1 if event == "unit" and CHANGE <= day < CHANGE + UNIT_DAYS else 1.0


def put_history(db: Database, rows: pd.DataFrame) -> None:
    """The imported cohort."""
    fact = {"import_id": 1, "sha256": "0" * 64, "file_name": "c.csv", "content": b"", "imported_at": "x"}
    with writing(db):
        insert(db, "fact_import", [fact])
        for number, row in enumerate(rows.itertuples()):
            values = {
                "vbq": float(row.vbq), "age": float(int(row.age)), "sex_male": int(row.sex_male),
                "smoking": int(row.smoking), "diabetes": int(row.diabetes), "bmi": float(row.bmi),
                "nlr": float(row.nlr), "plr": float(row.plr), "scanner_stratum": row.scanner,
                "mri_date": (FIRST + timedelta(days=int(row.day))).isoformat(),
            }  # fmt: skip
            more = {"id": f"H{number:04d}", "site": "site", "import_id": 1, "line": number + 2}
            insert(db, "derived_import_row", [values | more | {"eligible": 1, "exclusion_reasons": "[]"}])


def put_patient(db: Database, key: int, row: pd.Series, *, factor: float) -> None:
    """Messages and the measured MRI of a patient; inside a unit of work."""
    day = FIRST + timedelta(days=int(row.day))
    at = datetime.combine(day, time(9), UTC)
    planned = datetime.combine(day + timedelta(days=int(row.ahead)), time(9), UTC)
    born = date(planned.year - max(int(row.age), 50), 1, 1)
    who = Person(number=f"{key:05d}", name=f"NAME{key}^ANNA", birth_date=born, sex="M" if row.sex_male else "F")
    facts = Facts(
        height_cm=170, weight_kg=round(float(row.bmi) * 1.7**2, 1), smoking=bool(row.smoking),
        diabetes=bool(row.diabetes), hypertension=False, calcium=False,
        diagnoses=(("M48.06", "Spinal stenosis, lumbar region"),),
    )  # fmt: skip
    booked = Booking(placer=f"B{key}", filler=f"B{key}", starts_at=planned, minutes=120, code="LDF",
                     procedure="Lumbar decompression and fusion L4/5")  # fmt: skip
    counts = {
        "neutrophils": round(row.nlr * row.lymphocytes, 2), "lymphocytes": round(row.lymphocytes * factor, 2),
        "platelets": round(row.plr * row.lymphocytes),
    }  # fmt: skip
    result = BloodCountResult(order=f"O{key}", taken_at=at, status="F", counts=counts)
    for raw in (
        admission("A04", who, control_id=f"A{key}", at=at, facts=facts),
        booking("S12", who, booked, control_id=f"S{key}", at=at),
        blood_count(who, result, control_id=f"O{key}", at=at),
    ):
        insert(db, "fact_frame", [{"sha256": sha256(raw).hexdigest(), "raw": raw}])
    put_mri(db, key, row, day)


def put_mri(db: Database, key: int, row: pd.Series, day: date) -> None:
    """The examination as the steps leave it once measured."""
    series = {
        "series_instance_uid": f"1.{key}", "study_instance_uid": f"1.{key}.0", "patient_authority": AUTHORITY,
        "patient_id": f"{key:05d}", "study_date": day.isoformat(), "scanner_stratum": row.scanner, "instances": 15,
        "instances_sha256": "x", "role": "t1_sagittal", "chosen": 1, "reasons": "[]", "protocol": "{}",
        "last_received_at": to_text(datetime.combine(day, time(9), UTC)), "missing_slices": 0,
        "completeness": "complete", "completeness_reasons": "[]",
    }  # fmt: skip
    measured = {
        "series_instance_uid": f"1.{key}", "source": "auto", "instances_sha256": "x", "status": "measured",
        "reasons": "[]", "vbq_mean": float(row.vbq), "vbq_median": float(row.vbq), "rois": "{}",
        "algorithm_name": AUTOMATIC_NAME, "algorithm_version": AUTOMATIC_VERSION,
    }  # fmt: skip
    insert(db, "derived_series", [series])
    insert(db, "derived_measurement", [measured])
    touch(db, AUTHORITY, f"{key:05d}")


def run_year(event: str, *, site: int, number: int, every: int, folder: Path, days: int = DAYS) -> Year:
    """One year, in a data folder of its own."""
    rows = patients(event, site, number)
    db = open_database(folder, create=True, pseudonym_key="00" * 32)
    settings = Settings(storage=Storage(folder=folder), nightly=Nightly(analysis=False))
    put_history(db, rows[rows.day < 0])
    said: list[Said] = []
    before: set[str] = set()
    for day in range(days):
        with writing(db):
            for key in rows.index[rows.day == day]:
                put_patient(db, int(key), rows.loc[key], factor=unit_slips(event, day))
        while interpret_frames(db, settings) + link_persons(db, settings) + judge_senders(db):
            pass
        if day % every:
            continue
        night = FIRST + timedelta(days=day)
        done = run_night(db, settings, night=night, now=datetime.combine(night, time(20), UTC))
        assert done.rendered is not None
        lines = dict(lines_of(done.rendered.text))
        said += [Said(day=day, line=line) for kind, line in lines.items() if kind not in before]
        before = set(lines)
    year = at_the_end(db, event, tuple(said))
    db.close()
    return year


def lines_of(text: str) -> Iterator[tuple[str, str]]:
    """Lines of a report about something that changed, each with its kind, by which it is known again."""
    for line in text.splitlines():
        step = re.search(r"what it looks like most: .*", line)
        if line.startswith(("DRIFT:", "DRIFT OR SEASON:")):
            yield line.split(":")[0], line.split(":")[0] if line.startswith("DRIFT:") else line
        elif step:
            yield "step " + step[0].rpartition(", at ")[2], step[0]
        elif line.startswith(("- new scanner", "- nlr has", "- plr has", "- age has")):
            yield " ".join(line.split()[:3]), line
        elif line.startswith("- ") and ("sender-counts-off" in line or "held-blood-count" in line):
            yield re.sub(r"\d+ × ", "", line), line
        elif line.startswith("Proposed tonight"):
            yield line, line.split(";")[0]


def at_the_end(db: Database, event: str, said: tuple[Said, ...]) -> Year:
    """Counts after the last night."""
    (proposals,) = db.execute("SELECT count(*) FROM record_threshold").fetchone()
    (changed,) = db.execute("SELECT count(*) FROM record_flag WHERE change = 'changed'").fetchone()
    fit_id, used = db.execute("SELECT fit_id, n_used FROM record_fit ORDER BY night DESC LIMIT 1").fetchone()
    terms = dict(db.execute("SELECT term, b FROM record_fit_term WHERE fit_id = ?", [fit_id]).fetchall())
    return Year(
        event=event, said=said, proposals=proposals, changed_tiers=changed, in_model=used, nlr_b=terms["nlr"],
        plr_b=terms["plr"],
    )  # fmt: skip


def main() -> None:
    """Print each year as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=300)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--site", type=int, default=1)
    parser.add_argument("--event", nargs="+", choices=EVENTS, default=EVENTS)
    chosen = parser.parse_args()
    quiet()
    for event in chosen.event:
        with tempfile.TemporaryDirectory(prefix="vbq-year-") as folder:
            year = run_year(event, site=chosen.site, number=chosen.patients, every=chosen.every, folder=Path(folder))
        print(
            f"\n{event}: {year.in_model} in the model, NLR b {year.nlr_b:.4f}, PLR b {year.plr_b:.5f}; "
            f"{year.proposals} versions of cut-offs proposed, {year.changed_tiers} tiers changed"
        )
        for one in year.said:
            print(f"  day {one.day:3d}  {one.line[:200]}", flush=True)


if __name__ == "__main__":
    main()
