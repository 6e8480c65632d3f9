"""From a frame to values, and from a value to an order. Pure."""

from __future__ import annotations

import math
import re
import string
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

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
_NUMBER = re.compile(rb"([+-]?)[ \t]*((?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)")
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

    A frame that has not the expected shape raises AnswerContradicts: none of it is data. What is no number makes its tag BAD
    alone. A group that took no part in the match, or that is empty, gives no sample. `text(k, string)` gives the number
    of a string of the k-th point, nan where it has none.
    """

    def __init__(
        self,
        points: Sequence[SerialPoint],
        framer: Framer,
        match: regex.Pattern[bytes] | None,
        separator: bytes,
        text: Callable[[int, str], float],
    ) -> None:
        self._points, self._framer, self._match, self._separator = points, framer, match, separator
        self._text = text
        self._groups = [(i, p.group) for i, p in enumerate(points) if p.group is not None]
        self._columns = [(i, p.column) for i, p in enumerate(points) if p.column is not None]
        self._slices = [
            (i, struct.Struct(("<" if p.order == "little" else ">") + TYPES[p.type]), p.at)
            for i, p in enumerate(points)
            if p.at is not None and p.type in TYPES
        ]
        self._least = 1 + max((column for _, column in self._columns), default=-1)

    def __call__(self, frame: bytes) -> tuple[list[int], list[float], list[int]]:
        """Indices of points, their values and qualities. Raises AnswerContradicts, DeviceLost."""
        found = self._found(frame)
        index = [i for i, _ in found]
        judged = [self._judged(i, raw) for i, raw in found]
        return index, [value for value, _ in judged], [int(quality) for _, quality in judged]

    def _found(self, frame: bytes) -> list[tuple[int, bytes | float]]:
        """What stands at the place of each point."""
        payload = self._framer.payload(frame)
        found: list[tuple[int, bytes | float]] = []
        match = fits(self._match, payload) if self._match else None
        if match is not None:
            found += [(i, match[group]) for i, group in self._groups if match[group]]
        elif self._match:
            raise AnswerContradicts(f"{shown(payload)} does not fit `match`")
        if self._columns:
            cells = payload.split(self._separator)
            if len(cells) < self._least:
                raise AnswerContradicts(f"{shown(payload)} has {len(cells)} columns, not {self._least}")
            found += [(i, cells[column].strip(b' \t"')) for i, column in self._columns]
        for i, kind, at in self._slices:
            if len(frame) < at + kind.size:
                raise AnswerContradicts(f"{shown(frame)} ends before byte {at + kind.size}")
            found.append((i, float(kind.unpack_from(frame, at)[0])))
        return found

    def _judged(self, i: int, raw: bytes | float) -> tuple[float, Quality]:
        point = self._points[i]
        if isinstance(raw, bytes):
            if point.type == "text":
                value = self._text(i, _decoded(raw.strip()))
                return value, Quality.RANGE if math.isnan(value) else Quality.GOOD
            try:
                raw = number(raw)
            except ValueError:
                return math.nan, Quality.BAD
        value = raw * point.scale + point.offset
        return (value, Quality.GOOD) if math.isfinite(value) else (math.nan, Quality.RANGE)


def _decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


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


def order(text: str, value: float | str) -> bytes:
    """The bytes that set `value`. Raises WriteRefused for a fraction where the order has room for whole numbers only, and
    for a string where it has room for numbers only."""
    (spec,) = (spec or "" for _, name, spec, _ in string.Formatter().parse(text) if name is not None)
    if isinstance(value, str):
        if spec:
            raise WriteRefused("a text stands in its order as {value}, without digits")
        return octets(text.format(value=value.encode().decode("latin-1")))
    if spec.endswith("d"):
        if abs(value - round(value)) > 1e-9 * max(1.0, abs(value)):
            raise WriteRefused(f"{value:g} is no whole number, and the device is given one")
        return octets(text.format(value=round(value)))
    return octets(text.format(value=value))


def ordered(text: str, value: float) -> float:
    """The number that the order says, rounded as it is written there."""
    (spec,) = (spec or "" for _, name, spec, _ in string.Formatter().parse(text) if name is not None)
    return float(format(round(value) if spec.endswith("d") else value, spec))


def example(text: str, values: Mapping[str, float | str]) -> bytes:
    """A frame's payload with these values in place of `{tag}`. Raises ValueError for a name that is no tag."""
    out = []
    for literal, name, spec, _ in string.Formatter().parse(text):
        out.append(literal)
        if name is not None:
            if name not in values or not _SPEC.fullmatch(spec or ""):
                raise ValueError(f"{{{name}:{spec}}} is no tag with its digits, as in {{weight:07.2f}}")
            value = values[name]
            if isinstance(value, str):
                out.append(value)
            else:
                out.append(format(round(value) if (spec or "").endswith("d") else value, spec or "g"))
    return octets("".join(out))
