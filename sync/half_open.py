"""A far side that is gone without a word: the kernel finds it out, however long an answer may take."""

from __future__ import annotations

import socket

GONE = 10  # seconds in which nothing that was sent arrives there, after which the connection is over
LEVEL = socket.IPPROTO_TCP
_WANTED = {  # Linux; elsewhere time-outs alone find it out
    "TCP_USER_TIMEOUT": 1000 * GONE,
    "TCP_KEEPIDLE": GONE // 2,
    "TCP_KEEPINTVL": GONE // 4,
    "TCP_KEEPCNT": 3,
}
OPTIONS = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
OPTIONS += [(LEVEL, getattr(socket, name), value) for name, value in _WANTED.items() if hasattr(socket, name)]


def watch(connected: socket.socket) -> None:
    for option in OPTIONS:
        connected.setsockopt(*option)
