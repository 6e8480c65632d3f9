"""How the commissioning tools reach a device: through the daemon where one runs, else on a connection of their own."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from pydantic import ValidationError

from edge import ConfigFault, DeviceLost, LinesideError, NoDaemon, SystemClock, ask_daemon, load_site, log, state_folder

from .address import Address
from .client import Client
from .line import Line, open_bus
from .line_units import Units
from .options import ModbusConfig
from .plan import FUNCTIONS, Request
from .scans import BROKEN as UNFIT
from .scans import EXCEPTIONS

SILENT, BROKEN = -1, -2  # no answer; one that is none to the request
LONGEST_DIAL = 5.0  # seconds


class Answer(NamedTuple):
    """What came back for one read: its words, or a `code`: a Modbus exception, SILENT or BROKEN."""

    words: tuple[int, ...]
    code: int = 0

    @property
    def said(self) -> str:
        own = {SILENT: "no answer", BROKEN: "an answer that does not fit"}
        return own[self.code] if self.code in own else EXCEPTIONS.get(self.code, f"exception {self.code}")


class Reach(Protocol):
    """One device or bus. `timeout` in seconds, for one request."""

    where: str
    timeout: float
    reached: bool  # whether there was a connection

    async def read(self, unit: int, first: Address, count: int) -> Answer:
        """One read, one request on the wire. Raises DeviceLost where there is no connection (any more)."""
        ...

    async def close(self) -> None: ...


class Direct:
    """A connection of its own, made at the first read and made anew after a break."""

    def __init__(self, config: ModbusConfig, timeout: float) -> None:
        self.where, self.timeout, self._config = config.url, timeout, config
        self.reached = False
        self._client: Client | Line | None = None

    async def read(self, unit: int, first: Address, count: int) -> Answer:
        if self._client is None or self._client.lost:
            self._client = await opened(self._config)
            self.reached = True
        words = np.zeros(count, np.uint16)
        request = Request(unit, FUNCTIONS[first.table], first.number, count, 0)
        scan = await self._client.scan([request], words, self.timeout)
        if self._client.units.echoes:
            raise LinesideError(f"{self.where}: {self._config.where.echoes}")
        if scan.codes[0] < 0:
            return Answer((), BROKEN if scan.codes[0] == UNFIT else SILENT)
        return Answer((), scan.codes[0]) if scan.codes[0] else Answer(tuple(words.tolist()))

    async def close(self) -> None:
        if self._client is not None:
            self._client.close()


class Through:
    """The running daemon reads for us, on the connection that it has, between its own requests."""

    def __init__(self, folder: Path, driver: str, timeout: float) -> None:
        self.where, self.timeout = f"{driver}, through the running daemon", timeout
        self._folder, self._driver = folder, driver
        self.reached = True

    async def read(self, unit: int, first: Address, count: int) -> Answer:
        request = {"do": "tool", "driver": self._driver, "want": "read", "unit": unit, "first": str(first)}
        request |= {"count": count, "timeout": self.timeout}
        said = await asyncio.to_thread(ask_daemon, self._folder, request, self.timeout + 30)
        return Answer(tuple(said["words"]), said["code"])

    async def close(self) -> None: ...


async def opened(config: ModbusConfig) -> Client | Line:
    """A connection as the site describes it. Raises DeviceLost."""
    try:
        async with asyncio.timeout(LONGEST_DIAL):
            client = await open_bus(config, SystemClock(), Units(config.timeout, config.every))
    except TimeoutError:
        raise DeviceLost(
            f"no connection to {config.url} within {LONGEST_DIAL:g} s", hint="check address, cable and firewall"
        ) from None
    if config.pause:
        await asyncio.sleep(config.pause)
    return client


def target_arguments(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Where the device is: `tcp://host:502`, or SITE DRIVER."""
    told = f"tcp://host:502, or SITE DRIVER (a site file and an entry below its `drivers:`){more}"
    parser.add_argument("target", nargs="+", metavar="WHERE", help=told)
    parser.add_argument("--state", type=Path, metavar="FOLDER", help="folder of the journal, if not the usual one")


def reach(words: Sequence[str], state: Path | None, timeout: float) -> tuple[Reach, ModbusConfig]:
    """The way to what WHERE names. Raises ConfigFault."""
    if len(words) == 1 and "://" in words[0]:
        config = of_url(words[0])
        return Direct(config, timeout), config
    if len(words) != 2:
        raise ConfigFault(f"{' '.join(words)!r} names no device", hint="write tcp://192.168.1.10:502, or SITE DRIVER")
    site, name = words
    loaded = load_site(Path(site))
    entry = loaded.drivers.get(name)
    if entry is None and loaded.problems:
        raise ConfigFault("\n".join(map(str, loaded.problems)))
    if not isinstance(entry, ModbusConfig):
        known = ", ".join(n for n, part in loaded.drivers.items() if isinstance(part, ModbusConfig))
        what = "is no Modbus driver" if entry is not None else "is not a driver of this site"
        raise ConfigFault(f"{name!r} {what}", hint=f"its Modbus drivers: {known or 'none'}")
    folder = state_folder(loaded.device.id, state)
    try:
        ask_daemon(folder, {"do": "status"}, 10)
        return Through(folder, name, timeout), entry
    except NoDaemon:
        log.info("no daemon runs: %s is asked directly", entry.url)
        return Direct(entry, timeout), entry


def of_url(url: str) -> ModbusConfig:
    """A connection that no site describes. Raises ConfigFault."""
    try:
        return ModbusConfig.model_validate({"driver": "modbus", "url": url})
    except ValidationError as error:
        raise ConfigFault(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def unit_of(config: ModbusConfig, given: str | None) -> int:
    """A unit by its number or its name in the site; without one the site's only unit. Raises ConfigFault."""
    units, known = config.units, ", ".join(config.units)
    if given is None and len(units) > 1 and not config.tags:
        raise ConfigFault("several units are behind this connection", hint=f"name one with --unit: {known}")
    if given is None:
        return next(iter(units.values())).unit if len(units) == 1 and not config.tags else config.unit
    if given in units:
        return units[given].unit
    if given.isascii() and given.isdigit() and int(given) <= 255:
        return int(given)
    raise ConfigFault(f"{given!r} is no unit", hint=f"a number from 0 to 255{f', or one of {known}' if known else ''}")


def refused(where: str, unit: int, first: Address, answer: Answer) -> LinesideError:
    """Why a read that had to succeed did not, and what to try."""
    todo = {
        SILENT: "is the unit number right (`lineside probe` finds it), is another master holding the only connection?",
        1: "it does not have this table; try input: in place of holding:, or the other way round",
        2: "it has no such address; compare with its manual, and try one lower and one higher",
    }.get(answer.code, "compare with the device's manual")
    return LinesideError(f"{where}: unit {unit}, {first}: {answer.said}", hint=todo)
