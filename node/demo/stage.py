"""Where the demo plays: a folder with its settings, a real node as its own process, and a browser for pictures."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Self
from zoneinfo import ZoneInfo

from node.errors import InputError, NodeError, StoreError
from node.run.program import UP
from node.settings import Settings, load_settings

SITE = "Demo Hospital"
PROTOCOL = "DEMO 1"
"""Stands on all that leaves about a patient."""
RECIPIENT = "surgeons@demo.invalid"
PORTS = range(10_000, 20_000)
"""Below those that outgoing connections get."""
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 30.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PICTURE_TIMEOUT_S = 60.0
PICTURE_WIDTH_PX, PICTURE_HEIGHT_PX = 820, 3400
"""A mail client's column, and room for the whole report."""


class DemoError(NodeError):
    """The demo could not be played to its end."""


def empty_folder(folder: Path) -> Path:
    """Make the folder the demo plays in.

    Raises
    ------
    InputError
        There is something in it already: a second play on the same data would show less than it seems to.
    StoreError
        It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"the folder {folder} is not empty; give the demo a new one with --folder")
    except OSError as error:
        raise StoreError(f"cannot use the folder {folder}: {error.strerror or error}") from error
    return folder.resolve()


def write_settings(
    folder: Path,
    *,
    mail_port: int,
    time_zone: str,
    quiet_s: float,
    record_port: int | None = None,
    results: Mapping[str, object] | None = None,
) -> Path:
    """Write ``node.toml`` for a node on free ports of loopback; returns its path.

    With ``record_port`` results are sent to a record that listens there; ``results`` says where the PACS takes them.
    """
    dicom, hl7, metrics, web = free_ports(4)
    # The demo does its night by itself; the node's own is put off to where the demo will be long over.
    at = (datetime.now(UTC) + timedelta(hours=12)).astimezone(ZoneInfo(time_zone))
    sections: dict[str, dict[str, object]] = {
        "site": {"name": SITE, "time_zone": time_zone, "protocol": PROTOCOL},
        "storage": {"folder": str(folder / "data")},
        "dicom": {"port": dicom, "quiet_s": quiet_s},
        "hl7": {"port": hl7},
        "metrics": {"port": metrics},
        "web": {"port": web},
        "mail": {"host": "127.0.0.1", "port": mail_port, "sender": "vbq-node@demo.invalid", "recipients": [RECIPIENT]},
    }
    if record_port is not None:
        sections["hl7.receivers.record"] = {"host": "127.0.0.1", "port": record_port, "application": "RECORD"}
    lines = []
    for name, values in sections.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    lines += ["[nightly]", f"at = {at:%H:%M}:00"]
    if results is not None:
        lines += ["[dicom.peers.pacs.results]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in results.items()]
    config = folder / "node.toml"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return config


def free_ports(number: int) -> list[int]:
    """So many ports of loopback that nobody uses, and that no outgoing connection takes before they are opened."""
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == number:
            return found
    raise DemoError(f"no {number} free ports from {PORTS.start} to {PORTS.stop - 1}")


class NodeProcess:
    """A node as an operator starts it: ``vbq-node run``. What it prints goes to ``node.log`` beside its settings."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.log = config.with_name("node.log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> Settings:
        """The settings it reads."""
        return load_settings(self.config)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it says that it is up.

        Raises
        ------
        DemoError
            It has ended, or is not up in time; the log says why.
        """
        with self.log.open("ab") as log:
            begun = log.tell()
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and our own arguments
                [sys.executable, "-m", "node", "run", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        # Ports that answer say too little: one role that cannot open its own still ends the others with it.
        deadline = monotonic() + START_TIMEOUT_S
        while UP not in self.log.read_bytes()[begun:].decode(errors="replace"):
            if self._process.poll() is not None or monotonic() > deadline:
                self.stop()
                raise DemoError(f"the node did not come up; {self.log} says why")
            sleep(0.1)

    def stop(self) -> None:
        """Stop it as systemd does."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def picture_of(page: Path, picture: Path) -> Path | None:
    """Let a headless browser on the PATH draw an HTML file as PNG; ``None`` when there is none or it fails."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        return None
    command = [
        browser,
        "--headless",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={picture.parent / '.browser'}",
        f"--window-size={PICTURE_WIDTH_PX},{PICTURE_HEIGHT_PX}",
        f"--screenshot={picture}",
        page.resolve().as_uri(),
    ]
    if os.geteuid() == 0:
        command.insert(1, "--no-sandbox")  # Chromium refuses to run as root with its sandbox.
    try:
        subprocess.run(command, capture_output=True, timeout=PICTURE_TIMEOUT_S, check=True)  # noqa: S603  # found above
    except (subprocess.SubprocessError, OSError):
        return None
    return picture if picture.is_file() else None
