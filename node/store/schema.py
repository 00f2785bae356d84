"""What the tables of a database are, what they should be, and the difference in words.

Facts, records and state begin with the frozen scripts of schema 1 and go on with the numbered files of ``migrations/``.
The derived part has no versions: it carries the hash of its definition. Views and guards hold no data and are made
those of this version at each start.
"""

import hashlib
import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from sqlite_utils.utils import sqlite3

from node.errors import StoreError

FOLDER = Path(__file__).parent
FIRST = ("facts.sql", "records.sql", "state.sql")
"""Schema 1, in the order in which they are run."""

KEPT = ("fact_", "record_", "state_")
"""Prefixes of the tables that migrations bring along."""

DERIVED = ("derived_",)

IMMUTABLE = ("fact_", "record_")
"""Written once, never changed: triggers abort UPDATE and DELETE."""

DERIVATION = 16
"""Raised when a step makes something else of the same facts while derived.sql stays as it is."""

Structure = Mapping[str, str]
"""Normalised SQL of tables and indexes, by name."""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One numbered script; ``number`` is the schema that it leads to."""

    number: int
    name: str
    script: str


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations after schema 1, in order.

    Raises
    ------
    StoreError
        A number is missing or given twice.
    """
    found = []
    for path in sorted((FOLDER / "migrations").glob("*.sql")):
        number, _, name = path.stem.partition("_")
        found.append(Migration(number=int(number), name=name, script=path.read_text(encoding="utf-8")))
    if [one.number for one in found] != list(range(2, len(found) + 2)):
        raise StoreError(f"the migrations of this version are not numbered 2, 3, …: {[one.number for one in found]}")
    return tuple(found)


def newest() -> int:
    """The schema of this version."""
    return len(migrations()) + 1


@cache
def first_schema() -> tuple[str, ...]:
    """The statements of schema 1."""
    return tuple(one for name in FIRST for one in statements((FOLDER / name).read_text(encoding="utf-8")))


@cache
def expected(number: int) -> Structure:
    """The kept tables of a schema, by running its scripts."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in first_schema():
            connection.execute(statement)
        for migration in migrations()[: number - 1]:
            for statement in statements(migration.script):
                connection.execute(statement)
        return structure(connection, KEPT)


@cache
def derived_statements() -> tuple[str, ...]:
    """The statements of the derived part."""
    return statements((FOLDER / "derived.sql").read_text(encoding="utf-8"))


@cache
def expected_derived() -> Structure:
    """The derived tables of this version."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in derived_statements():
            connection.execute(statement)
        return structure(connection, DERIVED)


@cache
def definition_sha256() -> str:
    """SHA-256 of what defines the derived part: its text without comments and layout, and :data:`DERIVATION`."""
    text = "\n".join(normalised(statement) for statement in derived_statements())
    return hashlib.sha256(f"{DERIVATION}\n{text}".encode()).hexdigest()


def structure(connection: sqlite3.Connection, prefixes: tuple[str, ...]) -> Structure:
    """Tables and indexes whose names begin with one of the prefixes; what others have added is theirs."""
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type IN ('table', 'index') AND sql IS NOT NULL ORDER BY name"
    )
    return {name: normalised(sql) for name, sql in rows if name.startswith(prefixes)}


def fingerprint(tables: Structure) -> str:
    """First 16 hex digits of the SHA-256 of a structure."""
    text = "\n".join(f"{name} {sql}" for name, sql in sorted(tables.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def difference(found: Structure, wanted: Structure) -> str:
    """In words; empty when both are the same."""
    parts = {
        "missing": sorted(set(wanted) - set(found)),
        "not of it": sorted(set(found) - set(wanted)),
        "different": sorted(name for name in set(found) & set(wanted) if found[name] != wanted[name]),
    }
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)


@lru_cache(maxsize=1024)
def normalised(sql: str) -> str:
    """SQL of a definition without comments, layout and quotes around names."""
    text = re.sub(r"--[^\n]*", " ", sql)
    text = re.sub(r'"(\w+)"', r"\1", text)
    text = re.sub(r"\s*([(),;])\s*", r"\1", " ".join(text.split()))
    return text.strip(" ;")


@lru_cache(maxsize=256)
def statements(script: str) -> tuple[str, ...]:
    """Split an SQL script into its statements (``executescript`` would commit the transaction it is called in).

    Raises
    ------
    StoreError
        The last statement does not end.
    """
    found = []
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            found.append(statement)
            statement = ""
    if statement.strip() and not all(line.startswith("--") for line in statement.strip().splitlines()):
        raise StoreError("an SQL script ends in the middle of a statement")
    return tuple(found)
