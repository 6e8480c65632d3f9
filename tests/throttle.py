"""A line of so many bits a second between a device and what it talks to: real sockets, one queue each way for all connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket

QUEUE = 0.25  # seconds of the line that it holds before it lets the sender wait


class Way:
    """One direction. What is carried is counted."""

    def __init__(self, rate: float, delay: float) -> None:
        self.rate, self._delay, self.carried = rate, delay, 0
        self._free = 0.0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1400):
                self._free = max(self._free, loop.time()) + (len(piece) + 60) / self.rate  # and its headers
                self.carried += len(piece) + 60
                loop.call_at(self._free + self._delay, self._out, writer, piece)
                if (ahead := self._free - loop.time()) > QUEUE:
                    await asyncio.sleep(ahead - QUEUE)
        loop.call_at(max(self._free, loop.time()) + self._delay + 0.01, writer.close)

    @staticmethod
    def _out(writer: asyncio.StreamWriter, piece: bytes) -> None:
        if not writer.is_closing():
            writer.write(piece)


class Throttle:
    """Listens on `port` and hands on to the port `target`, both at 127.0.0.1: `bits` a second and `delay` seconds each way."""

    def __init__(self, target: int, bits: float, delay: float) -> None:
        self._target = target
        self.up, self.down = Way(bits / 8, delay), Way(bits / 8, delay)
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Throttle:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # what waits, waits at the sender
        listener.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._serve, sock=listener, limit=4096)
        self.port = int(listener.getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        while self._open:
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target, limit=4096)
        except OSError:
            writer.close()
            return
        both = {writer, far_writer}
        self._open |= both
        await asyncio.gather(self.up.carry(reader, far_writer), self.down.carry(far_reader, writer))
        self._open -= both  # each of them says by an end or an error that it is over
