"""What each block holds of each tag's time, noted once its hour is over: a question about a month decodes no samples of it.

A note is, per tag, its *runs*: stretches of samples of one kind (usable, or why not), each as (first time, last time, kind, widest
space between two of its samples), in ns. It follows from the block alone: what the tag's period is, is asked later. Runs are cut
where a sample is missing by the look of the others. Tags with equal runs share them.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgpack
import numpy as np
import zstandard

from edge import Batch, CodecFault, Quality, decode, decode_scans

VERSION = 1
SMALL = 512  # bytes that are not worth packing
USABLE = 0  # the kind of a sample that counts; every other kind is its quality
END = 2**62  # no time in ns UTC is beyond it
START, LAST, KIND, WIDEST = range(4)  # columns of runs
_KIND = np.arange(256, dtype=np.uint8)
_KIND[[Quality.GOOD, Quality.LATE]] = USABLE  # a late sample is history, and this is about history


def note(body: bytes) -> tuple[int, int, bytes]:
    """(first time, last time, packed runs) of a block. Raises CodecFault, also where it has no sample at a possible time."""
    scans = decode_scans(body)
    return (_even(*scans) if scans else None) or runs_of(decode("", body))


def _even(tag: np.ndarray, of: np.ndarray, ts: np.ndarray) -> tuple[int, int, bytes] | None:
    """Likewise of scans that are all there and good, as nearly every block is: one run a tag. None of others."""
    space = np.diff(ts)
    low, high = (f(axis=1, initial=edge) for f, edge in ((space.min, END), (space.max, 0)))
    first, last = int(ts.min()), int(ts.max())
    if (space <= 0).any() or first < 0 or last >= END or (high > low + low // 2).any():
        return None
    rows = np.stack([ts[:, 0], ts[:, -1], np.zeros_like(high), high], axis=1)
    return first, last, _packed((tag[of == c], rows[c : c + 1]) for c in range(len(ts)))


def runs_of(batch: Batch) -> tuple[int, int, bytes]:
    """Likewise of any samples."""
    tag, ts, kind = columns(batch)
    if not len(ts):
        raise CodecFault("no sample of it has a possible time")
    return int(ts.min()), int(ts.max()), _packed(_alike(*_runs(tag, ts, kind)))


def _packed(groups: Iterable[tuple[np.ndarray, np.ndarray]]) -> bytes:
    body = msgpack.packb([VERSION, [[t.astype("<i4").tobytes(), r.astype("<i8").tobytes()] for t, r in groups]])
    return b"\0" + body if len(body) < SMALL else b"\1" + zstandard.ZstdCompressor(level=1).compress(body)


def runs_in(body: bytes, tags: Iterable[int]) -> dict[int, np.ndarray]:
    """int64[r, 4] (see the module's text) of each of these tags that the block has."""
    out: dict[int, np.ndarray] = {}
    if body:
        packed = zstandard.ZstdDecompressor().decompress(body[1:]) if body[0] else body[1:]
        version, groups = msgpack.unpackb(packed)
        if version != VERSION:
            raise CodecFault(f"notes of version {version} are not known here (this is {VERSION})")
        for ids, rows in groups:
            held = np.frombuffer(ids, "<i4")
            out |= {tag: np.frombuffer(rows, "<i8").reshape(-1, 4) for tag in tags if tag in held}
    return out


def packed_parts(parts: np.ndarray) -> bytes:
    """Of a block that is made of others (see compact.py): int64[k, 3], the number, first and last time of each, by number."""
    steps = np.diff(parts, axis=0, prepend=np.zeros((1, 3), np.int64))
    return b"\1" + zstandard.ZstdCompressor(level=1).compress(steps.T.astype("<i8").tobytes())


def parts_in(body: bytes) -> np.ndarray:
    if body[:1] != b"\1":
        raise CodecFault("parts of another version")
    steps = np.frombuffer(zstandard.ZstdDecompressor().decompress(body[1:]), "<i8").reshape(3, -1)
    return np.cumsum(steps.T, axis=0)


def columns(batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(tag, time, kind) in the order of tag and time. Of several samples at one time one counts, see `rank`."""
    tag, ts, kind = batch.tag, batch.ts, _KIND[batch.quality]
    inside = (ts >= 0) & (ts < END)
    if not inside.all():
        tag, ts, kind = tag[inside], ts[inside], kind[inside]
    order = np.argsort(tag, kind="stable")
    t, s = tag[order], ts[order]
    if ((t[1:] == t[:-1]) & (s[1:] <= s[:-1])).any():
        order = np.lexsort((rank(kind), ts, tag))
        t, s = tag[order], ts[order]
        last = np.concatenate(((t[1:] != t[:-1]) | (s[1:] != s[:-1]), [True]))
        t, s, order = t[last], s[last], order[last]
    return t, s, kind[order]


def rank(kind: np.ndarray) -> np.ndarray:
    """What counts of several samples at one time: the highest."""
    return np.where(kind == USABLE, 255, kind)


def _runs(tag: np.ndarray, ts: np.ndarray, kind: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(tags[k], first run of each [k], runs[r, 4]) of columns in order."""
    head = np.concatenate(([True], tag[1:] != tag[:-1]))
    space = np.diff(ts, prepend=ts[0])
    space[head] = 0
    cut = head | _wide(space, head)
    cut[1:] |= kind[1:] != kind[:-1]
    at = np.flatnonzero(cut)
    widest = np.maximum.reduceat(np.where(cut, 0, space), at)
    last = np.concatenate((at[1:], [len(ts)])) - 1
    rows = np.stack([ts[at], ts[last], kind[at].astype(np.int64), widest], axis=1)
    heads = np.flatnonzero(head)
    return tag[heads], np.searchsorted(at, heads), rows


def _wide(space: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Where at least half a usual space of the tag is missing before a sample. Not in tags that are irregular anyway."""
    heads = np.flatnonzero(head)
    count = np.diff(heads, append=len(space))
    low = np.minimum.reduceat(np.where(head, END, space), heads)
    uneven = (count > 2) & (np.maximum.reduceat(space, heads) > low + low // 2)
    wide = np.zeros(len(space), bool)
    if not uneven.any():
        return wide
    owner = np.repeat(np.arange(len(heads)), count)
    mine = np.flatnonzero(uneven[owner])
    order = np.lexsort((space[mine], owner[mine]))  # the head's own 0 comes first
    begin = np.concatenate(([0], np.cumsum(count[uneven])[:-1]))
    usual = space[mine][order][begin + count[uneven] // 2]
    spread = np.repeat(usual + usual // 2, count[uneven])
    found = space[mine] > spread
    often = np.add.reduceat(found.astype(np.int64), begin) > 4 + count[uneven] // 4
    wide[mine] = found & ~np.repeat(often, count[uneven])
    return wide


def _alike(tags: np.ndarray, first: np.ndarray, rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Tags with the same runs, together."""
    if len(rows) == len(tags) and (rows == rows[0]).all():
        return [(tags, rows[:1])]
    edges = [*first.tolist(), len(rows)]
    groups: dict[bytes, list[int]] = {}
    for i in range(len(tags)):  # tags, not samples
        groups.setdefault(rows[edges[i] : edges[i + 1]].tobytes(), []).append(i)
    return [(tags[members], rows[edges[members[0]] : edges[members[0] + 1]]) for members in groups.values()]
