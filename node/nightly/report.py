"""The report of a night as subject, text and HTML, and as files.

It carries study ids, tiers as words and values against cut-offs, never a name, a number of the hospital or a birth
date. The HTML exists twice: with references to attached figures (the mail) and with the figures inside (the record,
the file).
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import structlog
from css_inline import CSSInliner
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from sqlite_utils import Database

from analytics.methods.rows import Refusal
from analytics.night.calibration import Calibration
from analytics.night.drift import Drift
from analytics.night.shift import Shift
from analytics.paper.regression import OlsFit
from analytics.records import Tier
from node.clock import to_text
from node.nightly.counts import Counts
from node.nightly.drift import Frozen, explain_drift, explain_shift, what_to_look_at
from node.nightly.flags import Flag, Standing
from node.nightly.waiting import Waiting
from node.people.thresholds import TierChange, Version, describe
from node.store.database import REPORT_FOLDER
from node.store.whole_file import write_whole

log = structlog.get_logger()

FLOW = "flow"
"""Name of the figure that stands by the counts; the others stand by the model."""

DATA_URI = "data:image/png;base64,"
_FIGURE = re.compile(rf'id="figure-(\w+)"[^>]* src="{DATA_URI}([A-Za-z0-9+/=]+)"')

MOST_WAITING = 25
"""Lines of what waits for a person; a longer list is for the database."""

MOST_CHANGES = 25
"""Lines of who would change tier under a proposed version; `vbq-node thresholds show` has all."""

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
class Content:
    """Everything a report says."""

    site: str
    night: date
    fit_id: str
    fit: OlsFit | Refusal
    alerts: tuple[str, ...]
    version: Version | None
    proposed: Version | None
    would_change: tuple[TierChange, ...]
    proposal: Calibration | Refusal
    drift: Drift | Refusal | None
    frozen: Frozen | None
    shifts: tuple[Shift, ...]
    changes: tuple[Flag, ...]
    standing: tuple[Standing, ...]
    waiting: tuple[Waiting, ...]
    missed: tuple[date, ...]
    counts: Counts
    figures: tuple[Figure, ...]
    tiers: frozenset[Tier] | None = None
    """The tiers whose changes are listed one by one; ``None``: all."""
    numbers: Mapping[str, str] = field(default_factory=dict)
    """The hospital's patient number of each episode; empty: study ids only."""

    @property
    def quiet(self) -> bool:
        """Nothing that anybody has to know of tonight, but that everything works."""
        trouble = self.counts.alarms or self.counts.to_derive or self.drift_alarm or self.missed or self.proposed
        fine = isinstance(self.fit, OlsFit) and self.version is not None
        return fine and not (self.changes or self.waiting or trouble)

    def named(self, episode: str) -> str:
        """The study id, with the patient's number where this recipient gets it."""
        number = self.numbers.get(episode)
        return f"{episode} [{number}]" if number else episode

    def with_number(self, what: str) -> str:
        """Words that begin with an episode, with the patient's number where this recipient gets it."""
        episode, comma, rest = what.partition(",")
        return f"{self.named(episode)}{comma}{rest}"

    @property
    def only(self) -> str:
        """The tiers whose changes alone are listed, in words; empty: all."""
        return "" if self.tiers is None else " and ".join(tier.value for tier in Tier if tier in self.tiers)

    @property
    def flow(self) -> Figure:
        """The flow of patients."""
        return next(figure for figure in self.figures if figure.name == FLOW)

    @property
    def model_figures(self) -> tuple[Figure, ...]:
        """The figures of the model."""
        return tuple(figure for figure in self.figures if figure.name != FLOW)

    @property
    def drift_alarm(self) -> bool:
        """Whether new patients deviate from the frozen model."""
        return isinstance(self.drift, Drift) and self.drift.alarm

    @property
    def drift_words(self) -> str:
        """How new patients compare with the frozen model."""
        if self.drift is None or self.frozen is None:
            return "not compared yet: no model was fitted before tonight"
        if isinstance(self.drift, Refusal):
            return f"not compared yet: {self.drift.reason}"
        return explain_drift(self.drift, self.frozen)

    @property
    def drift_hints(self) -> tuple[str, ...]:
        """What to look at; empty without an alarm."""
        return what_to_look_at(self.drift) if isinstance(self.drift, Drift) and self.drift_alarm else ()

    @property
    def version_words(self) -> list[str]:
        """What the cut-offs in force rest on."""
        return describe(self.version) if self.version else []

    @property
    def shift_words(self) -> tuple[str, ...]:
        """How the newest patients and their scanners differ from the frozen ones."""
        return tuple(explain_shift(one) for one in self.shifts)

    def tiered(self, tier: Tier) -> int:
        """How many upcoming operations have this tier tonight."""
        return sum(one.tier is tier for one in self.standing)

    @property
    def near_cut(self) -> int:
        """How many of the upcoming operations have a VBQ within its own measurement error of the cut."""
        return sum(one.near_cut for one in self.standing)

    def count(self, change: str) -> int:
        """How many changes there are of one kind."""
        return sum(one.change == change for one in self.changes)

    def of(self, change: str) -> list[Flag]:
        """The changes of one kind: new, changed or resolved; flagged ones first."""
        order = [*Tier, None]
        told = (one for one in self.changes if one.change == change and self._tells(one))
        return sorted(told, key=lambda one: order.index(one.tier))

    def _tells(self, flag: Flag) -> bool:
        return self.tiers is None or flag.tier in self.tiers or flag.previous in self.tiers


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


