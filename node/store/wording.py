"""The words of the site's language in the database: of what views say, and beside the reasons that are kept.

Whoever opens the database with any SQLite has no catalogue, so views read the words where they stand. Here they are
written, and written anew when the language of the site or the words themselves are others than those in the database.
"""

import hashlib
import json
import string
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from sqlite_utils.utils import sqlite3

from analytics.reasons import Language, from_dict, in_use
from analytics.vbq.criterion import Criterion

WRITTEN = ("written", "sha256")
LANGUAGE = ("written", "language")
Row = tuple[str, str, str]
"""Kind, key and parts: a row of ``state_words``."""


def is_current(connection: sqlite3.Connection) -> bool:
    """Whether the words in the database are those of the language in use."""
    return _written(connection, WRITTEN) == _fingerprint(in_use())


def write(connection: sqlite3.Connection) -> None:
    """Write the words of the language in use, and where it is another than before, those beside the reasons."""
    language = in_use()
    before = _written(connection, LANGUAGE)
    rows = _rows(language)
    marks = [(*WRITTEN, json.dumps(_fingerprint(language))), (*LANGUAGE, json.dumps(language.name))]
    connection.execute("DELETE FROM state_words")
    connection.executemany("INSERT INTO state_words (kind, key, parts) VALUES (?, ?, ?)", [*rows, *marks])
    if before is not None and before != language.name:
        _reword(connection)


def parts(template: str) -> list[list[str]] | None:
    """A template as views fill it; ``None`` where it asks for more than they can (numbers, lists)."""
    found: list[list[str]] = []
    for text, name, spec, _ in string.Formatter().parse(template):
        if text:
            found.append(["text", text])
        if name is None:
            continue
        kind, *forms = (spec or "value").split("|")
        if kind not in ("value", "term", "one", "some"):
            return None
        found.append([kind, name, *forms])
    return found


@lru_cache(maxsize=4)
def _rows(language: Language) -> tuple[Row, ...]:
    templates = {code: parts(template) for code, template in language.words.items()}
    reasons = [("reason", code, found) for code, found in templates.items() if found is not None]
    terms = [("term", term, word) for term, word in language.terms.items()]
    return tuple((kind, key, json.dumps(said, ensure_ascii=False)) for kind, key, said in [*reasons, *terms])


@lru_cache(maxsize=4)
def _fingerprint(language: Language) -> str:
    return hashlib.sha256(json.dumps(sorted(_rows(language))).encode()).hexdigest()


def _written(connection: sqlite3.Connection, mark: tuple[str, str]) -> str | None:
    row = connection.execute("SELECT parts FROM state_words WHERE kind = ? AND key = ?", mark).fetchone()
    return None if row is None else str(json.loads(row[0]))


def _reword(connection: sqlite3.Connection) -> None:
    """Reasons of derived tables and of failures, in the language in use; records keep the words of their day."""
    for table, column in _columns(connection):
        rows = connection.execute(
            f"SELECT rowid, {column} FROM {table} WHERE json_valid({column}) AND json_type({column}) = 'array' "
            f"AND json_type({column}, '$[0]') = 'object'"
        ).fetchall()
        changed = [(json.dumps(_reworded(json.loads(text)), ensure_ascii=False), row) for row, text in rows]
        connection.executemany(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", changed)


def _columns(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    for table in tables:
        if table.startswith("derived_") or table == "state_failure":
            for _, column, kind, *_ in connection.execute(f"PRAGMA table_info({table})").fetchall():
                if kind == "TEXT":
                    yield table, column


def _reworded(reasons: list[Any]) -> list[Any]:
    found = []
    for one in reasons:
        if not isinstance(one, dict) or not {"code", "values", "words"} <= one.keys():
            return reasons
        reason = from_dict(one)
        if "holds" in one:
            said = Criterion(holds=one["holds"], reason=reason).words()
            found.append({**one, "words": said, "plain": reason.words()})
        else:
            found.append({**one, "words": reason.words()})
    return found
