"""Archives with damage."""

from __future__ import annotations

import zipfile
from pathlib import Path


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