@cache
def _environment() -> Environment:
    """The templates, once per process: compiling them takes longer than a small night."""
    environment = Environment(
        loader=PackageLoader("node.nightly"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    environment.filters |= {"p_value": _p_value, "signed": _signed, "decimal": _decimal, "listed": _listed}
    return environment


def render(content: Content) -> Rendered:
    """Render a report; the same content gives the same bytes."""
    environment = _environment()
    values = {
        "c": content,
        "counts": content.counts,
        "labels": TERM_LABELS,
        "Tier": Tier,
        "fitted": content.fit if isinstance(content.fit, OlsFit) else None,
        "most": MOST_WAITING,
        "most_changes": MOST_CHANGES,
    }
    html = CSSInliner(load_remote_stylesheets=False).inline(environment.get_template("report.html.j2").render(values))
    return Rendered(
        subject=" ".join(environment.get_template("report.subject.j2").render(values).split()),
        text=environment.get_template("report.txt.j2").render(values),
        mail_html=html,
        file_html=report_html_file(html, {figure.content_id: figure.png for figure in content.figures}),
        figures=content.figures,
        counts=content.counts.to_json_dict()
        | {
            "drift": content.drift.to_json_dict() if content.drift else None,
            "shifts": [one.to_json_dict() for one in content.shifts],
            "threshold_version": content.version.version if content.version else None,
            "not_calibrated": content.proposal.reason if isinstance(content.proposal, Refusal) else None,
            "would_change": [str(one) for one in content.would_change],
            "patients": [one.to_json_dict() for one in content.standing],
        },
    )


def report_html_file(html: str, images: Mapping[str, bytes]) -> str:
    """The HTML of a mail as a file of its own: every ``cid:`` reference replaced by the PNG it stands for."""
    for content_id, png in images.items():
        html = html.replace(f"cid:{content_id}", f"{DATA_URI}{base64.b64encode(png).decode()}")
    return html


def publish_report(db: Database, folder: Path, *, now: datetime) -> None:
    """Write the newest night's report under ``reports/<night>/`` where it is not there yet, from its record.

    ``report.html`` comes last, so when it is there the figures are. A folder that cannot be written is logged: the
    report is in the database and in the outbox. One that was made in the future, by a clock that was ahead, is not the
    newest.
    """
    row = db.execute(
        "SELECT night, html FROM record_report WHERE kind = 'nightly' AND made_at <= ? ORDER BY night DESC LIMIT 1",
        [to_text(now)],
    ).fetchone()
    if row is None:
        return
    night, html = row
    target = folder / REPORT_FOLDER / night
    if (target / "report.html").is_file():
        return
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, png in _FIGURE.findall(html):
            write_whole(target / f"{name}.png", base64.b64decode(png))
        write_whole(target / "report.html", html.encode("utf-8"))
    except OSError as error:
        log.error("report files could not be written", night=night, error=error.strerror)


def _p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _signed(value: float, decimals: int = 3) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−")


def _decimal(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}".replace("-", "−")


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in numbers.items()) or "none"
