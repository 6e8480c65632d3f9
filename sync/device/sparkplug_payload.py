"""What a Sparkplug B node says (Protocol Buffers, `org.eclipse.tahu.protobuf.Payload`; specification 3.0, chapter 6.4), and the
little that it has to understand."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from edge import CodecFault, Quality

INT64, DOUBLE, BOOLEAN, STRING = 4, 10, 11, 12
REBIRTH = "Node Control/Rebirth"
MOST_COMMAND = 65_536  # bytes of an order
MS = 1_000_000  # ns
STALE, BAD = 500, 0  # the property `Quality` (6.4.10); good ones go without


def payload(now: int, metrics: bytes = b"", seq: int | None = None) -> bytes:
    """`now` in ns UTC; an NDEATH has no sequence number."""
    return _number(1, now // MS) + metrics + (b"" if seq is None else _number(3, seq))


def session(number: int, now: int) -> bytes:
    """bdSeq: the same in the will and in the births of a session."""
    return _bytes(2, _text(1, "bdSeq") + _number(3, now // MS) + _number(4, INT64) + _number(11, number))


def rebirth(now: int) -> bytes:
    """The control that a host may set to have everything told anew; it has no alias."""
    return _bytes(2, _text(1, REBIRTH) + _number(3, now // MS) + _number(4, BOOLEAN) + _number(14, 0))


def birth(name: str, alias: int, unit: str, ts: int, value: float | str | None, quality: int, text: bool) -> bytes:
    """A metric as a birth tells it: name, alias, type, unit and what it is now (None: nothing that is data)."""
    out = _text(1, name) + _number(2, alias) + _number(3, ts // MS) + _number(4, STRING if text else DOUBLE)
    out += b"" if value is not None else _number(7, 1)
    properties = [("engUnit", _number(1, STRING) + _text(8, unit))] if unit else []
    if (code := _code(quality, value is None)) is not None:
        properties.append(("Quality", _number(1, 3) + _number(3, code)))
    if properties:
        keys, values = (b"".join(p) for p in zip(*((_text(1, k), _bytes(2, v)) for k, v in properties), strict=True))
        out += _bytes(9, keys + values)
    if isinstance(value, str):
        out += _text(15, value)
    elif value is not None:
        out += b"\x69" + np.float64(value).astype("<f8").tobytes()
    return _bytes(2, out)


def string(alias: int, ts: int, value: str | None, quality: int, historical: bool) -> bytes:
    """A sample of a text."""
    out = _number(2, alias) + _number(3, ts // MS) + (_number(5, 1) if historical else b"")
    out += b"" if value is not None else _number(7, 1)
    if (code := _code(quality, value is None)) is not None:
        out += _quality(code)
    return _bytes(2, out + (b"" if value is None else _text(15, value)))


def numbers(alias: np.ndarray, ts: np.ndarray, value: np.ndarray, quality: np.ndarray, historical: bool) -> bytes:
    """Samples of numbers, one metric each, in the order given: columns of int, ns, float64, `Quality`."""
    n = len(alias)
    null = is_null(value, quality)
    stale = ((quality == Quality.STALE) | (quality == Quality.TIMEOUT) | (quality == Quality.SUBSTITUTED))[:, None]
    every, data = np.ones((n, 1), bool), ~null[:, None]
    parts = [
        (_same(b"\x10", n), every),
        _varints(alias.astype(np.int64), 5),
        (_same(b"\x18", n), every),
        _varints(np.maximum(ts, 0) // MS, 7),
        (_same(b"\x28\x01", n), every & historical),
        (_same(b"\x38\x01", n), ~data),
        (_same(_quality(STALE), n), stale),
        (_same(_quality(BAD), n), ~data & ~stale),
        (_same(b"\x69", n), data),
        (value.astype("<f8").view(np.uint8).reshape(n, 8), data),
    ]
    masks = [np.broadcast_to(mask, bytes_.shape) for bytes_, mask in parts]
    used = np.concatenate(masks, axis=1)
    size = used.sum(axis=1, dtype=np.uint8)[:, None]  # below 128, so that it is one byte
    whole = np.concatenate([_same(b"\x12", n), size, *(bytes_ for bytes_, _ in parts)], axis=1)
    return whole[np.concatenate([np.ones((n, 2), bool), used], axis=1)].tobytes()


def is_null(value: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """What is no data, and goes without a value."""
    return (quality >= Quality.RANGE) | ~np.isfinite(value)


def _code(quality: int, null: bool) -> int | None:
    if quality in (Quality.STALE, Quality.TIMEOUT, Quality.SUBSTITUTED):
        return STALE
    return BAD if null else None


def _quality(code: int) -> bytes:
    return _bytes(9, _text(1, "Quality") + _bytes(2, _number(1, 3) + _number(3, code)))


def _same(content: bytes, n: int) -> np.ndarray:
    return np.broadcast_to(np.frombuffer(content, np.uint8), (n, len(content)))


def _varints(values: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(bytes, which of them are used): at most `width` groups of seven bits of numbers that are not negative."""
    shifted = values[:, None] >> 7 * np.arange(width)
    more = shifted >> 7 > 0
    used = shifted > 0
    used[:, 0] = True
    return (shifted & 0x7F | more.astype(np.int64) << 7).astype(np.uint8), used


def _number(field: int, value: int) -> bytes:
    return _plain(field << 3) + _plain(value)


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode(errors="replace"))


def _bytes(field: int, content: bytes) -> bytes:
    return _plain(field << 3 | 2) + _plain(len(content)) + content


def _plain(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


# What comes


def asks_rebirth(body: bytes) -> bool:
    """Whether an NCMD sets `Node Control/Rebirth`. Raises CodecFault for what is no payload."""
    if len(body) > MOST_COMMAND:
        raise CodecFault(f"an order of {len(body):,} bytes")
    for field, metric in _fields(body):
        if field == 2 and isinstance(metric, bytes):
            said = dict(_fields(metric))
            if said.get(1) == REBIRTH.encode() and said.get(14) == 1:
                return True
    return False


def host_state(body: bytes) -> tuple[bool, int]:
    """(online, time in ms) of what a host says under STATE (JSON, since 3.0). Raises CodecFault."""
    try:
        said = json.loads(body[:MOST_COMMAND])
        online, at = said["online"], said["timestamp"]
        if not isinstance(online, bool) or not isinstance(at, int):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CodecFault(f"{body[:80]!r} is no state of a host of Sparkplug 3.0") from None
    return online, at


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        size, at = _varint(data, at) if key & 7 == 2 else ({1: 8, 5: 4}.get(key & 7, len(data)), at)
        if at + size > len(data):
            raise CodecFault("a field that is cut off: that is no Sparkplug payload")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    out = 0
    for k, byte in enumerate(data[at : at + 10]):
        out |= (byte & 0x7F) << 7 * k
        if byte < 0x80:
            return out, at + k + 1
    raise CodecFault("a number that does not end: that is no Sparkplug payload")
