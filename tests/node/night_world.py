"""A small cohort in a real database, for the tests of the night: 120 imported rows and a few upcoming operations."""

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
from sqlite_utils import Database

from analytics.reasons import Reason
from node.settings import Mail, MailPolicy, Settings, Storage
from node.store.database import insert, open_database, writing
from node.store.reasons import stored

NIGHT = date(2026, 3, 2)
NOW = datetime(2026, 3, 2, 3, 10, tzinfo=UTC)
RECIPIENTS = ("surgeon@site.invalid", "second@site.invalid")


def settings_for(folder: Path, **sections: object) -> Settings:
    """Settings of a node in this folder; the mail server does not exist unless given."""
    everything = dict.fromkeys(RECIPIENTS, MailPolicy(statistics=True))
    mail = Mail(port=1, recipients=RECIPIENTS, policies=everything, administrator="admin@site.invalid", timeout_s=2)
    return Settings(storage=Storage(folder=folder), **({"mail": mail} | sections))


def open_world(folder: Path, *, rows: int = 120) -> Database:
    """A database with imported rows; VBQ follows age, NLR and PLR with noise (seed 7)."""
    db = open_database(folder, create=True, pseudonym_key="00" * 32)
    random = np.random.default_rng(7)
    with writing(db):
        fact = {"import_id": 1, "sha256": "0" * 64, "file_name": "c.csv", "content": b"", "imported_at": "x"}
        insert(db, "fact_import", [fact])
        for number in range(rows):
            age, nlr, plr = random.integers(50, 85), random.gamma(4, 0.8), random.normal(230, 40)
            vbq = 1.6 + 0.012 * age + 0.03 * nlr + 0.0015 * plr + random.normal(0, 0.1)
            row = {
                "id": f"S{number:03d}", "site": "site", "import_id": 1, "line": number + 2, "vbq": float(vbq),
                "age": float(age), "sex_male": int(random.integers(2)), "smoking": int(random.integers(2)),
                "diabetes": int(random.integers(2)), "bmi": float(random.normal(24, 3)), "nlr": float(nlr),
                "plr": float(plr), "eligible": 1, "exclusion_reasons": "[]",
            }  # fmt: skip
            insert(db, "derived_import_row", [row])
    return db


def put_operation(
    db: Database,
    episode: str,
    *,
    vbq: float | None = 3.0,
    nlr: float = 3.0,
    plr: float = 200.0,
    surgery: str = "2026-03-10",
    status: str = "linked",
    reasons: tuple[str, ...] = (),
) -> None:
    """An operation as the link step would leave it; put again, it replaces what was there.

    Reasons are codes that no catalogue knows, which are shown as they are.
    """
    with writing(db):
        db.execute("DELETE FROM derived_link WHERE episode = ?", [episode])
        db.execute("DELETE FROM derived_operation WHERE booking = ?", [episode])
        db.execute("INSERT OR IGNORE INTO derived_identifier VALUES ('LOCAL', ?, ?)", [episode, f"LOCAL|{episode}"])
        db.execute(
            "INSERT OR IGNORE INTO derived_person (person, pseudonym) VALUES (?, ?)",
            [f"LOCAL|{episode}", f"P{episode}"],
        )
        operation = {"person": f"LOCAL|{episode}", "booking": episode, "planned_at": f"{surgery}T07:00:00+00:00"}
        insert(db, "derived_operation", [operation | {"date_only": 0, "cancelled": int(status == "cancelled")}])
        linked = status == "linked"
        row = {
            "episode": episode, "site": "site", "person": f"LOCAL|{episode}", "booking": episode, "status": status,
            "reasons": stored(map(Reason, reasons)), "surgery_date": surgery, "vbq": vbq, "age": 66, "sex_male": 0,
            "smoking": 0, "diabetes": 0, "bmi": 24.0, "nlr": nlr, "plr": plr, "eligible": int(linked),
            "exclusion_reasons": stored(map(Reason, () if linked else reasons or ("not linked",))),
        }  # fmt: skip
        insert(db, "derived_link", [row])
