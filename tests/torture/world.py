"""One run: a plane and its devices, faults by the dice of one seed, a quiet end, and the judgement."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import random
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import apsw
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from edge import LinesideError
from sync.control_plane import fold, ingest, live, messages, presence, queued, records, store, twin
from sync.control_plane.invite import Wish, invited
from sync.control_plane.twin import Want
from sync.device import key
from sync.device.compare import NAME

from . import dialect, disk  # noqa: F401  (the dialect is registered by its import)
from .check import Verdict, judge
from .device import Device
from .faults import FAULTS, WEIGHTS, disk_replaced
from .plane import Plane, ask
from .virtual import Time, run

LIVE_WITHIN = 240.0  # seconds after the last fault in which everything has arrived, by itself
WANTED = (  # of a device, and not said to be refused, as each is here
    "SELECT 1 FROM want LEFT JOIN told_twin USING (device, kind, name) WHERE device = ?"
    " AND (state IS NULL OR state <> 'refused' OR told_twin.generation < want.generation)"
)
BETWEEN = 9.0  # seconds from one fault to the next, on average


class World:
    """`history` holds (seconds, who, what, detail) of all that happened."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.rng, self.folder = random.Random(seed), folder
        self.history: list[tuple[float, str, str, Any]] = []
        self.violations: list[str] = []
        self.faults = self.cuts = self.kills = 0  # cuts of the power and kills that really ended a machine
        self.calm = False  # no more faults
        self._moving: set[asyncio.Task[None]] = set()
        self._began = asyncio.get_running_loop().time()
        self.plane = Plane(self)
        self.devices = [Device(self, f"dev-{i}") for i in range(self.rng.choice((1, 1, 2)))]

    def note(self, who: str, what: str, detail: Any = "") -> None:
        self.history.append((round(asyncio.get_running_loop().time() - self._began, 3), who, what, detail))

    def violation(self, words: str) -> None:
        self.note("checker", "violation", words)
        if len(self.violations) < 100:
            self.violations.append(words)

    async def enrol(self, device: Device) -> None:
        """As `lineside enroll` does, over the same routes."""
        invitation = await invited(self.plane._store, Wish())
        request = key.request(device.pem, device.name)
        body = json.dumps({"invitation": invitation, "request": request}).encode()
        status, answer = await ask(self.plane.ingest.app, "POST", "/d/v1/enroll", {}, body)
        assert status == 200, answer
        assert json.loads(answer)["certificate"]
        device.link.scope = device.shows

    # Machines end by faults, and start again by themselves

    async def keep_device(self, device: Device) -> None:
        while True:
            await device.ended.wait()
            await device.bury()
            self._ended(device.name, device.disk)
            await asyncio.sleep(self.rng.choice((1.0, 3.0, 20.0)))
            device.start()

    async def care(self, device: Device) -> None:
        """Who reads what a device says of a journal that was copied back, and moves it away."""
        while True:
            await asyncio.sleep(5.0)
            part = device.health.part(NAME)
            if device.up and part.state == "stopped" and "copied back" in part.reason:
                if not device.copied_back:
                    self.violation(f"{device.name}: nobody copied its journal back: {part.reason}")
                self.note(device.name, "moved away", part.reason)
                await disk_replaced(self, device)

    def moving(self, box: asyncio.Task[None]) -> asyncio.Task[None]:
        """What ends by itself, and is waited for."""
        self._moving.add(box)
        return box

    def _ended(self, who: str, its: disk.Disk) -> None:
        self.cuts += its.power_lost
        self.kills += not its.power_lost
        self.note(who, "ended", "power" if its.power_lost else "killed")

    async def keep_plane(self) -> None:
        plane = self.plane
        while True:
            await plane.ended.wait()
            plane.bury()
            self._ended("plane", plane.disk)
            await asyncio.sleep(self.rng.choice((0.5, 2.0, 15.0)))
            plane.start()

    async def order(self) -> None:
        """Commands for the devices, numbered."""
        number = 0
        while not self.calm:
            await asyncio.sleep(self.rng.uniform(5, 40))
            name = self.rng.choice(self.devices).name
            if self.plane.up and name in self.plane.hub.devices:
                number += 1
                if self.rng.random() < 0.3:
                    with contextlib.suppress(LinesideError):
                        await self.plane.ingest.want([Want(name, "model", "m", f"v{number}")])
                    continue
                data = {"alarm": "a", "n": number, "epoch": self.plane.hub.devices[name].epoch}
                with contextlib.suppress(LinesideError):
                    await self.plane.ingest.command(name, "ack", data)

    async def chaos(self, seconds: float) -> None:
        names = list(FAULTS)
        until = asyncio.get_running_loop().time() + seconds
        running: set[asyncio.Task[None]] = set()
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(self.rng.expovariate(1 / BETWEEN))
            name = self.rng.choices(names, [WEIGHTS.get(name, 1.0) for name in names])[0]
            device = self.rng.choice(self.devices)
            self.faults += 1
            self.note(device.name, "fault", name)
            task = asyncio.ensure_future(FAULTS[name](self, device))
            running.add(task)
        await _end(running)

    def heal(self) -> None:
        self.calm = True
        for machine in (self.plane, *self.devices):
            machine.disk.full, machine.disk.refuse, machine.disk.cut_after = False, 0.0, 0
        for device in self.devices:
            device.link.heal()

    # The end

    async def settled(self) -> bool:
        """Whether the plane has all that the devices sealed."""
        if not self.plane.up or not all(device.up for device in self.devices):
            return False
        with contextlib.closing(apsw.Connection(str(self.plane.path))) as db:
            for device in self.devices:
                try:
                    if not await self._settled(device, device.journal, db):
                        return False
                except apsw.Error:  # it ended meanwhile
                    return False
        return True

    async def _settled(self, device: Device, journal: Any, db: apsw.Connection) -> bool:
        waiting = journal._pending
        unsealed = await journal.ask(lambda c: list(c.execute("SELECT 1 FROM tail")))
        if journal._committing.locked() or waiting.batches or waiting.events or unsealed:
            return False
        last = await journal.ask(lambda c: dict(c.execute("SELECT name, seq FROM stream")))
        found = db.execute(
            "SELECT stream, watermark FROM applied WHERE device = ? AND epoch = ?", (device.name, journal.epoch)
        )
        stands = dict(found)
        if any(stands.get(stream, 0) < seq for stream, seq in last.items()):
            return False
        waits = await journal.backlog("sync")  # what was given up meanwhile no cursor goes to
        return not waits["records"] and not db.execute(WANTED, (device.name,)).fetchall()

    async def drain(self) -> None:
        """Everything is well again: everything has to arrive, and nobody helps."""
        for box in self._moving:
            await box
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LIVE_WITHIN
        await asyncio.sleep(15)
        for device in self.devices:
            device.producing = False
        while loop.time() < deadline:
            await asyncio.sleep(2.0)
            if await self.settled():
                self.note("world", "settled")
                break
        else:
            self.violation(f"not everything has arrived {LIVE_WITHIN:g} s after the last fault")
        for device in self.devices:  # what was under way for long comes now, as a repeat
            await device.link.quiet()
        await self.plane.make_hours()


