"""Which MRI and which blood count belong to a planned operation.

The index date S is the local date of the planned operation. An MRI qualifies with a study date in
[S − 3 calendar months, S], a blood count with a specimen date in [S − 30 days, S]; the latest that is usable of each
is taken, and it must be from before the operation: what describes the operation does not describe the patient before
it. So what is from an earlier day goes first. What is from the day itself counts with a time of day before the planned
start, or when nothing says that it was after; that is told. An MRI that calls itself postoperative counts for nothing,
and of a staged operation neither does the blood count that was taken after an earlier stage.

References
----------
Inclusion criteria 4 and 5 of the paper: "preoperative lumbar MRI within 3 months suitable for VBQ scoring" and
"complete blood count obtained within 30 days before surgery".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
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

RECOVERY_DAYS = 30
"""Days after an operation in which a blood count is taken to show it; that of a whole blood-count window, so that a
count which is too near to an earlier stage is never taken for one from before the later."""

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


def match(
    operation: Operation,
    mris: Iterable[Mri],
    counts: Iterable[BloodCount],
    *,
    zone: tzinfo,
    earlier: Iterable[Operation] = (),
) -> Match:
    """Find the MRI and the blood count that belong to an operation.

    Parameters
    ----------
    operation
        The planned operation; whether it is cancelled is the caller's matter.
    mris, counts
        All of the patient's, in any order; the result does not depend on it.
    zone
        The site's time zone, in which times become dates.
    earlier
        Other operations of the patient; those of earlier days are looked at.
    """
    day = _Day(operation=operation, zone=zone, earlier=tuple(earlier))
    mri, mri_reasons = _latest_mri(day, list(mris))
    count, count_reasons = _latest_count(day, list(counts))
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


@dataclass(frozen=True, kw_only=True)
class _Day:
    """The day of an operation, and what was before and after its start."""

    operation: Operation
    zone: tzinfo
    earlier: tuple[Operation, ...]

    @property
    def on(self) -> date:
        """The local date of the operation."""
        return self.operation.planned_at.astimezone(self.zone).date()

    def is_other_day(self, taken_on: date | None) -> bool:
        """What is looked at first, newest first; then what is of the day itself and, last by its date, undated."""
        return taken_on is not None and taken_on != self.on

    def started(self, taken_at: datetime | None) -> bool:
        """Whether the operation had begun by its plan; never known without both times of day."""
        return taken_at is not None and not self.operation.date_only and taken_at > self.operation.planned_at

    def known_before(self, taken_at: datetime | None) -> bool:
        """Whether the times of day say that something of the day itself was before."""
        return taken_at is not None and not self.operation.date_only and taken_at < self.operation.planned_at

    def recovering_from(self, taken_at: datetime, taken_on: date, *, date_only: bool) -> date | None:
        """The day of the newest earlier operation that something describes: taken after it, within the recovery."""
        days = [
            done
            for other in self.earlier
            if (done := other.planned_at.astimezone(self.zone).date()) < self.on
            and done <= taken_on <= done + timedelta(days=RECOVERY_DAYS)
            and (taken_on > done or (not (date_only or other.date_only) and taken_at > other.planned_at))
        ]
        return max(days, default=None)


def _latest_mri(day: _Day, mris: Sequence[Mri]) -> tuple[Mri | None, list[Reason]]:
    if not mris:
        return None, [Reason("no-mri")]
    reasons: list[Reason] = []
    newest_first = sorted(
        mris,
        key=lambda mri: (day.is_other_day(mri.study_date), mri.study_date or date.min, mri.series_uid),
        reverse=True,
    )
    for mri in newest_first:
        if (why := _misplaced_mri(day, mri) or _unusable_mri(mri)) is not None:
            reasons.append(why)
            continue
        if mri.study_date == day.on and not day.known_before(mri.taken_at):
            reasons.append(Reason("mri-of-the-day", {"date": str(mri.study_date)}))
        return mri, reasons
    return None, reasons


def _misplaced_mri(day: _Day, mri: Mri) -> Reason | None:
    first, last = mri_window(day.on)
    if mri.study_date is None:
        return Reason("mri-undated")
    about: dict[str, Value] = {"date": str(mri.study_date)}
    if mri.study_date > last:
        return Reason("mri-after-operation", about)
    if mri.study_date < first:
        return Reason("mri-too-early", {**about, "operation": str(day.on)})
    if mri.study_date == last and day.started(mri.taken_at):
        return Reason("mri-after-start", about)
    return Reason("mri-postoperative", about) if mri.postoperative else None


def _unusable_mri(mri: Mri) -> Reason | None:
    about: dict[str, Value] = {"date": str(mri.study_date)}
    if mri.status is None:
        return Reason("mri-not-measured", about)
    if mri.status is MeasurementStatus.REVIEW:
        return Reason("mri-in-review", about)
    if mri.status is MeasurementStatus.REJECTED or mri.vbq is None:
        return Reason("mri-rejected", about)
    return None


def _latest_count(day: _Day, counts: Sequence[BloodCount]) -> tuple[BloodCount | None, list[Reason]]:
    if not counts:
        return None, [Reason("no-blood-count")]
    reasons: list[Reason] = []
    newest_first = sorted(
        counts,
        key=lambda count: (
            day.is_other_day(_taken_on(count, day.zone)),
            count.taken_at.timestamp() if count.taken_at else 0.0,
            count.specimen,
        ),
        reverse=True,
    )
    for count in newest_first:
        taken_on = _taken_on(count, day.zone)
        if (why := _misplaced_count(day, count, taken_on) or _unusable_count(count, taken_on)) is not None:
            reasons.append(why)
            continue
        if taken_on == day.on and not day.known_before(None if count.date_only else count.taken_at):
            reasons.append(Reason("blood-count-of-the-day", {"date": str(taken_on)}))
        return count, reasons
    return None, reasons


def _misplaced_count(day: _Day, count: BloodCount, taken_on: date | None) -> Reason | None:
    first, last = blood_count_window(day.on)
    if count.taken_at is None or taken_on is None:
        return Reason("blood-count-undated")
    about: dict[str, Value] = {"date": str(taken_on)}
    if taken_on > last:
        return Reason("blood-count-after-operation", about)
    if taken_on < first:
        return Reason("blood-count-too-early", {**about, "operation": str(day.on)})
    if taken_on == last and day.started(None if count.date_only else count.taken_at):
        return Reason("blood-count-after-start", about)
    stage = day.recovering_from(count.taken_at, taken_on, date_only=count.date_only)
    return Reason("blood-count-after-earlier-operation", {**about, "operation": str(stage)}) if stage else None


def _taken_on(count: BloodCount, zone: tzinfo) -> date | None:
    return count.taken_at.astimezone(zone).date() if count.taken_at else None


def _unusable_count(count: BloodCount, taken_on: date | None) -> Reason | None:
    if count.status not in USABLE:
        return Reason("blood-count-not-final", {"date": str(taken_on), "status": count.status.value})
    if count.nlr is None or count.plr is None:
        return Reason("blood-count-without-ratio", {"date": str(taken_on)})
    return None
