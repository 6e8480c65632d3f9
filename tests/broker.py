"""A real mosquitto on a free port."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Broker:
    """`start()` and `stop()` it as often as wanted: port and stored messages stay."""

    def __init__(self, folder: Path, *lines: str) -> None:
        if MOSQUITTO is None:
            pytest.skip("no mosquitto here; `make system-packages` installs it")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "mosquitto.conf"
        listens = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "persistence true"]
        self.config.write_text("\n".join([*listens, f"persistence_location {folder}/", "user root", *lines, ""]))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen([MOSQUITTO, "-c", self.config], stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None, "mosquitto ended"
                time.sleep(0.02)
        raise AssertionError("mosquitto does not answer")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None
