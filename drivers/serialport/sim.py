"""An instrument made from the same YAML as the driver that reads it: over TCP, or on a pseudo terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import string
import struct
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from edge import LinesideError, log

from .fields import TYPES, example, number
from .framing import Framer, octets
from .options import SerialConfig, SerialPoint

MOST = 4096  # bytes of orders held


class SerialSim:
    """`set(tag, value)` moves a tag; `get(tag)` shows what was written to it. Without `ask` it speaks every `timeout` / 4."""

    def __init__(self, name: str, config: SerialConfig) -> None:
        self.name, self.config = name, config
        self._values: dict[str, Any] = {tag: "" if p.type == "text" else 0.0 for tag, p in config.tags.items()}
        self._framer = Framer(config.frame, config.checksum)
        self._pause, self._frames = (config.timeout or 2.0) / 4, 0  # frames with a fast signal
        self._placed, self._asks = config.placed(), config.asks()
        self._orders = [(tag, _reading(point), _answer(point)) for tag, point in config.tags.items() if point.write]
        if config.match and not config.example:
            raise ValueError("nobody can tell from `match` what the device sends; write `example:`")
        parts = urlsplit(config.url)
        self.host, self.port = parts.hostname or "", parts.port or 0
        self._path = Path(parts.path) if parts.scheme == "serial" else None
        self._server: asyncio.Server | None = None
        self._open: dict[Callable[[bytes], None], bytearray] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: list[asyncio.BaseTransport] = []
        self._fds: list[int] = []

    def set(self, tag: str, value: float | str) -> None:
        self._values[tag] = value

    def get(self, tag: str) -> Any:
        return self._values[tag]

    # What it says

    def frame(self, ask: str = "") -> bytes:
        """The frame that answers a question now."""
        names = self._asks.get(ask) or list(self._placed)
        raw: dict[str, Any] = {
            name: v.encode().decode("latin-1")
            if isinstance(v := self._values[name], str)
            else self._placed[name].raw(v)
            for name in names
        }
        points = {name: self._placed[name] for name in names}
        if any(point.at is not None for point in points.values()):
            return self._stored(points, raw)
        if self.config.example:
            return self._framer.sealed(example(self.config.example, raw))
        cells = ["0"] * (1 + max(point.column or 0 for point in points.values()))
        for name, point in points.items():
            cells[point.column or 0] = raw[name] if point.type == "text" else f"{raw[name]:.6g}"
        return self._framer.sealed(octets(self.config.separator.join(cells)))

    def _stored(self, points: dict[str, SerialPoint], raw: dict[str, float]) -> bytes:
        how, check = self.config.frame, self.config.checksum
        behind = check.size + len(octets(check.mark)) if check else 0
        frame = bytearray((how.length - behind) if how.length else max(point.ends() for point in points.values()))
        frame[: len(how.start)] = octets(how.start)
        for name, point in points.items():
            if point.block:
                self._sampled(frame, point, raw[name])
                continue
            code = TYPES[point.type or "uint8"]
            value = raw[name] if code in "fd" else round(raw[name])
            try:
                struct.pack_into(("<" if point.order == "little" else ">") + code, frame, point.at or 0, value)
            except (struct.error, OverflowError):
                raise ValueError(f"{raw[name]:g} does not fit into {point.type}") from None
        return self._framer.sealed(bytes(frame[len(how.start) :]))

    def _sampled(self, frame: bytearray, point: SerialPoint, raw: float) -> None:
        """The next samples of a fast signal: what was set, and 50 Hz over it."""
        block, at = point.block, point.at or 0
        assert block
        kind = np.dtype(point.type).newbyteorder("<" if point.order == "little" else ">")
        n = block.count or (len(frame) - at) // kind.itemsize
        wave = raw + np.sin(100 * np.pi * (self._frames * n + np.arange(n)) / block.rate) / point.scale
        frame[at : at + n * kind.itemsize] = (wave if kind.kind == "f" else np.rint(wave)).astype(kind).tobytes()
        if block.number is not None:
            said = (self._frames % 256**block.number_size).to_bytes(block.number_size, point.order)
            frame[block.number : block.number + block.number_size] = said
        self._frames += 1
        self._pause = n / block.rate

    # What it hears

    def _heard(self, said: Callable[[bytes], None], data: bytes) -> None:
        """Answer every question and order that is complete; others stay without an answer."""
        held = self._open[said]
        held += data
        found = True
        while found:
            found = False
            for ask in self._asks:
                if (at := held.find(octets(ask))) >= 0:
                    del held[: at + len(octets(ask))]
                    said(self.frame(ask))
                    found = True
            for tag, reading, answer in self._orders:
                if match := reading.search(held):
                    point = self.config.tags[tag]
                    with contextlib.suppress(ValueError):
                        text = point.type == "text"
                        self._values[tag] = match[1].decode() if text else point.offset + point.scale * number(match[1])
                    del held[: match.end()]
                    if answer:
                        said(self._framer.sealed(answer))
                    found = True
        del held[:-MOST]

    # Where it stands

    async def start(self) -> None:
        """Listen, or put a pseudo terminal where the port would be; port 0 picks a free one."""
        if self._path is None:
            self._server = await asyncio.start_server(self._serve, self.host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]
            log.info("%s: simulated instrument on tcp://%s:%d", self.name, self.host, self.port)
        else:
            self._terminal(self._path)
            log.info("%s: simulated instrument on %s", self.name, self._path)
        if not self._asks:
            self._tasks.add(asyncio.ensure_future(self._speak()))

    def _terminal(self, path: Path) -> None:
        if path.exists() or path.is_symlink():
            raise LinesideError(f"{path} is there already", hint="to try the site, name a file that is not there")
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        self._fds = [ours, theirs]
        path.symlink_to(os.ttyname(theirs))

        def said(data: bytes) -> None:
            with contextlib.suppress(OSError):  # nobody reads, and its buffer is full
                os.write(ours, data)

        self._open[said] = bytearray()

        def heard() -> None:
            with contextlib.suppress(OSError):
                self._heard(said, os.read(ours, MOST))

        asyncio.get_running_loop().add_reader(ours, heard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer.write] = bytearray()
        self._ends.append(writer.transport)
        try:
            while data := await reader.read(MOST):
                self._heard(writer.write, data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self._open.pop(writer.write, None)
            self._ends.remove(writer.transport)
            writer.close()

    async def _speak(self) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time()
        while True:
            for said in list(self._open):
                said(self.frame())
            at = max(at + self._pause, loop.time() - 1)  # a fast signal keeps its pace, unless it is held up
            await asyncio.sleep(max(0.0, at - loop.time()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        if self._server is not None:
            self._server.close()
            self._server = None
        for end in list(self._ends):
            end.abort()  # type: ignore[attr-defined]
        for k, fd in enumerate(self._fds):
            if not k:
                asyncio.get_running_loop().remove_reader(fd)
            os.close(fd)
        if self._fds and self._path is not None:
            self._path.unlink(missing_ok=True)
        self._fds, self._open = [], {}


def _reading(point: SerialPoint) -> re.Pattern[bytes]:
    """What finds an order and its value among what came."""
    texts = sorted(point.writable.one_of if point.writable else (), key=len, reverse=True)
    value = b"|".join(re.escape(text.encode()) for text in texts) or rb"[ +-]*[\d.]+(?:e[+-]?\d+)?"
    parts = []
    for literal, name, _, _ in string.Formatter().parse(point.write):
        parts.append(re.escape(octets(literal)))
        if name is not None:
            parts.append(b"(" + value + b")")
    return re.compile(b"".join(parts))


def _answer(point: SerialPoint) -> bytes:
    """What confirms an order. Raises ValueError where that is more than a word."""
    if point.confirm and re.escape(point.confirm).replace("\\ ", " ") != point.confirm:
        raise ValueError(f"nobody can tell from `confirm: {point.confirm}` what the device says; write a plain word")
    return octets(point.confirm or "")
