"""Alert rules and dashboard: what they ask for is what the node tells, and each rule fires when it should."""

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node.run.figures import FIGURES, PREFIX, of_the_machine
from node.run.metrics import serve_metrics
from node.settings import Dicom, DicomTls, Metrics, Settings, Storage
from node.store.database import insert, open_database
from node.store.presence import present
from tests.certificates import Certificates
from tests.node.test_metrics import scrape
from tests.ports import free_port

CONF = Path(__file__).resolve().parents[2] / "conf"
RULES, RULES_TEST = CONF / "prometheus" / "alerts.yml", CONF / "prometheus" / "alerts_test.yml"
DASHBOARD = CONF / "grafana" / "vbq-node.json"
AT = "2026-03-01T08:00:00.000000+00:00"


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not on this machine")
    return subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def text(tmp_path: Path, certificates: Certificates) -> str:
    """A scrape of a node on which there is something of everything that the rules ask for."""
    db = open_database(tmp_path, create=True)
    insert(db, "fact_frame", [{"frame_id": 1, "sha256": "0" * 64, "raw": b"MSH"}])
    insert(db, "fact_frame_receipt", [{"frame_id": 1, "received_at": AT, "peer_address": "10.1.2.3", "ack": ""}])
    insert(
        db, "fact_object",
        [{"object_id": 1, "sha256": "1" * 64, "size_bytes": 1, "sop_class_uid": "1", "sop_instance_uid": "1",
          "transfer_syntax_uid": "1"}],
    )  # fmt: skip
    insert(
        db, "fact_object_receipt",
        [{"object_id": 1, "received_at": AT, "calling_ae": "PACS", "peer_address": "10.1.2.4"}],
    )  # fmt: skip
    insert(
        db, "derived_series",
        [{"series_instance_uid": "1.2", "study_instance_uid": "1", "instances": 1, "instances_sha256": "", "chosen": 1,
          "role": "t1_sagittal", "reasons": "[]", "protocol": "{}", "last_received_at": AT, "missing_slices": 0,
          "completeness": "complete", "completeness_reasons": "[]"}],
    )  # fmt: skip
    insert(
        db, "derived_measurement",
        [{"series_instance_uid": "1.2", "source": "auto", "instances_sha256": "", "status": "review", "reasons": "[]",
          "rois": "{}", "algorithm_name": "a", "algorithm_version": "1"}],
    )  # fmt: skip
    insert(
        db, "state_run",
        [{"kind": "nightly", "night": "2026-03-01", "started_at": AT, "finished_at": AT, "status": "done"}],
    )  # fmt: skip
    insert(
        db, "state_outgoing",
        [{"kind": "mail", "peer": "", "key": str(number), "status": status, "attempts": 0, "enrolled_at": AT,
          "next_attempt_at": AT} for number, status in enumerate(("waiting", "dead"))],
    )  # fmt: skip
    insert(
        db, "state_backup",
        [{"folder": "b", "began_at": AT, "finished_at": AT, "status": "done", "reasons": "[]"}],
    )  # fmt: skip
    insert(db, "derived_link", [
        {"episode": "E1", "site": "s", "person": "p", "status": "held", "reasons": "[]", "eligible": 0,
         "exclusion_reasons": "[]"}
    ])  # fmt: skip
    db.close()
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "node.db").write_bytes(b"")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "dicom.json").write_text(json.dumps({"running": True, "since": AT, "failures": []}))
    pem = certificates.folder / "node.pem"
    tls = DicomTls(certificate=pem, key=certificates.folder / "node.key")
    settings = Settings(
        storage=Storage(folder=tmp_path), dicom=Dicom(tls=tls, port=free_port()), metrics=Metrics(port=free_port())
    )
    with serve_metrics(settings) as measured, present(tmp_path, "hl7"):
        measured.observe(3.0)
        return scrape(settings.metrics.port)


def test_a_certificate_that_is_gone_is_told(tmp_path: Path) -> None:
    tls = DicomTls(certificate=tmp_path / "gone.pem", key=tmp_path / "gone.key")
    settings = Settings(storage=Storage(folder=tmp_path), dicom=Dicom(tls=tls))
    told = {
        (one.name, one.labels["setting"]): one.value
        for family in of_the_machine(settings, now=datetime.now(UTC))
        for one in family.samples
        if "certificate" in one.name
    }
    assert told == {(f"{PREFIX}certificate_readable", "dicom.tls.certificate"): 0}


def asked(content: str) -> set[str]:
    return set(re.findall(rf"{PREFIX}\w+", content))


def told(text: str) -> set[str]:
    return {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}


def test_every_metric_that_rules_and_dashboard_ask_for_is_told(text: str) -> None:
    assert asked(RULES.read_text()) - told(text) == set()
    assert asked(DASHBOARD.read_text()) - told(text) <= {"vbq_node_problems"}  # there are none on this node


def test_the_rules_are_rules_and_each_fires_when_it_should_and_not_before() -> None:
    assert promtool("check", "rules", RULES).returncode == 0
    done = promtool("test", "rules", RULES_TEST)
    assert done.returncode == 0, done.stdout + done.stderr
    rules = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    assert set(re.findall(r"alertname: (\w+)", RULES_TEST.read_text())) == rules


def test_promtool_finds_nothing_to_complain_about_in_the_metrics(text: str) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not on this machine")
    done = subprocess.run([tool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() + done.stdout.splitlines() if "vbq_node" in line] == []


def test_names_say_the_unit_and_nothing_of_a_patient(text: str) -> None:
    for one in FIGURES:
        assert not one.grows or f"{PREFIX}{one.name}_total " in text
        assert ("unixepoch" in one.sql) == one.name.endswith("_timestamp_seconds"), one.name
    # 2026-03-01T08:00Z by date(1): 1772352000
    assert 'vbq_node_last_object_received_timestamp_seconds{calling_ae="PACS"} 1.772352e+09' in text
    assert 'setting="dicom.tls.certificate"' in text
    assert f'{PREFIX}certificate_readable{{setting="dicom.tls.certificate"}} 1.0' in text
    for bucket, number in (("2.0", 0), ("5.0", 1), ("+Inf", 1)):
        assert f'vbq_node_measurement_duration_seconds_bucket{{le="{bucket}"}} {number}.0' in text


def test_the_dashboard_is_one() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({one["id"] for one in panels}) == len({one["title"] for one in panels}) == len(panels) >= 15
    places = [tuple(one["gridPos"][name] for name in "xywh") for one in panels]
    taken = [(x + i, y + j) for x, y, w, h in places for i in range(w) for j in range(h)]
    assert len(taken) == len(set(taken))
    assert all(x + w <= 24 for x, _, w, _ in places)
