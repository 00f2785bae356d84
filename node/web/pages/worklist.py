"""The worklist as a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from analytics.reasons import actions
from node.store.public_id import public_id_of
from node.web.render import page
from node.web.visit import Visit
from node.web.worklist import Asker, Item, items
from node.web.worklist import take as take_item

SETTLED_BY = {
    "series": "reader",
    "second": "reader",
    "settle": "reader",
    "count": "reader",
    "identity": "reader",
    "pair": "reader",
    "study": "reader",
    "threshold": "keeper",
    "problem": "engineer",
}
"""The role that settles items of a kind, and sees them."""
DONE = frozenset({"reading", "settled"})
"""What the page says after a form has come back to it."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An item as the page shows it."""

    item: Item
    why: Sequence[str]
    todo: Sequence[str]
    days_to_operation: int | None
    age_days: int | None
    link: str | None
    mine: bool


def show(visit: Visit) -> Response:
    """What waits, by the role of who asks; who settles nothing gets the operations."""
    kinds = [kind for kind, role in SETTLED_BY.items() if visit.who.may(role)]
    if not kinds:
        return RedirectResponse("/patients", 303)
    found = items(visit.db, now=visit.now, asker=Asker(name=visit.name, rule=visit.settings.readers))
    asked = visit.request.query_params
    wanted = asked.get("kind", "") if asked.get("kind") in kinds else ""
    mine = [one for one in found if one.kind in kinds]
    rows = [_shown(visit, one) for one in mine if not wanted or one.kind == wanted]
    counts = {kind: sum(one.kind == kind for one in mine) for kind in kinds}
    shown = {kind: number for kind, number in counts.items() if number or kind == wanted}
    done = asked.get("done", "") if asked.get("done") in DONE else ""
    return page(
        visit, "worklist.html", {"rows": rows, "counts": shown, "wanted": wanted, "all": len(mine), "done": done}
    )


def back(visit: Visit, done: str = "") -> Response:
    """To the list as it was, filtered or not, or to what is settled; ``done`` of :data:`DONE`."""
    if visit.form.get("from") == "settled":
        return RedirectResponse("/settled", 303)
    kind = visit.form.get("list", "")
    asked = {name: value for name, value in (("kind", kind if kind in SETTLED_BY else ""), ("done", done)) if value}
    return RedirectResponse(f"/?{urlencode(asked)}" if asked else "/", 303)


def take(visit: Visit) -> Response:
    """Say that one is at an item, or lay it back."""
    take_item(visit.db, visit.form.get("item", "")[:64], visit.name, now=visit.now)
    return back(visit)


def _shown(visit: Visit, item: Item) -> Shown:
    today = visit.now.astimezone(visit.settings.site.zone).date()
    return Shown(
        item=item,
        why=visit.words.of(item.reasons) or [item.said or visit.words(f"why_{item.kind}", **_written(visit, item))],
        todo=actions(item.advice, visit.words.reasons),
        days_to_operation=(item.owner.surgery - today).days if item.owner.surgery else None,
        age_days=(visit.now - item.since).days if item.since else None,
        link=f"/series/{public_id_of(item.about['series'])}" if "series" in item.about else None,
        mine=item.taken_by == visit.name,
    )


def _written(visit: Visit, item: Item) -> dict[str, str]:
    values = {
        name: visit.words.number(value, 0 if name in {"images", "n"} else 2) for name, value in item.values.items()
    }
    return {**item.about, **values}
