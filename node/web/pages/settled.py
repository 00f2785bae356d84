"""What was settled of late, and how it is taken back."""

from starlette.responses import Response

from node.web.pages.worklist import SETTLED_BY
from node.web.render import page
from node.web.settled import settled
from node.web.visit import Visit
from node.web.worklist import Asker


def show(visit: Visit) -> Response:
    """The newest decisions of the kinds that the visitor settles."""
    kinds = [kind for kind, role in SETTLED_BY.items() if visit.who.may(role)]
    found = settled(visit.db, kinds, asker=Asker(name=visit.name, rule=visit.settings.readers))
    return page(visit, "settled.html", {"rows": found})
