"""How much SQLite does, as it counts it itself: a measure of work that no load of the machine changes."""

from collections.abc import Callable

from sqlite_utils import Database

EVERY = 100
"""Instructions of SQLite's machine to a step."""


def steps_of(db: Database, work: Callable[[], object]) -> int:
    """How many times :data:`EVERY` instructions some work takes."""
    taken = 0

    def step() -> int:
        nonlocal taken
        taken += 1
        return 0

    db.conn.set_progress_handler(step, EVERY)
    work()
    db.conn.set_progress_handler(None, 0)
    return taken
