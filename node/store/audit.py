"""The audit: who did or saw what, when and from where. Each row seals the one before it."""

import json
from datetime import datetime
from hashlib import sha256

from sqlite_utils import Database

from node.clock import to_text
from node.store.database import insert, writing

START = "0" * 64
"""What the first row seals."""
SETTINGS = "settings"
"""Action of a start with other settings than before; the subject is their hash."""
COLUMNS = ("at", "name", "address", "action", "subject", "previous_sha256")


def note(db: Database, *, name: str, address: str, action: str, subject: str, at: datetime) -> None:
    """Write a row, in a unit of work of its own. A subject is a pseudonym or a public id, never a name."""
    with writing(db):
        last = db.execute("SELECT sha256 FROM record_audit ORDER BY audit_id DESC LIMIT 1").fetchone()
        row = {
            "at": to_text(at),
            "name": name,
            "address": address,
            "action": action,
            "subject": subject,
            "previous_sha256": last[0] if last else START,
        }
        insert(db, "record_audit", [{**row, "sha256": seal(row)}])


def note_settings(db: Database, digest: str, *, at: datetime) -> None:
    """Write a row when the node is started with other settings than before; the first ones are news, too."""
    last = db.execute("SELECT subject FROM record_audit WHERE action = ? ORDER BY audit_id DESC", [SETTINGS]).fetchone()
    if last is None or last[0] != digest:
        note(db, name="vbq-node", address="", action=SETTINGS, subject=digest, at=at)


def first_broken(db: Database) -> int | None:
    """The number of the first row that is not as it was written, or whose predecessor is gone; ``None``: all hold.

    That the last rows were cut off cannot be seen here; whoever keeps the newest seal elsewhere can.
    """
    expected = START
    for row in db.query("SELECT * FROM record_audit ORDER BY audit_id"):
        if row["previous_sha256"] != expected or row["sha256"] != seal(row):
            return int(row["audit_id"])
        expected = row["sha256"]
    return None


def newest_seal(db: Database) -> tuple[int, str]:
    """How many rows there are, and the seal of the last: kept elsewhere, it shows that the last rows were cut off."""
    last = db.execute("SELECT sha256 FROM record_audit ORDER BY audit_id DESC LIMIT 1").fetchone()
    (rows,) = db.execute("SELECT count(*) FROM record_audit").fetchone()
    return int(rows), str(last[0]) if last else START


def seal(row: dict[str, str]) -> str:
    """SHA-256 over the columns as a JSON array."""
    return sha256(json.dumps([row[name] for name in COLUMNS], ensure_ascii=False).encode()).hexdigest()
