"""The report of a night as subject, text and HTML, and as files.

It carries study ids, tiers as words and values against cut-offs, never a name, a number of the hospital or a birth
date. The HTML exists twice: with references to attached figures (the mail) and with the figures inside (the record,
the file).
"""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import structlog
from css_inline import CSSInliner
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape
from sqlite_utils import Database

from analytics.records import Tier
from node.nightly.due import unwritten_report
from node.nightly.sections.section import Audience, Figure, Section, in_days
from node.nightly.sections.upcoming import Read
from node.store.whole_file import write_whole

log = structlog.get_logger()

DATA_URI = "data:image/png;base64,"
_FIGURE = re.compile(rf'id="figure-(\w+)"[^>]* src="{DATA_URI}([A-Za-z0-9+/=]+)"')

S = TypeVar("S", bound=Section)


@dataclass(frozen=True, kw_only=True)
class Content:
    """Everything a report says, and for whom."""

    site: str
    night: date
    fit_id: str
    sections: tuple[Section, ...]
    """Sections in the order of the body."""
    audience: Audience = field(default_factory=Audience)
    protocol: str = ""
    """Study protocol or ethics vote of the site, where it names one."""

    seal: str = ""
    """How many rows the audit had, and its last seal: a mail that was kept shows that none was cut off since."""
    banner: str = ""
    """What stands before all else where this is a test system; empty elsewhere."""
    pages: str = ""
    """Where the pages are, for links; empty: nowhere."""
    pictures: Mapping[str, Figure] = field(default_factory=dict)
    """A small picture of the measured slice by episode."""

    def quiet(self, audience: Audience) -> bool:
        """Nothing that a recipient has to know of tonight, but that everything works."""
        return not any(section.needs(audience) for section in self.sections)

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The figures of all sections, and the pictures of patients."""
        return (*(figure for section in self.sections for figure in section.figures), *self.pictures.values())

    @property
    def urgent(self) -> list[Section]:
        """The sections as they speak in the subject and at the top."""
        told = (section for section in self.sections if section.top_for(self.audience))
        return sorted(told, key=lambda section: -section.urgency)

    @property
    def settled(self) -> tuple[Section, ...]:
        """The sections that what is arriving does not change before the report is stored."""
        return tuple(section for section in self.sections if not section.may_move_on)

    def section(self, kind: type[S]) -> S:
        """The section of a kind."""
        return next(one for one in self.sections if isinstance(one, kind))


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
        loader=ChoiceLoader([PackageLoader("node.nightly"), PackageLoader("node.nightly", "sections")]),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        optimized=False,  # what it would save at night takes as long as what it costs to find
    )
    environment.filters |= {"in_days": in_days, "read_words": read_words}
    environment.filters |= {"p_value": _p_value, "signed": _signed, "decimal": _decimal, "listed": _listed}
    return environment


def render(content: Content) -> Rendered:
    """Render a report; the same content gives the same bytes."""
    html = CSSInliner(load_remote_stylesheets=False).inline(_written(content, "html"))
    # Of patients and models only what this report shows goes with it.
    figures = tuple(figure for figure in content.figures if f"cid:{figure.content_id}" in html)
    subject = "; ".join(words for section in content.urgent for words in section.subject(content.audience))
    counts: dict[str, Any] = {}
    for section in content.sections:
        counts |= section.to_json_dict()
    return Rendered(
        subject=" ".join(f"VBQ {content.site} {content.night}: {subject}".split()),
        text=_written(content, "txt").removesuffix("\n"),
        mail_html=html,
        file_html=report_html_file(html, {figure.content_id: figure.png for figure in figures}),
        figures=figures,
        counts=counts,
    )


def _written(content: Content, form: Literal["txt", "html"]) -> str:
    """The report in one form: what stands at the top, then the bodies."""
    top = [_block(content, section, form, "top") for section in content.urgent]
    patients = [_block(content, section, form, "body") for section in content.sections if section.for_all]
    statistics = [_block(content, section, form, "body") for section in content.sections if not section.for_all]
    return (
        _environment()
        .get_template(f"report.{form}.j2")
        .render(
            c=content,
            parts="".join((*top, *patients)),
            statistics="".join(statistics) if content.audience.statistics else "",
        )
    )


def _block(content: Content, section: Section, form: str, block: str) -> str:
    template = _environment().get_template(f"{section.name}.{form}.j2")
    if block not in template.blocks:
        return ""
    values = template.new_context(
        {
            "s": section,
            "audience": content.audience,
            "Tier": Tier,
            "pages": content.pages.rstrip("/"),
            "pictures": content.pictures,
        }
    )
    return "".join(template.blocks[block](values))


def report_html_file(html: str, images: Mapping[str, bytes]) -> str:
    """The HTML of a mail as a file of its own: every ``cid:`` reference replaced by the PNG it stands for."""
    for content_id, png in images.items():
        html = html.replace(f"cid:{content_id}", f"{DATA_URI}{base64.b64encode(png).decode()}")
    return html


def figures_of(html: str) -> Iterator[tuple[str, bytes]]:
    """Name and PNG of each figure in a report that is a file of its own."""
    for name, png in _FIGURE.findall(html):
        yield name, base64.b64decode(png)


def publish_report(db: Database, folder: Path, *, now: datetime) -> None:
    """Write the newest night's report under ``reports/<night>/`` where it is not there yet, from its record.

    ``report.html`` comes last, so when it is there the figures are. A folder that cannot be written is logged: the
    report is in the database and in the outbox.
    """
    unwritten = unwritten_report(db, folder, now=now)
    if unwritten is None:
        return
    night, target = unwritten
    (html,) = db.execute(
        "SELECT html FROM record_report WHERE kind = 'nightly' AND night = ?", [night.isoformat()]
    ).fetchone()
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, png in figures_of(html):
            write_whole(target / f"{name}.png", png)
        write_whole(target / "report.html", html.encode("utf-8"))
    except OSError as error:
        log.error("report files could not be written", night=night.isoformat(), error=error.strerror)


def read_words(one: Read) -> str:
    """Who read what, and what it was before."""
    if one.after is None:
        return f"{one.reader} read it on {one.day}: no score"
    was = "" if one.before is None else f"VBQ {one.before:.2f} ({one.source}) -> "
    how = "approved it" if one.approved else "read it"
    return f"{one.reader} {how} on {one.day}: {was}{one.after:.2f}"


def _p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _signed(value: float, decimals: int = 3) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−")


def _decimal(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}".replace("-", "−")


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in numbers.items()) or "none"
