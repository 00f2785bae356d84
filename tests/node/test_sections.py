"""The sections of the report: each module has its templates, and a further one costs nothing elsewhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from jinja2 import DictLoader

import node.nightly.sections
from node.nightly import night, report
from node.nightly.night import run_night
from node.nightly.sections.order import SECTIONS
from node.nightly.sections.section import Audience, Section
from tests.node.night_world import NIGHT, NOW, open_world, settings_for
from tests.node.test_agreement import put_readings

FOLDER = Path(node.nightly.sections.__file__).parent
OTHERS = {"__init__", "section", "order"}


def test_every_module_is_in_the_order_and_has_both_templates() -> None:
    modules = {path.stem for path in FOLDER.glob("*.py")} - OTHERS
    assert {read.__module__.rpartition(".")[2] for read in SECTIONS} == modules
    for form in ("txt", "html"):
        assert {path.name.partition(".")[0] for path in FOLDER.glob(f"*.{form}.j2")} == modules


def test_agreement_of_the_readers_stands_in_the_report_every_night(tmp_path: Path) -> None:
    """ICC(2,1) = (MSR - MSE) / (MSR + MSE + 2 (MSC - MSE) / 5) = 0.9319; mean squares of R 4's ``anova(lm)``."""
    db = open_world(tmp_path, rows=5)
    for number, (ann, bob) in enumerate([(2.1, 2.2), (2.6, 2.5), (3.0, 3.1), (3.4, 3.1), (2.8, 2.7)]):
        put_readings(db, f"1.{number}", ("ann", ann), ("bob", bob))
    rendered = run_night(db, settings_for(tmp_path), night=NIGHT, now=NOW, dry_run=True).rendered
    db.close()
    assert rendered is not None
    assert "ann and bob, n = 5: ICC 0.932" in rendered.text
    assert "ann and bob" in rendered.file_html


@dataclass(frozen=True, kw_only=True)
class Weather(Section):
    """A stand-in."""

    name: ClassVar[str] = "weather"
    urgency: ClassVar[int] = 45

    def subject(self, audience: Audience) -> tuple[str, ...]:
        assert audience.statistics
        return ("RAIN",)


def test_a_further_section_speaks_at_the_top_in_the_body_and_in_the_subject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates = {
        "weather.txt.j2": "{% block top %}\nIt rains: take <care>\n{% endblock %}",
        "weather.html.j2": '{% block body %}<p>{{ "<rain>" }}</p>{% endblock %}',
    }
    environment = report._environment()
    loaders = [*environment.loader.loaders, DictLoader(templates)]
    monkeypatch.setattr(environment.loader, "loaders", loaders)
    monkeypatch.setattr(night, "SECTIONS", (*SECTIONS, lambda _db, _findings: Weather()))
    db = open_world(tmp_path, rows=5)
    rendered = run_night(db, settings_for(tmp_path), night=NIGHT, now=NOW, dry_run=True).rendered
    db.close()
    assert rendered is not None
    # Five rows make no model: its word stands behind the more urgent one.
    assert rendered.subject.endswith("; RAIN; no model tonight")
    assert (
        rendered.text.index("It rains: take <care>")
        < rendered.text.index("NOT FITTED")
        < rendered.text.index("CUT-OFFS")
    )
    assert "<p>&lt;rain&gt;</p>" in rendered.file_html.replace(' style="margin: 6px 0;"', "")
