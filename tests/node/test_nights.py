"""The real nightly code over many nights at one made-up site: ``tests.benchmarks.two_hundred_nights`` in small."""

from pathlib import Path

import pytest

from node.nightly import night
from tests.benchmarks.two_hundred_nights import SOON, simulate


def test_tiers_hold_still_and_a_shifted_scanner_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(night, "_draw", lambda cohort: ())
    outcome = simulate(3, 24, shift=0.25, folder=tmp_path)
    assert outcome.changed_tiers == 0
    assert not outcome.false_alarm
    assert outcome.found_after is not None and outcome.found_after <= SOON
