"""A measurement with the contract of the automatic one that knows where the circles lie: for the tests of what is
around it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from analytics.reasons import Reason
from analytics.records import Circle, MeasurementStatus, RoiSignal
from analytics.vbq.automatic import AutomaticMeasurement, Beside, FluidOnT2, SagittalImage, T2At
from analytics.vbq.score import score

BESIDE = Beside(
    s1=RoiSignal(circle=Circle(row=60.0, col=12.0, radius_px=3.0), radius_mm=2.6, mean=330.0, sd=1.0, pixels=29),
    s1_vbq=2.75,
    ebq={"L4/L5": 2.25},
)


@dataclass
class KnownCircles:
    """Scores the middle slice under these circles; rejects or doubts by the mean signal of that slice.

    ``asked`` remembers what it was called with: how many images, and whether a T1 is stated; ``t2`` where the slice of
    a T2 lies that it was given.
    """

    circles: Mapping[str, Sequence[float]]
    rejects: Mapping[float, str] = field(default_factory=dict)
    doubts: Mapping[float, str] = field(default_factory=dict)
    asked: list[tuple[int, bool]] = field(default_factory=list)
    t2: list[tuple[float, float, float] | None] = field(default_factory=list)

    def __call__(
        self, images: Sequence[SagittalImage], *, t1_stated: bool = True, t2_at: T2At | None = None
    ) -> AutomaticMeasurement:
        self.asked.append((len(images), t1_stated))
        middle = len(images) // 2
        t2 = t2_at(images[middle]) if t2_at else None
        self.t2.append(None if t2 is None else t2.position_mm)
        mean = round(float(images[middle].signal.mean()), 1)
        outlines = {"L1": np.array([[4.0, 8.0], [4.0, 18.0], [16.0, 18.0], [16.0, 8.0]])}
        if mean in self.rejects:
            return AutomaticMeasurement(
                status=MeasurementStatus.REJECTED, reasons=(Reason(self.rejects[mean]),), slice_index=None, score=None,
                vbq_sd=None, levels_confidence=None, outlines={},
            )  # fmt: skip
        rois = {
            name: Circle(row=float(row), col=float(col), radius_px=float(radius))
            for name, (row, col, radius) in self.circles.items()
        }
        doubtful = (Reason(self.doubts[mean]),) if mean in self.doubts else ()
        return AutomaticMeasurement(
            status=MeasurementStatus.REVIEW if doubtful else MeasurementStatus.MEASURED,
            reasons=doubtful,
            slice_index=middle,
            score=score(images[middle].signal, rois, spacing_mm=images[middle].spacing_mm),
            vbq_sd=0.061,
            levels_confidence=0.97,
            outlines=outlines,
            beside=BESIDE,
            fluid_on_t2=None if t2 is None else FluidOnT2(worst=0.8125, best=1.0),
        )
