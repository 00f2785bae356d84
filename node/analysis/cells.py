"""Tables as people read them: text cells, ready for CSV, HTML and a terminal."""

import re
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

LABELS = {
    "(Intercept)": "Intercept", "vbq": "VBQ", "age": "Age (years)", "sex_male": "Sex (male)", "smoking": "Smoking",
    "diabetes": "Diabetes", "hypertension": "Hypertension", "calcium": "Calcium", "diagnosis": "Diagnosis",
    "bmi": "BMI (kg/m²)", "nlr": "NLR", "plr": "PLR", "ln_nlr": "ln NLR", "ln_plr": "ln PLR",
    "ln_neutrophils": "ln neutrophils", "ln_lymphocytes": "ln lymphocytes", "ln_platelets": "ln platelets",
}  # fmt: skip

TESTS = {
    "student": "Student's t", "welch": "Welch's t", "mann_whitney": "Mann–Whitney", "chi2": "χ²",
    "chi2_yates": "χ² (Yates)", "fisher": "Fisher's exact", "chi2_sparse": "χ² (counts too small for it)",
}  # fmt: skip


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Beginnings of a text that a spreadsheet calculates; the wide forms in East Asian ones."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: ``name`` for the file, the first column of ``rows`` names the line."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def guarded(value: T) -> T | str:
    """A cell of a CSV file: a text that a spreadsheet takes for a formula gets an apostrophe before it.

    Ids, scanners and the like come from outside. Numbers stay as they are, written as text, too.
    """
    if not isinstance(value, str) or not value.startswith(FORMULA) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) is not None


def number(value: float | None, decimals: int = 3) -> str:
    """A number with a minus sign, or a dash."""
    return "–" if value is None else f"{value:.{decimals}f}".replace("-", "−")


def interval(low: float | None, high: float | None, decimals: int = 3) -> str:
    """Both ends of an interval."""
    return "–" if low is None or high is None else f"{number(low, decimals)} to {number(high, decimals)}"


def p_value(p: float | None) -> str:
    """A p value as the paper prints it."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
