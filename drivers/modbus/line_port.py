"""A serial port on the event loop: pyserial opens and sets it, bytes go through its descriptor without waiting."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import termios
from collections.abc import Callable
from typing import Any

from edge import DeviceLost, reason_of

from .line_url import Where

CHUNK = 4096
MOST_UNSENT = 4096  # bytes that the port does not take before it counts as hung
PTY_MAJORS = range(136, 144)  # Linux: the slaves of pseudo terminals


def fault_of(device: str) -> str:
    """What speaks against this path as a serial port, empty where nothing does or it is not there (yet)."""
    try:
        mode = os.stat(device).st_mode
    except OSError:
        return ""
    return "" if stat.S_ISCHR(mode) else f"{device} is no serial port"


def open_serial(where: Where) -> Any:
    """A `serial.Serial` that waits for nothing. Raises DeviceLost."""
    import serial

    if fault := fault_of(where.device):
        raise DeviceLost(fault, hint="name the port of the adapter, as in /dev/ttyUSB0")
    try:
        made = os.stat(where.device)
        bits_only = os.major(made.st_rdev) not in PTY_MAJORS  # a pseudo terminal carries bytes, it has no parity
        return serial.Serial(
            where.device,
            baudrate=where.baud,
            bytesize=where.bits if bits_only else 8,
            parity=where.parity[0].upper() if bits_only else "N",
            stopbits=where.stop,
            timeout=0,
            exclusive=True,
        )
    except BlockingIOError:
        raise _busy(where) from None
    except OSError as error:
        if "exclusively lock" in str(error):
            raise _busy(where) from None
        hint = {
            2: "is the adapter plugged in? its name stands in /dev/serial/by-id",
            13: "the user needs the group of the port, mostly dialout",
            16: "another program holds it",
        }.get(error.errno or 0, "check the adapter and the settings of the line")
        raise DeviceLost(f"cannot open {where.device}: {_plain(error)}", hint=hint) from None
    except (ValueError, termios.error) as error:
        raise DeviceLost(f"{where.device} does not take these settings: {error}", hint=f"asked for {where}") from None


def _busy(where: Where) -> DeviceLost:
    return DeviceLost(f"{where.device} is held by another program", hint="end it: a line has one master")


def _plain(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else reason_of(error)


class Port(asyncio.Transport):
    """Bytes of an open descriptor to and from a protocol; `shut` closes what was opened."""

    def __init__(self, fd: int, protocol: asyncio.Protocol, shut: Callable[[], None]) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._fd, self._protocol, self._shut = fd, protocol, shut
        self._unsent = bytearray()
        self._closing = False
        os.set_blocking(fd, False)
        protocol.connection_made(self)
        self._loop.add_reader(fd, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(DeviceLost(f"the serial port is gone: {reason_of(error)}", hint="is the adapter plugged in?"))
            return
        if data:
            self._protocol.data_received(data)
        else:
            self._end(DeviceLost("the serial port is gone", hint="is the adapter plugged in?"))

    def write(self, data: Any) -> None:
        if self._closing:
            return
        idle = not self._unsent
        self._unsent += data
        if idle:
            self._write()

    def _write(self) -> None:
        try:
            del self._unsent[: os.write(self._fd, self._unsent)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._end(DeviceLost(f"the serial port is gone: {reason_of(error)}", hint="is the adapter plugged in?"))
            return
        if len(self._unsent) > MOST_UNSENT:
            self._end(DeviceLost("the serial port takes no more bytes", hint="check the adapter"))
        elif self._unsent:
            self._loop.add_writer(self._fd, self._write)
        else:
            self._loop.remove_writer(self._fd)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._end(None)

    def abort(self) -> None:
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._unsent.clear()
        with contextlib.suppress(OSError, termios.error):
            termios.tcflush(self._fd, termios.TCIOFLUSH)  # else the close may wait for what never leaves
        with contextlib.suppress(OSError):
            self._shut()
        self._loop.call_soon(self._protocol.connection_lost, error)
