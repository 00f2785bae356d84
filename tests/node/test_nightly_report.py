"""The report: what it says in which state, that nothing private is in it, and that it can be read by everybody."""

import base64
import email
import email.policy
import json
import re
from datetime import timedelta
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from sqlite_utils import Database

from analytics.paper.age_curve import AgeCurves, age_curves
from analytics.paper.imputation import ImputedFit, imputed_model
from analytics.paper.regression import OlsFit, fit_vbq_model
from analytics.pictures.age import age_alt_text
from analytics.reasons import Reason
from node.nightly.cohort import cohort_frame, read_snapshot
from node.nightly.night import run_night
from node.nightly.report import publish_report, report_html_file
from node.settings import Measurement, Nightly, Settings, Site
from node.store.database import insert, writing
from node.store.problems import note_problem
from node.store.reasons import stored
from tests.node.night_world import NIGHT, NOW, open_world, put_operation, settings_for

HIGH = {"vbq": 9.0, "nlr": 99.0, "plr": 999.0}


def report(db: Database, settings: Settings, days: int = 0) -> tuple[str, str, str]:
    """Run the night that lies ``days`` after the first; subject, text and HTML of its report."""
    night = NIGHT + timedelta(days=days)
    run_night(db, settings, night=night, now=NOW + timedelta(days=days))
    sql = "SELECT subject, text, html FROM reports WHERE kind = 'nightly' AND night = ?"
    row = db.execute(sql, [night.isoformat()]).fetchone()
    return row[0], row[1], row[2]


