"""The far end of a serial line, for simulators: units that answer RTU or ASCII frames."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import Callable

from edge import DeviceLost

from .line_frames import FRAMINGS, BrokenFrame
from .line_port import Port, open_serial
from .line_url import Where

LONGEST = 513


class LineDevice(asyncio.Protocol):
    """All units of one line. `answer(unit, pdu)` gives the answer's PDU, None where nobody of this number is there."""

    def __init__(self, scheme: str, answer: Callable[[int, bytes], bytes | None]) -> None:
        self._scheme, self._framing, self._answer = scheme, FRAMINGS[scheme], answer
        self._got = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._got += data
        while size := self._size():
            frame, self._got = bytes(self._got[:size]), self._got[size:]
            try:
                unit, pdu = self._framing.open(frame)
            except BrokenFrame:
                self._got.clear()  # a device listens anew after a pause; whoever asks waits for as long
                return
            answer = self._answer(unit, pdu)
            if answer is not None:
                self._transport.write(self._framing.frame(unit, answer))

    def _size(self) -> int:
        """Bytes of the request that has come in whole, 0 while more must come."""
        got = self._got
        if self._scheme == "ascii":
            size = got.find(b"\n") + 1
        elif len(got) < 8:
            size = 0
        else:
            size = 9 + got[6] if got[1] in (15, 16) else 8
        if len(got) > LONGEST and not size:
            got.clear()
        return size if size <= len(got) else 0


def open_far_end(where: Where, device: LineDevice) -> Callable[[], None]:
    """The other end of the line of this address: a port that is there is opened as it is (its cable leads to the reader's);
    where there is none, a pseudo terminal is made and linked to that path for the reader. Returns what closes it.
    Raises DeviceLost."""
    if os.path.exists(where.device):
        port = open_serial(where)
        return Port(port.fileno(), device, port.close).close
    near, far = os.openpty()
    tty.setraw(far)  # it stays open here: without any reader the near end would say that it was hung up
    link = where.device
    try:
        if os.path.islink(link):
            os.unlink(link)  # of a simulation that was killed
        os.symlink(os.ttyname(far), link)
    except OSError as error:
        os.close(near)
        os.close(far)
        raise DeviceLost(f"cannot make {link}: {error.strerror}", hint="name a path in a folder of yours") from None

    def shut() -> None:
        with contextlib.suppress(OSError):
            os.unlink(link)
        os.close(near)
        os.close(far)

    return Port(near, device, shut).close
