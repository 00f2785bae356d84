"""How far the people who read agree with each other and with the automatic measurement, and whether one drifts."""

from dataclasses import dataclass
from typing import Any, ClassVar

from sqlite_utils import Database

from analytics.methods.agreement import Agreement, BlandAltman
from analytics.night.readers import ReaderDrift, reader_drifts
from analytics.paper.readers import PairOfReaders, ReaderReport, compare_readers
from node.analysis.agreement import against_automatic, stored_readings
from node.errors import InputError
from node.nightly.sections.section import Audience, Findings, Section


@dataclass(frozen=True, kw_only=True)
class ReaderAgreement(Section):
    """Agreement by pairs, and each reader against what they were; nothing where fewer than two have read."""

    name: ClassVar[str] = "readers"
    for_all: ClassVar[bool] = False
    urgency: ClassVar[int] = 35
    report: ReaderReport | None
    drifts: tuple[ReaderDrift, ...]

    @property
    def pairs(self) -> tuple[PairOfReaders, ...]:
        """The pairs of which something can be said."""
        pairs = self.report.pairs if self.report else ()
        return tuple(
            one for one in pairs if isinstance(one.agreement, Agreement) or isinstance(one.limits, BlandAltman)
        )

    @property
    def alarms(self) -> tuple[ReaderDrift, ...]:
        """Readers who read otherwise than before."""
        return tuple(one for one in self.drifts if one.alarm)

    @property
    def eventful(self) -> bool:
        """Whether a reader drifts."""
        return bool(self.alarms)

    def subject(self, _audience: Audience) -> tuple[str, ...]:
        """Whether a reader drifts."""
        return ("READER DRIFT",) if self.alarms else ()

    def to_json_dict(self) -> dict[str, Any]:
        """Both in numbers."""
        return {
            "readers": self.report.to_json_dict() if self.report else None,
            "reader_drifts": [one.to_json_dict() for one in self.drifts],
        }


def read(db: Database, findings: Findings) -> ReaderAgreement:
    """All readings that are stored, in the form that enters the model."""
    form = findings.settings.measurement.form
    try:
        report = compare_readers(stored_readings(db, form=form).table)
    except InputError:  # fewer than two have read
        report = None
    return ReaderAgreement(report=report, drifts=reader_drifts(against_automatic(db, form=form)))
