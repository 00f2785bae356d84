"""A process of the back-fill whose measurement knows where the circles lie, and does what the first pixel says.

98: does not come to an end; 99: ends its process; 97: ends it the first time, while the file ``once`` is not there: in
the data folder, or in the folder that the environment names.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from analytics.vbq.automatic import AutomaticMeasurement, SagittalImage, T2At
from node.backfill.worker import main
from tests.node.known_circles import KnownCircles
from tests.node.world import CIRCLES

DEADLY, ENDLESS, DEADLY_ONCE = 99, 98, 97
SLOW_S = float(os.environ.get("BACKFILL_CHILD_S", "0"))


def measure(
    images: Sequence[SagittalImage], *, t1_stated: bool = True, t2_at: T2At | None = None
) -> AutomaticMeasurement:
    first = max(image.signal[0, 0] for image in images)
    once = Path(os.environ.get("BACKFILL_CHILD_FOLDER") or sys.argv[1]) / "once"
    if first == DEADLY or (first == DEADLY_ONCE and not once.exists()):
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(3600 if first == ENDLESS else SLOW_S)
    return KnownCircles(CIRCLES)(images, t1_stated=t1_stated, t2_at=t2_at)


if __name__ == "__main__":
    main(measure)
