"""Which automatic measurement this is; apart from it, as whoever only names it needs none of its libraries."""

AUTOMATIC_NAME = "vbq-auto"
AUTOMATIC_VERSION = "10"
"""Raised when the same images would give another number or another status; everything is then measured again."""
