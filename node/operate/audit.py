"""``vbq-node audit``: the rows as they were written, and whether any was altered or cut off.

Each row seals the one before it, so a change in the middle is found by the rows alone. That the last rows are gone is
found by what is kept elsewhere: each backup has the number of rows and the last seal of its day in its manifest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from node.errors import StoreError
from node.operate.generations import generation, names
from node.settings import Settings
from node.store.audit import first_broken


@dataclass(frozen=True, kw_only=True)
class Verified:
    """Whether the audit is as it was written."""

    rows: int
    anchors: int
    """Backups with whose seal it was compared."""
    faults: tuple[str, ...]


def verify(db: Database, folders: list[Path]) -> Verified:
    """Check every seal, and compare with the backups in the folders.

    Raises
    ------
    StoreError
        A folder holds no backups.
    """
    (rows,) = db.execute("SELECT count(*) FROM record_audit").fetchone()
    faults = []
    if (broken := first_broken(db)) is not None:
        faults.append(f"row {broken} is not as it was written, or the one before it is gone")
    anchors = list(_anchors(folders))
    for where, count, seal in anchors:
        if count and not db.execute("SELECT 1 FROM record_audit WHERE sha256 = ?", [seal]).fetchone():
            faults.append(f"the row with which the backup {where} ended (the {count}th) is gone or altered")
        elif count > rows:
            faults.append(f"the backup {where} had {count} rows")
    return Verified(rows=int(rows), anchors=len(anchors), faults=tuple(faults))


def folders_of(settings: Settings, given: list[Path] | None) -> list[Path]:
    """The folders of backups to compare with: those given, else that of the settings where it holds any."""
    if given:
        return given
    folder = settings.backup.folder
    return [folder] if folder is not None and names(folder) else []


def _anchors(folders: list[Path]) -> Iterator[tuple[str, int, str]]:
    for folder in folders:
        if not names(folder):
            raise StoreError(f"there is no backup in {folder}")
        for name in names(folder):
            one = generation(folder, name).manifest
            yield name, one.audit_rows, one.audit_sha256
