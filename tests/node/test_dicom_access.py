"""Who is heard: peers by AE title and address, the called AE title, and TLS with DCMTK on the other side."""

import select
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from pydicom.uid import MRImageStorage
from pynetdicom import AE

from node import tls
from node.dicom.listener import run_receiver
from node.errors import ListenError
from node.operate.doctor import examine
from node.settings import Settings
from tests.certificates import Certificates
from tests.node.dicom_samples import dcmtk, mr_image, receiver, receiver_process, rejection_of, settings_for, stack
from tests.node.receiver_world import assert_stored, rows, sendable
from tests.ports import free_port

PACS = {"ae_titles": ["PACS1", "PACS2"], "addresses": ["127.0.0.1", "10.1.2.0/24"]}
ELSEWHERE = {"ae_titles": ["ELSEWHERE"], "addresses": ["10.9.9.9"]}


def answer(settings: Settings, calling: str, called: str = "VBQNODE") -> tuple[int, int, int] | None:
    """Ask for an association; what the rejection says (result, source, reason), or ``None`` when it was accepted."""
    entity = AE(ae_title=calling)
    entity.add_requested_context(MRImageStorage)
    one = entity.associate("127.0.0.1", settings.dicom.port, ae_title=called)
    if one.is_established:
        one.release()
        return None
    return rejection_of(one)


