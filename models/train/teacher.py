"""A larger network teaches a smaller one: what it says of each piece, seen in two ways, is wanted beside what is drawn there.

Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015), for the heat of a detector.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from .detector import Net
from .weights import started


def width_of(folder: Path) -> float:
    """Of the network in a package that was trained here. Exits in words where it says none."""
    try:
        return float(json.loads((folder / "figures.json").read_text())["width"])
    except (OSError, ValueError, KeyError, TypeError):
        raise SystemExit(f"{folder}: figures.json, which says how wide its network is: cannot be read") from None


class Teacher:
    """The network of a package with the labels of the learner's."""

    def __init__(self, folder: Path, labels: int, channels: int = 2, deep: bool = False) -> None:
        """Exits in words where the package is of another kind."""
        self._net = Net(width_of(folder), labels, channels, deep)
        started(self._net, folder, whole=True)
        self._net = self._net.to(memory_format=torch.channels_last).eval()

    @torch.no_grad()
    def __call__(self, pictures: Tensor, number: int) -> Tensor:
        """float32[n, labels, h / 8, w / 8]: probabilities, the mean of what it says of uint8[n, h, w, channels] as they are and in
        another way, by turns one of three."""
        turned = ((1,), (2,), (1, 2))[number % 3]
        plain, _ = self._net(pictures)
        mirrored, _ = self._net(pictures.flip(turned))
        return (plain.float().sigmoid() + mirrored.float().sigmoid().flip([axis + 1 for axis in turned])) / 2


def unlike(heat: Tensor, taught: Tensor, counts: Tensor, middles: Tensor) -> Tensor:
    """How much a learner's log odds `heat` say else than `taught` says, over cells that count, for each of `middles` places."""
    each = functional.binary_cross_entropy_with_logits(heat.float(), taught, reduction="none")
    certain = functional.binary_cross_entropy(taught, taught, reduction="none")  # what no learner can be below
    return ((each - certain) * counts[:, None]).sum() / middles.clamp(min=1)
