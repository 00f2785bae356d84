"""A person is taken out of everything: nothing that was theirs is found, and everybody else is as before."""

import hashlib
import io
import json
import os
import shutil
import signal
import zipfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Literal

import pandas as pd
import pytest
from sqlite_utils import Database

from node.dicom.part10 import file_header
from node.dicom.reconcile import reconcile
from node.errors import CohortError, InputError, StoreError
from node.hl7.context import patient_number
from node.hl7.messages import as_sent, read_frame, split_messages
from node.operate import erase as module
from node.operate.backup import back_up
from node.operate.doctor import _erasure
from node.operate.erase import erase, hold, unfinished
from node.operate.frames import names_of, without_patient
from node.operate.rebuild import rebuild
from node.operate.restore import restore
from node.operate.words import seeking
from node.people.imports import import_cohort
from node.settings import Backup, Hl7, Identity, Retention, Sender, Settings
from node.steps.worker import run_pending
from node.store.archive import Archive
from node.store.database import insert, open_database, writing
from node.store.derivation import forget
from node.store.public_id import public_id
from node.web.worklist import Item, take
from tests.node.dicom_samples import encode, mr_image, receive
from tests.node.golden_data import lines

AT = datetime(2026, 12, 1, 9, tzinfo=UTC)
MR = "1.2.840.10008.5.1.4.1.1.4"
PIXEL_DATA = b"\xe0\x7f\x10\x00OW"
BERT = ("0012346", "0099999", "Test^Bert")
"""Two numbers that were merged, and the name."""


