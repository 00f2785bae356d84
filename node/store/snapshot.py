"""The snapshots for people who query: every promised view as a table of the same name, with keys (``snapshot.sql``).

A reader without write permission cannot open a WAL database when no writer is connected, and must not be able to hold a
writer up. So the node publishes copies, without raw messages and without the key of the study ids: ``node.db`` with the
hospital's numbers, ``research.db`` without any. They are renewed in place, each in one transaction, so that a program
that stays up reads the newest; what it costs follows what has changed (:mod:`node.store.changes`), not all that ever
came.
"""

import hmac
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import structlog
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.errors import StoreError
from node.settings import Storage
from node.store import changes, schema
from node.store.database import writing
from node.store.derivation import again_since
from node.store.private import DATABASE_MODE, make_folder, share
from node.store.pseudonym import pseudonym_key
from node.store.public_id import public_id_sql

SNAPSHOT_FOLDER = "snapshots"
SNAPSHOT_NAME = "node.db"
RESEARCH_NAME = "research.db"
SCHEMA = 1
"""Version of the tables in ``snapshot.sql``; the snapshots have it as ``user_version``."""
MOST_CHANGES = 50_000
"""Notes beyond which everything is copied again."""
KEY_BITS = 31
"""The mark by which the snapshots and the database know that they belong together is an ``application_id``."""
BOOKKEEPING_WAIT_MS = 2_000
"""How long a writer is waited for to write down how far the snapshots are."""
PRIMARY = 0xFF
"""Of an extended result code of SQLite."""
NOT_AS_MADE = (
    sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY,
)  # fmt: skip
"""Errors of a snapshot that cannot be renewed in place."""
WAIT_MS = 10_000
"""How long a program that is reading a snapshot is waited for."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Table:
    """How the table of a view is renewed.

    Attributes
    ----------
    kind
        The kind of :mod:`node.store.changes` by which its rows are found; ``None``: all of it is copied each time.
    column
        The column of the table that has the key.
    tables
        Tables of the view, and their columns, that are cut down to the changed keys while it is asked.
    """

    kind: str | None = None
    column: str = ""
    tables: Mapping[str, str] = field(default_factory=dict)


UID = "series_instance_uid"
TABLES = {
    "messages": Table(kind=changes.MESSAGE, tables={"fact_frame": "frame_id"}),
    "series": Table(
        kind=changes.SERIES,
        column=UID,
        tables={"derived_series": UID, "derived_instance": UID, "derived_unsent_series": UID},
    ),
    "measurements": Table(kind=changes.SERIES, column=UID, tables={"derived_series": UID}),
    "readings": Table(kind=changes.SERIES, column=UID, tables={"fact_reading": UID}),
    "blood_counts": Table(kind=changes.PERSON, column="patient", tables={"derived_blood_count": "person"}),
    "operations": Table(kind=changes.PERSON, column="patient", tables={"derived_operation": "person"}),
    "links": Table(kind=changes.EPISODE, column="id", tables={"derived_link": "episode"}),
    "cohort": Table(
        kind=changes.EPISODE,
        column="id",
        tables={"derived_link": "episode", "derived_import_row": "id", "record_flag": "episode"},
    ),
    "flags": Table(kind=changes.EPISODE, column="id", tables={"record_flag": "episode"}),
    "reports": Table(kind=changes.REPORT, column="report_id", tables={"record_report": "report_id"}),
    "fits": Table(kind=changes.NIGHT),
    "fit_terms": Table(kind=changes.NIGHT),
    "thresholds": Table(kind=changes.NIGHT),
}
"""Views that are not here are copied whole: they are small, or every part of them may change with anything."""

CODED = frozenset({UID, "study_instance_uid", "sop_instance_uid", "specimen", "booking", "measurement_id", "reader"})
"""Columns that research.db has under codes of its own: equal where they were equal, and without a way back."""
LEFT_OUT = frozenset({
    "patient_authority", "patient_id", "accession_number", "surgeon_number", "surgeon", "service", "procedure",
    "reasons", "notes", "cause", "exclusion_reasons", "completeness_reasons", "taken_back", "decided_by",
    "decided_why", "withdrawn_by", "withdrawn_why", "picture", "description",
})  # fmt: skip
"""Columns that research.db has not: numbers and names of the hospital, and words that may quote them; codes stay."""
NOT_FOR_RESEARCH = frozenset({"messages", "problems", "reports", "results", "pool_exports", "audit"})
SOURCES = ("source", "previous_source")
"""Columns that name a reader behind ``reading:``."""


def snapshot_path(folder: Path) -> Path:
    """Where the snapshot of a data folder is published."""
    return folder / SNAPSHOT_FOLDER / SNAPSHOT_NAME


def research_path(folder: Path) -> Path:
    """Where the one without numbers of the hospital is."""
    return folder / SNAPSHOT_FOLDER / RESEARCH_NAME


def share_research(storage: Storage) -> str | None:
    """Let the group of the settings read ``research.db``; why it could not be done."""
    path = research_path(storage.folder)
    if not storage.research_group or not path.exists():
        return None
    return share(path, within=storage.folder, group=storage.research_group)


def publish(db: Database, folder: Path) -> Path:
    """Renew both snapshots as of one moment; made anew where they are not those that this database renewed last.

    Call it with the lock of those who derive (:func:`node.steps.lock.deriving`), so that nobody is shown what is only
    half derived again.

    Raises
    ------
    StoreError
        A program holds on to a snapshot.
    """
    make_folder(snapshot_path(folder).parent)
    key = pseudonym_key(db)
    db.conn.create_function("coded", 1, lambda text: _coded(key, text), deterministic=True)
    row = db.execute("SELECT seq, mark FROM state_published").fetchone()
    if row is None:
        # From here on changes are noted, before it is looked at what there is.
        _kept(db, ["INSERT INTO state_published SELECT 1, coalesce(max(seq), 0), 0 FROM state_changed"])
    paths = {"snapshot": snapshot_path(folder), "research": research_path(folder)}
    usable = all(_stamp(path)[0] == SCHEMA for path in paths.values())
    known = usable and row is not None and all(_stamp(path)[1] == row[1] for path in paths.values())
    mark = secrets.randbelow(2**KEY_BITS - 1) + 1
    last = _renewed(db, paths, mark, since=row[0] if row is not None and known else None) if usable else None
    if last is None:
        fresh = {name: path.with_name(f".{path.name}.new") for name, path in paths.items()}
        for path in fresh.values():
            path.unlink(missing_ok=True)
        with _attached(db, fresh, new=True), _in_one(db, mark):
            last = _last(db)
            _make(db)
            _copy(db)
        for name, path in fresh.items():
            _put_in_place(path, paths[name])
    _kept(
        db,
        [f"UPDATE state_published SET seq = {last}, mark = {mark}", f"DELETE FROM state_changed WHERE seq <= {last}"],
    )
    return paths["snapshot"]


def _renewed(db: Database, paths: Mapping[str, Path], mark: int, *, since: int | None) -> int | None:
    """Renew both in place, by what has changed since then or as a whole; returns the last change that is in them.

    ``None`` where one of them is not what it was any more: damaged, or changed by somebody else.
    """
    try:
        with _attached(db, paths), _in_one(db, mark):
            last = _last(db)
            if since is not None and last - since <= MOST_CHANGES:
                _renew(db, since=since, last=last)
            else:
                _copy(db)
            return last
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & PRIMARY not in NOT_AS_MADE:
            raise
        log.warning("a snapshot is not what it was, both are made anew", error=error.sqlite_errorname)
        return None


def publish_unless_deriving(db: Database, folder: Path) -> Path:
    """:func:`publish`, except after an upgrade or a rebuild that is not finished.

    Raises
    ------
    StoreError
        Everything is still being derived again; the snapshots stay as they were. Or as :func:`publish`.
    """
    since = again_since(db)
    if since is not None:
        raise StoreError(
            f"everything is being derived again since {since}; `vbq-node status` shows what is left, and the steps (or "
            "`vbq-node rebuild`) do it; the snapshot stays as it was"
        )
    return publish(db, folder)


def _kept(db: Database, statements: Sequence[str]) -> None:
    """Write down how far the snapshots are; where another writer stays, nothing: then they are made whole next time."""
    (before,) = db.conn.execute("PRAGMA busy_timeout").fetchone()
    db.conn.execute(f"PRAGMA busy_timeout = {BOOKKEEPING_WAIT_MS}")
    try:
        with writing(db):
            for statement in statements:
                db.execute(statement)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
    finally:
        db.conn.execute(f"PRAGMA busy_timeout = {before}")


# ---- files -----------------------------------------------------------------------------------------------------------
def _stamp(path: Path) -> tuple[int, int]:
    """Schema version and mark of a snapshot; (0, 0) where there is none that can be read.

    What was done of a renewal that was killed is undone by that: who only reads it may not do so.
    """
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
    except sqlite3.Error:
        return 0, 0
    try:
        return tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id"))
    except sqlite3.Error:
        return 0, 0
    finally:
        connection.close()


@contextmanager
def _attached(db: Database, paths: Mapping[str, Path], *, new: bool = False) -> Iterator[None]:
    (before,) = db.conn.execute("PRAGMA busy_timeout").fetchone()
    db.conn.execute(f"PRAGMA busy_timeout = {WAIT_MS}")
    # Rows come table by table; that what they refer to is there is a matter of the views.
    db.conn.execute("PRAGMA foreign_keys = OFF")
    try:
        for name, path in paths.items():
            db.conn.execute(f"ATTACH DATABASE ? AS {name}", [str(path)])
            db.conn.execute(f"PRAGMA {name}.journal_mode = {'OFF' if new else 'DELETE'}")
            db.conn.execute(f"PRAGMA {name}.synchronous = {'OFF' if new else 'NORMAL'}")
            # What is erased is not to be found in freed pages.
            db.conn.execute(f"PRAGMA {name}.secure_delete = ON")
        yield
    finally:
        for _, name, _ in db.conn.execute("PRAGMA database_list").fetchall():
            if name in paths:
                db.conn.execute(f"DETACH DATABASE {name}")
        db.conn.execute("PRAGMA foreign_keys = ON")
        db.conn.execute(f"PRAGMA busy_timeout = {before}")


@contextmanager
def _in_one(db: Database, mark: int) -> Iterator[None]:
    """One deferred transaction: main is only read, as of one moment, and no other writer waits for it."""
    db.conn.execute("BEGIN")
    try:
        yield
        for name in ("snapshot", "research"):
            db.conn.execute(f"PRAGMA {name}.application_id = {mark}")
        db.conn.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise StoreError(
                f"a program has been reading snapshots/{SNAPSHOT_NAME} or {RESEARCH_NAME} for more than "
                f"{WAIT_MS / 1000:g} s without a pause; they are renewed when it ends"
            ) from error
        raise
    finally:
        if db.conn.in_transaction:
            db.conn.execute("ROLLBACK")


def _put_in_place(path: Path, final: Path) -> None:
    path.chmod(DATABASE_MODE)
    if final.exists() and final.stat().st_gid != path.stat().st_gid:
        # Of the group that it is shared with.
        os.chown(path, -1, final.stat().st_gid)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    journal = final.with_name(f"{final.name}-journal")
    if journal.exists():
        # Of what lies there, and a kill; by SQLite it would be played back into what comes in its place.
        final.unlink(missing_ok=True)
        journal.unlink()
    path.replace(final)


# ---- contents --------------------------------------------------------------------------------------------------------
@cache
def definitions() -> dict[str, tuple[str, ...]]:
    """Columns and constraints of each table, as ``snapshot.sql`` has them."""
    found = {}
    for statement in schema.statements((schema.FOLDER / "snapshot.sql").read_text(encoding="utf-8")):
        text = re.sub(r"--[^\n]*", "", statement)
        if made := re.search(r"CREATE TABLE (\w+) \((.*)\)", text, re.S):
            parts = re.split(r",(?![^(]*\))", made[2])
            found[made[1]] = tuple(" ".join(part.split()) for part in parts)
    return found


@cache
def _indexes() -> tuple[tuple[str, str, str], ...]:
    """Name, table and columns."""
    text = (schema.FOLDER / "snapshot.sql").read_text(encoding="utf-8")
    return tuple(re.findall(r"CREATE INDEX (\w+) ON (\w+) \((.*?)\);", text))


def columns_of(table: str) -> tuple[str, ...]:
    """Names of the columns of a table, in order."""
    return tuple(part.split()[0] for part in definitions()[table] if not part.startswith(("FOREIGN", "PRIMARY")))


def research_columns(table: str) -> tuple[str, ...]:
    """Those that research.db has."""
    return tuple(name for name in columns_of(table) if name not in LEFT_OUT)


def research_tables() -> tuple[str, ...]:
    """The tables of research.db."""
    return tuple(name for name in definitions() if name not in NOT_FOR_RESEARCH)


def _make(db: Database) -> None:
    for name, parts in definitions().items():
        db.conn.execute(f"CREATE TABLE snapshot.{name} ({', '.join(parts)})")
    for name in research_tables():
        kept = [part for part in definitions()[name] if not _refers(part) & LEFT_OUT]
        db.conn.execute(f"CREATE TABLE research.{name} ({', '.join(kept)})")
    for name, table, columns in _indexes():
        db.conn.execute(f"CREATE INDEX snapshot.{name} ON {table} ({columns})")
        if table in research_tables() and not set(columns.split(", ")) & LEFT_OUT:
            db.conn.execute(f"CREATE INDEX research.{name} ON {table} ({columns})")
    for name in ("snapshot", "research"):
        db.conn.execute(f"PRAGMA {name}.user_version = {SCHEMA}")


def _refers(part: str) -> set[str]:
    """The columns of its table that a part of a definition is about."""
    named = re.match(r"(?:FOREIGN|PRIMARY) KEY \((.*?)\)", part)
    return set(named[1].split(", ")) if named else {part.split(maxsplit=1)[0]}


def _copy(db: Database) -> None:
    """Everything."""
    for name in definitions():
        _fill(db, name, f"SELECT {', '.join(columns_of(name))} FROM main.{name}")
        if name in research_tables():
            _fill_research(db, name)


def _fill(db: Database, name: str, select: str) -> None:
    db.conn.execute(f"DELETE FROM snapshot.{name}")
    db.conn.execute(f"INSERT INTO snapshot.{name} ({', '.join(columns_of(name))}) {select}")


def _fill_research(db: Database, name: str) -> None:
    db.conn.execute(f"DELETE FROM research.{name}")
    db.conn.execute(f"INSERT INTO research.{name} {_for_research(name)}")


def _for_research(name: str) -> str:
    return f"SELECT {', '.join(_code(name, column) for column in research_columns(name))} FROM snapshot.{name} AS t"


def _code(table: str, column: str) -> str:
    """What research.db has in place of a column."""
    if column in CODED:
        return f"coded(t.{column})"
    if column in SOURCES:
        return f"iif(t.{column} LIKE 'reading:%', 'reading:' || coded(substr(t.{column}, 9)), t.{column})"
    if (table, column) == ("cohort", "id"):
        # Of an imported row the id is that of the file, which may be a number of the hospital.
        return "iif(EXISTS (SELECT 1 FROM main.derived_link AS l WHERE l.episode = t.id), t.id, coded(t.id))"
    return f"t.{column}"


def _coded(key: bytes, text: str | None) -> str | None:
    return None if text is None else "X" + hmac.new(key, f"research {text}".encode(), "sha256").hexdigest()[:16]


# ---- what has changed ------------------------------------------------------------------------------------------------
def _last(db: Database) -> int:
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM state_changed").fetchone()[0])


def _renew(db: Database, *, since: int, last: int) -> None:
    """What the notes in (since, last] concern, and the tables that are copied whole."""
    kinds = _keys(db, since=since, last=last)
    for name in definitions():
        table = TABLES.get(name, Table())
        if table.kind is None or (not table.column and table.kind in kinds and name != "messages"):
            _fill(db, name, f"SELECT {', '.join(columns_of(name))} FROM main.{name}")
            if name in research_tables():
                _fill_research(db, name)
        elif table.kind in kinds:
            _replace(db, name, table)
    for kind in KEYS:
        db.conn.execute(f"DROP TABLE temp.changed_{kind}")


KEYS = (
    changes.MESSAGE, changes.PREFIX, changes.SERIES, changes.PERSON, changes.PATIENT, changes.EPISODE, changes.REPORT,
    changes.NIGHT,
)  # fmt: skip


def _keys(db: Database, *, since: int, last: int) -> set[str]:
    """Put the changed keys of each kind into a table of its own; the kinds that have any."""
    for kind in KEYS:
        affinity = "INTEGER" if kind == changes.MESSAGE else "TEXT"
        db.conn.execute(f"CREATE TEMP TABLE changed_{kind} (key {affinity} PRIMARY KEY)")
        db.conn.execute(
            f"INSERT OR IGNORE INTO temp.changed_{kind} SELECT key FROM main.state_changed "
            "WHERE kind = ? AND seq > ? AND seq <= ?",
            [kind, since, last],
        )
    db.conn.execute(
        "INSERT OR IGNORE INTO temp.changed_patient SELECT p.pseudonym FROM temp.changed_person AS c "
        "JOIN main.derived_person AS p ON p.person = c.key"
    )
    # Frames that share the digits of a public id go with each other.
    db.conn.execute(
        f"INSERT OR IGNORE INTO temp.changed_prefix SELECT {public_id_sql('f.sha256')} FROM temp.changed_frame AS c "
        "JOIN main.fact_frame AS f ON f.frame_id = c.key"
    )
    db.conn.execute(
        "INSERT OR IGNORE INTO temp.changed_frame SELECT f.frame_id FROM temp.changed_prefix AS c "
        "JOIN main.fact_frame AS f ON f.sha256 >= c.key AND f.sha256 < c.key || 'g'"
    )
    found = {kind for kind in KEYS if db.execute(f"SELECT 1 FROM temp.changed_{kind} LIMIT 1").fetchone()}
    if changes.PATIENT in found:
        found.add(changes.PERSON)
    if changes.PREFIX in found:
        found.add(changes.MESSAGE)
    return found


def _replace(db: Database, name: str, table: Table) -> None:
    """Take the rows of the changed keys out, and put in those that there are now."""
    if name == "messages":
        db.conn.execute(
            "DELETE FROM snapshot.messages WHERE rowid IN (SELECT m.rowid FROM temp.changed_prefix AS c "
            "JOIN snapshot.messages AS m ON m.id >= c.key AND m.id < c.key || '/')"
        )
    else:
        keys = changes.PATIENT if table.kind == changes.PERSON else table.kind
        db.conn.execute(f"DELETE FROM snapshot.{name} WHERE {table.column} IN (SELECT key FROM temp.changed_{keys})")
    db.conn.execute(f"INSERT INTO snapshot.{name} ({', '.join(_view_columns(db, name))}) {_narrowed(db, name, table)}")
    if name not in research_tables():
        return
    codes = f"SELECT key FROM temp.changed_{keys} UNION ALL SELECT coded(key) FROM temp.changed_{keys}"
    db.conn.execute(f"DELETE FROM research.{name} WHERE {table.column} IN ({codes})")
    db.conn.execute(
        f"INSERT INTO research.{name} {_for_research(name)} "
        f"WHERE t.{table.column} IN (SELECT key FROM temp.changed_{keys})"
    )


def _view_columns(db: Database, name: str) -> list[str]:
    return [str(column) for _, column, *_ in db.conn.execute(f"PRAGMA main.table_info({name})")]


def _narrowed(db: Database, name: str, table: Table) -> str:
    """The query of a view, in which its tables are cut down to what has changed."""
    (sql,) = db.execute("SELECT sql FROM main.sqlite_schema WHERE type = 'view' AND name = ?", [name]).fetchone()
    body = sql.split(" AS", 1)[1].strip()
    cut = ", ".join(
        f"{one} AS NOT MATERIALIZED (SELECT * FROM main.{one} "
        f"WHERE {column} IN (SELECT key FROM temp.changed_{table.kind}))"
        for one, column in table.tables.items()
    )
    return f"WITH {cut}, {body[5:]}" if body.startswith("WITH ") else f"WITH {cut} {body}"
