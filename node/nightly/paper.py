"""The report as A4 pages: the list of patients as a table, what it means below, and the figures behind it.

The same report gives the same bytes (with the same matplotlib): no time, no random name is written into them.
"""

import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analytics.reasons import Reason
from node.nightly.report import Content, Rendered, read_words
from node.nightly.sections.section import Figure, in_days
from node.nightly.sections.tiers import Tiers
from node.nightly.sections.upcoming import Listed, Upcoming

if TYPE_CHECKING:
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure as MatplotlibFigure

PAGE_INCHES = (8.27, 11.69)
"""A4, upright."""
MARGIN_INCHES = 0.7
TITLE_POINTS, TEXT_POINTS, SMALL_POINTS = 15.0, 8.5, 7.2
LINE_INCHES, SMALL_LINE_INCHES = 0.165, 0.135
ROW_GAP_INCHES = 0.09
NOTE_CHARACTERS, VALUE_CHARACTERS = 122, 46
FIGURES_ON_A_PAGE = 3
PICTURES_ACROSS, PICTURES_DOWN = 3, 4
INK, QUIET, LINE = "#1b1f24", "#57606a", "#d0d7de"
TIER_COLOURS = {"flagged": "#a40e26", "intermediate": "#7a4b00", "lower": "#1a6b2d"}
COLUMNS = (0.0, 1.15, 2.75, 3.95)
"""Inches from the left margin: operation, patient, tier, values."""
NOTHING = "Nobody who is told of here is flagged or intermediate."


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A patient as it is set: the lines of each column."""

    columns: tuple[Sequence[str], ...]
    colour: str

    @property
    def inches(self) -> float:
        return max(len(lines) for lines in self.columns) * LINE_INCHES + ROW_GAP_INCHES


def report_pdf(content: Content, rendered: Rendered) -> bytes:
    """The report of a recipient as a PDF."""
    from matplotlib.backends.backend_pdf import PdfPages

    upcoming = content.section(Upcoming)
    rows = upcoming.theirs(content.audience)
    marks = upcoming.marks(rows)
    notes = [line for note, mark in marks.items() for line in _wrapped(f"[{mark}] {note}")] + list(_legend(upcoming))
    buffer = io.BytesIO()
    with PdfPages(buffer, metadata={"CreationDate": None, "Producer": None, "Creator": None}) as pages:
        tables = list(_pages([_row(content, one, marks) for one in rows], notes))
        figures = tuple(one for one in rendered.figures if one.name not in _of_patients(content))
        slices = [one for one in rows if one.standing.episode in content.pictures]
        each = PICTURES_ACROSS * PICTURES_DOWN
        total, number = len(tables) + -(-len(slices) // each) + -(-len(figures) // FIGURES_ON_A_PAGE), 0
        for table, below in tables:
            number += 1
            _table_page(pages, content, table, below, f"{rendered.subject}   {number} / {total}")
        for start in range(0, len(slices), each):
            number += 1
            _picture_page(pages, content, slices[start : start + each], f"{rendered.subject}   {number} / {total}")
        for start in range(0, len(figures), FIGURES_ON_A_PAGE):
            number += 1
            _figure_page(pages, figures[start : start + FIGURES_ON_A_PAGE], f"{rendered.subject}   {number} / {total}")
    return buffer.getvalue()


def _of_patients(content: Content) -> set[str]:
    return {one.name for one in content.pictures.values()}


def _row(content: Content, one: Listed, marks: dict[Reason, str]) -> _Row:
    standing = one.standing
    clauses = ", ".join(marks[note] for note in one.notes)
    values = textwrap.wrap(f"{one.compared} [{clauses}]; VBQ ± {one.interval:.2f} (95 %)", VALUE_CHARACTERS)
    if one.change == "changed" and one.flag:
        values += textwrap.wrap(one.flag.cause, VALUE_CHARACTERS)
    if one.read:
        values += textwrap.wrap(read_words(one.read), VALUE_CHARACTERS)
    tier = [standing.tier.value.upper(), *([one.change] if one.change else [])]
    if one.flag and one.flag.previous:
        tier.append(f"was {one.flag.previous.value}")
    patient = textwrap.wrap(content.audience.named(standing.episode), 22) + textwrap.wrap(one.owner.words, 22)
    day = [standing.surgery_date[:10], in_days(one.days)]
    return _Row(columns=(day, patient, tier, values), colour=TIER_COLOURS[standing.tier.value])


def _legend(upcoming: Upcoming) -> Iterator[str]:
    if upcoming.ratios is None:
        return
    high = "a high ratio" if upcoming.ratios == "any" else "both ratios high"
    yield ""
    yield from _wrapped(
        "VBQ: T1 signal of the marrow of L1–L4 over that of the fluid at L3; high stands for poor bone. NLR and PLR: "
        "neutrophils and platelets over lymphocytes; high stands for inflammation."
    )
    yield from _wrapped(f"Flagged: high VBQ and {high}; intermediate: one of the two; lower: neither.")
    yield from _wrapped(
        "Looked at next for the flagged, before the operation (Ther Clin Risk Manag 2025;21:1679): vitamin D and "
        "calcium; metabolic factors that can be corrected; smoking; the risk of falls. A person decides."
    )


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, NOTE_CHARACTERS)


def _pages(rows: Sequence[_Row], notes: Sequence[str]) -> Iterator[tuple[list[_Row], Sequence[str]]]:
    """The rows of each page, and the notes on the last one where they have room, else on one of their own."""
    room = PAGE_INCHES[1] - 2 * MARGIN_INCHES - 1.0
    page: list[_Row] = []
    used = 0.0
    for row in rows:
        if page and used + row.inches > room:
            yield page, ()
            page, used = [], 0.0
        page.append(row)
        used += row.inches
    if used + (len(notes) + 1) * SMALL_LINE_INCHES <= room:
        yield page, notes
        return
    yield page, ()
    fit = int(room / SMALL_LINE_INCHES)
    for start in range(0, len(notes), fit):
        yield [], notes[start : start + fit]


def _table_page(pages: "PdfPages", content: Content, rows: Sequence[_Row], notes: Sequence[str], foot: str) -> None:
    page = _page(foot)
    y = MARGIN_INCHES
    title = f"VBQ report, night of {content.night}"
    _put(page, 0, y, " · ".join(filter(None, (content.banner, title))), size=TITLE_POINTS, weight="bold")
    tiers = content.section(Tiers).in_words(content.audience)
    y += 0.3
    _put(page, 0, y, f"{content.site} · upcoming: {tiers} · research use only; a person decides", colour=QUIET)
    if content.protocol:
        _put(page, 0, y + LINE_INCHES, f"Protocol: {content.protocol}", size=SMALL_POINTS, colour=QUIET)
    y += 0.35
    if rows:
        for x, head in zip(COLUMNS, ("Operation", "Patient", "Tier", "Values and cut-offs"), strict=True):
            _put(page, x, y, head, size=SMALL_POINTS, weight="bold", colour=QUIET)
        y += LINE_INCHES
    elif notes:
        _put(page, 0, y, NOTHING if not content.section(Upcoming).theirs(content.audience) else "")
        y += LINE_INCHES
    for row in rows:
        _rule(page, y)
        y += ROW_GAP_INCHES / 2
        for place, (x, lines) in enumerate(zip(COLUMNS, row.columns, strict=True)):
            for number, line in enumerate(lines):
                tier = place == 2 and number == 0
                weight = "bold" if tier or (place == 0 and number == 0) else "normal"
                _put(page, x, y + number * LINE_INCHES, line, weight=weight, colour=row.colour if tier else INK)
        y += row.inches - ROW_GAP_INCHES / 2
    if rows:
        _rule(page, y)
    y += 0.15
    for line in notes:
        _put(page, 0, y, line, size=SMALL_POINTS, colour=QUIET)
        y += SMALL_LINE_INCHES
    pages.savefig(page)  # type: ignore[no-untyped-call]  # matplotlib's PdfPages has no types


def _put(
    page: "MatplotlibFigure", x: float, y: float, text: str, *, size: float = TEXT_POINTS, weight: str = "normal",
    colour: str = INK,
) -> None:  # fmt: skip
    """Text at inches from the margin (left) and from the top."""
    page.text(
        (MARGIN_INCHES + x) / PAGE_INCHES[0], 1 - y / PAGE_INCHES[1], text, fontsize=size, fontweight=weight,
        color=colour, va="top", family="DejaVu Sans", parse_math=False,
    )  # fmt: skip


def _rule(page: "MatplotlibFigure", y: float) -> None:
    from matplotlib.lines import Line2D

    side, at = MARGIN_INCHES / PAGE_INCHES[0], 1 - y / PAGE_INCHES[1]
    page.add_artist(Line2D([side, 1 - side], [at, at], linewidth=0.5, color=LINE))


def _picture_page(pages: "PdfPages", content: Content, rows: Sequence[Listed], foot: str) -> None:
    """The slices that were measured, each under its patient."""
    from matplotlib.image import imread

    page = _page(foot)
    across = (PAGE_INCHES[0] - 2 * MARGIN_INCHES) / PICTURES_ACROSS
    down = (PAGE_INCHES[1] - 2 * MARGIN_INCHES) / PICTURES_DOWN
    for place, one in enumerate(rows):
        x, y = (place % PICTURES_ACROSS) * across, MARGIN_INCHES + (place // PICTURES_ACROSS) * down
        name = f"{content.audience.named(one.standing.episode)}  VBQ {one.standing.values.vbq:.2f}"
        _put(page, x, y, name, size=SMALL_POINTS)
        left, bottom = (MARGIN_INCHES + x) / PAGE_INCHES[0], 1 - (y + down - 0.1) / PAGE_INCHES[1]
        axes = page.add_axes((left, bottom, (across - 0.15) / PAGE_INCHES[0], (down - 0.3) / PAGE_INCHES[1]))
        axes.imshow(imread(io.BytesIO(content.pictures[one.standing.episode].png), format="png"))
        axes.set_axis_off()
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
    page.text(0.5, 0.025, foot, fontsize=6.5, ha="center", color=QUIET, parse_math=False)
    return page
