"""The parts of what the nightly role does, each behind its own barrier."""

from collections.abc import Callable, Mapping

import structlog
from sqlite_utils import Database

from node.errors import NightError
from node.store.failures import Unit, barrier, note_recovery

log = structlog.get_logger()


def do_all(db: Database, work: Mapping[str, Callable[[], object]]) -> None:
    """Do each part; what one raises stands in ``problems`` until it goes well again, and the others are done."""
    for name, do in work.items():
        with barrier(db, "nightly", Unit(name)):
            try:
                do()
            except NightError as error:
                # The ledger and the administrator know already.
                log.error("nightly check failed", error=str(error))
            note_recovery(db, "nightly", Unit(name))
