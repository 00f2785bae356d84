"""Reasons as they are stored: code and values, and beside them the words of the day, for those who query.

People open the database and its snapshots with any SQLite, which cannot make words; so they are written with the code,
here and nowhere else. They are never read back: whoever needs words makes them from the reason.
"""

import json
from collections.abc import Iterable

from analytics.reasons import Reason, from_dict, to_dict


def stored(reasons: Iterable[Reason]) -> str:
    """JSON of reasons for a column of ``derived_*``: ``[{"code": …, "values": {…}, "words": …}, …]``."""
    return json.dumps([{**to_dict(one), "words": one.words()} for one in reasons], ensure_ascii=False)


def loaded(text: str) -> tuple[Reason, ...]:
    """The reasons that :func:`stored` has written."""
    return tuple(from_dict(one) for one in json.loads(text))
