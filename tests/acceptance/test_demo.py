"""The demo as a user runs it; the same answer twice, after a rebuild, and after kill -9 at random moments."""

import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from datetime import date
from pathlib import Path
from random import Random
from time import sleep

import pytest
from hl7apy.parser import parse_message

from node.clock import now
from node.demo.hospital import TIME_ZONE, open_hospital
from node.demo.play import QUIET_S, Sent, add_readings, demo_key, play_hospital
from node.demo.stage import write_settings
from node.nightly.night import run_night
from node.people.imports import import_cohort
from node.store.database import open_database
from tests.acceptance.harness import Node, vbq_node
from tests.ports import free_ports

SEED = 1
NIGHT = date(2026, 3, 2)

# When bytes arrived, readings were stored and images measured, and how often, is the wall clock's; everything else must
# be the same.
RECEIVED_AT = frozenset(
    {"messages.received_at", "series.last_received_at", "readings.added_at", "measurements.measured_at"}
)
WALL_CLOCK = RECEIVED_AT | {"messages.times_received", "reports.mails_sent"}

OF_ONE_NODE = ("results", "audit")
"""How many versions a result has depends on what was known when the record was told; settings have their own ports."""

SEAL = re.compile(r"\d+:[0-9a-f]{64}")
"""Of the audit, in each nightly report; the audit is of one node."""

