"""A PLC on a real socket before a running station: the bench on which `lineside station conform` tries the handshake."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import re
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from edge import SECOND, LinesideError, find_part, load_site, read_yaml

from .lines import StationConfig
from .plc import Plc

NEEDED = ("trigger", "taken", "taken_id", "refused", "busy", "overrun", "heartbeat")
CYCLE = 0.01  # seconds
LOCAL = ("pattern", "folder", "pairs", "file")


class Bench:
    """One station of a site. `plc` is the program, `sim` the registers behind a socket, `log` every bit and word as it moved:
    seconds since the start, its name, its value."""

    def __init__(self, site: Path, stage: str | None = None) -> None:
        """Raises LinesideError for a site whose handshake cannot be tried."""
        self.site = site
        config = load_site(site)
        if config.problems:
            raise LinesideError("\n".join(map(str, config.problems)))
        stations = {name: entry for name, entry in config.stages.items() if isinstance(entry, StationConfig)}
        if stage not in stations and (stage or len(stations) != 1):
            raise LinesideError("say which station", hint=f"there are {', '.join(stations) or 'none'} in {site}")
        self.stage = stage or next(iter(stations))
        self.options = stations[self.stage]
        self.lines = self.options.plc
        if lacking := [name for name in NEEDED if not getattr(self.lines, name)]:
            words = f"the handshake cannot be tried without {', '.join(lacking)}"
            raise LinesideError(words, hint=f"name them under {self.stage}.plc")
        sources = {tag.partition(".")[0] for tag in (*self.lines.read().values(), *self.lines.written().values())}
        if len(sources) != 1 or (source := sources.pop()) not in config.drivers:
            raise LinesideError("the tags of the handshake are not those of one connection")
        self.source = source
        part: Any = config.drivers[source]
        self.sim = find_part("sims", part.driver)(source, part)
        if "://" not in str(getattr(part, "url", "")) or not hasattr(self.sim, "port"):
            raise LinesideError(
                f"{source} is no device on a network", hint="a serial line is tried with its own simulator"
            )
        self.sim.host, self.sim.port = "127.0.0.1", _free_port()
        self.url = str(part.url)
        self.below = {name: tag.partition(".")[2] for name, tag in (self.lines.read() | self.lines.written()).items()}
        self.takt = round(self.options.takt * SECOND)
        self.ack_within = self.options.takt if self.options.ack_within is None else self.options.ack_within
        self.plc = Plc(self.takt, memory=dict.fromkeys(self.lines.written(), 0.0))
        self.plc.resting = True
        self.log: list[tuple[float, str, float]] = []
        self.slowest = 0  # ns from trigger to verdict, before anything was broken on purpose
        self.changeover = 0  # ns from another product code to its recipe, the longest
        self.cable = False
        self._product = str(next(iter(self.options.recipes)))
        self._began = time.monotonic()
        self._process: asyncio.subprocess.Process | None = None

    @contextlib.asynccontextmanager
    async def running(self, folder: Path) -> AsyncIterator[None]:
        """The daemon and the PLC, both until the end."""
        await self.plug()
        self._folder = folder
        self._write_site()
        cycles = asyncio.create_task(self._cycle())
        try:
            await self.start()
            yield
        finally:
            cycles.cancel()
            await self.kill(gently=True)
            await self.pull()

    async def plug(self) -> None:
        """The cable is in: what the PLC held is still there."""
        await self.sim.start()
        held = self.plc.memory | {"trigger": float(self.plc.trigger), "ack": float(self.plc.ack)}
        for name, value in held.items():
            self.sim.set(self.below[name], float(value))
        if "part" in self.below:
            self.sim.set(self.below["part"], float(self.plc.part % 65_536))
        self.product(self._product)
        self.cable = True

    async def pull(self) -> None:
        if self.cable:
            self.cable = False
            await self.sim.stop()

    async def start(self) -> None:
        site, state = self._folder / "site.yaml", self._folder / "state"
        words = [sys.executable, "-P", "-m", "edge.cli", "run", str(site), "--state", str(state)]
        with (self._folder / "log").open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                *words, stdout=out, stderr=out, stdin=asyncio.subprocess.DEVNULL
            )

    async def kill(self, *, gently: bool = False) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate() if gently else self._process.kill()
            await self._process.wait()

    def said(self) -> str:
        """The last lines of the daemon."""
        return "\n".join((self._folder / "log").read_text(errors="replace").splitlines()[-5:])

    def product(self, code: str) -> None:
        """The PLC asks for this product from now on."""
        self._product = code
        if "product" in self.below:
            with contextlib.suppress(ValueError):
                self.sim.set(self.below["product"], float(code) if re.fullmatch(r"[\d.]+", code) else code)

    def restart_plc(self) -> None:
        self.plc.restart()
        for name in self.lines.written():
            self.sim.set(self.below[name], 0.0)

    async def until(self, true: Callable[[], object], seconds: float) -> bool:
        """Wait for a state; False where it did not come."""
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end or (self._process is not None and self._process.returncode is not None):
                return False
            await asyncio.sleep(CYCLE / 2)
        return True

    def see(self, name: str) -> float:
        """What stands in the PLC."""
        return self.plc.memory.get(name, 0.0)

    async def _cycle(self) -> None:
        while True:
            for name in self.lines.written() if self.cable else ():
                held = self.sim.get(self.below[name])
                value = float(await held if inspect.isawaitable(held) else held)
                if value != self.plc.memory[name] and self.cable:
                    self.plc.memory[name] = value
                    self._note(name, value)
            before = self.plc.trigger, self.plc.ack
            self.plc.step(time.monotonic_ns())
            if self.cable and self.plc.trigger and not before[0] and "part" in self.below:
                self.sim.set(self.below["part"], float(self.plc.part % 65_536))
            for name, old in zip(("trigger", "ack"), before, strict=True):
                new = getattr(self.plc, name)
                if new != old:
                    if self.cable:
                        self.sim.set(self.below[name], float(new))
                    self._note(name, float(new))
            await asyncio.sleep(CYCLE)

    def _note(self, name: str, value: float) -> None:
        self.log.append((time.monotonic() - self._began, name, value))

    def _write_site(self) -> None:
        """The site with its PLC at our socket, its cameras rendered where they are not local, and nothing beside."""
        data, _ = read_yaml(self.site)
        home = self.site.resolve().parent
        drivers = {n: e for n, e in data["drivers"].items() if n == self.source or e.get("driver") == "camera"}
        for name, entry in drivers.items():
            if name == self.source:
                entry["url"] = re.sub(r"//[^/?]+", f"//127.0.0.1:{self.sim.port}", self.url, count=1)
            elif str(entry.get("url")).partition(":")[0] not in LOCAL:
                entry["url"] = "pattern:parts"
                entry.pop("frozen_after", None)
            elif (kind := entry["url"].partition(":"))[0] != "pattern":
                entry["url"] = f"{kind[0]}:{home / kind[2]}"
        stage = data["stages"][self.stage]
        stage["recipes"] = {code: str(home / file) for code, file in stage["recipes"].items()}
        made = {"device": data["device"], "drivers": drivers, "stages": {self.stage: stage}}
        for beside in home.iterdir():
            if beside.name not in ("site.yaml", "state", "log"):
                (self._folder / beside.name).symlink_to(beside)
        (self._folder / "site.yaml").write_text(json.dumps(made))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as line:
        return int(line.getsockname()[1])
