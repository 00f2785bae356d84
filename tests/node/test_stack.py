"""Stacks from files: order, doubles, mixtures, what cannot be read, and every form in which pixels are stored."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from analytics.reasons import words
from node.dicom.reader import read_header, read_slices
from node.dicom.stack import Stack, StoredImage, read_stacks
from tests.node.dicom_samples import mr_image, stack, write_file
from tests.node.multi_frame_samples import enhanced, legacy_converted


def stored(folder: Path, images: list[Dataset]) -> list[StoredImage]:
    folder.mkdir(exist_ok=True)
    found = []
    for number, image in enumerate(images):
        path = write_file(folder / f"{number:03}", image)
        found.append(StoredImage(path=path, content=str(path), header=read_header(path)))
    return found


def only(folder: Path, images: list[Dataset]) -> Stack:
    (one,) = read_stacks(stored(folder, images), read_slices)
    return one


def pixels(image: Dataset) -> np.ndarray:
    return np.frombuffer(image.PixelData, np.uint16).reshape(image.Rows, image.Columns)


def test_slices_stand_in_the_order_of_their_places_with_everything_that_places_them(tmp_path: Path):
    images = stack(5, PixelSpacing=[0.9, 0.7])
    found = only(tmp_path, [images[3], images[0], images[4], images[2], images[1]])
    # The normal of these images points to the right, so the order is from left to right.
    assert [place.instance_number for place in found.places] == [5, 4, 3, 2, 1]
    first = found.images[0]
    assert first.position_mm == pytest.approx((24.0, -10.0, 10.0))
    assert (first.spacing_mm, first.orientation) == ((0.9, 0.7), (0, 1, 0, 0, 0, -1))
    assert np.array_equal(first.signal, pixels(images[4]))
    assert found.places[0].sop_instance_uid == images[4].SOPInstanceUID
    assert (found.doubts, found.notes) == ((), ())


@pytest.mark.parametrize("maker", [enhanced, legacy_converted])
def test_frames_are_slices(tmp_path: Path, maker):
    images = stack(5)
    found = only(tmp_path, [maker(images)])
    assert [(place.instance_number, place.frame_number) for place in found.places] == [
        (1, 5), (1, 4), (1, 3), (1, 2), (1, 1),
    ]  # fmt: skip
    assert all(
        np.array_equal(one.signal, pixels(image)) for one, image in zip(found.images, reversed(images), strict=True)
    )


def test_the_same_image_twice_is_one_slice_and_no_news(tmp_path: Path):
    images = stack(5)
    found = only(tmp_path, [*images, *images])
    assert (len(found.images), found.doubts) == (5, ())


def test_something_else_at_the_same_place_is_a_doubt_and_the_first_instance_is_kept(tmp_path: Path):
    other = mr_image(seed=99, InstanceNumber=9, ImagePositionPatient=[9.6, -10, 10])
    found = only(tmp_path, [other, *stack(5)])
    assert [place.instance_number for place in found.places] == [5, 4, 3, 2, 1]
    assert words(found.doubts) == ["1 further image lies at the place of another and shows something else"]


def test_images_under_one_uid_with_other_pixels_are_told_apart(tmp_path: Path):
    images = stack(5)
    double = mr_image(seed=77, InstanceNumber=3, ImagePositionPatient=images[2].ImagePositionPatient)
    double.SOPInstanceUID = images[2].SOPInstanceUID
    found = only(tmp_path, [*images, double])
    assert (len(found.images), len(found.doubts)) == (5, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
        {"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]},  # upside down: parallel, but no neighbour
        {"PixelSpacing": [0.5, 0.5]},
        {"ImagePositionPatient": [0, -10, 310]},  # another block of the spine
        {"Rows": 24, "Columns": 32},
    ],
)
def test_what_does_not_belong_to_the_stack_is_left_out_and_said(tmp_path: Path, change: dict[str, object]):
    found = only(tmp_path, [*stack(5), mr_image(seed=50, InstanceNumber=50, **change)])
    assert len(found.images) == 5
    assert words(found.notes) == ["1 image of another size, direction or place left out"]


def test_two_stacks_of_like_size_are_both_given_the_larger_first(tmp_path: Path):
    upper = stack(7)
    lower = [mr_image(seed=n, InstanceNumber=20 + n, ImagePositionPatient=[4.8 * n, -10, -240]) for n in range(1, 6)]
    found = read_stacks(stored(tmp_path, [*lower, *upper]), read_slices)
    assert [len(one.images) for one in found] == [7, 5]
    assert words(found[1].notes) == ["7 images of another size, direction or place left out"]


@pytest.mark.parametrize(
    "change",
    [
        {"ImagePositionPatient": None},
        {"ImageOrientationPatient": [0] * 6},
        {"PixelSpacing": None},
        {"PixelSpacing": [0, 0]},
    ],
)
def test_an_image_that_does_not_say_how_it_lies_is_a_doubt(tmp_path: Path, change: dict[str, object]):
    found = only(tmp_path, [*stack(5), mr_image(seed=50, **change)])
    assert len(found.images) == 5
    assert words(found.doubts) == ["1 image says not where and how it lies (position, direction, spacing)"]


def test_pixels_that_cannot_be_read_are_a_doubt(tmp_path: Path):
    images = stored(tmp_path, stack(6))
    images[0].path.unlink()
    whole = images[3].path.read_bytes()
    images[3].path.write_bytes(whole[:-100])
    (found,) = read_stacks(images, read_slices)
    assert [place.instance_number for place in found.places] == [6, 5, 3, 2]
    assert sorted(words(found.doubts)) == [
        "1 image could not be read: the file is missing",
        "1 image could not be read: the pixels cannot be decoded (ValueError)",
    ]


def test_without_a_sagittal_slice_there_is_no_stack(tmp_path: Path):
    assert read_stacks([], read_slices) == []
    assert read_stacks(stored(tmp_path, stack(5, ImageOrientationPatient=[1, 0, 0, 0, 1, 0])), read_slices) == []
    assert read_stacks(stored(tmp_path, stack(5, ImagePositionPatient=None)), read_slices) == []


@pytest.mark.parametrize(
    ("stored_values", "how", "signal"),
    [
        (np.array([0, 100, 4095], np.uint16), {}, [0, 100, 4095]),
        (np.array([0, 100, 255], np.uint8), {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, [0, 100, 255]),
        (
            np.array([-5, 0, 32767], np.int16),
            {"BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1},
            [-5, 0, 32767],
        ),
        (np.array([0, 2**20, 7], np.uint32), {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, [0, 2**20, 7]),
        # Bits above the stored ones held overlays once; they are no signal.
        (np.array([0xF000, 0x1064, 0x0FFF], np.uint16), {}, [0, 100, 4095]),
        (np.array([0, 100, 4095], np.uint16), {"RescaleSlope": "2.5", "RescaleIntercept": "-10"}, [-10, 240, 10227.5]),
    ],
)
def test_every_form_of_storing_gives_the_same_signal(
    tmp_path: Path, stored_values: np.ndarray, how: dict[str, object], signal: list[float]
):
    image = mr_image(Rows=1, Columns=len(signal), **how)
    image.PixelData = stored_values.tobytes() + b"\0" * (stored_values.nbytes % 2)
    assert only(tmp_path, [image]).images[0].signal.tolist() == [signal]
