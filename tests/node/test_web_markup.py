"""Markup in every field of HL7 and DICOM, through the interpreters and the index, stays text on every page."""

import html
import re
from contextlib import closing
from datetime import date, timedelta
from html.parser import HTMLParser

import pytest
from markupsafe import escape
from pydicom.config import disable_value_validation
from pydicom.uid import generate_uid

from node.clock import now
from node.demo.hospital import open_hospital
from node.settings import Settings
from node.steps.worker import run_pending
from node.store.archive import Archive
from node.store.database import open_database
from tests.node.dicom_samples import receive
from tests.node.web_world import GAP, WHOLE, Browser, MakeNode, keep, serving, t1_of

EVIL = "\"'><img src=x onerror=alert(1)>"
SAID = str(escape("<img src=x onerror=alert(1)>"))
SEGMENTS = {"PID": 20, "PV1": 20, "SCH": 12, "AIS": 10, "AIP": 4, "PR1": 12, "OBR": 20, "OBX": 11, "SPM": 5, "NTE": 3}
"""Fields that are filled, at least, whether the hospital fills them or not."""
TEXTS = (
    "PatientID", "PatientName", "IssuerOfPatientID", "AccessionNumber", "SeriesDescription", "StudyDescription",
    "Manufacturer", "ManufacturerModelName", "StationName", "InstitutionName", "ProtocolName", "SequenceName",
    "ReceiveCoilName", "StudyID", "BodyPartExamined", "ContrastBolusAgent", "OperatorsName",
)  # fmt: skip


def evil_messages(today: date) -> list[bytes]:
    """One message for each field of a stay, a booking and a count, each with markup in that field."""
    hospital = open_hospital(1, night=today)
    number = next(one.part.number for one in hospital.patients if one.part.key == WHOLE)
    of_patient = [raw.decode() for raw in (*hospital.his, *hospital.lis) if number.encode() in raw]
    kinds = {kind: next(text for text in of_patient if f"||{kind}^" in text) for kind in ("ADT", "SIU", "ORU")}
    kinds["SIU"] += "AIP|1|A|7^Haus^Berta|SURG\rPR1|1||LDF^Fusion^L||20260301\rNTE|1||text\r"
    found = []
    for text in kinds.values():
        lines = [line for line in text.split("\r") if line]
        first = {line[:3]: at for at, line in reversed(list(enumerate(lines)))}
        for at, line in ((at, lines[at]) for at in first.values()):
            for field in range(1, max(SEGMENTS.get(line[:3], 0), line.count("|")) + 1):
                if line[:3] != "MSH" or field > 1:
                    changed = [*lines[:at], _filled(line, field), *lines[at + 1 :]]
                    found.append(("\r".join(changed) + "\r").encode())
    return found


def _filled(line: str, field: int) -> str:
    fields = line.split("|")
    fields += [""] * (field + 1 - len(fields))
    return "|".join([*fields[:field], EVIL, *fields[field + 1 :]])


@pytest.fixture(scope="module")
def spoilt(make_node: MakeNode, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = make_node(tmp_path_factory.mktemp("markup"))
    folder = settings.storage.folder
    today = now().astimezone(settings.site.zone).date()
    hospital = open_hospital(1, night=today)
    gap = next(one for one in hospital.patients if one.part.key == GAP)
    images = [one for one in gap.images(gap.study()) if one.SeriesInstanceUID == t1_of(gap)]
    series, study = generate_uid(), generate_uid()
    for one in images:
        one.SeriesInstanceUID, one.StudyInstanceUID, one.SOPInstanceUID = series, study, generate_uid()
        with disable_value_validation():
            for name in TEXTS:
                if name in one:
                    delattr(one, name)
                setattr(one, name, EVIL)
    receive(folder, *images[:4], *images[5:], at=now() - timedelta(days=1))
    with closing(open_database(folder)) as db:
        for raw in evil_messages(today):
            keep(db, raw)
        while run_pending(db, Archive(folder), settings, at=now()):
            pass
    return settings


class Tags(HTMLParser):
    """Elements and attributes that are not of the pages."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        scripts = any(name.startswith("on") or (value or "").startswith("javascript:") for name, value in attrs)
        source = given.get("src") or ""
        if scripts or (tag in ("img", "script") and not source.startswith(("/patients/", "/static/"))):
            self.foreign.append(f"{tag} {given}")


def test_markup_of_every_field_stays_text_on_every_page(spoilt: Settings) -> None:
    shown: dict[str, set[str]] = {}
    with serving(spoilt):
        for name in ("reader", "surgeon", "keeper", "engineer"):
            browser, seen, left = Browser(spoilt.web.port), set(), ["/", "/patients", "/settled"]
            assert browser.log_in(name).status == 303
            while left:
                path = left.pop()
                answer = browser.get(path)
                seen.add(path)
                if answer.status != 200 or "text/html" not in answer.headers["content-type"]:
                    continue
                tags = Tags()
                tags.feed(answer.text)
                assert tags.foreign == [], (name, path)
                assert "<img src=x" not in answer.text
                if SAID in answer.text:
                    shown.setdefault(name, set()).add(path.split("/")[1])
                links = re.findall(r'href="(/(?:patients|series)?[^"#]*)"', answer.text)
                left += [one for one in map(html.unescape, dict.fromkeys(links)) if one not in seen and one not in left]
    # It was there to be seen.
    assert {"series", "patients"} <= shown["reader"]
    assert {"patients"} <= shown["surgeon"]
    assert {""} <= shown["engineer"]
