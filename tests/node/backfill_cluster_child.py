"""What workers of a test's cluster measure with: circles that are known, and by the first pixel what goes wrong.

A worker takes what it is to do from its name, as all are started with the same environment.
"""

import errno
import os
from collections.abc import Sequence

from distributed import get_worker

from analytics.vbq.automatic import AutomaticMeasurement, SagittalImage, T2At
from tests.node.known_circles import KnownCircles
from tests.node.world import CIRCLES

ODD = 1
"""Name of the worker that does not give the node's values, or breaks."""


def _of_odd_worker() -> bool:
    try:
        return get_worker().name == ODD
    except ValueError:
        return False  # the node itself


def other_values(
    images: Sequence[SagittalImage], *, t1_stated: bool = True, t2_at: T2At | None = None
) -> AutomaticMeasurement:
    """On one worker the circle of L1 lies a pixel beside."""
    circles = {**CIRCLES, "L1": [11, 13, 4]} if _of_odd_worker() else CIRCLES
    return KnownCircles(circles)(images, t1_stated=t1_stated, t2_at=t2_at)


def broken(
    images: Sequence[SagittalImage], *, t1_stated: bool = True, t2_at: T2At | None = None
) -> AutomaticMeasurement:
    """One worker's disk is full."""
    if _of_odd_worker():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return KnownCircles(CIRCLES)(images, t1_stated=t1_stated, t2_at=t2_at)
