"""How the five laboratories and the hospital's systems of the five countries write their messages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tests.benchmarks.hospital.people import Blood, Patient

CELLS = ("leukocytes", "neutrophils", "lymphocytes", "monocytes", "eosinophils", "basophils", "platelets")
PERCENTAGES = CELLS[1:6]
RANGES = {
    "leukocytes": (4.0, 10.0), "neutrophils": (1.8, 7.5), "lymphocytes": (1.0, 4.0), "monocytes": (0.2, 0.9),
    "eosinophils": (0.02, 0.5), "basophils": (0.0, 0.1), "platelets": (150.0, 400.0),
}  # fmt: skip
PERCENT_RANGES = {
    "neutrophils": (40.0, 75.0), "lymphocytes": (20.0, 45.0), "monocytes": (3.0, 10.0), "eosinophils": (0.5, 6.0),
    "basophils": (0.0, 1.5),
}  # fmt: skip


@dataclass(kw_only=True)
class Row:
    """One result as the laboratory holds it: ``value`` in 10⁹/L or percent.

    ``factor`` is what the interface gets wrong; ``unit`` overrides the right one; ``flag`` that of the true value.
    """

    cell: str
    percent: bool
    value: float
    factor: float = 1.0
    unit: str | None = None
    flagged_by: float | None = None
    """The value by which the flag is set; that of the row itself where ``None``."""
    flag: str | None = None
    text: str | None = None
    status: str | None = None
    measured: float = 0.0
    """What the analyser counted, from which it makes the plateletcrit, whatever the row says in the end."""


@dataclass(frozen=True, kw_only=True)
class Count:
    """A blood count as it is sent."""

    specimen: str
    patient: Patient
    taken_at: datetime
    reported_at: datetime
    rows: Sequence[Row]
    status: str = "F"
    remarks: Sequence[str] = ()
    """Of the laboratory, under the row of the platelets (NTE)."""
    condition: str = ""
    """Of the specimen (SPM-24)."""
    number: str | None = None
    """The patient number on it, where it is not the patient's."""
    collected: str | None = None
    """The time of collection as text, where it is written oddly."""


@dataclass(frozen=True, kw_only=True)
class Laboratory:
    """A sender of blood counts."""

    country: str
    sender: str
    version: str
    charset: str
    codec: str
    units: dict[str, str]
    names: dict[str, str]
    """OBX-3 by cell; of percentages ``cell %``."""
    percentages: bool = True
    absolutes: bool = True
    extra: Sequence[str] = ()
    """Rows beside the count; ``{mpv}`` and ``{pct}`` are volume and share of its platelets."""
    slips: Sequence[str] = ()
    """Wrong units that its tables have."""
    number_of: Callable[[float, str, bool], str] = field(default=lambda value, cell, percent: f"{value:.4g}")
    scale: dict[str, float] = field(default_factory=dict)
    """10⁹/L in its unit, by cell."""

    def rows(self, blood: Blood) -> list[Row]:
        """The results of a count."""
        total = blood.leukocytes
        cells = CELLS if self.absolutes else ("leukocytes", "platelets")
        found = [
            Row(cell=cell, percent=False, value=getattr(blood, cell), measured=getattr(blood, cell)) for cell in cells
        ]
        if self.percentages:
            found += [Row(cell=cell, percent=True, value=100 * getattr(blood, cell) / total) for cell in PERCENTAGES]
        return found

    def write(self, count: Count, *, control: str) -> bytes:
        """ORU^R01."""
        at, patient = _time(count.reported_at), count.patient
        taken = count.collected if count.collected is not None else _time(count.taken_at)
        header = f"MSH|^~\\&|{self.sender}|VBQ|X|{at}||ORU^R01|{control}|P|{self.version}||||||{self.charset}"
        if "ISO IR" in self.charset:
            header += "||ISO 2022-1994"
        lines = [header, pid(patient, number=count.number)]
        order = count.specimen
        lines.append(f"ORC|RE|{order}|{order}")
        lines.append(f"OBR|1|{order}|{order}|CBC^CBC^L|||{taken}|||||||||||||||{at}||HM|{count.status}")
        for place, row in enumerate(count.rows, start=1):
            lines.append(self._obx(place, row, count.status))
            if row.cell == "platelets" and not row.percent:
                lines += [f"NTE|{n}|L|{text}" for n, text in enumerate(count.remarks, start=1)]
        platelets = next(row.measured for row in count.rows if row.cell == "platelets")
        volume = min(max(10.0 * (250 / platelets) ** 0.1, 7.0), 13.0)
        shown = {"mpv": f"{volume:.1f}", "pct": f"{platelets * volume / 10_000:.2f}"}
        extra = [text.format(**shown) for text in self.extra]
        lines += [f"OBX|{90 + n}|NM|{text}|||||{count.status}" for n, text in enumerate(extra)]
        if self.version >= "2.5":
            condition = f"|||||||{count.condition}" if count.condition else ""
            lines.append(f"SPM|1|{order}||BLD^Blood^HL70487|||||||||||||{taken}{condition}")
        return ("\r".join(lines) + "\r").encode(self.codec)

    def _obx(self, place: int, row: Row, status: str) -> str:
        unit = row.unit if row.unit is not None else "%" if row.percent else self.units[row.cell]
        scale = 1.0 if row.percent else self.scale.get(row.cell, 1.0)
        text = (
            row.text if row.text is not None else self.number_of(row.value * row.factor * scale, row.cell, row.percent)
        )
        low, high = PERCENT_RANGES[row.cell] if row.percent else RANGES[row.cell]
        ranged = "-".join(self.number_of(limit * scale, row.cell, row.percent) for limit in (low, high))
        by = row.flagged_by if row.flagged_by is not None else row.value
        flag = row.flag if row.flag is not None else "L" if by < low else "H" if by > high else "N"
        name = self.names[f"{row.cell} %" if row.percent else row.cell]
        return f"OBX|{place}|NM|{name}||{text}|{unit}|{ranged}|{flag}|||{row.status or status}"


