"""What a recipient may want attached: the upcoming operations as CSV, and the whole report as PDF.

The same report gives the same bytes (with the same matplotlib): no time, no random name is written into them.
"""

import csv
import io
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from node.analysis.cells import guarded
from node.nightly.flags import Standing
from node.nightly.report import Content, Rendered
from node.nightly.sections.changes import Changes
from node.nightly.sections.section import Figure
from node.nightly.sections.tiers import Tiers

if TYPE_CHECKING:
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure as MatplotlibFigure

PAGE_INCHES = (8.27, 11.69)
"""A4, upright."""
MARGIN_INCHES = 0.7
TEXT_POINTS = 7.6
LINE_INCHES = 0.145
LINE_CHARACTERS = 104
FIGURES_ON_A_PAGE = 3

CSV_COLUMNS = (
    "id", "patient_number", "surgery_date", "tier", "tonight", "was", "vbq", "vbq_cut", "vbq_error", "near_cut", "nlr",
    "nlr_cut", "plr", "plr_cut", "scanner", "cut_of", "values_against_cuts", "threshold_version", "fit_id", "night",
    "p_flagged", "p_intermediate", "p_lower",
)  # fmt: skip


def operations_csv(content: Content) -> bytes:
    """Every upcoming operation with a tier that this recipient is told of, one row each, in UTF-8.

    ``tonight`` says whether the tier is ``new`` or ``changed`` tonight, ``was`` what it was before;
    ``patient_number`` is empty unless the recipient's policy says otherwise. Values and cuts are numbers with all their
    digits: VBQ is high at ``vbq_cut`` (which is ``cut_of``), a ratio above its cut; ``vbq_error`` is the standard error
    of measurement of the VBQ, ``p_flagged``, ``p_intermediate`` and ``p_lower`` are how likely each tier is given the
    errors of measurement.
    """
    changes = {flag.episode: flag for flag in content.section(Changes).changes if flag.change != "resolved"}
    rows = io.StringIO(newline="")
    writer = csv.DictWriter(rows, CSV_COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for one in _told(content):
        change = changes.get(one.episode)
        row: dict[str, str | float] = {
            "id": one.episode,
            "patient_number": content.audience.numbers.get(one.episode, ""),
            "surgery_date": one.surgery_date,
            "tier": one.tier.value,
            "tonight": change.change if change else "",
            "was": change.previous.value if change and change.previous else "",
            "vbq": one.values.vbq,
            "vbq_cut": one.cuts.vbq,
            "vbq_error": one.vbq_error,
            "near_cut": "yes" if one.near_cut else "no",
            "nlr": one.values.nlr,
            "nlr_cut": one.cuts.nlr,
            "plr": one.values.plr,
            "plr_cut": one.cuts.plr,
            "scanner": one.values.scanner or "",
            "cut_of": str(one.cut_of),
            "values_against_cuts": str(one.explanation),
            "threshold_version": one.version,
            "fit_id": content.fit_id,
            "night": content.night.isoformat(),
            "p_flagged": round(one.odds.flagged, 4),
            "p_intermediate": round(one.odds.intermediate, 4),
            "p_lower": round(one.odds.lower, 4),
        }
        writer.writerow({name: guarded(value) for name, value in row.items()})
    return rows.getvalue().encode("utf-8")


def _told(content: Content) -> Iterator[Standing]:
    tiers = content.audience.tiers
    return (one for one in content.section(Tiers).standing if tiers is None or one.tier in tiers)


def report_pdf(rendered: Rendered, figures: tuple[Figure, ...]) -> bytes:
    """The text of the report and its figures as A4 pages."""
    from matplotlib.backends.backend_pdf import PdfPages

    buffer = io.BytesIO()
    with PdfPages(buffer, metadata={"CreationDate": None, "Producer": None, "Creator": None}) as pages:
        lines = list(_lines(rendered.text))
        room = int((PAGE_INCHES[1] - 2 * MARGIN_INCHES) / LINE_INCHES)
        total = -(-len(lines) // room) + -(-len(figures) // FIGURES_ON_A_PAGE)
        number = 0
        for start in range(0, len(lines), room):
            number += 1
            _text_page(pages, lines[start : start + room], f"{rendered.subject}   {number} / {total}")
        for start in range(0, len(figures), FIGURES_ON_A_PAGE):
            number += 1
            _figure_page(pages, figures[start : start + FIGURES_ON_A_PAGE], f"{rendered.subject}   {number} / {total}")
    return buffer.getvalue()


@dataclass(frozen=True, kw_only=True)
class _Line:
    text: str
    heading: bool = False


def _lines(text: str) -> Iterator[_Line]:
    """Lines as they fit on the page; a heading follows an empty line."""
    before = ""
    for line in text.splitlines():
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        wrapped = textwrap.wrap(line, LINE_CHARACTERS, subsequent_indent=indent, replace_whitespace=False)
        yield from (_Line(text=part, heading=not before) for part in wrapped or [""])
        before = line


def _text_page(pages: "PdfPages", lines: list[_Line], foot: str) -> None:
    page = _page(foot)
    for number, line in enumerate(lines):
        y = 1 - (MARGIN_INCHES + number * LINE_INCHES) / PAGE_INCHES[1]
        page.text(
            MARGIN_INCHES / PAGE_INCHES[0], y, line.text, family="DejaVu Sans Mono", fontsize=TEXT_POINTS, va="top",
            fontweight="bold" if line.heading else "normal", color="#1b1f24", parse_math=False,
        )  # fmt: skip
    pages.savefig(page)  # type: ignore[no-untyped-call]  # matplotlib's PdfPages has no types


def _figure_page(pages: "PdfPages", figures: tuple[Figure, ...], foot: str) -> None:
    from matplotlib.image import imread

    page = _page(foot)
    share = (1 - 2 * MARGIN_INCHES / PAGE_INCHES[1]) / FIGURES_ON_A_PAGE
    side = MARGIN_INCHES / PAGE_INCHES[0]
    for number, figure in enumerate(figures):
        bottom = 1 - MARGIN_INCHES / PAGE_INCHES[1] - (number + 1) * share
        axes = page.add_axes((side, bottom + 0.01, 1 - 2 * side, share - 0.02))
        axes.imshow(imread(io.BytesIO(figure.png), format="png"), interpolation="antialiased")
        axes.set_axis_off()
    pages.savefig(page)  # type: ignore[no-untyped-call]  # matplotlib's PdfPages has no types


def _page(foot: str) -> "MatplotlibFigure":
    from matplotlib.figure import Figure as MatplotlibFigure

    page = MatplotlibFigure(figsize=PAGE_INCHES)
    page.text(0.5, 0.025, foot, fontsize=6.5, ha="center", color="#57606a", parse_math=False)
    return page
