"""A measured series with results for a DICOM peer, and readers of them that share nothing with what writes them."""

import json
import re
import subprocess
import threading
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from node.people.readings import approve
from node.results.content import Finding
from node.results.dicom.objects import RENDERS, SILENT, note
from node.results.records import Destination, make_due
from node.settings import Settings
from node.steps.link import link_persons
from node.steps.measure import measure_readings
from tests.node.dicom_samples import NOON
from tests.node.test_measure_automatic import arrive, measure
from tests.node.world import SERIES, World

PROTOCOL = "EK 12/2026"
NEVER = threading.Event()
PACS = Destination(
    queue="dicom_result", name="pacs", renders=RENDERS, silent=SILENT, told=Finding.of_images, in_files=True, note=note
)


def with_protocol(settings: Settings, protocol: str = PROTOCOL, **site: str) -> Settings:
    return settings.model_copy(update={"site": settings.site.model_copy(update={"protocol": protocol, **site})})


def measured(world: World, *images: Dataset, double: object = None, protocol: str = PROTOCOL) -> World:
    """The world with these images measured, at a site with a study protocol."""
    world.settings = with_protocol(world.settings, protocol)
    arrive(world, *images)
    measure(world, double) if double else measure(world)
    return world


def due(world: World, destination: Destination = PACS) -> int:
    link_persons(world.db, world.settings)
    return make_due(world.db, world.settings, destination, after=0, at=NOON, stop=NEVER)


def approved(world: World, reader: str = "Dr. A") -> None:
    approve(world.db, world.archive, series_uid=SERIES, reader=reader, now=NOON)
    measure_readings(world.db, world.archive)


def rendered(world: World) -> dict[tuple[str, int], bytes]:
    """The bytes of every result, by kind and version."""
    found = {}
    for kind, version, sha256 in world.db.execute("SELECT kind, version, sha256 FROM record_result").fetchall():
        found[kind, version] = (world.folder / "results" / sha256[:2] / sha256).read_bytes()
    return found


def loaded(content: bytes) -> Dataset:
    return pydicom.dcmread(BytesIO(content))


def errors_of(path: Path) -> list[str]:
    """What dciodvfy (dicom3tools) holds against an object."""
    said = subprocess.run(
        ["dciodvfy", "-new", str(path)], capture_output=True, text=True, errors="replace", check=False
    )
    return [line for line in said.stderr.splitlines() if line.startswith("Error")]


@dataclass
class ReadRegion:
    """A circle as a reader of the report has it: centre and a point on it from the corner of the image."""

    image: str
    centre: tuple[float, float]
    rim: tuple[float, float]
    mean: float
    sd: float


def regions_of(report: Dataset) -> dict[str, ReadRegion]:
    """The circles of a TID 1500 report, by walking its content; with pydicom alone."""
    found = {}
    for group in _under(_under([report], "126010")[0].ContentSequence, "125007"):
        shapes = [item for item in group.ContentSequence if item.ValueType == "SCOORD"]
        if not shapes:
            continue
        (name,) = (item.TextValue for item in group.ContentSequence if _code(item) == "112039")
        mean, sd = (
            next(
                float(item.MeasuredValueSequence[0].FloatingPointValue)
                for item in group.ContentSequence
                if item.ValueType == "NUM" and item.ContentSequence[0].ConceptCodeSequence[0].CodeValue == derivation
            )
            for derivation in ("373098007", "386136009")
        )
        x, y, rim_x, rim_y = (float(one) for one in shapes[0].GraphicData)
        (source,) = shapes[0].ContentSequence
        uid = source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        found[name.removeprefix("VBQ ")] = ReadRegion(image=uid, centre=(x, y), rim=(rim_x, rim_y), mean=mean, sd=sd)
    return found


def score_of(report: Dataset) -> float:
    """The VBQ that a report states."""
    return _number(report, "VBQ")


def _number(report: Dataset, code: str) -> float:
    def walk(item: Dataset) -> list[float]:
        mine = [float(item.MeasuredValueSequence[0].NumericValue)] if _code(item) == code else []
        return mine + [one for child in item.get("ContentSequence") or () for one in walk(child)]

    (found,) = walk(report)
    return found


def _under(items: list[Dataset], code: str) -> list[Dataset]:
    return [child for item in items for child in (item.get("ContentSequence") or [item]) if _code(child) == code] or [
        item for item in items if _code(item) == code
    ]


def _code(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].get("CodeValue") or names[0].get("LongCodeValue")) if names else ""


def score_by_pixels(regions: dict[str, ReadRegion], pixels: np.ndarray) -> float:
    """VBQ of the pixels under the circles of a report: the mean of four means over that of the fluid (Ehresman 2020).

    A pixel is in a circle when its centre is; centres lie half a pixel from the corner (PS3.3, C.10.5.1.2).
    """
    down, across = np.indices(pixels.shape) + 0.5
    means = {}
    for name, region in regions.items():
        radius = np.hypot(region.rim[0] - region.centre[0], region.rim[1] - region.centre[1])
        inside = np.hypot(across - region.centre[0], down - region.centre[1]) <= radius
        means[name] = float(pixels[inside].mean())
    return sum(means[name] for name in ("L1", "L2", "L3", "L4")) / 4 / means["CSF"]


def by_dcmtk(path: Path) -> dict[str, str]:
    """Numbers of a report as DCMTK reads them: the first of each name."""
    said = subprocess.run(["dsrdump", "+Pl", str(path)], capture_output=True, text=True, errors="replace", check=True)
    found: dict[str, str] = {}
    for name, value in re.findall(r'NUM:\(,,"([^"]*)"\)="([^"]*)"', said.stdout):
        found.setdefault(name, value)
    return found


def content_of(world: World, result_id: int) -> dict[str, object]:
    (text,) = world.db.execute("SELECT content FROM record_result WHERE result_id = ?", [result_id]).fetchone()
    found: dict[str, object] = json.loads(text)
    return found
