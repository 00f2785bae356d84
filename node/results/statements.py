"""A result as single statements, each under a code of its own, for HL7 messages and FHIR resources."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from analytics.records import CSF, LEVELS, Tier
from node.hl7.times import Moment, read_time
from node.results.content import Finding, Result, Score
from node.results.scheme import SCHEME
from node.settings import ResultName, ResultPart, Site

NOTICE = "Research use only, no medical device; a person decides."
CODES: Mapping[ResultName, str] = MappingProxyType(
    {
        "report": f"VBQREPORT^Vertebral bone quality and blood ratios^{SCHEME}",
        "vbq": f"VBQ^Vertebral bone quality score^{SCHEME}",
        "vbq_low": f"VBQLOW^Vertebral bone quality score, lower limit (95 %)^{SCHEME}",
        "vbq_high": f"VBQHIGH^Vertebral bone quality score, upper limit (95 %)^{SCHEME}",
        "vbq_median": f"VBQMEDIAN^Vertebral bone quality score, median form^{SCHEME}",
        "vbq_l1": f"VBQL1^Signal of L1 by that of the fluid^{SCHEME}",
        "vbq_l2": f"VBQL2^Signal of L2 by that of the fluid^{SCHEME}",
        "vbq_l3": f"VBQL3^Signal of L3 by that of the fluid^{SCHEME}",
        "vbq_l4": f"VBQL4^Signal of L4 by that of the fluid^{SCHEME}",
        "nlr": f"NLR^Neutrophils by lymphocytes^{SCHEME}",
        "plr": f"PLR^Platelets by lymphocytes^{SCHEME}",
        "neutrophils": "26499-4^Neutrophils [#/volume] in Blood^LN",
        "lymphocytes": "26474-7^Lymphocytes [#/volume] in Blood^LN",
        "platelets": "26515-7^Platelets [#/volume] in Blood^LN",
        "tier": f"TIER^Tier of the planned operation^{SCHEME}",
        "threshold_version": f"THRESHOLDS^Version of the thresholds of the tier^{SCHEME}",
    }
)
"""Code, name and system of each statement. There is no LOINC code of VBQ, NLR or PLR; the counts have those that say
nothing of the method."""
LEVEL_NAMES: Mapping[str, ResultName] = MappingProxyType(
    {"L1": "vbq_l1", "L2": "vbq_l2", "L3": "vbq_l3", "L4": "vbq_l4"}
)
RATIO = "{ratio}"
COUNT = "10*9/L"
DECIMALS = 3


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One value of a result.

    Attributes
    ----------
    value
        A number, or a tier.
    unit
        By UCUM; empty: none.
    cut
        The adopted limit that the tier was made with; ``None``: the value has none.
    high_at_cut
        Whether a value at its cut is high already (VBQ), or only one above it (the ratios).
    at
        When the images or the specimen were taken.
    of_images
        Whether it was measured in the images by this software; else it is the laboratory's.
    """

    name: ResultName
    value: float | Tier
    unit: str = ""
    cut: float | None = None
    high_at_cut: bool = False
    at: Moment | None
    of_images: bool

    @property
    def text(self) -> str:
        """The value as it is written."""
        if isinstance(self.value, Tier):
            return self.value.value
        return written(self.value)

    @property
    def limit(self) -> str:
        """The cut as it is written; empty without one."""
        return "" if self.cut is None else written(self.cut)

    @property
    def high(self) -> bool | None:
        """Whether it is high by the adopted cut; ``None`` without one."""
        if self.cut is None or isinstance(self.value, Tier):
            return None
        return self.value >= self.cut if self.high_at_cut else self.value > self.cut


def written(value: float) -> str:
    """A number with as many decimals as count, without empty ones."""
    return f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")


def part_told(finding: Finding, parts: Collection[ResultPart]) -> Finding:
    """What a receiver is told of a finding that wants only some parts; another one is no news to it."""
    if "tier" in parts:
        return finding
    return replace(finding, standing=None) if {"ratios", "counts"} & set(parts) else finding.of_images()


def statements(result: Result, parts: Collection[ResultPart], site: Site) -> tuple[Statement, ...]:
    """All that is said; nothing where no number holds."""
    finding = result.finding
    if finding.score is None:
        return ()
    return (
        *_of_score(result, finding.score, levels="levels" in parts, site=site),
        *_of_blood(finding, parts),
        *(_of_tier(finding) if "tier" in parts else ()),
    )


def _of_score(result: Result, score: Score, *, levels: bool, site: Site) -> list[Statement]:
    taken = _taken(result, site)
    standing = result.finding.standing
    limits = score.interval
    values: list[tuple[ResultName, float]] = []
    if limits is not None:
        values += [("vbq_low", limits[0]), ("vbq_high", limits[1])]
    values.append(("vbq_median", score.vbq_median))
    if levels:
        fluid = score.regions[CSF].mean
        values += [(LEVEL_NAMES[name], score.regions[name].mean / fluid) for name in LEVELS]
    return [
        Statement(
            name="vbq", value=score.vbq_mean, unit=RATIO, cut=standing.vbq_cut if standing else None, high_at_cut=True,
            at=taken, of_images=True,
        ),
        *(Statement(name=name, value=value, unit=RATIO, at=taken, of_images=True) for name, value in values),
    ]  # fmt: skip


def _taken(result: Result, site: Site) -> Moment | None:
    """Date and time of the study, by its images; in the site's zone."""
    whose = result.whose
    if whose is None:
        return None
    return read_time(whose.study_date + whose.study_time, site.zone) or read_time(whose.study_date, site.zone)


def _of_blood(finding: Finding, parts: Collection[ResultPart]) -> list[Statement]:
    blood, standing = finding.blood, finding.standing
    if blood is None:
        return []
    taken = Moment(at=blood.taken_at, date_only=blood.date_only) if blood.taken_at else None
    told: list[tuple[ResultName, float | None, str, float | None]] = []
    if "ratios" in parts:
        told.append(("nlr", blood.nlr, RATIO, standing.nlr_cut if standing else None))
        told.append(("plr", blood.plr, RATIO, standing.plr_cut if standing else None))
    if "counts" in parts:
        told.append(("neutrophils", blood.neutrophils, COUNT, None))
        told.append(("lymphocytes", blood.lymphocytes, COUNT, None))
        told.append(("platelets", blood.platelets, COUNT, None))
    return [
        Statement(name=name, value=value, unit=unit, cut=cut, at=taken, of_images=False)
        for name, value, unit, cut in told
        if value is not None
    ]


def _of_tier(finding: Finding) -> list[Statement]:
    standing = finding.standing
    if standing is None:
        return []
    version = float(standing.threshold_version)
    return [
        Statement(name="tier", value=standing.tier, at=None, of_images=False),
        Statement(name="threshold_version", value=version, at=None, of_images=False),
    ]
