"""The control plane: a TLS listener for devices, a page for people, one database. In one process, or on PostgreSQL in several."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import ipaddress
import json
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import uvicorn
from sqlalchemy import func, select

from edge import LinesideError, log

from .. import chain
from ..clockless import NO_CHECK_TIME
from ..tls import safe
from . import outside, tables
from .api import build
from .asset_due import tell_due
from .broker import AtBroker
from .ca import Authority
from .config_send import tidy
from .duties import Duties
from .entrance import Measured
from .heads import Bounded
from .ingest import Ingest
from .leader import Work, lead
from .live import Hub
from .openid import OpenId
from .peers import LIVE, NEWS, Peers
from .pictures import Pictures
from .plane_file import PlaneFile, loaded
from .retention import forget
from .rollout_work import Rollouts
from .rollup import roll
from .running import count
from .signin import People
from .store import Store
from .unended import tell_unended
from .updates import Updates
from .where import ROLES, Where, objects_of, opened
from .witness import Witness

LOOK = 10.0  # seconds between two looks at our certificate


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
        self.store = opened(where)
        try:
            self._only = only(where, self.store)
            if file.authority:
                outside.choose(where.folder, file.authority)
            self.authority = authority(where, self.store)
            self.witness = Witness(where.folder, self.authority)
            self.hub = Hub()
            self.duties = Duties(self.store, self.hub, file, where.folder, where.page)
            self.pictures = Pictures(self.store, objects_of(where))
            self.updates = Updates(where.folder)
            self.ingest = Ingest(self.store, self.hub, self.authority, self.pictures, self.updates)
            self.rollouts = Rollouts(self.store, self.hub, self.ingest.nudge)
            self.people = People(where.folder / "sessions.key", where.apart and self.store.shared, self.store)
            self.people.openid = OpenId(file.openid) if file.openid else None
        except BaseException:
            self.store.close()
            raise
        self._servers: list[Quiet] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._broker: asyncio.Task[None] | None = None
        self._works: list[asyncio.Task[None]] = []
        self._certificate_of: tuple[list[str], float] = (
            [],
            0.0,
        )  # who signed the listener's certificate, and the middle of its time (s UTC)
        self.url = self.link = ""

    async def start(self) -> None:
        """Raises OSError when a port is taken."""
        if "ingest" in self.where.roles:
            self._for_devices()
        if "api" in self.where.roles:
            self._for_people()
        self._together()
        while not all(server.started for server in self._servers):
            await asyncio.sleep(0.01)
            for task in self._tasks:
                if task.done():
                    task.result()
        if self.authority.due and self.authority.until:
            hint = "make a new one: `lineside plane issuer --root-key FILE`"
            log.warning("plane: its issuer signs only until %s; %s", f"{self.authority.until:%Y-%m-%d}", hint)
        log.info("plane: %s", f"devices at {self.url}" if self.url else f"{', '.join(self.where.roles)} only")
        if self.where.broker is not None and "ingest" in self.where.roles:
            at = AtBroker(self.where.broker, self.ingest, self.authority, self.store.shared)
            self._broker = asyncio.create_task(at.run())

    def _for_devices(self) -> None:
        line = _listen(self.where.listen, self.where.device_port)
        with self._certificate() as (cert, key):
            tls: dict[str, Any] = {"ssl_certfile": cert, "ssl_keyfile": key}
            tls |= {"ssl_ca_certs": self.where.folder / "ca.pem", "ssl_cert_reqs": ssl.CERT_OPTIONAL}
            context = self._serve(
                Measured(self.ingest.app, self.authority), line, **tls, timeout_keep_alive=75, proxy_headers=False
            )
        self._works += [asyncio.create_task(self.ingest.presence.watch()), asyncio.create_task(self.ingest.hear())]
        self._works.append(asyncio.create_task(self._certified(context)))
        self.url = self.where.url or f"https://{self._shown}:{line.getsockname()[1]}"

    @contextlib.contextmanager
    def _certificate(self) -> Iterator[tuple[Path, Path]]:
        """A fresh one for devices, and its key, which stays on no disk."""
        with tempfile.TemporaryDirectory(prefix="tls-", dir=self.where.folder) as private:
            cert, key = self.authority.server(self.where.all_names(), Path(private))
            until = chain.read(cert.read_bytes())[0].not_valid_after_utc.timestamp()
            self._certificate_of = self.authority.issuers[:1], (time.time() + until) / 2
            yield cert, key

    async def _certified(self, context: ssl.SSLContext) -> None:
        """Show devices a certificate of who signs now, and make it anew in the middle of its time. It is put in place on the loop,
        where the handshakes are: none meets the new certificate with the old key."""
        said = ""
        while True:
            await asyncio.sleep(LOOK)
            signs, half = self._certificate_of
            if signs == self.authority.issuers[:1] and time.time() < half:
                continue
            try:
                with contextlib.ExitStack() as until_read:
                    files = await asyncio.to_thread(until_read.enter_context, self._certificate())
                    context.load_cert_chain(*files)
            except LinesideError as error:
                if str(error) != said:
                    log.warning("plane: no new certificate for its listener: %s; tried again", error)
                said = str(error)

    def _for_people(self) -> None:
        line = _listen(self.where.listen, self.where.page_port)
        hosts = {*self.where.all_names(), "[::1]", urlsplit(self.where.page_url).hostname or "localhost"}
        self._serve(build(self.store, self.hub, self.ingest, self.people, hosts, self.where.page_url), line)
        page = self.where.page_url or f"http://{self._shown}:{line.getsockname()[1]}"
        self.link = f"{page}/login?key={self.people.key}"

    @property
    def _shown(self) -> str:
        return self.where.names[0] if self.where.names else _shown(self.where.listen)

    def _serve(self, app: Any, line: socket.socket, **more: Any) -> Any:
        """Its TLS context, if it speaks that."""
        options: dict[str, Any] = {"log_level": "error", "access_log": False, "lifespan": "off"}
        options |= {"timeout_graceful_shutdown": 2, "server_header": False, "http": Bounded}
        config = uvicorn.Config(app, **options, **more)
        config.load()
        if config.ssl:
            safe(config.ssl)
            config.ssl.verify_flags |= NO_CHECK_TIME  # shown.py looks at the time, and the answer says so
        server = Quiet(config)
        self._servers.append(server)
        self._tasks.append(asyncio.create_task(server.serve(sockets=[line])))
        return config.ssl

    def _together(self) -> None:
        """What ties this process to the plane's others, and what one of them does for all."""
        if self.store.shared:
            channels = (NEWS, LIVE) if "api" in self.where.roles else (NEWS,)
            self.hub.peers = Peers(self.store.engine, channels, self._heard, self._missed)
            self._works.append(asyncio.create_task(self.hub.peers.run()))
        if "worker" in self.where.roles:
            works: list[Work] = [
                lambda: forget(self.store, dict(self.where.keep), self.pictures),
                lambda: roll(self.store),
                lambda: count(self.store),
                lambda: tell_due(self.store, self.hub),
                lambda: tell_unended(self.store),
                lambda: self.witness.run(self.store, self.ingest.callers.signing.learn),
                lambda: tidy(self.store),
            ]
            self._works.append(
                asyncio.create_task(
                    lead(
                        self.store.engine,
                        [
                            *works,
                            self.pictures.move,
                            self.pictures.sweep,
                            self.updates.keep,
                            self.rollouts.run,
                            *self.duties.works,
                        ],
                    )
                )
            )

    def _heard(self, kind: str, device: str, body: bytes) -> None:
        """A hint of another process."""
        if kind == "live":
            self.hub.show(device, body)
        elif kind == "page":
            self.hub.tell(json.loads(body), shared=False)
        elif kind == "order":
            self.ingest.news(device)
        elif kind == "enrolled":
            self.ingest.forget(device)
        elif kind == "here":
            self.hub.doubt()

    def _missed(self) -> None:
        self.hub.cut()
        self.hub.doubt()
        self.ingest.forget()

    async def stop(self) -> None:
        """Within 5 s; what was acknowledged is on disk already."""
        for work in self._works:
            work.cancel()
        if self._works:
            await asyncio.wait(self._works, timeout=3)
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
        self.pictures.close()
        await asyncio.to_thread(self.store.close)
        self._only.close()


def only(where: Where, store: Store) -> IO[bytes]:
    """What keeps a second process from the same file of SQLite for as long as it is open. Raises LinesideError."""
    file = store.engine.url.database
    if store.shared or not file:
        return io.BytesIO()
    several = "several processes need PostgreSQL, see docs/postgresql.md"
    if set(where.roles) < set(ROLES):
        raise LinesideError("on SQLite one process does everything", hint=f"leave out --role; {several}")
    line = open(f"{file}.lock", "ab")  # noqa: SIM115
    try:
        fcntl.flock(line, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        line.close()
        raise LinesideError(f"another plane is at work on {file}", hint=f"end it first; {several}") from None
    return line


def authority(where: Where, store: Store) -> Authority:
    """The plane's authority. None is made here where devices know another one. Raises LinesideError."""
    if store.shared and not (where.folder / "ca.pem").exists():
        with store.engine.connect() as connection:
            if connection.execute(select(func.count()).select_from(tables.device)).scalar():
                hint = "copy ca.pem, issuing.pem and sessions.key from there, so that devices know this process"
                raise LinesideError(f"the keys of this plane are in another folder than {where.folder}", hint=hint)
    return Authority(where.folder)


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