class Structure(HTMLParser):
    """Collects what a reader with a screen reader depends on."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_html_is_well_formed_and_can_be_read_aloud(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    put_operation(db, "E1", **HIGH)
    _, _, html = report(db, settings)
    page = Structure(html)
    assert page.open == []
    assert page.of("html") == [{"lang": "en"}]
    tables = [table for table in page.of("table") if table.get("role") != "presentation"]
    assert len(tables) == len(page.of("caption")) == 3  # new, regression, counts
    assert all(cell.get("scope") in ("col", "row") for cell in page.of("th"))
    *scattered, flow = page.of("img")
    assert "In the model 121" in str(flow["alt"])
    for figure in scattered:
        assert "ρ = " in str(figure["alt"])
        assert "n = 121" in str(figure["alt"])
        assert re.search(r"p [=<] 0\.\d{3}, n", str(figure["alt"]))
    assert "prefers-color-scheme: dark" in html, "the media queries survive the inlining"
    assert 'class="word flagged" style="' in html, "the rest is inlined"
    assert not re.search(r'(src|href)="(?!data:)', html), "nothing is fetched from anywhere"
    db.close()


def test_text_of_the_site_is_text_in_the_html(tmp_path: Path) -> None:
    db = open_world(tmp_path, rows=5)
    settings = settings_for(tmp_path, site=Site(name="<b>A & B</b>"))
    subject, text, html = report(db, settings)
    assert "<b>A & B</b>" in subject
    assert "<b>A & B</b>" in text
    assert "&lt;b&gt;A &amp; B&lt;/b&gt;" in html
    assert "<b>A" not in html
    db.close()


def test_the_numbers_of_the_fit_stand_in_the_text(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    _, text, html = report(db, settings)
    adj_r2, n_used = db.execute("SELECT adj_r2, n_used FROM fits").fetchone()
    for shown in (text, html):
        assert f"n = {n_used} of 120 eligible, adjusted R² = {adj_r2:.3f}" in shown
    terms = {
        term: (b, low, high) for term, b, low, high in db.execute("SELECT term, b, ci_low, ci_high FROM fit_terms")
    }
    for term, label, per in (("nlr", "NLR per 1", 1), ("plr", "PLR per 50", 50)):
        b, low, high = (f"{value * per:+.3f}".replace("-", "−") for value in terms[term])
        assert f"{label}: {b} VBQ (95 % CI {low} to {high})" in text
        assert f"{label}: {b} VBQ ({low} to {high})" in html
    db.close()


def test_the_model_with_missing_values_imputed_stands_beside_that_of_the_complete_rows(tmp_path: Path) -> None:
    """Of those who lack nothing but values: not of who is held, is still to be operated on, or has no VBQ."""
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    whole = cohort_frame(read_snapshot(db).text)
    lacking = stored([Reason("incomplete-data", {"columns": ("bmi",)})])
    with writing(db):
        out = "UPDATE derived_import_row SET eligible = 0, exclusion_reasons = ?"
        db.execute(f"{out}, bmi = NULL WHERE id < 'S012'", [lacking])
        db.execute(f"{out}, vbq = NULL WHERE id = 'S012'", [lacking])
        db.execute(
            f"{out} WHERE id = 'S013'", [stored([_too_young(45), Reason("incomplete-data", {"columns": ("bmi",)})])]
        )
    for episode, status, surgery in (("HELD", "held", "2026-02-10"), ("TO-COME", "incomplete", "2026-03-10")):
        put_operation(db, episode, status=status, surgery=surgery)
        with writing(db):
            db.execute("UPDATE derived_link SET bmi = NULL, exclusion_reasons = ?", [lacking])
    _, text, html = report(db, settings)
    said = (
        "With missing values imputed (BMI (kg/m²) 12): 118 patients, 106 of them complete, 20 imputations by chained "
        "equations"
    )
    assert said in text
    assert said in html
    gaps = whole.assign(bmi=whole["bmi"].where(whole["id"] >= "S012"))[~whole["id"].isin(["S012", "S013"])]
    expected = imputed_model(gaps, seed=1)
    assert isinstance(expected, ImputedFit)
    counts = json.loads(db.execute("SELECT counts FROM reports").fetchone()[0])
    found = {one["term"]: one["b"] for one in counts["imputed"]["terms"]}
    # Other draws, as the rows come in another order: within a part of the standard error.
    for term in expected.terms:
        assert abs(found[term.term] - term.b) < 0.25 * term.se, term.term
    db.close()


def test_missing_values_that_are_not_imputed_are_said(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path, rows=40), settings_for(tmp_path)
    lacking = stored([Reason("incomplete-data", {"columns": ("bmi",)})])
    with writing(db):
        db.execute(
            "UPDATE derived_import_row SET eligible = 0, bmi = NULL, exclusion_reasons = ? WHERE id = 'S000'", [lacking]
        )
    _, text, html = report(db, settings)
    assert "Missing values are not imputed: insufficient: 39 complete rows" in text
    assert "Missing values are not imputed: insufficient: 39 complete rows" in html
    db.close()


def test_a_fit_can_be_repeated_from_its_record_to_the_last_digit(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    report(db, settings)
    with writing(db):
        db.execute("DELETE FROM derived_import_row")
    snapshot, result = db.execute("SELECT snapshot, result FROM record_fit").fetchone()
    again = fit_vbq_model(cohort_frame(snapshot))
    assert isinstance(again, OlsFit)
    assert json.loads(json.dumps(again.to_json_dict())) == json.loads(result)
    db.close()


def test_a_quiet_night_has_one_line_with_n_and_the_fit(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    subject, text, _ = report(db, settings)
    (fit_id,) = db.execute("SELECT fit_id FROM fits").fetchone()
    assert f"Nothing new tonight (n = 120, fit {fit_id})." in text
    assert subject.endswith("0 new, 0 changed, 0 resolved")
    db.close()


def test_a_refused_fit_is_not_nothing_new(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path, rows=30), settings_for(tmp_path)
    subject, text, html = report(db, settings)
    assert "no model tonight" in subject
    for shown in (text, html):
        assert "Nothing new" not in shown
        assert "No tier changed tonight; see above for what is missing" in shown
        assert "not calibrated yet: 30 complete rows, 80 are needed" in shown
    assert html.count("<img") == 1, "the flow of patients only"
    (mime,) = db.execute("SELECT mime FROM record_mail").fetchone()
    assert mime.count(b"Content-Type: image/png") == 1
    db.close()


def test_rows_that_stand_out_are_named_by_study_id_only(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    with writing(db):
        db.execute("UPDATE derived_import_row SET id = 'PATNO-4711', vbq = 9.5 WHERE id = 'S007'")
    put_operation(db, "E1", vbq=9.9, nlr=3.0, plr=200.0)
    _, text, html = report(db, settings)
    (result,) = db.execute("SELECT result FROM record_fit").fetchone()
    assert "PATNO-4711" in result, "the record names it"
    (mime,) = db.execute("SELECT mime FROM record_mail").fetchone()
    for shown in (text, html, mime.decode("ascii")):
        assert "PATNO" not in shown
    assert "Look at: id E1 does not fit the model" in text
    assert "more about imported rows" in text
    db.close()


def test_what_is_not_derived_yet_is_said(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path, rows=5), settings_for(tmp_path)
    with writing(db):
        insert(db, "fact_frame", [{"sha256": "f" * 64, "raw": b"MSH|"}])
    subject, text, html = report(db, settings)
    assert "INCOMPLETE" in subject
    assert "INCOMPLETE: not everything that arrived is derived yet" in text
    assert "Left: 1 messages to interpret" in text
    assert "1 messages to interpret" in html
    assert "ALARM" not in subject
    db.close()


def test_who_waits_for_a_person_and_who_waits_for_nobody(tmp_path: Path) -> None:
    db = open_world(tmp_path, rows=5)
    settings = settings_for(tmp_path, nightly=Nightly(remind_after_days=3))
    put_operation(db, "E1", status="held", reasons=("birth date contradicts",))
    put_operation(db, "E2", status="incomplete", reasons=("no blood count",))
    put_operation(db, "E3", status="incomplete", reasons=("no blood count",), surgery="2026-03-01")
    with writing(db):
        for uid, received in (
            ("1.2.3", "2026-02-26T23:59:00.000000+00:00"),
            ("1.2.4", "2026-02-27T00:01:00.000000+00:00"),
        ):
            put_unread_series(db, uid, received)
        # It came again while the clock was behind.
        db.execute(
            "INSERT INTO fact_object_receipt (object_id, received_at, calling_ae, peer_address) "
            "SELECT object_id, '2026-02-01T00:00:00.000000+00:00', '', '' FROM derived_instance "
            "WHERE series_instance_uid = '1.2.4'"
        )
        db.execute("UPDATE derived_link SET exclusion_reasons = ? WHERE episode = 'E2'", [stored([_too_young(45)])])
        note_problem(
            db, "interpret", "message", "1", "odd", [Reason("procedure-unknown", {"procedure": "of Mr Secret"})]
        )
    _, text, _ = report(db, settings)
    waiting = text.partition("WAITING FOR A PERSON\n")[2].partition("\n\n")[0]
    assert waiting.splitlines() == [
        "- E1, operation 2026-03-10 (in 8 days): birth date contradicts",
        "- series 1.2.3: waiting for a measurement for more than 3 days",
        "- 1 × interpret: odd: `vbq-node problems` shows which and why",
    ], "E2 can never be eligible, E3 is past, 1.2.4 came three days ago"
    assert "Secret" not in text
    db.close()


def test_what_is_to_be_known_of_an_mri_stands_beside_its_tier(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    put_operation(db, "E1", **HIGH)
    with writing(db):
        put_unread_series(db, "1.2.3", "2026-02-01T07:00:00Z")
        db.execute("UPDATE derived_link SET series_instance_uid = '1.2.3' WHERE episode = 'E1'")
        row = {"series_instance_uid": "1.2.3", "source": "auto", "instances_sha256": "x", "status": "measured"}
        row |= {"rois": "{}", "algorithm_name": "a", "algorithm_version": "1"}
        thick = Reason("slice-thickness-outside", {"thickness_mm": 6.0, "low_mm": 3.0, "high_mm": 5.0})
        insert(db, "derived_measurement", [row | {"reasons": stored([thick])}])
    _, text, html = report(db, settings)
    assert re.search(
        r"VBQ 9\.\S* is high .* \[a, b\].*\n\[a\] slice thickness 6 mm is outside 3–5 mm \(.*\)\n\[b\]", text, re.S
    )
    assert "[a] slice thickness 6 mm is outside 3–5 mm" in html
    db.close()


def put_unread_series(db: Database, uid: str, received_at: str) -> None:
    number = int(uid.replace(".", ""))
    insert(
        db,
        "fact_object",
        [
            {
                "object_id": number, "sha256": f"{number:064d}", "size_bytes": 1, "sop_class_uid": "1",
                "sop_instance_uid": f"{uid}.1", "transfer_syntax_uid": "1",
            }
        ],
    )  # fmt: skip
    receipt = {"object_id": number, "received_at": received_at, "calling_ae": "PACS", "peer_address": "127.0.0.1"}
    insert(db, "fact_object_receipt", [receipt])
    instance = {"object_id": number, "sop_instance_uid": f"{uid}.1", "series_instance_uid": uid}
    insert(db, "derived_instance", [instance | {"study_instance_uid": f"{uid}.0", "headers": "{}"}])
    series = {"series_instance_uid": uid, "study_instance_uid": f"{uid}.0", "patient_id": "1", "instances": 1}
    series |= {
        "last_received_at": received_at,
        "missing_slices": 0,
        "completeness": "unverified",
        "completeness_reasons": "[]",
        "instances_sha256": "x",
        "role": "t1_sagittal",
        "chosen": 1,
        "reasons": "[]",
        "protocol": "{}",
    }
    insert(db, "derived_series", [series])


def _too_young(age: int) -> Reason:
    return Reason("age-below-minimum", {"age": age, "minimum": 50})


def test_exclusions_are_counted_by_kind_and_add_up(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    reasons = (
        [_too_young(45), Reason("earlier-operation", {"date": "2025-01-02"})],
        [_too_young(31)],
        [Reason("earlier-operation", {"date": "2024-05-06"})],
        [Reason("incomplete-data", {"columns": ("vbq", "nlr")})],
    )
    with writing(db):
        for number, given in enumerate(reasons):
            db.execute(
                "UPDATE derived_import_row SET eligible = 0, exclusion_reasons = ? WHERE id = ?",
                [stored(given), f"S{number:03d}"],
            )
    report(db, settings)
    counts = json.loads(db.execute("SELECT counts FROM reports").fetchone()[0])
    assert counts["excluded_by_reason"] == {
        "age below 50 years": 2, "prior lumbar surgery": 1, "incomplete data": 1,
    }  # fmt: skip
    assert (counts["cohort_rows"], counts["eligible"], counts["excluded"]) == (120, 116, 4)
    assert counts["alarms"] == []
    db.close()


def test_every_byte_of_a_mail_is_ascii_and_its_ids_are_its_own(tmp_path: Path) -> None:
    ids = []
    for name in ("North", "South"):
        db = open_world(tmp_path / name)
        settings = settings_for(tmp_path / name, site=Site(name=name))
        put_operation(db, "E1", **HIGH)
        report(db, settings)
        for (mime,) in db.execute("SELECT mime FROM record_mail"):
            assert mime.isascii()
            mail = email.message_from_bytes(mime, policy=email.policy.default)
            assert not mail.defects
            ids.append(mail["Message-ID"])
        db.close()
    assert len(set(ids)) == 4, "two nodes of one sender and the same recipients"


def test_a_cohort_with_enough_of_both_sexes_has_its_curves_over_age(tmp_path: Path) -> None:
    db = open_world(tmp_path, rows=160)
    settings = settings_for(tmp_path)
    run_night(db, settings, night=NIGHT, now=NOW)
    text, html = db.execute("SELECT text, html FROM record_report").fetchone()
    curves = age_curves(cohort_frame(read_snapshot(db).text))
    assert isinstance(curves, AgeCurves)
    assert " ".join(age_alt_text(curves).split()) in " ".join(text.split())
    assert 'id="figure-age_by_sex"' in html
    assert (tmp_path / "reports/2026-03-02/age_by_sex.png").read_bytes().startswith(b"\x89PNG")
    db.close()


def test_the_attached_figures_are_those_of_the_files(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    _, _, html = report(db, settings)
    folder = tmp_path / "reports" / NIGHT.isoformat()
    (mime,) = db.execute("SELECT mime FROM record_mail LIMIT 1").fetchone()
    mail = email.message_from_bytes(mime, policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    images = {part.get_filename(): part.get_content() for part in mail.walk() if part.get_content_type() == "image/png"}
    assert images == {name: (folder / name).read_bytes() for name in ("age.png", "nlr.png", "plr.png", "flow.png")}
    assert all(png.startswith(b"\x89PNG") for png in images.values())
    body = mail.get_body(("html",))
    assert body is not None
    by_id = {part["Content-ID"].strip("<>"): part.get_content() for part in mail.walk() if "Content-ID" in part}
    # A mail's line ends are CRLF on the way and the parser's on arrival.
    assert report_html_file(body.get_content(), by_id).split() == html.split()
    assert base64.b64encode(images["age.png"]).decode() in (folder / "report.html").read_text()
    db.close()


def test_lost_report_files_come_back_as_they_were(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    report(db, settings)
    folder = tmp_path / "reports" / NIGHT.isoformat()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "report.html").unlink()  # killed between the commit and the last file
    (folder / "plr.png").unlink()
    publish_report(db, tmp_path, now=NOW)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    db.close()


def test_a_folder_that_cannot_be_written_does_not_undo_the_night(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path, rows=5), settings_for(tmp_path)
    (tmp_path / "reports").write_text("not a folder")
    report(db, settings)
    assert db.execute("SELECT status FROM state_run").fetchone() == ("done",)
    assert db.execute("SELECT count(*) FROM record_mail").fetchone() == (2,)
    db.close()


@pytest.mark.parametrize("ratios", ["any", "both"])
def test_the_report_says_how_ratios_count(tmp_path: Path, ratios: str) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    rule = settings.thresholds.model_copy(update={"ratios": ratios})
    settings = settings.model_copy(update={"thresholds": rule})
    put_operation(db, "E1", vbq=9.0, nlr=99.0, plr=1.0)
    _, text, _ = report(db, settings)
    assert ("one high ratio suffices" if ratios == "any" else "both ratios must be high") in text
    assert f"E1, operation 2026-03-10 (in 8 days): {'FLAGGED' if ratios == 'any' else 'INTERMEDIATE'}" in text
    db.close()


def test_the_cut_offs_are_the_cohorts_upper_quartiles(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    report(db, settings)
    version = db.execute("SELECT vbq, nlr, plr, n FROM thresholds").fetchone()
    for index, name in enumerate(("vbq", "nlr", "plr")):
        values = [value for (value,) in db.execute(f"SELECT {name} FROM derived_import_row")]
        assert version[index] == pytest.approx(float(np.quantile(values, 0.75)), rel=1e-12)
    assert version[3] == 120
    db.close()


def test_who_is_within_measurement_error_of_the_cut_is_said(tmp_path: Path) -> None:
    """The cut is near the upper quartile of the 120 rows; with an error of 0.05, 0.04 above it is near, 0.5 is not."""
    db = open_world(tmp_path)
    values = [vbq for (vbq,) in db.execute("SELECT vbq FROM derived_import_row")]
    cut = float(np.quantile(values, 0.75))
    put_operation(db, "NEAR", vbq=cut + 0.04, surgery="2026-03-10", nlr=0.1, plr=1.0)
    settings = settings_for(tmp_path, measurement=Measurement(vbq_sem=0.05))
    put_operation(db, "FAR", vbq=cut + 0.5, surgery="2026-03-10", nlr=0.1, plr=1.0)
    _, text, html = report(db, settings)
    assert "Of these, 1 with a VBQ within its own measurement error of the cut" in text
    assert "1 of them with a VBQ within its own measurement error of the cut" in html
    near, far = (text[text.index(f"- {name},") :].split("\n- ")[0] for name in ("NEAR", "FAR"))
    assert "is high, but within its measurement error ±0.05 of the cut" in near
    assert "within its measurement error" not in far
    # 0.04 is 0.8 standard errors: 79 % of a normal distribution lie below.
    assert re.search(r"given the errors of measurement flagged 0 %, intermediate 7\d %, lower 2\d %", near)
    assert "intermediate 7" in html
    assert "errors of measurement" not in far
    db.close()
