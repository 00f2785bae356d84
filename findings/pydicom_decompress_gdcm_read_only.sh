#!/usr/bin/env bash
# pydicom 3.0.2 with python-gdcm 3.2.6: `pixel_array` of a signed 12-bit JPEG-LS image is right, while `decompress()` of
# the same data set raises ValueError("output array is read-only"). Guess before running: both work or neither does.
# With pyjpegls 1.5.1 named as the plugin both work. gdcm comes first where both are installed, so a program that
# decompresses without naming a plugin fails on an image that it can show.
# Seen on 2026-11-29, Python 3.11: "gdcm: pixel_array equal, decompress ValueError: output array is read-only" and
# "pyjpegls: pixel_array equal, decompress equal".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    pydicom==3.0.2 numpy==2.3.5 python-gdcm==3.2.6 pyjpegls==1.5.1
cat > "$folder/try.py" <<'PYTHON'
import io

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.pixels import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, MRImageStorage

image = Dataset()
image.file_meta = FileMetaDataset()
image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, "2.25.1"
image.Rows = image.Columns = 16
image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 1
pixels = np.arange(256, dtype=np.int16).reshape(16, 16) - 128
image.PixelData = pixels.tobytes()
image["PixelData"].VR = "OW"
image.compress(JPEGLSLossless, encoding_plugin="pyjpegls")
stored = io.BytesIO()
image.save_as(stored, enforce_file_format=True)

seen = {}
for plugin in ("gdcm", "pyjpegls"):
    shown = np.array_equal(pixel_array(dcmread(io.BytesIO(stored.getvalue())), decoding_plugin=plugin), pixels)
    copy = dcmread(io.BytesIO(stored.getvalue()))
    try:
        copy.decompress(decoding_plugin=plugin)
        after = "equal" if np.array_equal(copy.pixel_array, pixels) else "other pixels"
    except ValueError as error:
        after = f"ValueError: {error}"
    seen[plugin] = (shown, after)
    print(f"{plugin}: pixel_array {'equal' if shown else 'differs'}, decompress {after}")
expected = {"gdcm": (True, "ValueError: output array is read-only"), "pyjpegls": (True, "equal")}
raise SystemExit(0 if seen == expected else "the behaviour has changed")
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
