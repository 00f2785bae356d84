"""What ``vbq-node fetch`` is to bring: the lumbar MR studies of a PACS, by what it answers to C-FIND."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from sqlite_utils import Database

from analytics.vbq.parts import named_parts
from node.pacs.query import FoundSeries, FoundStudy, Query

LUMBAR = "lumbar"
LOST = re.compile(r"\?{2,}|\w\?\w|[\ufffd\x1b\x80-\x9f]")
"""What stands in place of letters that a PACS could not encode."""


@dataclass(frozen=True, kw_only=True)
class WantedSeries:
    """An MR series that the PACS has more images of than are here."""

    uid: str
    instances: int
    """Number of images by the count of the PACS."""


@dataclass(frozen=True, kw_only=True)
class WantedStudy:
    """A study with series to bring."""

    uid: str
    study_date: date | None
    series: tuple[WantedSeries, ...]


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A study that is not brought, and why."""

    uid: str
    study_date: date | None
    reason: str


@dataclass(kw_only=True)
class Plan:
    """What was found and what of it is to be brought."""

    studies: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    wanted: list[WantedStudy] = field(default_factory=list)
    series_here: int = 0
    """Series of the studies not skipped that are here already."""

    @property
    def images(self) -> int:
        """To be brought at most, by the counts of the PACS."""
        return sum(series.instances for study in self.wanted for series in study.series)


def days(first: date, last: date) -> list[date]:
    """From the first to the last day, both included."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def plan_days(
    db: Database, query: Query, of: Iterable[date], *, unnamed: bool, progress: Callable[[], None] = lambda: None
) -> Plan:
    """Look for lumbar MR studies day by day: a PACS may cut long answers short, and says so rarely.

    Parameters
    ----------
    unnamed
        Also studies that name no part of the body anywhere.
    progress
        Called after each day.

    Raises
    ------
    PeerError
        The PACS did not answer, or refused.
    """
    plan = Plan()
    for day in of:
        for study in query.studies(day):
            # A PACS that does not know the key returns other days, too; one without a date is not of this day.
            if study.study_date == day:
                _add(db, plan, study, query.series(study.uid), unnamed=unnamed)
        progress()
    return plan


def plan_study(db: Database, query: Query, study_uid: str) -> Plan:
    """One study that a person names, whatever part of the body it is of; errors as of :func:`plan_days`."""
    plan = Plan()
    study = FoundStudy(uid=study_uid, study_date=None, description=None)
    series = query.series(study_uid)
    if series:
        _add(db, plan, study, series, unnamed=True, any_part=True)
    return plan


def images_missing(db: Database, uids: Sequence[str]) -> list[str]:
    """Those of these SOP instances that this node does not have: never received, or their file is gone or damaged."""
    rows = db.execute(
        "SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM fact_object AS o "
        "WHERE o.sop_instance_uid = value AND o.sha256 NOT IN (SELECT sha256 FROM state_archive))",
        [json.dumps(list(uids))],
    ).fetchall()
    return [str(uid) for (uid,) in rows]


def _add(
    db: Database, plan: Plan, study: FoundStudy, series: Sequence[FoundSeries], *, unnamed: bool, any_part: bool = False
) -> None:
    plan.studies += 1
    images = [one for one in series if one.modality in {"MR", None} and one.instances]
    reason = _reason_against(study, images, unnamed=unnamed, any_part=any_part)
    if reason is not None:
        plan.skipped.append(Skipped(uid=study.uid, study_date=study.study_date, reason=reason))
        return
    wanted = tuple(
        WantedSeries(uid=one.uid, instances=one.instances) for one in images if _here(db, one.uid) < one.instances
    )
    plan.series_here += len(images) - len(wanted)
    if wanted:
        plan.wanted.append(WantedStudy(uid=study.uid, study_date=study.study_date, series=wanted))


def _reason_against(study: FoundStudy, images: Sequence[FoundSeries], *, unnamed: bool, any_part: bool) -> str | None:
    if not images:
        return "no MR images"
    texts = sorted(_texts(study, images))
    parts = named_parts(texts)
    if any_part or LUMBAR in parts or (unnamed and not parts):
        return None
    if not parts and (_is_empty(study.description) or any(map(LOST.search, texts))):
        # Nobody knows what it named, so the images are to say it.
        return None
    if parts:
        return f"another part of the body is named ({', '.join(sorted(parts))})"
    return "no part of the body is named (--unnamed brings it)"


def _is_empty(description: str | None) -> bool:
    return not any(letter.isalpha() for letter in description or "")


def _texts(study: FoundStudy, series: Sequence[FoundSeries]) -> Iterator[str]:
    for text in (study.description, *(text for one in series for text in (one.description, one.body_part))):
        if text:
            yield text.lower()


def _here(db: Database, series_uid: str) -> int:
    (number,) = db.execute(
        "SELECT count(DISTINCT i.sop_instance_uid) FROM derived_instance AS i JOIN fact_object AS o USING (object_id) "
        "WHERE i.series_instance_uid = ? AND o.sha256 NOT IN (SELECT sha256 FROM state_archive)",
        [series_uid],
    ).fetchone()
    return int(number)
