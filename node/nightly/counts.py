"""The counts of a night: what arrived, was measured, linked and held, and whether the sums add up."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from sqlite_utils import Database

from analytics.eligibility import kind_of_reason
from analytics.regression import OlsFit, Refusal
from node.status import pending

NOT_YET_DUE = "studies arriving"
"""Of what is pending, what only waits for the end of its quiet period."""


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
    to_derive: dict[str, int]
    """What the steps have still to do; not empty: the report is of what was derived so far."""
    alarms: tuple[str, ...]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        return asdict(self)


def read_counts(db: Database, *, night: date, fit: OlsFit | Refusal) -> Counts:
    """Count everything as it stands now.

    Parameters
    ----------
    night
        Upcoming operations are those planned on it or later.
    fit
        Tonight's model; the rows it was given must be the eligible ones.
    """
    series = _groups(db, "SELECT state, count(*) FROM series GROUP BY state")
    messages = _groups(db, "SELECT status, count(*) FROM messages GROUP BY status")
    links = _groups(db, "SELECT status, count(*) FROM derived_link GROUP BY status")
    eligible = _number(db, "SELECT count(*) FROM cohort WHERE eligible = 1")
    excluded = _number(db, "SELECT count(*) FROM cohort WHERE eligible = 0")
    reasons: Counter[str] = Counter()
    for (text,) in db.execute("SELECT exclusion_reasons FROM cohort WHERE eligible = 0"):
        # One reason each, the first, so that the numbers add up.
        reasons.update([kind_of_reason(reason) for reason in json.loads(text)][:1])
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
        to_derive=left_to_derive(db),
        alarms=_alarms(
            _sums(db, series=series, messages=messages, links=links) + _cohort_sums(db, links, reasons, fit)
        ),
    )


def left_to_derive(db: Database) -> dict[str, int]:
    """What the steps have still to do now, by kind; empty when everything is derived."""
    return {name: number for name, number in pending(db).items() if number and name != NOT_YET_DUE}


def _alarms(sums: tuple[tuple[str, int, int], ...]) -> tuple[str, ...]:
    return tuple(f"{what}: {left} against {right}" for what, left, right in sums if left != right)


def _sums(
    db: Database, *, series: dict[str, int], messages: dict[str, int], links: dict[str, int]
) -> tuple[tuple[str, int, int], ...]:
    """Sums that must add up: what was received is what was derived, nothing lost and nothing counted twice."""
    return (
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
            "messages received = interpreted + still to interpret",
            _number(db, "SELECT count(*) FROM fact_frame"),
            _number(db, "SELECT count(DISTINCT frame_id) FROM derived_message") + messages.get("pending", 0),
        ),
        (
            "operations known = operations with a link row",
            _number(db, "SELECT count(*) FROM derived_operation"),
            sum(links.values()) - links.get("provisional", 0),
        ),
    )


def _cohort_sums(
    db: Database, links: dict[str, int], reasons: Counter[str], fit: OlsFit | Refusal
) -> tuple[tuple[str, int, int], ...]:
    """Every row of the cohort is either in the model or left out of it for a stated reason."""
    eligible = _number(db, "SELECT count(*) FROM cohort WHERE eligible = 1")
    excluded = _number(db, "SELECT count(*) FROM cohort WHERE eligible = 0")
    return (
        (
            "cohort rows = linked, incomplete or held operations + imported rows",
            eligible + excluded,
            sum(links.get(status, 0) for status in ("linked", "incomplete", "held"))
            + _number(db, "SELECT count(*) FROM derived_import_row"),
        ),
        ("rows excluded = rows with a reason", excluded, reasons.total()),
        ("eligible rows = rows given to the model", eligible, fit.n_rows),
        ("rows given to the model = used + left out", fit.n_rows, fit.n_used + sum(fit.omitted.values())),
    )


def _groups(db: Database, sql: str) -> dict[str, int]:
    return dict(sorted((str(name), int(number)) for name, number in db.execute(sql)))


def _number(db: Database, sql: str, *values: str) -> int:
    return int(db.execute(sql, list(values)).fetchone()[0])
