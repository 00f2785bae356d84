"""The circles as a grayscale presentation state: drawn by the viewer itself, over the image as it is."""

import numpy as np
from highdicom.pr import (
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GrayscaleSoftcopyPresentationState,
    SoftcopyVOILUTTransformation,
    TextObject,
)
from numpy.typing import NDArray

from analytics.reasons import Reason
from node.dicom.frames import PER_FRAME
from node.errors import DicomReadError
from node.results.content import TWO_SIDED_95, Result
from node.results.dicom import scheme
from node.results.dicom.circles import graphic, in_order, scored, signal_of
from node.results.dicom.common import equipment, finished, lasting_uid, printed, quiet, source_of
from node.results.records import Rendered

DARKEST, BRIGHTEST = 1.0, 99.5
"""Percentiles of the signal shown as black and white, as in the picture."""
LINE = 0.05
"""Share of the image's height that a line of text takes."""


def render_gsps(result: Result) -> Rendered:
    """The presentation state of a result that has a score.

    Raises
    ------
    DicomReadError
        The slice cannot be read, is not the one that was measured, or has a rescale of its own.
    """
    with quiet():
        source = source_of(result)
        if any("PixelValueTransformationSequence" in one for one in source.plain.get(PER_FRAME) or ()):
            # The modality LUT of a presentation state is one for all frames (PS3.3, C.11.1).
            raise DicomReadError(Reason("result-rescaled-by-frame"))
        signal = signal_of(result)
        series, frame = result.finding.series_instance_uid, result.finding.frame_number
        layer = GraphicLayer("VBQ", 1, description="VBQ circles, research use only")
        annotation = GraphicAnnotation(
            referenced_images=[source.plain],
            referenced_frame_number=frame,
            graphic_layer=layer,
            graphic_objects=[
                GraphicObject(
                    graphic_type="CIRCLE",
                    graphic_data=graphic(region, signal.shape),
                    units="PIXEL",
                    is_filled=False,
                    tracking_id=f"VBQ {name}",
                    tracking_uid=lasting_uid("region", series, name),
                )
                for name, region in in_order(scored(result).regions)
            ],
            text_objects=_texts(result, signal.shape),
        )
        state = GrayscaleSoftcopyPresentationState(
            referenced_images=[source.plain],
            content_label="VBQ",
            content_description=printed(result)[: scheme.MEANING_LENGTH],
            graphic_layers=[layer],
            graphic_annotations=[annotation],
            voi_lut_transformations=[_window(signal)],
            **equipment(result, series="gsps"),
        )
        # As of the picture.
        state.Laterality = ""
        return finished(state, source, result)


def _texts(result: Result, shape: tuple[int, ...]) -> list[TextObject]:
    score = scored(result)
    interval = f" +/- {TWO_SIDED_95 * score.vbq_sd:.2f}" if score.vbq_sd is not None else ""
    lines = [f"VBQ {score.vbq_mean:.2f}{interval}, {result.status.value}", printed(result)]
    rows, columns = shape
    step = LINE * rows
    return [
        TextObject(
            line, units="PIXEL", bounding_box=(1.0, 1.0 + number * step, columns - 1.0, 1.0 + (number + 1) * step)
        )
        for number, line in enumerate(lines)
    ]


def _window(signal: NDArray[np.float64]) -> SoftcopyVOILUTTransformation:
    low, high = (float(one) for one in np.percentile(signal[np.isfinite(signal)], (DARKEST, BRIGHTEST)))
    return SoftcopyVOILUTTransformation(
        window_center=round((low + high) / 2, 3), window_width=max(1.0, round(high - low, 3))
    )
