"""The pages over HTTP: who may see and do what, what is stored, and what attacks come to."""

import html
import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import time_machine
from sqlite_utils.utils import sqlite3

from node.clock import now
from node.errors import InputError, SettingsError
from node.people.users import add_user, disable_user, find_user, list_users, set_password, verify
from node.settings import Settings, Web, WebProxy, load_settings
from node.steps.worker import run_pending
from node.store import audit
from node.store.archive import Archive
from node.store.database import open_database
from node.store.public_id import public_id_of
from tests.node.web_world import PASSWORD, Browser, MakeNode, serving
from tests.ports import free_port


@pytest.fixture(scope="module")
def pages(make_node: MakeNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = make_node(tmp_path_factory.mktemp("web"))
    with serving(settings):
        yield settings


@pytest.fixture
def browser(pages: Settings) -> Browser:
    return Browser(pages.web.port)


def logged_in(pages: Settings, name: str) -> Browser:
    browser = Browser(pages.web.port)
    assert browser.log_in(name).headers["location"] == "/"
    return browser


def series_of(pages: Settings, status: str) -> tuple[str, dict[str, list[float]], int]:
    """Series, circles and InstanceNumber of the automatic measurement with this status."""
    with closing(open_database(pages.storage.folder)) as db:
        uid, rois, number = db.execute(
            "SELECT series_instance_uid, rois, instance_number FROM derived_measurement "
            "WHERE reading_id IS NULL AND current = 1 AND status = ?", [status]
        ).fetchone()  # fmt: skip
    circles = {name: [one["row"], one["col"], one["radius_px"]] for name, one in json.loads(rois).items()}
    return uid, circles, number


def derive(pages: Settings) -> None:
    with closing(open_database(pages.storage.folder)) as db:
        while run_pending(db, Archive(pages.storage.folder), pages, at=now()):
            pass


# ---- who is there ----------------------------------------------------------------------------------------------------
def test_without_a_session_every_page_leads_to_the_log_in(browser: Browser) -> None:
    for path in ("/", "/patients", "/series/000000000000", "/patients/x"):
        answer = browser.get(path)
        assert (answer.status, answer.headers["location"]) == (303, "/login"), path
    assert browser.get("/health").text == "ok\n"


def test_log_in_and_out(browser: Browser) -> None:
    assert browser.log_in("reader", "not the password").status == 401
    assert "vbq_session" not in browser.cookies
    assert browser.log_in("nobody").status == 401
    assert browser.log_in("reader").status == 303
    page = browser.get("/")
    assert page.status == 200
    assert "Log out (reader)" in page.text
    before = dict(browser.cookies)
    assert browser.post("/logout", {"form_token": browser.token()}).status == 303
    browser.cookies = before
    assert browser.get("/").status == 303, "the session itself has ended, not the cookie alone"


def test_the_session_cookie_is_closed_to_scripts_and_a_new_one_at_each_log_in(pages: Settings) -> None:
    browser = Browser(pages.web.port, cookies={"vbq_session": "chosen-by-somebody-else"})
    answer = browser.log_in("reader")
    assert browser.cookies["vbq_session"] != "chosen-by-somebody-else", "session fixation"
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert "samesite=lax" in answer.headers["set-cookie"].lower()


def test_a_session_ends_when_it_is_not_used_and_at_the_latest_after_the_set_hours(pages: Settings) -> None:
    browser = logged_in(pages, "reader")
    with time_machine.travel(now() + timedelta(minutes=29), tick=False):
        assert browser.get("/").status == 200
    with time_machine.travel(now() + timedelta(minutes=29 + 31), tick=False):
        assert browser.get("/").status == 303
    browser = logged_in(pages, "reader")
    for minutes in range(20, 600, 20):
        with time_machine.travel(now() + timedelta(minutes=minutes), tick=False):
            assert browser.get("/").status == 200
    with time_machine.travel(now() + timedelta(minutes=602), tick=False):
        assert browser.get("/").status == 303


def test_after_five_failures_nobody_may_try_under_that_name_for_a_quarter_of_an_hour(tmp_path: Path) -> None:
    settings = Settings.model_validate({"storage": {"folder": tmp_path}, "web": {"port": free_port()}})
    with closing(open_database(tmp_path, create=True)) as db:
        add_user(db, "reader", roles=["reader"], password=PASSWORD, now=now())
    with serving(settings):
        browser = Browser(settings.web.port)
        for _ in range(5):
            assert browser.log_in("reader", "wrong wrong wrong").status == 401
        assert browser.log_in("reader").status == 429, "with the right password, too"
        with time_machine.travel(now() + timedelta(minutes=16), tick=False):
            assert browser.log_in("reader").status == 303
        # Nor from that address, whatever it says of where it comes from.
        with time_machine.travel(now() + timedelta(minutes=40), tick=False):
            for n in range(5):
                wrong = {"name": f"nobody {n}", "password": "wrong wrong wrong"}
                assert browser.post("/login", wrong, x_forwarded_for=f"10.0.0.{n}").status == 401
            right = {"name": "reader", "password": PASSWORD}
            assert browser.post("/login", right, x_forwarded_for="10.0.0.9").status == 429


def test_a_proxy_is_believed_from_its_address_alone_and_only_one_header(tmp_path: Path) -> None:
    with closing(open_database(tmp_path, create=True)) as db:
        add_user(db, "reader", roles=["reader"], password=None, now=now())
    for addresses, status in ((["127.0.0.1"], 200), (["10.1.2.3"], 401)):
        settings = Settings.model_validate(
            {"storage": {"folder": tmp_path}, "web": {"port": free_port(), "proxy": {"addresses": addresses}}}
        )
        with serving(settings):
            browser = Browser(settings.web.port)
            assert browser.get("/", x_remote_user="reader").status == status
            assert browser.get("/", x_remote_user="nobody").status == 401
            assert browser.get("/").status == 401
            assert browser.log_in("reader").status == 401, "no passwords beside a proxy"
            with closing(socket.create_connection(("127.0.0.1", settings.web.port))) as raw:
                raw.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx-remote-user: reader\r\nX-Remote-User: keeper\r\n\r\n")
                assert raw.recv(4096).startswith(b"HTTP/1.1 401")


def test_without_a_proxy_its_headers_say_nothing(browser: Browser) -> None:
    for name in ("x_remote_user", "remote_user", "x_forwarded_user", "x_forwarded_for", "forwarded", "authorization"):
        assert browser.get("/", **{name: "reader"}).headers["location"] == "/login", name
    assert browser.get("/", host="elsewhere.invalid").headers["location"] == "/login", "never to another host"


def test_beyond_loopback_only_with_tls_or_a_proxy(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text('[web]\nhost = "0.0.0.0"\nallow = ["10.0.0.0/8"]\n')
    with pytest.raises(SettingsError, match="web\\.tls"):
        load_settings(config)
    config.write_text('[web]\nhost = "0.0.0.0"\nallow = ["10.0.0.0/8"]\nproxy = {addresses = ["10.1.1.1"]}\n')
    assert load_settings(config).web.proxy == WebProxy(addresses=("10.1.1.1",))
    config.write_text('[web]\nhost = "0.0.0.0"\nproxy = {addresses = ["10.1.1.1"]}\n')
    with pytest.raises(SettingsError, match="allow"):
        load_settings(config)
    assert Web().host == "127.0.0.1"


# ---- accounts --------------------------------------------------------------------------------------------------------
def test_accounts(tmp_path: Path) -> None:
    with closing(open_database(tmp_path, create=True)) as db:
        add_user(db, "Dr. A", roles=["reader", "surgeon"], password=PASSWORD, now=now())
        assert [(one.name, one.roles, one.local) for one in list_users(db)] == [("Dr. A", ("reader", "surgeon"), True)]
        assert verify(db, "Dr. A", PASSWORD)
        assert verify(db, "Dr. A", PASSWORD + " ") is None
        (stored,) = db.execute("SELECT password FROM state_user").fetchone()
        assert stored.startswith("$argon2id$")
        set_password(db, "Dr. A", "another long password", now=now())
        assert verify(db, "Dr. A", PASSWORD) is None
        disable_user(db, "Dr. A", now=now())
        assert find_user(db, "Dr. A") is None
        assert verify(db, "Dr. A", "another long password") is None
        add_user(db, "Dr. A", roles=["keeper"], password=None, now=now())
        assert verify(db, "Dr. A", "another long password"), "enabled again, with the password it had"
        for name, roles, password, said in (
            ("automat", ["reader"], PASSWORD, "software's own"),
            (" x", ["reader"], PASSWORD, "name of 1 to"),
            ("x", ["boss"], PASSWORD, "roles are"),
            ("x", [], PASSWORD, "roles are"),
            ("x", ["reader"], "short", "at least 12"),
        ):
            with pytest.raises(InputError, match=said):
                add_user(db, name, roles=roles, password=password, now=now())


# ---- who may what ----------------------------------------------------------------------------------------------------
def test_roles(pages: Settings) -> None:
    uid, _, _ = series_of(pages, "measured")
    reader, surgeon, keeper = (logged_in(pages, name) for name in ("reader", "surgeon", "keeper"))
    assert reader.get(f"/series/{public_id_of(uid)}").status == 200
    assert surgeon.get(f"/series/{public_id_of(uid)}").status == 403
    assert keeper.get("/patients").status == 403
    assert surgeon.get("/").headers["location"] == "/patients", "who settles nothing has no worklist"
    assert reader.post("/thresholds", {"form_token": reader.token(), "version": "1", "do": "adopt"}).status == 403
    number = b"0040010"
    assert number in surgeon.get("/patients").body
    assert number not in reader.get("/patients").body, "the hospital's number is for the surgeon"


def test_a_form_of_another_site_does_nothing(pages: Settings) -> None:
    reader = logged_in(pages, "reader")
    uid, _, _ = series_of(pages, "review")
    path = f"/series/{public_id_of(uid)}/unreadable"
    for form, headers in (
        ({"why": "x"}, {}),
        ({"why": "x", "form_token": "guessed"}, {}),
        ({"why": "x", "form_token": logged_in(pages, "second").token()}, {}),
        ({"why": "x", "form_token": reader.token()}, {"sec_fetch_site": "cross-site"}),
    ):
        assert reader.post(path, form, **headers).status == 403
    assert Browser(pages.web.port).post("/login", {}, sec_fetch_site="cross-site").status == 403
    with closing(open_database(pages.storage.folder)) as db:
        assert db.execute("SELECT count(*) FROM fact_series_decision").fetchone() == (0,)


# ---- what is shown ---------------------------------------------------------------------------------------------------
def test_the_worklist_shows_what_waits_soonest_operation_first(pages: Settings) -> None:
    page = logged_in(pages, "reader").get("/").text
    rows = re.findall(r"<tr data-item.*?</tr>", page, re.S)
    assert any("Two numbers" in row and "40110" in row for row in rows)
    (gap,) = [row for row in rows if "/series/" in row]
    assert "in 8 days" in gap
    assert "<td>Reading</td>" in gap
    days = [int(found[1]) for row in rows if (found := re.search(r"in (\d+) days", row))]
    assert days == sorted(days)
    assert "<code>P" in page, "the pseudonym"


def test_german_by_the_browser_or_by_choice(pages: Settings) -> None:
    reader = logged_in(pages, "reader")
    assert "<h1>Arbeitsliste</h1>" in reader.get("/", accept_language="de-AT,de;q=0.9").text
    assert reader.post("/language", {"language": "de"}).status == 303
    page = reader.get("/")
    assert 'lang="de"' in page.text
    assert "Schicht" in page.text, "reasons, too"


def test_both_languages_have_the_same_words() -> None:
    from node.web.words import load_words

    english, german = load_words("en").texts, load_words("de").texts
    assert english.keys() == german.keys()
    for key, text in english.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", german[key])), key
        assert german[key].strip()


def test_the_patient_page_has_values_picture_and_counts(pages: Settings) -> None:
    surgeon = logged_in(pages, "surgeon")
    links = re.findall(r'href="(/patients/[^"]+)"', surgeon.get("/patients").text)
    texts = [surgeon.get(link).text for link in links]
    (page,) = [text for text in texts if "0040010" in text]
    assert "in 3 days" in page
    assert "7.35" in page, "neutrophils of the demo's patient"
    link = links[texts.index(page)]
    assert surgeon.get(link + "/picture.png").body.startswith(b"\x89PNG")
    assert surgeon.get("/patients/nobody").status == 404


def test_pixels_are_those_that_were_measured(pages: Settings) -> None:
    reader = logged_in(pages, "reader")
    uid, circles, number = series_of(pages, "measured")
    told = re.search(r'data-start="([^"]+)"', reader.get(f"/series/{public_id_of(uid)}").text)
    assert told
    start = json.loads(html.unescape(told[1]))
    assert start["slices"][start["start"]]["slice"] == number
    answer = reader.get(f"/series/{public_id_of(uid)}/slices/{start['start']}")
    rows, columns = int(answer.headers["x-rows"]), int(answer.headers["x-columns"])
    pixels = np.frombuffer(answer.body, np.dtype(answer.headers["x-type"]).newbyteorder("<")).reshape(rows, columns)
    r, c = np.indices(pixels.shape)
    means = {n: pixels[np.hypot(r - row, c - col) <= rad].mean() for n, (row, col, rad) in circles.items()}
    checked = reader.send(
        f"/series/{public_id_of(uid)}/check",
        json.dumps({"slice": number, **circles}).encode(),
        x_form_token=start["token"],
    )
    found = json.loads(checked.text)
    for name, mean in means.items():
        assert found["rois"][name]["mean"] == pytest.approx(mean, rel=1e-12)
    assert found["vbq_mean"] == pytest.approx(np.mean([means[f"L{n}"] for n in range(1, 5)]) / means["CSF"], rel=1e-12)
    assert found["doubts"] == []
    assert reader.get(f"/series/{public_id_of(uid)}/slices/99").status == 404
    outlines = json.loads(reader.get(f"/series/{public_id_of(uid)}/outlines/{start['start']}").text)
    assert {"L1", "L2", "L3", "L4"} <= outlines.keys()


# ---- what is settled -------------------------------------------------------------------------------------------------
def test_a_reading_with_failed_checks_is_told_and_stored_only_when_confirmed(
    tmp_path: Path, make_node: MakeNode
) -> None:
    settings = make_node(tmp_path)
    uid, circles, number = series_of(settings, "measured")
    path = f"/series/{public_id_of(uid)}"
    slipped = {"slice": number, **circles, "CSF": [circles["L3"][0], circles["L3"][1], 2.5]}
    with serving(settings):
        reader = logged_in(settings, "reader")
        token = reader.token()
        codes = [
            one["code"]
            for one in json.loads(reader.send(path + "/check", json.dumps(slipped).encode(), x_form_token=token).text)[
                "doubts"
            ]
        ]
        assert codes
        answer = reader.send(path + "/reading", json.dumps(slipped).encode(), x_form_token=token)
        assert answer.status == 409
        assert codes[0] in answer.text
        moved = {"slice": number, **circles, "L1": [circles["L1"][0] + 1, *circles["L1"][1:]]}
        assert reader.send(path + "/reading", json.dumps(moved).encode(), x_form_token=token).status == 200
        derive(settings)
        with closing(open_database(settings.storage.folder)) as db:
            row = next(iter(db.query("SELECT * FROM readings")))
            assert (row["reader"], row["status"], row["in_effect"]) == ("reader", "measured", 1)
            assert json.loads(row["circles"])["L1"] == moved["L1"]
        assert (
            reader.post(
                path + "/withdraw", {"form_token": token, "reading_id": str(row["reading_id"]), "why": "slip"}
            ).status
            == 303
        )
        derive(settings)
        with closing(open_database(settings.storage.folder)) as db:
            assert next(iter(db.query("SELECT in_effect, withdrawn_by FROM readings"))) == {
                "in_effect": 0,
                "withdrawn_by": "reader",
            }

        # One that cannot be read leaves the worklist, and comes back when that is taken back.
        gap, gap_circles, gap_number = series_of(settings, "review")
        link = f"/series/{public_id_of(gap)}"
        assert link in reader.get("/").text
        assert reader.post(link + "/unreadable", {"form_token": token, "why": "motion", "do": "set"}).status == 303
        assert link not in reader.get("/").text
        assert "motion" in reader.get(link).text
        assert "cannot be read" in reader.get("/settled").text
        assert reader.post(link + "/unreadable", {"form_token": token, "do": "withdraw"}).status == 303
        assert link in reader.get("/").text
        # One that was just read is not offered again while it is measured.
        content = {"slice": gap_number, **gap_circles}
        told = json.loads(reader.send(link + "/check", json.dumps(content).encode(), x_form_token=token).text)
        content["confirm"] = [one["code"] for one in told["doubts"]]
        assert reader.send(link + "/reading", json.dumps(content).encode(), x_form_token=token).status == 200
        assert link not in reader.get("/").text

        # Two numbers of one patient.
        form = re.search(r'<form method="post" action="/identity">(.*?)</form>', reader.get("/").text, re.S)
        assert form
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form[1]))
        assert reader.post("/identity", {**fields, "do": "confirm"}).status == 303
        derive(settings)
        assert 'action="/identity"' not in reader.get("/").text
        with closing(open_database(settings.storage.folder)) as db:
            decided = db.execute("SELECT decision, decided_by FROM fact_identity_decision").fetchall()
            assert decided == [("confirmed", "reader")]
        # What is settled is listed, and decided otherwise from there.
        page = reader.get("/settled").text
        assert "taken back" in page
        form = re.search(r'<form method="post" action="/identity">(.*?)</form>', page, re.S)
        assert form
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form[1]))
        assert reader.post("/identity", {**fields, "do": "reject"}).headers["location"] == "/settled"
        assert "rejected" in reader.get("/settled").text
        assert "40110" not in logged_in(settings, "keeper").get("/settled").text, "another role's"
        with closing(open_database(settings.storage.folder)) as db:
            actions = [action for (action,) in db.execute("SELECT action FROM record_audit ORDER BY audit_id")]
            assert [one for one in actions if "opened" not in one and "log" not in one] == [
                "reading stored",
                "reading withdrawn",
                "series unreadable",
                "unreadable withdrawn",
                "reading stored",
                "identity confirmed",
                "identity rejected",
            ]
            assert audit.first_broken(db) is None
            with pytest.raises(sqlite3.IntegrityError, match="never changed"):
                db.execute("UPDATE record_audit SET name = 'other' WHERE audit_id = 2")
            # Whoever takes that guard away can change a row, and is seen.
            triggers = db.execute("SELECT name FROM sqlite_master WHERE tbl_name = 'record_audit' AND type = 'trigger'")
            for (trigger,) in triggers.fetchall():
                db.execute(f"DROP TRIGGER {trigger}")
            db.execute("UPDATE record_audit SET name = 'other' WHERE audit_id = 2")
            assert audit.first_broken(db) == 2


