"""The outgoing role: a thread for each peer that is asked and each that is sent to, so that none waits for another."""

import fcntl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic

from sqlite_utils import Database

from node.errors import StoreError
from node.settings import Settings
from node.store.archive import Archive
from node.store.database import open_database, writing

LOCK_NAME = "outgoing.lock"
POLL_S = 1.0
"""How often it is asked what is due, while nothing is."""
ASKING_SHARE = 0.05
"""The most of its time that a thread spends on asking the database: with very many studies it asks less often."""
WATCH_S = 1.0

Work = Callable[[Database], int]


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
        work = _work(settings, stop)
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


def _work(settings: Settings, stop: threading.Event) -> list[Work]:
    """What there is to do, by the settings; the DICOM libraries are loaded only where there is something."""
    peers = settings.dicom.peers
    asked = [name for name, peer in peers.items() if peer.query]
    destinations = [name for name, peer in peers.items() if peer.forward]
    db = open_database(settings.storage.folder)
    with writing(db):
        for (name,) in db.execute("SELECT DISTINCT peer FROM state_study_query").fetchall():
            if name not in asked:
                db.execute("DELETE FROM state_study_query WHERE peer = ?", [name])
    from node.outgoing.destinations import register

    register(db, destinations)
    db.close()
    archive = Archive(settings.storage.folder)
    commitments = partial(_answer_commitments, archive=archive, settings=settings, stop=stop)
    if not asked and not destinations:
        return [commitments]
    from node.outgoing.forward import send_due
    from node.pacs.questions import ask_due

    return [
        commitments,
        *(partial(ask_due, settings=settings, peer_name=name, stop=stop) for name in asked),
        *(partial(send_due, archive=archive, settings=settings, peer_name=name, stop=stop) for name in destinations),
    ]


def _answer_commitments(db: Database, archive: Archive, settings: Settings, stop: threading.Event) -> int:
    if not db.execute("SELECT EXISTS (SELECT 1 FROM fact_commitment_request)").fetchone()[0]:
        return 0
    from node.outgoing.commitments import answer_due

    return answer_due(db, archive, settings, stop)


def _repeat(folder: Path, work: Work, stop: threading.Event) -> None:
    db = open_database(folder)
    try:
        while not stop.is_set():
            began = monotonic()
            if not work(db):
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
