"""The short name of an object or a message, as people see it: the first digits of the SHA-256 of its bytes."""

import hashlib

DIGITS = 12
"""48 bits: among a million objects two share a name with a chance of 1 in 500. The views have the same number."""


def public_id(sha256: str) -> str:
    """The short name from all 64 hex digits."""
    return sha256[:DIGITS]


def public_id_of(text: str) -> str:
    """What stands for a UID or a key in an address of the pages: it says nothing to whoever reads a log."""
    return public_id(hashlib.sha256(text.encode()).hexdigest())


def public_id_sql(column: str) -> str:
    """The same as an SQL expression."""
    return f"substr({column}, 1, {DIGITS})"
