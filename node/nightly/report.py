"""The report of a night as subject, text and HTML, and as files.

It carries study ids, tiers as words and values against cut-offs, never a name, a number of the hospital or a birth
date. The HTML is rendered twice: with the figures inside (a file, the record) and with references to attachments.
"""

import base64
import json
import os
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from css_inline import CSSInliner
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from sqlite_utils import Database

from analytics.model import Tier
from analytics.regression import OlsFit, Refusal
from analytics.thresholds import Cuts
from node.clock import to_text
from node.nightly.counts import Counts
from node.nightly.flags import Flag, Standing
from node.thresholds import Version

REPORT_FOLDER = "reports"

TERM_LABELS = {
    "(Intercept)": "Intercept",
    "age": "Age (years)",
    "sex_male": "Sex (male)",
    "smoking": "Smoking",
    "diabetes": "Diabetes",
    "bmi": "BMI (kg/m²)",
    "nlr": "NLR",
    "plr": "PLR",
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture of the report; ``alt_text`` carries what it shows in numbers."""

    name: str
    png: bytes
    alt_text: str

    @property
    def content_id(self) -> str:
        """What the HTML of the mail refers to."""
        return f"{self.name}@vbq-node"


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Something that waits for a person; ``what`` names a study id or a series, never a patient."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Content:
    """Everything a report says."""

    site: str
    night: date
    fit_id: str
    fit: OlsFit | Refusal
    version: Version | None
    proposed: Version | None
    proposal: Cuts | Refusal
    changes: tuple[Flag, ...]
    standing: tuple[Standing, ...]
    waiting: tuple[Waiting, ...]
    missed: tuple[date, ...]
    counts: Counts
    figures: tuple[Figure, ...]

    def tiered(self, tier: Tier) -> int:
        """How many upcoming operations have this tier tonight."""
        return sum(one.tier is tier for one in self.standing)

    def of(self, change: str) -> list[Flag]:
        """The changes of one kind: new, changed or resolved; flagged ones first."""
        order = [*Tier, None]
        return sorted((one for one in self.changes if one.change == change), key=lambda one: order.index(one.tier))


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A report as it is sent and stored."""

    subject: str
    text: str
    mail_html: str
    """Refers to the figures as ``cid:``."""
    file_html: str
    """Complete in itself."""
    figures: tuple[Figure, ...]
    counts: dict[str, Any]


def render(content: Content) -> Rendered:
    """Render a report; the same content gives the same bytes."""
    environment = Environment(
        loader=PackageLoader("node.nightly"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    environment.filters |= {"p_value": _p_value, "signed": _signed}
    values = {"c": content, "counts": content.counts, "labels": TERM_LABELS, "Tier": Tier, "fitted": _fitted(content)}
    inliner = CSSInliner(keep_style_tags=True)
    html = environment.get_template("report.html.j2")
    inside = {
        figure.name: f"data:image/png;base64,{base64.b64encode(figure.png).decode()}" for figure in content.figures
    }
    attached = {figure.name: f"cid:{figure.content_id}" for figure in content.figures}
    return Rendered(
        subject=" ".join(environment.get_template("report.subject.j2").render(values).split()),
        text=environment.get_template("report.txt.j2").render(values),
        mail_html=inliner.inline(html.render(values, source=attached)),
        file_html=inliner.inline(html.render(values, source=inside)),
        figures=content.figures,
        counts=content.counts.to_json_dict(),
    )


def waiting_for_a_person(db: Database, *, night: date, zone: ZoneInfo, remind_after_days: int) -> tuple[Waiting, ...]:
    """Upcoming operations that have no tier and why, and series that nobody has read for too long."""
    operations = [
        Waiting(what=f"{episode}, operation {day}", why="; ".join(json.loads(reasons) + json.loads(exclusions)))
        for episode, day, reasons, exclusions in db.execute(
            "SELECT episode, surgery_date, reasons, exclusion_reasons FROM derived_link "
            "WHERE status IN ('incomplete', 'held') AND surgery_date >= ? ORDER BY surgery_date, episode",
            [night.isoformat()],
        )
    ]
    before = datetime.combine(night - timedelta(days=remind_after_days), time(), zone)
    series = [
        Waiting(what=f"series {uid}", why=f"{state} for more than {remind_after_days} days")
        for uid, state in db.execute(
            "SELECT s.series_instance_uid, s.state FROM series AS s "
            "WHERE s.state IN ('waiting for a measurement', 'review') AND "
            "(SELECT min(r.received_at) FROM derived_instance AS i JOIN fact_object_receipt AS r USING (object_id) "
            " WHERE i.series_instance_uid = s.series_instance_uid) < ? ORDER BY s.series_instance_uid",
            [to_text(before)],
        )
    ]
    return tuple(operations + series)


def write_files(folder: Path, night: date, rendered: Rendered) -> Path:
    """Write ``report.html`` and the figures under ``reports/<night>/``, each complete when it appears; its path."""
    target = folder / REPORT_FOLDER / night.isoformat()
    target.mkdir(parents=True, exist_ok=True)
    for figure in rendered.figures:
        _write(target / f"{figure.name}.png", figure.png)
    _write(target / "report.html", rendered.file_html.encode("utf-8"))
    return target / "report.html"


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def _fitted(content: Content) -> OlsFit | None:
    return content.fit if isinstance(content.fit, OlsFit) else None


def _p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _signed(value: float, decimals: int = 3) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−")
