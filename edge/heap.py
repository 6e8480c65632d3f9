"""Free memory goes back to the system. What needs the C library of GNU does nothing with another."""

from __future__ import annotations

import ctypes

_LIBRARY = ctypes.CDLL(None)
_ARENA_MAX = -8  # malloc.h


def one() -> None:
    """All threads share one heap (mallopt(3)): each of their own keeps what its largest block took. Before any thread starts."""
    if hasattr(_LIBRARY, "mallopt"):
        _LIBRARY.mallopt(_ARENA_MAX, 1)


def trim() -> None:
    """Give back what is free inside the heap (malloc_trim(3)); takes a millisecond, and up to 20 where a hundred MB
    are free in pieces; meanwhile nobody gets memory."""
    if hasattr(_LIBRARY, "malloc_trim"):
        _LIBRARY.malloc_trim(0)
