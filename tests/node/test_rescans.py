"""Which two MRIs of a patient the archive counts as a repeat."""

import json
from pathlib import Path

from typer.testing import CliRunner

from analytics.paper.rescans import Pair
from node.analysis.rescans import pairs
from node.cli import app
from node.settings import Measurement
from node.steps.measure_automatic import measure_automatically
from node.store.database import insert
from tests.node.known_circles import KnownCircles
from tests.node.world import CIRCLES, World, painted

ROOT = "1.2.826.0.1.3680043.8.498.8"


def test_pairs_of_the_archive(tmp_path: Path) -> None:
    world = World(tmp_path)
    days = {"P1": ["20260101", "20260301", "20260310"], "P2": ["20260101", "20260601"], "P3": ["20260101", "20260201"]}
    number = 0
    for patient, dates in days.items():
        for day in dates:
            number += 1
            uid = f"{ROOT}.{number}"
            model = "ONE" if number != 3 else "OTHER"
            world.receive(
                *painted(
                    StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1", PatientID=patient, IssuerOfPatientID="HOSPITAL",
                    StudyDate=day, ManufacturerModelName=model,
                )
            )  # fmt: skip
    world.index()
    world.catalogue()
    while measure_automatically(world.db, world.archive, world.settings, KnownCircles(CIRCLES)):
        continue
    for one in days:
        named = "INSERT OR IGNORE INTO derived_identifier (authority, patient_id, person) VALUES (?, ?, ?)"
        world.db.execute(named, ["HOSPITAL", one, f"HOSPITAL|{one}"])
    operation = {"person": "HOSPITAL|P3", "booking": "B", "planned_at": "2026-01-15T07:00:00+00:00", "cancelled": 0}
    insert(world.db, "derived_operation", [operation | {"date_only": 0}])
    # P1: the nearest two, on two scanners; P2: too far apart; P3: operated in between.
    (found,) = pairs(world.db, world.settings)
    scanners = [scanner.split()[-2] for scanner in found.scanners]
    assert (found.days, found.vbq, scanners) == (9, (2.5, 2.5), ["ONE", "OTHER"])
    world.db.execute("UPDATE derived_operation SET cancelled = 1")
    assert [one.days for one in pairs(world.db, world.settings)] == [9, 31]
    assert len(pairs(world.db, world.settings, longest_days=200)) == 3
    median = world.settings.model_copy(update={"measurement": Measurement(form="median")})
    assert isinstance(pairs(world.db, median)[0], Pair)
    config = tmp_path / "node.toml"
    config.write_text(f'[storage]\nfolder = "{tmp_path}"\n', encoding="utf-8")
    shown = CliRunner().invoke(app, ["rescans", "--json", "--config", str(config)])
    assert json.loads(shown.stdout)["day_to_day"]["reason_code"] == "few-rescans"
    world.db.close()
