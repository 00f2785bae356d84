"""What the receiver takes: SOP classes and transfer syntaxes.

A study brings more than the MR images that are measured; what is not measured is kept and set aside, so that a mixed
study does not fail at the sender.
"""

from pydicom import uid

from analytics.vbq.header import MR_IMAGES
from node.settings import Accept

VERIFICATION = "1.2.840.10008.1.1"
"""C-ECHO."""
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model (PS3.4, annex J)."""

UNCOMPRESSED: tuple[str, ...] = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
LOSSLESS: tuple[str, ...] = (
    uid.JPEGLosslessSV1,
    uid.JPEGLossless,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.RLELossless,
)
LOSSY: tuple[str, ...] = (
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLSNearLossless,
    uid.JPEG2000,
    uid.HTJ2K,
)
"""Taken of what is set aside, as sent; never of an image that could be measured."""

OTHER_IMAGES: tuple[str, ...] = (
    uid.EnhancedMRColorImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
)
WITHOUT_PIXELS: tuple[str, ...] = (
    uid.MRSpectroscopyStorage,
    uid.RawDataStorage,
    uid.BasicTextSRStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.Comprehensive3DSRStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.ColorSoftcopyPresentationStateStorage,
    uid.EncapsulatedPDFStorage,
    "1.3.12.2.1107.5.9.1",  # CSA Non-Image Storage, which Siemens scanners send along with their series
)

_STANDARD = "1.2.840.10008."
_STANDARD_STORAGE = "1.2.840.10008.5.1.4.1.1."
"""The Storage SOP classes of PS3.4, annex B, stand under this, private ones outside of the standard's root."""


def transfer_syntaxes(sop_class_uid: str, *, accept: Accept) -> tuple[str, ...]:
    """The transfer syntaxes taken of a SOP class, the preferred one first; none when the class is not taken.

    Parameters
    ----------
    accept
        Setting ``dicom.accept``: ``"mr"`` the images that could be measured, ``"study"`` also what comes along with
        them, ``"all"`` every Storage SOP class and every private one.
    """
    if sop_class_uid in MR_IMAGES:
        return UNCOMPRESSED + LOSSLESS
    if sop_class_uid in (VERIFICATION, STORAGE_COMMITMENT):
        return UNCOMPRESSED
    if accept != "mr" and sop_class_uid in WITHOUT_PIXELS:
        return UNCOMPRESSED
    named = accept != "mr" and sop_class_uid in OTHER_IMAGES
    if named or (accept == "all" and (sop_class_uid.startswith(_STANDARD_STORAGE) or _is_private(sop_class_uid))):
        return UNCOMPRESSED + LOSSLESS + LOSSY
    return ()


def _is_private(sop_class_uid: str) -> bool:
    return not sop_class_uid.startswith(_STANDARD)
