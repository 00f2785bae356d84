"""The PACS of the demo, to which the node sends its results: Orthanc where it is installed, else a folder of files."""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

import pydicom
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event

from node.demo.stage import DemoError, free_ports

AE_TITLE = "DEMOPACS"
ORTHANC = "Orthanc"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
CONFIG = "orthanc.json"
LOOPBACK = "127.0.0.1"


class DemoPacs:
    """A DICOM node on loopback that keeps what it is sent in a folder; begun anew there, it goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._binary = shutil.which(ORTHANC, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        config = folder / CONFIG
        if config.is_file():
            known = json.loads(config.read_text(encoding="utf-8"))
            self.port, self._http_port = known["DicomPort"], known["HttpPort"]
        else:
            self.port, self._http_port = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        self._server: Any = None

    @property
    def address(self) -> str | None:
        """Where a browser sees what it has; ``None`` where it is a folder."""
        return f"http://{LOOPBACK}:{self._http_port}/app/explorer.html" if self._binary else None

    def __enter__(self) -> Self:
        if self._binary is None:
            self._listen()
        else:
            self._start(self._binary)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def has(self) -> Counter[str]:
        """How many objects of each modality it has."""
        if self._binary is None:
            files = self.folder.glob("*.dcm")
            return Counter(str(pydicom.dcmread(file, specific_tags=["Modality"]).Modality) for file in files)
        found: Counter[str] = Counter()
        for one in self._get("/series?expand"):
            found[one["MainDicomTags"]["Modality"]] += len(one["Instances"])
        return found

    # ---- a folder --------------------------------------------------------------------------------------------------
    def _listen(self) -> None:
        entity = AE(ae_title=AE_TITLE)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), AllTransferSyntaxes)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._keep)]
        self._server = entity.start_server((LOOPBACK, self.port), block=False, evt_handlers=handlers)

    def _keep(self, event: Event) -> int:
        (self.folder / f"{event.dataset.SOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
        return 0x0000

    # ---- Orthanc ---------------------------------------------------------------------------------------------------
    def _start(self, binary: str) -> None:
        config = {
            "Name": "Demo PACS",
            "DicomAet": AE_TITLE,
            "DicomPort": self.port,
            "HttpPort": self._http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "Plugins": [],
        }
        path = self.folder / CONFIG
        path.write_text(json.dumps(config, indent=2), encoding="utf-8")
        with (self.folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen([binary, str(path)], stdout=log, stderr=log)  # noqa: S603  # found by name
        deadline = monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or monotonic() > deadline:
                raise DemoError(f"Orthanc did not come up; {self.folder / 'orthanc.log'} says why")
            sleep(0.1)

    def _answers(self) -> bool:
        try:
            self._get("/system")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def _get(self, path: str) -> Any:
        address = f"http://{LOOPBACK}:{self._http_port}{path}"
        with urllib.request.urlopen(address, timeout=START_TIMEOUT_S) as answer:  # loopback
            return json.load(answer)
