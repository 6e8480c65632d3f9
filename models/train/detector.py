"""The network of a detector: wired once, run in float by PyTorch and written as int8 by our own writer.

A picture comes alone, or part and template come as one picture of two channels, so the first convolution can subtract; four
neighbours of a row are folded into channels. The trunk works at a quarter, an eighth and a sixteenth of the size, and answers at an
eighth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..engines.int8 import Conv, Writer
from .samples import FOLD, STRIDE, UNIT

LOW, HIGH = -6.0, 12.0  # log odds beyond these say nothing more, and would cost the int8 steps that the rest needs
T = TypeVar("T")


class Ops(Protocol[T]):
    """What a network is wired of; each step has a name."""

    def conv(self, name: str, x: T) -> T: ...
    def add(self, name: str, one: T, two: T) -> T: ...
    def enlarge(self, name: str, x: T) -> T: ...


@dataclass(frozen=True)
class Shape:
    """Of one convolution."""

    given: int
    out: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    relu: bool = True
    norm: bool = True


def shapes(width: float, labels: int, channels: int, deep: bool) -> dict[str, Shape]:
    a, b, c, d = (round(n * width / 8) * 8 for n in (32, 48, 96, 160))
    deeper = {
        "down32": Shape(c, d, stride=(2, 2)),
        "res32a": Shape(d, d),
        "res32b": Shape(d, d, relu=False),
        "wide32": Shape(d, d),
        "up32": Shape(d, c, (2, 2), (2, 2), relu=False, norm=False),
    }
    return {
        "stem": Shape(channels * FOLD, a, (6, 3), (4, 1)),
        "down8": Shape(a, b, stride=(2, 2)),
        "res8a": Shape(b, b),
        "res8b": Shape(b, b, relu=False),
        "down16": Shape(b, c, stride=(2, 2)),
        "res16a": Shape(c, c),
        "res16b": Shape(c, c, relu=False),
        **(deeper if deep else {}),
        "wide16": Shape(c, c),
        "up": Shape(c, b, (2, 2), (2, 2), relu=False, norm=False),
        "mix8": Shape(b, b),
        "head8": Shape(b, b),
        "heat": Shape(b, labels, (1, 1), relu=False, norm=False),
        "place": Shape(b, 4, (1, 1), relu=False, norm=False),
    }


def wire(g: Ops[T], x: T, deep: bool) -> tuple[T, T]:
    """The heat and the place of what `x` holds."""
    x = g.conv("down8", g.conv("stem", x))
    x = g.add("sum8", x, g.conv("res8b", g.conv("res8a", x)))
    y = g.conv("down16", x)
    y = g.add("sum16", y, g.conv("res16b", g.conv("res16a", y)))
    if deep:
        z = g.conv("down32", y)
        z = g.conv("wide32", g.add("sum32", z, g.conv("res32b", g.conv("res32a", z))))
        y = g.add("back16", y, g.enlarge("up32", z))
    y = g.conv("wide16", y)
    x = g.conv("head8", g.conv("mix8", g.add("sum", x, g.enlarge("up", y))))
    return g.conv("heat", x), g.conv("place", x)


class Net(nn.Module):
    """In float. SAME padding as TFLite pads: what is odd is padded after. `seen(name, tensor)` is told each step, to calibrate.
    `channels` are 2 for a part and its template, 1 for a picture alone; a `deep` one looks at a 32nd of the size as well, for what
    is large in its picture."""

    def __init__(self, width: float, labels: int, channels: int = 2, deep: bool = False) -> None:
        super().__init__()
        self.channels, self.deep = channels, deep
        self.shapes = shapes(width, labels, channels, deep)
        self.layers, self.norms = nn.ModuleDict(), nn.ModuleDict()
        self.seen: Any = None
        for name, shape in self.shapes.items():
            if name.startswith("up"):
                self.layers[name] = nn.ConvTranspose2d(shape.given, shape.out, 2, 2)
            else:
                self.layers[name] = nn.Conv2d(shape.given, shape.out, shape.kernel, shape.stride, bias=not shape.norm)
            if shape.norm:
                self.norms[name] = nn.BatchNorm2d(shape.out)
        heat: Any = self.layers["heat"]
        nn.init.constant_(heat.bias, -4.0)  # defects are rare
        place: Any = self.layers["place"]
        nn.init.zeros_(place.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """uint8[n, h, w, channels] -> log odds [n, labels, h / 8, w / 8] and places [n, 4, h / 8, w / 8]."""
        n, h, w, c = x.shape
        folded = x.reshape(n, h, w // FOLD, c * FOLD).permute(0, 3, 1, 2)
        return wire(self, folded.float().div(255), self.deep)

    def conv(self, name: str, x: Tensor) -> Tensor:
        shape, pads = self.shapes[name], []
        for side, kernel, stride in zip(x.shape[2:], shape.kernel, shape.stride, strict=True):
            need = max(0, (-(-side // stride) - 1) * stride + kernel - side)
            pads.append((need // 2, need - need // 2))
        (top, below), (left, right) = pads
        if top == below and left == right:
            layer: Any = self.layers[name]
            x = functional.conv2d(x, layer.weight, layer.bias, shape.stride, (top, left))
        else:
            x = self.layers[name](functional.pad(x, (left, right, top, below)))
        if shape.norm:
            x = self.norms[name](x)
        return self._told(name, torch.relu(x) if shape.relu else x)

    def add(self, name: str, one: Tensor, two: Tensor) -> Tensor:
        return self._told(name, torch.relu(one + two))

    def enlarge(self, name: str, x: Tensor) -> Tensor:
        return self._told(name, self.layers[name](x))

    def _told(self, name: str, x: Tensor) -> Tensor:
        if self.seen is not None:
            self.seen(name, x)
        return x

    def folded(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Weight [out, kh, kw, in] and bias [out] of a step, its normalisation taken in."""
        layer: Any = self.layers[name]
        weight = layer.weight.detach().double()
        if name.startswith("up"):
            return weight.permute(1, 2, 3, 0).numpy(), layer.bias.detach().double().numpy()
        if name not in self.norms:
            return weight.permute(0, 2, 3, 1).numpy(), layer.bias.detach().double().numpy()
        norm: Any = self.norms[name]
        gain = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
        bias = norm.bias.detach().double() - norm.running_mean.double() * gain
        return (weight * gain[:, None, None, None]).permute(0, 2, 3, 1).numpy(), bias.numpy()


