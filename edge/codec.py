"""Batch and Event <-> bytes, lossless and versioned: encoded once here, decoded where a person looks.

A sample block is one version byte, then a zstd frame around a msgpack header and raw columns. The header is
[n, k, form, tags, time columns, value columns, quality]. Two forms:

* matrix: every scan holds the same k tags in the same order (what a poller sends). Columns run along time, one per tag;
  tags read in one request share one time column.
* ragged: anything else. Samples are sorted by tag (stable), with a count per tag.

How times and values become bytes is told in `columns`. In version 2 a column of values may be places in a list, or decimals of 32
bits; a block without such a column is still written as version 1, which an older plane reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np
import zstandard

from .batch import Batch
from .columns import pack_times, pack_values, unpack_times, unpack_values
from .errors import LinesideError
from .event import Event
from .memo import distinct
from .texts import LONGEST, clean

VERSIONS = (1, 2)
EVENT_VERSION = 1
MOST_BYTES = 64 * 2**20  # a block that claims more than this is refused before it is unpacked
MOST_EVENT = 2**20  # bytes of an event, likewise
MOST_SAMPLES, MOST_CELLS = 2**20, 2**23  # of a block; cells are those of its value matrix, filled up
CUT = 2**18  # samples of a block made here: also of pure noise it fits a message
SMALL = 4096  # samples that stay one block whatever they are: at most 2048 * 2049 cells
_LEVEL = 3


class CodecFault(LinesideError):
    """Bytes that are no block of a version known here."""


class NewerVersion(CodecFault):
    """Bytes of a version that is not known here: whole, maybe, and for another release to read."""


def pieces(batch: Batch) -> Iterator[Batch]:
    """A batch in parts that may each become a block. One with fast tags among slow ones is cut by how many samples each has,
    so that a column is at least half full; the order within a tag is kept."""
    for start in range(0, len(batch), CUT):
        part = batch.where(slice(start, start + CUT)) if len(batch) > CUT else batch
        if len(part) > SMALL and not _scan_width(part.tag):
            tags, at, counts = np.unique(part.tag, return_inverse=True, return_counts=True)
            if len(tags) * int(counts.max()) > 4 * len(part):
                octave = np.frexp(counts)[1]
                yield from (part.where((octave == one)[at]) for one in distinct(octave))
                continue
        yield part


def encode(batch: Batch, level: int = _LEVEL) -> bytes:
    """The block of one of the `pieces`; its order of samples within a tag is kept. 6 to 10 million samples a CPU-second."""
    n = len(batch)
    width = _scan_width(batch.tag)
    if width:
        shape = (n // width, width)
        header: list[Any] = [n, width, "m", batch.tag[:width].astype("<i4").tobytes()]
        ts, value, quality = (getattr(batch, c).reshape(shape).T for c in ("ts", "value", "quality"))
        shared = np.concatenate(([True], (ts[1:] != ts[:-1]).any(axis=1)))
        header.append([np.packbits(shared).tobytes(), *pack_times(ts[shared])])
    else:
        order = np.argsort(batch.tag, kind="stable")
        tags, counts = np.unique(batch.tag, return_counts=True)
        header = [n, len(tags), "r", tags.astype("<i4").tobytes() + counts.astype("<u4").tobytes()]
        ts, value, quality = batch.ts[order], batch.value[order], batch.quality[order]
        header.append(list(pack_times(ts.reshape(1, -1))))
        value = _padded(value, counts)
    header.append(packed := pack_values(np.ascontiguousarray(value)))
    header.append(b"" if not quality.any() else np.ascontiguousarray(quality).tobytes())
    version = VERSIONS[len(packed) > 4]
    return bytes([version]) + zstandard.ZstdCompressor(level=level).compress(msgpack.packb(header))


def decode(source: str, body: bytes) -> Batch:
    """The batch of a block. Raises CodecFault on anything that is not one."""
    header = _open(body, VERSIONS, max_array_len=16, max_map_len=0)
    try:
        n, k, form, tags, times, values, flags = header
        if not 0 <= n <= MOST_SAMPLES or not 0 <= k <= n:
            raise ValueError(f"it claims {n} samples of {k} tags")
        if len(tags) != (4 if form == "m" else 8) * k or (form == "m" and n % k):
            raise ValueError(f"its tags do not fit {n} samples of {k}")
        if form == "m":
            tag = np.tile(np.frombuffer(tags, "<i4"), n // k)
            shared = np.unpackbits(np.frombuffer(times[0], np.uint8), count=k).astype(bool)
            ts = unpack_times(times[1:], n // k, n)[np.cumsum(shared) - 1]
            value = unpack_values(values, k, n // k)
            quality = np.frombuffer(flags, np.uint8).reshape(k, -1) if flags else np.zeros((k, n // k), np.uint8)
            return Batch.of(source, tag, value.T.ravel(), ts.T.ravel(), quality.T.ravel())
        ids, counts = np.frombuffer(tags[: 4 * k], "<i4"), np.frombuffer(tags[4 * k :], "<u4")
        if int(counts.sum()) != n or k * int(counts.max(initial=0)) > MOST_CELLS:
            raise ValueError(f"its counts do not fit {n} samples")
        value = unpack_values(values, k, int(counts.max(initial=0)))
        value = value[np.arange(value.shape[1]) < counts[:, None]]
        quality = np.frombuffer(flags, np.uint8) if flags else np.zeros(n, np.uint8)
        return Batch.of(source, np.repeat(ids, counts), value, unpack_times(times, n, n)[0], quality)
    except (ValueError, TypeError, IndexError, KeyError, ArithmeticError, MemoryError) as error:
        raise CodecFault(f"damaged block: {error}") from None


def decode_scans(body: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(tag[k], which time column each has [k], times[c, m]) of a block of m whole scans that are all GOOD, without its values; None
    where it is another one, whole or not. Raises CodecFault."""
    header = _open(body, VERSIONS, max_array_len=16, max_map_len=0)
    try:
        n, k, form, tags, times, _, flags = header
        if form != "m" or flags or not 0 < k <= n <= MOST_SAMPLES or len(tags) != 4 * k or n % k:
            return None
        shared = np.unpackbits(np.frombuffer(times[0], np.uint8), count=k).astype(bool)
        ts, of = unpack_times(times[1:], n // k, n), np.cumsum(shared) - 1
        return (np.frombuffer(tags, "<i4"), of, ts) if of[0] >= 0 and of[-1] < len(ts) else None
    except (ValueError, TypeError, IndexError, KeyError, ArithmeticError, MemoryError) as error:
        raise CodecFault(f"damaged block: {error}") from None


def content(body: bytes, versions: tuple[int, ...] = VERSIONS, most: int = MOST_BYTES) -> bytes:
    """The version byte of a block or an event and what is packed behind it, which stays the same however well it is packed. Raises
    CodecFault."""
    if not body or body[0] not in versions:
        raise NewerVersion(f"block version {body[0] if body else 'none'} is not known here (up to {versions[-1]} are)")
    try:
        size = zstandard.frame_content_size(body[1:])
        if not 0 <= size <= most:
            raise CodecFault(f"block claims {size} bytes, at most {most} are taken")
        return body[:1] + zstandard.ZstdDecompressor().decompress(body[1:])
    except (zstandard.ZstdError, ValueError) as error:
        raise CodecFault(f"damaged block: {error}") from None


def _open(body: bytes, versions: tuple[int, ...], most: int = MOST_BYTES, **bounds: int) -> Any:
    try:
        whole = memoryview(content(body, versions, most))[1:]
        return msgpack.unpackb(whole, strict_map_key=False, **bounds)
    except (msgpack.UnpackException, ValueError) as error:
        raise CodecFault(f"damaged block: {error}") from None


def _scan_width(tag: np.ndarray) -> int:
    """k if the tags are the same k over and over, else 0."""
    n = len(tag)
    if n == 0:
        return 0
    again = np.flatnonzero(tag[1:] == tag[0])
    width = int(again[0]) + 1 if len(again) else n
    if n % width or (n > width and not np.array_equal(tag[width:], tag[:-width])):
        return 0
    return width if len(distinct(tag[:width])) == width else 0


def _padded(value: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Ragged columns as one matrix, each filled up with its own last value."""
    longest, start = int(counts.max(initial=0)), np.concatenate(([0], np.cumsum(counts)[:-1]))
    at = np.minimum(np.arange(longest), counts[:, None] - 1) + start[:, None]
    return value[at] if len(value) else np.zeros((0, 0))


def encode_event(event: Event) -> bytes:
    """The bytes of an event: version byte, then zstd around msgpack. Raises CodecFault if `data` holds what JSON could not, or
    a field is not what `Event` says."""
    fields = [event.id, event.ts, event.kind, event.key, event.state, event.severity, event.text]
    try:
        if not isinstance(event.ts, int) or not -(2**63) <= event.ts < 2**63:
            raise ValueError(f"its time {event.ts!r} is no int of 64 bits")
        if odd := [field for field in fields if field is not event.ts and not isinstance(field, str)]:
            raise TypeError(f"{odd[0]!r} is no text")
        body = msgpack.packb([*fields, dict(event.data), list(event.refs)])
    except (TypeError, ValueError, OverflowError) as error:
        raise CodecFault(f"event {event.kind} {event.key}: {error}") from None
    if len(body) > MOST_EVENT:
        raise CodecFault(f"event {event.kind} {event.key}: {len(body)} bytes, at most {MOST_EVENT} are taken")
    return bytes([EVENT_VERSION]) + zstandard.ZstdCompressor(level=_LEVEL).compress(body)


def decode_event(body: bytes) -> Event:
    """The event of its bytes. Raises CodecFault."""
    fields = _open(body, (EVENT_VERSION,), MOST_EVENT)
    try:
        number, ts, kind, key, state, severity, text, data, refs = fields
        if not isinstance(ts, int) or not isinstance(data, dict):
            raise ValueError("its time is no number or its data no map")
        if not all(isinstance(words, str) for words in (number, kind, key, state, severity, text)):
            raise ValueError("one of its fields is no text")
        return Event(kind, key, state, ts, severity, text, data, tuple(refs), number)
    except (ValueError, TypeError) as error:
        raise CodecFault(f"damaged event: {error}") from None


def encode_text(tag: int, text: str) -> bytes:
    """The bytes of one string of a text tag."""
    return msgpack.packb([tag, text])


def decode_text(body: bytes) -> tuple[int, str]:
    """(tag, string) of its bytes. Raises CodecFault."""
    try:
        tag, text = msgpack.unpackb(body, max_array_len=2, max_str_len=4 * LONGEST)
        if isinstance(tag, bool) or not isinstance(tag, int) or not 0 < tag < 2**31 or not isinstance(text, str):
            raise ValueError("a number of a tag and a string belong there")
        if len(text) > LONGEST:
            raise ValueError(f"{len(text)} characters, at most {LONGEST} are taken")
        return tag, clean(text)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CodecFault(f"damaged text: {error}") from None
