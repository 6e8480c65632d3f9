"""The Sparkplug B payload (Protocol Buffers, `org.eclipse.tahu.protobuf.Payload`), read strictly and with bounds.

Only what a tag can use is kept; data sets, templates, files and arrays are left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from edge import AnswerContradicts

MOST_METRICS = 20_000
SIGNED = {1: 8, 2: 16, 3: 32, 4: 64}  # bits of the signed whole numbers, by datatype
BOOLEAN, DATETIME = 11, 13
_VALUES = {10: "int", 11: "long", 12: "float", 13: "double", 14: "bool", 15: "string"}


@dataclass(slots=True)
class Metric:
    """One metric; `value` is a number, a bool, a text, or None for what is no single value. Times in ms since 1970."""

    name: str = ""
    alias: int | None = None
    timestamp: int | None = None
    datatype: int = 0
    historical: bool = False
    null: bool = False
    kind: str = ""
    value: Any = None
    quality: int | None = None


@dataclass(slots=True)
class Payload:
    timestamp: int | None = None
    seq: int | None = None
    metrics: list[Metric] = field(default_factory=list)


def decode_payload(data: bytes) -> Payload:
    """Raises AnswerContradicts for bytes that are no payload. What it makes is bounded by the size of `data`."""
    out = Payload()
    for number, wire, value in _fields(data):
        if number == 1 and wire == 0:
            out.timestamp = value
        elif number == 2 and wire == 2:
            if len(out.metrics) >= MOST_METRICS:
                raise AnswerContradicts(f"more than {MOST_METRICS:,} metrics in one message")
            out.metrics.append(_metric(value))
        elif number == 3 and wire == 0:
            out.seq = value
    return out


def _metric(data: memoryview) -> Metric:
    out = Metric()
    for number, wire, value in _fields(data):
        if number == 1 and wire == 2:
            out.name = _text(value)
        elif number == 2 and wire == 0:
            out.alias = value
        elif number == 3 and wire == 0:
            out.timestamp = value
        elif number == 4 and wire == 0:
            out.datatype = value & 0xFFFFFFFF
        elif number == 5 and wire == 0:
            out.historical = bool(value)
        elif number == 7 and wire == 0:
            out.null = bool(value)
        elif number == 9 and wire == 2:
            out.quality = _quality(value)
        elif 10 <= number <= 19:
            out.kind, out.value = _VALUES.get(number, "other"), _value(number, wire, value)
    return out


def _value(number: int, wire: int, value: Any) -> Any:
    if wire != {12: 5, 13: 1}.get(number, 0 if number in (10, 11, 14) else 2):
        raise AnswerContradicts("a metric's value is not stored as its kind")
    if number == 10:
        return value & 0xFFFFFFFF
    if number == 12:
        return struct.unpack("<f", value)[0]
    if number == 13:
        return struct.unpack("<d", value)[0]
    if number == 14:
        return bool(value)
    return _text(value) if number == 15 else value if number == 11 else None


def _quality(data: memoryview) -> int | None:
    """The property `Quality` (192 good, 0 bad, 500 stale) among a metric's properties."""
    names: list[str] = []
    values: list[int | None] = []
    for number, wire, value in _fields(data):
        if number == 1 and wire == 2:
            names.append(_text(value))
        elif number == 2 and wire == 2:
            values.append(next((v & 0xFFFFFFFF for n, w, v in _fields(value) if n in (3, 4) and w == 0), None))
    return next((v for name, v in zip(names, values, strict=False) if name.lower() == "quality"), None)


def _text(data: memoryview) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise AnswerContradicts("a text in the message is not UTF-8") from None


def _fields(data: bytes | memoryview) -> Iterator[tuple[int, int, Any]]:
    """(number, wire type, value) of each field: an int, or the bytes of it. Groups are refused, as proto2 lets nobody send any."""
    view, at = memoryview(data), 0
    while at < len(view):
        key, at = _varint(view, at)
        number, wire = key >> 3, key & 7
        if not 1 <= number < 2**29:
            raise AnswerContradicts(f"a field of number {number}: that is no Sparkplug payload")
        if wire == 0:
            value, at = _varint(view, at)
            yield number, wire, value
            continue
        if wire == 2:
            size, at = _varint(view, at)
        else:
            size = {1: 8, 5: 4}.get(wire, -1)
        if size < 0 or at + size > len(view):
            raise AnswerContradicts("a field that is cut off: that is no Sparkplug payload")
        yield number, wire, view[at : at + size]
        at += size


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    out = 0
    for k, byte in enumerate(view[at : at + 10]):
        out |= (byte & 0x7F) << 7 * k
        if byte < 0x80:
            return out & 0xFFFFFFFFFFFFFFFF, at + k + 1
    raise AnswerContradicts("a number that does not end: that is no Sparkplug payload")


# The way back: orders to a node, and simulators


def encode_payload(payload: Payload) -> bytes:
    out = b"" if payload.timestamp is None else _number(1, payload.timestamp)
    out += b"".join(_bytes(2, _encoded(metric)) for metric in payload.metrics)
    return out if payload.seq is None else out + _number(3, payload.seq)


def _encoded(metric: Metric) -> bytes:
    out = _bytes(1, metric.name.encode()) if metric.name else b""
    for number, value in ((2, metric.alias), (3, metric.timestamp), (4, metric.datatype or None)):
        out += b"" if value is None else _number(number, value)
    for number, flag in ((5, metric.historical), (7, metric.null)):
        out += _number(number, 1) if flag else b""
    if metric.quality is not None:
        out += _bytes(9, _bytes(1, b"Quality") + _bytes(2, _number(1, 3) + _number(3, metric.quality)))
    if metric.value is None:
        return out
    if metric.kind == "string":
        return out + _bytes(15, metric.value.encode())
    if metric.kind == "float":
        return out + _key(12, 5) + struct.pack("<f", metric.value)
    if metric.kind == "double":
        return out + _key(13, 1) + struct.pack("<d", metric.value)
    return out + _number({"int": 10, "long": 11, "bool": 14}[metric.kind], int(metric.value))


def _key(number: int, wire: int) -> bytes:
    return _plain(number << 3 | wire)


def _number(number: int, value: int) -> bytes:
    return _key(number, 0) + _plain(value)


def _bytes(number: int, value: bytes) -> bytes:
    return _key(number, 2) + _plain(len(value)) + value


def _plain(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
