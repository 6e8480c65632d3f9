"""One plane process under the load of many devices: `make load [DEVICES=N] [SECONDS=S]`, or with `--sqlite`
`python -m tests.bench.load --devices N --seconds S --sqlite`.

Each device has its own identity and sends a block of 200 samples per 10 s over HTTPS, on a connection that is kept. An open loop:
every block is due at a time that was fixed before, and its latency counts from that, also where the device still waits for an
answer. Sockets are real up to the limit of descriptors; beyond, several devices share one (told as "connections").

The plane is a process of its own on PostgreSQL (or SQLite). CPU is told apart: generator (has to stay below 0.7 of a core, or
the figures are void), plane, database. Nothing counts before all connections stand. At the end every block that was due has to be
answered with its number (else it is `unanswered`), and the database is counted: `lost` is what was acknowledged and is not there.
One JSON object on the last line.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import resource
import select as polling
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import msgpack
import numpy as np
from sqlalchemy import func, select

from edge import Batch, encode
from edge.bench.process import cpu, free_port, pss, running, wait_for
from sync import wire
from sync.control_plane import tables
from sync.control_plane.ca import Asked, Authority
from sync.control_plane.database import insert_new, opened
from sync.device import key
from tests.postgres import Postgres, absent
from tests.postgres import running as postgres

TAGS, SCANS, EVERY, STREAM, EPOCH = 20, 10, 10.0, "samples:plc", "0" * 16
END = "-----END CERTIFICATE-----\n"
SPARE, DIALING, VARIANTS = 500, 8, 50  # descriptors for the rest; connections made at one time; bodies
GRACE, AGAIN = 30.0, 1.0  # seconds: for the last answers; until what was refused is sent again


@dataclass
class Line:
    """One connection: devices by number, what is due and not sent, and what is sent and not answered (device, seq, due)."""

    devices: list[int]
    socket: ssl.SSLSocket | None = None
    waiting: list[tuple[int, int, float]] = field(default_factory=list)
    asked: list[tuple[int, int, float]] = field(default_factory=list)
    heard: bytearray = field(default_factory=bytearray)
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))


class Load:
    """The generator: one thread, no event loop between it and its sockets."""

    def __init__(self, devices: int, shown: list[str], port: int, folder: Path) -> None:
        """Speaks as the plane's proxy, `folder` has its files: `shown` is what each device has shown to it."""
        self._shown, self._port = shown, port
        self._context = ssl.create_default_context(cafile=folder / "ca.pem")
        self._context.load_cert_chain(folder / "proxy.pem", folder / "proxy.key")
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE
        self.lines = [Line(list(range(k, devices, min(devices, limit)))) for k in range(min(devices, limit))]
        self._poll = polling.epoll()
        self._of: dict[int, Line] = {}
        self.took: list[float] = []
        self.sent, self.acknowledged = [0] * devices, [0] * devices  # the highest number of each device
        self.faults: dict[str, int] = {}
        self._later: list[tuple[float, int]] = []  # when which line tries again

    def connect(self) -> float:
        """Seconds until all connections stand, and every device has asked where it stands, as it does before it sends."""
        began = time.monotonic()
        with ThreadPoolExecutor(DIALING) as pool:
            for work in (self._come, self._stays):
                for _ in pool.map(work, self.lines):
                    pass
        for line in self.lines:
            self._listen(line)
        return time.monotonic() - began

    def _come(self, line: Line) -> None:
        self._dial(line)
        self._ask(line)

    def _stays(self, line: Line) -> None:
        """The plane ends connections on which nothing comes for 75 s; to make thousands may take longer."""
        assert line.socket is not None
        line.socket.settimeout(0.0)
        try:
            gone = not line.socket.recv(1)
        except (ssl.SSLWantReadError, BlockingIOError):
            gone = False
        except OSError:
            gone = True
        line.socket.settimeout(60)
        if gone:
            line.socket.close()
            self._come(line)

    def _dial(self, line: Line) -> None:
        plain = socket.create_connection(("127.0.0.1", self._port), 60)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.socket = self._context.wrap_socket(plain, server_hostname="localhost")

    def _ask(self, line: Line) -> None:
        assert line.socket is not None
        for device in line.devices:
            head = f"GET /d/v1/stands?epoch={EPOCH} HTTP/1.1\r\nHost: localhost\r\n{self._proof(device)}\r\n"
            line.socket.sendall(head.encode())
            answer = b""
            while not (whole := parted(answer)):
                piece = line.socket.recv(4096)
                assert piece, "the plane ended a connection"
                answer += piece
            assert whole[0].startswith("http/1.1 200"), whole[0]

    def _listen(self, line: Line) -> None:
        assert line.socket is not None
        line.socket.setblocking(False)
        self._of[line.socket.fileno()] = line
        self._poll.register(line.socket.fileno(), polling.EPOLLIN)

    def run(self, seconds: float) -> None:
        """Every device at its own phase of the period."""
        rounds, began = int(seconds / EVERY), time.monotonic() + 0.5
        self._bodies = [bodies(time.time_ns() + round(k * EVERY * 1e9)) for k in range(rounds)]
        plan = [(began + EVERY * k / len(self.lines), k, 0) for k in range(len(self.lines))]
        end, left = began + rounds * EVERY + GRACE, 0
        while plan or left:
            now = time.monotonic()
            if now > end:
                break
            while plan and plan[0][0] <= now:
                due, k, nth = heapq.heappop(plan)
                if nth + 1 < rounds:
                    heapq.heappush(plan, (due + EVERY, k, nth + 1))
                line = self.lines[k]
                line.waiting += [(device, nth + 1, due) for device in line.devices]
                left += len(line.devices)
                self._go_on(line)
            while self._later and self._later[0][0] <= now:
                self._go_on(self.lines[heapq.heappop(self._later)[1]])
            wait = max(0.0, plan[0][0] - time.monotonic()) if plan else 0.1
            for number, events in self._poll.poll(min(wait, 1.0)):
                left -= self._answered(self._of[number], events)

    def _go_on(self, line: Line) -> None:
        """Ask the next, if none is under way: all that a device has due is one message."""
        if line.asked or line.unsent or not line.waiting:
            return
        device = line.waiting[0][0]
        line.asked = [one for one in line.waiting if one[0] == device]
        line.waiting = [one for one in line.waiting if one[0] != device]
        body = b"".join(self._frame(device, seq) for _, seq, _ in line.asked)
        self.sent[device] = line.asked[-1][1]
        head = f"POST /d/v1/up HTTP/1.1\r\nHost: localhost\r\n{self._proof(device)}"
        line.unsent = memoryview(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self._send(line)

    def _proof(self, device: int) -> str:
        return f"Lineside-Certificate: {self._shown[device]}\r\n"

    def _frame(self, device: int, seq: int) -> bytes:
        t0, found = self._bodies[seq - 1]
        body = found[device % VARIANTS]
        return bytes(
            msgpack.packb([wire.VERSION, EPOCH, STREAM, seq, t0, t0 + (SCANS - 1) * 10**9, TAGS * SCANS, body])
        )

    def _send(self, line: Line) -> None:
        assert line.socket is not None
        try:
            while line.unsent:
                line.unsent = line.unsent[line.socket.send(line.unsent) :]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            self._poll.modify(line.socket.fileno(), polling.EPOLLIN | polling.EPOLLOUT)
        except OSError as error:
            self._fault(line, f"{type(error).__name__} while sending")

    def _answered(self, line: Line, events: int) -> int:
        """Read what is there; how many blocks an answer covers."""
        assert line.socket is not None
        if events & polling.EPOLLOUT:
            self._poll.modify(line.socket.fileno(), polling.EPOLLIN)
            self._send(line)
        try:
            while piece := line.socket.recv(16384):
                line.heard += piece
                if not line.socket.pending():
                    break
            else:
                return self._fault(line, "the plane closed a connection")
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            return self._fault(line, type(error).__name__)
        if (whole := parted(line.heard)) is None:
            return 0
        (said, body), line.heard = whole, bytearray()
        asked, line.asked, now = line.asked, [], time.monotonic()
        if not said.startswith("http/1.1 200"):
            return self._again(line, asked, said[:12])
        if msgpack.unpackb(body)[STREAM] != [asked[-1][1], []]:
            return self._again(line, asked, "an answer that does not cover its block")
        self.took += [now - due for _, _, due in asked]
        self.acknowledged[asked[-1][0]] = asked[-1][1]
        self._go_on(line)
        return len(asked)

    def _again(self, line: Line, asked: list[tuple[int, int, float]], why: str) -> int:
        """Not taken: the device keeps it and sends it again, a second later."""
        self.faults[why] = self.faults.get(why, 0) + 1
        line.waiting = asked + line.waiting
        heapq.heappush(self._later, (time.monotonic() + AGAIN, line.devices[0]))
        return 0

    def _fault(self, line: Line, why: str) -> int:
        """The connection is gone: what was under way goes again, on a new one."""
        assert line.socket is not None
        self._poll.unregister(line.socket.fileno())
        line.socket.close()
        asked, line.asked, line.heard, line.unsent = line.asked, [], bytearray(), memoryview(b"")
        with contextlib.suppress(OSError):
            self._dial(line)
            self._listen(line)
        return self._again(line, asked, why)

    def close(self) -> None:
        for line in self.lines:
            if line.socket is not None:
                line.socket.close()


def parted(answer: bytes | bytearray) -> tuple[str, bytes] | None:
    """(head in lower case, body) of an answer, once it is whole."""
    head, end, rest = bytes(answer).partition(b"\r\n\r\n")
    said = head.decode("latin-1").lower()
    length = int(said.partition("content-length:")[2].split("\r\n")[0] or 0)
    return (said, rest) if end and len(rest) >= length else None


def bodies(start: int) -> tuple[int, list[bytes]]:
    """First time (ns), and blocks of 200 samples from it on: 20 tags that walk in steps of a tenth, once a second."""
    chance, tag = np.random.default_rng(4), np.tile(np.arange(1, TAGS + 1, dtype=np.int32), SCANS)
    ts, found = np.repeat(start + np.arange(SCANS) * 10**9, TAGS), []
    for _ in range(VARIANTS):
        value = np.round(20 + 0.1 * np.cumsum(chance.integers(-2, 3, (SCANS, TAGS)), axis=0), 1).ravel()
        found.append(encode(Batch.of("plc", tag, value, ts)))
    return start, found


def enrolled(address: str, devices: int, folder: Path) -> list[str]:
    """A plane's database that knows these devices, each by its own certificate, and the files of its proxy."""
    authority, engine = Authority(folder), opened(address)
    authority.proxy(["localhost"])
    asked = Asked.read(key.request(key.made(), "d").encode())
    rows = [{"id": f"d{k}", "secret": "", "key": asked.key, "enrolled": 1.0, "seen": 0.0} for k in range(devices)]
    with engine.begin() as connection:
        insert_new(connection, tables.device, rows)
    engine.dispose()
    whole = (authority.client(replace(asked, device=row["id"])).decode() for row in rows)
    return [quote(text[: text.index(END) + len(END)]) for text in whole]


def counted(address: str, load: Load) -> dict[str, int]:
    """What the database holds: blocks (also in large ones), and those that were acknowledged and are not there, or not counted in
    their cursor, and those that are there twice."""
    engine, b, a = opened(address), tables.block, tables.applied
    numbers = func.sum(func.coalesce(b.c.last, b.c.seq) - b.c.seq + 1)
    with engine.connect() as connection:
        held = {d: int(n) for d, n in connection.execute(select(b.c.device, numbers).group_by(b.c.device))}
        stood = {d: int(n) for d, n in connection.execute(select(a.c.device, a.c.watermark))}
    engine.dispose()
    each = [(held.get(f"d{k}", 0), stood.get(f"d{k}", 0)) for k in range(len(load.sent))]
    return {
        "applied": sum(held.values()),
        "lost": sum(max(0, n - min(one)) for n, one in zip(load.acknowledged, each, strict=True)),
        "doubled": sum(max(0, one[0] - n) for n, one in zip(load.sent, each, strict=True)),
    }


@contextlib.contextmanager
def database(folder: Path, sqlite: bool) -> Iterator[tuple[str, Postgres | None]]:
    if sqlite:
        (folder / "plane").mkdir(mode=0o700)
        yield f"sqlite:///{folder / 'plane' / 'plane.db'}", None
        return
    if missing := absent():
        sys.exit(f"{missing} (make system-packages), or say --sqlite")
    with postgres() as server:
        yield server.address(server.database()), server


def measured(options: argparse.Namespace) -> dict[str, object]:
    port, page = free_port(), free_port()
    with contextlib.ExitStack() as until_end:
        folder = Path(until_end.enter_context(tempfile.TemporaryDirectory(prefix="load")))
        address, server = until_end.enter_context(database(folder, options.sqlite))
        log = folder / "log"
        asked = ("--folder", folder / "plane", "--database", address, "--port", str(port), "--page-port", str(page))
        plane = until_end.enter_context(running("plane", *asked, log=log))
        wait_for(lambda: b"devices at" in log.read_bytes(), 60, "the plane's start")
        shown = enrolled(address, options.devices, folder / "plane")
        load = Load(options.devices, shown, port, folder / "plane")
        print(f"{options.devices} devices on {len(load.lines)} connections ...", file=sys.stderr, flush=True)
        stood = load.connect()
        print(f"connected within {stood:.0f} s; measuring {options.seconds:g} s ...", file=sys.stderr, flush=True)
        before = time.monotonic(), time.process_time(), cpu(plane.pid), cpu(server.pid) if server else 0.0
        if options.restart and server:
            threading.Timer(options.seconds / 2, lambda: (server.stop(), server.start())).start()
        load.run(options.seconds)
        span = time.monotonic() - before[0]
        used = {"generator": time.process_time() - before[1], "plane": cpu(plane.pid) - before[2]}
        used |= {"database": cpu(server.pid) - before[3]} if server and not options.restart else {}
        memory = pss(plane.pid)
        load.close()
        found = counted(address, load)
    took = np.sort(np.array(load.took)) if load.took else np.array([np.nan])
    due = int(options.seconds / EVERY) * options.devices
    cores = {name: round(value / span, 3) for name, value in used.items()}
    return {
        "bench": f"load_{'sqlite' if options.sqlite else 'postgresql'}",
        "value": round(float(np.percentile(took, 99)), 4),
        "unit": "s, p99 from due to acknowledged",
        "p50": round(float(np.percentile(took, 50)), 4),
        "max": round(float(took[-1]), 4),
        "devices": options.devices,
        "connections": len(load.lines),
        "due": due,
        "acknowledged": len(load.took),
        "unanswered": due - len(load.took),
        **found,
        "faults": load.faults,
        "void": cores["generator"] >= 0.7,
        "cores": cores,
        "us_per_block": {name: round(1e6 * value / due) for name, value in used.items()},
        "plane_mb": round(memory),
        "connected_s": round(stood, 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="one plane under the load of many devices")
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="each device sends once in ten of them")
    parser.add_argument("--sqlite", action="store_true", help="the plane on SQLite instead of PostgreSQL")
    parser.add_argument(
        "--restart", action="store_true", help="PostgreSQL is ended in the middle, as by a crash, and started"
    )
    result = measured(parser.parse_args())
    print(json.dumps(result))
    sys.exit(1 if any(result[name] for name in ("unanswered", "lost", "doubled", "void")) else 0)
