"""Compression with loss that the transfer syntax does not tell: by the codestream, and by what stays of it for ever."""

from pathlib import Path

import imagecodecs
import numpy as np
import openjpeg
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless

from node.dicom.reader import read_header
from tests.node.dicom_samples import mr_image, write_file
from tests.node.test_dicom_contrast import items


def picture() -> np.ndarray:
    """12 bits, with something to lose."""
    rows, columns = np.indices((64, 64))
    noise = np.random.default_rng(0).normal(0, 20, (64, 64))
    return (1500 + 40 * rows - 15 * columns + noise).astype(np.uint16)


def written(path: Path, syntax: UID, *frames: bytes, **values: object) -> Path:
    image = mr_image(Rows=64, Columns=64, **values)
    image.PixelData = encapsulate(list(frames))
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = syntax
    return write_file(path, image)


LOSSLESS = {
    "JPEG 2000": (JPEG2000Lossless, lambda: bytes(openjpeg.encode(picture(), bits_stored=12))),
    "JPEG-LS": (JPEGLSLossless, lambda: imagecodecs.jpegls_encode(picture())),
    "JPEG": (JPEGLosslessSV1, lambda: imagecodecs.ljpeg_encode(picture(), bitspersample=12)),
}
LOSSY = {
    "JPEG 2000": (JPEG2000Lossless, lambda: bytes(openjpeg.encode(picture(), bits_stored=12, compression_ratios=[20]))),
    "JPEG-LS": (JPEGLSLossless, lambda: imagecodecs.jpegls_encode(picture(), level=5)),
    "JPEG": (JPEGLosslessSV1, lambda: imagecodecs.jpeg8_encode((picture() >> 4).astype(np.uint8), level=50)),
}


@pytest.mark.parametrize("case", LOSSLESS)
def test_a_codestream_without_loss_is_none(case: str, tmp_path: Path):
    syntax, encode = LOSSLESS[case]
    assert not read_header(written(tmp_path / "image", syntax, encode())).lossy


@pytest.mark.parametrize("case", LOSSY)
def test_a_codestream_with_loss_is_one_whatever_the_transfer_syntax_says(case: str, tmp_path: Path):
    syntax, encode = LOSSY[case]
    assert read_header(written(tmp_path / "image", syntax, encode())).lossy
    assert read_header(written(tmp_path / "frames", syntax, encode(), encode(), NumberOfFrames=2)).lossy


@pytest.mark.parametrize("content", [b"\xff", b"\xff\x4f\xff", b"\xff\xd8\xff\xda", b"\xff\xd8\xff\xf7\0\0" * 9])
def test_pixels_that_make_no_sense_are_not_the_business_of_the_header(content: bytes, tmp_path: Path):
    assert not read_header(written(tmp_path / "image", JPEG2000Lossless, content)).lossy


HISTORY: dict[str, tuple[dict[str, object], bool]] = {
    "said": ({"LossyImageCompression": "01"}, True),
    "method": ({"LossyImageCompressionMethod": "ISO_15444_1"}, True),
    "method, denied": ({"LossyImageCompression": "00", "LossyImageCompressionMethod": "ISO_15444_1"}, True),
    "ratio": ({"LossyImageCompressionRatio": "10"}, True),
    "ratio, denied": ({"LossyImageCompression": "00", "LossyImageCompressionRatio": "2.5"}, False),
    "code": ({"DerivationCodeSequence": items(CodeValue="113040", CodingSchemeDesignator="DCM")}, True),
    "denied": ({"LossyImageCompression": "00"}, False),
    "empty": ({"LossyImageCompression": "", "LossyImageCompressionRatio": None}, False),
    "another derivation": ({"DerivationCodeSequence": items(CodeValue="113085", CodingSchemeDesignator="DCM")}, False),
}


@pytest.mark.parametrize("case", HISTORY)
def test_what_was_compressed_with_loss_stays_so_whatever_it_is_stored_in(case: str, tmp_path: Path):
    values, lossy = HISTORY[case]
    image: Dataset = mr_image()
    for name, value in values.items():
        setattr(image, name, value)
    assert read_header(write_file(tmp_path / "image", image)).lossy is lossy
