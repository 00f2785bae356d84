"""A request as the pages see it: who it is, what the form says, the database of its thread."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlite_utils import Database
from starlette.requests import Request

from node.people.users import User
from node.settings import Settings
from node.store import audit
from node.store.archive import Archive
from node.store.database import open_database
from node.web.words import Words


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """Who asks: the account, and what a form of theirs must bring."""

    user: User
    form_token: str

    def may(self, *roles: str) -> bool:
        """Whether the account has one of the roles."""
        return any(role in self.user.roles for role in roles)


class Stores:
    """A connection to the database for each thread, and the archive."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.storage.folder
        self._mine = threading.local()
        self.archive = Archive(self._folder)

    @property
    def db(self) -> Database:
        """That of this thread."""
        found: Database | None = getattr(self._mine, "db", None)
        if found is None:
            found = self._mine.db = open_database(self._folder)
        return found


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What a page needs to answer."""

    request: Request
    settings: Settings
    stores: Stores
    words: Words
    now: datetime
    form: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    visitor: Visitor | None = None

    @property
    def db(self) -> Database:
        """The database of this thread."""
        return self.stores.db

    @property
    def who(self) -> Visitor:
        """Who asks; pages that everybody may see do not call this."""
        if self.visitor is None:
            raise LookupError("nobody is logged in")
        return self.visitor

    @property
    def name(self) -> str:
        """The name under which a decision is kept."""
        return self.who.user.name

    @property
    def address(self) -> str:
        """Where the request comes from."""
        return self.request.client.host if self.request.client else ""

    def parameter(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def note(self, action: str, subject: str) -> None:
        """Write it in the audit."""
        audit.note(self.db, name=self.name, address=self.address, action=action, subject=subject, at=self.now)
