"""Rows of a database whose tree is broken: found in its leaf pages, wherever they lie (https://sqlite.org/fileformat2.html, 1.6).

A page of the tree names hundreds of pages with rows; where it is gone, those are still there. So are pages that are free and hold
rows of long ago: whoever asks takes only what has its checksum, and what nobody has said to be gone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = 4096
LEAF = 13  # of a table
MOST = 2**26  # bytes of a row
Row = list[Any]


def rows(path: Path) -> Iterator[Row]:
    """Every row of every table, its number in place of a NULL at its beginning. What cannot be read is passed over."""
    line = os.open(path, os.O_RDONLY)
    try:
        for number in range(1, os.fstat(line).st_size // PAGE + 1):
            page = _page(line, number)
            start = 100 if number == 1 else 0
            if not page or page[start] != LEAF:
                continue
            count = int.from_bytes(page[start + 3 : start + 5], "big")
            for i in range(min(count, PAGE // 4)):
                at = start + 8 + 2 * i
                with contextlib.suppress(ValueError, IndexError):
                    yield _row(line, page, int.from_bytes(page[at : at + 2], "big"))
    finally:
        os.close(line)


def _page(line: int, number: int) -> bytes:
    try:
        return os.pread(line, PAGE, (number - 1) * PAGE)
    except OSError:
        return b""


def _row(line: int, page: bytes, at: int) -> Row:
    size, at = _varint(page, at)
    number, at = _varint(page, at)
    if size > MOST:
        raise ValueError("no row is as long")
    here = _local(size)
    body = page[at : at + here]
    following = int.from_bytes(page[at + here : at + here + 4], "big")
    while len(body) < size:
        more = _page(line, following) if following else b""
        if len(more) < PAGE:
            raise ValueError("a page of it is not there")
        body += more[4 : 4 + size - len(body)]
        following = int.from_bytes(more[:4], "big")
    found = _values(body)
    return [number, *found[1:]] if found[0] is None else found


def _local(size: int) -> int:
    """Bytes of a row that lie on its leaf."""
    if size <= PAGE - 35:
        return size
    least = (PAGE - 12) * 32 // 255 - 23
    most = least + (size - least) % (PAGE - 4)
    return most if most <= PAGE - 35 else least


def _values(body: bytes) -> Row:
    end, at = _varint(body, 0)
    kinds = []
    while at < end:
        kind, at = _varint(body, at)
        kinds.append(kind)
    found: Row = []
    for kind in kinds:
        size = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)[kind] if kind < 10 else (kind - 12) // 2
        part = body[at : at + size]
        at += size
        if size < 0 or len(part) < size:
            raise ValueError("it is shorter than it says")
        if kind >= 12:
            found.append(part.decode() if kind % 2 else part)
        elif kind in (8, 9):
            found.append(kind - 8)
        else:
            found.append(int.from_bytes(part, "big", signed=True) if kind and kind < 7 else None)
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i in range(9):
        byte = data[at + i]
        if i == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 127
        if byte < 128:
            return value, at + i + 1
    raise ValueError("no number")
