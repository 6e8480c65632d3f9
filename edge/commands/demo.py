"""`lineside demo`: a small factory on this machine: its devices simulated on real sockets, a control plane, and the daemon
between them; where mosquitto is installed, with a broker between the last two. `make run` calls it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ..bench.process import free_port, running, wait_for
from ..bench.stack import lineside
from ..config.check import raise_if_faulty
from ..config.load import load
from ..errors import LinesideError
from ..shipped import shipped

HELP = "a small simulated factory with its live page, to look at"
OWN = ("site.yaml", "plane", "device", "sim.log", "device.log", "mosquitto.log")  # in the folder of a demo
LOCAL = re.compile(r"127\.0\.0\.1:(\d+)")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path, nargs="?", help="another site than the shipped one")
    parser.add_argument(
        "--folder",
        type=Path,
        help="where journal, database and logs stay (default: one removed at the end)",
    )


def run(options: argparse.Namespace) -> int:
    import tempfile

    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell started us with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    source = options.site or shipped("demo.yaml")
    if source is None:
        raise LinesideError("demo.yaml is not installed", hint="name a site of your own: `lineside demo SITE`")
    raise_if_faulty(load(source))
    with contextlib.ExitStack() as until_end:
        folder = options.folder or Path(until_end.enter_context(tempfile.TemporaryDirectory(prefix="lineside-")))
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # plane.log holds the link
        if options.site:
            beside(source, folder)
        try:
            factory(source, folder, until_end)
        except KeyboardInterrupt:
            print("\nstopping ...", file=sys.stderr)
    return 0


def factory(source: Path, folder: Path, until_end: contextlib.ExitStack) -> None:
    """Start everything, print the link, then toggle the network at each Enter until Ctrl-C."""
    broker = until_end.enter_context(_broker(folder))
    link = until_end.enter_context(_plane(folder, *(("--broker", f"mqtts://127.0.0.1:{broker}") if broker else ())))
    cable = Cable(broker or int((folder / "plane" / "url").read_text().rpartition(":")[2]))
    until_end.callback(cable.pull)
    site = folder / "site.yaml"
    way = "mqtts" if broker else "https"
    text = LOCAL.sub(_own_port(), source.read_text("utf-8"))
    site.write_text(f'{text}\nsync: {{url: "{way}://127.0.0.1:{cable.port}", installs: [config, model]}}\n', "utf-8")
    log = folder / "sim.log"
    simulator = until_end.enter_context(running("sim", site, log=log))
    wait_for(lambda: b"all devices" in log.read_bytes() or simulator.poll() is not None, 60, "the devices' start")
    if simulator.poll() is not None:
        raise LinesideError(f"the simulator ended: {log.read_text()[-500:]}")
    lineside("enroll", site, lineside("plane", "invite", "--folder", folder / "plane"), "--state", folder / "device")
    daemon = until_end.enter_context(running("run", site, "--state", folder / "device", log=folder / "device.log"))
    print(f"\n  The factory runs. Open this link:\n\n    {link}\n", flush=True)
    between = (
        "MQTT 5, through a mosquitto of its own" if broker else "HTTPS; with mosquitto installed it would be MQTT 5"
    )
    print(f"  Daemon and plane speak {between}.", flush=True)
    print("  Enter pulls the network cable between them, and plugs it in again. Ctrl-C ends.\n", flush=True)
    print(f"  site, journal and logs: {folder}", flush=True)
    keys = [sys.stdin] if sys.stdin.isatty() else []
    while daemon.poll() is None:
        ready, _, _ = select.select(keys, [], [], 0.5)
        if ready and not sys.stdin.readline():
            keys = []
            print("  no more keys will come; Ctrl-C ends", flush=True)
        elif ready:
            out = cable.toggle()
            said = "the cable is out: the daemon goes on alone" if out else "the cable is in again: catching up"
            print(f"  {said}", flush=True)
    raise LinesideError(f"the daemon ended: {(folder / 'device.log').read_text()[-500:]}")


def beside(source: Path, folder: Path) -> None:
    """What lies beside a site (recipes, pictures, templates) is found from the demo's copy of it too: by links."""
    for entry in sorted(set(source.resolve().parent.iterdir()) - {folder.resolve()}):
        link = folder / entry.name
        if link.is_symlink():
            link.unlink()
        if entry.name not in OWN and not entry.name.startswith(".") and not link.exists():
            link.symlink_to(entry)


@contextlib.contextmanager
def _plane(folder: Path, *options: str) -> Iterator[str]:
    from ..bench.stack import plane

    with plane(folder / "plane", 0 if _taken(8080) else 8080, *options) as link:
        yield link


@contextlib.contextmanager
def _broker(folder: Path) -> Iterator[int]:
    """The port of a mosquitto of the plane, where one is installed and runs; else 0."""
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        yield 0
        return
    port = free_port()
    lineside("plane", "broker", "--folder", folder / "plane", "--broker-port", str(port))
    config, log = folder / "plane" / "broker" / "mosquitto.conf", folder / "mosquitto.log"
    with log.open("ab") as out:
        process = subprocess.Popen([program, "-c", config], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        wait_for(lambda: _taken(port) or process.poll() is not None, 20, "mosquitto's start")
        if process.poll() is not None:
            print(f"  mosquitto does not run here, see {log}", file=sys.stderr)
        yield port if process.poll() is None else 0
    finally:
        process.kill()  # it keeps nothing
        process.wait()


def _own_port() -> Callable[[re.Match[str]], str]:
    """Keeps a port of the site that is free, and exchanges one that is taken; the same one always for the same."""
    chosen: dict[str, str] = {}

    def choose(found: re.Match[str]) -> str:
        port = found[1]
        if port not in chosen:
            chosen[port] = str(free_port()) if _taken(int(port)) else port
        return f"127.0.0.1:{chosen[port]}"

    return choose


def _taken(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


class Cable:
    """A TCP relay between daemon and plane that can be pulled: then nothing connects and what was connected is cut."""

    def __init__(self, to: int) -> None:
        import threading

        self._to = to
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._relay, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        self.out = False
        threading.Thread(target=self._loop.run_forever, name="cable", daemon=True).start()

    def toggle(self) -> bool:
        """Pull or plug; true when it is out now."""
        if self.out:
            self.out = False
        else:
            self.pull()
        return self.out

    def pull(self) -> None:
        self.out = True
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.out:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()
