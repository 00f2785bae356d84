"""conf/orthanc in a real Orthanc: it routes to the node, goes on whatever happens, and shows what was measured."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, generate_uid

from node.conf import conf_path
from node.people.readings import add_reading
from node.settings import Settings
from node.steps.measure import measure_readings
from node.store.snapshot import publish
from tests.acceptance.orthanc import Orthanc
from tests.node.dicom_samples import NOON, mr_image, receiver, settings_for, stack
from tests.node.receiver_world import rows
from tests.node.world import CIRCLES, SERIES, World, painted
from tests.waiting import eventually

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancPython.so")
"""Debian's orthanc-python."""
PROTOCOL = "VBQ-PILOT 2026/17"


def shipped(**changes: object) -> dict[str, object]:
    """conf/orthanc/orthanc.json, with places of the test."""
    text = conf_path("orthanc/orthanc.json").read_text(encoding="utf-8")
    found = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    del found["DicomModalities"]
    return {**found, "StableAge": 1, "LuaScripts": [str(conf_path("orthanc/route.lua"))], **changes}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "data")


@pytest.fixture
def orthanc(tmp_path: Path, settings: Settings) -> Iterator[Orthanc]:
    """Not yet started; without its Python plugin."""
    one = Orthanc(tmp_path / "pacs", **shipped(PythonScript="", VbqNode={}))
    yield one
    one.stop()


def start(orthanc: Orthanc, settings: Settings) -> None:
    orthanc.start({"vbq": ("VBQNODE", settings.dicom.port)})


def kept(settings: Settings) -> int:
    return int(str(rows(settings, "SELECT count(*) FROM fact_object")[0][0]))


def says(orthanc: Orthanc, text: str) -> bool:
    return text in (orthanc.folder / "orthanc.log").read_text(errors="replace")


def marked(orthanc: Orthanc) -> list[bool]:
    series = orthanc.get("/series")
    assert isinstance(series, list)
    return ["VbqSent" in orthanc.get(f"/series/{one}/metadata") for one in series]


def bare() -> Dataset:
    """An image that says nothing of itself but its UIDs and that it is MR."""
    made = mr_image(StudyInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid(), SOPInstanceUID=generate_uid())
    for name in ("SeriesDescription", "StudyDescription", "BodyPartExamined", "ProtocolName", "PatientName"):
        if name in made:
            delattr(made, name)
    return made


def report() -> Dataset:
    """It joins the study of ``painted``."""
    made = mr_image(SOPClassUID=ComprehensiveSRStorage, Modality="SR", SeriesInstanceUID=generate_uid())
    for name in ("PixelData", "Rows", "Columns"):
        delattr(made, name)
    return made


def test_what_is_stable_is_sent_once_and_what_could_not_be_sent_later(orthanc: Orthanc, settings: Settings) -> None:
    # The node is not up.
    start(orthanc, settings)
    first = painted()
    orthanc.put_in(first)
    assert eventually(lambda: says(orthanc, "could not be sent"))
    assert not any(marked(orthanc))

    with receiver(settings):
        # The next study takes the first one with it; it names nothing that a script might count on.
        orthanc.put_in([bare()])
        assert eventually(lambda: kept(settings) == len(first) + 1)
        assert eventually(lambda: all(marked(orthanc)))

        # A report that joins the study makes it stable anew, and changes none of its images.
        orthanc.put_in([report()])
        later = stack(4, series="9", StudyInstanceUID=generate_uid())
        orthanc.put_in(later)
        assert eventually(lambda: kept(settings) == len(first) + 1 + len(later))
        assert rows(settings, "SELECT count(*) FROM fact_object_receipt") == [(len(first) + 1 + len(later),)]

        # An image more of a series that is there: the series is sent again.
        orthanc.put_in([mr_image(seed=99, SOPInstanceUID=generate_uid())])
        assert eventually(lambda: kept(settings) == len(first) + 2 + len(later))
    assert not says(orthanc, "failed:")


@pytest.mark.parametrize("broken", ["ParseJson", "table.concat"])
def test_a_script_that_fails_says_so_and_goes_on(
    orthanc: Orthanc, settings: Settings, tmp_path: Path, broken: str
) -> None:
    """Whatever is missing or of another kind in what Orthanc hands over is an error of one study."""
    script = tmp_path / "route.lua"
    script.write_text(
        f"local once, real = true, {broken}\n"
        f"{broken} = function(...) if once then once = false; error('broken') end return real(...) end\n"
        + conf_path("orthanc/route.lua").read_text().replace("ONLY = {}", "ONLY = {'t1'}")
    )
    orthanc.settings["LuaScripts"] = [str(script)]
    start(orthanc, settings)
    first = painted(SeriesDescription="t1_tse_sag")
    with receiver(settings):
        orthanc.put_in(first)
        assert eventually(lambda: says(orthanc, "failed: [string"))
        orthanc.put_in(stack(4, series="9", StudyInstanceUID=generate_uid(), SeriesDescription="T1 sag"))
        orthanc.put_in(stack(4, series="8", StudyInstanceUID=generate_uid(), SeriesDescription="T2 tse"))
        assert eventually(lambda: kept(settings) == len(first) + 4)


def fetched(orthanc: Orthanc, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{orthanc.http_port}{path}", timeout=20) as answer:
        return bytes(answer.read())


def test_status_score_and_picture_at_the_series(orthanc: Orthanc, tmp_path: Path) -> None:
    if not PLUGIN.exists():
        pytest.skip("the Python plugin of Orthanc is not installed")
    world = World(tmp_path / "data")
    snapshot = publish(world.db, tmp_path / "data")
    plugin = {"Snapshot": str(snapshot), "Protocol": PROTOCOL}
    script = str(conf_path("orthanc/result.py"))
    orthanc.settings.update(Plugins=[str(PLUGIN)], PythonScript=script, VbqNode=plugin)
    start(orthanc, world.settings)
    images = painted()
    orthanc.put_in(images)
    (series,) = orthanc.get("/series")
    place = f"/vbq-node/series/{series}"
    assert "Not at vbq-node" in fetched(orthanc, place).decode()

    world.receive(*images, at=NOON)
    world.index()
    world.catalogue()
    rois = json.dumps({"slice": 4, **CIRCLES})
    add_reading(world.db, world.archive, series_uid=SERIES, reader="Dr. B", rois_text=rois, now=NOON)
    measure_readings(world.db, world.archive)
    publish(world.db, tmp_path / "data")
    page = fetched(orthanc, place).decode()
    assert "Status: <b>measured</b>" in page
    # 1000 / 4 / 100: the bands that were painted.
    assert "VBQ <b>2.50</b>" in page
    assert PROTOCOL in page
    # Centres of pixels, counted from the corner of the first one.
    assert 'viewBox="0 0 50 70"' in page
    assert page.count("<circle") == 5
    assert '<circle cx="12.50" cy="10.50" r="3.00"><title>L1</title>' in page
    (picture,) = re.findall(r'href="\.\./\.\.(/instances/[^"]+)"', page)
    assert fetched(orthanc, picture).startswith(b"\x89PNG")
    assert "vbq-node/series" in fetched(orthanc, "/plugins/explorer.js").decode()

    orthanc.stop()
    orthanc.settings["VbqNode"] = {**plugin, "Protocol": ""}
    start(orthanc, world.settings)
    page = fetched(orthanc, place).decode()
    assert "Protocol is not set" in page
    assert "2.50" not in page
