"""A test system says so on every page, mail and object that leaves it; any other never does."""

import json
from contextlib import closing
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path

import pytest

from node.nightly import paper
from node.nightly.night import run_night
from node.outgoing.mail import notify_administrator
from node.results import fhir, oru
from node.settings import TEST_SYSTEM, FhirReceiver, Hl7Receiver, Mail, MailPolicy, Settings, Site, Storage, Web
from node.store.audit import newest_seal, note
from node.store.database import open_database, writing
from tests.node.night_world import NIGHT, NOW, RECIPIENTS, open_world, put_operation, settings_for
from tests.node.result_samples import result
from tests.node.results_world import due, measured, rendered
from tests.node.test_results_dicom import sent
from tests.node.web_world import Browser, serving
from tests.node.world import World
from tests.ports import free_port

TEST = Site(name="site", test_system=True, protocol="EK 1")
WORDS = TEST_SYSTEM.encode()


def test_every_mail_and_its_paper_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_paper: list[str] = []
    put = paper._put
    monkeypatch.setattr(
        paper, "_put", lambda page, x, y, text, **how: (on_paper.append(text), put(page, x, y, text, **how))
    )
    policies = dict.fromkeys(RECIPIENTS, MailPolicy(attach=("pdf",), quiet_nights=False))
    mail = Mail(port=1, recipients=RECIPIENTS, policies=policies, administrator="admin@site.invalid")
    settings = settings_for(tmp_path, site=TEST, mail=mail)
    with closing(open_world(tmp_path)) as db:
        put_operation(db, "E1")
        note(db, name="a", address="", action="b", subject="c", at=NOW)
        run_night(db, settings, night=NIGHT, now=NOW)
        seal = ":".join(str(one) for one in newest_seal(db))
        with writing(db):
            notify_administrator(db, settings, kind="notice", day=NIGHT, subject="a", text="b", now=NOW)
        mails = [message_from_bytes(mime, policy=SMTP) for (mime,) in db.execute("SELECT mime FROM record_mail")]
        text, html = db.execute("SELECT text, html FROM record_report WHERE kind = 'nightly'").fetchone()
    assert len(mails) >= 3
    for one in mails:
        assert one["Subject"].startswith("[TEST] ")
        assert one.get_body(("plain",)).get_content().count(TEST_SYSTEM) == 1
        page = one.get_body(("html",))
        assert page is None or TEST_SYSTEM in page.get_content()
    assert text.startswith(TEST_SYSTEM)
    assert TEST_SYSTEM in html
    assert text.rstrip().endswith(f"Seal of the audit: {seal}")
    assert seal in html
    assert on_paper[0].startswith(TEST_SYSTEM)


def test_messages_are_of_processing_id_t() -> None:
    # HL7 v2 table 0103: T training, P production.
    settings = Settings(site=TEST)
    receiver = Hl7Receiver(host="127.0.0.1", port=1, application="KIS", facility="KH")
    content = oru.render(result(banner=TEST.banner), receiver=receiver, settings=settings).content
    segments = [line.split("|") for line in content.decode().split("\r")]
    assert segments[0][10] == "T"
    assert next(one for one in segments if one[0] == "NTE")[3] == TEST_SYSTEM
    real = oru.render(result(), receiver=receiver, settings=Settings(site=Site(protocol="EK 1"))).content
    assert real.split(b"|")[10] == b"P"
    assert WORDS not in real


def test_fhir_resources_are_tagged() -> None:
    receiver = FhirReceiver(folder=Path("/srv"))
    content = fhir.render(result(banner=TEST.banner), receiver=receiver, settings=Settings(site=TEST)).content
    resources = [entry["resource"] for entry in json.loads(content)["entry"]]
    assert len(resources) > 1
    for resource in resources:
        assert [tag["code"] for tag in resource["meta"]["tag"]] == ["HTEST"]
        assert TEST_SYSTEM in json.dumps(resource)


def test_every_dicom_object_says_so(tmp_path: Path) -> None:
    world = measured(World(tmp_path), *sent())
    site = world.settings.site.model_copy(update={"test_system": True})
    world.settings = world.settings.model_copy(update={"site": site})
    due(world)
    objects = rendered(world)
    assert {kind for kind, _ in objects} >= {"sr", "sc"}
    assert [kind for (kind, _), content in objects.items() if WORDS not in content] == []
    world.db.close()


def test_every_page_says_so(tmp_path: Path) -> None:
    settings = Settings(site=TEST, storage=Storage(folder=tmp_path), web=Web(port=free_port()))
    open_database(tmp_path, create=True).close()
    with serving(settings):
        assert TEST_SYSTEM in Browser(port=settings.web.port).get("/login").text
