"""A node's data as the pages show them, and the pages over real HTTP."""

import hashlib
import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from node.clock import now
from node.demo.hospital import open_hospital
from node.people.users import add_user
from node.settings import Dicom, Hl7, Settings, Site, Storage, Web
from node.steps.worker import run_pending
from node.store.archive import Archive
from node.store.database import insert, open_database, writing
from node.web.server import run_web
from tests.node.dicom_samples import receive
from tests.ports import free_port

PASSWORD = "a long enough password"
KEY = "00" * 32
WHOLE, GAP, ZEROS = "P01", "P03", "P11"
"""Patients: one whose series is measured, one in whose series a slice is missing, one whose count lost its zeros."""


MakeNode = Callable[[Path], Settings]
"""Of the fixture ``make_node``: a node in a folder, as :func:`fill` makes it."""


def settings_in(folder: Path) -> Settings:
    """Those of a node whose data are in a folder; its pages have a port of their own."""
    return Settings(
        site=Site(name="Test Hospital", time_zone="Europe/Vienna"),
        storage=Storage(folder=folder),
        dicom=Dicom(quiet_s=1),
        hl7=Hl7(),
        web=Web(port=free_port()),
    )


def fill(folder: Path) -> None:
    """Two examinations with bookings and counts, derived; accounts of every role under :data:`PASSWORD`."""
    settings = settings_in(folder)
    today = now().astimezone(settings.site.zone).date()
    hospital = open_hospital(1, night=today)
    cast = {one.part.key: one for one in hospital.patients}
    db = open_database(folder, create=True, pseudonym_key=KEY)
    for key in (WHOLE, GAP):
        t1 = [one for one in cast[key].images(cast[key].study()) if one.SeriesInstanceUID == t1_of(cast[key])]
        t1.sort(key=lambda one: int(one.InstanceNumber))
        receive(
            folder, *(one for place, one in enumerate(t1) if key == WHOLE or place != 4), at=now() - timedelta(days=2)
        )
    wanted = [cast[key].part.number.encode() for key in (WHOLE, GAP, ZEROS)] + [b"40110"]
    for raw in (*hospital.his, *hospital.lis):
        if any(number in raw for number in wanted):
            keep(db, raw)
    archive = Archive(folder)
    while run_pending(db, archive, settings, at=now()):
        pass
    for role in ("reader", "surgeon", "keeper", "engineer"):
        add_user(db, role, roles=[role], password=PASSWORD, now=now())
    add_user(db, "second", roles=["reader"], password=PASSWORD, now=now())
    db.close()


def t1_of(patient: Any) -> str:
    """The UID of a patient's T1 series."""
    return str(patient.examination.t1_series_uid)


def keep(db: Any, raw: bytes) -> None:
    """A message as the listener keeps it."""
    with writing(db):
        row = {"sha256": hashlib.sha256(raw).hexdigest(), "raw": raw}
        if not db.execute("SELECT 1 FROM fact_frame WHERE sha256 = :sha256", row).fetchone():
            insert(db, "fact_frame", [row])


@contextmanager
def serving(settings: Settings) -> Iterator[None]:
    """The pages in a thread; ended and joined at the end."""
    ready, stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=run_web, args=[settings, stop], kwargs={"ready": ready.set})
    thread.start()
    try:
        assert ready.wait(60)
        yield
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the pages answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8")


@dataclass
class Browser:
    """A client that keeps cookies and follows nothing."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"

    def get(self, path: str, **headers: str) -> Answer:
        """Ask for a page."""
        return self._ask("GET", path, None, headers)

    def post(self, path: str, form: dict[str, str] | None = None, **headers: str) -> Answer:
        """Send a form."""
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return self._ask("POST", path, urlencode(form or {}).encode(), {**kind, **headers})

    def send(self, path: str, body: bytes, **headers: str) -> Answer:
        """Send what a script of the pages sends."""
        return self._ask(
            "POST", path, body, {"content-type": "application/json", "accept": "application/json", **headers}
        )

    def log_in(self, name: str, password: str = PASSWORD) -> Answer:
        """Log in."""
        return self.post("/login", {"name": name, "password": password})

    def token(self, path: str = "/") -> str:
        """The token that the forms of a page bring."""
        found = re.search(r'name="form_token" value="([^"]+)"', self.get(path).text)
        assert found
        return found[1]

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection(self.address, self.port, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection.request(method, path, body, sent)
        got = connection.getresponse()
        content = got.read()
        for line in got.headers.get_all("set-cookie") or []:
            name, _, value = line.split(";")[0].partition("=")
            self.cookies[name] = value.strip('"')
        connection.close()
        return Answer(status=got.status, headers={k.lower(): v for k, v in got.headers.items()}, body=content)
