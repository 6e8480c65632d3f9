"""A detector for pictures of one size: its network takes the whole of them, where it can, and so sees no seams and nothing twice.

A network of convolutions says of a place what it says of it in any tile, as long as the tile reaches far enough around it. Tiles of
640 px that overlap are 3.3 MP for a picture of 2 MP.
"""

from __future__ import annotations

import math
from contextlib import suppress

from edge import ModelRefused

from ..engines.contract import Interpreter
from ..package import Detect, Package
from .detect import Detector

STEP = 32  # pixels: what a network halves five times has to be a multiple of them
MOST = 2048  # pixels of a side; what is larger is judged in tiles of about that, for the memory's sake


def detector(package: Package, least: float, shape: tuple[int, int]) -> Detector:
    """For pictures of `shape`; one that judges in tiles of the network's own size where they are small, or the network is for that
    size alone. Raises ModelRefused."""
    model = package.described(Detect)
    shared, step = round(3 * model.unit), math.lcm(STEP, model.fold, model.stride)
    size = side(shape[0], model.size[0], shared, step), side(shape[1], model.size[1], shared, step)
    if size != model.size and model.fit == "tile" and step <= min(model.size):
        with suppress(ModelRefused):
            return Detector(_Resized(package, model, size), least)
    return Detector(package, least)


def side(length: int, own: int, shared: int, step: int = STEP) -> int:
    """Of the tiles for so many pixels, a multiple of `step` where they are not the network's own."""
    if length <= own:
        return own
    many = 1 if length <= MOST else 2 + (length - MOST - 1) // (MOST - shared)
    each = -(-(length + (many - 1) * shared) // many)
    return -(-each // step) * step


class _Resized(Package):
    def __init__(self, package: Package, model: Detect, size: tuple[int, int]) -> None:
        super().__init__(package.folder, model.model_copy(update={"size": size}))
        self._proved = package

    def interpreter(self, threads: int = 1, engine: str = "", shape: tuple[int, ...] | None = None) -> Interpreter:
        return self._proved.interpreter(threads, engine, shape or self.described(Detect).shapes[0])
