"""The outgoing role: a thread for each kind and receiver, so that none waits for another."""

import fcntl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic

from sqlite_utils import Database

from node.errors import StoreError
from node.memory import Freed
from node.outgoing.delivery import Tally, send_due
from node.outgoing.kinds import KINDS
from node.outgoing.queue import register, release_all
from node.settings import Settings
from node.store.database import open_database

LOCK_NAME = "outgoing.lock"
POLL_S = 1.0
"""How often it is asked what is due, while nothing is."""
ASKING_SHARE = 0.05
"""The most of its time that a thread spends on asking the database: with very many studies it asks less often."""
WATCH_S = 1.0

Work = Callable[[Database], Tally]


def run_outgoing(settings: Settings, stop: threading.Event, *, ready: Callable[[], None] | None = None) -> None:
    """Ask and send on until told to stop.

    Raises
    ------
    StoreError
        The database cannot be used, or another process does this work.
    """
    folder = settings.storage.folder
    open_database(folder, create=True).close()
    with _alone(folder):
        with closing(open_database(folder)) as db:
            work = _work(db, settings, stop)
        if ready:
            ready()
        with ThreadPoolExecutor(max_workers=max(1, len(work)), thread_name_prefix="outgoing") as pool:
            running = [pool.submit(_repeat, folder, one, stop) for one in work]
            try:
                _watch(running, stop)
            finally:
                # One that has failed ends them all, and with them this process: it is started again.
                stop.set()
        for one in running:
            one.result()


def _work(db: Database, settings: Settings, stop: threading.Event) -> list[Work]:
    """What there is to do, by the settings."""
    mine = [kind for kind in KINDS if kind.role == "outgoing"]
    # This process is alone: whoever had claimed something is dead.
    release_all(db, mine)
    for kind in mine:
        register(db, kind, settings)
    return [
        partial(
            send_due, replace(kind, prepare=kind.prepare_apart or kind.prepare), settings=settings, peer=peer, stop=stop
        )
        for kind in mine
        for peer in kind.receivers(settings)
    ]


def _repeat(folder: Path, work: Work, stop: threading.Event) -> None:
    db = open_database(folder)
    freed = Freed()
    try:
        while not stop.is_set():
            began = monotonic()
            attempted = work(db).attempted
            freed.after(work=bool(attempted))
            if not attempted:
                stop.wait(max(POLL_S, (monotonic() - began) / ASKING_SHARE))
    finally:
        db.close()


def _watch(running: list[Future[None]], stop: threading.Event) -> None:
    while not stop.is_set():
        if running:
            done, _ = wait(running, timeout=WATCH_S, return_when=FIRST_EXCEPTION)
            if any(one.exception() for one in done):
                return
        else:
            stop.wait(WATCH_S)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / LOCK_NAME).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"another process asks and sends for the node in {folder}; end it") from error
        yield
