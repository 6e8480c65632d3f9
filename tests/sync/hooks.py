"""A real HTTP(S) server that takes webhooks, on a free port, and says what it is told to."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Hooks:
    """`got` is what came, (headers, body); `say(number of the request, headers, body)` gives the status, and may wait."""

    say: Callable[[int, dict[str, str], bytes], int] = lambda number, headers, body: 204
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""
    more: dict[str, str] = field(default_factory=dict)  # headers of the answer
    body: bytes = b""  # of the answer
    paths: list[str] = field(default_factory=list)  # of what came, with the query

    def ids(self) -> list[str]:
        return [headers["idempotency-key"] for headers, _ in self.got]


@contextmanager
def hooks(certificate: Path | None = None) -> Iterator[Hooks]:
    it, lock = Hooks(), threading.Lock()

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                it.got.append((headers, body))
                it.paths.append(self.path)
                number = len(it.got)
            self.send_response(it.say(number, headers, body))
            for name, value in it.more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(it.body)))
            self.end_headers()
            self.wfile.write(it.body)

        def log_message(self, *words: Any) -> None: ...

        def handle(self) -> None:
            with contextlib.suppress(OSError):  # who asked is gone
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    it.url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}/lineside"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield it
    finally:
        server.shutdown()
        server.server_close()
