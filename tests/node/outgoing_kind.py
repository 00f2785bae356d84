"""A stand-in for a kind of outgoing thing: HL7 frames, sent to a file. Also run as a process of its own, to be killed.

::

    python -m tests.node.outgoing_kind FOLDER KEY_TO_DIE_AT

sends all that is due from the data folder, and kills itself while it sends that key (after it is out).
"""

import os
import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path

from node.outgoing.delivery import send_due
from node.outgoing.kind import DONE, Batch, Item, Kind, Limits, Outcome, Pauses, each
from node.settings import Settings
from node.store.database import open_database


def sent_file(settings: Settings) -> Path:
    """Where the keys go, one a line."""
    return settings.storage.folder / "sent"


def write(batch: Batch, item: Item) -> Outcome:
    """Send one item."""
    with sent_file(batch.settings).open("a") as file:
        file.write(item.key + "\n")
    return DONE


def write_and_die(batch: Batch, item: Item) -> Outcome:
    """Send one item, or be killed before anybody knows that it is sent."""
    outcome = write(batch, item)
    if item.key == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
    return outcome


FRAMES = Kind(
    name="stand-in",
    receivers=lambda settings: ("record",),
    enrol="SELECT sha256 FROM fact_frame WHERE frame_id > :after AND frame_id <= :up_to ORDER BY frame_id",
    position="SELECT max(frame_id) FROM fact_frame",
    opened=each(write),
    pauses=Pauses(first=timedelta(minutes=1), longest=timedelta(hours=1)),
    rest=Pauses(first=timedelta(seconds=5), longest=timedelta(minutes=5)),
    limits=Limits(attempts=3),
    batch=4,
    settle_every=2,
)


if __name__ == "__main__":
    from dataclasses import replace

    mortal = replace(FRAMES, opened=each(write_and_die))
    settings = Settings.model_validate({"storage": {"folder": sys.argv[1]}})
    db = open_database(settings.storage.folder)
    while send_due(mortal, db, settings, "record", threading.Event()).attempted:
        pass