Ranges = dict[str, tuple[float, float]]


def calibrated(net: Net, pictures: Sequence[np.ndarray]) -> Ranges:
    """The range of each step over pictures uint8[h, w, channels], the widest of all. (The mean of their ends cut off what the
    loudest say, and with it 3 mAP of steel's surfaces.)"""
    ranges: Ranges = {}

    def seen(name: str, x: Tensor) -> None:
        low, high = ranges.get(name, (np.inf, -np.inf))
        ranges[name] = min(low, float(x.min())), max(high, float(x.max()))

    net.eval()
    net.seen = seen
    try:
        with torch.no_grad():
            for picture in pictures:
                net(torch.from_numpy(picture[None]))
    finally:
        net.seen = None
    low, high = ranges["heat"]
    return {**ranges, "heat": (max(low, LOW), min(high, HIGH))}


class _Int8:
    """The same wiring, written."""

    def __init__(self, net: Net, ranges: Ranges) -> None:
        self._net, self._ranges, self.writer = net, ranges, Writer()

    def _layer(self, name: str) -> Conv:
        shape = self._net.shapes[name]
        return Conv(*self._net.folded(name), shape.stride, *self._ranges[name], relu=shape.relu)

    def conv(self, name: str, x: int) -> int:
        return self.writer.conv(x, self._layer(name))

    def add(self, name: str, one: int, two: int) -> int:
        return self.writer.add(one, two, *self._ranges[name])

    def enlarge(self, name: str, x: int) -> int:
        return self.writer.enlarge(x, self._layer(name))


def compiled(net: Net, ranges: Ranges, size: tuple[int, int]) -> bytes:
    """The int8 model for pictures of this height and width."""
    ops = _Int8(net, ranges)
    given = ops.writer.picture((size[0], size[1] // FOLD, net.channels * FOLD))
    heat, place = wire(ops, given, net.deep)
    return ops.writer.finish([given], [heat, place])


def loss(
    heat: Tensor, place: Tensor, wanted: Tensor, counts: Tensor, off: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Focal loss on `wanted` [n, labels, h, w] (1 in the cell of a middle, falling around it), where `counts` [n, h, w] is 1; and
    smooth L1 on places `off` [n, 4, h, w] by their `weight` [n, h, w]."""
    heat, place = heat.float(), place.float()
    yes, no, p = functional.logsigmoid(heat), functional.logsigmoid(-heat), heat.sigmoid()
    middle = (wanted == 1).float()
    each = -(middle * (1 - p) ** 2 * yes + (1 - middle) * (1 - wanted) ** 4 * p**2 * no) * counts[:, None]
    far = functional.smooth_l1_loss(place, off, reduction="none", beta=0.1).sum(1) * weight
    return each.sum() / middle.sum().clamp(min=1), far.sum() / weight.sum().clamp(min=1)


def by_overlap(
    heat: Tensor, place: Tensor, wanted: Tensor, counts: Tensor, off: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """The same with 1 - GIoU of the boxes for the places: a box counts by how much it overlaps, however large it is."""
    of_heat, _ = loss(heat, place, wanted, counts, off, weight)
    (x, y, w, h), (a, b, c, d) = place.float().unbind(1), off.unbind(1)
    w, h, c, d = (side.clamp(-5, 5).exp() * (UNIT / STRIDE / 2) for side in (w, h, c, d))  # halves, in cells
    both = [torch.minimum(m + n, k + j) - torch.maximum(m - n, k - j) for m, n, k, j in ((x, w, a, c), (y, h, b, d))]
    around = [torch.maximum(m + n, k + j) - torch.minimum(m - n, k - j) for m, n, k, j in ((x, w, a, c), (y, h, b, d))]
    shared = both[0].clamp(min=0) * both[1].clamp(min=0)
    all_of = 4 * w * h + 4 * c * d - shared
    hull = (around[0] * around[1]).clamp(min=1e-6)
    far = 1 - shared / all_of.clamp(min=1e-6) + (hull - all_of) / hull
    return of_heat, 2 * (far * weight).sum() / weight.sum().clamp(min=1)
