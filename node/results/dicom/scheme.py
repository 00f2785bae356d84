"""Codes of structured reports: of SNOMED CT, DICOM and UCUM where there are any, else of a private scheme.

The private scheme is declared in every object (PS3.3, C.12.1.1.1). Its UID and the meaning of a code never change. The
codes of reasons (``analytics/reasons.toml``) are codes of it, too.
"""

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from analytics.records import CSF
from node.results.scheme import SCHEME

SCHEME_NAME = "vbq-node: vertebral bone quality"

VBQ = Code("VBQ", SCHEME, "Vertebral bone quality score")
VBQ_MEDIAN = Code("VBQMEDIAN", SCHEME, "Vertebral bone quality score, median form")
VBQ_SD = Code("VBQSD", SCHEME, "Standard deviation of the score by error of measurement")
LEVELS_CONFIDENCE = Code("LEVELSCONFIDENCE", SCHEME, "Confidence in the naming of the levels")
STATUS = Code("STATUS", SCHEME, "Status of the result")
REMARK = Code("REMARK", SCHEME, "To be known about the result")
STATUSES = {
    "preliminary": Code("PRELIMINARY", SCHEME, "Measured by software, not yet approved by a person"),
    "final": Code("FINAL", SCHEME, "Approved or read by a person"),
    "corrected": Code("CORRECTED", SCHEME, "Approved by a person, in place of an earlier result"),
    "withdrawn": Code("WITHDRAWN", SCHEME, "Withdrawn: what was reported before does not hold"),
}
PRIVATE = (VBQ, VBQ_MEDIAN, VBQ_SD, LEVELS_CONFIDENCE, STATUS, REMARK, *STATUSES.values())
"""All private codes but those of reasons."""

RATIO = Code("{ratio}", "UCUM", "ratio")
NO_UNIT = Code("1", "UCUM", "no units")

SITES = {
    "L1": codes.SCT.L1Vertebra,
    "L2": codes.SCT.L2Vertebra,
    "L3": codes.SCT.L3Vertebra,
    "L4": codes.SCT.L4Vertebra,
    CSF: codes.SCT.L3Vertebra,
}
"""Where a circle lies; that of the fluid behind L3."""
FINDINGS = {name: codes.SCT.CerebrospinalFluid if name == CSF else codes.SCT.BoneMarrow for name in SITES}
"""What is in it."""
SIGNAL = codes.DCM.T1WeightedMRSignalIntensity
MEAN, MEDIAN = codes.SCT.Mean, codes.SCT.Median
STANDARD_DEVIATION = codes.SCT.StandardDeviation
"""(386136009, SCT): that of DCM is in no context group."""
PROCEDURE = Code("241647008", "SCT", "MRI of lumbar spine")
LUMBAR_SPINE = codes.SCT.LumbarSpine
COMMENT = Code("121106", "DCM", "Comment")
MEANING_LENGTH = 64
"""Characters of a Code Meaning (LO)."""


def reason_code(code: str, words: str) -> Code:
    """A reason of the catalogue as a code of the private scheme; its meaning cut to what a meaning may have."""
    kept = words if len(words) <= MEANING_LENGTH else words[: MEANING_LENGTH - 1].rstrip() + "…"
    return Code(code, SCHEME, kept if kept.isascii() else kept.encode("ascii", "replace").decode())
