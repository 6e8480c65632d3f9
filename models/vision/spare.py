"""What one thread at a time may use, such as a network: kept warm for whichever thread comes next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Spare(Generic[T]):
    """There are as many as threads ever needed at once; `make()` makes one more, `ready` are there from the start."""

    def __init__(self, make: Callable[[], T], *ready: T) -> None:
        self._make, self._free = make, list(ready)

    @contextmanager
    def one(self) -> Iterator[T]:
        """One that no other thread has. Raises what `make` raises."""
        try:
            mine = self._free.pop()
        except IndexError:
            mine = self._make()
        try:
            yield mine
        finally:
            self._free.append(mine)
