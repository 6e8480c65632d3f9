"""A disk with faults: every operation on a database of this process is asked about first, and may be refused."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import apsw

Ask = Callable[[str, str, int, int], None]  # what, file, offset, bytes; raises what the disk answers


class _File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], ask: Ask) -> None:
        super().__init__("unix", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        self._name, self._ask = os.path.basename(path), ask

    def xRead(self, amount: int, offset: int) -> bytes:
        self._ask("read", self._name, offset, amount)
        return super().xRead(amount, offset)

    def xWrite(self, data: Any, offset: int) -> None:
        self._ask("write", self._name, offset, len(data))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        self._ask("truncate", self._name, size, 0)
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        self._ask("sync", self._name, 0, 0)
        super().xSync(flags)


class _Files(apsw.VFS):
    def __init__(self, ask: Ask) -> None:
        super().__init__("faulty", "unix", makedefault=True)
        self._ask = ask

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        return _File(name, flags, self._ask)


@contextlib.contextmanager
def disk(ask: Ask) -> Iterator[None]:
    """As long as it lasts, databases are opened on it. Close them within."""
    files = _Files(ask)
    try:
        yield
    finally:
        files.unregister()


def full() -> apsw.Error:
    return _coded(apsw.FullError("no space"), apsw.SQLITE_FULL)


def broken(code: int) -> apsw.Error:
    return _coded(apsw.IOError("the disk reports an error"), code)


def _coded(error: apsw.Error, code: int) -> apsw.Error:
    error.extendedresult = code
    return error
