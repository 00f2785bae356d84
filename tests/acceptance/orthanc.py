"""Orthanc as the PACS: a process of its own in a folder of its own, on free ports, with nothing of the system's."""

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests.node.dicom_samples import write_file
from tests.ports import free_ports

BINARY = "Orthanc"
AE_TITLE = "ORTHANC"


class Orthanc:
    """A running Orthanc, once started."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.dicom_port, self.http_port = free_ports(2)
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, modalities: Mapping[str, tuple[str, int]]) -> None:
        """Start, knowing the given DICOM nodes of loopback (AE title and port by name), and wait until it answers."""
        binary = shutil.which(BINARY, path=f"{os.environ['PATH']}:/usr/sbin")
        if binary is None and os.environ.get("CI"):
            pytest.fail("Orthanc is not installed")
        if binary is None:
            pytest.skip("Orthanc is not installed")
        self.folder.mkdir(exist_ok=True)
        config = {
            "Name": AE_TITLE,
            "DicomAet": AE_TITLE,
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "Plugins": [],
            "DicomModalities": {name: [aet, "127.0.0.1", port] for name, (aet, port) in modalities.items()},
            # Whoever asks may ask and fetch: the node is tested, not Orthanc's access rules.
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowMove": True,
            **self.settings,
        }
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(config))
        with (self.folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen(
                [binary, str(path)], stdout=log, stderr=log, env={**os.environ, "TCP_NODELAY": "1"}
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                self.get("/system")
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < deadline, (self.folder / "orthanc.log").read_text(errors="replace")
                assert self._process.poll() is None, (self.folder / "orthanc.log").read_text(errors="replace")
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def get(self, path: str) -> object:
        return self._request(path, None)

    def post(self, path: str, body: object) -> object:
        return self._request(path, json.dumps(body).encode())

    def put_in(self, datasets: Iterable[Dataset]) -> list[str]:
        """Store objects in it over REST; returns its own ids of them, in their order."""
        found = []
        for dataset in datasets:
            content = write_file(self.folder / "one.dcm", dataset).read_bytes()
            answer = self._request("/instances", content)
            assert isinstance(answer, dict)
            found.append(str(answer["ID"]))
        return found

    def route(self, modality: str, ids: Iterable[str]) -> None:
        """Have it send objects (by its own ids of instances, series or studies) to a DICOM node it knows."""
        answer = self.post(f"/modalities/{modality}/store", {"Resources": list(ids), "Synchronous": True})
        assert isinstance(answer, dict)
        assert answer["FailedInstancesCount"] == 0

    def sop_instance_uids(self) -> set[str]:
        """Of everything it has."""
        answer = self.get("/instances?expand")
        assert isinstance(answer, list)
        return {one["MainDicomTags"]["SOPInstanceUID"] for one in answer}

    def file(self, sop_instance_uid: str) -> bytes:
        """The bytes it has of an object, as a DICOM file."""
        (found,) = self._lookup(sop_instance_uid)
        with urllib.request.urlopen(f"{self._url}/instances/{found}/file", timeout=20) as answer:
            return bytes(answer.read())

    def _lookup(self, uid: str) -> list[str]:
        answer = self._request("/tools/lookup", uid.encode())
        assert isinstance(answer, list)
        return [one["ID"] for one in answer if one["Type"] == "Instance"]

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def _request(self, path: str, body: bytes | None) -> object:
        with urllib.request.urlopen(self._url + path, data=body, timeout=60) as answer:
            return json.loads(answer.read())
