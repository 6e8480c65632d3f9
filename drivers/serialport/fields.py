"""From a frame to values, and from a value to an order. Pure."""

from __future__ import annotations

import math
import re
import string
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import regex

from edge import AnswerContradicts, Quality, WriteRefused

from .framing import Framer, fits, octets

if TYPE_CHECKING:
    from .options import SerialPoint

TYPES = {
    "uint8": "B",
    "int8": "b",
    "uint16": "H",
    "int16": "h",
    "uint32": "I",
    "int32": "i",
    "float32": "f",
    "float64": "d",
}
_NUMBER = re.compile(rb"([+-]?)[ \t]*((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_SPEC = re.compile(r"[+ ]?0?\d{0,2}(\.\d{1,2})?[dfeg]?")


def shown(frame: bytes) -> str:
    """A frame for people: text where it is one, the beginning of a long one."""
    text = repr(frame[:80])[1:]
    return f"{text} ... ({len(frame)} bytes)" if len(frame) > 80 else text


def number(text: bytes | None) -> float:
    """A decimal number as instruments print it, also `-   12.5`. Raises ValueError for anything else."""
    found = _NUMBER.fullmatch((text or b"").strip())
    if found is None:
        raise ValueError(f"{text!r} is no number")
    return float(found[1] + found[2])


class Fields:
    """Takes the frames of one question (or of a line that is listened to) apart: a value for each of `points`.

    A frame that has not the expected shape raises AnswerContradicts: none of it is data. A text that is no number makes its
    tag BAD alone. A group that took no part in the match, or that is empty, gives no sample.
    """

    def __init__(
        self, points: Sequence[SerialPoint], framer: Framer, match: regex.Pattern[bytes] | None, separator: bytes
    ) -> None:
        self._framer, self._match, self._separator = framer, match, separator
        self._groups = [(i, p.group) for i, p in enumerate(points) if p.group is not None]
        self._columns = [(i, p.column) for i, p in enumerate(points) if p.column is not None]
        self._slices = [
            (i, struct.Struct(("<" if p.order == "little" else ">") + TYPES[p.type]), p.at)
            for i, p in enumerate(points)
            if p.at is not None and p.type is not None
        ]
        self._scale = np.array([p.scale for p in points])
        self._offset = np.array([p.offset for p in points])
        self._least = 1 + max((column for _, column in self._columns), default=-1)

    def __call__(self, frame: bytes) -> tuple[list[int], list[float], list[int]]:
        """Indices of points, their values and qualities. Raises AnswerContradicts, DeviceLost."""
        index: list[int] = []
        raw: list[float] = []
        payload = self._framer.payload(frame)
        found = fits(self._match, payload) if self._match else None
        if self._match and found is None:
            raise AnswerContradicts(f"{shown(payload)} does not fit `match`")
        for i, group in self._groups:
            if found is not None and found[group]:
                index.append(i)
                raw.append(_or_nan(found[group]))
        if self._columns:
            cells = payload.split(self._separator)
            if len(cells) < self._least:
                raise AnswerContradicts(f"{shown(payload)} has {len(cells)} columns, not {self._least}")
            index += [i for i, _ in self._columns]
            raw += [_or_nan(cells[column].strip(b' \t"')) for _, column in self._columns]
        for i, kind, at in self._slices:
            if len(frame) < at + kind.size:
                raise AnswerContradicts(f"{shown(frame)} ends before byte {at + kind.size}")
            index.append(i)
            raw.append(float(kind.unpack_from(frame, at)[0]))
        return index, *self._scaled(index, raw)

    def _scaled(self, index: list[int], raw: list[float]) -> tuple[list[float], list[int]]:
        values, quality = [], []
        for i, number in zip(index, raw, strict=True):
            value = number * float(self._scale[i]) + float(self._offset[i])
            bad = Quality.BAD if math.isnan(number) else Quality.GOOD if math.isfinite(value) else Quality.RANGE
            values.append(value if bad == Quality.GOOD else math.nan)
            quality.append(int(bad))
        return values, quality


def _or_nan(text: bytes) -> float:
    try:
        return number(text)
    except ValueError:
        return math.nan


def template(text: str) -> str:
    """An order with `{value}` in it, checked. Raises ValueError."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}; a brace itself is written twice") from None
    names = [(name, spec, convert) for _, name, spec, convert in parts if name is not None]
    if len(names) != 1 or names[0][0] != "value" or names[0][2] or not _SPEC.fullmatch(names[0][1] or ""):
        raise ValueError(f"{text!r}: write {{value}} once, or with its digits, as in {{value:.1f}} or {{value:04d}}")
    return text


def order(text: str, value: float) -> bytes:
    """The bytes that set `value`. Raises WriteRefused for a fraction where the order has room for whole numbers only."""
    (spec,) = (spec or "" for _, name, spec, _ in string.Formatter().parse(text) if name is not None)
    if spec.endswith("d"):
        if not float(value).is_integer():
            raise WriteRefused(f"{value:g} is no whole number, and the device is given one")
        return octets(text.format(value=int(value)))
    return octets(text.format(value=value))


def example(text: str, values: Mapping[str, float]) -> bytes:
    """A frame's payload with these values in place of `{tag}`. Raises ValueError for a name that is no tag."""
    out = []
    for literal, name, spec, _ in string.Formatter().parse(text):
        out.append(literal)
        if name is not None:
            if name not in values or not _SPEC.fullmatch(spec or ""):
                raise ValueError(f"{{{name}:{spec}}} is no tag with its digits, as in {{weight:07.2f}}")
            value = values[name]
            out.append(format(int(value) if (spec or "").endswith("d") else value, spec or "g"))
    return octets("".join(out))
