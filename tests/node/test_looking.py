"""Status, doctor and health: what is wrong is said, by words and by an exit code, before somebody misses something."""

import json
import re
import shutil
import socket
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError

import pytest
import time_machine
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from node import settings as module
from node.clock import now, to_text
from node.operate.certificates import SECRETS, certificates
from node.operate.doctor import examine
from node.operate.status import needs_a_person
from node.run.metrics import serve_metrics
from node.settings import Dicom, DicomTls, Mail, Metrics, Settings, Storage
from node.store.database import insert, open_database
from node.store.presence import present
from tests.certificates import Certificates
from tests.commands import call
from tests.node.test_metrics import scrape
from tests.ports import free_port


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    open_database(tmp_path / "data", create=True).close()
    return Settings(storage=Storage(folder=tmp_path / "data"), metrics=Metrics(port=free_port()))


def finding(settings: Settings, check: str) -> tuple[bool, str]:
    return next((one.ok, one.detail) for one in examine(settings) if one.check == check)


def certificate_of(path: Path, begins_at: datetime, ends_at: datetime) -> Path:
    """A certificate that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    path.write_bytes(
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(begins_at).not_valid_after(ends_at)
        .sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )  # fmt: skip
    return path


def test_status_ends_with_3_when_something_needs_a_person_and_shows_local_times(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "node.toml"
    config.write_text("[site]\ntime_zone = 'Europe/Vienna'\n[logging]\nlevel = 'error'\n")
    assert call(monkeypatch, "status", "--config", config) == 0
    with closing(open_database(settings.storage.folder)) as db:
        insert(db, "fact_frame", [{"frame_id": 1, "sha256": "0" * 64, "raw": b"MSH"}])
        receipt = {"frame_id": 1, "received_at": "2026-07-01T22:30:00.000000+00:00", "peer_address": "a", "ack": ""}
        insert(db, "fact_frame_receipt", [receipt])
        run = {"kind": "nightly", "night": "2026-03-01", "started_at": to_text(now()), "status": "failed"}
        insert(db, "state_run", [run])
    capsys.readouterr()
    assert call(monkeypatch, "status", "--config", config) == 3
    shown = capsys.readouterr().out
    # Vienna is two hours ahead of UTC in July.
    assert "2026-07-02 00:30 CEST" in shown
    assert "1 nights failed" in shown
    assert call(monkeypatch, "status", "--json", "--config", config) == 3
    assert json.loads(capsys.readouterr().out)["last_message_received_at"] == "2026-07-01T22:30:00.000000+00:00"


def test_a_role_that_is_down_needs_a_person_and_is_not_ready(settings: Settings) -> None:
    folder = settings.storage.folder
    with closing(open_database(folder)) as db, serve_metrics(settings):
        assert needs_a_person(db, settings, now=now()) == []
        assert scrape(settings.metrics.port, "/healthz") == "ok\n"
        with present(folder, "dicom"), present(folder, "hl7"):
            assert scrape(settings.metrics.port, "/readyz") == "ok\n"
        with present(folder, "hl7"):
            assert needs_a_person(db, settings, now=now()) == ["these of its roles are not running: dicom"]
            with pytest.raises(HTTPError, match="503") as refused:
                scrape(settings.metrics.port, "/readyz")
            assert refused.value.read() == b"role dicom does not run\n"
            assert scrape(settings.metrics.port, "/healthz") == "ok\n"


def test_the_doctor_says_when_a_certificate_ends(settings: Settings, tmp_path: Path) -> None:
    begins = now().replace(microsecond=0)
    ends = begins + timedelta(days=60)
    pem = certificate_of(tmp_path / "node.pem", begins, ends)
    tls = DicomTls(certificate=pem, key=tmp_path / "absent.key", client_ca=tmp_path / "absent.pem")
    settings = settings.model_copy(update={"dicom": Dicom(tls=tls)})
    for left, ok, said in [
        (22, True, "in 22 days"),
        (21, False, "in 21 days"),
        (0, False, "any more"),
        (61, False, "yet"),
    ]:
        with time_machine.travel(ends - timedelta(days=left), tick=False):
            found, detail = finding(settings, "certificate dicom.tls.certificate")
            assert (found, said in detail) == (ok, True), detail
    assert finding(settings, "certificate dicom.tls.client_ca")[1].endswith("absent.pem cannot be read")


def test_all_certificates_of_the_settings_are_looked_at(certificates_of_all: Settings) -> None:
    assert sorted(one.setting for one in certificates(certificates_of_all)) == [
        "audit.syslog.tls.ca", "dicom.peers.pacs.query.tls.ca", "dicom.tls.certificate", "web.tls.certificate",
    ]  # fmt: skip


@pytest.fixture
def certificates_of_all() -> Settings:
    peer = {"query": {"ae_title": "A", "host": "h", "port": 104, "tls": {"ca": "a.pem"}}}
    return Settings.model_validate(
        {
            "audit": {"syslog": {"host": "h", "tls": {"ca": "s.pem"}}},
            "dicom": {"peers": {"pacs": peer}, "tls": {"certificate": "d.pem", "key": "d.key"}},
            "web": {"tls": {"certificate": "w.pem", "key": "w.key"}},
        }
    )


@pytest.mark.parametrize(("minutes", "fine"), [(-1, True), (10, True), (3 * 24 * 60, True), (-2, False), (-120, False)])
def test_a_clock_that_is_behind_that_of_the_senders_is_found(settings: Settings, minutes: int, fine: bool) -> None:
    """Messages that come before they were sent."""
    received = datetime(2026, 3, 1, 12, tzinfo=UTC)
    with closing(open_database(settings.storage.folder)) as db:
        for number in range(1, 8):
            insert(db, "fact_frame", [{"frame_id": number, "sha256": f"{number:064}", "raw": b""}])
            receipt = {"frame_id": number, "received_at": to_text(received), "peer_address": "", "ack": ""}
            insert(db, "fact_frame_receipt", [receipt])
            sent = to_text(received - timedelta(minutes=minutes))
            row = {"frame_id": number, "position": 1, "sent_at": sent, "status": "used", "reasons": "[]"}
            insert(db, "derived_message", [row])
    assert finding(settings, "clock")[0] == fine


def test_each_thing_that_is_wrong_with_settings_and_machine_is_found(
    settings: Settings, tmp_path: Path, certificates: Certificates
) -> None:
    free_mb = shutil.disk_usage(tmp_path).free // 1_000_000
    ended = certificate_of(tmp_path / "ended.pem", datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
    busy = free_port()
    with socket.create_server(("127.0.0.1", busy)):
        wrong = settings.model_copy(
            update={
                "storage": settings.storage.model_copy(update={"keep_free_mb": free_mb}),
                "dicom": Dicom(
                    tls=DicomTls(certificate=ended, key=certificates.folder / "no.key", port=busy), port=free_port()
                ),
                "web": settings.web.model_copy(update={"port": busy}),
                "mail": Mail(recipients=("a@site.invalid",), password_file=tmp_path / "no", port=free_port()),
            }
        )
        found = {one.check: one.detail for one in examine(wrong) if not one.ok}
    assert "images are refused" in found.pop("disk")
    assert found.pop("certificate dicom.tls.certificate") == "ended on 2025-01-01: nobody trusts it any more"
    assert found.pop("secret dicom.tls.key").endswith("no.key cannot be read: No such file or directory")
    assert found.pop("secret mail.password_file").endswith("no cannot be read: No such file or directory")
    for port in ("web", "dicom over TLS"):
        assert found.pop(f"port {port}") == f"127.0.0.1:{busy} something else listens; stop it, or set another port"
    assert "does not answer" in found.pop("mail")
    assert found == {}


def test_a_secret_that_systemd_hands_over_is_not_missed_by_a_command(settings: Settings) -> None:
    mail = Mail(recipients=("a@site.invalid",), password_file=Path("credential:vbq-node.mail"))
    found = examine(settings.model_copy(update={"mail": mail}))
    assert [one for one in found if one.check.startswith("secret")] == []


def test_doctor_looks_for_every_secret_that_settings_name() -> None:
    text = Path(module.__file__).read_text(encoding="utf-8")
    assert {*re.findall(r"^    (\w+): SecretFile", text, re.MULTILINE)} == {*SECRETS}
