"""Circles as files have them (`reading show` writes, `reading add` takes them), and the name of their picture."""

import hashlib
import json
from collections.abc import Mapping

SLICE = "slice"
"""InstanceNumber of the image, 1-based."""
FRAME = "frame"
"""Frame of a multi-frame image, 1-based."""


def picture_name(inputs_sha256: str, algorithm: str, circles: Mapping[str, Mapping[str, float]]) -> str:
    """Twelve digits that change with the images of the series, the algorithm and its circles: what a picture shows."""
    places = {name: [roi["row"], roi["col"], roi["radius_px"]] for name, roi in sorted(circles.items())}
    return hashlib.sha256(f"{inputs_sha256} {algorithm} {json.dumps(places)}".encode()).hexdigest()[:12]
