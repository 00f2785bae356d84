"""What renders each kind of DICOM result; the libraries are loaded when there is something to render."""

from collections.abc import Mapping, Sequence

from node.results.content import Earlier, Result
from node.results.records import NOTE, Render, Rendered

SILENT = frozenset({"seg", "gsps"})
"""Objects that cannot say that nothing holds any more: a rejection note must."""


SOP_CLASSES: Mapping[str, tuple[str, str]] = {
    "sr": ("1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.1.2.1"),
    "sc": ("1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.1.2.5"),
    "seg": ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.1.2.1"),
    "gsps": ("1.2.840.10008.5.1.4.1.1.11.1", "1.2.840.10008.1.2.1"),
    NOTE: ("1.2.840.10008.5.1.4.1.1.88.59", "1.2.840.10008.1.2.1"),
}
"""SOP class and transfer syntax of each object as it is rendered."""


def _sr(result: Result) -> Rendered:
    from node.results.dicom.sr import render_sr

    return render_sr(result)


def _sc(result: Result) -> Rendered:
    from node.results.dicom.sc import render_sc

    return render_sc(result)


def _seg(result: Result) -> Rendered:
    from node.results.dicom.seg import render_seg

    return render_seg(result)


def _gsps(result: Result) -> Rendered:
    from node.results.dicom.gsps import render_gsps

    return render_gsps(result)


def note(result: Result, rejected: Sequence[Earlier]) -> Rendered:
    """The rejection note about earlier objects."""
    from node.results.dicom.ko import render_ko

    return render_ko(result, rejected)


RENDERS: Mapping[str, Render] = {"sr": _sr, "sc": _sc, "seg": _seg, "gsps": _gsps}