def pid(patient: Patient, *, number: str | None = None) -> str:
    """PID as the systems of the patient's country write it."""
    name = patient.name
    written = f"{name.family}^{name.given}"
    if patient.country in ("CN", "JP") and patient.extra.get("both scripts", True):
        written += f"~{name.latin_family}^{name.latin_given}^^^^^A"
    shown = patient.number if number is None else number
    return f"PID|1||{shown}^^^KH^MR||{written}||{patient.birth_date:%Y%m%d}|{patient.sex}"


def _point(value: float, cell: str, percent: bool) -> str:
    """Decimal point; platelets whole, cells with two places, percentages with one."""
    if percent:
        return f"{value:.1f}"
    return f"{value:.0f}" if cell == "platelets" and value >= 1 else f"{value:.2f}" if value >= 0.01 else f"{value:.4g}"


def _brazilian(value: float, cell: str, percent: bool) -> str:
    """Whole cells per mm³ with a point for the thousands; percentages with a comma."""
    if percent:
        return f"{value:.1f}".replace(".", ",")
    return f"{value:,.0f}".replace(",", ".") if value >= 1 else f"{value:.3f}"


def _japanese(value: float, cell: str, percent: bool) -> str:
    return f"{value:.1f}"


def _names(pattern: str, cells: Sequence[str], of: Sequence[str]) -> dict[str, str]:
    return {cell: pattern.format(name) for cell, name in zip(cells, of, strict=True)}


