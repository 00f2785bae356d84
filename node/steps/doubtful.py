"""What may be about somebody else: blood counts that are held, and rows that say what is in doubt."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from analytics.counts.blood import CombinedCount
from analytics.reasons import Reason
from analytics.records import BloodCount, ResultStatus
from node.hl7.extracts import SpecimenExtract
from node.steps.person import Said, blood_counts
from node.steps.whose import Doubt
from node.store.reasons import stored


@dataclass(frozen=True, kw_only=True)
class DoubtfulCount:
    """A blood count that may be somebody else's."""

    count: CombinedCount
    doubt: Reason

    def reason(self, zone: ZoneInfo) -> Reason:
        """Why an operation is held for which it would have been taken."""
        taken_at = self.count.taken_at
        day = str(taken_at.astimezone(zone).date()) if taken_at else None
        return Reason("blood-count-in-doubt", {"date": day or "", "why": self.doubt})


def doubtful_counts(said: Sequence[Said]) -> tuple[list[DoubtfulCount], dict[str, Exception]]:
    """The blood counts of messages in doubt, each of one reason, without those of which a later message is sure."""
    sure: dict[str, tuple[str, str, int, int]] = {}
    by_reason: dict[Reason, list[Said]] = {}
    for one in said:
        if isinstance(one.extract, SpecimenExtract) and one.doubt is None:
            sure[one.extract.specimen] = max(one.order, sure.get(one.extract.specimen, one.order))
    for one in said:
        if not isinstance(one.extract, SpecimenExtract) or one.doubt is None:
            continue
        if one.order > sure.get(one.extract.specimen, ("",)):
            by_reason.setdefault(one.doubt, []).append(one)
    found: dict[str, DoubtfulCount] = {}
    failed: dict[str, Exception] = {}
    for doubt, messages in by_reason.items():
        counts, errors = blood_counts(messages)
        failed |= errors
        found |= {count.specimen: DoubtfulCount(count=count, doubt=doubt) for count in counts}
    return [found[name] for name in sorted(found)], failed


def held_counts(sure: Iterable[CombinedCount], doubtful: Iterable[DoubtfulCount]) -> list[CombinedCount]:
    """The doubtful ones as they are shown: held, with the reason."""
    known = {count.specimen for count in sure}
    return [
        replace(one.count, status=ResultStatus.HELD, notes=(one.doubt, *one.count.notes))
        for one in doubtful
        if one.count.specimen not in known
    ]


def as_taken(count: CombinedCount) -> BloodCount:
    """A blood count as the matcher sees it."""
    return BloodCount(
        specimen=count.specimen,
        taken_at=count.taken_at,
        date_only=count.date_only,
        status=count.status,
        nlr=count.nlr,
        plr=count.plr,
    )


def doubt_rows(person: str, doubts: Iterable[Doubt]) -> list[dict[str, object]]:
    """Rows of ``derived_doubt``: of one number and signs what is worst comes once."""
    rows: dict[tuple[str, str, str], dict[str, object]] = {}
    for one in doubts:
        authority, _, patient_id = one.number.partition("|")
        reason = {
            "message": Reason("another-person", {"what": one.what}),
            "image": Reason("contradictory-person", {"what": one.what}),
            "number": Reason("number-of-several-people", {"what": one.what}),
            "merge": Reason("merge-of-different-people", {"what": one.what}),
        }[one.kind]
        before = rows.get((one.number, one.signs.digest, one.kind))
        known = json.loads(str(before["sources"])) if before else []
        rows[one.number, one.signs.digest, one.kind] = {
            "person": person,
            "kind": one.kind,
            "authority": authority,
            "patient_id": patient_id,
            "signs": one.signs.digest,
            "sources": json.dumps(list(dict.fromkeys([*known, *one.sources]))),
            "reason": stored([reason]),
        }
    return list(rows.values())
