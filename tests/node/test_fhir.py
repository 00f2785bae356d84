"""Results as FHIR R4: valid to another reader, the same content as the HL7 message, put where they belong once."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class

from node.operate.erase import erase
from node.operate.named import given_away
from node.operate.person import find
from node.outgoing.delivery import Tally, send_due
from node.outgoing.fhir import FHIR
from node.outgoing.queue import register
from node.people.readings import approve
from node.people.results import withdraw
from node.results.content import Result
from node.results.fhir import render
from node.results.statements import CODES, statements
from node.settings import FhirReceiver, ServerTls, Settings
from node.steps.link import link_persons
from node.steps.measure import measure_readings
from node.store.audit import note
from node.tls import server_context
from tests.certificates import Certificates
from tests.node.dicom_samples import NOON
from tests.node.result_samples import APPROVAL, FINDING, OFFSET, SCORE, STANDING, WHOSE, result, withdrawn
from tests.node.test_measure_automatic import arrive, measure
from tests.node.world import SERIES, World, painted

SITE = Settings.model_validate({"site": {"name": "Haus am See", "time_zone": "Europe/Vienna"}})
ALL = FhirReceiver(folder=Path("/srv"), tell=("levels", "ratios", "counts", "tier"))
NEVER = threading.Event()
TOKEN = "secret-token"


def rendered(one: Result, receiver: FhirReceiver = ALL) -> bytes:
    return render(one, receiver=receiver, settings=SITE).content


def resources(content: bytes) -> dict[str, dict[str, Any]]:
    """By the code of each."""
    found = [one["resource"] for one in json.loads(content)["entry"]]
    return {one["code"]["coding"][0]["code"]: one for one in found}


# ---- what it says ----------------------------------------------------------------------------------------------
def test_a_library_of_fhir_finds_every_version_valid() -> None:
    """R4B has Observation, DiagnosticReport and Bundle as R4 has them, as far as they are used here."""
    first = result()
    second = result(replace(FINDING, approval=APPROVAL), before=first, body=rendered(first))
    third = result(withdrawn(), before=second, body=rendered(second), whose=None)
    for one, status in ((first, "preliminary"), (second, "final"), (third, "entered-in-error")):
        bundle = get_fhir_model_class("Bundle").model_validate_json(rendered(one))
        assert {entry.resource.status for entry in bundle.entry} == {status}
        assert {entry.request.method for entry in bundle.entry} == {"PUT"}


def test_the_same_numbers_as_the_statements() -> None:
    found = resources(rendered(result()))
    quantities = {
        one["code"]["coding"][0]["code"]: one["valueQuantity"]["value"]
        for resource in found.values()
        for one in (resource, *resource.get("component", ()))
        if "valueQuantity" in one
    }
    said = {CODES[one.name].split("^")[0]: one.value for one in statements(result(), ALL.tell, SITE.site)}
    tier, version = said.pop("TIER"), said.pop("THRESHOLDS")
    assert quantities == pytest.approx(said)
    assert found["TIER"]["valueCodeableConcept"]["coding"][0]["display"] == tier
    assert found["TIER"]["component"][0]["valueInteger"] == version
    assert found["VBQ"]["interpretation"][0]["coding"][0]["code"] == "H"
    assert found["NLR"]["interpretation"][0]["coding"][0]["code"] == "N"
    assert found["VBQ"]["effectiveDateTime"] == "2026-02-01T10:15:00+01:00"
    assert found["NLR"]["effectiveDateTime"] == "2026-02-20T08:30:00+01:00"
    assert found["26499-4"]["code"]["coding"][0]["system"] == "http://loinc.org"


def test_whose_it_is_under_which_protocol_and_of_which_examination() -> None:
    found = resources(rendered(result(), ALL.model_copy(update={"patient_system": "urn:oid:1.2.3"})))
    assert {json.dumps(one["subject"]) for one in found.values()} == {
        json.dumps({"type": "Patient", "identifier": {"value": "0012345", "system": "urn:oid:1.2.3"}})
    }
    report = found["VBQREPORT"]
    assert "EK 2026/17" in report["conclusion"]
    assert report["basedOn"][0]["identifier"]["value"] == "A-4711"
    full = {one["fullUrl"] for one in json.loads(rendered(result()))["entry"]}
    assert {one["reference"] for one in report["result"]} < full


def test_a_cut_that_holds_an_offset_says_so() -> None:
    moved = replace(FINDING, standing=replace(STANDING, reasons=(OFFSET,)))
    said = "VBQ cut of all scanners, +0.250 for B (adopted offset above A)"
    assert said in resources(rendered(result(moved)))["VBQREPORT"]["conclusion"]


def test_what_is_no_longer_told_is_in_error_and_has_no_value() -> None:
    first = result(replace(FINDING, approval=APPROVAL))
    told = rendered(first)
    moved = replace(FINDING, approval=APPROVAL, score=replace(SCORE, vbq_mean=2.6), blood=None, standing=None)
    found = resources(rendered(result(moved, before=first, body=told)))
    assert found["VBQ"]["status"] == "corrected"
    assert found["VBQREPORT"]["status"] == "corrected"
    assert {name for name, one in found.items() if one["status"] == "entered-in-error"} == {
        "NLR", "PLR", "26499-4", "26474-7", "26515-7", "TIER",
    }  # fmt: skip
    gone = rendered(result(withdrawn(), before=first, body=told, whose=None))
    assert resources(gone).keys() == resources(told).keys()
    for one in resources(gone).values():
        assert not {"valueQuantity", "valueCodeableConcept", "component", "result", "conclusion"} & one.keys()
    again = rendered(result(withdrawn(), before=result(withdrawn(), before=first, body=told), body=gone, whose=None))
    assert resources(again).keys() == resources(told).keys()
    # Another patient's images: taken back from the first, told of the second.
    other = result(before=first, body=told, whose=replace(WHOSE, patient_id="0099"))
    patients = {
        (one["resource"]["subject"]["identifier"]["value"], one["resource"]["status"])
        for one in json.loads(rendered(other))["entry"]
    }
    assert patients == {("0012345", "entered-in-error"), ("0099", "preliminary")}


# ---- sent ------------------------------------------------------------------------------------------------------
@dataclass
class FhirServer:
    """Takes transactions as a FHIR server does: each resource stands once, where its identifier is."""

    status: int = 200
    stored: dict[str, dict[str, Any]] = field(default_factory=dict)
    taken: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    port: int = 0

    @contextmanager
    def up(self, tls: ssl.SSLContext | None = None) -> Iterator[None]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._take(self)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join(20)
            server.server_close()

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        self.taken.append(body)
        self.headers.append(dict(request.headers))
        if self.status < 300:
            for entry in json.loads(body)["entry"]:
                self.stored[entry["request"]["url"]] = entry["resource"]
        request.send_response(self.status)
        if self.status == 302:
            request.send_header("Location", "/elsewhere")
        request.send_header("Content-Length", "0")
        request.end_headers()


@pytest.fixture
def server() -> FhirServer:
    return FhirServer()


def settings_of(world: World, **receiver: object) -> Settings:
    return Settings.model_validate(
        {
            "site": {"protocol": "EK 2026/17"},
            "storage": {"folder": world.folder},
            "fhir": {"receivers": {"record": receiver}},
        }
    )


@pytest.fixture
def measured(world: World) -> World:
    """A receiver is set up, then a series is measured."""
    register(world.db, FHIR, settings_of(world, folder=world.folder))
    arrive(world, *painted())
    measure(world)
    return world


def send(world: World, *, at: datetime = NOON, **receiver: object) -> Tally:
    link_persons(world.db, world.settings)
    return send_due(FHIR, world.db, settings_of(world, **receiver), "record", NEVER, clock=lambda: at)


def state(world: World) -> list[tuple[object, ...]]:
    return world.rows("SELECT status, state FROM results ORDER BY result_id")


def test_posted_preliminary_then_final_then_withdrawn(measured: World, server: FhirServer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)
    seen = []
    with server.up():
        place = {"url": f"http://127.0.0.1:{server.port}/r4", "token_file": token}
        for step in ("measured", "approved", "withdrawn"):
            if step == "approved":
                approve(measured.db, measured.archive, series_uid=SERIES, reader="Dr. A", now=NOON)
                measure_readings(measured.db, measured.archive)
            if step == "withdrawn":
                withdraw(measured.db, 2, by="Dr. A", why="wrong level", at=NOON)
            assert send(measured, **place).done == 1
            seen.append({one["status"] for one in server.stored.values()})
    assert seen == [{"preliminary"}, {"final"}, {"entered-in-error"}]
    assert len(server.stored) == 2, "one observation of VBQ with its parts, one report"
    assert [one["Content-Type"] for one in server.headers] == ["application/fhir+json"] * 3
    assert {one["Authorization"] for one in server.headers} == {f"Bearer {TOKEN}"}
    assert [one[1] for one in state(measured)] == ["kept"] * 3


@pytest.mark.parametrize("status", [302, 400, 404, 422, 500])
def test_what_the_server_refuses_is_tried_again_as_it_was(measured: World, server: FhirServer, status: int) -> None:
    server.status = status
    with server.up():
        place = {"url": f"http://127.0.0.1:{server.port}"}
        assert send(measured, **place).waiting == 1
        server.status = 201
        assert send(measured, at=NOON + timedelta(hours=1), **place).done == 1
    assert len(server.taken) == 2
    assert server.taken[0] == server.taken[1]
    assert str(status) in str(measured.rows("SELECT last_error FROM state_outgoing")) or state(measured)[0][1] == "kept"


@pytest.mark.parametrize("status", [401, 403, 429, 503])
def test_a_server_that_lets_nobody_in_costs_no_attempt(measured: World, server: FhirServer, status: int) -> None:
    server.status = status
    with server.up():
        assert send(measured, url=f"http://127.0.0.1:{server.port}") == Tally(reached=False)
    assert send(measured, at=NOON + timedelta(hours=1), url=f"http://127.0.0.1:{server.port}") == Tally(reached=False)
    assert measured.rows("SELECT attempts, status FROM state_outgoing") == [(0, "waiting")]


def test_https_to_whom_the_authority_knows(measured: World, server: FhirServer, certificates: Certificates) -> None:
    folder = certificates.folder
    context = server_context(ServerTls(port=1, certificate=folder / "known.pem", key=folder / "known.key"))
    with server.up(context):
        place = f"https://127.0.0.1:{server.port}"
        assert not send(measured, url=place, ca=folder / "other.pem").reached
        assert server.taken == []
        elsewhere = f"https://localhost:{server.port}"  # not the name in its certificate
        assert not send(measured, at=NOON + timedelta(hours=1), url=elsewhere, ca=folder / "ca.pem").reached
        assert server.taken == []
        assert send(measured, at=NOON + timedelta(hours=2), url=place, ca=folder / "ca.pem").done == 1


def test_a_file_each_that_is_there_whole(measured: World, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert send(measured, folder=folder) == Tally(reached=False)
    folder.mkdir()
    assert send(measured, at=NOON + timedelta(hours=1), folder=folder).done == 1
    (file,) = folder.iterdir()
    assert file.suffix == ".json"
    assert "0012345" not in file.name
    assert json.loads(file.read_bytes())["type"] == "transaction"
    assert state(measured) == [("preliminary", "kept")]


def test_an_erasure_lists_what_others_have_and_nothing_that_was_taken_back(measured: World, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    send(measured, folder=folder)
    note(measured.db, name="root", address="", action="export", subject="Partner University", at=NOON)
    settings = settings_of(measured, folder=folder)
    whole = find(measured.db, measured.archive, settings, "HOSPITAL|0012345")
    posted = settings_of(measured, url="https://fhir.hospital.example")
    assert list(given_away(measured.db, posted, whole)) == ["1 results at record", "exports for Partner University"]
    withdraw(measured.db, 1, why="wrong level", by="Dr. A", at=NOON)
    send(measured, at=NOON + timedelta(hours=1), folder=folder)
    assert list(given_away(measured.db, posted, whole)) == ["exports for Partner University"]
    done = erase(measured.db, settings, "HOSPITAL|0012345", by="DPO", why="Art. 17", now=NOON)
    files = {f"the file {file}" for file in folder.iterdir()}
    assert len(files) == 2
    assert {*done.elsewhere} == {*files, "exports for Partner University"}


@pytest.mark.parametrize("wrong", [
    {}, {"folder": "/srv", "url": "https://x"}, {"url": "http://fhir.hospital.example"}, {"url": "ftp://x"},
    {"url": "https://me:secret@x"}, {"folder": "here"},
])  # fmt: skip
def test_places_that_are_none(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"folder|url"):
        FhirReceiver.model_validate(wrong)
