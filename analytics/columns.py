"""The columns of a cohort row and the cells and indices of a blood count, each said once.

From here come what a file may hold, what is checked in it, what the night takes into its snapshot, what a linked row
stores, and the meaning of a column in the README and in the Datasette metadata. SQL is written by hand
(``node/store/derived.sql``, ``views.sql``); a test holds it to these tables.

To add a cell of the blood count: its names in ``conf/analytes.toml``, a line in :data:`Analyte` and :data:`CELLS`, an
:class:`Index` where one is made of it, and its columns in the two SQL files. What is no part of NLR or PLR never holds
a count.
"""

from dataclasses import dataclass
from typing import Literal

Analyte = Literal[
    "neutrophils",
    "segmented",
    "bands",
    "granulocytes",
    "lymphocytes",
    "monocytes",
    "platelets",
    "leukocytes",
    "unknown",
    "unnamed",
]
"""What a laboratory result may be of. ``unknown``: looks like a part of a blood count, but nothing says which;
``unnamed``: a row of the same panel that nothing names."""

Cell = Literal["neutrophils", "lymphocytes", "platelets", "leukocytes", "monocytes"]

CELLS: tuple[Cell, ...] = ("neutrophils", "lymphocytes", "platelets", "leukocytes", "monocytes")
"""What a blood count gives, in 10⁹/L."""


@dataclass(frozen=True, kw_only=True)
class Index:
    """Product of ``upper`` over product of ``lower``; its unit is what remains of 10⁹/L."""

    name: str
    upper: tuple[Cell, ...]
    lower: tuple[Cell, ...]
    unit: str
    meaning: str

    @property
    def shown(self) -> str:
        """As the field writes it."""
        return self.name.upper()


INDICES = (
    Index(
        name="nlr",
        upper=("neutrophils",),
        lower=("lymphocytes",),
        unit="",
        meaning="Neutrophil-to-lymphocyte ratio, no unit",
    ),
    Index(
        name="plr",
        upper=("platelets",),
        lower=("lymphocytes",),
        unit="",
        meaning="Platelet-to-lymphocyte ratio, no unit",
    ),
    Index(
        name="lmr",
        upper=("lymphocytes",),
        lower=("monocytes",),
        unit="",
        meaning="Lymphocyte-to-monocyte ratio, no unit; beside the paper, in no model and no tier",
    ),
    Index(
        name="sii",
        upper=("platelets", "neutrophils"),
        lower=("lymphocytes",),
        unit="10⁹/L",
        meaning="Systemic immune-inflammation index in 10⁹/L, platelets × neutrophils / lymphocytes (Hu et al. 2014); "
        "in no model and no tier",
    ),
    Index(
        name="siri",
        upper=("neutrophils", "monocytes"),
        lower=("lymphocytes",),
        unit="10⁹/L",
        meaning="Systemic inflammation response index in 10⁹/L, neutrophils × monocytes / lymphocytes (Qi et al. "
        "2016); in no model and no tier",
    ),
)
"""The paper's two ratios, then those that others ask for."""

OF_THE_PAPER = ("nlr", "plr")
"""Without both a count is no candidate for a link."""

