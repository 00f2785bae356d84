"""Problems found while deriving: which unit of work, in which step, and the reasons.

A unit is a kind and a key (`study` and its UID; `object` or `message` and the SHA-256 of its bytes; `import` and its
number; `patient` and the pseudonym; `decision` and its number), and a part of it where it has parts: the position of a
message in its frame, the line of an imported file. How it is shown (`source`) is made in the view `problems` alone.
"""

from collections.abc import Sequence

from sqlite_utils import Database

from analytics.reasons import Reason
from node.store.reasons import stored

WHOLE = 0
"""The part that stands for the unit as a whole."""


def note_problem(
    db: Database, step: str, kind: str, key: str, code: str, reasons: Sequence[Reason], *, part: int = WHOLE
) -> None:
    """Note a problem of a unit, inside a unit of work; one that is noted already stays as it is."""
    db.execute(
        "INSERT OR IGNORE INTO derived_problem (step, unit_kind, unit_key, unit_part, code, reasons) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        [step, kind, key, part, code, stored(reasons)],
    )


def forget_problems(db: Database, step: str, kind: str, key: str, *, part: int | None = None) -> None:
    """Forget what a step found about a unit, or about one part of it, inside a unit of work."""
    db.execute(
        "DELETE FROM derived_problem WHERE step = ? AND unit_kind = ? AND unit_key = ? "
        "AND unit_part = coalesce(?, unit_part)",
        [step, kind, key, part],
    )