def test_only_peers_are_heard(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    settings = settings_for(tmp_path / "data", peers={"pacs": PACS, "elsewhere": ELSEWHERE})
    with receiver(settings):
        assert answer(settings, "PACS1") is None
        assert answer(settings, "PACS2", called="WHATEVER") is None
        # Rejected permanently, by the user of the service: the calling AE title is not recognised (PS3.8, 9.3.4).
        assert answer(settings, "PACS3") == (1, 1, 3)
        assert answer(settings, "ELSEWHERE") == (1, 1, 3)
    said = capsys.readouterr().out
    lines = {line.split("calling_ae=")[1].split()[0]: line for line in said.splitlines() if "rejected" in line}
    assert "its AE title is not in dicom.peers" in lines["PACS3"]
    assert "its AE title is that of a peer at another address" in lines["ELSEWHERE"]
    assert all("127.0.0.1" in line for line in lines.values())


def test_the_called_title_is_checked_where_it_is_set_so(tmp_path: Path):
    settings = settings_for(tmp_path / "data", check_called_ae=True)
    with receiver(settings):
        assert answer(settings, "PACS1") is None
        assert answer(settings, "PACS1", called="OTHER") == (1, 1, 7)
        refused = dcmtk("echoscu", "-aec", "OTHER", "127.0.0.1", str(settings.dicom.port), check=False)
    assert "Called AE Title Not Recognized" in refused.stdout + refused.stderr


def over_tls(folder: Path, certificates: Certificates, *, clients: bool = False, **dicom: object) -> Settings:
    tls = {
        "port": free_port(),
        "certificate": certificates.folder / "node.pem",
        "key": certificates.folder / "node.key",
        **({"client_ca": certificates.folder / "ca.pem"} if clients else {}),
    }
    return settings_for(folder, tls=tls, **dicom)


def tls_port(settings: Settings) -> str:
    assert settings.dicom.tls is not None
    return str(settings.dicom.tls.port)


def test_storescu_delivers_over_tls_and_plain_beside_it(tmp_path: Path, certificates: Certificates):
    settings = over_tls(tmp_path / "data", certificates)
    images = stack(4)
    paths = sendable(tmp_path / "out", images)
    anonymous = ["+tla", "+cf", str(certificates.folder / "ca.pem")]
    with receiver(settings):
        dcmtk("storescu", *anonymous, "127.0.0.1", tls_port(settings), *paths[:3])
        dcmtk("storescu", "127.0.0.1", str(settings.dicom.port), paths[3])
        plain = dcmtk("echoscu", "-ta", "5", "127.0.0.1", tls_port(settings), check=False)
    assert plain.returncode != 0
    assert_stored(settings, {str(image.SOPInstanceUID) for image in images})


def test_acceptor_processes_take_tls_from_several_senders_at_once(tmp_path: Path, certificates: Certificates):
    settings = over_tls(tmp_path / "data", certificates, clients=True, processes=2)
    groups = [stack(6, series=str(number)) for number in range(4)]
    with receiver_process(settings), ThreadPoolExecutor(len(groups)) as pool:
        sending = [
            pool.submit(
                dcmtk, "storescu", *certificates.peer("known"), "-aet", f"SENDER{number}", "127.0.0.1",
                tls_port(settings), *sendable(tmp_path / f"out{number}", group),
            )
            for number, group in enumerate(groups)
        ]  # fmt: skip
        for one in sending:
            one.result()
        stranger = dcmtk("echoscu", *certificates.peer("stranger"), "127.0.0.1", tls_port(settings), check=False)
    assert stranger.returncode != 0
    assert_stored(settings, {str(image.SOPInstanceUID) for group in groups for image in group})
    by_sender = "SELECT calling_ae, count(*) FROM fact_object_receipt GROUP BY calling_ae ORDER BY calling_ae"
    assert rows(settings, by_sender) == [(f"SENDER{number}", 6) for number in range(4)]


def test_client_certificates(tmp_path: Path, certificates: Certificates):
    settings = over_tls(tmp_path / "data", certificates, clients=True)
    paths = sendable(tmp_path / "out", stack(2))
    with receiver(settings):
        dcmtk("storescu", *certificates.peer("known"), "127.0.0.1", tls_port(settings), paths[0])
        for options in (certificates.peer("stranger"), ["+tla", "+cf", str(certificates.folder / "ca.pem")]):
            refused = dcmtk("storescu", *options, "127.0.0.1", tls_port(settings), paths[1], check=False)
            assert refused.returncode != 0
    assert rows(settings, "SELECT count(*) FROM fact_object") == [(1,)]


def test_only_tls_from_1_2_on_with_forward_secrecy(tmp_path: Path, certificates: Certificates):
    settings = over_tls(tmp_path / "data", certificates)

    def handshake(change: str) -> str | None:
        context = ssl.create_default_context(cafile=certificates.folder / "ca.pem")
        context.check_hostname = False
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(change)
        with socket.create_connection(("127.0.0.1", int(tls_port(settings))), timeout=10) as plain:
            try:
                with context.wrap_socket(plain) as secured:
                    return secured.version()
            except ssl.SSLError:
                return None

    with receiver(settings):
        assert handshake("ECDHE-RSA-AES256-GCM-SHA384") == "TLSv1.2"
        assert handshake("AES256-GCM-SHA384") is None
        assert handshake("ECDHE-RSA-AES256-SHA384") is None


def test_silent_peers_in_mid_handshake_hold_nobody_up(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tls, "HANDSHAKE_TIMEOUT_S", 4.0)
    settings = over_tls(tmp_path / "data", certificates, max_associations=2)
    (path,) = sendable(tmp_path / "out", [mr_image()])
    with receiver(settings):
        silent = [socket.create_connection(("127.0.0.1", int(tls_port(settings)))) for _ in range(12)]
        for one in silent[:6]:
            one.sendall(b"\x16\x03\x01")
        dcmtk("storescu", *certificates.peer("known"), "127.0.0.1", tls_port(settings), path)
        assert not select.select(silent, [], [], 0)[0], "it did not wait for the silent ones: each is still connected"
        for one in silent:
            one.settimeout(10)
            assert one.recv(10) == b""
            one.close()
    assert_stored(settings, {str(mr_image().SOPInstanceUID)})


def test_connections_that_say_nothing_hold_no_slot(tmp_path: Path):
    settings = settings_for(tmp_path / "data", max_associations=1)
    address = ("127.0.0.1", settings.dicom.port)
    with receiver(settings):
        for _ in range(30):
            socket.create_connection(address).close()
        silent = [socket.create_connection(address) for _ in range(5)]
        assert answer(settings, "PACS1") is None
        for one in silent:
            one.close()


def test_addresses_and_peers_hold_for_tls(tmp_path: Path, certificates: Certificates):
    settings = over_tls(tmp_path / "data", certificates, peers={"elsewhere": ELSEWHERE})
    with receiver(settings):
        refused = dcmtk("echoscu", *certificates.peer("known"), "127.0.0.1", tls_port(settings), check=False)
    assert refused.returncode != 0
    settings = over_tls(tmp_path / "other", certificates, peers={"pacs": PACS})
    with receiver(settings):
        known = certificates.peer("known")
        dcmtk("echoscu", *known, "-aet", "PACS1", "127.0.0.1", tls_port(settings))
        refused = dcmtk("echoscu", *known, "-aet", "PACS9", "127.0.0.1", tls_port(settings), check=False)
    assert "Calling AE Title Not Recognized" in refused.stdout + refused.stderr


def test_certificates_that_cannot_be_used_are_one_clear_line(tmp_path: Path, certificates: Certificates):
    good = over_tls(tmp_path / "data", certificates)
    assert good.dicom.tls is not None
    locked = certificates.folder / "locked.key"
    command = ["openssl", "rsa", "-aes128", "-passout", "pass:x", "-in", "node.key", "-out", "locked.key"]
    subprocess.run(command, cwd=certificates.folder, check=True, capture_output=True)
    locked.chmod(0o600)
    for name in ("absent.key", "known.key", "ca.pem", "locked.key"):
        tls = good.dicom.tls.model_copy(update={"key": certificates.folder / name})
        bad = good.model_copy(update={"dicom": good.dicom.model_copy(update={"tls": tls})})
        with pytest.raises(ListenError, match=r"check dicom\.tls\.certificate, key and client_ca"):
            run_receiver(bad, threading.Event())
        why = {
            "absent.key": "cannot be read", "known.key": "known.key is of another certificate",
            "ca.pem": "ca.pem cannot be used", "locked.key": "the key asks for a passphrase",
        }[name]  # fmt: skip
        assert [one.check for one in examine(bad) if not one.ok and why in one.detail]
    assert [one.ok for one in examine(good) if one.check == "certificate dicom.tls.certificate"] == [False]  # 2 days
    with time_machine.travel(datetime.now(UTC) - timedelta(days=1)):
        (said,) = [one for one in examine(good) if one.check == "certificate dicom.tls.certificate"]
    assert not said.ok
    assert "nobody trusts it yet" in said.detail


def test_established_associations_survive_the_handshake_time_out(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tls, "HANDSHAKE_TIMEOUT_S", 0.5)
    settings = over_tls(tmp_path / "data", certificates)
    context = ssl.create_default_context(cafile=certificates.folder / "ca.pem")
    context.check_hostname = False
    entity = AE(ae_title="SENDER")
    entity.add_requested_context(MRImageStorage)
    with receiver(settings):
        one = entity.associate("127.0.0.1", int(tls_port(settings)), tls_args=(context, None))
        assert one.is_established
        time.sleep(1)
        assert one.send_c_store(mr_image()).Status == 0
        one.release()
