"""What the networks learn from: the slices and masks of a data folder, on the grid they will see at run time."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from analytics.vbq.automatic import SagittalImage
from analytics.vbq.grid import GRID_MM, Grid, normalised, to_grid
from analytics.vbq.spine import BACKGROUND, BODY, CANAL, DISC, POSTERIOR, S1, SACRAL_DISC

Number = TypeVar("Number", bound=np.generic)

SIZE_PX = 256
"""Rows and columns of a training slice on the grid: 282 mm."""
SPIDER_SPACING_MM = 0.47
"""Pixel spacing of the SPIDER T2 SPACE slices (estimated from the step of the lumbar bodies, 35 mm)."""
PAIR_SPACING_MM = 280.0 / 384.0
"""Pixel spacing of the T1/T2 pairs: a field of 280 mm on 384 pixels."""
MASK_VERTEBRA, MASK_DISC, MASK_CANAL = 1, 2, 3
SACRUM_FILE = Path(__file__).with_name("sacrum.json")
"""Corners of S1 on some of the pairs, placed by eye: rows and columns, 0-based native pixels."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A slice as the network sees it, and its classes.

    ``knows_sacrum`` is false where nobody labelled the sacrum: background may then be S1 or the S1/S2 disc.
    """

    subject: str
    image: NDArray[np.float32]
    target: NDArray[np.uint8]
    knows_sacrum: bool


def sagittal(signal: NDArray[np.float64], spacing_mm: float) -> SagittalImage:
    """A slice that is stored head up and front to the left, as all training slices are."""
    return SagittalImage(
        signal=signal,
        spacing_mm=(spacing_mm, spacing_mm),
        position_mm=(0.0, 0.0, 0.0),
        orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
    )


def read_png(path: Path) -> NDArray[np.float64]:
    """(rows, columns) of a grey picture."""
    with Image.open(path) as picture:
        return np.asarray(picture, dtype=np.float64)


def spider(folder: Path) -> Iterator[Example]:
    """The SPIDER slices with their masks; the whole vertebra is split into body and posterior elements."""
    for path in sorted(folder.glob("*_mask.png")):
        signal = read_png(path.with_name(path.name.replace("_mask", "")))
        grid = to_grid(sagittal(signal, SPIDER_SPACING_MM))
        mask = _nearest(read_png(path), grid)
        yield Example(
            subject=path.name.split("_")[0],
            image=framed(normalised(grid.signal)),
            target=framed(_split_vertebra(mask)),
            knows_sacrum=False,
        )


def pair_ids(folder: Path) -> list[str]:
    """The numbers of the T1/T2 pairs, sorted."""
    return sorted(path.name[:4] for path in folder.glob("*_t1.png"))


def pair_grid(folder: Path, number: str, weighting: str) -> Grid:
    """One slice of a pair on the grid; ``weighting`` is t1 or t2."""
    return to_grid(sagittal(read_png(folder / f"{number}_{weighting}.png"), PAIR_SPACING_MM))


def framed(plane: NDArray[Number]) -> NDArray[Number]:
    """The middle :data:`SIZE_PX` rows and columns, zero outside."""
    out = np.zeros((SIZE_PX, SIZE_PX), dtype=plane.dtype)
    cut, put = zip(*(_middle(length) for length in plane.shape), strict=True)
    out[put[0], put[1]] = plane[cut[0], cut[1]]
    return out


def _middle(length: int) -> tuple[slice, slice]:
    if length >= SIZE_PX:
        start = (length - SIZE_PX) // 2
        return slice(start, start + SIZE_PX), slice(0, SIZE_PX)
    start = (SIZE_PX - length) // 2
    return slice(0, length), slice(start, start + length)


def _nearest(mask: NDArray[np.float64], grid: Grid) -> NDArray[np.uint8]:
    rows, columns = np.indices(grid.signal.shape)
    at = grid.to_native(np.stack([rows, columns], axis=-1).astype(np.float64))
    index = np.rint(at).astype(int)
    row, column = (index[..., axis].clip(0, mask.shape[axis] - 1) for axis in (0, 1))
    out: NDArray[np.uint8] = mask[row, column].astype(np.uint8)
    return out


def _split_vertebra(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What lies behind the canal's front (or, where the slice leaves the canal, behind the discs) is posterior."""
    front = np.full(mask.shape[0], np.nan)
    for row in range(mask.shape[0]):
        canal, disc = np.flatnonzero(mask[row] == MASK_CANAL), np.flatnonzero(mask[row] == MASK_DISC)
        if canal.size:
            front[row] = canal[0]
        elif disc.size:
            front[row] = disc[-1] + 2
    known = np.flatnonzero(~np.isnan(front))
    out = np.select(
        [mask == MASK_VERTEBRA, mask == MASK_DISC, mask == MASK_CANAL], [BODY, DISC, CANAL], BACKGROUND
    ).astype(np.uint8)
    if known.size < 3:
        return out
    line = ndimage.uniform_filter1d(np.interp(np.arange(mask.shape[0]), known, front[known]), 5)
    out[(out == BODY) & (np.arange(mask.shape[1])[None, :] > line[:, None] + 1)] = POSTERIOR
    return out


def read_sacrum() -> Mapping[str, Mapping[str, Sequence[float] | None]]:
    """Corners of S1 by the number of the pair."""
    content: Mapping[str, Mapping[str, Sequence[float] | None]] = json.loads(SACRUM_FILE.read_text(encoding="utf-8"))
    return content


def with_sacrum(
    target: NDArray[np.uint8], grid: Grid, corners: Mapping[str, Sequence[float] | None], *, disc_mm: float = 3.5
) -> NDArray[np.uint8]:
    """The target (on the grid, not framed) with S1 and the S1/S2 disc drawn from the corners of S1."""
    at = {
        name: grid.from_native(np.asarray(value))
        for name, value in corners.items()
        if isinstance(value, list | tuple) and len(value) == 2
    }
    body = polygon(target.shape, [at["sa"], at["sp"], at["ip"], at["ia"]])
    down = (at["ia"] + at["ip"] - at["sa"] - at["sp"]) / 2
    down = down / np.linalg.norm(down) * disc_mm / GRID_MM
    disc = polygon(target.shape, [at["ia"], at["ip"], at["ip"] + down, at["ia"] + down])
    out = target.copy()
    # Where a disc (L5/S1) or the canal was seen, it stays; a body cannot lie in S1.
    free = (target == BACKGROUND) | (target == BODY)
    out[disc & free] = SACRAL_DISC
    out[body & free] = S1
    return out


def polygon(shape: tuple[int, int], corners: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
    """The pixels of a plane inside a line through corners (row, column; 0-based)."""
    picture = Image.new("1", (shape[1], shape[0]))
    ImageDraw.Draw(picture).polygon([(float(column), float(row)) for row, column in corners], fill=1)
    return np.asarray(picture, dtype=bool)
