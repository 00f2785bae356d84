"""How the fluid networks are trained: on T1 they learn where the T2 of the same examination shows fluid.

On T2 fluid is much brighter than nerve roots and cord, on T1 it is a little darker. The pairs lie on the same pixels,
so the T2 labels the T1, and nobody has to draw a root.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from analytics.training.data import PAIR_SPACING_MM, read_png, sagittal
from analytics.training.network import UNet
from analytics.vbq.csf import CORE, FLUID_MM, IN_CANAL, LOG_RANGE, MINIMUM_CANAL_PX
from analytics.vbq.grid import Grid, normalised, resampled, to_grid
from analytics.vbq.spine import CANAL

WIDTHS = (16, 24, 32, 48)
STEPS = 1800
BATCH = 24
RATE = 3e-3
WINDOW_PX = (96, 64)
MARGIN_PX = 32
"""More around the window, so that a turned one is filled."""
STEP_PX = 24
"""Step from window to window along the canal: 17 mm."""
LEVEL_MM = 40.0
FLUID_RATIO = (0.65, 0.85)
"""T2 signal over that of the brightest fluid within :data:`LEVEL_MM`: roots and cord below, nothing but fluid above."""
FAT_RATIO = 1.35
"""T1 signal over the canal's median: above, what is bright on T2 is epidural fat."""
LAYERED = 0.25
"""Share of the windows that show fluid before whose sac a dark layer is painted."""
LAYER_MM = 5.0
"""Its greatest thickness; the least is two pixels."""
LAYER_SIGNAL = (0.5, 0.92)
"""Signal of the layer over that of the fluid."""
MINIMUM_FLUID_PX = 20
"""A window with less fluid gets no layer: there is nothing that it could be darker than."""

Report = Callable[[str], None]
Segment = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """(n, rows, columns) each: the T1 against the canal's median (logarithm), the canal, and the fluid, 0 … 1."""

    relative: Tensor
    canal: Tensor
    fluid: Tensor


def windows(folder: Path, numbers: Sequence[str], segment: Segment) -> Windows:
    """Windows along the canal of the pairs; ``segment`` gives class probabilities of a normalised T1 or T2 slice."""
    cut: list[list[NDArray[np.float64]]] = []
    for number in numbers:
        t1, t2 = (sagittal(read_png(folder / f"{number}_{name}.png"), PAIR_SPACING_MM) for name in ("t1", "t2"))
        coarse = to_grid(t1)
        fine = to_grid(t1, FLUID_MM)
        canal = resampled(segment(normalised(coarse.signal))[CANAL], coarse, fine)
        fluid = fluid_of_t2(to_grid(t2, FLUID_MM).signal, canal)
        if fluid is not None:
            cut += _cut_along(fine, canal, fluid)
    planes = [torch.from_numpy(np.array(plane, dtype=np.float32)) for plane in zip(*cut, strict=True)]
    return Windows(relative=planes[0], canal=planes[1], fluid=planes[2])


