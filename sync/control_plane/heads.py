"""HTTP as the plane listens to it: parsed in C, and no request is read beyond what one may be, who or whatever sends it."""

from __future__ import annotations

import asyncio
import asyncio.sslproto
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .. import wire

MOST_HEAD = 64 * 1024  # bytes of a request's line and headers
SHOWN = (
    "lineside.certificate"  # in the scope of a request: the certificate (DER) that its connection has shown, or None
)
LONGEST_HEAD = 30.0  # seconds until all of that is here
MOST_REQUEST = wire.MOST_PICTURE + 2**20

asyncio.sslproto.SSLProtocol.max_size = (
    32 * 1024
)  # bytes of each connection; asyncio's own 256 KB are 2.6 GB for 10,000 devices


class Bounded(HttpToolsProtocol):
    """The parser keeps headers of any length for any time, before anybody has said who asks: here the connection ends."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._read, self._most = 0, MOST_HEAD
        self._lacks_head = True
        self._ends: asyncio.TimerHandle | None = None
        self._shown: bytes | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        line = transport.get_extra_info("ssl_object")
        self._shown = line.getpeercert(binary_form=True) if line else None
        self._time_head()

    def _time_head(self) -> None:
        """Most heads come whole, and need no time of their own."""
        if self._lacks_head and self._ends is None:
            self._ends = asyncio.get_running_loop().call_later(LONGEST_HEAD, self.transport.abort)
        elif not self._lacks_head and self._ends is not None:
            self._ends.cancel()
            self._ends = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._lacks_head = False
        self._time_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        for at in range(0, len(data), MOST_HEAD):  # a head and the body behind it may come as one
            some = data[at : at + MOST_HEAD]
            self._read += len(some)
            if self._read > self._most:
                self.transport.abort()
            elif not self.transport.is_closing():
                super().data_received(some)
                self._time_head()

    def on_message_begin(self) -> None:
        self._lacks_head = True
        super().on_message_begin()
        scope: Any = self.scope
        scope[SHOWN] = self._shown

    def on_headers_complete(self) -> None:
        self._lacks_head = False
        self._read, self._most = 0, MOST_REQUEST
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._read, self._most = 0, MOST_HEAD
        super().on_message_complete()
