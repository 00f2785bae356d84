"""The counts of a night: what arrived, was measured, linked and held, and whether the sums add up."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from sqlite_utils import Database


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Everything the report counts, grouped by state or by reason; ``alarms`` name sums that do not add up."""

    objects: int
    objects_unreadable: int
    studies: int
    series: dict[str, int]
    series_unidentified: int
    frames: int
    messages: dict[str, int]
    blood_counts: dict[str, int]
    operations_upcoming: int
    links: dict[str, int]
    cohort_rows: int
    imported_rows: int
    eligible: int
    excluded: int
    excluded_by_reason: dict[str, int]
    problems: dict[str, int]
    alarms: tuple[str, ...]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        return asdict(self)


def read_counts(db: Database, *, night: date) -> Counts:
    """Count everything as it stands now; upcoming operations are those planned on ``night`` or later."""
    series = _groups(db, "SELECT state, count(*) FROM series GROUP BY state")
    messages = _groups(db, "SELECT status, count(*) FROM messages GROUP BY status")
    links = _groups(db, "SELECT status, count(*) FROM derived_link GROUP BY status")
    eligible = _number(db, "SELECT count(*) FROM cohort WHERE eligible = 1")
    excluded = _number(db, "SELECT count(*) FROM cohort WHERE eligible = 0")
    reasons: Counter[str] = Counter()
    for (text,) in db.execute("SELECT exclusion_reasons FROM cohort WHERE eligible = 0"):
        reasons.update({_kind_of(reason) for reason in json.loads(text)})
    return Counts(
        objects=_number(db, "SELECT count(*) FROM fact_object"),
        objects_unreadable=_number(db, "SELECT count(*) FROM derived_problem WHERE code = 'unreadable'"),
        studies=_number(db, "SELECT count(DISTINCT study_instance_uid) FROM derived_instance"),
        series=series,
        series_unidentified=_number(db, "SELECT count(*) FROM series WHERE identified = 0"),
        frames=_number(db, "SELECT count(*) FROM fact_frame"),
        messages=messages,
        blood_counts=_groups(db, "SELECT status, count(*) FROM derived_blood_count GROUP BY status"),
        operations_upcoming=_number(
            db,
            "SELECT count(*) FROM derived_link WHERE booking IS NOT NULL AND status <> 'cancelled' "
            "AND surgery_date >= ?",
            night.isoformat(),
        ),
        links=links,
        cohort_rows=_number(db, "SELECT count(*) FROM cohort"),
        imported_rows=_number(db, "SELECT count(*) FROM derived_import_row"),
        eligible=eligible,
        excluded=excluded,
        excluded_by_reason=dict(sorted(reasons.items())),
        problems=_groups(db, "SELECT code, count(*) FROM problems GROUP BY code"),
        alarms=_alarms(db, series=series, links=links, rows=eligible + excluded),
    )


def _alarms(db: Database, *, series: dict[str, int], links: dict[str, int], rows: int) -> tuple[str, ...]:
    """Sums that must add up: what was received is what was derived, nothing lost and nothing counted twice."""
    sums = (
        (
            "objects received = indexed + unreadable + still to index",
            _number(db, "SELECT count(*) FROM fact_object"),
            _number(db, "SELECT count(*) FROM derived_instance")
            + _number(db, "SELECT count(*) FROM derived_problem WHERE code = 'unreadable'")
            + _number(
                db,
                "SELECT count(*) FROM fact_object AS o WHERE o.object_id NOT IN "
                "(SELECT object_id FROM derived_instance) AND 'object ' || substr(o.sha256, 1, 12) NOT IN "
                "(SELECT source FROM derived_problem WHERE code = 'unreadable')",
            ),
        ),
        (
            "series seen = arriving + set aside + waiting + measured + review + rejected",
            _number(db, "SELECT count(DISTINCT series_instance_uid) FROM derived_instance"),
            sum(series.values()),
        ),
        (
            "operations known = operations with a link row",
            _number(db, "SELECT count(*) FROM derived_operation"),
            sum(links.values()) - links.get("provisional", 0),
        ),
        (
            "cohort rows = linked, incomplete or held operations + imported rows",
            rows,
            sum(links.get(status, 0) for status in ("linked", "incomplete", "held"))
            + _number(db, "SELECT count(*) FROM derived_import_row"),
        ),
    )
    return tuple(f"{what}: {left} against {right}" for what, left, right in sums if left != right)


def _kind_of(reason: str) -> str:
    """A reason without its particulars, so that alike ones are counted together."""
    head = reason.partition(" (")[0].partition(":")[0]
    return "age below 50 years" if head.startswith("age ") else head


def _groups(db: Database, sql: str) -> dict[str, int]:
    return dict(sorted((str(name), int(number)) for name, number in db.execute(sql)))


def _number(db: Database, sql: str, *values: str) -> int:
    return int(db.execute(sql, list(values)).fetchone()[0])
