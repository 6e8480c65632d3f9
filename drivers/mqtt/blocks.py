"""Messages that hold many samples of one fast signal. Pure: what a message says, in columns."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from edge import AnswerContradicts, samples_of

from .options import MqttBlock
from .values import MOST_SAMPLES, Path, number_of, parse_path, picked, time_of

UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
FASTEST = 1e6  # samples a second
SLOWEST = 3600.0  # seconds from one to the next
SIMULATED = 1000.0  # Hz, where the site says no rate


class Block(NamedTuple):
    """`value` float64[n] at `rate` Hz; `start` ns UTC of the first one and `number` of the message, where it says so."""

    value: np.ndarray
    rate: float
    start: int | None
    number: int | None


class Reading:
    """Reads the messages of one tag as its options say."""

    def __init__(self, how: MqttBlock) -> None:
        self._how = how
        self._paths = [parse_path(path) for path in (how.values, how.start, how.step, how.number)]

    def raw(self, payload: bytes) -> Block:
        """Of bytes. Raises AnswerContradicts."""
        how, start = self._how, None
        if len(payload) <= how.head:
            raise AnswerContradicts(f"a block of {len(payload)} bytes, of which {how.head} are its head")
        if how.clock:
            order = "<" if how.order == "little" else ">"
            start = time_of(int(struct.unpack_from(order + "Q", payload)[0]) * UNITS[how.clock])
            if start is None:
                raise AnswerContradicts(f"its time is none between 1990 and 2100 in {how.clock}")
        return Block(self._samples(memoryview(payload)[how.head :]), how.rate or 0.0, start, None)

    def json(self, data: Any, path: Path) -> Block | None:
        """Of what stands in JSON at `path`; None where no samples do. Raises AnswerContradicts."""
        try:
            data = picked(data, path)
            found = picked(data, self._paths[0])
        except LookupError:
            return None
        start, step, number = (_said(data, path) for path in self._paths[1:])
        if start is not None and (start := time_of(start)) is None:
            raise AnswerContradicts("the start of a block is no time between 1990 and 2100")
        if number is not None and not math.isfinite(number := number_of(number)[0]):
            raise AnswerContradicts("the number of a block is none")
        return Block(self._values(found), self._rate(step), start, None if number is None else int(number))

    def _rate(self, step: Any) -> float:
        if step is None and self._how.rate:
            return self._how.rate
        if step is None:
            raise AnswerContradicts("a block without its step; say `rate` in `block`")
        seconds = number_of(step)[0]
        if not 1 / FASTEST <= seconds <= SLOWEST:
            raise AnswerContradicts("the step of a block is no number of seconds from a microsecond to an hour")
        return 1 / seconds

    def _values(self, found: Any) -> np.ndarray:
        if self._how.type:
            if not isinstance(found, str):
                raise AnswerContradicts("its samples are no base64; take `type` away where they are a list of numbers")
            try:
                return self._samples(base64.b64decode(found, validate=True))
            except binascii.Error as error:
                raise AnswerContradicts(f"its samples are no base64: {error}") from None
        if not isinstance(found, list) or len(found) > MOST_SAMPLES:
            told = f"more than {MOST_SAMPLES:,}" if isinstance(found, list) else "no list; for base64 say `type`"
            raise AnswerContradicts(f"its samples are {told}")
        try:
            value = np.array(found, np.float64)  # what is null becomes nan
        except (ValueError, TypeError, OverflowError):
            raise AnswerContradicts("one of its samples is no number") from None
        return self._some(value)

    def _samples(self, body: bytes | memoryview) -> np.ndarray:
        how = self._how
        assert how.type
        return self._some(samples_of(body, how.type, how.order, how.scale, how.offset))

    def _some(self, value: np.ndarray) -> np.ndarray:
        if value.ndim != 1 or not 0 < len(value) <= MOST_SAMPLES:
            raise AnswerContradicts(f"a block of {len(value)} samples; it takes one to {MOST_SAMPLES:,} numbers")
        return value


def _said(data: Any, path: Path) -> Any:
    """What stands at a path; None where nothing does, or where there is no path."""
    if path:
        with suppress(LookupError):
            return picked(data, path)
    return None


# The way back, for simulators


def message(how: MqttBlock, value: np.ndarray, start: int, number: int) -> Any:
    """What a sensor would publish of float64[n] from `start` (ns UTC) on: bytes if it is `raw`, else what stands at each path."""
    stored = b""
    if how.type:
        kind = np.dtype(how.type).newbyteorder("<" if how.order == "little" else ">")
        raw = (value - how.offset) / how.scale
        stored = (raw if kind.kind == "f" else np.rint(raw)).astype(kind).tobytes()
    if how.raw:
        clock = struct.pack("<Q" if how.order == "little" else ">Q", start // UNITS[how.clock]) if how.clock else b""
        return clock.ljust(how.head, b"\0") + stored
    samples = base64.b64encode(stored).decode() if how.type else value.round(6).tolist()
    said = {how.start: start / 1e9, how.step: 1 / (how.rate or SIMULATED), how.number: number}
    return {how.values: samples, **{path: value for path, value in said.items() if path}}
