"""A network camera: rendered parts as MJPEG over HTTP, on a real socket."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import cv2
import numpy as np

from edge import log

from .driver import CameraConfig
from .parts import render
from .sources import truth, wishes

FRAMES_A_SECOND = 10
_HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\nCache-Control: no-store\r\n\r\n"


class CameraSim:
    """`set("trigger", k)` puts part number k before the lens. Query of the url: `ng` is the share of parts with a defect."""

    def __init__(self, name: str, config: CameraConfig) -> None:
        self.name = name
        parts = urlsplit(config.url)
        self.host, self.port, self._served = parts.hostname or "", parts.port or 80, parts.scheme == "http"
        self.seed, self.ng = wishes(parts.query) if self._served else (1, 0.2)
        self.part = 1
        self.frozen = False  # the same picture again and again
        self.silent = False  # connected, and nothing comes for as long
        self._rendered: tuple[int, np.ndarray] = (-1, np.zeros(0, np.uint8))
        self._server: asyncio.Server | None = None
        self._watching: set[asyncio.StreamWriter] = set()
        self._rng = np.random.default_rng(1)

    def set(self, tag: str, value: float) -> None:
        self.part = int(value)

    async def start(self) -> None:
        """Listen; port 0 picks a free one. Other addresses than http are not ours to serve."""
        if not self._served:
            return
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        log.info("%s: simulated camera on http://%s:%d", self.name, self.host, self.port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in self._watching:
                writer.transport.abort()
            self._server = None

    def _picture(self) -> bytes:
        if self._rendered[0] != self.part:
            image = render(self.seed * 1_000_003 + self.part, truth(self.part, self.seed, self.ng))
            self._rendered = (self.part, image)
        image = self._rendered[1]
        if not self.frozen:
            image = cv2.add(image, self._rng.integers(0, 4, image.shape, np.uint8))
        return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._watching.add(writer)
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(_HEAD)
            while not (reader.at_eof() or writer.is_closing()):
                if not self.silent:
                    body = self._picture()
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
                    writer.write(head.encode() + body + b"\r\n")
                    await writer.drain()
                await asyncio.sleep(1 / FRAMES_A_SECOND)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._watching.discard(writer)
            writer.close()