Kind = Literal["id", "number", "flag", "class", "date", "text"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the cohort table and of the view ``cohort``."""

    name: str
    kind: Kind
    meaning: str
    required: bool = False
    """A file must have it."""
    in_fit: bool = True
    """Part of the snapshot that a night's fit is made from and stored with."""
    keeps_out: bool = True
    """A bad value in it keeps the row out of the model."""


def _cell(name: Cell, *, required: bool = True, in_fit: bool = True) -> Column:
    return Column(
        name=name,
        kind="number",
        required=required,
        in_fit=in_fit,
        keeps_out=required,
        meaning=f"{name.capitalize()} in 10⁹/L of the linked blood count",
    )


def _index(name: str, *, required: bool) -> Column:
    (index,) = (one for one in INDICES if one.name == name)
    return Column(
        name=name, kind="number", required=required, in_fit=required, keeps_out=required, meaning=index.meaning
    )


_CODED = "1 yes, 0 no, null unknown; "

COHORT: tuple[Column, ...] = (
    Column(
        name="id",
        kind="id",
        required=True,
        meaning="Study id of the episode (patient and operation), made by this node; for imported rows the id of "
        "the file",
    ),
    Column(
        name="vbq",
        kind="number",
        required=True,
        meaning="Vertebral bone quality, ratio without unit; the form that measurement.form names (default: mean of "
        "L1–L4 over CSF)",
    ),
    Column(
        name="age",
        kind="number",
        required=True,
        meaning="Completed years on the day of the operation; from birth date (HL7 PID-7, else DICOM)",
    ),
    Column(name="sex_male", kind="flag", required=True, meaning="1 male, 0 female; from HL7 PID-8, else DICOM"),
    Column(
        name="smoking",
        kind="flag",
        required=True,
        meaning=_CODED + "newest coded observation (HL7 OBX) up to the operation",
    ),
    Column(
        name="diabetes",
        kind="flag",
        required=True,
        meaning=_CODED + "coded observation, else 1 from a diagnosis E10–E14 (HL7 DG1)",
    ),
    Column(
        name="hypertension",
        kind="flag",
        required=True,
        keeps_out=False,
        meaning=_CODED + "coded observation, else 1 from a diagnosis I10–I15 (HL7 DG1)",
    ),
    Column(
        name="calcium",
        kind="flag",
        required=True,
        keeps_out=False,
        meaning="Calcium supplementation: " + _CODED + "coded observation (HL7 OBX)",
    ),
    Column(
        name="diagnosis",
        kind="class",
        required=True,
        meaning="LDH lumbar disc herniation, LSS lumbar spinal stenosis, LS lumbar spondylolisthesis; from HL7 DG1 by "
        "conf/eligibility.toml",
    ),
    Column(
        name="bmi",
        kind="number",
        required=True,
        meaning="Body mass index in kg/m²; as sent, else from height and weight",
    ),
    _cell("neutrophils"),
    _cell("lymphocytes"),
    _cell("platelets"),
    _index("nlr", required=True),
    _index("plr", required=True),
    Column(name="surgery_date", kind="date", meaning="Local date of the planned operation"),
    Column(name="mri_date", kind="date", meaning="Study date of the linked MRI"),
    Column(name="cbc_date", kind="date", meaning="Local date of the specimen of the linked blood count"),
    Column(
        name="scanner_stratum",
        kind="text",
        meaning="Manufacturer, model and field strength of the MRI; of imported rows as the file has it",
    ),
    Column(
        name="t_score",
        kind="number",
        keeps_out=False,
        meaning="DXA T-score, no unit, nearest to the operation within a year of it, the lowest site of that day (HL7 "
        "OBX), or imported",
    ),
    Column(
        name="bmd_g_per_cm2",
        kind="number",
        keeps_out=False,
        meaning="Areal bone density (DXA) in g/cm², chosen like t_score",
    ),
    Column(
        name="hu",
        kind="number",
        keeps_out=False,
        meaning="CT Hounsfield units of the lumbar vertebrae, chosen like t_score",
    ),
    Column(
        name="event",
        kind="flag",
        keeps_out=False,
        meaning="1 when the event that the site counts was reported on or after the operation, 0 when it was denied, "
        "null unknown",
    ),
    _cell("monocytes", required=False, in_fit=False),
    _index("lmr", required=False),
    _index("sii", required=False),
    _index("siri", required=False),
)
"""Columns in the order of a file: the required ones, then dates, scanner, outcomes, and what stands beside the
paper."""


def columns(*kinds: Kind, required: bool | None = None, in_fit: bool | None = None) -> tuple[str, ...]:
    """Names of the columns of these kinds (all without any), in order."""
    return tuple(
        one.name
        for one in COHORT
        if (not kinds or one.kind in kinds)
        and (required is None or one.required is required)
        and (in_fit is None or one.in_fit is in_fit)
    )
