"""The picture as Secondary Capture, for every viewer: slice, circles, score, reasons and protocol in its pixels."""

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from pydicom.uid import RLELossless

from analytics.reasons import words
from analytics.records import Circle, MeasurementStatus
from analytics.vbq.overlay import DOTS_PER_INCH, SIZE_INCHES, Measured, pixels
from node.measure.pictures import draw_result
from node.results.content import Result
from node.results.dicom.circles import in_order, scored, signal_of
from node.results.dicom.common import before_all, equipment, finished, printed, quiet, source_of
from node.results.records import Rendered

HEAD_UP = ("P", "F")
"""Patient Orientation of the picture: to the right is posterior, down are the feet."""
LINE_CHARACTERS = 90


def render_sc(result: Result) -> Rendered:
    """The picture of a result, losslessly compressed; where a peer takes no such syntax it is sent uncompressed.

    Raises
    ------
    DicomReadError
        The slice cannot be read, or is not the one that was measured.
    ReadingError
        It does not say how it lies.
    """
    with quiet():
        source = source_of(result)
        picture = _withdrawn(result) if result.finding.score is None else _picture(result)
        sc = SCImage.from_ref_dataset(
            ref_dataset=source.plain,
            pixel_array=picture,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=HEAD_UP,
            transfer_syntax_uid=RLELossless,
            **equipment(result, series="sc"),
        )
        # Required of a paired part of the body only; what validates demands it, empty (PS3.3, C.7.3.1).
        sc.Laterality = ""
        sc.BurnedInAnnotation = "NO"
        sc.ImageComments = printed(result)
        return finished(sc, source, result)


def _picture(result: Result) -> NDArray[np.uint8]:
    finding, score = result.finding, scored(result)
    signal_of(result)
    assert result.image is not None, "a score has a slice"
    circles = {name: Circle(row=one.row, col=one.col, radius_px=one.radius_px) for name, one in in_order(score.regions)}
    shown = Measured(
        status=MeasurementStatus.MEASURED,
        reasons=[*_status(result), *words(finding.reasons)],
        score=None,
        vbq_sd=score.vbq_sd,
        levels_confidence=score.levels_confidence,
        outlines={},
        made_by=_made_by(result),
        printed=f"{before_all(result)}Protocol: {result.protocol}",
    )
    return draw_result(result.image, finding.frame_number, circles, shown)


def _status(result: Result) -> list[str]:
    preliminary = ["PRELIMINARY: no person has approved it"] if result.finding.approval is None else []
    return [*filter(None, [result.banner]), *preliminary]


def _made_by(result: Result) -> str:
    finding = result.finding
    if finding.approval is None:
        return f"{finding.algorithm}; preliminary"
    who = f"approved by {finding.approval.name}" if finding.circles_of else f"read by {finding.approval.name}"
    return f"{finding.circles_of or finding.algorithm}; {result.status.value}: {who}"


def _withdrawn(result: Result) -> NDArray[np.uint8]:
    """A picture that says so, in the place of the one before."""
    from textwrap import wrap

    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, facecolor="white")
    figure.text(0.05, 0.9, "WITHDRAWN", fontsize=30, fontweight="bold", color="#a3212b", va="top")
    lines = ["The VBQ that was reported of this series before does not hold.", *words(result.finding.reasons)]
    text = "\n".join(part for line in [*lines, "", printed(result)] for part in wrap(line, LINE_CHARACTERS) or [""])
    figure.text(0.05, 0.75, text, fontsize=12, va="top")
    return pixels(figure)
