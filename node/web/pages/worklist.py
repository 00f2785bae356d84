"""The worklist as a page."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import RedirectResponse, Response

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
"""The role that settles items of a kind; each sees these first, and may look at all."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An item as the page shows it."""

    item: Item
    why: Sequence[str]
    days_to_operation: int | None
    age_days: int | None
    link: str | None
    mine: bool


def show(visit: Visit) -> Response:
    """What waits, by the role of who asks."""
    found = items(visit.db, now=visit.now, asker=Asker(name=visit.name, rule=visit.settings.readers))
    kinds = [kind for kind, role in SETTLED_BY.items() if visit.who.may(role)]
    wanted = visit.request.query_params.get("kind", "")
    mine = [one for one in found if one.kind in kinds]
    rows = [_shown(visit, one) for one in mine if not wanted or one.kind == wanted]
    counts = {kind: sum(one.kind == kind for one in mine) for kind in kinds}
    return page(visit, "worklist.html", {"rows": rows, "counts": counts, "wanted": wanted, "all": len(mine)})


def take(visit: Visit) -> Response:
    """Say that one is at an item, or lay it back."""
    take_item(visit.db, visit.form.get("item", "")[:64], visit.name, now=visit.now)
    return RedirectResponse("/", 303)


def _shown(visit: Visit, item: Item) -> Shown:
    today = visit.now.astimezone(visit.settings.site.zone).date()
    return Shown(
        item=item,
        why=visit.words.of(item.reasons) or [item.said or visit.words(f"why_{item.kind}", **_written(visit, item))],
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
