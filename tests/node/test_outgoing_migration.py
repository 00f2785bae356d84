"""What the four queues of schema 5 held is carried over into the one: nothing is lost, and nothing sent anew."""

from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.outgoing.forward import FORWARD
from node.outgoing.mail import MAIL
from node.outgoing.queue import claim, newly_due, overview
from node.outgoing.study_query import STUDY_QUERY
from node.settings import Settings
from node.store import schema
from node.store.database import DATABASE_NAME, insert, open_database
from tests.node.night_world import NOW

BEFORE_IT = 5
T = [f"2026-03-0{day}T10:00:00.000000+00:00" for day in range(10)]
FACTS = [
    *[
        f"INSERT INTO fact_object VALUES ({number}, '{number:064}', 9, '1.2', '1.2.{number}', '1.2.840.10008.1.2')"
        for number in (1, 2, 3, 4)
    ],
    "INSERT INTO fact_commitment_request VALUES (7, '1.2.3', '{1}', 'PACS', '10.0.0.1', '[]')",
    "INSERT INTO record_report VALUES ('1', '2026-03-02', 'nightly', '{1}', NULL, 's', 't', 'h', '{{}}')",
    *[
        f"INSERT INTO record_mail VALUES ({number}, '1', 'r{number}@site.invalid', '<{number}>', x'00', '{{1}}')"
        for number in (1, 2, 3)
    ],
]
BEFORE = [
    "INSERT INTO state_delivery VALUES (1, '{1}', 'sent', 2, '{2}', NULL, NULL, '{1}')",
    "INSERT INTO state_delivery VALUES (2, '{1}', 'waiting', 3, '{2}', '{3}', 'the server is down', NULL)",
    "INSERT INTO state_delivery VALUES (3, '{1}', 'dead', 1, '{2}', NULL, 'the mail server answered 550', NULL)",
    "INSERT INTO state_study_query VALUES ('1.2.3.4', 'pacs', 4, '{2}', 'PACS cannot be reached')",
    "INSERT INTO state_commitment VALUES (7, 2, '{2}', 'it did not answer')",
    "INSERT INTO state_destination VALUES ('archive', 3, 5, '{1}', '{2}', 'ARCHIVE cannot be reached')",
    "INSERT INTO state_forward VALUES ('archive', 1, 'sent', 1, '{2}', NULL, '{1}')",
    "INSERT INTO state_forward VALUES ('archive', 2, 'dead', 12, '{2}', 'it takes no MR', NULL)",
    "INSERT INTO state_forward VALUES ('archive', 3, 'waiting', 0, '{1}', NULL, NULL)",
]
AFTER = [
    ("mail", "", "1", "done", 2, T[1], T[2], None, None, T[1]),
    ("mail", "", "2", "waiting", 3, T[1], T[2], T[3], "the server is down", None),
    ("mail", "", "3", "dead", 1, T[1], T[2], None, "the mail server answered 550", None),
    ("study_query", "pacs", "1.2.3.4", "waiting", 4, T[2], T[2], None, "PACS cannot be reached", None),
    ("commitment", "", "7", "waiting", 2, T[1], T[2], None, "it did not answer", None),
    ("forward", "archive", "1", "done", 1, T[1], T[2], None, None, T[1]),
    ("forward", "archive", "2", "dead", 12, T[2], T[2], None, "it takes no MR", None),
    ("forward", "archive", "3", "waiting", 0, T[1], T[1], None, None, None),
]


@pytest.fixture
def db(tmp_path: Path) -> Database:
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)) as connection:
        for statement in schema.first_schema():
            connection.execute(statement)
        for migration in schema.migrations()[: BEFORE_IT - 1]:
            for statement in schema.statements(migration.script):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {BEFORE_IT}")
        for statement in (*FACTS, *BEFORE):
            connection.execute(statement.format(*T))
    return open_database(tmp_path, create=True)


def test_every_row_is_there_with_its_attempts_times_and_errors(db: Database) -> None:
    columns = "kind, peer, key, status, attempts, enrolled_at, next_attempt_at, leased_until, last_error, done_at"
    assert db.execute(f"SELECT {columns} FROM state_outgoing ORDER BY item_id").fetchall() == AFTER
    assert db.execute("SELECT * FROM state_outgoing_peer").fetchall() == [
        ("forward", "archive", 3, 5, T[1], T[2], "ARCHIVE cannot be reached")
    ]
    assert {name for name in db.table_names() if name.startswith("state_")}.isdisjoint(
        {"state_delivery", "state_study_query", "state_commitment", "state_destination", "state_forward"}
    )
    db.close()


def test_the_views_say_of_it_what_they_said(db: Database) -> None:
    assert db.execute("SELECT mails, mails_sent FROM reports").fetchone() == (3, 1)
    problems = db.execute(
        "SELECT step, source, code, detail FROM problems "
        "WHERE step IN ('mail', 'forward', 'commitment', 'completeness')"
    ).fetchall()
    assert set(problems) == {
        ("completeness", "peer pacs", "no-answer",
         "1 studies wait for its count of images; it said last: PACS cannot be reached"),
        ("forward", "peer archive", "unreachable",
         f"nothing can be sent on to it since {T[1]}: ARCHIVE cannot be reached"),
        ("forward", f"object {'0' * 12}", "undeliverable",
         "archive did not take it in 12 attempts: it takes no MR; `vbq-node forward retry` tries it again"),
        ("commitment", "request 7", "undeliverable",
         "PACS asked whether 0 objects are kept; the answer was not heard in 2 attempts: it did not answer"),
        ("mail", "mail <3>", "undeliverable", "the mail server answered 550"),
    }  # fmt: skip
    db.close()


def test_only_what_waited_is_sent_and_what_arrived_meanwhile(db: Database, tmp_path: Path) -> None:
    remote = {"ae_title": "ARCHIVE", "host": "127.0.0.1", "port": 104}
    settings = Settings.model_validate(
        {"storage": {"folder": tmp_path}, "dicom": {"peers": {"archive": {"forward": remote, "query": remote}}}}
    )
    assert [item.key for item in claim(db, FORWARD, settings, "archive", at=NOW.replace(day=9))] == ["3"]
    assert [item.key for item in claim(db, MAIL, settings, "", at=NOW.replace(day=9))] == ["2"]
    assert overview(db, FORWARD)[0] | {"last_error": None} == {
        "peer": "archive", "waiting": 1, "sent": 1, "given_up": 1, "failing_since": T[1], "last_error": None,
    }  # fmt: skip
    # The fourth object had arrived, but no round of the earlier version had come to it.
    receipt = {"object_id": 4, "received_at": T[1], "calling_ae": "X", "peer_address": "10.0.0.9"}
    insert(db, "fact_object_receipt", [receipt])
    assert newly_due(db, FORWARD, settings, "archive", at=NOW, after=3, up_to=4) == ["4"]
    assert newly_due(db, STUDY_QUERY, settings, "archive", at=NOW) == []
    db.close()