PERCENT_NAMES = [f"{cell} %" for cell in PERCENTAGES]
LABORATORIES = {
    "AT": Laboratory(
        country="AT", sender="LABOR|KHA", version="2.5", charset="UNICODE UTF-8", codec="utf-8",
        units=dict.fromkeys(CELLS, "G/L"),
        names=_names("{}^LN", CELLS, (
            "6690-2^Leukozyten", "751-8^Neutrophile abs.", "731-0^Lymphozyten abs.", "742-7^Monozyten abs.",
            "711-2^Eosinophile abs.", "704-7^Basophile abs.", "777-3^Thrombozyten"))
        | _names("{}^LN", PERCENT_NAMES, (
            "770-8^Neutrophile", "736-9^Lymphozyten", "5905-5^Monozyten", "713-8^Eosinophile", "706-2^Basophile")),
        number_of=_point, slips=("/nL", "T/L", "/uL", "10*6/L"),
        extra=("718-7^Hämoglobin^LN||13.8|g/dL", "32623-1^MPV^LN||{mpv}|fL", "PCT^Plättchenkrit^L||{pct}|%"),
    ),
    "US": Laboratory(
        country="US", sender="BEAKER|US", version="2.3", charset="", codec="ascii",
        units=dict.fromkeys(CELLS, "K/uL"),
        names=_names("{}^L", CELLS, (
            "WBC^White Blood Cell Count", "NEUTABS^Neutrophils Absolute", "LYMPHABS^Lymphocytes Absolute",
            "MONOABS^Monocytes Absolute", "EOSABS^Eosinophils Absolute", "BASOABS^Basophils Absolute",
            "PLT^Platelet Count"))
        | _names("{}^L", PERCENT_NAMES, (
            "NEUTPCT^Neutrophils %", "LYMPHPCT^Lymphocytes %", "MONOPCT^Monocytes %", "EOSPCT^Eosinophils %",
            "BASOPCT^Basophils %")),
        number_of=_point, slips=("/uL", "M/uL", "cells/uL"), extra=("NRBC^NRBC %^L||0.0|/100 WBC",),
    ),
    "CN": Laboratory(
        country="CN", sender="LIS|CN", version="2.4", charset="GB 18030-2000", codec="gb18030",
        units=dict.fromkeys(CELLS, "10^9/L"),
        names=_names("{}^L", CELLS, (
            "WBC^白细胞计数", "NEU#^中性粒细胞绝对值", "LYM#^淋巴细胞绝对值", "MON#^单核细胞绝对值",
            "EOS#^嗜酸性粒细胞绝对值", "BAS#^嗜碱性粒细胞绝对值", "PLT^血小板计数"))
        | _names("{}^L", PERCENT_NAMES, (
            "NEU%^中性粒细胞百分比", "LYM%^淋巴细胞百分比", "MON%^单核细胞百分比", "EOS%^嗜酸性粒细胞百分比",
            "BAS%^嗜碱性粒细胞百分比")),
        number_of=_point, slips=("/uL", "10^12/L", "10^6/L"),
        extra=("PCT^血小板比积^L||{pct}|%", "P-LCR^大型血小板比率^L||28.1|%", "HIS^WBC Histogram. Total^99MRC||121|"),
    ),
    "BR": Laboratory(
        country="BR", sender="LABHOSP|BR", version="2.3.1", charset="8859/1", codec="latin-1",
        units=dict.fromkeys(CELLS, "/mm3"),
        names=_names("{}^L", CELLS, (
            "LEU^Leucócitos", "NEU^Neutrófilos", "LIN^Linfócitos", "MONO^Monócitos", "EOS^Eosinófilos",
            "BAS^Basófilos", "PLA^Plaquetas"))
        | _names("{}^L", PERCENT_NAMES, (
            "NEUP^Neutrófilos %", "LINP^Linfócitos %", "MONOP^Monócitos %", "EOSP^Eosinófilos %",
            "BASP^Basófilos %")),
        number_of=_brazilian, scale=dict.fromkeys(CELLS, 1000.0), slips=("mil/mm3", "10^6/mm3"),
    ),
    "JP": Laboratory(
        country="JP", sender="HOPE|JP", version="2.5", charset="~ISO IR87", codec="iso2022_jp",
        units={"leukocytes": "10*2/uL", "platelets": "10*4/uL"},
        names=_names("{}^JC10", ("leukocytes", "platelets"), (
            "2A990000001930101^白血球数", "2A990000001930107^血小板数"))
        | _names("{}^JC10", PERCENT_NAMES, (
            "2A160000001930151^好中球", "2A160000001930152^リンパ球", "2A160000001930153^単球",
            "2A160000001930154^好酸球", "2A160000001930155^好塩基球")),
        number_of=_japanese, absolutes=False, scale={"leukocytes": 10.0, "platelets": 0.1},
        slips=("10*3/uL", "/uL"),
    ),
}  # fmt: skip

