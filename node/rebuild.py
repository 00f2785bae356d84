"""``vbq-node rebuild``: derive everything again from the facts, and arrive at the same answer."""

from collections.abc import Callable, Iterator
from time import sleep

from sqlite_utils import Database

from node.archive import Archive
from node.clock import now
from node.settings import Settings
from node.status import pending
from node.steps.worker import POLL_S, deriving, run_pending
from node.store.database import writing


def rebuild(db: Database, archive: Archive, settings: Settings, *, progress: Callable[[int], None]) -> None:
    """Forget everything derived and derive it again; facts and records are not touched.

    Where the node is running, its own steps role does the deriving and this waits for it; else it is done here.
    Studies that are still within their quiet period stay pending, as they were.

    Parameters
    ----------
    progress
        Told how many units of work are left, now and then.
    """
    with writing(db):
        for table in _derived_tables(db):
            db.execute(f"DELETE FROM {table}")
    for left in _work_off(db, archive, settings):
        progress(left)


def _derived_tables(db: Database) -> list[str]:
    return [name for name in db.table_names() if name.startswith("derived_")]


def _work_off(db: Database, archive: Archive, settings: Settings) -> Iterator[int]:
    while True:
        with deriving(settings.storage.folder) as mine:
            done = run_pending(db, archive, settings, at=now()) if mine else 0
        left = pending(db)
        yield sum(left.values())
        if mine and not done:
            return
        if not mine:
            if not sum(number for name, number in left.items() if name != "studies arriving"):
                return
            sleep(POLL_S)