def test_taking_and_laying_back(pages: Settings) -> None:
    reader, second = logged_in(pages, "reader"), logged_in(pages, "second")
    item = re.search(r'data-item="(\w+)"', reader.get("/").text)
    assert item
    reader.post("/take", {"form_token": reader.token(), "item": item[1]})
    assert "reader\n" in second.get("/").text
    reader.post("/take", {"form_token": reader.token(), "item": item[1]})
    assert re.search(rf'data-item="{item[1]}".*?>–\s*<form method="post" action="/take">', second.get("/").text, re.S)


# ---- attacks ---------------------------------------------------------------------------------------------------------
def test_every_answer_forbids_scripts_of_others_frames_and_caches(pages: Settings) -> None:
    reader = logged_in(pages, "reader")
    for path in ("/", "/login", "/static/pages.css", "/health", "/nothing"):
        headers = reader.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"], path
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
    assert not re.search(r'\son\w+="|<script(?![^>]*src="/static/)|style="', reader.get("/").text)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2f..%2fcli.py",
        "//etc/passwd",
        "/series/..%2f..",
        "/static/",
    ],
)
def test_no_path_leads_out_of_the_static_folder(browser: Browser, path: str) -> None:
    assert browser.get(path).status in {303, 307, 404}


def test_large_and_slow_bodies_and_large_heads_are_refused(pages: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.web.app.BODY_S", 0.2)
    with closing(socket.create_connection(("127.0.0.1", pages.web.port), timeout=30)) as raw:
        raw.sendall(b"POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: 30\r\n\r\nname=")
        assert raw.recv(100).startswith(b"HTTP/1.1 408")
    monkeypatch.undo()
    reader = logged_in(pages, "reader")
    answer = reader.send("/series/000000000000/check", b"x" * 100_000)
    assert answer.status == 413
    with closing(socket.create_connection(("127.0.0.1", pages.web.port))) as raw:
        with suppress(OSError):
            raw.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 200_000 + b"\r\n\r\n")
        raw.settimeout(10)
        with suppress(ConnectionError):
            assert raw.recv(100).startswith(b"HTTP/1.1 400")
    assert reader.get("/").status == 200


