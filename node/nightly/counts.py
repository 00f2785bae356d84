"""The counts of a night: what arrived, was measured, linked and held, and whether the sums add up."""

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from sqlite_utils import Database

from analytics.methods.rows import Refusal
from analytics.paper.regression import OlsFit
from node.nightly.due import left_to_derive
from node.store.reasons import loaded

EXCLUSIONS = """
SELECT exclusion_reasons FROM derived_link WHERE eligible = 0 AND status IN ('linked', 'incomplete', 'held')
UNION ALL
SELECT exclusion_reasons FROM derived_import_row WHERE eligible = 0
"""
"""Exclusions of the rows of the view ``cohort``, as codes and values."""
UNREADABLE = "SELECT count(*) FROM derived_problem WHERE unit_kind = 'object' AND code = 'unreadable'"


@dataclass(frozen=True, kw_only=True)
class Sum:
    """Something counted as a whole and again by its parts, by two different queries: both must be the same."""

    whole: str
    n: int
    parts: dict[str, int]

    @property
    def adds_up(self) -> bool:
        """Whether nothing is lost and nothing counted twice."""
        return self.n == sum(self.parts.values())

    def in_words(self) -> str:
        """The equation with its numbers."""
        parts = " + ".join(f"{number} {part}" for part, number in self.parts.items())
        return f"{self.n} {self.whole} = {parts or '0'}"

    def alarm(self) -> str:
        """The equation that does not hold, and its two sides."""
        parts = " + ".join(self.parts) or "nothing"
        return f"{self.whole} = {parts}: {self.n} against {sum(self.parts.values())}"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Everything the report counts, grouped by state or by reason; ``alarms`` name ``sums`` that do not add up."""

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
    sums: tuple[Sum, ...]
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
    series = _groups(db, "SELECT state, count(*) FROM series WHERE state <> 'not sent' GROUP BY state")
    messages = _groups(db, "SELECT status, count(*) FROM messages GROUP BY status")
    links = _groups(db, "SELECT status, count(*) FROM derived_link GROUP BY status")
    eligible = _number(db, "SELECT count(*) FROM cohort WHERE eligible = 1")
    excluded = _number(db, "SELECT count(*) FROM cohort WHERE eligible = 0")
    reasons = read_exclusions(db)
    sums = _sums(db, series=series, messages=messages, links=links) + _cohort_sums(db, links, reasons, fit)
    return Counts(
        objects=_number(db, "SELECT count(*) FROM fact_object"),
        objects_unreadable=_number(db, UNREADABLE),
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
        sums=sums,
        alarms=tuple(one.alarm() for one in sums if not one.adds_up),
    )


def read_exclusions(db: Database) -> Counter[str]:
    """How many rows of the cohort are not eligible, by their first reason in short, so that the numbers add up."""
    reasons: Counter[str] = Counter()
    for (text,) in db.execute(EXCLUSIONS):
        reasons.update([reason.short() for reason in loaded(text)[:1]])
    return reasons


def _sums(db: Database, *, series: dict[str, int], messages: dict[str, int], links: dict[str, int]) -> tuple[Sum, ...]:
    """Sums that must add up: what was received is what was derived, nothing lost and nothing counted twice."""
    to_index = (
        "SELECT count(*) FROM fact_object AS o WHERE o.object_id NOT IN (SELECT object_id FROM derived_instance) "
        "AND o.object_id NOT IN (SELECT object_id FROM derived_superseded) "
        "AND o.sha256 NOT IN (SELECT unit_key FROM derived_problem WHERE unit_kind = 'object' AND code = 'unreadable')"
    )
    return (
        Sum(
            whole="images received",
            n=_number(db, "SELECT count(*) FROM fact_object"),
            parts={
                "indexed": _number(db, "SELECT count(*) FROM derived_instance"),
                "replaced by later ones": _number(db, "SELECT count(*) FROM derived_superseded"),
                "unreadable": _number(db, UNREADABLE),
                "still to index": _number(db, to_index),
            },
        ),
        Sum(
            whole="series seen",
            n=_number(db, "SELECT count(DISTINCT series_instance_uid) FROM derived_instance"),
            parts=series,
        ),
        Sum(
            whole="message frames received",
            n=_number(db, "SELECT count(*) FROM fact_frame"),
            parts={
                "interpreted": _number(db, "SELECT count(DISTINCT frame_id) FROM derived_message"),
                "still to interpret": messages.get("pending", 0),
            },
        ),
        Sum(
            whole="operations known",
            n=_number(db, "SELECT count(*) FROM derived_operation"),
            parts={status: number for status, number in links.items() if status != "provisional"},
        ),
    )


def _cohort_sums(db: Database, links: dict[str, int], reasons: Counter[str], fit: OlsFit | Refusal) -> tuple[Sum, ...]:
    """Every row of the cohort is either in the model or left out of it for a stated reason."""
    eligible = _number(db, "SELECT count(*) FROM cohort WHERE eligible = 1")
    excluded = _number(db, "SELECT count(*) FROM cohort WHERE eligible = 0")
    return (
        Sum(
            whole="cohort rows",
            n=eligible + excluded,
            parts={
                "linked, incomplete or held operations": sum(
                    links.get(status, 0) for status in ("linked", "incomplete", "held")
                ),
                "imported rows": _number(db, "SELECT count(*) FROM derived_import_row"),
            },
        ),
        Sum(whole="rows excluded", n=excluded, parts={"with a first reason": reasons.total()}),
        Sum(whole="eligible rows", n=eligible, parts={"given to the model": fit.n_rows}),
        Sum(
            whole="rows given to the model",
            n=fit.n_rows,
            parts={"used": fit.n_used, "left out": sum(fit.omitted.values())},
        ),
    )


def _groups(db: Database, sql: str) -> dict[str, int]:
    return dict(sorted((str(name), int(number)) for name, number in db.execute(sql)))


def _number(db: Database, sql: str, *values: str) -> int:
    return int(db.execute(sql, list(values)).fetchone()[0])
