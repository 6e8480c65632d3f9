"""Bytes over a serial port or a TCP connection, with a bounded buffer."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from urllib.parse import urlsplit

import serial

from edge import Clock, ConfigFault, DeviceLost, DeviceSilent, reason_of

from .options import line_settings

MOST = 65536  # bytes held; beyond that reading pauses, and the far side or the port's own buffer has to wait
CHUNK = 1024  # bytes handed over at once, so that a flood leaves the others their turn
_PARITY = {"none": "N", "even": "E", "odd": "O", "mark": "M", "space": "S"}


class Line(asyncio.Protocol):
    """One open line. `some()` gives what came, `stamp` when the last of it did (ns UTC)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buffer = bytearray()
        self._came = asyncio.Event()
        self._paused = False
        self._transport: asyncio.ReadTransport | None = None
        self._port: serial.Serial | None = None
        self._lost: Exception | None = None
        self.stamp = 0

    @classmethod
    async def open(cls, url: str, clock: Clock) -> Line:
        """Raises DeviceLost, or ConfigFault for settings that the port does not know."""
        parts, loop = urlsplit(url), asyncio.get_running_loop()
        line = cls(clock)
        if parts.scheme == "tcp":
            try:
                _, made = await loop.create_connection(lambda: line, parts.hostname or "", parts.port or 0)
            except (OSError, UnicodeError) as error:
                reason = reason_of(error) if isinstance(error, OSError) else "that is no host name"
                raise DeviceLost(f"cannot connect to {url}: {reason}", hint="check address and cable") from None
            return made
        line._port = await asyncio.to_thread(_open, parts.path, line_settings(parts))
        await loop.connect_read_pipe(lambda: line, line._port)
        return line

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        wire = transport.get_extra_info("socket")
        if wire is not None:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self.stamp = self._clock.utc()
        self._came.set()
        if len(self._buffer) > MOST and self._transport is not None:
            self._transport.pause_reading()
            self._paused = True

    def eof_received(self) -> None:
        self._end(
            "the line was closed by the far side" if self._port is None else "the port is gone; was it unplugged?"
        )

    def connection_lost(self, error: Exception | None) -> None:
        self._end(reason_of(error) if isinstance(error, OSError) else "the line is closed")

    def _end(self, reason: str) -> None:
        self._lost = self._lost or DeviceLost(reason)
        self._came.set()

    # What the driver calls

    async def some(self) -> bytes:
        """What came, at most CHUNK bytes; waits for the first. Raises DeviceLost when all was taken and no more can come."""
        while not self._buffer:
            if self._lost is not None:
                raise self._lost
            self._came.clear()
            await self._came.wait()
        out = bytes(self._buffer[:CHUNK])
        del self._buffer[:CHUNK]
        self._resume()
        return out

    def drop(self) -> int:
        """Throw away what came and was not taken; how many bytes that was."""
        n = len(self._buffer)
        self._buffer.clear()
        self._resume()
        return n

    def _resume(self) -> None:
        if self._paused and len(self._buffer) <= MOST // 2 and self._transport is not None and self._lost is None:
            self._paused = False
            self._transport.resume_reading()

    def send(self, data: bytes) -> None:
        """Raises DeviceLost, or DeviceSilent where the device takes nothing (its flow control)."""
        if self._lost is not None:
            raise self._lost
        if self._port is None:
            self._transport.write(data)  # type: ignore[union-attr]
            return
        try:
            sent = os.write(self._port.fileno(), data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise DeviceLost(f"the port takes nothing: {reason_of(error)}") from None
        if sent < len(data):
            raise DeviceSilent("the line takes nothing more; is its flow control right?")

    def close(self) -> None:
        if self._transport is not None:
            getattr(self._transport, "abort", self._transport.close)()
        if self._port is not None:
            self._port.close()


def _open(path: str, settings: dict[str, str]) -> serial.Serial:
    try:
        return serial.Serial(
            path,
            int(settings["baud"]),
            bytesize=int(settings["data"]),
            parity=_PARITY[settings["parity"]],
            stopbits=float(settings["stop"]),
            rtscts=settings["flow"] == "rtscts",
            xonxoff=settings["flow"] == "xonxoff",
            timeout=0,
            exclusive=True,
        )
    except ValueError as error:
        raise ConfigFault(f"{path}: {error}", hint="the port does not know this setting") from None
    except OSError as error:
        hints = {
            errno.ENOENT: "is it plugged in? `ls /dev/serial/by-id` shows the adapters by name",
            errno.EACCES: "the user of the daemon has to be in the group of the port, usually dialout",
            errno.EAGAIN: "another program has it open",
            errno.EBUSY: "another program has it open",
        }
        number = error.errno or 0
        reason = os.strerror(number) if number else str(error)
        if "exclusively" in str(error):
            number, reason = errno.EBUSY, "it is in use"
        raise DeviceLost(f"cannot open {path}: {reason}", hint=hints.get(number, "is it a serial port?")) from None