def test_six_hundred_silent_connections_lock_nobody_out(pages: Settings) -> None:
    reader = logged_in(pages, "reader")
    silent = []
    try:
        for _ in range(600):
            silent.append(socket.create_connection(("127.0.0.1", pages.web.port), timeout=10))
        assert reader.get("/").status == 200
    finally:
        for one in silent:
            one.close()


def test_an_address_that_is_not_allowed_is_closed(tmp_path: Path) -> None:
    open_database(tmp_path, create=True).close()
    settings = Settings.model_validate(
        {"storage": {"folder": tmp_path}, "web": {"port": free_port(), "allow": ["10.0.0.0/8"]}}
    )
    with serving(settings), closing(socket.create_connection(("127.0.0.1", settings.web.port), timeout=10)) as raw:
        heard = b""
        with suppress(ConnectionError):
            raw.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            heard = raw.recv(100)
        assert heard == b""


def test_nothing_of_a_patient_stands_in_an_address(pages: Settings) -> None:
    surgeon = logged_in(pages, "surgeon")
    with closing(open_database(pages.storage.folder)) as db:
        numbers = db.execute("SELECT patient_id FROM derived_identifier").fetchall()
        uids = db.execute("SELECT series_instance_uid FROM derived_series").fetchall()
        secrets = [text for (text,) in numbers + uids]
    for browser in (surgeon, logged_in(pages, "reader")):
        for path in ("/", "/patients"):
            for link in re.findall(r'(?:href|action|src)="([^"]+)"', browser.get(path).text):
                assert not any(secret in link for secret in secrets), link
