"""One stored message as a person who looks after an interface wants to see it."""

from sqlite_utils import Database

from node.errors import MessageError
from node.hl7.messages import decode
from node.hl7.report import interpretation_json
from node.settings import Settings
from node.steps.replay import find_frame
from node.store.public_id import public_id, public_id_sql

PROBLEMS = f"""
SELECT code, detail FROM problems
WHERE source IN (SELECT 'message ' || id FROM messages WHERE {public_id_sql("id")} = ?) ORDER BY code, detail
"""


def show_message(db: Database, settings: Settings, message_id: str) -> dict[str, object]:
    """Receipts, messages, problems, what is read from it today, and the text of the frame a message came in.

    Of a message whose text was removed stays what had been read of it; ``removed_at`` says when that was.

    Raises
    ------
    InputError
        The message is not known.
    """
    frame_id = find_frame(db, message_id)
    sha256, raw = db.execute("SELECT sha256, raw FROM fact_frame WHERE frame_id = ?", [frame_id]).fetchone()
    short = public_id(sha256)
    (removed_at,) = db.execute(
        "SELECT max(removed_at) FROM fact_removal WHERE kind = 'message' AND key = ?", [sha256]
    ).fetchone()
    receipts = "SELECT received_at, peer_address, ack FROM fact_frame_receipt WHERE frame_id = ? ORDER BY receipt_id"
    return {
        "sha256": sha256,
        "receipts": list(db.query(receipts, [frame_id])),
        "messages": list(db.query(f"SELECT * FROM messages WHERE {public_id_sql('id')} = ? ORDER BY id", [short])),
        "problems": list(db.query(PROBLEMS, [short])),
        "removed_at": removed_at,
        "read_today": None if removed_at else interpretation_json(raw, settings),
        "text": _text(raw, settings).splitlines(),
    }


def _text(raw: bytes, settings: Settings) -> str:
    try:
        return decode(raw, settings.hl7.default_charset, settings.hl7.charsets)
    except MessageError:
        return raw.decode("latin-1")
