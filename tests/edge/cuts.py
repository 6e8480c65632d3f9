"""Every way in which a power cut may leave a database: what SQLite wrote is recorded, and played up to each write again.

What was synced is on the disk. Of what was not, all of it is there, or none, or all but the last sector of the last write.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw

SECTOR = 512
Files = dict[str, bytearray]
Step = tuple[str, str, int, bytes]  # what, file, offset or size, bytes


class _File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], steps: list[Step]) -> None:
        super().__init__("", name, flags)
        self._name = os.path.basename(name.filename() if isinstance(name, apsw.URIFilename) else name or "")
        self._steps = steps

    def xWrite(self, data: Any, offset: int) -> None:
        self._steps.append(("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        self._steps.append(("truncate", self._name, size, b""))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        self._steps.append(("sync", self._name, 0, b""))
        super().xSync(flags)


class _Recorder(apsw.VFS):
    def __init__(self, steps: list[Step]) -> None:
        super().__init__("cuts", "")
        self._steps = steps

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        return _File(name, flags, self._steps)

    def xDelete(self, name: str, sync: bool) -> None:
        self._steps.append(("delete", os.path.basename(name), 0, b""))
        super().xDelete(name, sync)


def recorded(path: Path, work: Callable[[apsw.Connection], None]) -> list[Step]:
    """What `work` does to the database at `path`; the connection is closed at its end."""
    steps: list[Step] = []
    recorder = _Recorder(steps)
    db = apsw.Connection(str(path), vfs="cuts")
    try:
        work(db)
    finally:
        db.close()
        recorder.unregister()
    return steps


def _apply(files: Files, step: Step) -> None:
    what, name, at, data = step
    if what == "delete":
        files.pop(name, None)
        return
    file = files.setdefault(name, bytearray())
    if what == "truncate":
        del file[at:]
    elif what == "write":
        file.extend(bytes(max(0, at - len(file))))
        file[at : at + len(data)] = data


def images(before: dict[str, bytes], steps: list[Step]) -> Iterator[Files]:
    """The files after a cut behind each step."""
    for n in range(len(steps) + 1):
        now: Files = {name: bytearray(content) for name, content in before.items()}
        synced: Files = {name: bytearray(content) for name, content in before.items()}
        waiting: dict[str, list[Step]] = {}
        for step in steps[:n]:
            _apply(now, step)
            if step[0] == "sync":
                for one in waiting.pop(step[1], []):
                    _apply(synced, one)
            elif step[0] == "delete":
                waiting.pop(step[1], None)
                _apply(synced, step)
            else:
                waiting.setdefault(step[1], []).append(step)
        yield now
        if any(waiting.values()):
            yield synced
            what, name, at, data = steps[n - 1]
            if what == "write" and len(data) > SECTOR:
                torn = {other: bytearray(content) for other, content in now.items()}
                torn[name][at + len(data) - SECTOR : at + len(data)] = bytes(SECTOR)
                yield torn
