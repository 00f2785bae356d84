"""From all that messages say about one patient's specimens to the results of each specimen that hold now."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import combinations

from analytics.counts.corrections import trace_corrections
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
    sender: str = ""
    """Who sent the newest of them."""


def current_specimens(messages: Sequence[SpecimenResults]) -> list[Specimen]:
    """Fold what every message says about every specimen of one patient; the rules are those of ``combine``.

    Neither the order of the messages nor repetitions matter.
    """
    named: dict[str, list[SpecimenResults]] = {}
    for one in set(messages):
        named.setdefault(one.specimen, []).append(one)
    named, questioned = trace_corrections(named)
    folded = [_fold(*used) for name, group in sorted(named.items()) for used in _uses(name, group)]
    note = Reason("correction-without-original")
    return _join_parts(
        [replace(one, notes=(*one.notes, note), contested=True) if one.name in questioned else one for one in folded]
    )


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


def _standing(message: SpecimenResults) -> list[Result]:
    """The results of a message without the runs that it withdraws in favour of another one of the same quantity."""
    live = {(one.code, one.run) for one in message.results if one.run and finality(one.status) != "withdrawn"}
    return [
        one
        for one in message.results
        if not (
            one.run
            and finality(one.status) == "withdrawn"
            and any(code == one.code and run != one.run for code, run in live)
        )
    ]


def _made_final(rows: list[tuple[tuple[datetime, int, datetime], Result]]) -> list[Result]:
    """The newest rows of one result line; where they make final what was sent before (status U), that is it.

    Table 0085: U is "results status change to final without retransmitting results already sent as preliminary".
    """
    newest = max(key for key, _ in rows)
    current = [result for key, result in rows if key == newest]
    if not all(_is_bare_update(one) for one in current):
        return current
    before = [(key, result) for key, result in rows if not _is_bare_update(result)]
    if not before:
        return current
    made = _made_final(before)
    preliminary = [one for one in made if finality(one.status) == "preliminary"]
    return [replace(one, status="U", status_at=current[0].status_at) for one in preliminary] or made


def _is_bare_update(result: Result) -> bool:
    return result.status == "U" and result.value is None and result.reason == Reason("no-value")


def _runs_in_doubt(rows: list[tuple[tuple[datetime, int, datetime], Result]], current: list[Result]) -> bool:
    """Whether the newest word withdraws one run, and another run that was sent apart from it may still stand."""
    withdrawn = {one.run for one in current if finality(one.status) == "withdrawn"}
    if len(withdrawn) != 1 or len(withdrawn) != len({one.run for one in current}) or "" in withdrawn:
        return False
    others = {one.run for _, one in rows if finality(one.status) != "withdrawn"} - withdrawn - {""}
    gone = {one.run for _, one in rows if finality(one.status) == "withdrawn"}
    return bool(others - gone)


def _fold(name: str, messages: list[SpecimenResults]) -> Specimen:
    """Let the newest status of each result line hold; the newest message says when the specimen was taken."""
    rows: dict[str, list[tuple[tuple[datetime, int, datetime], Result]]] = {}
    for message in messages:
        for result in _standing(message):
            rows.setdefault(result.code, []).append((_age_key(message, result), result))
    by_code = {code: _made_final(told) for code, told in rows.items()}
    current = {result for results in by_code.values() for result in results}
    doubtful_runs = [code for code, results in by_code.items() if _runs_in_doubt(rows[code], results)]
    notes = {
        Reason("final-result-followed", {"code": latest.code, "status": latest.status})
        for latest in current
        if finality(latest.status) == "preliminary"
        if any(finality(result.status) in ("final", "corrected") for _, result in rows[latest.code])
    }
    notes |= {Reason("withdrawal-of-another-run", {"code": code}) for code in doubtful_runs}
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
        contested=bool(doubtful_runs),
        messages=frozenset((message.tie_break, message.sent_at) for message in messages),
        sender=last.sender,
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
            alone.extend(
                replace(part, notes=(*part.notes, note), contested=part.contested or contested) for part in live
            )
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
        contested=any(part.contested for part in parts),
        messages=frozenset(message for part in parts for message in part.messages),
        sender=max(part.sender for part in parts),
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
