"""``vbq-node rebuild``: derive everything again from the facts, and arrive at the same answer."""

from sqlite_utils import Database

from node.clock import now
from node.settings import Settings
from node.steps.lock import deriving
from node.steps.worker import run_pending
from node.store.archive import Archive
from node.store.database import writing


def rebuild(db: Database, archive: Archive, settings: Settings) -> None:
    """Forget everything derived and derive it again; facts and records are not touched.

    Where the node is running, this waits until its steps are between two rounds, and they wait until this is done:
    a step that had read what is then forgotten would store it and take the rest for done. The snapshot for people who
    query stays as it was meanwhile. When this is killed, the steps do the rest.

    Studies that are still within their quiet period stay pending, as they were.
    """
    with deriving(settings.storage.folder, wait=True):
        with writing(db):
            for table in _derived_tables(db):
                db.execute(f"DELETE FROM {table}")
        while run_pending(db, archive, settings, at=now()):
            pass


def _derived_tables(db: Database) -> list[str]:
    return [name for name in db.table_names() if name.startswith("derived_")]
