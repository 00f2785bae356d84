"""What is true: whose a specimen, an examination and an operation are, what is in them, and what was got wrong."""

from dataclasses import dataclass, field
from datetime import date, datetime

from node.names import PersonName
from tests.benchmarks.hospital.people import Patient


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A message on the wire."""

    at: datetime
    raw: bytes


@dataclass(frozen=True, kw_only=True)
class Image:
    """A measured lumbar examination, as it stands once the images are read and measured."""

    at: datetime
    uid: str
    number: str
    names: tuple[PersonName, ...]
    birth_date: date | None
    sex: str | None
    taken_at: datetime
    vbq: float
    postoperative: bool = False


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a specimen is from a moment on, as far as anybody who hears all messages can know."""

    since: datetime
    patient: int | None
    """``None``: it may not be used, whatever it says."""
    ratios: tuple[float, float] | None = None
    """True NLR and PLR; a count that is sent wrongly and read as these all the same does no harm."""


@dataclass(kw_only=True)
class Specimen:
    """A blood count; ``right`` when nothing about it is in doubt."""

    name: str
    sent_at: datetime
    taken_at: datetime
    told: list[Told]
    right: bool = True
    unusual: str = ""

    def at(self, moment: datetime) -> Told:
        """What holds then."""
        return [one for one in self.told if one.since <= moment][-1]


@dataclass(kw_only=True)
class Operation:
    """A booked operation; ``days`` is when it is, from each moment on; ``None``: not at all."""

    name: str
    patient: int
    days: list[tuple[datetime, datetime | None]]
    lumbar: bool = True

    def at(self, moment: datetime) -> datetime | None:
        """When it is, as told by then."""
        return [day for since, day in self.days if since <= moment][-1]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that is wrong; ``to_say``: the node can and has to say so within a night."""

    kind: str
    at: datetime
    numbers: tuple[str, ...]
    """The patient numbers that it concerns."""
    specimen: str | None = None
    sender: str = ""
    messages: tuple[bytes, ...] = ()
    to_say: bool = True


@dataclass(kw_only=True)
class Story:
    """All that happens at the hospital in a year, and what is true of it."""

    patients: dict[int, Patient] = field(default_factory=dict)
    events: list[Frame | Image] = field(default_factory=list)
    specimens: dict[str, Specimen] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    """Whose an examination truly is."""
    after_surgery: set[str] = field(default_factory=set)
    """Examinations of after the operation."""
    faults: list[Fault] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)
    """Patients about whom something was got wrong."""
