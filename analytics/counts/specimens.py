"""From all that messages say about one patient's specimens to the results of each specimen that hold now."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import combinations

from analytics.counts.results import Finality, Result, SpecimenResults, differ, finality, usable
from analytics.reasons import Reason

_CAUTION: dict[Finality, int] = {"held": 0, "preliminary": 1, "final": 2, "corrected": 3, "withdrawn": 4}
_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)

REUSE_GAP = timedelta(days=2)
"""Laboratories use specimen numbers again: results of one number taken further apart are of two specimens."""


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """The results of one specimen that hold now."""

    name: str
    taken_at: datetime | None
    date_only: bool
    current: tuple[Result, ...]
    notes: tuple[Reason, ...] = ()
    contested: bool = False
    """Another specimen of the very same time has other usable values."""
    messages: frozenset[tuple[str, datetime | None]] = frozenset()
    """Which messages tell of it."""


def current_specimens(messages: Sequence[SpecimenResults]) -> list[Specimen]:
    """Fold what every message says about every specimen of one patient; the rules are those of ``combine``.

    Neither the order of the messages nor repetitions matter.
    """
    named: dict[str, list[SpecimenResults]] = {}
    for one in set(messages):
        named.setdefault(one.specimen, []).append(one)
    return _join_parts([_fold(*used) for name, group in sorted(named.items()) for used in _uses(name, group)])


def _uses(name: str, messages: list[SpecimenResults]) -> list[tuple[str, list[SpecimenResults]]]:
    """Tell the uses of a specimen number apart that is used again for a later specimen."""
    times = sorted({message.taken_at for message in messages if message.taken_at is not None})
    starts = [time for before, time in zip([_LONG_AGO, *times], times, strict=False) if time - before > REUSE_GAP]
    if len(starts) < 2:
        return [(name, messages)]
    uses: dict[datetime, list[SpecimenResults]] = {}
    for message in messages:
        # What has no time of its own is about the last specimen before it was sent.
        moment = message.taken_at or message.sent_at or times[-1]
        uses.setdefault(max((start for start in starts if start <= moment), default=starts[0]), []).append(message)
    return [(f"{name}@{start.astimezone(UTC):%Y-%m-%d}", group) for start, group in sorted(uses.items())]


def _age_key(message: SpecimenResults, result: Result) -> tuple[datetime, int, datetime]:
    sent_at = message.sent_at or _LONG_AGO
    return (result.status_at or sent_at, _CAUTION[finality(result.status)], sent_at)


def _fold(name: str, messages: list[SpecimenResults]) -> Specimen:
    """Let the newest status of each result line hold; the newest message says when the specimen was taken."""
    newest: dict[str, tuple[datetime, int, datetime]] = {}
    for message in messages:
        for result in message.results:
            key = _age_key(message, result)
            newest[result.code] = max(key, newest.get(result.code, key))
    current = {
        result for message in messages for result in message.results if _age_key(message, result) == newest[result.code]
    }
    notes = {
        Reason("final-result-followed", {"code": result.code, "status": latest.status})
        for latest in current
        if finality(latest.status) == "preliminary"
        for message in messages
        for result in message.results
        if result.code == latest.code and finality(result.status) in ("final", "corrected")
    }
    last = max(
        messages, key=lambda m: (m.taken_at is not None, not m.observed_only, m.sent_at or _LONG_AGO, m.tie_break)
    )
    if last.taken_at is None:
        notes.add(Reason("specimen-untimed"))
    elif last.observed_only:
        notes.add(Reason("specimen-time-observed"))
    return Specimen(
        name=name,
        taken_at=last.taken_at,
        date_only=last.date_only,
        current=tuple(sorted(current, key=repr)),
        notes=tuple(sorted(notes, key=_order)),
        messages=frozenset((message.tie_break, message.sent_at) for message in messages),
    )


def _order(note: Reason) -> tuple[str, str]:
    """The same, in whatever order the messages came and whatever the words."""
    return note.code, str(sorted(note.values.items()))


def _join_parts(parts: list[Specimen]) -> list[Specimen]:
    by_time: dict[datetime, list[Specimen]] = {}
    untimed: dict[datetime | None, list[Specimen]] = {}
    for part in parts:
        if part.taken_at is None or part.date_only:
            untimed.setdefault(part.taken_at, []).append(part)
        else:
            by_time.setdefault(part.taken_at, []).append(part)
    alone = [one for same_day in untimed.values() for one in _join_complements(same_day)]
    for same_time in by_time.values():
        live = [part for part in same_time if any(finality(one.status) != "withdrawn" for one in part.current)]
        alone.extend(part for part in same_time if part not in live)
        if not live:
            continue
        if all(_agree(one, other) for one, other in combinations(live, 2)):
            alone.append(_joined(live))
        else:
            contested = any(_contradict(one, other) for one, other in combinations(live, 2))
            note = Reason("specimens-contradict")
            alone.extend(replace(part, notes=(*part.notes, note), contested=contested) for part in live)
    return alone


def _join_complements(parts: list[Specimen]) -> list[Specimen]:
    """Parts of one day without a time of day: one specimen where one message tells of all and none is told twice.

    A laboratory that gives every result an order number of its own sends one count in as many parts.
    """
    joined: list[list[Specimen]] = []
    for part in parts:
        home = next((group for group in joined if any(part.messages & one.messages for one in group)), None)
        if home is None:
            joined.append([part])
        else:
            home.append(part)
    return [
        one
        for group in joined
        for one in (
            [_joined(group)] if not any(_shared(mine, other) for mine, other in combinations(group, 2)) else group
        )
    ]


def _joined(parts: list[Specimen]) -> Specimen:
    current = {result for part in parts for result in part.current}
    notes = {note for part in parts for note in part.notes}
    return replace(
        parts[0],
        name=min(part.name for part in parts),
        current=tuple(sorted(current, key=repr)),
        notes=tuple(sorted(notes, key=_order)),
        messages=frozenset(message for part in parts for message in part.messages),
    )


def _shared(one: Specimen, other: Specimen) -> list[tuple[Result, Result]]:
    """The results of two specimens on the same quantity by the same method."""
    return [
        (mine, theirs)
        for mine in one.current
        for theirs in other.current
        if (mine.analyte, mine.scale, mine.method) == (theirs.analyte, theirs.scale, theirs.method)
    ]


def _agree(one: Specimen, other: Specimen) -> bool:
    return all(
        mine.value == theirs.value
        and (finality(mine.status) == finality(theirs.status) or (usable(mine) and usable(theirs)))
        for mine, theirs in _shared(one, other)
    )


def _contradict(one: Specimen, other: Specimen) -> bool:
    return any(
        usable(mine) and usable(theirs) and differ([mine.value, theirs.value])
        for mine, theirs in _shared(one, other)
        if mine.value is not None and theirs.value is not None
    )
