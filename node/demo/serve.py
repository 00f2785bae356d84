"""``vbq-node demo --serve``: the hospital of a demo, left up with its pages open to whoever looks around."""

import secrets
import signal
import threading
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from rich.console import Console

from node.clock import now
from node.demo.pacs import DemoPacs
from node.demo.play import PACS_FOLDER, RECORD_FOLDER
from node.demo.senders import Record
from node.demo.stage import NodeProcess
from node.ending import ASKED_TO_END, set_when_asked_to_end
from node.people.readings import withdraw
from node.people.users import ROLES, add_user
from node.store.database import open_database

DOUBTFUL = """
SELECT r.reading_id, r.reader FROM fact_reading AS r JOIN derived_measurement AS m USING (series_instance_uid)
WHERE m.reading_id IS NULL AND m.current = 1 AND m.status <> 'measured'
  AND r.reading_id NOT IN (SELECT reading_id FROM fact_reading_withdrawal)
"""


def serve(config: Path, console: Console) -> None:
    """Run the node of a demo again, with an account of each role, until Ctrl-C or until it is told to end.

    Readings of series that the node by itself doubts are taken back, so that there is something to read.
    """
    node = NodeProcess(config)
    settings = node.settings
    with closing(open_database(settings.storage.folder)) as db:
        passwords: dict[str, str] = {role: secrets.token_urlsafe(9) for role in ROLES}
        for role, password in passwords.items():
            # The surgeon and the engineer of a small hospital look at readings, too.
            add_user(db, role, roles={role, "reader"}, password=password, now=now())
        for reading_id, reader in db.execute(DOUBTFUL).fetchall():
            withdraw(db, reading_id=reading_id, reader=reader, why="left for who looks around", now=now())
    stop = threading.Event()
    with ExitStack() as stack:
        stack.enter_context(set_when_asked_to_end(stop, {*ASKED_TO_END, signal.SIGHUP}))
        for receiver in settings.hl7.receivers.values():
            stack.enter_context(Record(config.parent / RECORD_FOLDER, port=receiver.port))
        pacs = stack.enter_context(DemoPacs(config.parent / PACS_FOLDER))
        stack.enter_context(node)
        _say(console, f"http://{settings.web.host}:{settings.web.port}/", passwords)
        if pacs.address is not None:
            console.print(f"The PACS shows the node's results at {pacs.address}", highlight=False, soft_wrap=True)
        stop.wait()
        console.print("the node stops", highlight=False)


def _say(console: Console, address: str, passwords: Mapping[str, str]) -> None:
    console.print(f"\nThe pages are at {address} until Ctrl-C. Names and passwords:", highlight=False)
    for name, password in passwords.items():
        console.print(f"  {name:10} {password}", markup=False, highlight=False)
