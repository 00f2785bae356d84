"""Series that two people read, one after the other, each without knowing what the other has seen.

What is still to be done on a series follows from its readings and the settings alone, so it is asked, never stored:
a second reading, a third that settles two which differ, or nothing more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from sqlite_utils import Database

from analytics.reasons import Reason
from node.errors import ReadingError
from node.settings import Readers

READINGS = """
SELECT r.series_instance_uid, r.reading_id, r.reader, t.step, t.independent, r.rois, m.vbq_mean
FROM fact_reading AS r
LEFT JOIN fact_reading_step AS t USING (reading_id)
LEFT JOIN derived_measurement AS m
    ON m.series_instance_uid = r.series_instance_uid AND m.reading_id = r.reading_id
WHERE r.reading_id NOT IN (SELECT reading_id FROM fact_reading_withdrawal)
  AND (:series IS NULL OR r.series_instance_uid = :series)
  -- What was read on other pixels is no reading of these.
  AND NOT EXISTS (SELECT 1 FROM json_each(m.reasons) WHERE value ->> 'code' = 'read-on-other-pixels')
ORDER BY r.series_instance_uid, r.reading_id
"""


class Step(StrEnum):
    """As what a reading is given."""

    FIRST = "first"
    SECOND = "second"
    SETTLING = "settling"


@dataclass(frozen=True, kw_only=True)
class Given:
    """A reading that stands, its circles as they were given, and its score.

    ``vbq`` is ``None`` until it is measured, and where it cannot be.
    """

    reading_id: int
    reader: str
    step: Step | None
    independent: bool
    rois: str
    vbq: float | None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What stands of a series, and what is to be done next."""

    given: tuple[Given, ...]
    pair: tuple[Given, ...]
    """The newest independent readings of two readers, or of the one who has read it."""
    apart: float | None
    """By how much the two differ, in VBQ units."""
    next: Step | None

    @property
    def readers(self) -> frozenset[str]:
        """Who has read it."""
        return frozenset(_folded(one.reader) for one in self.given)

    def has_read(self, reader: str) -> bool:
        """Whether a reading of this one stands."""
        return _folded(reader) in self.readers

    def doubts(self, rule: Readers) -> list[Reason]:
        """Why the newest reading does not count yet."""
        if self.next is Step.SECOND:
            return [Reason("second-reading-missing")]
        if self.next is Step.SETTLING and self.apart is not None:
            return [Reason("readings-differ", {"difference": self.apart, "most": rule.max_difference})]
        return []


def standings(db: Database, rule: Readers, series_uid: str | None = None) -> dict[str, Standing]:
    """By series, of all that people have read (or of one); empty where one reader is enough."""
    if rule.number == 1:
        return {}
    rows = db.execute(READINGS, {"series": series_uid}).fetchall()
    return {
        uid: _judged(rule, _given([row[1:] for row in of])) for uid, of in groupby(rows, key=lambda row: str(row[0]))
    }


def _given(rows: Sequence[Sequence[object]]) -> tuple[Given, ...]:
    found: list[Given] = []
    for number, reader, step, independent, rois, vbq in rows:
        others = any(_folded(one.reader) != _folded(str(reader)) for one in found)
        found.append(
            Given(
                reading_id=int(str(number)),
                reader=str(reader),
                step=None if step is None else Step(str(step)),
                # From before there were steps: the first to read has seen no other reading.
                independent=not others if independent is None else bool(independent),
                rois=str(rois),
                vbq=None if vbq is None else float(str(vbq)),
            )
        )
    return tuple(found)


def _judged(rule: Readers, given: tuple[Given, ...]) -> Standing:
    newest = given[-1]
    counted = {
        _folded(one.reader): one
        for one in given
        if one.step is not Step.SETTLING and (one.independent or not rule.blinded)
    }
    pair = tuple(sorted(counted.values(), key=lambda one: one.reading_id)[-2:])
    scores = [one.vbq for one in pair if one.vbq is not None]
    apart = abs(scores[0] - scores[1]) if len(scores) == 2 else None
    done: Step | None = None
    if newest.step is Step.SETTLING:
        done = None
    elif len(pair) < 2 or newest not in pair or (apart is None and newest.vbq is not None):
        # A reading that gives no score confirms none.
        done = Step.SECOND
    elif apart is not None and apart > rule.max_difference:
        done = Step.SETTLING
    return Standing(given=given, pair=pair, apart=apart, next=done)


def hidden_from(db: Database, rule: Readers, reader: str, series_uid: str | None = None) -> frozenset[str]:
    """Series of which this one may be the second reader, so that score and circles are not shown to them."""
    if not rule.blinded:
        return frozenset()
    found = standings(db, rule, series_uid)
    return frozenset(uid for uid, one in found.items() if one.next is Step.SECOND and not one.has_read(reader))


def may_settle(rule: Readers, standing: Standing, reader: str) -> bool:
    """Whether this one may settle two readings."""
    return rule.settled_by == "any" or not standing.has_read(reader)


def step_of(db: Database, rule: Readers, *, series_uid: str, reader: str, hidden: bool) -> tuple[Step, bool]:
    """As what a reading would be stored now, and whether it is independent of those that stand.

    Parameters
    ----------
    hidden
        Whether the reader was shown neither score nor circles of others.

    Raises
    ------
    ReadingError
        Two readers are needed, and this one may give neither the second reading nor settle two.
    """
    found = _given([row[1:] for row in db.execute(READINGS, {"series": series_uid}).fetchall()])
    others = [one for one in found if _folded(one.reader) != _folded(reader)]
    if not others:
        return Step.FIRST, True
    if rule.number == 1:
        return Step.SECOND, hidden
    standing = _judged(rule, found)
    if standing.next is Step.SECOND and not standing.has_read(reader):
        if rule.blinded and not hidden:
            raise ReadingError(
                "another reader has read this series, and the second reading is blinded: it is given in the pages "
                "(`vbq-node web`), which show neither score nor circles of the first"
            )
        return Step.SECOND, hidden
    if len(standing.pair) < 2:
        raise ReadingError("this series waits for its second reader; your own reading stands")
    if not may_settle(rule, standing, reader):
        raise ReadingError(
            'two readers have read this series; a third settles it (readers.settled_by = "any" lets one of the two)'
        )
    return Step.SETTLING, False


def _folded(reader: str) -> str:
    return reader.strip().casefold()
