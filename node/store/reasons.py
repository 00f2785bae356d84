"""Reasons as they are stored: code and values, and beside them the words of the day, for those who query.

People open the database and its snapshots with any SQLite, which cannot make words; so they are written with the code,
here and nowhere else. They are never read back: whoever needs words makes them from the reason.
"""

import json
from collections.abc import Iterable

from analytics.reasons import Reason, from_dict, to_dict
from analytics.vbq.criterion import Criterion


def stored(reasons: Iterable[Reason]) -> str:
    """JSON of reasons for a column of ``derived_*``: ``[{"code": …, "values": {…}, "words": …}, …]``."""
    return json.dumps([_plain(one) for one in reasons], ensure_ascii=False)


def stored_verdict(reasons: Iterable[Criterion | Reason]) -> str:
    """As :func:`stored`, of what speaks for and against a series: its criteria have ``holds`` as well,
    and as ``plain`` the words without what they speak for.
    """
    return json.dumps(
        [_criterion(one) if isinstance(one, Criterion) else _plain(one) for one in reasons], ensure_ascii=False
    )


def loaded_against(text: str) -> tuple[Reason, ...]:
    """What speaks against a series, of what :func:`stored_verdict` has written."""
    return tuple(from_dict(one) for one in json.loads(text) if one.get("holds") is False)


def loaded(text: str) -> tuple[Reason, ...]:
    """The reasons that :func:`stored` has written."""
    return tuple(from_dict(one) for one in json.loads(text))


def _plain(reason: Reason) -> dict[str, object]:
    return {**to_dict(reason), "words": reason.words()}


def _criterion(one: Criterion) -> dict[str, object]:
    return {**to_dict(one.reason), "holds": one.holds, "words": one.words(), "plain": one.reason.words()}
