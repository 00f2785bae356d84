"""The U-Net that is trained: few parameters, so that one slice costs a fraction of a second on one core."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3 × 3 convolutions with batch normalisation and ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Same height and width."""
        out: Tensor = self.layers(x)
        return out


class UNet(nn.Module):
    """A U-Net of ``len(widths)`` levels; height and width of the input are multiples of ``2 ** (len(widths) - 1)``."""

    def __init__(self, channels_in: int, channels_out: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            Block(channels_in if i == 0 else widths[i - 1], width) for i, width in enumerate(widths)
        )
        self.up = nn.ModuleList(Block(widths[i] + widths[i - 1], widths[i - 1]) for i in range(len(widths) - 1, 0, -1))
        self.head = nn.Conv2d(widths[0], channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (batch, channels_out, height, width)."""
        skipped = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool2d(x, 2))
            skipped.append(x)
        skipped.pop()
        for block in self.up:
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skipped.pop()], dim=1))
        out: Tensor = self.head(x)
        return out


class Mean(nn.Module):
    """Several networks as one: the mean of their logits. One alone is at times sure where the others are not."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, of the shape that each of the networks gives."""
        return torch.stack([network(x) for network in self.networks]).mean(0)
