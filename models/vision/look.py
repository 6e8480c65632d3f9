"""The second look of a detector: a place of which it is not sure is looked at again, turned and mirrored, and the mean counts.

A network that saw a defect in eight ways of its surroundings errs less than one that saw it once, and only few places are doubtful:
so the mean of eight costs little more than one look at the whole picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..engines.contract import Interpreter
from ..package import Detect
from . import peaks

ORDER = (
    0,
    3,
    1,
    2,
    4,
    7,
    5,
    6,
)  # bits: mirrored in x (1), in y (2), then x and y exchanged (4); the first is the whole picture's
MOST, AREA = 16, 640 * 640  # places of so many pixels


class SecondLook:
    """`run` takes as many pieces at once as there are ways beside the first."""

    def __init__(self, run: Interpreter, model: Detect) -> None:
        self._run, self._model, self._ways = run, model, ORDER[1 : model.views]
        heat, self._place = run.outputs
        self._table = peaks.odds(heat)
        self._whole = np.dtype(run.inputs[0].dtype) == np.int8
        channels = model.channels // model.fold
        pixel = np.dtype((np.void, channels if self._whole else 4 * channels))  # moved as one, not channel by channel
        self._views = np.empty((len(self._ways), model.look, model.look), pixel)
        self._from, self._said, self._sign = origins(self._ways, model.look // model.stride)
        self.looked = 0  # places so far

    def __call__(self, pair: np.ndarray, grid: np.ndarray, off: np.ndarray) -> None:
        """Put the means in place of what a first look at `pair` uint8[h, w, 2] gave (`peaks.read`)."""
        cells = self._model.look // self._model.stride
        rows, columns = grid.shape[:2]
        first, first_off, done = grid.copy(), off.copy(), np.zeros((rows, columns), bool)
        for y, x in self._doubtful(first):
            if done[y, x]:
                continue
            top, left = (min(max(at - cells // 2, 0), most - cells) for at, most in ((y, rows), (x, columns)))
            inner = self._inner(top, left, cells, rows, columns)
            here = inner[0].start + top, inner[0].stop + top, inner[1].start + left, inner[1].stop + left
            there = slice(here[0], here[1]), slice(here[2], here[3])
            sums, shifts = self._looked(pair, top, left)
            grid[there] = (first[there] + sums[inner]) / np.float32(self._model.views)
            off[there] = (first_off[there] + shifts[inner]) / np.float32(self._model.views)
            done[there] = True
            self.looked += 1

    def _doubtful(self, grid: np.ndarray) -> list[tuple[int, int]]:
        low, high = self._model.doubt
        best = peaks.highest(grid)
        y, x = peaks.peaks(best, low)
        doubt = best[y, x] < high
        most = max(MOST, MOST * best.size * self._model.stride**2 // AREA)
        return list(zip(y[doubt][:most].tolist(), x[doubt][:most].tolist(), strict=True))

    def _inner(self, top: int, left: int, cells: int, rows: int, columns: int) -> tuple[slice, slice]:
        """Of a piece the cells that count: all but its rim, where that is not the picture's own."""
        rim = self._model.RIM
        return (
            slice(rim if top else 0, cells - (rim if top + cells < rows else 0)),
            slice(rim if left else 0, cells - (rim if left + cells < columns else 0)),
        )

    def _looked(self, pair: np.ndarray, top: int, left: int) -> tuple[np.ndarray, np.ndarray]:
        """Sums over all ways but the first, each turned back: [cells, cells, labels] and [cells, cells, 4]."""
        side, step = self._model.look, self._model.stride
        piece = pair[top * step : top * step + side, left * step : left * step + side]
        given = np.bitwise_xor(piece, 0x80).view(np.int8) if self._whole else piece.astype(np.float32) / 255
        given = np.ascontiguousarray(given)
        pixels = given.view(self._views.dtype)[:, :, 0]
        for view, way in zip(self._views, self._ways, strict=True):
            view[:] = turned(pixels, way)
        heat, place = self._run(self._views.view(given.dtype).reshape(self._run.inputs[0].shape))
        heat = heat.reshape(-1, heat.shape[3]).take(self._from, axis=0)
        grids, offs = peaks.read(heat, place.reshape(-1).take(self._said), self._table, self._place)
        return grids.sum(axis=0), (offs * self._sign).sum(axis=0)


def turned(square: np.ndarray, way: int) -> np.ndarray:
    """[n, n, ...], mirrored and exchanged as the bits of `way` say."""
    square = square[:: -1 if way & 2 else 1, :: -1 if way & 1 else 1]
    return square.swapaxes(0, 1) if way & 4 else square


def back(square: np.ndarray, way: int) -> np.ndarray:
    """What was `turned`, as it was."""
    square = square.transpose(1, 0, 2) if way & 4 else square
    return square[:: -1 if way & 2 else 1, :: -1 if way & 1 else 1]


def placed_back(place: np.ndarray, way: int) -> np.ndarray:
    """Places [n, n, 4] that were said of a turned piece: the cells and what they say."""
    place = back(place, way)
    if way & 4:
        place = place[:, :, [1, 0, 3, 2]]
    return place * np.array([-1 if way & 1 else 1, -1 if way & 2 else 1, 1, 1], np.float32)


def origins(ways: Sequence[int], cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each cell [ways, cells, cells] of pieces that are turned back comes from among all cells of the turned ones, the same
    of places [ways, cells, cells, 4] among all their numbers, and with which sign."""
    number = np.arange(cells * cells).reshape(cells, cells, 1)
    each = np.arange(len(ways)).reshape(-1, 1, 1)
    cell = np.stack([back(number, way)[:, :, 0] for way in ways]) + each * number.size
    signed = np.stack([placed_back(number * 4 + np.arange(1, 5), way) for way in ways])
    said = np.abs(signed).astype(int) - 1 + each[..., None] * number.size * 4
    return cell, said, np.sign(signed).astype(np.float32)
