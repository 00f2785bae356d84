"""The paper's inclusion and exclusion criteria, as reasons.

References
----------
"Patient Samples" of the paper: inclusion (1) age ≥ 50 years, (2) degenerative lumbar disease, (3) elective lumbar
operation, (4) MRI within 3 months, (5) blood count within 30 days, (6) complete data; exclusion (1)–(6).
"""

from collections.abc import Mapping, Sequence
from datetime import date

from dateutil.relativedelta import relativedelta

from analytics.plausible import RANGES
from analytics.reasons import Reason

MINIMUM_AGE_YEARS = 50
"""Paper, inclusion criterion 1."""

ESSENTIAL = ("vbq", "age", "sex_male", "smoking", "diabetes", "bmi", "nlr", "plr")
"""What the paper's model needs; a row without any of these is incomplete (paper, inclusion criterion 6)."""

DRUG_WINDOW_MONTHS = 6
"""Calendar months before the operation in which steroids or immunosuppressants exclude (paper, exclusion 4)."""


def age_on(birth_date: date, day: date) -> int:
    """Completed years on a day; who was born on 29 February turns a year older on 1 March in other years."""
    return day.year - birth_date.year - ((day.month, day.day) < (birth_date.month, birth_date.day))


def in_drug_window(started: date, ended: date | None, surgery: date) -> bool:
    """Whether a drug was taken within 6 months before the operation.

    What is first given on the day of the operation itself belongs to it. Where no end is known, the drug is known to
    have been taken at its start only.
    """
    return started < surgery and (ended or started) >= surgery - relativedelta(months=DRUG_WINDOW_MONTHS)


def body_mass_index(*, height_cm: float | None, weight_kg: float | None) -> float | None:
    """Weight over height squared in kg/m², one decimal; ``None`` where either is missing or implausible."""
    if height_cm is None or weight_kg is None:
        return None
    if not RANGES["height"].holds(height_cm) or not RANGES["weight"].holds(weight_kg):
        return None
    return plausible_bmi(round(weight_kg / (height_cm / 100) ** 2, 1))


def plausible_bmi(bmi: float | None) -> float | None:
    """The BMI if it is one an adult can have, else ``None``."""
    return bmi if bmi is not None and RANGES["bmi"].holds(bmi) else None


def exclusion_reasons(
    *,
    values: Mapping[str, float | int | str | None],
    diagnosis_excludes: Sequence[Reason],
    earlier_operation: date | None,
) -> tuple[Reason, ...]:
    """Why a linked episode does not enter the model; empty when it does.

    Parameters
    ----------
    values
        The cohort row: the columns of :data:`ESSENTIAL` and ``diagnosis``.
    diagnosis_excludes
        The exclusion criteria that coded diagnoses and drugs of the patient meet.
    earlier_operation
        The date of an earlier lumbar operation of the same patient, if one is known.
    """
    reasons: list[Reason] = []
    age = values.get("age")
    if isinstance(age, int | float) and age < MINIMUM_AGE_YEARS:
        reasons.append(Reason("age-below-minimum", {"age": age, "minimum": MINIMUM_AGE_YEARS}))
    if values.get("diagnosis") is None:
        reasons.append(Reason("no-degenerative-diagnosis"))
    reasons.extend(diagnosis_excludes)
    if earlier_operation is not None:
        reasons.append(Reason("earlier-operation", {"date": earlier_operation.isoformat()}))
    missing = tuple(name for name in ESSENTIAL if values.get(name) is None)
    if missing:
        reasons.append(Reason("incomplete-data", {"columns": missing}))
    return tuple(reasons)
