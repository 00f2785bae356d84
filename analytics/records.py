"""Domain records shared by the measurement, the blood counts, the matcher and the models.

All are frozen and keyword-only. Datetimes are aware, dates are local dates of the site. Counts are in 10⁹/L.
"""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

LEVELS = ("L1", "L2", "L3", "L4")
"""The lumbar levels whose marrow enters the score."""

CSF = "CSF"
"""The cerebrospinal fluid region, at the level of L3."""


class ResultStatus(StrEnum):
    """Where a blood count stands in the laboratory's process."""

    FINAL = "final"
    CORRECTED = "corrected"
    PRELIMINARY = "preliminary"
    WITHDRAWN = "withdrawn"
    HELD = "held"


class MeasurementStatus(StrEnum):
    """Measured, doubtful and unmeasurable are three things."""

    MEASURED = "measured"
    REVIEW = "review"
    REJECTED = "rejected"


class Tier(StrEnum):
    """The three tiers of the paper's discussion."""

    FLAGGED = "flagged"
    INTERMEDIATE = "intermediate"
    LOWER = "lower"


@dataclass(frozen=True, kw_only=True)
class Circle:
    """A circular region of interest in native pixels of one slice.

    ``row`` and ``col`` are 0-based and may be fractional; a pixel belongs to the circle when its centre lies
    within ``radius_px`` of it.
    """

    row: float
    col: float
    radius_px: float


@dataclass(frozen=True, kw_only=True)
class RoiSignal:
    """What the pixels of one circle say; ``sd`` is the sample standard deviation (n - 1)."""

    circle: Circle
    radius_mm: float
    mean: float
    sd: float
    pixels: int


@dataclass(frozen=True, kw_only=True)
class VbqScore:
    """A vertebral bone quality score and the regions it came from (keys ``L1`` … ``L4``, ``CSF``)."""

    vbq_mean: float
    vbq_median: float
    rois: dict[str, RoiSignal]


@dataclass(frozen=True, kw_only=True)
class Mri:
    """A measured (or not yet measured) lumbar T1 series, as the matcher sees it."""

    series_uid: str
    study_date: date | None
    status: MeasurementStatus | None
    """``None`` while nobody has measured it."""
    vbq: float | None
    taken_at: datetime | None = None
    """When it was made; ``None`` where the images give no time of day."""
    postoperative: bool = False
    """Its descriptions say that an operation went before."""


@dataclass(frozen=True, kw_only=True)
class BloodCount:
    """One blood count of one specimen, as the matcher sees it."""

    specimen: str
    taken_at: datetime | None
    date_only: bool
    """The laboratory gave a date without a time; ``taken_at`` is then the start of that local day."""
    status: ResultStatus
    nlr: float | None
    plr: float | None


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A planned operation. ``date_only`` as in :class:`BloodCount`."""

    booking: str
    planned_at: datetime
    date_only: bool
    cancelled: bool