def fluid_of_t2(t2: NDArray[np.float64], canal: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """T2 signal over that of the fluid about it, as 0 (roots) … 1 (fluid); ``None`` without a canal."""
    core = ndimage.binary_erosion(canal > IN_CANAL)
    rows = np.flatnonzero(core.any(axis=1))
    if rows.size < 10:
        return None
    reach = int(LEVEL_MM / FLUID_MM)
    level = [
        np.percentile(t2[max(0, r - reach) : r + reach + 1][core[max(0, r - reach) : r + reach + 1]], 95) for r in rows
    ]
    smooth = ndimage.gaussian_filter1d(np.interp(np.arange(t2.shape[0]), rows, level), 10)
    low, high = FLUID_RATIO
    out: NDArray[np.float64] = np.clip((t2 / smooth[:, None] - low) / (high - low), 0, 1) * (canal > IN_CANAL)
    return out


def _cut_along(fine: Grid, canal: NDArray[np.float64], fluid: NDArray[np.float64]) -> list[list[NDArray[np.float64]]]:
    rows = np.flatnonzero((canal > IN_CANAL).any(axis=1))
    found = []
    for row in range(rows[0] + WINDOW_PX[0] // 2, rows[-1] - WINDOW_PX[0] // 2, STEP_PX):
        columns = np.flatnonzero(canal[row] > IN_CANAL)
        if columns.size < 4:
            continue
        signal, inside, truth = (_window(plane, row, int(columns.mean())) for plane in (fine.signal, canal, fluid))
        core = inside > CORE
        if np.count_nonzero(core) < MINIMUM_CANAL_PX or np.median(signal[core]) <= 0:
            continue
        relative = signal / np.median(signal[core])
        truth = np.where(relative > FAT_RATIO, 0.0, truth)
        found.append([np.log(np.clip(relative, 1 / LOG_RANGE, LOG_RANGE)), inside, truth])
    return found


def _window(plane: NDArray[np.float64], row: int, column: int) -> NDArray[np.float64]:
    at = [
        np.clip(np.arange(length + MARGIN_PX) + centre - (length + MARGIN_PX) // 2, 0, size - 1)
        for centre, length, size in zip((row, column), WINDOW_PX, plane.shape, strict=True)
    ]
    return plane[np.ix_(*at)]


def train_fluid(data: Windows, *, seed: int, report: Report) -> UNet:
    """Fit the network: from (n, 2, rows, columns) to logits (n, 1, rows, columns)."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    network = UNet(2, 1, WIDTHS)
    network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, STEPS)
    for step in range(STEPS):
        chosen = torch.from_numpy(rng.choice(len(data.relative), BATCH, replace=False))
        seen, truth = _augmented(data, chosen, generator)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(seen.contiguous(memory_format=torch.channels_last))
        # The canal's surroundings count a little, so that a canal that was seen too wide holds no fluid there.
        weight = 0.1 + (seen[:, 1:] > 0.3).float()
        error = functional.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
        value = (error * weight).sum() / weight.sum()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0 or step == STEPS - 1:
            report(f"step {step} of {STEPS}: loss {value.item():.4f}")
    return network


def _augmented(data: Windows, chosen: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turned, scaled, shifted, shaded, noisy; the order of the signals is kept, since it tells fluid from roots."""
    planes = torch.stack([data.relative[chosen], data.canal[chosen], data.fluid[chosen]], dim=1)
    n, _, height, width = planes.shape
    rows, columns = WINDOW_PX

    def uniform(*size: int) -> Tensor:
        return torch.rand(size, generator=generator) * 2 - 1

    angle, scale = uniform(n) * 0.35, torch.exp(uniform(n) * 0.25)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = torch.cos(angle) / scale * columns / width
    theta[:, 0, 1] = -torch.sin(angle) / scale * rows / width
    theta[:, 1, 0] = torch.sin(angle) / scale * columns / height
    theta[:, 1, 1] = torch.cos(angle) / scale * rows / height
    theta[:, :, 2] = uniform(n, 2) * 0.12
    grid = functional.affine_grid(theta, [n, 3, rows, columns], align_corners=False)
    turned = functional.grid_sample(planes, grid, align_corners=False, padding_mode="border")
    t1, canal, fluid = _behind_a_dark_layer(turned[:, :1], turned[:, 1:2], turned[:, 2:], generator)
    coarse = torch.randn((n, 1, 3, 3), generator=generator) * 0.12
    shading = functional.interpolate(coarse, size=(rows, columns), mode="bicubic", align_corners=True)
    t1 = t1 * torch.exp(uniform(n, 1, 1, 1) * 0.3) + shading + uniform(n, 1, 1, 1) * 0.1
    strength = torch.rand((n, 1, 1, 1), generator=generator) ** 2 * 0.15
    t1 = t1 + torch.randn(t1.shape, generator=generator) * strength
    canal = (canal + torch.randn((n, 1, 1, 1), generator=generator) * 0.08).clamp(0, 1)
    return torch.cat([t1, canal], dim=1), fluid


def _behind_a_dark_layer(
    t1: Tensor, canal: Tensor, fluid: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Before the sac of some windows a layer darker than its fluid is painted, and taken for a part of the canal.

    A thick dura or ligament, or epidural tissue, looks so; the pairs hardly show it, and darker is not more fluid.
    """
    n = len(t1)
    drawn = torch.rand((3, n), generator=generator)
    sac = (canal > IN_CANAL).float()
    before = torch.zeros_like(sac)
    for index in range(n):
        thick = 2 + round(float(drawn[0, index]) * (LAYER_MM / FLUID_MM - 2))
        # A row is looked at from its front: what lies so many pixels before the first of the sac is the layer.
        before[index] = functional.max_pool1d(functional.pad(sac[index, 0], (0, thick))[None], thick + 1, 1)[0]
    before = before * (sac.cumsum(-1) == 0)
    weight = fluid * (fluid > 0.8)
    amount = weight.sum((1, 2, 3))
    level = (t1 * weight).sum((1, 2, 3)) / amount.clamp(min=1)
    darker = level + torch.log(LAYER_SIGNAL[0] + drawn[1] * (LAYER_SIGNAL[1] - LAYER_SIGNAL[0]))
    painted = (drawn[2] < LAYERED) & (amount > MINIMUM_FLUID_PX)
    before = before * painted[:, None, None, None]
    soft = functional.avg_pool2d(before, 3, 1, 1)
    t1 = t1 * (1 - soft) + darker[:, None, None, None] * soft
    # The canal is one with the layer: the front edge it had must not show where the layer ends.
    seam = functional.max_pool2d(before, 5, 1, 2) * torch.maximum(before, sac)
    canal = torch.maximum(canal, functional.avg_pool2d(seam, 3, 1, 1))
    return t1, canal, fluid * (1 - soft)
