"""What one HL7 message says about one patient: the typed content of ``derived_extract``.

An extract is what the message itself states, before anything else is known: the same message always gives the same
extracts, and everything about a person is folded from all extracts of the person in an order that does not depend
on the order of arrival (``sent_at``, then the bytes' SHA-256).
"""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from analytics.counts.results import Result

ObservationName = Literal[
    "height_cm", "weight_kg", "bmi", "smoking", "diabetes", "hypertension", "calcium",
    "t_score", "bmd_g_per_cm2", "hu", "event",
]  # fmt: skip
"""Facts about the patient that are not a blood count, with their units."""


class _Extract(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SpecimenExtract(_Extract):
    """The blood-count results of one specimen as one message gives them."""

    kind: Literal["specimen"] = "specimen"
    specimen: str
    """Names the specimen among all of the patient's; the same in every message about it."""
    taken_at: datetime | None
    date_only: bool
    observed_only: bool = False
    """Nothing says when the specimen was collected; ``taken_at`` is when it was observed (OBX-14)."""
    results: tuple[Result, ...]


class Observation(_Extract):
    """A coded fact about the patient that is not a blood count."""

    name: ObservationName
    value: float
    """Value in the unit of the name; 1 or 0 for yes and no; kg/m² for bmi; no unit for t_score."""
    observed_at: datetime | None


class Diagnosis(_Extract):
    """A coded diagnosis; ICD-10 codes without a trailing dot, as sent otherwise."""

    code: str
    text: str
    recorded_at: datetime | None


class Medication(_Extract):
    """A listed drug that was prescribed or given; its code and name as sent."""

    drug: str
    started_at: datetime | None
    ended_at: datetime | None


class PatientExtract(_Extract):
    """Demographics, observations, diagnoses and drugs."""

    kind: Literal["patient"] = "patient"
    birth_date: date | None = None
    sex: Literal["F", "M", "O"] | None = None
    observations: tuple[Observation, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()
    medications: tuple[Medication, ...] = ()
    visit: str = ""
    """The number of the visit that an ADT message is about."""
    visit_event: Literal["opened", "cancelled"] | None = None
    """What the message does to the visit: of one that is cancelled no diagnosis holds."""


class Staff(_Extract):
    """Somebody who works at the hospital: number and name, one of them may be empty."""

    number: str
    name: str


class AppointmentExtract(_Extract):
    """A booking, change or cancellation of an appointment, or what an order or an admission says of an operation."""

    kind: Literal["appointment"] = "appointment"
    source: Literal["schedule", "order", "admission"] = "schedule"
    placer: str
    filler: str
    """The numbers of the booking in the system that asked for it and in the one that keeps it; one may be empty. Of an
    admission the visit and the code of the procedure."""
    order_placer: str = ""
    order_filler: str = ""
    """The numbers of the order behind it."""
    event: Literal["booked", "moved", "modified", "cancelled"]
    planned_at: datetime | None
    date_only: bool
    procedure: str
    """Code and text of what is planned, as sent."""
    operation: bool
    """Whether ``conf/procedures.toml`` makes it an operation of the study (and not, say, an out-patient visit)."""
    understood: Literal["operation", "repeat", "other", "unclear", "unknown"] = "other"
    """What ``conf/procedures.toml`` makes of it; a ``repeat`` (revision, removal) says that one was before."""
    surgeon: Staff | None = None
    """Who operates."""
    service: str = ""
    """The hospital's service that it is for."""

    @property
    def booking(self) -> str:
        """What one message calls the booking: ``placer/filler``."""
        return f"{self.placer}/{self.filler}"


class MergeExtract(_Extract):
    """The patient of this extract survives; the number named here is retired in its favour."""

    kind: Literal["merge"] = "merge"
    retired_authority: str
    retired_id: str


class UnmergeExtract(_Extract):
    """The patient of this extract and the one of the number named here are two persons: a merge is taken back."""

    kind: Literal["unmerge"] = "unmerge"
    other_authority: str
    other_id: str


Extract = Annotated[
    SpecimenExtract | PatientExtract | AppointmentExtract | MergeExtract | UnmergeExtract,
    Field(discriminator="kind"),
]

_ADAPTER: TypeAdapter[Extract] = TypeAdapter(Extract)


def from_json(content: str) -> Extract:
    """The extract stored as ``content`` in ``derived_extract``."""
    return _ADAPTER.validate_json(content)
