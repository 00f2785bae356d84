"""The application: routes, who may see which, and what holds for every answer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import structlog
from sqlite_utils.utils import sqlite3
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.clock import now
from node.errors import NodeError
from node.logs import without_values
from node.people.users import ROLES
from node.settings import Settings
from node.web import access
from node.web.pages import entry, patients, series, settle, settled, worklist
from node.web.render import page
from node.web.visit import Stores, Visit
from node.web.words import LANGUAGE_COOKIE, load_words, preferred

STATIC = Path(__file__).parent / "static"
MAX_BODY_BYTES = 64 * 1024
BODY_S = 10.0
"""Time allowed until the whole of a form is there."""
MAX_FIELDS = 100

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}

log = structlog.get_logger()
Handler = Callable[[Visit], Response]


@dataclass(frozen=True, kw_only=True)
class Place:
    """An address, what answers there, and who may ask. No roles: everybody, logged in or not."""

    path: str
    handler: Handler
    roles: Sequence[str] = ROLES
    methods: Sequence[str] = ("GET",)


PLACES = (
    Place(path="/login", handler=entry.show_log_in, roles=()),
    Place(path="/login", handler=entry.log_in, roles=(), methods=("POST",)),
    Place(path="/logout", handler=entry.log_out, methods=("POST",)),
    Place(path="/language", handler=entry.choose_language, roles=(), methods=("POST",)),
    Place(path="/health", handler=entry.health, roles=()),
    Place(path="/", handler=worklist.show),
    Place(path="/take", handler=worklist.take, methods=("POST",)),
    Place(path="/settled", handler=settled.show, roles=("reader", "keeper")),
    Place(path="/patients", handler=patients.show_list, roles=("surgeon", "reader")),
    Place(path="/patients/{episode}", handler=patients.show_one, roles=("surgeon", "reader")),
    Place(path="/patients/{episode}/picture.png", handler=patients.picture, roles=("surgeon", "reader")),
    Place(path="/series/{series}", handler=series.show, roles=("reader",)),
    Place(path="/series/{series}/slices/{number:int}", handler=series.pixels, roles=("reader",)),
    Place(path="/series/{series}/outlines/{number:int}", handler=series.outlines, roles=("reader",)),
    Place(path="/series/{series}/check", handler=series.check, roles=("reader",), methods=("POST",)),
    Place(path="/series/{series}/reading", handler=series.store, roles=("reader",), methods=("POST",)),
    Place(path="/series/{series}/approve", handler=series.approve, roles=("reader",), methods=("POST",)),
    Place(path="/series/{series}/unreadable", handler=series.unreadable, roles=("reader",), methods=("POST",)),
    Place(path="/series/{series}/withdraw", handler=series.withdraw, roles=("reader",), methods=("POST",)),
    Place(path="/counts", handler=settle.count, roles=("reader",), methods=("POST",)),
    Place(path="/identity", handler=settle.identity, roles=("reader",), methods=("POST",)),
    Place(path="/studies", handler=settle.study, roles=("reader",), methods=("POST",)),
    Place(path="/thresholds", handler=settle.threshold, roles=("keeper",), methods=("POST",)),
)


def create_app(settings: Settings) -> Starlette:
    """The application over the data folder of the settings."""
    stores, failures = Stores(settings), access.Failures()
    routes: list[Route | Mount] = [
        Route(place.path, _endpoint(place, settings, stores), methods=list(place.methods)) for place in PLACES
    ]
    routes.append(Mount("/static", StaticFiles(directory=STATIC)))
    app = Starlette(routes=routes, middleware=[Middleware(_Headers)], exception_handlers={HTTPException: _refused})
    app.state.failures = failures
    return app


def _endpoint(place: Place, settings: Settings, stores: Stores) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        body = await _body(request) if "POST" in place.methods else b""
        return await run_in_threadpool(_answer, place, settings, stores, request, body)

    return answer


async def _body(request: Request) -> bytes:
    """What a form sends, bounded in size and time."""
    found = bytearray()

    async def read() -> None:
        async for part in request.stream():
            found.extend(part)
            if len(found) > MAX_BODY_BYTES:
                raise HTTPException(413)

    try:
        await asyncio.wait_for(read(), BODY_S)
    except TimeoutError as error:
        raise HTTPException(408) from error
    return bytes(found)


def _answer(place: Place, settings: Settings, stores: Stores, request: Request, body: bytes) -> Response:
    """Everything that is asked before a page answers, and what becomes of its errors."""
    moment = now()
    language = preferred(request.headers.get("accept-language", ""), request.cookies.get(LANGUAGE_COOKIE))
    visit = Visit(
        request=request, settings=settings, stores=stores, words=load_words(language), now=moment, body=body,
        form=_form(request, body),
    )  # fmt: skip
    try:
        visitor = access.visitor_of(stores.db, settings, request, now=moment)
        visit = Visit(**{**visit.__dict__, "visitor": visitor})
        return _refusal(place, visit) or place.handler(visit)
    except HTTPException:
        raise
    except NodeError as error:
        return _said(visit, str(error), 409)
    except sqlite3.Error as error:
        log.error("page not answered", path=place.path, error=str(error))
        return _said(visit, visit.words("database_busy"), 503)
    except Exception as error:  # noqa: BLE001  # the end of a request; what it quotes may be of a patient
        log.error("page failed", path=place.path, error=without_values(error))
        return _said(visit, visit.words("fault"), 500)


def _form(request: Request, body: bytes) -> dict[str, str]:
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/x-www-form-urlencoded":
        return {}
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise HTTPException(400) from error


def _refusal(place: Place, visit: Visit) -> Response | None:
    """Why this one may not; ``None``: it may."""
    if not place.roles:
        # A form that everybody may send changes nothing but the browser that sends it.
        return _said(visit, visit.words("other_site"), 403) if _from_elsewhere(visit) else None
    if visit.visitor is None:
        if "GET" in place.methods and visit.settings.web.proxy is None:
            return RedirectResponse("/login", 303)
        return _said(visit, visit.words("not_known"), 401)
    if "POST" in place.methods:
        given = visit.form.get(access.FORM_TOKEN) or visit.request.headers.get(access.HEADER_TOKEN, "")
        if _from_elsewhere(visit) or not access.brings_token(visit.visitor, given):
            visit.note("refused: form of another site", place.path)
            return _said(visit, visit.words("other_site"), 403)
    if not visit.visitor.may(*place.roles):
        visit.note("refused: role", place.path)
        return _said(visit, visit.words("other_role", roles=", ".join(place.roles)), 403)
    return None


def _from_elsewhere(visit: Visit) -> bool:
    return visit.request.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}


def _said(visit: Visit, message: str, status: int) -> Response:
    """A message as a page, or as JSON for a script of the pages."""
    if "application/json" in visit.request.headers.get("accept", ""):
        return JSONResponse({"error": message}, status)
    return page(visit, "message.html", {"message": message}, status=status)


def _refused(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return Response(f"{status}\n", status, media_type="text/plain")


class _Headers:
    """What every answer says to the browser; no page is kept by it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                added = {**HEADERS, "cache-control": "no-store"}
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in added.items() if name.encode() not in own),
                ]
            await send(message)

        await self._app(scope, receive, with_headers)
