"""A line between a client and a broker that can be cut, or fall silent one way."""

from __future__ import annotations

import asyncio
import contextlib


class Relay:
    """A line to the broker that can be cut while the broker runs on."""

    def __init__(self, to: int) -> None:
        self._to, self._open = to, True
        self.hellos: list[bytes] = []  # the beginning of each connection
        self.mute = asyncio.Event()  # while it is not set, nothing comes back
        self.mute.set()
        self._ends: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.transport.abort()
            return
        back, forth = await asyncio.open_connection("127.0.0.1", self._to)
        self._ends |= {writer, forth}
        first = await reader.read(65536)
        self.hellos.append(first)
        forth.write(first)
        await asyncio.gather(pour(reader, forth), pour(back, writer, self.mute))

    def cut(self) -> None:
        self._open = False
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()

    def mend(self) -> None:
        self._open = True

    def close(self) -> None:
        self.cut()
        self._server.close()


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, let: asyncio.Event | None = None) -> None:
    """What comes on to where it goes, while `let` is set, until one of them ends; then both do."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            if let is not None:
                await let.wait()
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
