"""Pauses between attempts."""

from datetime import timedelta

MOST_DOUBLINGS = 20


def doubled(first: timedelta, attempt: int, longest: timedelta) -> timedelta:
    """The pause after an attempt, the first being 1: twice that of the one before, up to the longest."""
    return min(first * float(2 ** min(attempt - 1, MOST_DOUBLINGS)), longest)