@pytest.fixture
def folder(tmp_path: Path, derived: tuple[Path, Settings]) -> Path:
    shutil.copytree(derived[0], tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def settings(folder: Path, derived: tuple[Path, Settings]) -> Settings:
    storage = derived[1].storage.model_copy(update={"folder": folder})
    return derived[1].model_copy(update={"storage": storage, "identity": Identity(default_authority="DEMO")})


@pytest.fixture
def db(folder: Path, settings: Settings) -> Iterator[Database]:
    opened = open_database(folder)
    yield opened
    opened.close()


def found_in(folder: Path, *words: str) -> list[str]:
    """Every file in which one of the words stands."""
    return [
        f"{path.relative_to(folder)}: {word}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for word in words
        if word.encode() in path.read_bytes()
    ]


def views(db: Database) -> dict[str, list[str]]:
    return {view: lines(db.query(f"SELECT * FROM {view}")) for view in db.view_names()}


def study_ids(db: Database, number: str) -> list[str]:
    rows = db.execute(
        "SELECT p.pseudonym, l.episode FROM derived_identifier AS i JOIN derived_person AS p USING (person) "
        "LEFT JOIN derived_link AS l USING (person) WHERE i.patient_id = ?",
        [number],
    )
    return sorted({one for row in rows.fetchall() for one in row if one})


def test_nothing_of_an_erased_person_is_found_in_any_file_and_a_rebuild_arrives_at_the_same(
    db: Database, folder: Path, settings: Settings
) -> None:
    ids = study_ids(db, "0012346")
    assert len(ids) == 2
    files = {sha256 for (sha256,) in db.execute("SELECT sha256 FROM fact_object")}
    images = {place for place in found_in(folder, "0012346", "0099999") if place.startswith("dicom/")}
    before = views(db)
    assert {path.partition("/")[0].partition(":")[0] for path in found_in(folder, *BERT, *ids)} == {
        "backups", "dicom", "node.db", "snapshots",
    }  # fmt: skip
    done = erase(db, settings, "0012346", by="DPO", why="Art. 17", now=AT)
    assert done.still == ()
    assert done.log_cut
    assert found_in(folder, *BERT, *ids) == []
    assert {name: number for name, number in done.counts.items() if number} == {
        "images": len(images), "readings": 1, "messages": 4, "flags": 2, "rows of fits": 2, "reports": 2, "mails": 2,
        "copies of the database": 1,
    }  # fmt: skip
    after = views(db)
    rebuild(db, Archive(folder), settings)
    assert views(db) == after
    assert found_in(folder, *BERT, *ids) == []
    assert len(list((folder / "dicom").glob("??/*.dcm"))) == len(files) - len(images)
    for view in ("links", "operations", "blood_counts", "measurements", "series", "cohort"):
        gone = [line for line in before[view] if line not in after[view]]
        assert set(after[view]) <= set(before[view]), view
        assert gone, view


def test_fits_stay_as_numbers_and_say_what_was_taken_out(db: Database, settings: Settings) -> None:
    before = list(db.query("SELECT * FROM fits ORDER BY night"))
    terms = list(db.query("SELECT * FROM fit_terms ORDER BY fit_id, term"))
    erase(db, settings, "0012346", by="DPO", why="Art. 17", now=AT)
    after = list(db.query("SELECT * FROM fits ORDER BY night"))
    assert [row.pop("erased_rows") for row in after] == [1, 1]
    for row in before:
        row.pop("erased_rows")
    assert after == before
    assert list(db.query("SELECT * FROM fit_terms ORDER BY fit_id, term")) == terms


def test_who_was_at_a_doubt_about_the_person_is_forgotten(db: Database, folder: Path, settings: Settings) -> None:
    numbers = {"authority": "DEMO", "patient_id": "0012346"}
    item = Item(kind="identity", about=numbers).key
    take(db, item, "Reader", now=AT)
    assert found_in(folder, item)
    erase(db, settings, "0012346", by="DPO", why="Art. 17", now=AT)
    assert found_in(folder, item) == []


def test_a_tombstone_stays_with_hashes_and_who_did_it(db: Database, settings: Settings) -> None:
    hashes = {sha256 for (sha256,) in db.execute("SELECT sha256 FROM fact_object UNION SELECT sha256 FROM fact_frame")}
    erase(db, settings, "DEMO|0099999", by="DPO", why="Art. 17", now=AT)
    (row,) = db.query("SELECT * FROM fact_erasure")
    assert (row["erased_by"], row["why"], row["erased_at"]) == ("DPO", "Art. 17", "2026-12-01T09:00:00.000000+00:00")
    left = {sha256 for (sha256,) in db.execute("SELECT sha256 FROM fact_object UNION SELECT sha256 FROM fact_frame")}
    assert set(json.loads(row["hashes"])) == hashes - left
    with pytest.raises(Exception, match="never changed"):
        db.execute("DELETE FROM fact_erasure")
    with pytest.raises(Exception, match="never changed"):
        db.execute("UPDATE fact_frame SET sha256 = ''")


def test_a_report_and_a_mail_that_named_the_person_keep_subject_and_counts(db: Database, settings: Settings) -> None:
    (ids, before) = study_ids(db, "0012346"), dict(db.execute("SELECT night, subject || counts FROM record_report"))
    erase(db, settings, "0012346", by="DPO", why="Art. 17", now=AT)
    for one in ids:
        before = {night: said.replace(one, "erased") for night, said in before.items()}
    assert dict(db.execute("SELECT night, subject || counts FROM record_report")) == before
    text, mime = db.execute(
        "SELECT r.text, m.mime FROM record_report AS r JOIN record_mail AS m USING (report_id) ORDER BY night"
    ).fetchone()
    assert "erased on 2026-12-01" in text
    assert b"erased on 2026-12-01" in mime
    assert b"Message-ID: " in mime


def test_a_legal_hold_forbids_it_until_it_is_released(db: Database, settings: Settings) -> None:
    hold(db, settings, "0012346", by="Court", why="case 4", release=False, now=AT)
    with pytest.raises(InputError, match="Court has put a legal hold"):
        erase(db, settings, "0099999", by="DPO", why="Art. 17", now=AT)
    assert len(study_ids(db, "0012346")) == 2
    hold(db, settings, "0099999", by="Court", why="over", release=True, now=AT)
    erase(db, settings, "0012346", by="DPO", why="Art. 17", now=AT)
    assert db.execute("SELECT count(*) FROM fact_hold").fetchone() == (0,)


def test_what_is_asked_wrongly_changes_nothing(db: Database, settings: Settings) -> None:
    before = views(db)
    with pytest.raises(InputError, match="nothing is known of this patient"):
        erase(db, settings, "12346", by="DPO", why="Art. 17", now=AT)
    elsewhere = settings.model_copy(update={"identity": Identity(default_authority="OTHER")})
    with pytest.raises(InputError, match=r"nothing is known of this patient; did you mean 'DEMO\|0012346'\?"):
        erase(db, elsewhere, "0012346", by="DPO", why="Art. 17", now=AT)
    with pytest.raises(InputError, match="nothing is known of this patient"):
        erase(db, settings, "OTHER|0012346", by="DPO", why="Art. 17", now=AT)
    with pytest.raises(InputError, match="do not name the patient"):
        erase(db, settings, "0012346", by="DPO", why="Test^Bert asked for it", now=AT)
    assert views(db) == before


def test_backups_that_may_hold_the_person_are_listed_wherever_they_are_and_whatever_state_they_are_in(
    db: Database, folder: Path, settings: Settings, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"backup": Backup(folder=tmp_path / "b")})
    places = [back_up(db, settings, tmp_path / name).generation.folder for name in ("b", "by hand", "gone")]
    shutil.rmtree(tmp_path / "gone")
    (places[0] / "manifest.json").write_text("{")
    done = erase(db, settings, "0012346", by="DPO", why="Art. 17", now=datetime.now(UTC))
    assert done.backups == (str(places[0]), str(places[1]), f"in {tmp_path / 'gone'}, which is not there now")
    assert unfinished(folder) is None


