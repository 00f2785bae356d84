"""Trained networks as ONNX files, which need no torch to run."""

from pathlib import Path

import torch
from torch import nn

OPSET = 17


def to_onnx(network: nn.Module, *, channels: int, file: Path) -> None:
    """Write a network; input ``picture`` (n, channels, rows, columns) of any size that it can halve, output logits."""
    network.eval()
    network.to(memory_format=torch.contiguous_format)
    axes = {0: "n", 2: "rows", 3: "columns"}
    torch.onnx.export(
        network,
        (torch.zeros(1, channels, 64, 64),),
        str(file),
        input_names=["picture"],
        output_names=["logits"],
        dynamic_axes={"picture": axes, "logits": axes},
        opset_version=OPSET,
        dynamo=False,
    )
