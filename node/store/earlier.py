"""Databases from before schemas were numbered: all say schema 1, and their tables are those of twelve states.

Which state it is follows from the tables themselves. Tables that schema 1 has and the database has not are made; those
that have changed are made anew and filled from what was there.
"""

from types import MappingProxyType

from sqlite_utils.utils import sqlite3

from node.store import schema

STATES = MappingProxyType({
    "dc7cdd95bfb4a7be": "9ba6f60",
    "d92049a4f3759cc2": "1722ba2",
    "6d99283f324dcd6a": "17a9e7c",
    "01a886312c89b7b4": "33bd65b",
    "d8abae0b3d7ad184": "24b2605",
    "8e6aeeac6968ed62": "b074a9f",
    "101cc8fa162ba549": "5a4bbcc",
    "140dc592c0752fac": "add31ea",
    "74ab73dc6ffb75f7": "ac5aa15",
    "73308425033b7016": "5da9e29",
    "ce1872592f7ca65a": "907b6df",
    "cb470c7106668ce5": "2cd14e7",
})  # fmt: skip
"""Fingerprint of the kept tables: the first commit that had them. The last is schema 1 itself."""

FILLED = MappingProxyType({
    # The cuts were one for all scanners, and what they rest on was not written down.
    ("record_threshold", "strata"): "'[]'",
    ("record_threshold", "evidence"): """json_object('markers', json('[]'), 'n_rows', n, 'omitted', json('{}'))""",
    ("state_delivery", "queued_at"): "(SELECT m.queued_at FROM record_mail AS m WHERE m.mail_id = old.mail_id)",
    ("state_destination", "enrolled_object_id"): "after_object_id",
    ("state_destination", "failures"): "0",
})  # fmt: skip
"""What a column holds that a table had not yet, as an expression over its old row; null for all others."""


def state_of(tables: schema.Structure) -> str | None:
    """The commit that first had these kept tables under the number 1; ``None`` when none had."""
    return STATES.get(schema.fingerprint(tables))


def bring_to_first(connection: sqlite3.Connection) -> None:
    """Make the tables those of schema 1, in the transaction of the caller, with foreign keys off and without views."""
    found = schema.structure(connection, schema.KEPT)
    wanted = schema.expected(1)
    for statement in schema.first_schema():
        kind, name = _defines(statement)
        if kind == "TABLE" and name in found and found[name] != wanted[name]:
            _make_anew(connection, name, statement)
        elif (kind == "TABLE" and name not in found) or (kind == "INDEX" and not _exists(connection, name)):
            connection.execute(statement)


def _defines(statement: str) -> tuple[str, str]:
    words = schema.normalised(statement).removeprefix("CREATE ").removeprefix("UNIQUE ").split()
    return words[0], words[1].partition("(")[0]


def _exists(connection: sqlite3.Connection, name: str) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", [name]).fetchone() is not None


def _make_anew(connection: sqlite3.Connection, table: str, statement: str) -> None:
    """The procedure that SQLite names for changes beyond ALTER TABLE; row numbers and values stay."""
    before = _columns(connection, table)
    connection.execute(statement.replace(f"CREATE TABLE {table} ", f"CREATE TABLE {table}__new ", 1))
    columns = _columns(connection, f"{table}__new")
    values = [name if name in before else FILLED.get((table, name), "NULL") for name in columns]
    connection.execute(
        f"INSERT INTO {table}__new ({', '.join(columns)}) SELECT {', '.join(values)} FROM {table} AS old"
    )
    connection.execute(f"DROP TABLE {table}")
    connection.execute(f"ALTER TABLE {table}__new RENAME TO {table}")


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
