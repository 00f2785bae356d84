"""Messages read anew after a rule has changed, and everything that depends on them derived again."""

from collections.abc import Sequence

from sqlite_utils import Database

from node.errors import InputError
from node.settings import Settings
from node.steps.identity import forget_unused_numbers, resolve_merges
from node.steps.interpret import BATCH_FRAMES, read_anew
from node.steps.link import link_persons
from node.steps.lock import deriving
from node.steps.senders import judge_senders
from node.store.database import writing
from node.store.public_id import public_id_sql


def find_frame(db: Database, message_id: str) -> int:
    """The frame of a message, by its id in the view ``messages`` or the part before the dot.

    Raises
    ------
    InputError
        There is none, or more than one.
    """
    rows = db.execute(
        f"SELECT frame_id FROM fact_frame WHERE {public_id_sql('sha256')} = ?", [message_id.partition(".")[0]]
    ).fetchall()
    if len(rows) != 1:
        raise InputError(f"no message {message_id} is known; the view `messages` has their ids")
    return int(rows[0][0])


def replay(db: Database, settings: Settings, message_ids: Sequence[str]) -> int:
    """Interpret messages again, all without ids, and derive their patients again; returns how many frames.

    Frames that have not been interpreted yet are left to the steps. May be stopped at any instant: each batch is
    either read anew as a whole or as it was.

    Raises
    ------
    InputError
        A message is not known.
    """
    with deriving(settings.storage.folder, wait=True):
        if message_ids:
            frames = sorted({find_frame(db, one) for one in message_ids})
        else:
            frames = [frame for (frame,) in db.execute("SELECT DISTINCT frame_id FROM derived_message ORDER BY 1")]
        for start in range(0, len(frames), BATCH_FRAMES):
            with writing(db):
                for frame_id in frames[start : start + BATCH_FRAMES]:
                    read_anew(db, settings, frame_id)
                forget_unused_numbers(db)
                resolve_merges(db)
        while link_persons(db, settings) + judge_senders(db):
            pass
    return len(frames)
