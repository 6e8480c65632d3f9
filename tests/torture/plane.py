"""The plane of a run: the real ingest routes, store and migrations on a simulated disk; no sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from typing import TYPE_CHECKING, Any

import apsw
from sqlalchemy.exc import SQLAlchemyError

from edge import CodecFault, LinesideError, decode, decode_event
from sync import wire
from sync.control_plane import rollup, store
from sync.control_plane.ca import Authority
from sync.control_plane.ingest import Ingest
from sync.control_plane.live import Hub
from sync.control_plane.store import Job, Store

from .disk import Disk
from .ledger import KIND
from .virtual import START_UTC

if TYPE_CHECKING:
    from .world import World

Place = tuple[str, str, str, int]  # device, epoch, stream, seq
Answer = tuple[int, bytes]
TABLES = {"event": ("event", "seq"), "tag": ("tag", "id"), "text": ("text", "id")}


class InlineStore(Store):
    """The writer's commits, of all that was asked for in one turn of the loop, without its thread."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._group: list[Job] = []
        for readers in (self._readers, self._glances):  # in the loop's own thread, at once
            readers.close()
            readers.threads = None

    def _take(self, job: Job) -> None:
        self._group.append(job)
        if len(self._group) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        group, self._group = self._group, []
        for done, answer, fault in self._commit(group):
            store.settle(done, answer, fault)