async def _live(seed: int, folder: Path) -> tuple[Verdict, World]:
    world = World(seed, folder)
    with _clocks(asyncio.get_running_loop()):
        assert world.plane.start()
        tasks = [asyncio.ensure_future(world.keep_plane())]
        for device in world.devices:
            await world.enrol(device)
            assert device.start()
            tasks.append(asyncio.ensure_future(world.keep_device(device)))
            tasks.append(asyncio.ensure_future(world.care(device)))
        world.plane.keep()
        tasks.append(asyncio.ensure_future(world.order()))
        await asyncio.sleep(world.rng.uniform(1, 30))
        await world.chaos(world.rng.uniform(120, 420))
        world.heal()
        await world.drain()
        await _end(tasks)
        for device in world.devices:
            device.disk.stop()
            await device.bury(last=True)
        verdict = judge(world)
        world.plane.disk.stop()
        world.plane.bury()
    return verdict, world


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel them; what one of them raised before is raised here."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


@contextlib.contextmanager
def _clocks(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """The plane's modules read the clock of the run."""
    with contextlib.ExitStack() as until_end:
        for module in (ingest, presence, fold, live, store, messages, records, queued, twin):
            if hasattr(module, "time"):
                until_end.enter_context(mock.patch.object(module, "time", Time(loop)))
        until_end.enter_context(mock.patch("edge.pending.MOST_BYTES", 20_000))  # a full disk is felt soon
        steady = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        until_end.enter_context(mock.patch("sync.checkpoint.SIGNED", steady))  # a seed is the same each time
        yield


def play(seed: int) -> tuple[Verdict, World]:
    """One seed, from the beginning to the verdict."""
    disk.install()
    with tempfile.TemporaryDirectory(prefix="lineside-torture-") as name:
        verdict, world = run(_live(seed, Path(name).resolve()), seed)
    disk.DISKS.clear()
    gc.collect()
    return verdict, world
