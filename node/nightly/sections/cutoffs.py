"""The cut-offs in force, those proposed tonight, and whose tier these would change."""

from dataclasses import dataclass
from typing import Any, ClassVar

from sqlite_utils import Database

from analytics.methods.rows import Refusal
from analytics.night.calibration import Calibration, left_behind
from analytics.reasons import words
from node.nightly.cutoffs import would_change
from node.nightly.sections.section import Audience, Findings, Section
from node.people import thresholds
from node.people.corrections import Corrections
from node.people.thresholds import TierChange, Version, describe


@dataclass(frozen=True, kw_only=True)
class CutOffs(Section):
    """Version in force, version proposed, and why there is none."""

    name: ClassVar[str] = "cutoffs"
    for_all: ClassVar[bool] = False
    urgency: ClassVar[int] = 20
    most: ClassVar[int] = 25
    """Lines of who would change tier under a proposed version; `vbq-node thresholds show` has all."""
    version: Version | None
    proposed: Version | None
    """Only where it is not the one in force."""
    waiting: Version | None
    """Proposed by an earlier night, and nobody has decided about it."""
    why: tuple[str, ...]
    """Which cuts in force tonight's leave behind."""
    would_change: tuple[TierChange, ...]
    corrections: Corrections
    """What people have VBQ judged by beside the cut-offs."""
    refused: str | None
    """Why tonight's cohort gives no cut-offs."""

    @property
    def eventful(self) -> bool:
        """Whether a person has to decide about cut-offs."""
        return self.version is None or self.proposed is not None

    def top_for(self, audience: Audience) -> bool:
        """Why nobody has a tier is everybody's."""
        return True

    @property
    def open_proposal(self) -> Version | None:
        """The version that a person may adopt, of tonight or of an earlier night."""
        return self.proposed or self.waiting

    @property
    def version_words(self) -> list[str]:
        """What the cut-offs in force rest on."""
        return describe(self.version) if self.version else []

    def to_json_dict(self) -> dict[str, Any]:
        """The version in force, why there is none, and who would change tier."""
        return {
            "threshold_version": self.version.version if self.version else None,
            "not_calibrated": self.refused,
            "corrections": [one.decision_id for one in self.corrections.all],
            "would_change": [str(one) for one in self.would_change],
        }


def read(db: Database, findings: Findings) -> CutOffs:
    """The versions as the night left them."""
    version, proposed, proposal = findings.version, findings.proposed, findings.proposal
    waiting = None if proposed else thresholds.undecided(db)
    left = left_behind(version.cuts, proposal) if version and isinstance(proposal, Calibration) else ()
    return CutOffs(
        version=version,
        proposed=None if proposed == version else proposed,
        waiting=waiting,
        why=tuple(words(left)),
        would_change=would_change(db, proposed or waiting, version, findings.night),
        corrections=findings.corrections,
        refused=str(proposal.reason) if isinstance(proposal, Refusal) else None,
    )
