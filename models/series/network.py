"""A small network that learns to say a row again from the window that ends with it, through a narrow middle.

Dense layers: `window` rows of all tags, HIDDEN numbers (with ReLU), `code` numbers, HIDDEN numbers (with ReLU), the newest row.
What a machine does when it is normal needs few numbers (its speed, its load); what does not fit through them is left over, and
that is what is judged. It begins as the principal components of rows, which a pair of ReLU carries each way, and bends from there.
Trained by Adam (Kingma and Ba, 2015) with a falling rate and decoupled decay of weights (Loshchilov and Hutter, 2019) in numpy: the
same rows give the same network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

HIDDEN = 32
BATCH = 64
LITTLE = 0.1
RATE, DECAY = 3e-3, 1e-3
STEPS, MOST_STEPS, ROWS_A_STEP = 600, 2000, 20  # for few rows; at most; one more for so many rows
FOLDS = 4  # parts of the rows, each told by a network that has not learned from it
SEED = 1


@dataclass(frozen=True)
class Network:
    """`layers`: (weight float32[in, out], bias float32[out]) in their order; a window goes in as `window` * c numbers, its oldest
    row first."""

    window: int
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]

    def __call__(self, given: np.ndarray) -> list[np.ndarray]:
        """What goes in, float32[n, window * c], and what comes out of each layer."""
        out = [given]
        for i, (weight, bias) in enumerate(self.layers):
            x = out[-1] @ weight + bias
            out.append(np.maximum(x, 0) if self.bends(i) else x)
        return out

    @staticmethod
    def bends(layer: int) -> bool:
        """Whether a ReLU stands behind it."""
        return layer % 2 == 0


def windows(z: np.ndarray, ends: np.ndarray, window: int) -> np.ndarray:
    """float32[m, window * c]: of rows [n, c] those up to each of `ends`."""
    return z[ends[:, None] + np.arange(1 - window, 1)].astype(np.float32).reshape(len(ends), -1)


def ends_of(n: int, starts: Sequence[int], window: int) -> np.ndarray:
    """Of n rows those with a whole window before them that reaches into no other stretch."""
    spans = zip(starts, (*starts[1:], n), strict=True)
    return np.concatenate([np.arange(begin + window - 1, max(end, begin + window - 1)) for begin, end in spans])


def train(z: np.ndarray, ends: np.ndarray, window: int, code: int) -> Network:
    """Learn to say rows [n, c] (of spread 1) again at `ends`."""
    rng = np.random.default_rng(SEED)
    network = _begun(z[ends], window, code, rng)
    parts = [part for layer in network.layers for part in layer]
    first, second = ([np.zeros_like(part) for part in parts] for _ in range(2))
    steps = min(STEPS + len(ends) // ROWS_A_STEP, MOST_STEPS)
    for step in range(1, steps + 1):
        some = ends[rng.integers(0, len(ends), BATCH)]
        slopes = _slopes(network, windows(z, some, window), z[some].astype(np.float32))
        rate = RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
        for i, slope in enumerate(slopes):
            first[i] += 0.1 * (slope - first[i])
            second[i] += 0.001 * (slope**2 - second[i])
            way = first[i] / (1 - 0.9**step) / (np.sqrt(second[i] / (1 - 0.999**step)) + 1e-8)
            parts[i] -= np.float32(rate) * (way if i % 2 else way + DECAY * parts[i])
    return network


def _begun(rows: np.ndarray, window: int, code: int, rng: np.random.Generator) -> Network:
    """That says the `code` leading components of rows [m, c] again, beside a little of everything."""
    c = rows.shape[1]
    sizes = (window * c, HIDDEN, code, HIDDEN, c)
    weights = [rng.normal(0, np.sqrt(2 / a), (a, b)) for a, b in pairwise(sizes)]
    way = np.linalg.eigh(rows.T @ rows / len(rows))[1][:, ::-1][:, :code]
    k, both = way.shape[1], np.hstack([way, -way])
    weights[1] *= LITTLE
    weights[3] *= LITTLE
    weights[0][:, : 2 * k], weights[0][-c:, : 2 * k] = 0, both
    weights[1][: 2 * k, :k] = np.vstack([np.eye(k), -np.eye(k)])
    weights[2][:, : 2 * k], weights[2][:k, : 2 * k] = 0, np.hstack([np.eye(k), -np.eye(k)])
    weights[3][: 2 * k] = both.T
    layers = ((w.astype(np.float32), np.zeros(w.shape[1], np.float32)) for w in weights)
    return Network(window, tuple(layers))


def _slopes(network: Network, given: np.ndarray, wanted: np.ndarray) -> list[np.ndarray]:
    """Of the squared error, towards each weight and bias in their order."""
    out = network(given)
    slope, found = 2 * (out[-1] - wanted) / len(given), []
    for i in range(len(network.layers) - 1, -1, -1):
        found += [slope.sum(axis=0), out[i].T @ slope]
        if i:
            slope = slope @ network.layers[i][0].T
            slope = slope * (out[i] > 0) if network.bends(i - 1) else slope
    return found[::-1]


def folds(ends: np.ndarray) -> list[np.ndarray]:
    """FOLDS parts of `ends`, each without a gap."""
    return [part for part in np.array_split(ends, FOLDS) if len(part)]
