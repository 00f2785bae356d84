"""The derived part as a whole: forgotten, made by its definition, and known to be complete or not.

Whoever forgets it first keeps the automatic measurements that deriving again may not arrive at; the steps then derive
what is missing, and until they are done nothing is published and no night is run: half of a cohort looks like a cohort.
"""

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.clock import now, to_text
from node.store import schema

MEASUREMENT = (
    "series_instance_uid", "instances_sha256", "algorithm_name", "algorithm_version", "sop_instance_uid",
    "instance_number", "frame_number", "status", "reasons", "vbq_mean", "vbq_median", "vbq_sd", "levels_confidence",
    "rois", "beside",
)  # fmt: skip
"""Columns of ``record_measurement`` that are those of ``derived_measurement``."""


def is_current(connection: sqlite3.Connection) -> bool:
    """Whether the derived tables are those of this version, by their hash and in fact."""
    return _stored(connection) == schema.definition_sha256() and (
        schema.structure(connection, schema.DERIVED) == schema.expected_derived()
    )


def make_anew(connection: sqlite3.Connection) -> None:
    """Drop all derived tables and make them by the definition of this version, within the caller's transaction."""
    keep_measurements(connection)
    names = _tables(connection)
    for name in names:
        connection.execute(f"DROP TABLE {name}")
    for statement in schema.derived_statements():
        connection.execute(statement)
    _began(connection, complete=not names)


def forget(db: Database) -> None:
    """Empty all derived tables, within a unit of work of the caller; the snapshots are made whole afterwards."""
    db.execute("DELETE FROM state_published")
    keep_measurements(db.conn)
    for name in _tables(db.conn):
        db.execute(f"DELETE FROM {name}")
    _began(db.conn, complete=False)


def keep_measurements(connection: sqlite3.Connection, *, where: str = "1", values: tuple[str, ...] = ()) -> None:
    """Keep automatic measurements as records, within the caller's transaction; those that are kept already stay.

    Parameters
    ----------
    where, values
        Which of the automatic ones; all without it.
    """
    have = {name for _, name, *_ in connection.execute("PRAGMA table_info(derived_measurement)")}
    if not have.issuperset(("current", "reading_id")):  # before there were automatic ones
        return
    columns = ", ".join(name for name in MEASUREMENT if name in have)
    connection.execute(
        f"INSERT OR IGNORE INTO record_measurement ({columns}, kept_at) "
        f"SELECT {columns}, ? FROM derived_measurement WHERE reading_id IS NULL AND ({where})",
        [to_text(now()), *values],
    )


def again_since(db: Database) -> str | None:
    """Since when everything is being derived again; ``None`` when it is all there."""
    row = db.execute("SELECT began_at FROM state_derivation WHERE finished_at IS NULL").fetchone()
    return None if row is None else str(row[0])


def finish(db: Database) -> None:
    """Note, within a unit of work of the caller, that nothing is left to derive again."""
    db.execute("UPDATE state_derivation SET finished_at = ? WHERE finished_at IS NULL", [to_text(now())])


def _began(connection: sqlite3.Connection, *, complete: bool) -> None:
    moment = to_text(now())
    connection.execute("DELETE FROM state_failure")
    connection.execute(
        "INSERT OR REPLACE INTO state_derivation (only, definition_sha256, began_at, finished_at) VALUES (1, ?, ?, ?)",
        [schema.definition_sha256(), moment, moment if complete else None],
    )


def _stored(connection: sqlite3.Connection) -> str | None:
    row = connection.execute("SELECT definition_sha256 FROM state_derivation").fetchone()
    return None if row is None else str(row[0])


def _tables(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    return [name for (name,) in rows if name.startswith(schema.DERIVED)]
