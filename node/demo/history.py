"""A made-up retrospective cohort with the paper's effects: what a site imports before its first night.

References
----------
Table 1 of the paper for the distributions, Table 2 for the effects; residual and spread of each predictor follow from
its standardised coefficients (SD of VBQ = 0.0110 · SD(age) / 0.454 ≈ 0.20).
"""

import csv
import io
from datetime import date, timedelta

import numpy as np

from analytics.episodes.cohort import COLUMNS, DATE_COLUMNS

ROWS = 200
FIRST_OPERATION, LAST_OPERATION = date(2022, 1, 10), date(2024, 1, 15)
"""The paper's period."""

INTERCEPT_VBQ = 2.90
"""VBQ of a patient who is average in everything."""

RESIDUAL_SD = 0.125
"""Residual SD; with the effects of Table 2 on these predictors it gives an adjusted R² of about 0.5."""

MEAN_AGE, SD_AGE = 64.1, 8.4
MEAN_BMI, SD_BMI = 20.5, 0.87
MEAN_PLR, SD_PLR = 228.0, 41.0
MEAN_NLR = 2.97
LOG_NLR_SD = 0.47
AGE_NLR_CORRELATION = 0.72
"""Correlation on the log scale; gives the VIFs of about 2 that the paper prints for both."""


def history_csv(seed: int) -> str:
    """The cohort as CSV with the promised columns and the dates; the same seed gives the same text."""
    rng = np.random.default_rng([seed, 200])
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, [*COLUMNS, *DATE_COLUMNS], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(number, rng) for number in range(1, ROWS + 1))
    return buffer.getvalue()


def _row(number: int, rng: np.random.Generator) -> dict[str, object]:
    age = int(np.clip(round(rng.normal(MEAN_AGE, SD_AGE)), 50, 89))
    older = (age - MEAN_AGE) / SD_AGE
    male = int(rng.random() < 0.44)
    smoking = int(rng.random() < np.clip(0.53 + 0.11 * older, 0.05, 0.95))
    diabetes = int(rng.random() < np.clip(0.50 + 0.10 * older, 0.05, 0.95))
    bmi = round(float(rng.normal(MEAN_BMI, SD_BMI)), 1)
    common, own = AGE_NLR_CORRELATION * older, np.sqrt(1 - AGE_NLR_CORRELATION**2) * rng.normal()
    wanted_nlr = MEAN_NLR * np.exp(LOG_NLR_SD * (common + own) - LOG_NLR_SD**2 / 2)
    wanted_plr = np.clip(rng.normal(MEAN_PLR, SD_PLR), 90, 380)
    lymphocytes = round(float(np.clip(rng.normal(1.35, 0.22), 0.8, 2.2)), 2)
    neutrophils = round(float(wanted_nlr * lymphocytes), 2)
    platelets = round(float(wanted_plr * lymphocytes))
    nlr, plr = round(neutrophils / lymphocytes, 2), round(platelets / lymphocytes, 1)
    vbq = (
        INTERCEPT_VBQ
        + 0.0110 * (age - MEAN_AGE)
        - 0.0160 * (male - 0.44)
        + 0.0086 * (smoking - 0.53)
        + 0.0140 * (diabetes - 0.50)
        + 0.0072 * (bmi - MEAN_BMI)
        + 0.0196 * (nlr - MEAN_NLR)
        + 0.0015 * (plr - MEAN_PLR)
        + rng.normal(0, RESIDUAL_SD)
    )
    operation = FIRST_OPERATION + timedelta(days=int(rng.integers((LAST_OPERATION - FIRST_OPERATION).days)))
    values = (
        f"H{number:04d}", round(float(vbq), 3), age, male, smoking, diabetes, int(rng.random() < 0.51),
        int(rng.random() < 0.60), str(rng.choice(["LDH", "LSS", "LS"], p=[0.425, 0.35, 0.225])), bmi,
        neutrophils, lymphocytes, platelets, nlr, plr,
        operation, operation - timedelta(days=int(rng.integers(2, 80))),
        operation - timedelta(days=int(rng.integers(1, 25))),
    )  # fmt: skip
    return dict(zip([*COLUMNS, *DATE_COLUMNS], values, strict=True))
