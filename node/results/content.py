"""What a result says: plain records without a database or a format; every renderer prints these and nothing else.

:class:`Finding` is what is known of a series now. Its digest decides whether something new is to be told. A
:class:`Result` is a finding with all that one rendered version of it needs: whose it is, under which protocol, and what
it replaces.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from analytics.reasons import Reason, to_dict
from analytics.records import Tier

TWO_SIDED_95 = 1.96
DIGITS = 3
"""Decimals that decide whether a result has changed: another processor may compute others in the tenth."""


class Status(StrEnum):
    """Where a result stands."""

    PRELIMINARY = "preliminary"
    """Measured by the software; no person has looked at it."""
    FINAL = "final"
    """Approved, or read, by a person."""
    CORRECTED = "corrected"
    """Approved by a person, in place of one that was so before."""
    WITHDRAWN = "withdrawn"
    """What was told before does not hold; there is no number."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """A circle on the slice and the signal in it.

    ``row``, ``col`` and ``radius_px`` are native pixels, 0-based, of pixel centres; ``mean`` and ``sd`` (sample
    standard deviation) are in the arbitrary units of the images.
    """

    row: float
    col: float
    radius_px: float
    mean: float
    sd: float
    pixels: int


@dataclass(frozen=True, kw_only=True)
class Score:
    """The score; ratios without a unit. ``vbq_sd`` is its standard deviation where the measurement brings one."""

    vbq_mean: float
    vbq_median: float
    vbq_sd: float | None
    regions: Mapping[str, Region]
    """By the names of :data:`analytics.vbq.score.REGIONS`."""
    levels_confidence: float | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The two-sided 95 % interval of ``vbq_mean``."""
        if self.vbq_sd is None:
            return None
        half = TWO_SIDED_95 * self.vbq_sd
        return self.vbq_mean - half, self.vbq_mean + half


@dataclass(frozen=True, kw_only=True)
class Approval:
    """Who has approved or read it, and when (UTC)."""

    name: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Blood:
    """The blood count that is linked to the images: ratios without a unit, counts in 10⁹/L."""

    specimen: str
    taken_at: datetime | None
    date_only: bool
    """The laboratory gave a date only; ``taken_at`` is then the start of that local day."""
    neutrophils: float | None
    lymphocytes: float | None
    platelets: float | None
    nlr: float | None
    plr: float | None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The tier of the operation that the images are linked to, with the cuts that it was made from."""

    tier: Tier
    threshold_version: int
    vbq_cut: float | None
    nlr_cut: float
    plr_cut: float
    surgery_date: date
    reasons: tuple[Reason, ...] = ()
    """What is to be known about a cut: that it holds an adopted offset of the scanner."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is known of a series: a score that is measured or approved, or none and why."""

    series_instance_uid: str
    study_instance_uid: str
    study_date: date | None
    patient_id: str
    """As received (0010,0020)."""
    issuer: str | None
    """As received (0010,0021)."""
    sop_instance_uid: str | None
    instance_number: int | None
    frame_number: int | None
    """1-based, of a multi-frame image only."""
    score: Score | None
    """``None``: what was told before does not hold."""
    reasons: tuple[Reason, ...]
    """Beside a score, what is to be known about it; without one, why there is none."""
    algorithm_name: str
    algorithm_version: str
    circles_of: str | None
    """Name and version of the algorithm whose circles a person approved; ``None`` where nobody approved any."""
    approval: Approval | None
    blood: Blood | None = None
    standing: Standing | None = None

    @property
    def algorithm(self) -> str:
        """Name and version."""
        return f"{self.algorithm_name} {self.algorithm_version}"

    @property
    def remarks(self) -> tuple[Reason, ...]:
        """Reasons of the score and of the cuts."""
        return (*self.reasons, *(self.standing.reasons if self.standing else ()))

    def of_images(self) -> "Finding":
        """What the images say alone."""
        return replace(self, blood=None, standing=None)


@dataclass(frozen=True, kw_only=True)
class Whose:
    """Whose the images are and where they belong, as their header says it; empty where it says nothing."""

    patient_id: str
    issuer: str
    name: str
    """As in (0010,0010), with carets and groups."""
    birth_date: str
    """YYYYMMDD."""
    sex: str
    study_instance_uid: str
    study_id: str
    study_date: str
    study_time: str
    study_description: str
    accession_number: str
    accession_issuer: str
    """Local namespace of (0008,0051)."""
    referring_physician: str


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """The version before, for the same destination."""

    result_id: int
    identifier: str
    version: int
    status: Status
    content: Mapping[str, Any]
    """As it was recorded (:func:`Result.to_json_dict`)."""
    path: Path | None
    """Its bytes, where they are a file."""
    body: bytes | None
    """Its bytes, where they are in the record."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One version of a result for one destination, to be rendered."""

    kind: str
    destination: str
    finding: Finding
    whose: Whose | None
    """``None`` where the images are gone; there is no score then."""
    image: Path | None
    """The file of the slice, as received."""
    protocol: str
    """The study protocol or ethics vote; never empty."""
    site: str
    """Name of the site."""
    status: Status
    version: int
    replaces: Earlier | None
    made_at: datetime
    """In the site's time zone."""
    banner: str = ""
    """What stands before all else on the results of a test system; empty elsewhere."""

    def to_json_dict(self) -> dict[str, Any]:
        """What is kept beside the bytes: all that it says but the name of the patient."""
        return {
            **finding_json(self.finding),
            "protocol": self.protocol,
            "status": self.status.value,
            "version": self.version,
            "replaces": self.replaces.identifier if self.replaces else None,
        }


def status_of(finding: Finding, earlier: Earlier | None) -> Status:
    """Where a finding stands after what was told before it."""
    if finding.score is None:
        return Status.WITHDRAWN
    if finding.approval is None:
        return Status.PRELIMINARY
    told = earlier is not None and earlier.status != Status.PRELIMINARY
    return Status.CORRECTED if told else Status.FINAL


def finding_json(finding: Finding) -> dict[str, Any]:
    """A finding as JSON has it; times in ISO 8601, reasons as code and values."""
    return {**_plain(finding), "reasons": [to_dict(one) for one in finding.remarks]}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {name: _plain(one) for name, one in vars(value).items() if name != "reasons"}
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return str(value) if isinstance(value, date | datetime | StrEnum) else value


def digest(finding: Finding) -> str:
    """SHA-256 that changes with all that a result says, and with nothing else; numbers count to :data:`DIGITS`."""
    text = json.dumps(_rounded(finding_json(finding)), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, DIGITS) if isinstance(value, float) else value
