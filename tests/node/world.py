"""A data folder with the steps on it, and a drawn series whose VBQ is known."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from sqlite_utils import Database

from node.settings import Settings
from node.steps.index import catalogue_studies, index_objects
from node.store.archive import Archive
from node.store.database import open_database
from tests.node.dicom_samples import NOON, receive, settings_for, stack
from tests.node.reason_words import with_words

LATER = NOON + timedelta(seconds=120)
"""When what came at noon has had its quiet time."""
SERIES = "1.2.826.0.1.3680043.8.498.1.1"
CIRCLES: dict[str, list[float]] = {
    "L1": [10, 12, 3], "L2": [25, 12, 3], "L3": [40, 12, 3], "L4": [55, 12, 3], "CSF": [41, 32, 2],
}  # fmt: skip
SIGNALS = {"L1": 300, "L2": 260, "L3": 240, "L4": 200, "CSF": 100}


class World:
    """A data folder, and the two steps on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: Settings = settings_for(folder, quiet_s=120)
        self.archive = Archive(folder)
        self.db: Database = open_database(folder, create=True)

    def receive(self, *datasets: Dataset | bytes, at: datetime = NOON) -> list[str]:
        return receive(self.folder, *datasets, at=at)

    def index(self) -> int:
        return index_objects(self.db, self.archive)

    def catalogue(self, *, now: datetime = LATER) -> int:
        return catalogue_studies(self.db, self.settings, now=now)

    def rows(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        return self.db.execute(sql, values).fetchall()

    def series(self) -> dict[str, dict[str, object]]:
        return {row["series_instance_uid"]: with_words(row) for row in self.db["derived_series"].rows}


def painted(**values: object) -> list[Dataset]:
    """Slices of 70 × 50 pixels: each region in a band of its own signal, so VBQ is 1000 / 4 / 100 = 2.5."""
    pixels = np.full((70, 50), 7, dtype=np.uint16)
    for name, (row, col, _) in CIRCLES.items():
        pixels[int(row) - 6 : int(row) + 7, int(col) - 6 : int(col) + 7] = SIGNALS[name]
    return stack(6, **{"Rows": 70, "Columns": 50, "PixelData": pixels.tobytes(), **values})
