"""Columns of numbers <-> bytes, for the blocks of `codec`.

Times are integers in the coarsest of 1 s, 1 ms, 1 us, 1 ns that is exact, stored as differences of differences. Values of a
tag are scaled to integers by the smallest power of ten that gives every one of them back bit for bit (of a device's float32:
once rounded to 32 bits), stored plain or as differences, whichever needs fewer bits; where none does they stay float64 bits.
A tag with few different values that lie far apart (a converter's steps) is stored as places in a list of them. Integer
columns take the narrowest of 1, 2, 4, 8 bytes; columns of one width are stored together, byte planes apart, for zstd to find
the order in them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .memo import distinct

MOST_DECIMALS = 9
MOST_SINGLE = 7  # decimals that a float of 32 bits can tell
MOST_LISTED = 256  # different values of a column; its places take one byte
LISTED_SHARE = 0.7  # of its samples; a longer list costs more than it saves
_STEPS, _LISTED = 16, 32  # modes of a column, beside its width in bytes
_SINGLE = 64  # added to its power of ten


def pack_times(ts: np.ndarray) -> tuple[int, int, int, bytes]:
    """Time columns [c, m] as (unit, m, width, bytes)."""
    m = ts.shape[1]
    unit = next((u for u in (10**9, 10**6, 10**3) if not (ts % u).any()), 1)
    steps = np.diff(np.diff(ts // unit, axis=1, prepend=0), axis=1, prepend=0)
    head = steps[:, :2].astype("<i8").tobytes()
    width, body = _narrow(_zigzag(steps[:, 2:]))
    return unit, m, width, head + body


def unpack_times(packed: list[Any], m: int, most: int) -> np.ndarray:
    """Time columns [c, m] with at most `most` times in all. Raises ValueError, before it takes memory, where they are others."""
    unit, there, width, body = packed
    if there != m or unit not in (1, 10**3, 10**6, 10**9) or (m > 2 and width not in (1, 2, 4, 8)):
        raise ValueError(f"{there} times in units of {unit} ns, where {m} belong")
    if m == 0:
        return np.zeros((1, 0), np.int64)
    heads = min(m, 2)
    rest_bytes = max(0, m - 2) * width
    columns = len(body) // (8 * heads + rest_bytes)
    if columns * m > most:
        raise ValueError(f"more times than {most} samples have")
    steps = np.empty((columns, m), np.int64)
    cut = columns * heads * 8
    steps[:, :heads] = np.frombuffer(body[:cut], "<i8").reshape(columns, heads)
    if m > 2:
        steps[:, 2:] = _unzigzag(_widen(body[cut:], width, columns * (m - 2))).reshape(columns, m - 2)
    return np.cumsum(np.cumsum(steps, axis=1), axis=1) * unit


def _decimals(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row [k, m]: the power of ten that makes it integers exactly (-1: none; with _SINGLE: once rounded to 32 bits), and
    those integers."""
    k, m = value.shape
    power, integers = np.full(k, -1, np.int64), np.zeros((k, m), np.int64)
    todo = np.flatnonzero(np.isfinite(value).all(axis=1) & (np.abs(value).max(axis=1, initial=0) < 2**52))
    single = (value[todo].astype(np.float32) == value[todo]).all(axis=1)
    for kind, rows, most in ((np.float32, todo[single], MOST_SINGLE), (np.float64, todo[~single], MOST_DECIMALS)):
        for e in range(most + 1):
            if not len(rows):
                break
            some = value[rows]
            scaled = np.rint(some * 10.0**e)
            back = scaled / 10.0**e
            exact = ((back.astype(kind) == some) & ~(np.signbit(some) & (some == 0))).all(axis=1)
            exact &= np.abs(scaled).max(axis=1, initial=0) < 2**53
            power[rows[exact]] = np.where((back[exact] == some[exact]).all(axis=1), e, e + _SINGLE)
            integers[rows[exact]] = scaled[exact]
            rows = rows[~exact]
    return power, integers


def pack_values(value: np.ndarray) -> list[Any]:
    """Value columns [k, m] as [powers, modes, first values, groups], and the lists where there are some: see the module's text."""
    m = value.shape[1]
    if m == 0:
        return [b"", b"", b"", []]
    power, integers = _decimals(value)
    raw = power < 0
    if raw.any():
        integers[raw] = value[raw].view(np.int64)
    low = integers.min(axis=1)
    plain = (integers - low[:, None]).view(np.uint64)
    first = np.where(raw, 0, low)
    plain[raw] = integers[raw].view(np.uint64)
    steps = _zigzag(np.diff(integers, axis=1, prepend=integers[:, :1]))
    as_steps = ~raw & (_bits(steps) < _bits(plain))
    columns = np.where(as_steps[:, None], steps, plain)
    first = np.where(as_steps, integers[:, 0], first)
    top = columns.max(axis=1, initial=0)
    width = np.select([top == 0, top < 2**8, top < 2**16, top < 2**32], [0, 1, 2, 4], 8)
    mode = width | np.where(as_steps, _STEPS, 0)
    lists = _list(integers, np.flatnonzero(width > 1), columns, first, mode)
    groups = [_planes(columns[mode & 15 == w], w) for w in (1, 2, 4, 8)]
    packed = [power.astype(np.int8).tobytes(), mode.astype(np.uint8).tobytes(), first.astype("<i8").tobytes(), groups]
    return [*packed, lists] if lists or (power >= _SINGLE).any() else packed


