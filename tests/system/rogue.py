"""What should never come: servers that answer garbage, and callers that send it."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Iterator

MANNERS = ("random", "silent", "long line", "closes")
RNG = random.Random(1)


def garbage(manner: str) -> bytes:
    return {"random": RNG.randbytes(3000), "long line": b"A" * 2_000_000}.get(manner, b"")


@contextlib.contextmanager
def rogue(manner: str) -> Iterator[int]:
    """A server that answers in this manner to each connection and to whatever it is sent; gives its port."""
    held: list[socket.socket] = []

    def serve(line: socket.socket) -> None:
        with contextlib.suppress(OSError):
            line.settimeout(30)
            while manner != "closes" and line.recv(65_536):
                line.sendall(garbage(manner))
        line.close()

    with socket.create_server(("127.0.0.1", 0)) as door:

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    held.append(door.accept()[0])
                    threading.Thread(target=serve, args=held[-1:], daemon=True).start()

        threading.Thread(target=take, daemon=True).start()
        yield door.getsockname()[1]
        door.shutdown(socket.SHUT_RDWR)
    for line in held:
        line.close()


def pester(address: tuple[str, int] | str, held: list[socket.socket]) -> None:
    """Call in every manner at once; lines that stay half open are left in `held`."""
    for manner in MANNERS:
        for prefix in (b"", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01"):
            line = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
            line.settimeout(5)
            with contextlib.suppress(OSError):
                line.connect(address)
                line.sendall(prefix + garbage(manner))
            if manner == "silent":
                held.append(line)
            else:
                line.close()
