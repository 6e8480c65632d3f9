"""The checksum of a row of the journal: over its body and all that stands beside it, so that a bit that flips anywhere is seen.

Rows of earlier releases have a sum of their body alone (`BODIES`), or none; they are taken as they are.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

HEADS: dict[str, tuple[str, ...]] = {
    "block": ("stream", "seq", "t0", "t1", "n", "written"),
    "tail": ("stream", "n"),
    "event": ("seq", "ts", "kind", "key", "written"),
    "text": ("seq", "tag"),
    "picture": ("seq", "digest", "media", "ts"),
    "tag": ("id", "name", "type", "unit", "labels"),
    "snapshot": ("name",),
    "cursor": ("reader", "stream", "watermark", "ranges"),
    "stream": ("name", "seq"),
    "meta": ("key", "value"),
}
BY_NAME = ("meta", "stream", "cursor", "snapshot")  # small tables without a row number
BODIES = ("block", "tail", "event", "text")  # had a sum of the body alone
LARGE = 2**16  # bytes of a body beside which no bit is looked for: each of hundreds of tries goes over all of it


def of(head: Sequence[Any], body: bytes = b"") -> int:
    """`head` in the order of HEADS."""
    return zlib.crc32(body, zlib.crc32(repr(tuple(head)).encode(errors="replace")))


def sound(table: str, crc: Any, head: Sequence[Any], body: Any = b"") -> bool:
    """Whether a row is what was written."""
    if not isinstance(body, bytes):
        return False
    if table in BODIES:
        return bool(crc == of(head, body) or crc == zlib.crc32(body))
    return crc is None or bool(crc == of(head, body))


def sound_row(table: str, row: Mapping[str, Any]) -> bool:
    """The same, by the names of its columns."""
    head = [row[name] for name in HEADS[table]]
    return sound(table, row.get("crc"), head, row.get("body", b""))


def righted(table: str, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row with the one bit put right that makes its sum fit; None where no single bit of its sum does, or of its head beside a
    body that is not LARGE."""
    head, body, crc = [row[name] for name in HEADS[table]], row.get("body", b""), row.get("crc")
    if not isinstance(crc, int) or not isinstance(body, bytes):
        return None
    if (there := of(head, body)) ^ crc and ((there ^ crc) & ((there ^ crc) - 1)) == 0:
        return {**row, "crc": there}
    if len(body) > LARGE:
        return None
    for place, name in enumerate(HEADS[table]):
        for other in _flipped(head[place]):
            if of([*head[:place], other, *head[place + 1 :]], body) == crc:
                return {**row, name: other}
    return None


def _flipped(value: Any) -> Iterator[Any]:
    """A number or a text with one bit the other way."""
    if isinstance(value, int):
        yield from (value ^ (1 << bit) for bit in range(63))
    elif isinstance(value, str):
        plain = value.encode()
        for place in range(8 * len(plain)):
            changed = bytearray(plain)
            changed[place // 8] ^= 1 << place % 8
            try:
                yield changed.decode()
            except UnicodeDecodeError:
                continue
