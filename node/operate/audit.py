"""``vbq-node audit``: the rows as they were written, and whether any was altered or cut off.

Each row seals the one before it, so a change in the middle is found by the rows alone. That the last rows are gone is
found by what is kept elsewhere: each backup has the number of rows and the last seal of its day in its manifest, and
each nightly mail has them in its last line.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from node.errors import InputError, StoreError
from node.operate.generations import generation, names
from node.settings import Settings
from node.store.audit import START, first_broken


@dataclass(frozen=True, kw_only=True)
class Verified:
    """Whether the audit is as it was written."""

    rows: int
    anchors: int
    """Backups with whose seal it was compared."""
    faults: tuple[str, ...]


def verify(db: Database, folders: list[Path], *, seals: Sequence[str] = ()) -> Verified:
    """Check every seal, and compare with the backups in the folders, and with seals as the nightly mails have them.

    Raises
    ------
    StoreError
        A folder holds no backups.
    InputError
        A seal is none.
    """
    (rows,) = db.execute("SELECT count(*) FROM record_audit").fetchone()
    faults = []
    if (broken := first_broken(db)) is not None:
        faults.append(f"row {broken} is not as it was written, or the one before it is gone")
    for seal in seals:
        number, _, sha256 = seal.partition(":")
        if not (number.isdecimal() and int(number) and len(sha256) == len(START)):
            raise InputError(f"{seal!r} is no seal; the last line of a nightly mail has one (ROWS:SHA-256)")
        nth = db.execute("SELECT sha256 FROM record_audit ORDER BY audit_id LIMIT 1 OFFSET ?", [int(number) - 1])
        if nth.fetchone() != (sha256,):
            faults.append(f"row {number} is not that of the seal: it is gone or altered")
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
