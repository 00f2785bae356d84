"""Who is there: log-in by password, or the header of a reverse proxy; sessions that end; the token of a form."""

import hmac
import secrets
from collections import defaultdict, deque
from datetime import datetime, timedelta
from hashlib import sha256
from threading import Lock

from sqlite_utils import Database
from starlette.requests import Request

from node.clock import from_text, to_text
from node.people.users import find_user, verify
from node.settings import Settings
from node.store.database import insert, writing
from node.store.pseudonym import pseudonym_key
from node.web.visit import Visitor

COOKIE = "vbq_session"
FORM_TOKEN = "form_token"  # noqa: S105  # the name of a field, not a secret
HEADER_TOKEN = "x-form-token"  # noqa: S105  # the name of a header, not a secret
SEEN_EVERY = timedelta(minutes=1)
"""How often it is written down that a session is still used."""
MAX_FAILURES = 5
FAILURES_WITHIN = timedelta(minutes=15)
MAX_ADDRESSES = 10_000
"""Addresses and names of which failures are remembered; beyond that the oldest go."""


class Failures:
    """Failed log-ins, by name and by address: after :data:`MAX_FAILURES` of either nobody may try for a while."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._times: defaultdict[str, deque[datetime]] = defaultdict(lambda: deque(maxlen=MAX_FAILURES))

    def blocked(self, name: str, address: str, now: datetime) -> bool:
        """Whether there were too many of late."""
        with self._lock:
            return any(self._recent(key, now) >= MAX_FAILURES for key in (f"name {name}", f"address {address}"))

    def add(self, name: str, address: str, now: datetime) -> None:
        """Remember one."""
        with self._lock:
            for key in (f"name {name}", f"address {address}"):
                self._times[key].append(now)
            while len(self._times) > MAX_ADDRESSES:
                del self._times[next(iter(self._times))]

    def _recent(self, key: str, now: datetime) -> int:
        return sum(now - one < FAILURES_WITHIN for one in self._times[key]) if key in self._times else 0


def log_in(db: Database, name: str, password: str, *, now: datetime) -> str | None:
    """Begin a session and return its token; ``None`` where name and password do not fit."""
    user = verify(db, name, password)
    if user is None:
        return None
    token = secrets.token_urlsafe(32)
    row = {
        "token_sha256": _digest(token),
        "name": user.name,
        "form_token": secrets.token_urlsafe(32),
        "began_at": to_text(now),
        "seen_at": to_text(now),
    }
    with writing(db):
        # Those that have ended long ago go with the first log-in after it.
        db.execute("DELETE FROM state_session WHERE began_at < ?", [to_text(now - timedelta(days=2))])
        insert(db, "state_session", [row])
    return token


def log_out(db: Database, request: Request) -> None:
    """End the session of a browser."""
    with writing(db):
        db.execute("DELETE FROM state_session WHERE token_sha256 = ?", [_digest(request.cookies.get(COOKIE, ""))])


def visitor_of(db: Database, settings: Settings, request: Request, *, now: datetime) -> Visitor | None:
    """Who asks; by the proxy where one is set, else by the session."""
    if settings.web.proxy is not None:
        return _by_proxy(db, settings, request)
    return _by_session(db, settings, request.cookies.get(COOKIE, ""), now)


def _by_proxy(db: Database, settings: Settings, request: Request) -> Visitor | None:
    proxy = settings.web.proxy
    address = request.client.host if request.client else ""
    told = request.headers.getlist(proxy.header) if proxy else []
    # Two headers are one of the proxy and one of somebody else.
    if proxy is None or not address or not proxy.vouches_from(address) or len(told) != 1:
        return None
    user = find_user(db, told[0].strip())
    if user is None:
        return None
    token = hmac.new(pseudonym_key(db), f"form {user.name}".encode(), "sha256").hexdigest()
    return Visitor(user=user, form_token=token)


def _by_session(db: Database, settings: Settings, token: str, now: datetime) -> Visitor | None:
    if not token:
        return None
    row = db.execute(
        "SELECT name, form_token, began_at, seen_at FROM state_session WHERE token_sha256 = ?", [_digest(token)]
    ).fetchone()
    if row is None:
        return None
    name, form_token, began, seen = row[0], row[1], from_text(row[2]), from_text(row[3])
    web = settings.web
    over = now - began > timedelta(hours=web.session_hours) or now - seen > timedelta(minutes=web.idle_minutes)
    user = None if over else find_user(db, name)
    if user is None:
        return None
    if now - seen > SEEN_EVERY:
        with writing(db):
            db.execute("UPDATE state_session SET seen_at = ? WHERE token_sha256 = ?", [to_text(now), _digest(token)])
    return Visitor(user=user, form_token=form_token)


def brings_token(visitor: Visitor, given: str) -> bool:
    """Whether a form or a script brings the token of its visitor."""
    return hmac.compare_digest(visitor.form_token.encode(), given.encode())


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
