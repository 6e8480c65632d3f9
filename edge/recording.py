"""A recording of wire frames: what went over one connection, written on site and served again in the office.

A text file: a header, one line per frame (`[ns UTC, "out" or "in", hex]`), and an end with the number of frames and the SHA-256
of all before it. A file without its end, or with another sum, is refused: what it plays would not be what was there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from .errors import ConfigFault

KIND, VERSION = "lineside wire recording", 1
LARGEST = 512_000_000  # bytes
LONGEST_LINE = 20_000


class WireFrame(NamedTuple):
    """Bytes on the wire at `ts` (ns UTC); `way` is "out" (asked by us) or "in"."""

    ts: int
    way: str
    data: bytes


@dataclass
class Recording:
    """`about` is the header: driver, scheme, device, connection; `missed` frames could not be kept up with."""

    about: dict[str, Any]
    frames: list[WireFrame] = field(default_factory=list)
    missed: int = 0


class RecordingFile:
    """Writes a recording of `size` bytes so far; `close` gives it its end."""

    def __init__(self, out: BinaryIO, about: dict[str, Any]) -> None:
        self._out, self._sum = out, hashlib.sha256()
        self.frames = self.missed = self.size = 0
        self._line({"kind": KIND, "version": VERSION, **about})

    def _line(self, row: Any) -> None:
        line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self._sum.update(line)
        self.size += self._out.write(line)

    def add(self, frames: Iterable[WireFrame], missed: int = 0) -> None:
        if missed:
            self.missed += missed
            self._line({"missed": missed})
        for frame in frames:
            self.frames += 1
            self._line([frame.ts, frame.way, frame.data.hex()])
        self._out.flush()

    def close(self) -> None:
        end = {"frames": self.frames, "missed": self.missed, "sha256": self._sum.hexdigest()}
        self._out.write(json.dumps(end, separators=(",", ":")).encode() + b"\n")
        self._out.flush()


def read_recording(path: Path) -> Recording:
    """Raises ConfigFault, with the line, for a file that is none, is damaged, or has no end."""
    found: Recording | None = None
    total, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number, size = number + 1, size + len(line)
            row = _row(path, number, line)
            if found is None:
                found = _begun(path, row)
            elif isinstance(row, dict) and "sha256" in row:
                _ended(path, number, row, found, total.hexdigest(), file.read(1))
                return found
            elif isinstance(row, dict):
                found.missed += _whole(path, number, row.get("missed"))
            else:
                found.frames.append(_frame(path, number, row))
            if size > LARGEST:
                raise ConfigFault(f"{path}: more than {LARGEST // 10**6} MB", hint="record for a shorter time")
            total.update(line)
    if found is None:
        raise ConfigFault(f"{path}: is empty", hint="`lineside record` writes recordings")
    raise ConfigFault(
        f"{path}: has no end after {len(found.frames)} frames: it was cut off", hint="copy it anew, or record again"
    )


def _row(path: Path, number: int, line: bytes) -> Any:
    try:
        if len(line) > LONGEST_LINE:
            raise ValueError
        return json.loads(line)
    except (ValueError, RecursionError):
        if number == 1:
            raise ConfigFault(f"{path}: is no recording", hint="`lineside record` writes recordings") from None
        raise ConfigFault(f"{path}:{number}: is damaged", hint="copy it anew, or record again") from None


def _begun(path: Path, row: Any) -> Recording:
    if not isinstance(row, dict) or row.get("kind") != KIND:
        raise ConfigFault(f"{path}: is no recording", hint="`lineside record` writes recordings")
    if row.get("version") != VERSION:
        raise ConfigFault(f"{path}: was written by a newer lineside", hint="update this one")
    return Recording({key: value for key, value in row.items() if key not in ("kind", "version")})


def _frame(path: Path, number: int, row: Any) -> WireFrame:
    try:
        ts, way, data = row
        frame = WireFrame(_whole(path, number, ts), way, bytes.fromhex(data))
        if way not in ("out", "in"):
            raise ValueError
        return frame
    except (ValueError, TypeError):
        raise ConfigFault(f"{path}:{number}: is damaged", hint="copy it anew, or record again") from None


def _whole(path: Path, number: int, value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ConfigFault(f"{path}:{number}: is damaged", hint="copy it anew, or record again")
    return value


def _ended(path: Path, number: int, row: dict[str, Any], found: Recording, total: str, more: bytes) -> None:
    if row["sha256"] != total or row.get("frames") != len(found.frames) or more:
        what = "something stands after its end" if more else "what stands before its end was changed"
        raise ConfigFault(f"{path}:{number}: {what}", hint="copy it anew, or record again")
