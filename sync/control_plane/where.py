"""Where a plane keeps its things and listens, whether it runs or not."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from edge import LinesideError

from ..broker import BrokerConfig
from . import objects
from .ca import keep
from .objects import Objects
from .store import Store

ROLES = ("api", "ingest", "worker")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Where:
    """Where the plane keeps its things and listens; port 0 picks a free one. `database` is an address of SQLAlchemy; without one
    it is that of the last start, and at first a file in the folder. `keep` is how many seconds each class is kept. `config` is a
    file of rules. `roles` is what this process does; `url` and `page_url` are where devices and people find the plane, if not at
    this very process. `objects` is where pictures are moved to, see objects.py; the folder remembers it."""

    folder: Path
    listen: str = "127.0.0.1"
    device_port: int = 8443
    page_port: int = 8080
    names: tuple[str, ...] = ()
    database: str = ""
    keep: tuple[tuple[str, float], ...] = ()
    broker: BrokerConfig | None = None
    config: Path | None = None
    roles: tuple[str, ...] = ROLES
    url: str = ""
    page_url: str = ""
    objects: str = ""
    objects_key: Path | None = None

    @property
    def apart(self) -> bool:
        """Whether this may be one process of several."""
        return bool(self.url or self.page_url) or set(self.roles) < set(ROLES)

    @property
    def page(self) -> str:
        """Where people elsewhere find the plane; "" where that is not known."""
        return self.page_url or (f"http://{self.names[0]}:{self.page_port}" if self.names and self.page_port else "")

    def all_names(self) -> list[str]:
        """Every name that a certificate of ours is for."""
        own = [] if self.listen in ("0.0.0.0", "::") else [self.listen]
        found = [urlsplit(self.url).hostname or ""] if self.url else []
        return list(dict.fromkeys([*self.names, *found, *own, *LOOPBACK, socket.gethostname()]))


def address_of(where: Where) -> str:
    """The address of the plane's database; its folder remembers one that was given."""
    told = where.folder / "database"
    address = where.database or (told.read_text("utf-8").strip() if told.exists() else "")
    return address or f"sqlite:///{where.folder / 'plane.db'}"


def objects_of(where: Where) -> Objects | None:
    """Where pictures are moved to, if anywhere. Raises LinesideError."""
    told = where.folder / "objects"
    address = where.objects or (told.read_text("utf-8").strip() if told.exists() else "")
    found = objects.at(address, where.objects_key) if address else None
    if where.objects:
        keep(told, where.objects.encode())
    return found


def opened(where: Where) -> Store:
    """The plane's database. Raises LinesideError."""
    store = Store(address_of(where))
    if where.database:
        keep(where.folder / "database", where.database.encode())
    return store


def exists(where: Where) -> None:
    """Raises LinesideError where no plane has run."""
    if not (where.folder / "ca.pem").exists():
        raise LinesideError(f"no plane has run in {where.folder}", hint="say --folder, or start `lineside plane` first")


@contextlib.contextmanager
def beside(where: Where) -> Iterator[Store]:
    """The database of a plane that has run, and may be running: a command works beside it. Raises LinesideError."""
    exists(where)
    store = opened(where)
    try:
        yield store
    finally:
        store.close()
