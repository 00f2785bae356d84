"""Which MRI and which blood count belong to a planned operation.

The index date S is the local date of the planned operation. An MRI qualifies with a study date in
[S − 3 calendar months, S], a blood count with a specimen date in [S − 30 days, S]; the latest that is usable of each
is taken. Where the operation and the specimen both have a time of day, a specimen taken after the planned start does
not qualify: it would describe the operation, not the patient before it.

References
----------
Inclusion criteria 4 and 5 of the paper: "preoperative lumbar MRI within 3 months suitable for VBQ scoring" and
"complete blood count obtained within 30 days before surgery".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from itertools import product

from dateutil.relativedelta import relativedelta

from analytics.reasons import Reason, Value
from analytics.records import BloodCount, MeasurementStatus, Mri, Operation, ResultStatus

MRI_WINDOW_MONTHS = 3
"""Calendar months before the operation in which the MRI must lie (paper, inclusion criterion 4)."""

BLOOD_COUNT_WINDOW_DAYS = 30
"""Days before the operation in which the blood count must lie (paper, inclusion criterion 5)."""

PROVISIONAL_WINDOW_DAYS = 30
"""Without a known operation, an MRI and a blood count at most this far apart are shown as a provisional pair."""

USABLE = frozenset({ResultStatus.FINAL, ResultStatus.CORRECTED})


@dataclass(frozen=True, kw_only=True)
class Match:
    """What belongs to one operation; ``reasons`` say what is missing or was passed over, and why."""

    mri: Mri | None
    blood_count: BloodCount | None
    reasons: tuple[Reason, ...]

    @property
    def complete(self) -> bool:
        """Both an MRI and a blood count qualify."""
        return self.mri is not None and self.blood_count is not None


@dataclass(frozen=True, kw_only=True)
class ProvisionalPair:
    """An MRI and a blood count close to each other, with no operation known."""

    mri: Mri
    blood_count: BloodCount
    days_apart: int


def mri_window(surgery: date) -> tuple[date, date]:
    """First and last study date that qualify; the day is clipped to the month's end (31 May → 28 or 29 February)."""
    return surgery - relativedelta(months=MRI_WINDOW_MONTHS), surgery


def blood_count_window(surgery: date) -> tuple[date, date]:
    """First and last specimen date that qualify."""
    return surgery - timedelta(days=BLOOD_COUNT_WINDOW_DAYS), surgery


def match(operation: Operation, mris: Iterable[Mri], counts: Iterable[BloodCount], *, zone: tzinfo) -> Match:
    """Find the MRI and the blood count that belong to an operation.

    Parameters
    ----------
    operation
        The planned operation; whether it is cancelled is the caller's matter.
    mris, counts
        All of the patient's, in any order; the result does not depend on it.
    zone
        The site's time zone, in which times become dates.
    """
    surgery = operation.planned_at.astimezone(zone).date()
    mri, mri_reasons = _latest_mri(surgery, list(mris))
    count, count_reasons = _latest_count(operation, surgery, list(counts), zone)
    return Match(mri=mri, blood_count=count, reasons=(*mri_reasons, *count_reasons))


def provisional_pair(mris: Iterable[Mri], counts: Iterable[BloodCount], *, zone: tzinfo) -> ProvisionalPair | None:
    """The latest usable MRI with the usable blood count nearest to it, at most 30 days apart."""
    best: ProvisionalPair | None = None
    usable_mris = [mri for mri in mris if _unusable_mri(mri) is None]
    usable_counts = [count for count in counts if _unusable_count(count, None) is None]
    for mri, count in product(usable_mris, usable_counts):
        taken_on = _taken_on(count, zone)
        if mri.study_date is None or taken_on is None:
            continue
        pair = ProvisionalPair(mri=mri, blood_count=count, days_apart=abs((taken_on - mri.study_date).days))
        if pair.days_apart <= PROVISIONAL_WINDOW_DAYS and (best is None or _rank(pair) > _rank(best)):
            best = pair
    return best


def _rank(pair: ProvisionalPair) -> tuple[date, int, float, str, str]:
    taken = pair.blood_count.taken_at
    return (
        pair.mri.study_date or date.min,
        -pair.days_apart,
        taken.timestamp() if taken else 0.0,
        pair.mri.series_uid,
        pair.blood_count.specimen,
    )


def _latest_mri(surgery: date, mris: Sequence[Mri]) -> tuple[Mri | None, list[Reason]]:
    if not mris:
        return None, [Reason("no-mri")]
    first, last = mri_window(surgery)
    reasons: list[Reason] = []
    newest_first = sorted(mris, key=lambda mri: (mri.study_date or date.min, mri.series_uid), reverse=True)
    for mri in newest_first:
        if mri.study_date is None:
            reasons.append(Reason("mri-undated"))
        elif mri.study_date > last:
            reasons.append(Reason("mri-after-operation", {"date": str(mri.study_date)}))
        elif mri.study_date < first:
            reasons.append(Reason("mri-too-early", {"date": str(mri.study_date), "operation": str(surgery)}))
        elif why := _unusable_mri(mri):
            reasons.append(why)
        else:
            return mri, reasons
    return None, reasons


def _unusable_mri(mri: Mri) -> Reason | None:
    about: dict[str, Value] = {"date": str(mri.study_date)}
    if mri.status is None:
        return Reason("mri-not-measured", about)
    if mri.status is MeasurementStatus.REVIEW:
        return Reason("mri-in-review", about)
    if mri.status is MeasurementStatus.REJECTED or mri.vbq is None:
        return Reason("mri-rejected", about)
    return None


def _latest_count(
    operation: Operation, surgery: date, counts: Sequence[BloodCount], zone: tzinfo
) -> tuple[BloodCount | None, list[Reason]]:
    if not counts:
        return None, [Reason("no-blood-count")]
    first, last = blood_count_window(surgery)
    reasons: list[Reason] = []
    newest_first = sorted(
        counts,
        key=lambda count: (count.taken_at.timestamp() if count.taken_at else 0.0, count.specimen),
        reverse=True,
    )
    for count in newest_first:
        taken_on = _taken_on(count, zone)
        if count.taken_at is None or taken_on is None:
            reasons.append(Reason("blood-count-undated"))
        elif taken_on > last:
            reasons.append(Reason("blood-count-after-operation", {"date": str(taken_on)}))
        elif not operation.date_only and not count.date_only and count.taken_at > operation.planned_at:
            reasons.append(Reason("blood-count-after-start", {"date": str(taken_on)}))
        elif taken_on < first:
            reasons.append(Reason("blood-count-too-early", {"date": str(taken_on), "operation": str(surgery)}))
        elif why := _unusable_count(count, taken_on):
            reasons.append(why)
        else:
            return count, reasons
    return None, reasons


def _taken_on(count: BloodCount, zone: tzinfo) -> date | None:
    return count.taken_at.astimezone(zone).date() if count.taken_at else None


def _unusable_count(count: BloodCount, taken_on: date | None) -> Reason | None:
    if count.status not in USABLE:
        return Reason("blood-count-not-final", {"date": str(taken_on), "status": count.status.value})
    if count.nlr is None or count.plr is None:
        return Reason("blood-count-without-ratio", {"date": str(taken_on)})
    return None
