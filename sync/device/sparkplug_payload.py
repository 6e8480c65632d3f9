"""What a Sparkplug B node says (Protocol Buffers, `org.eclipse.tahu.protobuf.Payload`; specification 3.0, chapter 6.4)."""

from __future__ import annotations

import numpy as np

from edge import Quality

INT64, UINT32, FLOAT, DOUBLE, BOOLEAN, STRING = 4, 7, 9, 10, 11, 12
DATATYPES = {  # 6.4.16, by the type that holds every value of a tag
    "int8": 1,
    "int16": 2,
    "int32": 3,
    "int64": INT64,
    "uint8": 5,
    "uint16": 6,
    "uint32": UINT32,  # in a long, which every client reads: some take an int for a signed one
    "uint64": 8,
    "float32": FLOAT,
    "float64": DOUBLE,
    "bool": BOOLEAN,
    "text": STRING,
}
SIGNED = (1, 2, 3, INT64)
BITS = {1: 8, 2: 16, 3: 32, INT64: 64, 5: 8, 6: 16, 7: 32, 8: 64}  # of the whole numbers
REBIRTH = "Node Control/Rebirth"
EXACT = 2.0**53  # beyond it float64 no longer holds every integer
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


def birth(name: str, alias: int, unit: str, ts: int, held: bytes, quality: int, datatype: int) -> bytes:
    """A metric as a birth tells it: name, alias, type, unit and what it is now (of `fields` or `words`; empty: no data)."""
    out = _text(1, name) + _number(2, alias) + _number(3, max(ts, 0) // MS) + _number(4, datatype)
    out += b"" if held else _number(7, 1)
    properties = [("engUnit", _number(1, STRING) + _text(8, unit))] if unit else []
    if (code := _code(quality, not held)) is not None:
        properties.append(("Quality", _number(1, 3) + _number(3, code)))
    if properties:
        keys, values = (b"".join(p) for p in zip(*((_text(1, k), _bytes(2, v)) for k, v in properties), strict=True))
        out += _bytes(9, keys + values)
    return _bytes(2, out + held)


def fields(value: np.ndarray, quality: np.ndarray, datatype: np.ndarray) -> list[bytes]:
    """The field of each number; empty for what is no data or what its type does not hold."""
    columns, held = _values(value, datatype)
    data = (held & ~is_null(value, quality))[:, None]
    content = np.concatenate([content for content, _ in columns], axis=1)
    used = np.concatenate([used & data for _, used in columns], axis=1)
    ends = np.cumsum(used.sum(axis=1))[:-1]
    return [part.tobytes() for part in np.split(content[used], ends)]


def words(text: str) -> bytes:
    """The field of a text."""
    return _text(15, text)


def string(alias: int, ts: int, value: str | None, quality: int, historical: bool) -> bytes:
    """A sample of a text."""
    out = _number(2, alias) + _number(3, max(ts, 0) // MS) + (_number(5, 1) if historical else b"")
    out += b"" if value is not None else _number(7, 1)
    if (code := _code(quality, value is None)) is not None:
        out += _quality(code)
    return _bytes(2, out + (b"" if value is None else words(value)))


def numbers(
    alias: np.ndarray, ts: np.ndarray, value: np.ndarray, quality: np.ndarray, datatype: np.ndarray, historical: bool
) -> bytes:
    """Samples of numbers, one metric each, in the order given: columns of int, ns, float64, `Quality`, and of what their births
    said. What no such type holds is null and bad; times before 1970 are 1970."""
    n = len(alias)
    fields, held = _values(value, datatype)
    data = ~is_null(value, quality) & held
    stale = (seen(value, quality)[1] == 1)[:, None]
    every, data = np.ones((n, 1), bool), data[:, None]
    parts = [
        (_same(b"\x10", n), every),
        _varints(alias.astype(np.uint64), 5),
        (_same(b"\x18", n), every),
        _varints((np.maximum(ts, 0) // MS).astype(np.uint64), 7),
        (_same(b"\x28\x01", n), every & historical),
        (_same(b"\x38\x01", n), ~data),
        (_same(_quality(STALE), n), stale),
        (_same(_quality(BAD), n), ~data & ~stale),
        *((content, used & data) for content, used in fields),
    ]
    masks = [np.broadcast_to(mask, bytes_.shape) for bytes_, mask in parts]
    used = np.concatenate(masks, axis=1)
    size = used.sum(axis=1, dtype=np.uint8)[:, None]  # below 128, so that it is one byte
    whole = np.concatenate([_same(b"\x12", n), size, *(bytes_ for bytes_, _ in parts)], axis=1)
    return whole[np.concatenate([np.ones((n, 2), bool), used], axis=1)].tobytes()


def _values(value: np.ndarray, datatype: np.ndarray) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """The fields of numbers by their types: columns of (bytes, which of them are used); and bool[n]: which types hold theirs."""
    n = len(value)
    bits = _BITS[datatype]
    signed = np.isin(datatype, SIGNED)
    double, single, truth, whole = datatype == DOUBLE, datatype == FLOAT, datatype == BOOLEAN, bits > 0
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = value.astype("<f4")
        low = np.where(signed, np.maximum(-(2.0 ** (bits - 1.0)), -EXACT), 0.0)
        high = np.minimum(2.0 ** (bits - signed) - 1, EXACT)
        exact = (value == np.floor(value)) & (value >= low) & (value <= high)
    held = np.where(whole, exact, np.where(truth, (value == 0) | (value == 1), True))
    held &= ~single | (narrow == value) | ~np.isfinite(value)
    number = np.where(held & (whole | truth), value, 0).astype(np.int64)
    pattern = number.view(np.uint64) & _MASK[datatype]  # two's complement of 32 or 64 bits, as Tahu has it
    key = np.where(truth, 0x70, np.where(_LONG[datatype], 0x58, 0x50)).astype(np.uint8)[:, None]
    digits, used = _varints(pattern, 10)
    by_digits = (whole | truth)[:, None]
    out = [
        (key, by_digits),
        (digits, used & by_digits),
        (_same(b"\x65", n), single[:, None]),
        (narrow.view(np.uint8).reshape(n, 4), single[:, None]),
        (_same(b"\x69", n), double[:, None]),
        (value.astype("<f8").view(np.uint8).reshape(n, 8), double[:, None]),
    ]
    return [(content, np.broadcast_to(mask, content.shape)) for content, mask in out], held


_BITS = np.array([BITS.get(datatype, 0) for datatype in range(256)])
_LONG = np.array([BITS.get(datatype) == 64 or datatype == UINT32 for datatype in range(256)])
_MASK = np.where(_LONG, np.uint64(2**64 - 1), np.uint64(2**32 - 1))


def is_null(value: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """What is no data, and goes without a value."""
    return (quality >= Quality.RANGE) | ~np.isfinite(value)


def seen(value: np.ndarray, quality: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a host can tell apart: values, nan for null, and uint8: 0 good, 1 stale, 2 bad."""
    null = is_null(value, quality)
    stale = (quality == Quality.STALE) | (quality == Quality.TIMEOUT) | (quality == Quality.SUBSTITUTED)
    return np.where(null, np.nan, value), np.where(stale, 1, np.where(null, 2, 0)).astype(np.uint8)


def _code(quality: int, null: bool) -> int | None:
    if quality in (Quality.STALE, Quality.TIMEOUT, Quality.SUBSTITUTED):
        return STALE
    return BAD if null else None


def _quality(code: int) -> bytes:
    return _bytes(9, _text(1, "Quality") + _bytes(2, _number(1, 3) + _number(3, code)))


def _same(content: bytes, n: int) -> np.ndarray:
    return np.broadcast_to(np.frombuffer(content, np.uint8), (n, len(content)))


def _varints(values: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(bytes, which of them are used): at most `width` groups of seven bits of uint64."""
    shifted = values[:, None] >> (7 * np.arange(width, dtype=np.uint64))
    more = shifted > 0x7F
    used = shifted > 0
    used[:, 0] = True
    return (shifted & np.uint64(0x7F)).astype(np.uint8) | more.astype(np.uint8) << 7, used


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
