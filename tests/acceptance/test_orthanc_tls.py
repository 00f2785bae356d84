"""TLS to a real peer: this node asks Orthanc and sends on to it, each known to the other by certificate."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.errors import UnreachableError
from node.outgoing.delivery import send_due
from node.outgoing.forward import FORWARD
from node.outgoing.queue import overview, register
from node.pacs.query import asking
from node.settings import Settings
from node.store.database import open_database
from tests.acceptance.orthanc import AE_TITLE, Orthanc
from tests.certificates import Certificates
from tests.node.dicom_samples import dcmtk, receive, stack


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Orthanc]:
    """Takes TLS only, and only from whom the authority knows."""
    one = Orthanc(
        tmp_path_factory.mktemp("pacs"),
        DicomTlsEnabled=True,
        DicomTlsRemoteCertificateRequired=True,
        DicomTlsCertificate=str(certificates.folder / "known.pem"),
        DicomTlsPrivateKey=str(certificates.folder / "known.key"),
        DicomTlsTrustedCertificates=str(certificates.folder / "ca.pem"),
    )
    one.start({})
    yield one
    one.stop()


def settings(folder: Path, pacs: Orthanc, certificates: Certificates, *, name: str, authority: str) -> Settings:
    remote = {
        "ae_title": AE_TITLE,
        "host": "127.0.0.1",
        "port": pacs.dicom_port,
        "tls": {
            "ca": certificates.folder / f"{authority}.pem",
            "certificate": certificates.folder / f"{name}.pem",
            "key": certificates.folder / f"{name}.key",
        },
    }
    peers = {"pacs": {"query": remote, "forward": remote}}
    return Settings.model_validate({"storage": {"folder": folder}, "dicom": {"peers": peers}})


def test_asked_and_sent_to_over_tls(tmp_path: Path, pacs: Orthanc, certificates: Certificates) -> None:
    # DCMTK agrees that it is there, over TLS and in no other way.
    place = ["127.0.0.1", str(pacs.dicom_port)]
    dcmtk("echoscu", *certificates.peer("node"), "-aec", AE_TITLE, *place)
    assert dcmtk("echoscu", "-to", "3", "-ta", "3", "-aec", AE_TITLE, *place, check=False).returncode != 0

    known = settings(tmp_path, pacs, certificates, name="node", authority="ca")
    db = open_database(tmp_path, create=True)
    register(db, FORWARD, known)
    images = stack(5)
    receive(tmp_path, *images)
    assert send_due(FORWARD, db, known, "pacs", threading.Event()).done == 5
    assert pacs.sop_instance_uids() == {str(image.SOPInstanceUID) for image in images}
    query = known.dicom.peers["pacs"].query
    assert query is not None
    with asking(query, ae_title="VBQNODE") as questions:
        (series,) = questions.series(str(images[0].StudyInstanceUID))
    assert series.instances == 5
    db.close()


@pytest.mark.parametrize(("name", "authority"), [("stranger", "ca"), ("node", "other")])
def test_neither_side_talks_to_one_that_it_does_not_know(
    tmp_path: Path, pacs: Orthanc, certificates: Certificates, name: str, authority: str
) -> None:
    wrong = settings(tmp_path, pacs, certificates, name=name, authority=authority)
    db = open_database(tmp_path, create=True)
    register(db, FORWARD, wrong)
    receive(tmp_path, *stack(5))
    assert send_due(FORWARD, db, wrong, "pacs", threading.Event()).done == 0
    (destination,) = overview(db, FORWARD)
    assert destination["waiting"] == 5
    assert "cannot be reached over TLS" in str(destination["last_error"])
    query = wrong.dicom.peers["pacs"].query
    assert query is not None
    with pytest.raises(UnreachableError), asking(query, ae_title="VBQNODE"):
        pass
    db.close()
