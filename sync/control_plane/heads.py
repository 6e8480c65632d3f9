"""HTTP as the plane listens to it: parsed in C, and no request is read beyond what one may be, who or whatever sends it."""

from __future__ import annotations

import asyncio.sslproto
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .. import wire

MOST_HEAD = 64 * 1024  # bytes of a request's line and headers
MOST_REQUEST = wire.MOST_PICTURE + 2**20

asyncio.sslproto.SSLProtocol.max_size = (
    32 * 1024
)  # bytes of each connection; asyncio's own 256 KB are 2.6 GB for 10,000 devices


class Bounded(HttpToolsProtocol):
    """The parser keeps headers of any length, before anybody has said who asks: here the connection ends."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._read, self._most = 0, MOST_HEAD

    def data_received(self, data: bytes) -> None:
        self._read += len(data)
        if self._read > self._most:
            self.transport.abort()
        elif not self.transport.is_closing():
            super().data_received(data)

    def on_headers_complete(self) -> None:
        self._read, self._most = 0, MOST_REQUEST
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._read, self._most = 0, MOST_HEAD
        super().on_message_complete()