PROCEDURES = {
    "AT": ("LWS1^Dekompression und Spondylodese L4/5^L", "LWS2^Mikrochirurgische Bandscheibenoperation LWK 4/5^L"),
    "US": ("22612^Arthrodesis posterior lumbar^C4", "63047^Laminectomy lumbar single level^C4"),
    "CN": ("81.0800^腰椎后路椎体间融合术^ICD9CM3", "80.5111^腰椎间盘髓核摘除术^ICD9CM3"),
    "BR": ("ART^Artrodese lombar L4-L5^L", "DESC^Descompressão lombar L3-L4^L"),
    "JP": ("OP1^腰椎後方固定術 L4/5^L", "OP2^腰椎椎弓切除術 L3/4^L"),
}
OTHER_PROCEDURES = {
    "AT": ("HWS^Ventrale Fusion HWS C5/6^L", "INF^Facetteninfiltration L4/5^L", "ME^Metallentfernung LWS L4/5^L"),
    "US": ("22554^Arthrodesis anterior cervical^C4", "63042^Laminotomy re-exploration lumbar^C4",
           "HWR^Removal of lumbar hardware^L"),
    "CN": ("OP1^颈椎前路融合术^L", "OP2^腰椎内固定取出术^L"),
    "BR": ("CERV^Artrodese cervical C5-C6^L", "INF^Infiltração facetária lombar^L"),
    "JP": ("C1^頚椎前方固定術 C5/6^L", "B1^腰部神経根ブロック^L"),
}  # fmt: skip
UNKNOWN_PROCEDURES = {country: f"X{n}77^Eingriff {n}^L" for n, country in enumerate(PROCEDURES)}


@dataclass(frozen=True, kw_only=True)
class Booking:
    """An operation as the scheduling system holds it."""

    name: str
    patient: Patient
    planned_at: datetime
    procedure: str
    number: str | None = None
    status: str = ""
    """Filler status (SCH-25)."""
    deleted: bool = False
    """The service is deleted (AIS-2)."""


def book(booking: Booking, *, trigger: str, at: datetime) -> bytes:
    """SIU of an operation."""
    start, name = _time(booking.planned_at), booking.name
    sch = f"SCH|{name}|{name}|||||{booking.procedure}|ELECTIVE|120|min|^^120^{start}"
    if booking.status:
        sch += "|" * 14 + booking.status
    action = "D" if booking.deleted else "A"
    ais = f"AIS|1|{action}|{booking.procedure}|{start}|||120|min"
    return _his(booking.patient, f"SIU^{trigger}", at, sch, pid(booking.patient, number=booking.number), "RGS|1|A", ais)


def register(patient: Patient, *, event: str, at: datetime, number: str | None = None, facts: bool = True) -> bytes:
    """ADT of a patient, with what the hospital knows of the history."""
    time = _time(at)
    seen = (
        ("NM", "8302-2^Body height^LN", f"{patient.extra.get('height', 168)}", "cm"),
        ("NM", "29463-7^Body weight^LN", f"{patient.extra.get('weight', 74)}", "kg"),
        ("CWE", "72166-2^Tobacco smoking status^LN", "266919005^Never smoker^SCT", ""),
        ("ST", "DIABETES^Diabetes mellitus^L", "N", ""),
        ("ST", "HYPERTENSION^Hypertension^L", "Y", ""),
    )
    rows = [
        f"OBX|{n}|{kind}|{name}||{value}|{unit}|||||F|||{time}" for n, (kind, name, value, unit) in enumerate(seen, 1)
    ]
    rows += [f"DG1|1||M48.06^Spinal stenosis, lumbar^I10||{time}|F"]
    lines = [f"EVN|{event}|{time}", pid(patient, number=number), "PV1|1|O|ORTHO"]
    return _his(patient, f"ADT^{event}", at, *lines, *(rows if facts else ()))


def merge(survivor: Patient, retired: str, *, at: datetime) -> bytes:
    """A40: a number is retired."""
    return _his(survivor, "ADT^A40", at, f"EVN|A40|{_time(at)}", pid(survivor), f"MRG|{retired}^^^KH^MR")


def _his(patient: Patient, kind: str, at: datetime, *lines: str) -> bytes:
    header = (
        f"MSH|^~\\&|HIS|{patient.country}|VBQ|X|{_time(at)}||{kind}|{_time(at)}{patient.key}|P|2.5.1||||||UNICODE UTF-8"
    )
    return ("\r".join([header, *lines]) + "\r").encode()


def _time(moment: datetime) -> str:
    return f"{moment:%Y%m%d%H%M%S}"
