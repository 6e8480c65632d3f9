"""Archives and pictures with damage."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path


def huge() -> bytes:
    """A PNG that says it has 60,000 pixels a side."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    )


def spoilt(archive: Path, name: str) -> None:
    """Pack this archive anew, with bytes in the middle of one entry that no inflater takes."""
    with zipfile.ZipFile(archive) as packed:
        bodies = {entry: packed.read(entry) for entry in packed.namelist()}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry, body in bodies.items():
            packed.writestr(entry, body)
        found = packed.getinfo(name)
    whole = bytearray(archive.read_bytes())
    begin = found.header_offset + 30 + len(name)
    whole[begin : begin + 8] = b"\xff" * 8
    archive.write_bytes(whole)