KILLS = 6
"""At most; on a fast machine the play ends before."""


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> list[Node]:
    """Two demos of one seed, run at the same time in two folders."""
    folders = [tmp_path_factory.mktemp("demo") for _ in range(2)]
    command = [sys.executable, "-m", "node", "demo", "--seed", str(SEED), "--folder"]
    running = [
        subprocess.Popen([*command, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for folder in folders
    ]
    for process, folder in zip(running, folders, strict=True):
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, out + err
        (folder / "shown.txt").write_text(out)
    return [Node(folder, config=folder / "node.toml") for folder in folders]


def test_the_surgeons_report_says_who_is_flagged_and_why(demos: list[Node]) -> None:
    demo = demos[0]
    tiers = [row["tier"] for row in demo.query("SELECT tier FROM flags WHERE latest = 1")]
    assert {tier: tiers.count(tier) for tier in tiers} == {"flagged": 2, "intermediate": 2, "lower": 1}
    links = [row["status"] for row in demo.query("SELECT status FROM links")]
    assert {status: links.count(status) for status in links} == {
        "linked": 5, "incomplete": 6, "cancelled": 1, "provisional": 1,
    }  # fmt: skip
    reasons = "\n".join(str(row["reasons"]) for row in demo.query("SELECT reasons FROM links"))
    for words in (
        "is more than 3 months before the operation",
        "is more than 30 days before the operation",
        "is preliminary, not final",
        "no blood count of this patient has been received",
        "no lumbar T1 series of this patient has been received",
        "the operation was cancelled",
        "no operation is known",
    ):
        assert words in reasons
    assert len(demo.query("SELECT * FROM operations WHERE moved_from IS NOT NULL")) == 1
    assert len(demo.query("SELECT * FROM blood_counts WHERE status = 'corrected'")) == 1
    assert {row["code"] for row in demo.query("SELECT code FROM problems")} == {
        "unidentified",
        "candidate",
        "counts-of-nobody",
    }
    (report,) = demo.query("SELECT * FROM reports")
    assert report["mails_sent"] == 1
    assert (demo.folder / "mail.html").is_file()
    assert (demo.data / "reports" / str(NIGHT) / "report.html").is_file()
    shown = (demo.folder / "shown.txt").read_text()
    assert "SELECT" in shown
    assert all(str(row["id"]) in str(report["text"]) for row in demo.query("SELECT id FROM flags"))


def test_the_record_gets_each_result_preliminary_and_then_final(demos: list[Node]) -> None:
    """As the record has kept them, one a file; read by another library than the one that wrote them."""
    demo = demos[0]
    told: dict[str, list[tuple[str, float | None]]] = {}
    for path in sorted((demo.folder / "record").iterdir()):
        message = parse_message(path.read_bytes().decode())
        assert message.validate()
        order = message.oru_r01_patient_result.oru_r01_order_observation
        observed = {one.obx.obx_3.obx_3_1.value: one.obx for one in order.oru_r01_observation}
        vbq = observed["VBQ"]
        status, value = vbq.obx_11.value, vbq.obx_5.value
        # On a busy machine a T2 comes when the T1 has been measured and told of; what it puts in doubt is taken back.
        assert (status == "W") == (not value)
        told.setdefault(order.obr.obr_3.value, []).append((status, float(value) if value else None))
    statuses = [[status for status, _ in one] for one in told.values()]
    assert all(one[-1] == "F" or one[-1] == "C" for one in statuses)
    # Four of the phantoms are in doubt until the reader has read them: nothing is told of them before.
    assert sum(one[0] == "P" for one in statuses) >= 8
    assert all("P" not in one[one.index("F") :] for one in statuses)
    current = demo.query("SELECT vbq_mean FROM measurements WHERE in_effect = 1 ORDER BY 1")
    last = {one[-1][1] for one in told.values()}
    assert last <= {round(float(str(row["vbq_mean"])), 3) for row in current}
    tiers = demo.query("SELECT tier FROM results WHERE latest = 1 AND tier IS NOT NULL")
    assert len(tiers) == 5
    states = demo.query("SELECT state FROM results WHERE latest = 1 AND destination = 'record'")
    assert {row["state"] for row in states} == {"kept"}


def test_the_measured_vbq_is_the_drawn_one(demos: list[Node]) -> None:
    true = {
        patient.examination.t1_series_uid: patient.phantom.true_vbq_mean for patient in open_hospital(SEED).patients
    }
    measured = demos[0].query("SELECT series_instance_uid, vbq_mean, status FROM measurements WHERE in_effect = 1")
    assert len(measured) == len(true)
    for row in measured:
        assert row["status"] == "measured"
        assert row["vbq_mean"] == pytest.approx(true[str(row["series_instance_uid"])], rel=0.05)


def apart(one: dict[str, list[str]], two: dict[str, list[str]]) -> dict[str, tuple[list[str], list[str]]]:
    """By view, the rows that only one of the two has; of all their rows nobody could see which they are."""
    one, two = ({view: [SEAL.sub("seal", row) for row in rows] for view, rows in each.items()} for each in (one, two))
    return {
        view: (sorted(set(one[view]) - set(two[view])), sorted(set(two[view]) - set(one[view])))
        for view in one
        if one[view] != two[view] and view not in OF_ONE_NODE
    }


def test_the_same_seed_gives_the_same_to_the_digit(demos: list[Node]) -> None:
    one, two = (demo.views(without=RECEIVED_AT, as_it_stands=True) for demo in demos)
    assert apart(one, two) == {}


def test_the_pacs_has_a_report_and_a_picture_of_everything_that_is_measured(demos: list[Node]) -> None:
    demo = demos[0]
    rows = demo.query(
        "SELECT kind, status, state, count(*) AS n FROM results "
        "WHERE latest = 1 AND destination = 'pacs' GROUP BY kind, status, state"
    )
    assert {(row["kind"], row["status"], row["state"]) for row in rows} == {
        ("sr", "final", "sent"), ("sc", "final", "sent"),
    }  # fmt: skip
    reports, pictures = (int(str(row["n"])) for row in rows)
    assert reports == pictures > 0
    shown = re.search(r"(\d+) reports \(SR\) and (\d+) pictures", (demo.folder / "shown.txt").read_text())
    assert shown is not None
    assert min(int(shown[1]), int(shown[2])) >= reports, "earlier versions are there, too"


def test_a_rebuild_arrives_at_the_same_answer(demos: list[Node]) -> None:
    demo = demos[1]
    before = demo.views()
    vbq_node("rebuild", "--config", str(demo.config))
    assert apart(demo.views(), before) == {}


def test_no_step_made_a_table_of_its_own(demos: list[Node], tmp_path: Path) -> None:
    with demos[0].database() as db:
        fresh = open_database(tmp_path, create=True)
        assert set(db.table_names()) == set(fresh.table_names())
        fresh.close()


def test_others_can_ask_the_snapshot_while_the_node_writes(demos: list[Node]) -> None:
    assert shutil.which("sqlite3"), "Debian's sqlite3 is needed: apt-get install sqlite3"
    snapshot = str(demos[0].data / "snapshots" / "node.db")
    query = "SELECT id, tier FROM flags WHERE latest = 1 ORDER BY id"
    expected = demos[0].query(query)
    with demos[0].database() as db:
        db.execute("BEGIN IMMEDIATE")
        try:
            shell = subprocess.run(
                ["sqlite3", "-readonly", "-json", snapshot, query], capture_output=True, text=True, check=True
            )
            assert json.loads(shell.stdout) == expected
            (port,) = free_ports(1)
            served = subprocess.Popen(
                [sys.executable, "-m", "datasette", "serve", "-i", snapshot, "--port", str(port),
                 "--metadata", str(Path(__file__).resolve().parents[2] / "conf" / "datasette.json")],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                url = f"http://127.0.0.1:{port}/node/flags.json?latest=1&_shape=objects&_sort=id"
                rows = _get(url)["rows"]
                assert [{"id": row["id"], "tier": row["tier"]} for row in rows] == expected
            finally:
                served.terminate()
                served.wait(20)
        finally:
            db.execute("ROLLBACK")


def _get(url: str) -> dict[str, list[dict[str, object]]]:
    for _ in range(150):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                found: dict[str, list[dict[str, object]]] = json.load(answer)
                return found
        except OSError:
            sleep(0.1)
    raise AssertionError("Datasette did not answer")


def test_killed_at_random_moments_the_node_ends_with_the_same_and_loses_nothing(
    demos: list[Node], tmp_path: Path
) -> None:
    random = Random(20260302)
    hospital = open_hospital(SEED)
    (no_mail_server,) = free_ports(1)
    node = Node(
        tmp_path, config=write_settings(tmp_path, mail_port=no_mail_server, time_zone=TIME_ZONE, quiet_s=QUIET_S)
    )
    settings = node.settings
    db = open_database(node.data, create=True, pseudonym_key=demo_key(SEED))
    history = tmp_path / "history.csv"
    history.write_text(hospital.history, encoding="utf-8")
    import_cohort(db, history, site=settings.site.name, now=now())
    sent: list[Sent] = []
    play = threading.Thread(target=lambda: sent.append(play_hospital(hospital, settings)))
    node.start()
    play.start()
    kills = 0
    try:
        while play.is_alive() and kills < KILLS:
            sleep(random.uniform(0.05, 0.7))
            node.kill()
            kills += 1
            node.start()
        play.join(180)
        assert sent, "the hospital got everything acknowledged"
        assert kills >= KILLS / 2, "the play lasted long enough to be interrupted"
        node.kill()  # and in the middle of the derivation
        node.start()
        node.settle(120)
        add_readings(db, settings, sent[0].readings)
        node.kill()
        node.start()
        node.settle(60)
        run_night(db, settings, night=NIGHT, now=hospital.night_at)
    finally:
        if node.running:
            node.kill()
    stored = {uid for (uid,) in db.execute("SELECT sop_instance_uid FROM fact_object")}
    assert set(sent[0].images) <= stored
    frames = {sha for (sha,) in db.execute("SELECT sha256 FROM fact_frame")}
    assert {message.sha256 for message in sent[0].messages} <= frames
    files = {path.stem for path in (node.data / "dicom").rglob("*.dcm")}
    assert {sha for (sha,) in db.execute("SELECT sha256 FROM fact_object")} <= files
    db.close()
    one, two = (demo.views(without=WALL_CLOCK, as_it_stands=True) for demo in (node, demos[0]))
    # That its roles ended so often is told to the administrator, when its turn comes, and of this node alone.
    one["reports"] = [row for row in one["reports"] if json.loads(row)["kind"] != "restarts"]
    assert apart(one, two) == {}
