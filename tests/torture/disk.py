"""A disk that forgets what was not synced: an apsw VFS over real files, one `Disk` for each simulated machine.

Every write below a disk's folder goes to the real file and is remembered until its file is synced. When the power goes, any
part of what was not synced may be on the disk: none, all, some writes in any order, some of the sectors of a write.
A process that is killed loses nothing of it.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from traceback import print_exception
from typing import Any

import apsw

SECTOR = 512
DISKS: dict[str, Disk] = {}


@dataclass(slots=True)
class Image:
    """A file as it is after a power cut if none of `unsynced` was kept: (offset, bytes), or (size, None) for a truncation."""

    durable: bytearray
    unsynced: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.unsynced:
            _apply(self.durable, change)
        self.unsynced.clear()

    def after_cut(self, rng: random.Random) -> bytes:
        kept = bytearray(self.durable)
        share = rng.choice((0.0, 0.5, 1.0))
        prefix = rng.randint(0, len(self.unsynced)) if rng.random() < 0.5 else None
        for i, (at, data) in enumerate(self.unsynced):
            if not (i < prefix if prefix is not None else rng.random() < share):
                continue
            if data is None or rng.random() < 0.8:
                _apply(kept, (at, data))
                continue
            for start in range(0, len(data), SECTOR):
                if rng.random() < 0.5:
                    _apply(kept, (at + start, data[start : start + SECTOR]))
        return bytes(kept)


def _apply(content: bytearray, change: tuple[int, bytes | None]) -> None:
    at, data = change
    if data is None:
        del content[at:]
        return
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at : at + len(data)] = data


class Disk:
    """The SQLite files of one machine. `cut` and `stop` end the machine (`on_end` is told), `boot` gives the next one its files."""

    def __init__(self, folder: Path, rng: random.Random, on_end: Callable[[], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._rng, self._on_end = folder, rng, on_end
        self._images: dict[str, Image] = {}
        self.turn = 0  # of the machine: files opened in an earlier one are out of reach
        self.off = True
        self.power_lost = False
        self.full = False
        self.refuse = 0.0  # how likely an operation of the write-ahead log fails
        self.cut_after = 0  # operations until the power goes; 0: it stays
        DISKS[str(folder)] = self

    def boot(self) -> None:
        """Begin the next turn: new inodes, so that nothing of the old machine reaches them."""
        for path in sorted(p for p in self.folder.iterdir() if p.suffix not in (".lock", ".reserve")):
            if path.name.endswith("-shm"):
                path.unlink()
                continue
            image = self._images.get(str(path))
            content = path.read_bytes()
            if self.power_lost and image is not None:
                content = image.after_cut(self._rng)
                self._images[str(path)] = Image(bytearray(content))
            path.unlink()
            path.write_bytes(content)
        self.turn += 1
        self.off = self.power_lost = False
        self.cut_after = 0

    def stop(self) -> None:
        """The process is gone (kill -9), the files stay as they are."""
        if not self.off:
            self.off = True
            self._on_end()

    def cut(self) -> None:
        """The power goes: also under a machine that is stopped already."""
        self.power_lost = True
        self.stop()

    def replace(self, files: dict[str, bytes]) -> None:
        """Put other files in place of all (a backup, a new disk). For a machine that is off."""
        for path in self.folder.iterdir():
            path.unlink()
        self._images.clear()
        self.power_lost = False
        for name, content in files.items():
            (self.folder / name).write_bytes(content)

    def files(self) -> dict[str, bytes]:
        """A copy of all databases, taken between two transactions."""
        return {p.name: p.read_bytes() for p in self.folder.iterdir() if p.name.endswith((".db", ".db-wal"))}

    # What the files ask

    def image(self, path: str) -> Image:
        if path not in self._images:
            self._images[path] = Image(bytearray(Path(path).read_bytes()) if os.path.exists(path) else bytearray())
        return self._images[path]

    def forget(self, path: str) -> None:
        self._images.pop(path, None)

    def reached(self, turn: int) -> None:
        """Raises IOError for a machine that is off."""
        if self.off or turn != self.turn:
            raise apsw.IOError("this machine is off")

    def counted(self) -> bool:
        """One operation more; true at that in which the power goes."""
        if self.cut_after:
            self.cut_after -= 1
            return self.cut_after == 0
        return False

    def refused(self, path: str) -> bool:
        """Only the log: SQLite hides a fault of a checkpoint, apsw would show it as one of the commit before it."""
        return self.refuse > 0 and path.endswith("-wal") and self._rng.random() < self.refuse


class _File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], disk: Disk, path: str) -> None:
        super().__init__("unix", name, flags)
        self._disk, self._path, self._turn = disk, path, disk.turn
        self._image = disk.image(path)
        self._size = os.path.getsize(path) if os.path.exists(path) else 0

    def xWrite(self, data: bytes, offset: int) -> None:
        disk = self._disk
        disk.reached(self._turn)
        if disk.full and offset + len(data) > self._size and self._path.endswith("-wal"):
            raise apsw.FullError("the disk is full")
        if disk.refused(self._path):
            raise apsw.IOError("the disk reports an error")
        data = bytes(data)
        self._image.unsynced.append((offset, data))
        if disk.counted():
            disk.cut()
            raise apsw.IOError("the power is gone")
        self._size = max(self._size, offset + len(data))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        self._disk.reached(self._turn)
        self._image.unsynced.append((size, None))
        self._size = min(self._size, size)
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        disk = self._disk
        disk.reached(self._turn)
        if disk.counted():
            disk.cut()
            raise apsw.IOError("the power is gone")
        if self._image.unsynced and disk.refused(self._path):
            raise apsw.IOError("the disk reports an error")
        self._image.sync()


class _Files(apsw.VFS):
    def __init__(self) -> None:
        super().__init__("torture", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        disk = DISKS.get(os.path.dirname(path)) if path else None
        if disk is None:
            return apsw.VFSFile("unix", name, flags)
        disk.reached(disk.turn)
        return _File(name, flags, disk, path)

    def xDelete(self, path: str, sync_folder: bool) -> None:
        disk = DISKS.get(os.path.dirname(path))
        if disk is not None:
            disk.reached(disk.turn)
            disk.forget(path)
        super().xDelete(path, sync_folder)


_installed: list[_Files] = []


def install() -> None:
    """From now on every database of this process that lies on a `Disk` goes through it."""
    if not _installed:
        _installed.append(_Files())
        sys.unraisablehook = _unless_off
        sys.excepthook = lambda kind, error, trace: None if isinstance(error, apsw.IOError) else print_exception(error)


def _unless_off(told: Any) -> None:
    """A connection that nobody holds any longer ends with its machine; apsw would say so at length."""
    if not isinstance(told.exc_value, apsw.IOError):
        sys.__unraisablehook__(told)
