"""Times as they stand in the database: ISO 8601 in UTC, whole microseconds, always with the offset."""

from datetime import UTC, datetime


def now() -> datetime:
    """The current time, aware, in UTC. The one place the node reads the clock for what it stores."""
    return datetime.now(UTC)


def to_text(moment: datetime) -> str:
    """An aware time as stored; a naive one is refused, for it means nothing.

    Raises
    ------
    ValueError
        ``moment`` has no offset.
    """
    if moment.tzinfo is None:
        raise ValueError(f"a time without an offset cannot be stored: {moment}")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def from_text(text: str) -> datetime:
    """The aware time stored as ``text``."""
    return datetime.fromisoformat(text)