def _list(
    integers: np.ndarray, wide: np.ndarray, columns: np.ndarray, first: np.ndarray, mode: np.ndarray
) -> list[Any]:
    """Where a wide row has few different values: put their places into `columns`, the smallest into `first`. Returns how many
    each list has and the steps between them, [counts, width, bytes]; empty where there is no list."""
    order = np.argsort(integers[wide], axis=1, kind="stable")
    rising = np.take_along_axis(integers[wide], order, axis=1)
    new = rising[:, 1:] != rising[:, :-1]
    count = 1 + new.sum(axis=1)
    few = count <= min(MOST_LISTED, LISTED_SHARE * integers.shape[1])
    if not few.any():
        return []
    rows, order, rising, new = wide[few], order[few], rising[few], new[few]
    places = np.concatenate((np.zeros((len(rows), 1), np.uint64), np.cumsum(new, axis=1, dtype=np.uint64)), axis=1)
    at = np.empty_like(places)
    np.put_along_axis(at, order, places, axis=1)
    columns[rows], first[rows], mode[rows] = at, rising[:, 0], 1 | _LISTED
    steps = np.diff(rising, axis=1)[new].view(np.uint64)
    return [(count[few] - 1).astype(np.uint8).tobytes(), *_narrow(steps)]


def unpack_values(packed: list[Any], k: int, m: int) -> np.ndarray:
    powers, modes, firsts, groups, *lists = packed
    if m == 0:
        return np.zeros((k, 0))
    if not len(powers) == len(modes) == len(firsts) // 8 == k:
        raise ValueError(f"{len(powers)} columns of values for {k} tags")
    power, mode = np.frombuffer(powers, np.int8), np.frombuffer(modes, np.uint8)
    first = np.frombuffer(firsts, "<i8")
    width, as_steps = mode & 15, (mode & _STEPS).astype(bool)
    columns = np.zeros((k, m), np.uint64)
    for w, body in zip((1, 2, 4, 8), groups, strict=True):
        columns[width == w] = _widen(body, w, int((width == w).sum()) * m).reshape(-1, m)
    integers = columns.view(np.int64) + first[:, None]
    if lists and lists[0]:
        _unlist(lists[0], np.flatnonzero(mode & _LISTED), columns, first, integers)
    if as_steps.any():
        integers[as_steps] = np.cumsum(_unzigzag(columns[as_steps]), axis=1) + first[as_steps, None]
    value = integers.astype(np.float64)
    for e in distinct(power[power > 0]):
        value[power == e] /= 10.0 ** (int(e) % _SINGLE)
    single = power >= _SINGLE
    value[single] = value[single].astype(np.float32)
    value[power < 0] = integers[power < 0].view(np.float64)
    return value


def _unlist(lists: list[Any], rows: np.ndarray, columns: np.ndarray, first: np.ndarray, integers: np.ndarray) -> None:
    """Put the values of these rows in place of their places. Raises ValueError or IndexError where they are not in the lists."""
    counts, width, body = lists
    count = np.frombuffer(counts, np.uint8).astype(np.int64)
    if len(count) != len(rows) or width not in (1, 2, 4, 8) or len(body) != width * int(count.sum()):
        raise ValueError(f"{len(count)} lists for {len(rows)} columns")
    start = np.concatenate(([0], np.cumsum(count + 1)))
    steps = np.zeros(int(start[-1]), np.int64)
    inner = np.ones(len(steps), bool)
    inner[start[:-1]] = False
    steps[inner] = _widen(body, width, int(count.sum())).view(np.int64)
    known = np.cumsum(steps)
    if (columns[rows] > count[:, None].astype(np.uint64)).any():
        raise IndexError("a place past the end of its list")
    at = start[:-1, None] + columns[rows].astype(np.int64)
    integers[rows] = known[at] - known[start[:-1], None] + first[rows, None]


def _bits(columns: np.ndarray) -> np.ndarray:
    """About how many bits each row needs: the sum of log2(1 + x)."""
    return np.log2(columns.astype(np.float32) + 1).sum(axis=1)


def _zigzag(x: np.ndarray) -> np.ndarray:
    return ((x << 1) ^ (x >> 63)).view(np.uint64)


def _unzigzag(x: np.ndarray) -> np.ndarray:
    return (x >> np.uint64(1)).view(np.int64) ^ -((x & np.uint64(1)).view(np.int64))


def _narrow(x: np.ndarray) -> tuple[int, bytes]:
    top = int(x.max(initial=0))
    width = 1 if top < 2**8 else 2 if top < 2**16 else 4 if top < 2**32 else 8
    return width, _planes(x, width)


def _planes(x: np.ndarray, width: int) -> bytes:
    """Integers in `width` bytes each, all lowest bytes first, then the next plane."""
    flat = x.astype(f"<u{width}").ravel()
    return flat.view(np.uint8).reshape(-1, width).T.tobytes() if width > 1 else flat.tobytes()


def _widen(body: bytes, width: int, n: int) -> np.ndarray:
    """Back from `_planes`: uint64[n]. Raises ValueError where the bytes are not as many."""
    planes = np.frombuffer(body, np.uint8).reshape(width, n)
    return np.ascontiguousarray(planes.T).view(f"<u{width}").ravel().astype(np.uint64)
