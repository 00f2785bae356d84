"""A result as the renderers get it, without a database."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from analytics.reasons import Reason
from analytics.records import Tier
from node.results.content import (
    Approval,
    Blood,
    Earlier,
    Finding,
    Region,
    Result,
    Score,
    Standing,
    Whose,
    status_of,
)

NOON = datetime(2026, 3, 1, 11, 0, tzinfo=UTC)
PROTOCOL = "EK 2026/17"
SIGNALS = {"L1": 300.0, "L2": 260.0, "L3": 240.0, "L4": 200.0, "CSF": 100.0}
"""Their VBQ is 1000 / 4 / 100."""
SCORE = Score(
    vbq_mean=2.5,
    vbq_median=2.48,
    vbq_sd=0.1,
    regions={name: Region(row=10, col=12, radius_px=3, mean=mean, sd=5, pixels=29) for name, mean in SIGNALS.items()},
    levels_confidence=0.98,
)
BLOOD = Blood(
    specimen="S1",
    taken_at=datetime(2026, 2, 20, 7, 30, tzinfo=UTC),
    date_only=False,
    neutrophils=6.0,
    lymphocytes=1.5,
    platelets=240.0,
    nlr=4.0,
    plr=160.0,
)
STANDING = Standing(
    tier=Tier.FLAGGED, threshold_version=3, vbq_cut=2.5, nlr_cut=4.0, plr_cut=150.0, surgery_date=date(2026, 3, 20)
)
OFFSET = Reason("vbq-cut-of", {"whose": Reason("cut-with-offset", {
    "whose": Reason("cut-of-all-scanners"), "offset": 0.25, "scanner": "B", "reference": "A",
})})  # fmt: skip
"""Of a VBQ cut that a person had moved by the offset of a scanner."""
FINDING = Finding(
    series_instance_uid="1.2.826.0.1.3680043.8.498.1.1",
    study_instance_uid="1.2.826.0.1.3680043.8.498.1",
    study_date=date(2026, 2, 1),
    patient_id="0012345",
    issuer="HOSPITAL",
    sop_instance_uid="1.2.826.0.1.3680043.8.498.1.1.4",
    instance_number=4,
    frame_number=None,
    score=SCORE,
    reasons=(),
    algorithm_name="vbq-auto",
    algorithm_version="5",
    circles_of=None,
    approval=None,
    blood=BLOOD,
    standing=STANDING,
)
WHOSE = Whose(
    patient_id="0012345",
    issuer="HOSPITAL",
    name="Müller^Eva^Maria^Dr.^jun.",
    birth_date="19600102",
    sex="F",
    study_instance_uid=FINDING.study_instance_uid,
    study_id="17",
    study_date="20260201",
    study_time="101500.250",
    study_description="MR LWS",
    accession_number="A-4711",
    accession_issuer="RIS",
    referring_physician="",
)
APPROVAL = Approval(name="Dr. A", at=NOON)
WITHDRAWN = (Reason("result-withdrawn", {"name": "Dr. A", "why": "wrong level"}),)


def result(finding: Finding = FINDING, *, before: Result | None = None, body: bytes = b"", **values: Any) -> Result:
    """The version after another one, which was rendered as ``body``."""
    earlier = None
    if before is not None:
        earlier = Earlier(
            result_id=before.version,
            identifier="before",
            version=before.version,
            status=before.status,
            content=before.to_json_dict(),
            path=None,
            body=body,
        )
    made = Result(
        kind="oru",
        destination="record",
        finding=finding,
        whose=WHOSE,
        image=None,
        protocol=PROTOCOL,
        site="site",
        status=status_of(finding, earlier),
        version=1 if earlier is None else earlier.version + 1,
        replaces=earlier,
        made_at=NOON,
    )
    return replace(made, **values)


def withdrawn(finding: Finding = FINDING) -> Finding:
    return replace(finding, score=None, reasons=WITHDRAWN, approval=None, blood=None, standing=None)
