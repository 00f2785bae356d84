"""What of the snapshots a change of the database concerns, noted by triggers where it is made.

A kind is a way in which rows of a view are found again: a message by its frame, a series, a patient, an episode, a
report. Which views go by which kind stands in :mod:`node.store.snapshot`. Every way in which a row of a view can change
is a line here; ``tests/node/test_snapshot.py`` compares what is renewed by these notes with what is made whole.
"""

from dataclasses import dataclass

from node.store.public_id import public_id_sql

MESSAGE, PREFIX, SERIES, PERSON, PATIENT = "frame", "prefix", "series", "person", "patient"
EPISODE, REPORT, NIGHT = "episode", "report", "night"


@dataclass(frozen=True, kw_only=True)
class Noted:
    """Changes of a table that concern a kind; ``key`` is an expression over ``row``, which is NEW or OLD."""

    table: str
    kind: str
    key: str
    actions: tuple[str, ...] = ("INSERT", "UPDATE", "DELETE")


_OF_READING = "(SELECT r.series_instance_uid FROM fact_reading AS r WHERE r.reading_id = row.reading_id)"
ONCE = ("INSERT", "DELETE")

NOTED = (
    Noted(table="fact_frame", kind=MESSAGE, key="row.frame_id", actions=ONCE),
    Noted(table="fact_frame", kind=PREFIX, key=public_id_sql("row.sha256"), actions=("DELETE",)),
    Noted(table="fact_frame_receipt", kind=MESSAGE, key="row.frame_id", actions=ONCE),
    Noted(table="derived_message", kind=MESSAGE, key="row.frame_id"),
    Noted(table="derived_instance", kind=SERIES, key="row.series_instance_uid"),
    Noted(table="derived_series", kind=SERIES, key="row.series_instance_uid"),
    Noted(table="derived_unsent_series", kind=SERIES, key="row.series_instance_uid"),
    Noted(table="derived_measurement", kind=SERIES, key="row.series_instance_uid"),
    Noted(table="record_measurement", kind=SERIES, key="row.series_instance_uid", actions=ONCE),
    Noted(table="state_first_measured", kind=SERIES, key="row.series_instance_uid", actions=ONCE),
    Noted(table="fact_reading", kind=SERIES, key="row.series_instance_uid", actions=ONCE),
    Noted(table="fact_reading_check", kind=SERIES, key=_OF_READING, actions=ONCE),
    Noted(table="fact_reading_step", kind=SERIES, key=_OF_READING, actions=ONCE),
    Noted(table="fact_reading_withdrawal", kind=SERIES, key=_OF_READING, actions=ONCE),
    Noted(table="derived_person", kind=PERSON, key="row.person"),
    Noted(table="derived_person", kind=PATIENT, key="row.pseudonym"),
    Noted(table="derived_identifier", kind=PERSON, key="row.person"),
    Noted(table="derived_blood_count", kind=PERSON, key="row.person"),
    Noted(table="derived_operation", kind=PERSON, key="row.person"),
    Noted(table="derived_link", kind=EPISODE, key="row.episode"),
    Noted(table="derived_import_row", kind=EPISODE, key="row.id"),
    Noted(table="record_flag", kind=EPISODE, key="row.episode", actions=ONCE),
    Noted(table="record_report", kind=REPORT, key="row.report_id"),
    Noted(table="record_mail", kind=REPORT, key="row.report_id", actions=ONCE),
    Noted(
        table="state_outgoing",
        kind=REPORT,
        key="(SELECT m.report_id FROM record_mail AS m "
        "WHERE row.kind = 'mail' AND m.mail_id = CAST(row.key AS INTEGER))",
    ),
    Noted(table="record_fit", kind=NIGHT, key="''", actions=ONCE),
    Noted(table="record_fit_term", kind=NIGHT, key="''", actions=ONCE),
    Noted(table="record_threshold", kind=NIGHT, key="''", actions=ONCE),
    Noted(table="fact_threshold_decision", kind=NIGHT, key="''", actions=ONCE),
)

EPISODES_OF_PERSON = (
    "INSERT INTO state_changed (kind, key) "
    "SELECT 'episode', l.episode FROM derived_link AS l WHERE l.person = row.person"
)
"""With a person the rows of their episodes come and go."""


def triggers() -> dict[str, str]:
    """The statements that make the triggers, by name."""
    found: dict[str, str] = {}
    for one in NOTED:
        for action in one.actions:
            name = f"{one.table}_{action.lower()}_{one.kind}_noted"
            rows = {"INSERT": ("NEW",), "DELETE": ("OLD",), "UPDATE": ("OLD", "NEW")}[action]
            notes = "".join(_note(one, row) for row in rows)
            found[name] = (
                f"CREATE TRIGGER {name} AFTER {action} ON {one.table} WHEN EXISTS (SELECT 1 FROM state_published) "
                f"BEGIN {notes}END"
            )
    return found


def _note(one: Noted, row: str) -> str:
    key = one.key.replace("row.", f"{row}.")
    note = (
        f"INSERT INTO state_changed (kind, key) SELECT '{one.kind}', k FROM (SELECT {key} AS k) WHERE k IS NOT NULL; "
    )
    if one.table == "derived_person" and one.kind == PERSON:
        note += EPISODES_OF_PERSON.replace("row.", f"{row}.") + "; "
    return note
