"""Pages from templates; everything that is filled in is escaped."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from node.clock import from_text
from node.web.access import FORM_TOKEN
from node.web.visit import Visit


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(visit: Visit, template: str, values: Mapping[str, object], *, status: int = 200) -> HTMLResponse:
    """A page in the language of the visit."""
    visitor = visit.visitor
    content = (
        _environment()
        .get_template(template)
        .render(
            t=visit.words,
            language=visit.words.name,
            visitor=visitor,
            may=visitor.may if visitor else lambda *_: False,
            token_name=FORM_TOKEN,
            token=visitor.form_token if visitor else "",
            site=visit.settings.site.name,
            banner=visit.settings.site.banner,
            proxy=visit.settings.web.proxy is not None,
            here=visit.request.url.path,
            local=partial(_local, visit.settings.site.zone),
            **values,
        )
    )
    return HTMLResponse(content, status)


def _local(zone: ZoneInfo, moment: datetime | str | None) -> str:
    """A moment (aware, or as the database has it) to the minute in the site's time; a dash for none."""
    if not moment:
        return "–"
    at = from_text(moment) if isinstance(moment, str) else moment
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}"
