"""Who may log in to the pages: accounts with roles, and passwords as argon2 hashes."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Literal, get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlite_utils import Database

from node.clock import to_text
from node.errors import InputError
from node.store.database import writing

Role = Literal["reader", "surgeon", "keeper", "engineer"]
"""``reader`` reads images and settles doubts; ``surgeon`` sees who is flagged, with the hospital's numbers; ``keeper``
adopts cut-offs; ``engineer`` sees problems of peers and files."""
ROLES: tuple[Role, ...] = get_args(Role)
NAME_LENGTH = 64
PASSWORD_LENGTH = 12
"""Fewest characters of a password; nothing else is asked of it."""

_HASHER = PasswordHasher()


@cache
def _nobody() -> str:
    """Verified where there is no such account, so that the time taken does not tell."""
    return _HASHER.hash("nobody has this password")


@dataclass(frozen=True, kw_only=True)
class User:
    """An account. ``local`` says that it has a password of its own."""

    name: str
    roles: tuple[Role, ...]
    disabled: bool
    local: bool


def list_users(db: Database) -> list[User]:
    """All accounts, by name."""
    return [_user(row) for row in db.query("SELECT * FROM state_user ORDER BY name")]


def find_user(db: Database, name: str) -> User | None:
    """The account of this name that is not disabled."""
    rows = list(db.query("SELECT * FROM state_user WHERE name = ? AND disabled = 0", [name]))
    return _user(rows[0]) if rows else None


def require_account(name: str, roles: Iterable[str]) -> list[str]:
    """The roles of an account, each once.

    Raises
    ------
    InputError
        The name, or a role, is none.
    """
    known = sorted(set(roles))
    if not name or name != name.strip() or len(name) > NAME_LENGTH or not name.isprintable():
        raise InputError(f"a name of 1 to {NAME_LENGTH} printable characters is needed")
    if name.casefold().startswith("auto"):
        raise InputError("names that begin with auto are the software's own; a person's name is needed")
    if not known or (unknown := [one for one in known if one not in ROLES]):
        raise InputError(f"roles are {', '.join(ROLES)}" + (f"; not {', '.join(unknown)}" if known else ""))
    return known


def add_user(db: Database, name: str, *, roles: Iterable[str], password: str | None, now: datetime) -> None:
    """Add an account, or give one that is there other roles and enable it again.

    Parameters
    ----------
    password
        ``None`` for one that a proxy vouches for; of an account that is there the password stays.

    Raises
    ------
    InputError
        The name, a role or the password is none.
    """
    known = require_account(name, roles)
    hashed = _hash(password) if password is not None else None
    row = {"name": name, "roles": json.dumps(known), "password": hashed, "changed_at": to_text(now)}
    with writing(db):
        db.execute(
            "INSERT INTO state_user (name, roles, password, changed_at) VALUES (:name, :roles, :password, :changed_at) "
            "ON CONFLICT (name) DO UPDATE SET roles = excluded.roles, disabled = 0, changed_at = excluded.changed_at, "
            "password = coalesce(excluded.password, password)",
            row,
        )


def require_user(db: Database, name: str) -> None:
    """Raise an :class:`InputError` where there is no account of this name."""
    if not db.execute("SELECT 1 FROM state_user WHERE name = ?", [name]).fetchone():
        raise InputError(f"there is no account {name!r}; `vbq-node users list` shows them")


def set_password(db: Database, name: str, password: str, *, now: datetime) -> None:
    """Give an account another password; whoever is logged in with it is logged out.

    Raises
    ------
    InputError
        There is no such account, or the password is too short.
    """
    hashed = _hash(password)
    with writing(db):
        _change(db, name, "password = :password", {"password": hashed}, now)


def disable_user(db: Database, name: str, *, now: datetime) -> None:
    """Let nobody log in with an account any more; its readings and decisions stay.

    Raises
    ------
    InputError
        There is no such account.
    """
    with writing(db):
        _change(db, name, "disabled = 1", {}, now)


def verify(db: Database, name: str, password: str) -> User | None:
    """The account, where the password is its own; in the same time whether or not there is such an account."""
    row = db.execute("SELECT password FROM state_user WHERE name = ? AND disabled = 0", [name]).fetchone()
    stored = row[0] if row and row[0] else _nobody()
    try:
        _HASHER.verify(stored, password)
    except (VerifyMismatchError, InvalidHashError):
        return None
    return find_user(db, name) if row and row[0] else None


def _hash(password: str) -> str:
    if len(password) < PASSWORD_LENGTH:
        raise InputError(f"a password of at least {PASSWORD_LENGTH} characters is needed")
    return _HASHER.hash(password)


def _change(db: Database, name: str, change: str, values: dict[str, object], now: datetime) -> None:
    require_user(db, name)
    db.execute(
        f"UPDATE state_user SET {change}, changed_at = :now WHERE name = :name",  # two constant texts
        {**values, "name": name, "now": to_text(now)},
    )
    db.execute("DELETE FROM state_session WHERE name = ?", [name])


def _user(row: dict[str, object]) -> User:
    roles: Sequence[str] = json.loads(str(row["roles"]))
    return User(
        name=str(row["name"]),
        roles=tuple(one for one in ROLES if one in roles),
        disabled=bool(row["disabled"]),
        local=row["password"] is not None,
    )
