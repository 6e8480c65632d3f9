"""Pictures: pooled buffers that are given back, never copied on the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

NOTHING: Mapping[str, str | float] = MappingProxyType({})


class Frame:
    """One picture: `image` is uint8 or uint16 [h, w, c]; `part` the part number, or None where none is known; `about` what is
    known of the camera when it took it (`model`, `serial`, `exposure_us`, `gain` ...).

    Reference-counted: whoever keeps a frame beyond the call calls `hold()` and later `release()`; at zero the buffer
    returns to its pool. Touching `image` after that raises RuntimeError.
    """

    __slots__ = ("_count", "_image", "_lock", "_on_free", "about", "mono", "part", "quality", "seq", "source", "ts")

    def __init__(
        self,
        source: str,
        seq: int,
        ts: int,
        image: np.ndarray,
        part: int | None = None,
        quality: int = 0,
        on_free: Callable[[np.ndarray], None] | None = None,
        mono: int = 0,
        about: Mapping[str, str | float] = NOTHING,
    ) -> None:
        self.about = about
        self.source, self.seq, self.ts, self.part, self.quality, self.mono = source, seq, ts, part, quality, mono
        self._image: np.ndarray | None = image
        self._on_free = on_free
        self._count = 1
        self._lock = threading.Lock()

    @property
    def image(self) -> np.ndarray:
        if self._image is None:
            raise RuntimeError(f"frame {self.seq} of {self.source} was already released")
        return self._image

    def hold(self) -> Frame:
        """Keep the picture alive for one more user. Any thread."""
        with self._lock:
            if self._count == 0:
                raise RuntimeError(f"frame {self.seq} of {self.source} was already released")
            self._count += 1
        return self

    def release(self) -> None:
        """Give up one use. Any thread; one call too many raises RuntimeError."""
        with self._lock:
            if self._count == 0:
                raise RuntimeError(f"frame {self.seq} of {self.source} was released twice")
            self._count -= 1
            if self._count:
                return
            image, self._image = self._image, None
        if self._on_free is not None and image is not None:
            self._on_free(image)


class FramePool:
    """A few preallocated buffers of one shape. `take()` gives None when all are in use: the source then drops (a
    monitoring camera) or refuses the trigger (an inspection camera), and counts it."""

    def __init__(self, shape: tuple[int, ...], count: int = 4, dtype: type = np.uint8) -> None:
        self._free: list[np.ndarray] = [np.zeros(shape, dtype) for _ in range(count)]
        self._lock = threading.Lock()
        self.shape, self.count = shape, count

    def take(self) -> np.ndarray | None:
        with self._lock:
            return self._free.pop() if self._free else None

    def give(self, image: np.ndarray) -> None:
        with self._lock:
            self._free.append(image)

    def __len__(self) -> int:
        """Buffers free now."""
        return len(self._free)