def test_what_an_erasure_left_when_it_was_killed_is_deleted_and_not_taken_in(
    db: Database, folder: Path, settings: Settings
) -> None:
    paths = {path: path.read_bytes() for path in (folder / "dicom").glob("??/*.dcm")}
    erase(db, settings, "0012346", by="DPO", why="Art. 17", now=AT)
    left, *_ = sorted(path for path in paths if not path.exists())
    left.write_bytes(paths[left])
    assert reconcile(folder, Archive(folder)).taken_in == 0
    assert not left.exists()
    assert db.execute("SELECT count(*) FROM fact_object WHERE sha256 = ?", [left.stem]).fetchone() == (0,)


@pytest.mark.parametrize("where", ["tombstone", "_erase_files", "link_persons", "publish", "_overwrite", "_backups"])
def test_an_erasure_that_was_killed_is_ended_by_the_same_command(
    db: Database, folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    ids = study_ids(db, "0012346")
    db.close()
    pid = os.fork()
    if not pid:
        monkeypatch.setattr(module, where, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        with closing(open_database(folder)) as mine:
            erase(mine, settings, "0012346", by="DPO", why="Art. 17", now=AT)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    with closing(open_database(folder)) as again:
        if where == "tombstone":
            assert unfinished(folder) is None
            assert len(study_ids(again, "0012346")) == 2
        else:
            assert "may still hold the person" in str(unfinished(folder))
            assert [one.check for one in _erasure(folder)] == ["erasure"]
        done = erase(again, settings, "0012346", by="DPO", why="Art. 17", now=AT)
        assert (done.counts["images"], done.counts["reports"], done.log_cut) == (6, 2, True)
        assert (unfinished(folder), found_in(folder, *BERT, *ids)) == (None, [])
        assert again.execute("SELECT count(*) FROM fact_erasure").fetchone() == (1,)


def test_what_is_left_of_the_note_of_an_erasure_that_was_killed_goes_with_the_next(
    db: Database, folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(path: Path, _target: Path) -> None:
        raise KeyboardInterrupt(path)  # as good as a kill: nothing is cleared up by it

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", kill)
        with pytest.raises(KeyboardInterrupt):
            erase(db, settings, "0012346", by="DPO", why="Art. 17", now=AT)
    (left,) = folder.glob(".erasing.json.*")
    assert "0012346" in left.read_text(encoding="utf-8")
    left.rename(folder / ".erasing.json.4711")  # of another process
    erase(db, settings, "0012346", by="DPO", why="Art. 17", now=AT)
    assert list(folder.glob(".erasing.json.*")) == []
    assert found_in(folder, *BERT) == []


def test_while_everything_is_derived_again_nobody_is_erased(db: Database, settings: Settings) -> None:
    with writing(db):
        forget(db)
    with pytest.raises(StoreError, match="who is who is not known before that is done; nothing was erased"):
        erase(db, settings, "0012346", by="DPO", why="Art. 17", now=AT)


def frame(text: str, charset: str, codec: str) -> bytes:
    return f"MSH|^~\\&|LIS|LAB|||20260301||ORU^R01|9|P|2.5||||||{charset}\r{text}\rOBR|1\r".encode(codec)


@pytest.mark.parametrize(
    ("charset", "codec", "name"),
    [
        ("8859/1", "latin-1", "Müller^Jörg"),
        ("UNICODE UTF-8", "utf-8", "王^伟"),
        ("", "utf-16", "Müller^Jörg"),
        ("8859/2", "iso8859-2", "Łoś^Żaneta"),
        ("GB 18030-2000", "gb18030", "王^伟"),
    ],
)
def test_a_message_that_names_the_person_without_the_number_is_named_in_every_character_set(
    db: Database, settings: Settings, charset: str, codec: str, name: str
) -> None:
    own = frame(f"PID|1||0012346^^^DEMO||{name}^^^Dr.", charset, codec)
    other = frame(f"PID|1||||{name}", "UNICODE UTF-8", "utf-8")
    stranger = frame("PID|1||||Roe^Jane", "UNICODE UTF-8", "utf-8")
    shas = [hashlib.sha256(raw).hexdigest() for raw in (own, other, stranger)]
    with writing(db):
        insert(
            db, "fact_frame", [{"sha256": s, "raw": raw} for s, raw in zip(shas, (own, other, stranger), strict=True)]
        )
    run_pending(db, Archive(settings.storage.folder), settings, at=AT)
    done = erase(db, settings, "0012346", by="DPO", why="Art. 17", now=AT)
    assert done.still == (f"message {public_id(shas[1])}",)
    left = {sha256 for (sha256,) in db.execute("SELECT sha256 FROM fact_frame")}
    assert left & {*shas} == {shas[1], shas[2]}


def test_of_a_frame_with_several_patients_the_names_of_the_others_are_not_those_of_the_person() -> None:
    assert names_of(TWO, Settings(), [("LOCAL", "77")]) == {"A^B"}
    merged = b"MSH|#~\\&|H|H|||20260301||ADT#A40|1|P|2.5\rPID|1||5###LOCAL||A#B\rMRG|77###LOCAL||||||Roe#Jane~Doe#J\r"
    assert names_of(merged, Settings(), [("LOCAL", "77")]) == {"A^B", "Roe^Jane", "Doe^J"}


@pytest.mark.parametrize(
    ("word", "found", "not_found"),
    [
        ("123", [b"no 123.", b"|123^", "123".encode("utf-16-le")], [b"1234", b"a123", b"41234"]),
        ("12345", [b"X12345Y"], [b"1234 5"]),
        ("Roe^Jane", [b"ROE^JANE", "Roe^Jane".encode("utf-16-be")], [b"Roe Jane"]),
        ("Öz^Ü", ["Öz^Ü".encode(), "Öz^Ü".encode("latin-1"), "Öz^Ü".encode("cp1254")], ["Öz".encode()]),
        ("王", [], ["王".encode(), "王".encode("gb18030")]),
    ],
)
def test_a_word_is_found_in_every_character_set_and_a_short_one_where_it_stands_alone(
    word: str, found: list[bytes], not_found: list[bytes]
) -> None:
    pattern = seeking([word])
    for text in (*found, *not_found):
        assert (pattern is not None and pattern.search(text) is not None) == (text in found), text


def write_workbook(file: io.BytesIO, column: list[str]) -> None:
    """A spreadsheet of one column (ECMA-376), packed as spreadsheet programs do."""
    ns = "http://schemas.openxmlformats.org"
    cells = "".join(
        f'<row r="{n}"><c r="A{n}" t="inlineStr"><is><t>{text}</t></is></c></row>' for n, text in enumerate(column, 1)
    )
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{ns}/package/2006/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{ns}/package/2006/relationships"><Relationship Id="r1" '
        f'Type="{ns}/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{ns}/spreadsheetml/2006/main" '
        f'xmlns:r="{ns}/officeDocument/2006/relationships"><sheets><sheet name="a" sheetId="1" r:id="r1"/></sheets>'
        "</workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{ns}/package/2006/relationships"><Relationship Id="r1" '
        f'Type="{ns}/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{ns}/spreadsheetml/2006/main"><sheetData>{cells}</sheetData>'
        "</worksheet>",
    }
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in parts.items():
            packed.writestr(name, text)


@pytest.mark.parametrize("form", ["xlsx", "parquet", "csv"])
def test_a_packed_table_with_a_row_of_the_person_is_named(db: Database, settings: Settings, form: str) -> None:
    packed = io.BytesIO()
    table = pd.DataFrame({"id": ["0012346", "77"], "vbq": [3.0, 2.5]})
    if form == "xlsx":
        write_workbook(packed, ["id", "0012346", "77"])
    elif form == "parquet":
        table.to_parquet(packed, compression="zstd")
    else:
        packed.write(table.to_csv(index=False).encode("utf-16"))
    content = packed.getvalue()
    row = {"sha256": hashlib.sha256(content).hexdigest(), "file_name": f"c.{form}", "content": content}
    with writing(db):
        insert(db, "fact_import", [row | {"imported_at": "2026-03-01T00:00:00+00:00"}])
        (import_id,) = db.execute("SELECT max(import_id) FROM fact_import").fetchone()
    done = erase(db, settings, "0012346", by="DPO", why="Art. 17", now=AT)
    assert done.still == (f"imported table {import_id}",)


@pytest.mark.parametrize("kept", ["erased", "kept"])
def test_a_row_that_was_imported_goes_with_its_table_when_a_corrected_one_is_there(
    db: Database, folder: Path, settings: Settings, tmp_path: Path, kept: Literal["erased", "kept"]
) -> None:
    settings = settings.model_copy(update={"retention": Retention(erased_from_fits=kept)})
    (content,) = db.execute("SELECT content FROM fact_import").fetchone()
    head, *rows = content.decode().splitlines()
    (row,) = [
        one
        for one in rows
        if one.partition(",")[0] == db.execute("SELECT min(id) FROM derived_import_row").fetchone()[0]
    ]
    name = row.partition(",")[0]
    corrected = tmp_path / "corrected.csv"
    corrected.write_text("\n".join([head, *(one for one in rows if one != row)]) + "\n")
    import_cohort(db, corrected, site=settings.site.name, now=AT)
    before = views(db)["cohort"]
    done = erase(db, settings, "imported table 1", by="DPO", why="Art. 17", now=AT)
    assert done.counts["imported tables"] == 1
    after = views(db)
    gone = [line for line in before if line not in after["cohort"]]
    assert [json.loads(line)["id"] for line in gone] == [name]
    assert len(after["cohort"]) == len(before) - 1
    assert found_in(folder, row) == []
    for (snapshot,) in db.execute("SELECT snapshot FROM record_fit"):
        ids = [line.partition(",")[0] for line in snapshot.splitlines()]
        assert name not in ids
        assert sum(one.startswith("erased-") for one in ids) == (kept == "kept")
    rebuild(db, Archive(folder), settings)
    assert views(db) == after
    again = tmp_path / "again.csv"
    again.write_bytes(content)
    with pytest.raises(CohortError, match="it was erased on 2026-12-01"):
        import_cohort(db, again, site=settings.site.name, now=AT)
    with pytest.raises(InputError, match="no imported table 1 is known"):
        erase(db, settings, "imported table 1", by="DPO", why="Art. 17", now=AT)


def test_an_object_that_cannot_be_read_goes_when_number_and_name_stand_in_it_and_is_named_with_one_of_them(
    db: Database, folder: Path, settings: Settings
) -> None:
    archive = Archive(folder)
    (folder / "dicom" / "incoming" / "1.part").write_bytes(b"0012346")
    stored = []
    for said in (b"0012346 Test^Bert", b"Test^Bert", b"7712346 Roe^Jane"):
        named = {"sop_class_uid": MR, "sop_instance_uid": "1.2.3", "transfer_syntax_uid": "1.2.840.10008.1.2.1"}
        one = archive.store(
            header=file_header(**named),
            dataset=b"\xff\xfe\x00\x01XX\xff\xff" + said,
            transfer_syntax_uid=named["transfer_syntax_uid"],
        )
        stored.append(one.sha256)
        with writing(db):
            insert(db, "fact_object", [{"sha256": one.sha256, "size_bytes": one.size_bytes, **named}])
    run_pending(db, archive, settings, at=AT)
    done = erase(db, settings, "0012346", by="DPO", why="Art. 17", now=AT)
    assert [archive.path(sha256).exists() for sha256 in stored] == [False, True, True]
    assert done.still == (
        f"object {public_id(stored[1])}, which could not be read as an image",
        "an object that is being received, or was not to its end (the next start deletes it)",
    )


@pytest.fixture
def named_elsewhere(db: Database, folder: Path, settings: Settings) -> dict[str, str]:
    """What names the person and is of another, or of nobody, by how an erasure calls it."""
    stem = "1.2.826.0.1.3680043.8.498."
    for number, said in enumerate(
        [
            {"PatientID": "0012399", "PatientName": "Roe^Jane", "ImageComments": "not bert test"},
            {"PatientID": None, "PatientName": "Test^Bert"},
            {"PatientID": "0012398", "PatientName": "Doe^Jim", "ImageComments": "bertram testing"},
        ]
    ):
        uids = {
            "SOPInstanceUID": f"{stem}{number}.1", "SeriesInstanceUID": f"{stem}{number}.2",
            "StudyInstanceUID": f"{stem}{number}.3", "IssuerOfPatientID": "DEMO",
        }  # fmt: skip
        receive(folder, encode(mr_image(**said, **uids)), at=AT)
    raw = frame("PID|1||0012399^^^DEMO||Roe^Jane\rNTE|1||of Test, Bert?", "", "ascii")
    sha256 = hashlib.sha256(raw).hexdigest()
    with writing(db):
        insert(db, "fact_frame", [{"sha256": sha256, "raw": raw}])
    run_pending(db, Archive(folder), settings, at=AT + timedelta(hours=1))
    return {
        f"message {public_id(sha256)}": "",
        f"series {stem}0.2": ", in the header of 1 images",
        f"series {stem}1.2": ", in the header of 1 images",
    }


def test_what_names_the_person_under_no_or_another_number_is_listed_and_goes_when_it_is_named(
    db: Database, folder: Path, settings: Settings, named_elsewhere: dict[str, str], tmp_path: Path
) -> None:
    old = back_up(db, settings, tmp_path / "b").generation
    done = erase(db, settings, "0012346", by="DPO", why="Art. 17", now=AT)
    assert done.still == tuple(one + where for one, where in named_elsewhere.items())
    before = views(db)
    for one in named_elsewhere:
        erase(db, settings, one, by="DPO", why="Art. 17", now=AT)
        with pytest.raises(InputError, match=f"no {one} is known"):
            erase(db, settings, one, by="DPO", why="Art. 17", now=AT)
    words = (*BERT, "bert test", "Test, Bert")
    assert found_in(folder, *words) == []
    assert found_in(folder, "bertram testing") != []
    after = views(db)
    rebuild(db, Archive(folder), settings)
    assert views(db) == after
    assert set(after["links"]) == set(before["links"])
    back_up(db, settings, tmp_path / "b")
    there = settings.model_copy(update={"storage": settings.storage.model_copy(update={"folder": tmp_path / "new"})})
    restore(tmp_path / "b", tmp_path / "new", name=old.name, settings=there)
    assert found_in(tmp_path / "new", *words) == []


def test_what_is_of_another_does_not_go_while_there_is_a_hold_on_that_one(
    db: Database, settings: Settings, named_elsewhere: dict[str, str]
) -> None:
    hold(db, settings, "0012399", by="Court", why="case 4", release=False, now=AT)
    message, of_another, of_nobody = named_elsewhere
    for one in (message, of_another):
        with pytest.raises(InputError, match="Court has put a legal hold"):
            erase(db, settings, one, by="DPO", why="Art. 17", now=AT)
    erase(db, settings, of_nobody, by="DPO", why="Art. 17", now=AT)


@pytest.mark.parametrize("number", ["0012346", "7712346"])
def test_an_object_with_two_numbers_goes_with_either_patient(
    db: Database, folder: Path, settings: Settings, number: str
) -> None:
    """Readers of DICOM disagree on which of the two it has."""
    image = mr_image(SOPInstanceUID="1.2.826.0.1.3680043.8.498.77", IssuerOfPatientID="DEMO", PatientID="0012346")
    second = b"\x10\x00\x20\x00LO\x08\x00" + b"7712346 "
    (sha256,) = receive(folder, encode(image).replace(PIXEL_DATA, second + PIXEL_DATA), at=AT)
    run_pending(db, Archive(folder), settings, at=AT)
    erase(db, settings, number, by="DPO", why="Art. 17", now=AT)
    assert not Archive(folder).path(sha256).exists()


def test_what_is_sent_again_after_an_erasure_is_a_problem(db: Database, settings: Settings) -> None:
    (raw,) = db.execute("SELECT raw FROM fact_frame WHERE frame_id = 4").fetchone()
    (sha256,) = db.execute("SELECT sha256 FROM fact_frame WHERE frame_id = 4").fetchone()
    erase(db, settings, "0012346", by="DPO", why="Art. 17", now=AT)
    with writing(db):
        insert(db, "fact_frame", [{"sha256": sha256, "raw": raw}])
    run_pending(db, Archive(settings.storage.folder), settings, at=AT)
    codes = [code for (code,) in db.execute("SELECT code FROM problems WHERE source = ?", [f"message {sha256[:12]}"])]
    assert codes == ["sent-after-erasure"]


def test_an_older_backup_brings_no_erased_person_back(
    db: Database, folder: Path, settings: Settings, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"backup": Backup(folder=tmp_path / "b")})
    old = back_up(db, settings, tmp_path / "b").generation
    ids = study_ids(db, "0012346")
    erase(db, settings, "0012346", by="DPO", why="Art. 17", now=AT)
    back_up(db, settings, tmp_path / "b")
    there = settings.model_copy(update={"storage": settings.storage.model_copy(update={"folder": tmp_path / "new"})})
    restore(tmp_path / "b", tmp_path / "new", name=old.name, settings=there)
    assert found_in(tmp_path / "new", *BERT, *ids) == []
    with closing(open_database(tmp_path / "new")) as restored:
        assert restored.execute("SELECT erased_by, why FROM fact_erasure").fetchall() == [("DPO", "Art. 17")]


TWO = (
    b"MSH|^~\\&|LIS|LAB|||20260301||ORU^R01|1|P|2.5\rPID|1||77^^^LOCAL||A^B\rOBR|1\rOBX|1|NM|a\r"
    b"PID|2||78^^^LOCAL||C^D\rOBR|1\rOBX|1|NM|b\r"
)


@pytest.mark.parametrize(
    ("raw", "left"),
    [
        (TWO, b"MSH|^~\\&|LIS|LAB|||20260301||ORU^R01|1|P|2.5\rPID|2||78^^^LOCAL||C^D\rOBR|1\rOBX|1|NM|b\r"),
        (TWO.replace(b"\r", b"\r\n"), None),
        (TWO.replace(b"^^^LOCAL", b"^^^ELSEWHERE"), TWO.replace(b"^^^LOCAL", b"^^^ELSEWHERE")),
        (TWO.replace(b"||77^", b"||770^"), TWO.replace(b"||77^", b"||770^")),
        (b"BHS|^~\\&|x\r" + TWO[: TWO.index(b"PID|2")] + b"BTS|1\r", b""),
        (b"MSH|^~\\&|HIS|H|||20260301||ADT^A40|1|P|2.5\rPID|1||5^^^LOCAL\rMRG|77^^^LOCAL\r", b""),
    ],
    ids=["others stay", "line ends", "another authority", "another number", "batch of one", "merge"],
)
def test_a_frame_loses_what_it_says_of_one_patient(raw: bytes, left: bytes | None) -> None:
    found = without_patient(raw, Settings(), [("LOCAL", "77")])
    if left is None:
        assert found is not None
        assert b"\r\n" in found
        assert b"77" not in found
    else:
        assert (found or b"") == left


ONE = b"MSH|^~\\&|LIS|LAB|||20260301||ORU^R01|1|P|2.5\r%b\rOBR|1\rOBX|1|NM|a\r"


@pytest.mark.parametrize(
    "raw",
    [
        ONE % b" \tPID|1||77^^^LOCAL||A^B",
        ONE % b"pid|1||77^^^LOCAL||A^B",
        ONE % b"PID|1||\r77^^^LOCAL||A^B",
        (ONE % b"PID|1||77^^^LOCAL||A^B").replace(b"\r", b""),
    ],
    ids=["behind blanks", "name in small letters", "a line end within", "no line ends"],
)
def test_a_message_goes_in_whatever_form_the_number_is_read_from_it(raw: bytes) -> None:
    (message,) = read_frame(raw, "latin-1")
    (pid,) = message.segments("PID")
    assert patient_number(pid, 3, Identity()) == ("LOCAL", "77")
    assert without_patient(raw, Settings(), [("LOCAL", "77")]) is None
    assert names_of(raw, Settings(), [("LOCAL", "77")]) == {"A^B"}
    assert without_patient(raw, Settings(), [("LOCAL", "7"), ("OTHER", "77")]) == raw


def test_a_number_with_an_escaped_sign_is_found() -> None:
    raw = ONE % b"PID|1||0012\\T\\3^^^LOCAL||A^B"
    assert without_patient(raw, Settings(), [("LOCAL", "0012&3")]) is None


@pytest.mark.parametrize("head", [b"", b"MSH|\r"], ids=["none", "one that cannot be read"])
def test_a_message_without_a_header_goes_with_the_patient_of_its_segments(head: bytes) -> None:
    raw = head + b"PID|1||77^^^LOCAL||A^B\rOBX|1|NM|a||2077\r"
    assert without_patient(raw, Settings(), [("LOCAL", "77")]) is None
    assert without_patient(raw, Settings(), [("LOCAL", "20")]) == raw


def test_a_number_is_of_the_authority_that_the_rule_for_its_sender_says() -> None:
    ruled = Settings(hl7=Hl7(senders={"LIS|LAB": Sender(authority="LAB")}))
    raw = ONE % b"PID|1||0077||A^B"
    assert without_patient(raw, ruled, [("LOCAL", "0077")]) == raw
    assert without_patient(raw, ruled, [("LAB", "0077")]) is None


def test_segments_as_sent_are_those_that_are_read() -> None:
    pieces = (
        "MSH|^~\\&|A|B|",
        "PID|1||4^^^L",
        "pid|1||5",
        " \tOBX|1",
        "BHS|^~\\&",
        "words",
        "  ",
        "\ufeffMSH|^~\\&",
        "\v",
    )
    ends = ("\r", "\n", "\r\n", "", "\r\r")
    chosen = Random(5)  # any will do
    for _ in range(3000):
        text = "".join(chosen.choice(pieces) + chosen.choice(ends) for _ in range(chosen.randint(1, 7)))
        sent = as_sent(text)
        assert "".join(one.text for one in sent) == text
        read = [line for message in split_messages(text) for line in message.lines]
        assert [one.read for one in sent if one.read and one.read[:3] not in ("MSH", "BHS")] == read


def test_two_upkeeps_at_once_are_refused(db: Database, settings: Settings) -> None:
    from node.operate.backup import alone

    with alone(settings.storage.folder), pytest.raises(StoreError, match="at work"):
        erase(db, settings, "0012346", by="DPO", why="Art. 17", now=AT)
