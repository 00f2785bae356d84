"""What the headers say of pixels that are not as the scanner made them."""

import re
from collections.abc import Iterator, Sequence

from analytics.reasons import Reason
from analytics.vbq.header import ImageHeader

SCREEN_BITS = 8
"""Bits of a screen; scanners store 10 to 16."""
REWORKING = re.compile(
    r"window|level(?:l?ed|ling)|\bw/?l\b|voi|contrast|clahe|histogram|equali[sz]|gamma|enhanc|sharpen|8[ -]?bit|screen|"
    r"capture|secondary|jpe?g(?!.*lossless).*loss|lossy|irreversib|wavelet|verlust|pertes?(?![a-z])|p[eé]rdida|perdita|"
    r"fenster|fen[eê]tr|colou?r ?map|super ?resolution|"
    r"bias[ -]?(?:field|correct)|(?<![a-z])n4(?:itk)?(?![a-z0-9])|inhomogen|shading"
)
"""Words of a Derivation Description that tell of other signals. A lossless compression, an anonymisation or a change of
the byte order does not."""
HARMLESS = re.compile(
    r"without (?:loss|contrast)|loss-?less|no (?:contrast|windowing)|non-?contrast|verlust(?:frei|los)\w*|ohne verlust|"
    r"sans pertes?|sin p[eé]rdida|senza perdita|sem perda"
)


def doubts_of_pixels(images: Sequence[ImageHeader]) -> Iterator[Reason]:
    """What a person must know; lossy compression is said with the images that have it."""
    bits = [image.bits_stored for image in images if image.bits_stored]
    if bits and min(bits) <= SCREEN_BITS:
        yield Reason("few-bits", {"bits": min(bits)})
    derivations = {HARMLESS.sub(" ", (image.derivation or "").lower()) for image in images}
    if any(image.conversion_type for image in images) or any(map(REWORKING.search, derivations)):
        yield Reason("pixels-reworked")
    if any((image.burned_in or "").upper() == "YES" for image in images):
        yield Reason("annotation-burnt-in")
