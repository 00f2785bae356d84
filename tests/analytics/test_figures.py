"""The scatter figures: what is drawn (the line and band as R has them), that it repeats, and what is said of it."""

import json
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analytics.pictures.base import DOTS_PER_INCH, encoded, scatter, scatter_alt_text, trend

STATISTICS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "statistics"
needs_statistics = pytest.mark.skipif(not STATISTICS.is_dir(), reason="../shared/data/statistics is not here")


def chunks(png: bytes) -> list[str]:
    names, at = [], 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        names.append(png[at + 4 : at + 8].decode())
        at += length + 12
    return names


def size(png: bytes) -> tuple[int, int]:
    return struct.unpack(">II", png[16:24])


@needs_statistics
@pytest.mark.parametrize("name", ["age", "nlr", "plr"])
def test_line_and_band_are_those_of_r(name: str) -> None:
    cohort = pd.read_csv(STATISTICS / "inputs" / "cohort200.csv")
    r = json.loads((STATISTICS / "expected" / "spearman_cohort200.json").read_text())["ols_band"][name]
    found = trend(cohort[name].to_numpy(float), cohort["vbq"].to_numpy(), np.array(r["x"]))
    for mine, theirs in zip(found, (r["fit"], r["lo"], r["hi"]), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9)


@needs_statistics
def test_the_same_cohort_gives_the_same_bytes() -> None:
    cohort = pd.read_csv(STATISTICS / "inputs" / "cohort200.csv")
    first = scatter(cohort, "nlr", x_label="NLR")
    assert scatter(cohort.copy(), "nlr", x_label="NLR") == first
    assert scatter(cohort, "plr", x_label="PLR") != first
    assert set(chunks(first)) == {"IHDR", "pHYs", "IDAT", "IEND"}
    assert size(first) == (1200, 840)


def test_a_picture_is_read_as_it_was_drawn() -> None:
    """By Pillow."""
    pixels = np.random.default_rng(1).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    with Image.open(BytesIO(encoded(pixels))) as image:
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), pixels)
        assert image.info["dpi"] == pytest.approx((DOTS_PER_INCH, DOTS_PER_INCH), abs=0.1)


@needs_statistics
def test_the_words_carry_the_numbers() -> None:
    cohort = pd.read_csv(STATISTICS / "inputs" / "cohort200.csv")
    assert scatter_alt_text(cohort, "nlr", "NLR").startswith(
        "Scatter plot of VBQ against NLR: Spearman’s ρ = 0.534, p < 0.001, n = 200."
    )
    assert "ρ = 0.093, p = 0.189, n = 200" in scatter_alt_text(cohort, "bmi", "BMI (kg/m²)")
    assert "ρ = −0.534" in scatter_alt_text(cohort.assign(nlr=-cohort["nlr"]), "nlr", "minus NLR")


@pytest.mark.parametrize("n", [0, 1, 5, 40])
def test_what_has_no_correlation_is_drawn_and_said(n: int) -> None:
    frame = pd.DataFrame({"vbq": np.linspace(2, 3, n), "nlr": np.full(n, 2.0)}, dtype=float)
    assert size(scatter(frame, "nlr", x_label="NLR")) == (1200, 840)
    text = scatter_alt_text(frame, "nlr", "NLR")
    assert text == f"Scatter plot of VBQ against NLR: No correlation can be given, n = {n}."


def test_incomplete_pairs_are_not_drawn() -> None:
    values = [float(i) for i in range(1, 13)]
    whole = pd.DataFrame({"vbq": [2.1, 2.0, *values[2:]], "plr": values})
    holed = pd.concat([whole, pd.DataFrame({"vbq": [2.0, None, np.inf], "plr": [np.nan, 3.0, 4.0]})])
    assert scatter(holed, "plr", x_label="PLR") == scatter(whole, "plr", x_label="PLR")
