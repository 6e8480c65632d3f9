"""What systemd wants to hear (sd_notify), fed by real progress."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

from .log import log

if TYPE_CHECKING:
    from .app import Daemon


def notify(words: str) -> bool:
    """Send one message to the service manager; false where none listens (sd_notify(3)). A manager that went away must
    not end the daemon."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.setblocking(False)
            line.connect("\0" + address[1:] if address.startswith("@") else address)
            line.sendall(words.encode())
    except OSError as error:
        log.warning("the service manager cannot be told %s: %s", words, error.strerror or error)
        return False
    return True


async def watchdog(daemon: Daemon) -> None:
    """Feed the watchdog at half its time while the loop turns and the journal's thread comes back from its commits: the
    disk may be full (that is known and shown), but a daemon that hangs is restarted."""
    microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
    if not microseconds:
        return
    while True:
        async with asyncio.timeout(microseconds / 1e6):
            await daemon.journal.commit()
        notify("WATCHDOG=1")
        await asyncio.sleep(microseconds / 2e6)
