"""What the receiver takes: SOP classes and transfer syntaxes.

A study brings more than the MR images that are measured; what is not measured is kept and set aside, so that a mixed
study does not fail at the sender.
"""

from pydicom import uid
from pynetdicom.presentation import PresentationContext, build_context

VERIFICATION = uid.UID("1.2.840.10008.1.1")
"""C-ECHO."""

UNCOMPRESSED = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
LOSSLESS = (
    uid.JPEGLosslessSV1,
    uid.JPEGLossless,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.RLELossless,
)

MR_IMAGES = (
    uid.MRImageStorage,
    uid.EnhancedMRImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage,
)
OTHER_IMAGES = (
    uid.EnhancedMRColorImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
)
WITHOUT_PIXELS = (
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
)


def accepted_contexts() -> list[PresentationContext]:
    """Everything the receiver takes; of the syntaxes a sender offers, the first here is agreed on."""
    images = [build_context(name, [*UNCOMPRESSED, *LOSSLESS]) for name in (*MR_IMAGES, *OTHER_IMAGES)]
    others = [build_context(name, [*UNCOMPRESSED]) for name in WITHOUT_PIXELS]
    return [build_context(VERIFICATION, [*UNCOMPRESSED]), *images, *others]
