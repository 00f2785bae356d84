"""Random views of the training slices: another position, another contrast, another coil, another field of view.

The contrast is remapped at random (also inverted), so that the network learns shapes and neighbourhoods and serves T1
although most of what it was shown first is T2.
"""

import torch
from torch import Tensor
from torch.nn import functional

ROTATION_DEG = 20.0
SCALE = (0.78, 1.28)
JITTER_PX = (36.0, 44.0)
"""How far the middle of the window lies from the middle of the labels, at most: (rows, columns)."""
WINDOW_PX = (224, 176)
"""What the network is shown of a slice at a time: the labels and what surrounds them."""


def warp(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random rotation, scale and shift of each, cut to a window about its labels.

    (n, 1, h, w) images and (n, c, h, w) label planes, of which the first is the background; bilinear.
    """
    n, _, height, width = images.shape
    rows, columns = WINDOW_PX
    angle = torch.deg2rad((_uniform(n, generator) * 2 - 1) * ROTATION_DEG)
    low, high = (torch.log(torch.tensor(value)) for value in SCALE)
    scale = torch.exp(low + _uniform(n, generator) * (high - low))
    aspect = 1 + (_uniform(n, generator) - 0.5) * 0.2
    centre = _middle(labels) + (_uniform(n, 2, generator=generator) * 2 - 1) * torch.tensor(JITTER_PX)
    # From coordinates -1 … 1 of the window to -1 … 1 of the slice.
    across, down = columns / width, rows / height
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = torch.cos(angle) / scale * across
    theta[:, 0, 1] = -torch.sin(angle) / scale * aspect * rows / width
    theta[:, 1, 0] = torch.sin(angle) / scale * columns / height
    theta[:, 1, 1] = torch.cos(angle) / scale * aspect * down
    theta[:, 0, 2] = 2 * (centre[:, 1] + 0.5) / width - 1
    theta[:, 1, 2] = 2 * (centre[:, 0] + 0.5) / height - 1
    grid = functional.affine_grid(theta, [n, 1, rows, columns], align_corners=False)
    return (
        functional.grid_sample(images, grid, align_corners=False, padding_mode="zeros"),
        functional.grid_sample(labels, grid, align_corners=False, padding_mode="zeros"),
    )


def _middle(labels: Tensor) -> Tensor:
    """(n, 2) row and column of the centre of what is not background."""
    weight = 1 - labels[:, 0]
    total = weight.sum((1, 2)).clamp_min(1)
    rows = torch.arange(weight.shape[1], dtype=weight.dtype)
    columns = torch.arange(weight.shape[2], dtype=weight.dtype)
    return torch.stack([(weight.sum(2) @ rows) / total, (weight.sum(1) @ columns) / total], dim=1)


def recontrast(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random gamma, remapping, inversion, shading, noise, blur of images in 0 … 1."""
    n = images.shape[0]
    out = images.clamp(0, 1)
    remap = _uniform(n, generator) < 0.5
    out = torch.where(_each(remap), _remapped(out, generator), out)
    invert = _uniform(n, generator) < 0.12
    out = torch.where(_each(invert), (out.amax(dim=(1, 2, 3), keepdim=True) - out) * (images > 0.01), out)
    out = out.clamp(0, 1) ** _each(torch.exp((_uniform(n, generator) * 2 - 1) * 0.6))
    out = out * _shading(images.shape, generator)
    blur = _uniform(n, generator) < 0.3
    out = torch.where(_each(blur), _blurred(out), out)
    out = _blacked_out(out, generator)
    noise = _each(_uniform(n, generator) ** 2 * 0.06) * torch.randn(images.shape, generator=generator)
    return (out + noise).clamp_min(0)


def _uniform(*shape: int | torch.Generator, generator: torch.Generator | None = None) -> Tensor:
    sizes = [size for size in shape if isinstance(size, int)]
    given = next((size for size in shape if isinstance(size, torch.Generator)), generator)
    return torch.rand(sizes, generator=given)


def _each(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _remapped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Through a random smooth curve of intensities (a sum of sines over a ramp)."""
    n = images.shape[0]
    out = _each(_uniform(n, generator) * 1.4 - 0.2) * images
    for frequency in (0.5, 1.0, 1.5):
        amplitude = (_uniform(n, generator) * 2 - 1) * 0.6 / frequency
        out = out + _each(amplitude) * torch.sin(torch.pi * frequency * images)
    low = out.amin(dim=(1, 2, 3), keepdim=True)
    high = out.amax(dim=(1, 2, 3), keepdim=True)
    return (out - low) / (high - low + 1e-6)


def _shading(shape: torch.Size, generator: torch.Generator) -> Tensor:
    n, _, height, width = shape
    coarse = torch.randn((n, 1, 4, 4), generator=generator) * _each(_uniform(n, generator) * 0.5)
    return torch.exp(functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True))


def _blurred(images: Tensor) -> Tensor:
    kernel = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16
    return functional.conv2d(images, kernel.view(1, 1, 3, 3), padding=1)


def _blacked_out(images: Tensor, generator: torch.Generator) -> Tensor:
    """A smaller field of view for some: rows above or below, and columns in front, become zero."""
    n, _, height, width = images.shape
    rows = torch.arange(height).view(1, 1, height, 1) / height
    columns = torch.arange(width).view(1, 1, 1, width) / width
    on = _each((_uniform(n, generator) < 0.3).float())
    top, bottom, left = (_each(_uniform(n, generator) ** 2 * 0.35) * on for _ in range(3))
    return images * (rows >= top) * (rows < 1 - bottom) * (columns >= left)
