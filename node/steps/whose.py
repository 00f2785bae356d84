"""Whose it is: what messages and images state of whom their number is, compared with whom it leads to.

The register decides who that is: the newest message of a stay (ADT, BAR) and all that can be of the same person. What
contradicts it counts for nothing, and holds every operation that it would have been used for, until other data or a
person settle it. Where the register says nothing, all the others have to agree.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from itertools import combinations
from typing import Literal

from analytics.reasons import Reason
from node.hl7.extracts import PatientExtract
from node.steps.person import Person, Said, Series
from node.steps.signs import Signs

Decisions = Mapping[tuple[str, str], str]
"""``confirmed`` or ``rejected`` by patient number (``authority|id``) and the digest of the signs."""

Kind = Literal["message", "image", "number", "merge"]
"""What is in doubt: one message or series, the owner of a number, or a merge of two numbers."""


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """Signs that are in doubt, and what stated them, until a person decides."""

    kind: Kind
    number: str
    signs: Signs
    what: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Whose:
    """What is the person's, what is in doubt, and what of the person is known by it."""

    said: Sequence[Said]
    """All that is not known to be somebody else's; ``doubt`` says where it contradicts."""
    series: Sequence[Series]
    birth_date: date | None
    sex: str | None
    holds: tuple[Reason, ...]
    """Why nothing of the person can be linked."""
    doubts: tuple[Doubt, ...]


class _Owner:
    """One of those whom messages name under the numbers: messages that can all be of one person.

    A patient has thousands of messages that state a few signs: each of those is compared once.
    """

    def __init__(self, said: Iterable[Said] = ()) -> None:
        self.said: list[Said] = []
        self._states: dict[tuple[str, str], Signs] = {}
        self._contradictions: dict[str, tuple[str, ...]] = {}
        for one in said:
            self.add(one)

    def add(self, one: Said) -> None:
        """Take a message in; those of a person come in their order."""
        self.said.append(one)
        key = one.number, one.signs.digest
        if key not in self._states:
            self._contradictions.clear()
        self._states.pop(key, None)
        self._states[key] = one.signs

    @cached_property
    def orders(self) -> set[tuple[str, str, int, int]]:
        """What orders each message; asked for when all are in."""
        return {one.order for one in self.said}

    @property
    def numbers(self) -> set[str]:
        return {number for number, _ in self._states}

    @property
    def digests(self) -> set[str]:
        return {digest for _, digest in self._states}

    def contradictions(self, signs: Signs) -> tuple[str, ...]:
        """In what signs contradict the state that they are nearest to; none if they can be this one's."""
        if not signs:
            return ()
        if signs.digest not in self._contradictions:
            told = [one.contradicts(signs) for one in reversed(self._states.values())]
            self._contradictions[signs.digest] = min(told, key=len, default=())
        return self._contradictions[signs.digest]

    def takes(self, one: Said, *, registered: bool) -> bool:
        """Whether a message can be of this one; the register may have corrected what it says of one number."""
        if (one.number, one.signs.digest) in self._states:
            return True
        return any(
            signs.corrects(one.signs) if registered and number == one.number else not signs.contradicts(one.signs)
            for (number, _), signs in self._states.items()
        )


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """Whom the numbers belong to, and what that means for each message."""

    decisions: Decisions
    registered: bool
    main: _Owner
    doubtful: tuple[_Owner, ...]
    """Others of whom nobody has decided that they are others."""
    settled: tuple[_Owner, ...]

    def said(self, one: Said) -> Said | None:
        """The message, with its doubt; ``None`` when it is somebody else's."""
        verdict = self.decisions.get((one.number, one.signs.digest)) if one.signs else None
        if verdict == "rejected":
            return None
        if verdict == "confirmed":
            return one
        if any(self._is_of(owner, one) for owner in self.settled):
            return None
        owner = next((owner for owner in self.doubtful if self._is_of(owner, one)), None)
        if owner is not None:
            return replace(one, doubt=self.reason(owner))
        what = self.main.contradictions(one.signs)
        return replace(one, doubt=Reason("another-person", {"what": what})) if what else one

    def _is_of(self, owner: _Owner, one: Said) -> bool:
        """Whether a message is of another owner; where it can be of both, its number and its time tell."""
        if one.order in owner.orders:
            return True
        if owner.contradictions(one.signs) or one.order in self.main.orders:
            return False
        if one.signs and self.main.contradictions(one.signs):
            return True
        if one.number in owner.numbers and one.number not in self.main.numbers:
            return True
        since = min((each.order for each in self.main.said), default=one.order)
        return one.number in owner.numbers and min(each.order for each in owner.said) <= one.order < since

    def kind(self, owner: _Owner) -> Kind:
        """What is wrong with the numbers if this is another person."""
        if not self.registered:
            return "message"
        return "number" if owner.numbers & self.main.numbers else "merge"

    def what(self, owner: _Owner) -> tuple[str, ...]:
        return self.main.contradictions(owner.said[-1].signs) if owner.said else ()

    def reason(self, owner: _Owner) -> Reason:
        """Why nothing can be linked while this is undecided."""
        about = {"what": self.what(owner)}
        kind = self.kind(owner)
        if kind == "number":
            return Reason("number-of-several-people", about)
        return (
            Reason("merge-of-different-people", about) if kind == "merge" else Reason("contradictory-messages", about)
        )


