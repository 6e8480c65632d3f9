"""What was learned of good parts, as one full-int8 network.

A picture has one channel, and a convolution of one channel leaves most of a processor idle. So `fold` neighbours in a row become
the channels of one place, the weights are laid out anew to fit (most of them are 0), and the same sums take a fifth of the time.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from edge import LinesideError

from ..package import Variation
from .teaching import Lesson
from .variation import MOST

ROOM = 2.5  # the network's range, in limits of NG
FOLDS = (8, 4, 2)


def compiled(lesson: Lesson, folds: tuple[int, ...] = FOLDS) -> tuple[bytes, float]:
    """The full-int8 model, and how many tolerances its highest answer (1.0) stands for. Raises LinesideError where there is no
    LiteRT, whose wheel brings what a model is written with."""
    int8 = writing()
    normal, full = lesson.normal, ROOM * lesson.limits.ng_above
    height, width = lesson.template.shape
    fold = next((n for n in folds if width % n == 0), 1)
    shape = height, width // fold, fold
    weight = np.divide(255.0 / full, normal.tolerance, out=np.zeros_like(normal.tolerance), where=normal.tolerance > 0)
    one, window, step = np.array([1.0, 2.0, 1.0]) / 4, Variation.WINDOW, Variation.STEP
    softening = folded(np.outer(one, one), fold, 1, 1)
    mean = np.full((window, window), 1 / window**2)
    writer = int8.Writer()
    start = writer.picture((height, width, 1))
    soft = writer.conv(writer.reshape(start, shape), int8.Conv(softening, np.zeros(fold), 1, 0.0, 1.0, relu=False))
    high, low = (writer.constant(x.reshape(shape) / 255.0, 0.0, 1.0) for x in (normal.high, normal.low))
    beyond = writer.add(writer.subtract(soft, high, 1.0), writer.subtract(low, soft, 1.0), 0.0, 1.0)
    weights = writer.constant(weight.reshape(shape), 0.0, float(weight.max()))
    each = writer.multiply(beyond, weights, 0.0, MOST / full)
    if fold == 1:
        cells = writer.conv(
            each, int8.Conv(mean[None, :, :, None], np.zeros(1), step, 0.0, 1.0, relu=False, same=False)
        )
    else:  # the last place of a row has a neighbour to reach into, and what it then says of the cell beyond is cut off
        over = int8.Conv(
            folded(mean, fold, step, 0), np.zeros(fold // step), (step, 1), 0.0, 1.0, relu=False, same=False
        )
        tall, wide = ((n - window) // step + 1 for n in (height, width))
        cells = writer.conv(writer.wider(each, 1), over)
        cells = writer.left(writer.reshape(cells, (tall, width // step, 1)), wide)
    return writer.finish([start], [cells]), full


def writing() -> ModuleType:
    """The writer of int8 models. Raises LinesideError where there is no LiteRT."""
    try:
        from ..engines import int8
    except ImportError as error:
        raise LinesideError(
            f"a model is written with LiteRT, and {error.name or 'it'} is not installed",
            hint="pip install ai-edge-litert",
        ) from None
    return int8


def folded(kernel: np.ndarray, fold: int, step: int, before: int) -> np.ndarray:
    """float[fold // step, kh, places, fold]: weights of a convolution [kh, kw] that is taken at every `step`-th pixel of a row and
    begins `before` pixels before it, for rows of which `fold` neighbours are the channels of one place."""
    tall, wide = kernel.shape
    first = -before // fold
    last = (fold - step + wide - 1 - before) // fold
    out = np.zeros((fold // step, tall, last - first + 1, fold))
    for number in range(fold // step):
        for tap in range(wide):
            place, channel = divmod(number * step + tap - before, fold)
            out[number, :, place - first, channel] = kernel[:, tap]
    return out
