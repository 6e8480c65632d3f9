"""The control plane in one process: a TLS listener for devices, a page for people, one database."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from edge import log

from ..broker import BrokerConfig
from .api import People, build
from .broker import AtBroker
from .ca import Authority, keep
from .duties import Duties
from .heads import Bounded
from .ingest import Ingest
from .live import Hub
from .plane_file import PlaneFile, loaded
from .retention import forget
from .rollup import roll
from .store import Store

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Where:
    """Where the plane keeps its things and listens; port 0 picks a free one. `database` is an address of SQLAlchemy; without one
    it is that of the last start, and at first a file in the folder. `keep` is how many seconds each class is kept. `config` is a
    file of rules."""

    folder: Path
    listen: str = "127.0.0.1"
    device_port: int = 8443
    page_port: int = 8080
    names: tuple[str, ...] = ()
    database: str = ""
    keep: tuple[tuple[str, float], ...] = ()
    broker: BrokerConfig | None = None
    config: Path | None = None

    def all_names(self) -> list[str]:
        """Every name that a certificate of ours is for."""
        own = [] if self.listen in ("0.0.0.0", "::") else [self.listen]
        return list(dict.fromkeys([*self.names, *own, *LOOPBACK, socket.gethostname()]))


def address_of(where: Where) -> str:
    """The address of the plane's database; its folder remembers one that was given."""
    told = where.folder / "database"
    address = where.database or (told.read_text("utf-8").strip() if told.exists() else "")
    return address or f"sqlite:///{where.folder / 'plane.db'}"


def opened(where: Where) -> Store:
    """The plane's database. Raises LinesideError."""
    store = Store(address_of(where))
    if where.database:
        keep(where.folder / "database", where.database.encode())
    return store


class Quiet(uvicorn.Server):
    """A server inside our loop: signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Plane:
    """`start()` listens, `stop()` ends; `url` is for devices, `link` for people."""

    def __init__(self, where: Where) -> None:
        self.where = where
        file = loaded(where.config) if where.config else PlaneFile(given=False)
        where.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.authority = Authority(where.folder)
        self.store = opened(where)
        self.hub = Hub()
        self.duties = Duties(self.store, self.hub, file)
        self.ingest = Ingest(self.store, self.hub, self.authority)
        self.people = People(where.folder / "sessions.key")
        self._servers: list[Quiet] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._broker: asyncio.Task[None] | None = None
        self._works: list[asyncio.Task[None]] = []
        self.url = self.link = ""

    async def start(self) -> None:
        """Raises OSError when a port is taken."""
        cert, key = self.authority.server(self.where.all_names())
        devices = _listen(self.where.listen, self.where.device_port)
        page = _listen(self.where.listen, self.where.page_port)
        shown = self.where.names[0] if self.where.names else _shown(self.where.listen)
        self.url = f"https://{shown}:{devices.getsockname()[1]}"
        self.link = f"http://{shown}:{page.getsockname()[1]}/login?key={self.people.key}"
        people = build(self.store, self.hub, self.ingest, self.people, {*self.where.all_names(), "[::1]"})
        options: dict[str, Any] = {"log_level": "error", "access_log": False, "lifespan": "off"}
        options |= {"timeout_graceful_shutdown": 2, "server_header": False, "http": Bounded}
        both: tuple[tuple[Any, socket.socket, dict[str, Any]], ...] = (
            (self.ingest.app, devices, {"ssl_certfile": cert, "ssl_keyfile": key, "timeout_keep_alive": 75}),
            (people, page, {}),
        )
        for app, line, more in both:
            server = Quiet(uvicorn.Config(app, **options, **more))
            self._servers.append(server)
            self._tasks.append(asyncio.create_task(server.serve(sockets=[line])))
        self._works = [
            asyncio.create_task(work) for work in (forget(self.store, dict(self.where.keep)), roll(self.store))
        ]
        await self.duties.start()
        while not all(server.started for server in self._servers):
            await asyncio.sleep(0.01)
            for task in self._tasks:
                if task.done():
                    task.result()
        log.info("plane: devices at %s", self.url)
        if self.where.broker is not None:
            self._broker = asyncio.create_task(AtBroker(self.where.broker, self.ingest, self.authority).run())

    async def stop(self) -> None:
        """Within 5 s; what was acknowledged is on disk already."""
        for work in self._works:
            work.cancel()
        await self.duties.stop()
        self.hub.close()
        self.ingest.close()
        if self._broker is not None:
            self._broker.cancel()
            await asyncio.wait([self._broker])
        for server in self._servers:
            server.should_exit = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)
            for server in self._servers:  # a device that does not answer a TLS goodbye would be waited for
                for connection in list(server.server_state.connections):
                    connection.transport.abort()
            await asyncio.wait(self._tasks, timeout=3)
        for task in self._tasks:
            task.cancel()
        await asyncio.to_thread(self.store.close)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    line = socket.socket(family, socket.SOCK_STREAM)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        line.bind((host, port))
    except OSError as error:
        line.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None
    return line


def _shown(listen: str) -> str:
    if listen in ("0.0.0.0", "::"):
        return socket.gethostname()
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(listen).version == 6:
            return f"[{listen}]"
    return listen