def demographics(person: Person) -> Whose:
    """Tell what is a person's from what contradicts, and by it birth date and sex."""
    judge = _judge(person.key, [one for one in person.said if one.signs], person.decisions)
    kept = [judged for one in person.said if (judged := judge.said(one)) is not None]
    images, doubts_of_images = _images(person.series, judge.main, person.decisions)
    birth_date, sex = _newest(judge, kept, images)
    return Whose(
        said=kept,
        series=images,
        birth_date=birth_date,
        sex=sex,
        holds=tuple(dict.fromkeys(judge.reason(owner) for owner in judge.doubtful)),
        doubts=(*_doubts_of_messages(judge, kept), *doubts_of_images),
    )


def _judge(key: str, stating: Sequence[Said], decisions: Decisions) -> _Judge:
    stays = [one for one in stating if one.source == "stay"]
    registered = bool(stays)
    verdicts = [(one, decisions.get((one.number, one.signs.digest))) for one in stays or stating]
    owners = _owners((one for one, verdict in verdicts if verdict is None), registered=registered)
    main = _main(owners, key, registered=registered)
    doubtful = tuple(owner for owner in owners if owner is not main)
    confirmed = [one for one, verdict in verdicts if verdict == "confirmed"]
    main = _Owner(sorted([*main.said, *confirmed], key=lambda one: one.order))
    settled = _owners((one for one, verdict in verdicts if verdict == "rejected"), registered=registered)
    return _Judge(decisions=decisions, registered=registered, main=main, doubtful=doubtful, settled=tuple(settled))


def _owners(said: Iterable[Said], *, registered: bool) -> list[_Owner]:
    owners: list[_Owner] = []
    for one in said:
        home = next((owner for owner in reversed(owners) if owner.takes(one, registered=registered)), None)
        if home is None:
            owners.append(_Owner([one]))
        else:
            home.add(one)
    return owners


def _main(owners: Sequence[_Owner], key: str, *, registered: bool) -> _Owner:
    """Whom the register names last under the person's own number; without a register, whom most messages name."""
    if not owners:
        return _Owner()
    if not registered:
        return max(owners, key=lambda one: (len(one.said), one.said[-1].order))
    own = [one for owner in owners for one in owner.said if one.number == key]
    newest = max(own or [one for owner in owners for one in owner.said], key=lambda one: one.order)
    return next(owner for owner in owners if any(one is newest for one in owner.said))


def _images(series: Sequence[Series], main: _Owner, decisions: Decisions) -> tuple[list[Series], list[Doubt]]:
    """The series that are not somebody else's, with their doubts: against the person, and against each other."""
    verdicts = {one.mri.series_uid: decisions.get((one.number, one.signs.digest)) for one in series if one.signs}
    kept = [one for one in series if verdicts.get(one.mri.series_uid) != "rejected"]
    open_ones = [one for one in kept if verdicts.get(one.mri.series_uid) is None]
    what = {one.mri.series_uid: set(main.contradictions(one.signs)) for one in open_ones}
    # What many series say alike is compared once, and found of all of them.
    alike: dict[Signs, set[str]] = {}
    for each in (one for one in open_ones if not what[one.mri.series_uid]):
        what[each.mri.series_uid] = alike.setdefault(each.signs, set())
    for one, other in combinations(alike, 2):
        for found in (alike[one], alike[other]):
            found.update(one.contradicts(other))
    told = {uid: tuple(sorted(found)) for uid, found in what.items() if found}
    reasons = {uid: Reason("contradictory-person", {"what": found}) for uid, found in told.items()}
    doubts = [
        Doubt(
            kind="image",
            number=one.number,
            signs=one.signs,
            what=told[one.mri.series_uid],
            sources=(f"series {one.mri.series_uid}",),
        )
        for one in kept
        if one.mri.series_uid in told
    ]
    return [replace(one, whose=reasons.get(one.mri.series_uid)) for one in kept], doubts


def _newest(judge: _Judge, kept: Iterable[Said], images: Iterable[Series]) -> tuple[date | None, str | None]:
    """Birth date and sex: of the register the newest, then of other messages, then of images."""
    register = [one for one in judge.main.said if judge.registered]
    others = [one for one in kept if one.doubt is None and one.source != "stay"]
    birth_date: date | None = None
    sex: str | None = None
    for said in (others, register):
        for one in said:
            birth_date = one.signs.birth_date or birth_date
            sex = (one.extract.sex if isinstance(one.extract, PatientExtract) else one.signs.sex) or sex
    sure = [one.signs for one in images if one.whose is None]
    births = [one.birth_date for one in sure if one.birth_date]
    sexes = [one.sex for one in sure if one.sex]
    return birth_date or min(births, default=None), sex or min(sexes, default=None)


def _doubts_of_messages(judge: _Judge, kept: Iterable[Said]) -> list[Doubt]:
    """One for each number and signs: of other owners, and of messages that are of nobody who is known."""
    groups: dict[tuple[str, Signs], list[Said]] = {}
    for one in kept:
        if one.doubt is not None and one.signs:
            groups.setdefault((one.number, one.signs), []).append(one)
    found = []
    for (number, signs), said in groups.items():
        owner = next((owner for owner in judge.doubtful if signs.digest in owner.digests), None)
        found.append(
            Doubt(
                kind=judge.kind(owner) if owner else "message",
                number=number,
                signs=signs,
                what=judge.main.contradictions(signs),
                sources=tuple(dict.fromkeys(one.message for one in said)),
            )
        )
    return found
