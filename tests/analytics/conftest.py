"""The cohort on which most of the statistics are held against R."""

from pathlib import Path

import pandas as pd
import pytest

STATISTICS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "statistics"


@pytest.fixture(scope="module")
def cohort() -> pd.DataFrame:
    return pd.read_csv(STATISTICS / "inputs" / "cohort200.csv")
