"""``vbq-node rebuild``: derive everything again from the facts, and arrive at the same answer."""

from collections.abc import Callable

from sqlite_utils import Database

from node.clock import now
from node.errors import StoreError
from node.settings import Settings
from node.steps.lock import deriving
from node.steps.pending import pending
from node.steps.worker import run_pending
from node.store.archive import Archive
from node.store.database import writing
from node.store.derivation import finish, forget
from node.store.failures import failing_steps


def rebuild(
    db: Database, archive: Archive, settings: Settings, *, progress: Callable[[dict[str, int]], None] | None = None
) -> None:
    """Forget everything derived and derive it again; facts and records are not touched.

    Automatic measurements that are not arrived at again (of another version of the algorithm, or of a series as it once
    stood) are kept as records, and shown as before.

    Where the node is running, this waits until its steps are between two rounds, and they wait until this is done:
    a step that had read what is then forgotten would store it and take the rest for done. The snapshot for people who
    query stays as it was meanwhile. When this is killed, the steps do the rest.

    Studies that are still within their quiet period stay pending, as they were.

    Parameters
    ----------
    progress
        Called after each round with how many units of work are left, by kind.

    Raises
    ------
    StoreError
        A step failed as a whole; the steps role tries it on.
    """
    with deriving(settings.storage.folder, wait=True):
        with writing(db):
            forget(db)
        while run_pending(db, archive, settings, at=now()):
            if progress:
                progress(pending(db))
        if failing := failing_steps(db):
            raise StoreError(f"not everything could be derived ({', '.join(failing)}); `vbq-node problems` says why")
        with writing(db):
            finish(db)
