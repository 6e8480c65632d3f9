"""Where pictures come from. Each source fills a slot when asked; nothing here works on the event loop."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from edge import DeviceLost, log

from .pairs import PairsOfPictures
from .stream import Stream

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


class Shots(Protocol):
    """`open()` gives the slots uint8[slots, h, w, 3]; `take(slot)` fills one and gives (time ns UTC, checksum).
    `about` is what is known of the camera since then; `ended()` returns when no more can come."""

    @property
    def about(self) -> Mapping[str, str | float]: ...

    async def open(self) -> np.ndarray: ...

    async def take(self, slot: int, part: int) -> tuple[int, int]: ...

    async def ended(self) -> None: ...

    async def close(self) -> None: ...


class Pictures:
    """The pictures of a folder (or one picture), in the order of their names, over and over. A file that is no picture, or
    one of another size than the first, is said once and left out."""

    def __init__(self, path: Path, slots: int) -> None:
        self._files = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES) if path.is_dir() else [path]
        self._path, self._slots, self._shown = path, slots, 0
        self.about: Mapping[str, str | float] = {}

    async def open(self) -> np.ndarray:
        image = await asyncio.to_thread(self._next, None)
        self._files = [*self._files[-1:], *self._files[:-1]]
        self._shared = np.zeros((self._slots, *image.shape), np.uint8)
        return self._shared

    async def take(self, slot: int, part: int) -> tuple[int, int]:
        return await asyncio.to_thread(self._fill, slot)

    def _fill(self, slot: int) -> tuple[int, int]:
        import time

        self._shared[slot] = self._next(self._shared.shape[1:])
        self._shown += 1
        return time.time_ns() // 1000 * 1000, self._shown

    def _next(self, shape: tuple[int, ...] | None) -> np.ndarray:
        while self._files:
            path = self._files.pop(0)
            image = _read(path)
            if image is not None and shape in (None, image.shape):
                self._files.append(path)
                self.about = {"file": path.name}
                return image
            log.warning("%s is %s: left out", path, "no picture" if image is None else "of another size than the first")
        raise DeviceLost(f"{self._path} holds no pictures")

    async def ended(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        return None


class Pattern:
    """Rendered parts, to try a site without a camera. A share `ng` of the part numbers has a defect."""

    def __init__(self, query: str, slots: int) -> None:
        self._seed, self._ng = wishes(query)
        self.about: Mapping[str, str | float] = {"model": "rendered"}
        self._slots, self._shown = slots, 0

    async def open(self) -> np.ndarray:
        from . import parts

        self._shared = np.zeros((self._slots, parts.HEIGHT, parts.WIDTH, 3), np.uint8)
        return self._shared

    async def take(self, slot: int, part: int) -> tuple[int, int]:
        self._shown += 1
        return await asyncio.to_thread(self._fill, slot, part or self._shown)

    def _fill(self, slot: int, part: int) -> tuple[int, int]:
        import time

        from . import parts

        self._shared[slot] = parts.render(self._seed * 1_000_003 + part, truth(part, self._seed, self._ng))
        return time.time_ns() // 1000 * 1000, zlib.crc32(self._shared[slot, ::16].tobytes())

    async def ended(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        return None


class CarPattern:
    """A rendered car whose lamp program begins with the first picture of each part; `model` is sedan or suv."""

    def __init__(self, query: str, slots: int) -> None:
        self._model, self._slots, self._part, self._began = car_wishes(query), slots, -1, 0.0
        self.about: Mapping[str, str | float] = {"model": "rendered"}

    async def open(self) -> np.ndarray:
        from . import car

        self._shared = np.zeros((self._slots, car.HEIGHT, car.WIDTH, 3), np.uint8)
        return self._shared

    async def take(self, slot: int, part: int) -> tuple[int, int]:
        now = asyncio.get_running_loop().time()
        if part != self._part:
            self._part, self._began = part, now
        return await asyncio.to_thread(self._fill, slot, part, now - self._began)

    def _fill(self, slot: int, part: int, t: float) -> tuple[int, int]:
        import time

        from . import car

        self._shared[slot] = car.render(self._model, t, part)
        return time.time_ns() // 1000 * 1000, zlib.crc32(self._shared[slot, ::16].tobytes())

    async def ended(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        return None


def car_wishes(query: str) -> str:
    """The `model` of a url with a rendered car. Raises ValueError."""
    from .car import MODELS

    model = dict(parse_qsl(query, keep_blank_values=True)).get("model", "sedan")
    if model not in MODELS:
        raise ValueError(f"no car is called {model!r}; write model={' or model='.join(MODELS)}")
    return model


def truth(part: int, seed: int = 1, ng: float = 0.2) -> str:
    """The defect that part number `part` has, empty for a good one; the same for every asker."""
    from .parts import DEFECTS

    rng = np.random.default_rng([seed, part, 3])
    return str(rng.choice(DEFECTS)) if rng.random() < ng else ""


def source_of(url: str, slots: int, timeout: float, folder: Path = Path()) -> Shots:
    """The source behind a url that the configuration accepted; a path in it is taken from `folder`."""
    parts = urlsplit(url)
    if parts.scheme == "pattern" and parts.path == "car":
        return CarPattern(parts.query, slots)
    if parts.scheme == "pattern":
        return Pattern(parts.query, slots)
    path = folder / parts.path
    if parts.scheme == "pairs":
        seed, ng = wishes(parts.query, ng=1.0)
        return PairsOfPictures(path, partial(truth, seed=seed, ng=ng), slots)
    if parts.scheme == "folder" or (parts.scheme == "file" and path.suffix.lower() in PICTURES):
        return Pictures(path, slots)
    if parts.scheme == "file":
        return Stream(str(path), slots, timeout, is_file=True)
    device = Path(parts.path) if parts.scheme == "v4l2" else None
    return Stream(url, slots, timeout, is_file=False, device=device)


DRAWN = {"parts": ("ng", "seed"), "car": ("model",)}  # patterns, and what may be asked of each


def asked(scheme: str, path: str, query: str) -> None:
    """Raises ValueError for a `pattern:` that nobody draws, and for what is asked of it or of `pairs:` and nobody heeds."""
    if scheme == "pattern" and path not in DRAWN:
        raise ValueError(f"no pattern is called {path!r}; write {' or '.join(f'pattern:{name}' for name in DRAWN)}")
    known = DRAWN[path] if scheme == "pattern" else DRAWN["parts"]
    for name, _ in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ValueError(f"{query!r} cannot be rendered: {name!r} is unknown; there are {', '.join(known)}")


def wishes(query: str, ng: float = 0.2) -> tuple[int, float]:
    """`seed` and `ng` of a url whose parts are made up. Raises ValueError."""
    options = dict(parse_qsl(query, keep_blank_values=True))
    try:
        seed, ng = int(options.get("seed", "1")), float(options.get("ng", ng))
    except ValueError:
        seed, ng = -1, 0.0
    if seed < 0 or not 0 <= ng <= 1:
        raise ValueError(f"{query!r} cannot be rendered; write ng=0.2 (a share, 0 to 1) and seed=1 (a whole number)")
    return seed, ng


def _read(path: Path) -> np.ndarray | None:
    """None for what is no picture, or more than OpenCV takes."""
    import cv2

    try:
        return cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