class Plane:
    """Up or not; what it acknowledged is remembered, and looked for on the disk at once and after each start."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.ended = asyncio.Event()
        self.disk = Disk(world.folder / "plane", world.rng, self.ended.set)
        self.path = self.disk.folder / "plane.db"
        self.up = False
        self.acked: set[Place] = set()
        self.backup: tuple[dict[str, bytes], set[Place]] | None = None
        self.restores = 0
        self._tasks: set[asyncio.Task[Answer]] = set()
        self._hourly: asyncio.Task[None] | None = None
        self._rng = random.Random(world.rng.random())
        self._store: InlineStore | None = None
        self._eye: apsw.Connection | None = None

    def start(self) -> bool:
        """False if the disk does not let it."""
        self.disk.boot()
        self.ended.clear()
        try:
            self._store = InlineStore(f"sqlite+apsw:///{self.path}")
            self._eye = apsw.Connection(str(self.path))
        except (LinesideError, SQLAlchemyError, apsw.Error) as error:
            self._world.note("plane", "cannot start", str(error))
            self.disk.stop()
            return False
        self.hub = Hub()
        self.ingest = Ingest(self._store, self.hub, Authority(self._world.folder / "ca"))
        self.up = True
        self._hourly = asyncio.ensure_future(self._make_hours())
        if missing := self._missing(self.acked):
            self._world.violation(f"the plane has forgotten {len(missing)} it had acknowledged: {min(missing)}")
            self.acked -= missing
        return True

    def bury(self) -> None:
        """What is left of a machine that ended."""
        self.up = False
        for task in (self._hourly, *self._tasks):
            if task is not None:
                task.cancel()
        self._tasks.clear()
        with contextlib.suppress(apsw.Error, AttributeError):
            self._eye.close(True)  # type: ignore[union-attr]
        if self._store is not None:
            self._store.close()
        self._store = self._eye = None

    async def _make_hours(self) -> None:
        """Now and then the work on hours that are over: roll-ups, fewer blocks, notes. Here every hour is over at once."""
        while True:
            await asyncio.sleep(self._rng.uniform(5.0, 60.0))
            await self.make_hours()

    async def make_hours(self) -> None:
        with contextlib.suppress(LinesideError, SQLAlchemyError):
            assert self._store is not None
            made = await rollup.roll_once(self._store, START_UTC + 100 * 365 * 24 * rollup.HOUR)
            self._world.note("plane", "hours", made)

    async def serve(self, method: str, path: str, shown: dict[str, Any], body: bytes) -> Answer | None:
        """(status, body), or None if it ended in between."""
        task = asyncio.ensure_future(ask(self.ingest.app, method, path, shown, body))
        self._tasks.add(task)
        turn = self.disk.turn
        try:
            await asyncio.wait([task])
        finally:
            self._tasks.discard(task)
            if not task.done():
                task.cancel()
        if task.cancelled() or self.disk.off or turn != self.disk.turn:
            return None
        return task.result()

    def arrived(self, device: str) -> dict[str, set[int]]:
        """The numbers of the scans, by stream, and of the counted events that are in its database."""
        assert self._eye is not None
        found: dict[str, set[int]] = {}
        for stream, body in self._eye.execute("SELECT stream, body FROM block WHERE device = ?", (device,)):
            found.setdefault(stream, set()).update(numbers(stream, body))
        counted = self._eye.execute("SELECT data FROM event WHERE device = ? AND kind = ?", (device, KIND))
        found["event"] = {int(json.loads(data)["n"]) for (data,) in counted}
        return found

    async def asked(self, method: str, path: str, body: bytes) -> dict[str, Any] | None:
        """What it says to somebody whom it knows by what is asked; None where it does not answer just now."""
        answer = await self.serve(method, path, {}, body) if self.up else None
        if answer is None or answer[0] == 503:
            return None
        if answer[0] != 200:
            self._world.violation(f"{path} was refused: {answer[1][:200]!r}")
            return None
        return dict(json.loads(answer[1]))

    def acknowledged(self, device: str, message: bytes) -> None:
        """The answer leaves now: what it says has to be on the disk."""
        frames = wire.unpack(message)
        places = {(device, f.epoch, f.stream, f.seq) for f in frames}
        self.acked |= places
        self._world.note("plane", "acknowledged", sorted({(d, s, n) for d, _, s, n in places}))
        if missing := self._missing(places):
            self._world.violation(f"acknowledged and not committed: {min(missing)}")
            self.acked -= missing

    def _missing(self, places: set[Place]) -> set[Place]:
        """Those of which the database has neither the record nor a gap event."""
        assert self._eye is not None
        try:
            held, told = records(self._eye), gaps(self._eye)
        except apsw.Error:  # a refusal of the simulated disk proves nothing
            return set()
        return {
            (device, epoch, stream, seq)
            for device, epoch, stream, seq in places - held
            if not any(g["stream"] == stream and g["first"] <= seq <= g["last"] for g in told.get((device, epoch), ()))
        }

    def keep(self) -> None:
        """A backup, taken between two transactions."""
        self.backup = (self.disk.files(), set(self.acked))

    def put_back(self) -> None:
        """For a plane that is off."""
        if self.backup is not None:
            self.disk.replace(self.backup[0])
            self.acked = set(self.backup[1])
            self.restores += 1


def numbers(stream: str, body: bytes) -> set[int]:
    """Of the scans or the counted event in a record."""
    try:
        if stream.startswith("samples:"):
            return set(map(int, decode(stream, body).value))
        event = decode_event(body) if stream == "event" else None
    except CodecFault:
        return set()
    return {event.data["n"]} if event is not None and event.kind == KIND else set()


def records(db: apsw.Connection) -> set[Place]:
    """The place of every record a plane's database holds."""
    blocks = db.execute("SELECT device, epoch, stream, seq, coalesce(last, seq) FROM block")
    found = {(*place, seq) for *place, first, last in blocks for seq in range(first, last + 1)}
    for stream, (table, number) in TABLES.items():
        found |= {(d, e, stream, n) for d, e, n in db.execute(f"SELECT device, epoch, {number} FROM {table}")}
    return found | {(d, e, "event", n) for d, e, n in db.execute("SELECT device, epoch, seq FROM checkpoint")}


def gaps(db: apsw.Connection) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The data of each gap event, by device and epoch."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for device, epoch, data in db.execute("SELECT device, epoch, data FROM event WHERE kind = 'gap' AND seq > 0"):
        found.setdefault((device, epoch), []).append(json.loads(data))
    return found


async def ask(app: Any, method: str, path: str, shown: dict[str, Any], body: bytes) -> Answer:
    """One request to an ASGI application."""
    where, _, query = path.partition("?")
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "https"}
    scope |= {"path": where, "raw_path": where.encode(), "query_string": query.encode(), "root_path": ""}
    scope |= {**shown, "headers": [], "client": ("device", 1)}
    scope["server"] = ("plane", 443)
    asked, answer, status = [body], bytearray(), 500

    async def receive() -> dict[str, Any]:
        if asked:
            return {"type": "http.request", "body": asked.pop(), "more_body": False}
        return await asyncio.get_running_loop().create_future()

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)
        answer.extend(message.get("body", b""))

    try:
        await app(scope, receive, send)
    except Exception as error:
        return 500, repr(error).encode()
    return status, bytes(answer)
