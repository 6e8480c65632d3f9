"""Frames that hold many samples of one fast signal: their bytes become columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edge import AnswerContradicts, Batch, Blocks, Source, samples_of

from .framing import Framer

if TYPE_CHECKING:
    from .options import SerialPoint


class FastFields:
    """Takes the fast signals of one question (or of a line that is listened to) out of its frames: a batch for each of `points`,
    by the id of its tag."""

    def __init__(self, points: Sequence[tuple[int, SerialPoint]], framer: Framer, source: Source) -> None:
        self._framer = framer
        self._each = [(point, Blocks(source, tag)) for tag, point in points]

    def __call__(self, frame: bytes, came: int) -> list[Batch]:
        """Of a frame whose last byte `came` then (ns UTC). Raises AnswerContradicts for one of another shape: none is data."""
        if not self._each:
            return []
        body = memoryview(frame)[: self._framer.ends(frame)]
        said = [_taken(body, point) for point, _ in self._each]
        made = []
        for (point, take), (value, number) in zip(self._each, said, strict=True):
            assert point.block
            batch = take(value, point.block.rate, came, number=number, numbers=256**point.block.number_size)
            made += [] if batch is None else [batch]
        return made


def _taken(body: memoryview, point: SerialPoint) -> tuple[np.ndarray, int | None]:
    how, at = point.block, point.at or 0
    assert how and point.type and point.type != "text"
    size = np.dtype(point.type).itemsize
    end = at + size * how.count if how.count else at + (len(body) - at) // size * size
    if end > len(body) or end <= at:
        raise AnswerContradicts(
            f"a frame of {len(body)} bytes without its checksum ends before byte {max(end, at + size)}"
        )
    number = None
    if how.number is not None:
        if how.number + how.number_size > len(body):
            raise AnswerContradicts(f"a frame of {len(body)} bytes has no number at {how.number}")
        number = int.from_bytes(body[how.number : how.number + how.number_size], point.order)
    return samples_of(body[at:end], point.type, point.order, point.scale, point.offset), number
