"""S3 servers for tests: one of a few lines that looks at who asks, and moto, on free ports."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3

from edge.bench.process import free_port

MOTO = shutil.which("moto_server", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")


class Bucket(BaseHTTPRequestHandler):
    """As much of S3 as a bucket needs, for those who come with a signature."""

    held: dict[str, bytes]

    def do_GET(self) -> None:
        whole = self.held.get(self.path)
        if "location" in self.path:
            self._answer(
                200, b'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></LocationConstraint>'
            )
        elif self._stranger():
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        elif whole is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        elif found := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            self._answer(206, whole[int(found[1]) : int(found[2]) + 1])
        else:
            self._answer(200, whole)

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._stranger():
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        else:
            self.held[self.path] = body
            self._answer(200, b"")

    def do_DELETE(self) -> None:
        self.held.pop(self.path, None)
        self._answer(204, b"")

    def _stranger(self) -> bool:
        return "AWS4-HMAC-SHA256 Credential=me/" not in self.headers.get("Authorization", "")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        for name, value in (("Content-Length", str(len(body))), ("ETag", '"x"'), ("Content-Type", "application/xml")):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def bucket() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Its address, and what it holds by path."""
    held: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Mine", (Bucket,), {"held": held}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/lineside", held
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def moto() -> Iterator[str]:
    """The address of a bucket at a whole server; skips where there is none."""
    if MOTO is None:
        pytest.skip(
            "there is no S3 server here (pip install 'moto[s3]' flask flask-cors, in an environment of its own)"
        )
    port = free_port()
    with subprocess.Popen([MOTO, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}/lineside"
        urllib3.PoolManager().request("PUT", url, retries=urllib3.Retry(60, backoff_factor=0.2, backoff_max=0.5))
        try:
            yield url
        finally:
            process.terminate()
