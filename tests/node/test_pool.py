"""Several sites' model from files: three made-up sites by their nodes, the guards of the export, and forged files."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import statsmodels.api as sm
from sqlite_utils import Database
from typer.testing import CliRunner

from analytics.paper.regression import PREDICTORS
from node.cli import app
from node.errors import InputError, StoreError
from node.operate.erased_rows import _exports
from node.pooling.combine import WRITTEN, combine
from node.pooling.export import export
from node.pooling.signature import KEY_FILE, signed, site_key
from node.settings import Settings, Site, Storage
from node.store.database import insert, open_database, writing
from tests.analytics.test_pooling import SITES

NOW = datetime(2026, 5, 6, 7, 8, tzinfo=UTC)


def put(db: Database, frame: pd.DataFrame) -> None:
    """The rows of a cohort as the import leaves them."""
    with writing(db):
        if not db.execute("SELECT count(*) FROM fact_import").fetchone()[0]:
            fact = {"import_id": 1, "sha256": "0" * 64, "file_name": "c.csv", "content": b"", "imported_at": "x"}
            insert(db, "fact_import", [fact])
        columns = ["id", "vbq", *PREDICTORS, "scanner_stratum"]
        for line, row in enumerate(frame[columns].to_dict("records")):
            db.execute("DELETE FROM derived_import_row WHERE id = ?", [row["id"]])
            about = {"site": "x", "import_id": 1, "line": line, "eligible": 1, "exclusion_reasons": "[]"}
            insert(db, "derived_import_row", [row | about])


class Node:
    """A node with a cohort."""

    def __init__(self, folder: Path, name: str, frame: pd.DataFrame) -> None:
        self.settings = Settings(site=Site(name=name), storage=Storage(folder=folder))
        self.db = open_database(folder, create=True, pseudonym_key="00" * 32)
        put(self.db, frame)

    def export(self, days: int = 0) -> str:
        return export(self.db, self.settings, now=NOW + timedelta(days=days)).text

    def config(self) -> str:
        path = self.settings.storage.folder / "node.toml"
        folder, name = self.settings.storage.folder, self.settings.site.name
        path.write_text(f'[site]\nname = "{name}"\n[storage]\nfolder = "{folder}"\n', encoding="utf-8")
        return str(path)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory):
    made = {name: Node(tmp_path_factory.mktemp(name), name, frame) for name, frame in SITES.items()}
    yield made
    for node in made.values():
        node.db.close()


@pytest.fixture(scope="module")
def files(nodes: dict[str, Node], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """As the command writes them."""
    folder, paths = tmp_path_factory.mktemp("files"), []
    for name, node in nodes.items():
        paths.append(folder / f"{name}.json")
        done = CliRunner().invoke(app, ["pool", "export", str(paths[-1]), "--config", node.config()])
        assert done.exit_code == 0, done.output
    return paths


def test_three_sites_are_pooled_as_their_rows_would_be(files: list[Path], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["pool", "combine", *map(str, files), "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "pool.json").read_text())
    rows = pd.concat([frame.assign(site=name) for name, frame in SITES.items()])
    levels = pd.get_dummies(rows["site"] + rows["scanner_stratum"]).astype(float)
    fit = sm.OLS(rows["vbq"], pd.concat([rows[list(PREDICTORS)].astype(float), levels], axis=1)).fit()
    for term in found["terms"]:
        assert (term["b"], term["se"]) == pytest.approx((fit.params[term["term"]], fit.bse[term["term"]]), rel=1e-9)
    assert (found["n"], [one["site"] for one in found["files"]]) == (465, ["A", "B", "C"])
    assert found["alert_codes"] == ["pool-signer-not-compared"]
    names = {path.stem for path in tmp_path.iterdir()}
    assert names == set(WRITTEN)
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert report.count("data:image/png") == 3
    assert "Not given" not in report


def test_the_same_files_in_any_order_give_the_same_bytes(files: list[Path], tmp_path: Path) -> None:
    for folder, paths in (("one", files), ("other", files[::-1])):
        run = CliRunner().invoke(app, ["pool", "combine", *map(str, paths), "--out", str(tmp_path / folder)])
        assert run.exit_code == 0
    for name in ("pool.json", "report.html", "forest_nlr.svg", "pool_model.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_a_file_holds_no_row_and_can_be_read(files: list[Path]) -> None:
    text = files[2].read_text(encoding="utf-8")
    assert len(text) < 20_000
    content = json.loads(text)["content"]
    assert content["flow"] == {"rows": 185, "left_out": {}}
    assert [one["strata"] for one in content["groups"]] == [1, 2]
    for name in SITES["C"]["id"]:
        assert name not in text


def test_what_was_given_away_is_kept(nodes: dict[str, Node], files: list[Path]) -> None:
    (row,) = nodes["A"].db.query("SELECT * FROM pool_exports")
    assert (row["n"], row["sums"], row["content"]) == (150, 1, files[0].read_text(encoding="utf-8"))
    with pytest.raises(Exception, match="record"):
        nodes["A"].db.execute("UPDATE record_pool_export SET n = 1")


def test_the_key_is_its_owners_alone_and_stays(nodes: dict[str, Node], files: list[Path]) -> None:
    folder = nodes["A"].settings.storage.folder
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    assert site_key(folder).private_bytes_raw() == site_key(folder).private_bytes_raw()
    keys = {json.loads(path.read_text())["signature"]["public_key"] for path in files}
    assert len(keys) == 3


def test_something_else_in_place_of_the_key(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_text("no key")
    with pytest.raises(StoreError, match="not a key"):
        site_key(tmp_path)


def test_two_exports_that_a_few_patients_part_are_refused(tmp_path: Path) -> None:
    frame = SITES["A"]
    node = Node(tmp_path, "A", frame.head(140))
    first = node.export()
    assert json.loads(node.export(1))["content"]["groups"] == json.loads(first)["content"]["groups"]
    put(node.db, frame.head(144))
    with pytest.raises(InputError, match="sums of 4 patients alone"):
        node.export(2)
    assert node.db.execute("SELECT count(*) FROM record_pool_export").fetchone() == (2,)
    put(node.db, frame.head(145))
    assert json.loads(node.export(3))["content"]["n"] == 145
    # A corrected value of one patient is a difference, too.
    put(node.db, frame.head(1).assign(nlr=9.0))
    with pytest.raises(InputError, match="sums of 1 patient alone"):
        node.export(4)
    node.db.close()


def test_the_rows_of_an_erased_person_stay_without_a_name(tmp_path: Path) -> None:
    node = Node(tmp_path, "A", SITES["A"])
    node.export()
    gone = str(SITES["A"]["id"][0])
    with writing(node.db):
        node.db.conn.execute("DROP TRIGGER record_pool_export_no_update")
        _exports(node.db, {gone})
        node.db.execute("DELETE FROM derived_import_row WHERE id = ?", [gone])
    ((members,),) = node.db.execute("SELECT members FROM record_pool_export").fetchall()
    assert gone not in members
    with pytest.raises(InputError, match="sums of 1 patient alone"):
        node.export(1)
    node.db.close()


def test_nobody_eligible_gives_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path, "A", SITES["A"].head(50))
    done = CliRunner().invoke(app, ["pool", "export", str(tmp_path / "x.json"), "--config", node.config()])
    assert done.exit_code == 1
    assert not (tmp_path / "x.json").exists()
    node.db.close()


def forged(path: Path, folder: Path, change) -> Path:
    """A file changed and signed anew by a stranger."""
    content = json.loads(path.read_text(encoding="utf-8"))["content"]
    change(content)
    made = folder / "forged.json"
    made.write_text(signed(content, site_key(folder)), encoding="utf-8")
    return made


def test_a_changed_file_is_refused(files: list[Path], tmp_path: Path) -> None:
    changed = json.loads(files[0].read_text(encoding="utf-8"))
    changed["content"]["groups"][0]["xy"][5] *= 1.01
    path = tmp_path / "a.json"
    path.write_text(json.dumps(changed), encoding="utf-8")
    done = CliRunner().invoke(app, ["pool", "combine", str(path), str(files[1]), "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert isinstance(done.exception, InputError)
    assert "changed after it was signed" in str(done.exception)
    assert not (tmp_path / "out").exists()
    # Another layout is no change.
    path.write_text(json.dumps(json.loads(files[0].read_text(encoding="utf-8")), sort_keys=True), encoding="utf-8")
    assert combine([path]).pool.n == 150


def test_only_signers_that_were_compared(files: list[Path], tmp_path: Path) -> None:
    fingerprints = [one.fingerprint for one in combine(files).files]
    known = combine(files, signers=[one.upper() for one in fingerprints])
    assert [one.compared for one in known.files] == [True] * 3
    assert known.alerts() == ()
    with pytest.raises(InputError, match="none of the signers"):
        combine(files, signers=fingerprints[:2])
    with pytest.raises(InputError, match="64 hex digits"):
        combine(files, signers=["abc"])
    with pytest.raises(InputError, match="none of the signers"):
        combine([forged(files[0], tmp_path, lambda _: None)], signers=fingerprints)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c.update(rows=[[1, 2]]), "rows"),
        (lambda c: c.update(version=2), "version 2"),
        (lambda c: c["groups"][0].update(n=79), "n"),
        (lambda c: c["groups"][0].update(n=151), "not the sum"),
        (lambda c: c["groups"][0].update(yy=0.001), "no patients"),
        (lambda c: c["groups"][0]["xx"][0].__setitem__(1, 5.0), "no patients"),
        (lambda c: c["groups"][0].update(means=None), "means"),
        (lambda c: c["groups"][0]["means"].pop("nlr"), "means"),
        (lambda c: c["groups"][0]["vbq"]["counts"].__setitem__(0, 1), "multiple"),
        (lambda c: c["model"]["predictors"].reverse(), "predictors"),
        (lambda c: c["guards"].update(minimum_cell=1), "minimum_cell"),
        (lambda c: c["groups"].clear(), "groups"),
    ],
)
def test_what_no_site_can_have_given(files: list[Path], tmp_path: Path, change, why: str) -> None:
    with pytest.raises(InputError, match=why):
        combine([forged(files[0], tmp_path, change)])


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"content": {}}', "\xff", "null", '{"content": 1, "signature": 2}'])
def test_what_is_no_pool_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="not a file of"):
        combine([path])


def test_a_site_under_two_names(nodes: dict[str, Node], files: list[Path], tmp_path: Path) -> None:
    renamed = json.loads(files[0].read_text(encoding="utf-8"))["content"] | {"site": "A2"}
    for name, key, why in (
        ("same key", site_key(nodes["A"].settings.storage.folder), r"files of A and A2 are signed by one key"),
        ("new key", site_key(tmp_path), r"files of A and A2 hold the same sums \(Avanto 1\.5 T\)"),
    ):
        path = tmp_path / f"{name}.json"
        path.write_text(signed(renamed, key), encoding="utf-8")
        with pytest.raises(InputError, match=why):
            combine([*files, path])


def test_a_site_twice_and_two_forms_of_the_score(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="twice"):
        combine([files[0], files[0]])
    other = forged(files[1], tmp_path, lambda c: c["measurement"].update(form="median"))
    with pytest.raises(InputError, match="median form"):
        combine([files[0], other])
    other = forged(files[1], tmp_path, lambda c: c["measurement"].update(version="4"))
    assert [one.code for one in combine([files[0], other]).alerts()][1] == "pool-measured-differently"
