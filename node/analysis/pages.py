"""Results as files: each table as CSV and page, each figure as PNG and SVG, and one report that holds all of them.

The same results give the same bytes.
"""

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from analytics.pictures.base import png, svg
from node.analysis.cells import Table, guarded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGE = "node.analysis"
SUFFIXES = (".json", ".csv", ".html", ".png", ".svg")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure with its file name and what it shows in words."""

    name: str
    caption: str
    figure: "Figure"
    drawn: bytes | None = None
    """The picture, where it was drawn before."""

    @cached_property
    def png(self) -> bytes:
        """The picture."""
        return png(self.figure) if self.drawn is None else self.drawn

    @property
    def base64(self) -> str:
        """The picture as text, for an HTML page."""
        return base64.b64encode(self.png).decode()


def page_template(name: str, *, package: str = PACKAGE) -> Template:
    """A template of a package; it may extend ``page.html.j2`` of this one."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(one) for one in dict.fromkeys((package, PACKAGE))]),
        autoescape=select_autoescape(["html.j2"]), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(name)


def clear(folder: Path, names: Sequence[str]) -> None:
    """Take away what an earlier run may have written there: a table that this one refuses must not stand there."""
    for name in names:
        for suffix in SUFFIXES:
            (folder / f"{name}{suffix}").unlink(missing_ok=True)


def write_pages(
    folder: Path, template: Template, *, run: object, tables: Sequence[Table], pictures: Sequence[Picture]
) -> None:
    """Write each table and figure into a folder, and all of them as ``report.html``; the template gets ``run``."""
    for table in tables:
        cells = io.StringIO(newline="")
        csv.writer(cells).writerows([guarded(cell) for cell in row] for row in (table.columns, *table.rows))
        (folder / f"{table.name}.csv").write_text(cells.getvalue(), encoding="utf-8", newline="")
        page = template.render(run=run, tables=[table], figures=[])
        (folder / f"{table.name}.html").write_text(page, encoding="utf-8")
    for picture in pictures:
        (folder / f"{picture.name}.png").write_bytes(picture.png)
        (folder / f"{picture.name}.svg").write_bytes(svg(picture.figure))
    (folder / "report.html").write_text(template.render(run=run, tables=tables, figures=pictures), encoding="utf-8")
