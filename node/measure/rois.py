"""Circles as files and the database have them, and the name of their picture."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict

from analytics.records import Circle, RoiSignal
from analytics.vbq.automatic import Beside
from node.measure.t2 import T2Used

SLICE = "slice"
"""InstanceNumber of the image, 1-based."""
FRAME = "frame"
"""Frame of a multi-frame image, 1-based."""


def picture_name(inputs_sha256: str, algorithm: str, circles: Mapping[str, Mapping[str, float]]) -> str:
    """Twelve digits that change with the images of the series, the algorithm and its circles: what a picture shows."""
    places = {name: [roi["row"], roi["col"], roi["radius_px"]] for name, roi in sorted(circles.items())}
    return hashlib.sha256(f"{inputs_sha256} {algorithm} {json.dumps(places)}".encode()).hexdigest()[:12]


def beside_json(beside: Beside | None) -> dict[str, object]:
    """S1 VBQ with its circle, and EBQ by disc (both end plates over the fluid, Jones 2022)."""
    if beside is None:
        return {"s1_vbq": None, "s1": None, "ebq": {}}
    s1 = beside.s1
    circle = (
        None if s1 is None else {**asdict(s1.circle), "radius_mm": s1.radius_mm, "mean": s1.mean, "pixels": s1.pixels}
    )
    return {"s1_vbq": beside.s1_vbq, "s1": circle, "ebq": dict(beside.ebq)}


def t2_json(t2: T2Used | None) -> dict[str, object]:
    """The T2 that was looked at, and the share of the circle of fluid that is fluid by it; nothing without one."""
    if t2 is None:
        return {}
    return {
        "t2": {
            "series_instance_uid": t2.series_uid,
            "sop_instance_uid": t2.place.sop_instance_uid,
            "frame_number": t2.place.frame_number,
            "fluid": [round(t2.fluid.worst, 3), round(t2.fluid.best, 3)],
        }
    }


def roi_json(circle: Circle, signal: RoiSignal | None) -> dict[str, float]:
    """A circle in 0-based native pixels, with what its pixels say where that is known."""
    if signal is None:
        return asdict(circle)
    return {
        **asdict(circle),
        "radius_mm": signal.radius_mm,
        "mean": signal.mean,
        "sd": signal.sd,
        "pixels": signal.pixels,
    }
