"""`lineside sim SITE`: serve all devices of a site on real sockets, moved as its `simulate:` says."""

from __future__ import annotations

import argparse
import asyncio
import errno
import math
import random
from pathlib import Path
from typing import Any

from .. import plugins
from ..config.check import raise_if_faulty
from ..config.load import load
from ..config.site import Config, Simulation
from ..errors import LinesideError
from ..log import log

HELP = "simulate the devices of a site on their own addresses"
STEP = 0.1  # seconds between two moves of all tags
REMEDIES = {
    errno.EADDRNOTAVAIL: "that is no address of this machine; to try the site, write 127.0.0.1 into its url",
    errno.EADDRINUSE: "something serves there already; end it, or write another port into the url",
    errno.EACCES: "ports below 1024 are for root; to try the site, write another one into the url, such as 5020",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path, help="site file (YAML); its `simulate:` says how the tags move")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the noise (default: 1)")


def run(options: argparse.Namespace) -> int:
    config = raise_if_faulty(load(options.site))
    try:
        asyncio.run(serve(config, options.seed))
    except KeyboardInterrupt:
        return 0
    return 0


def simulators(config: Config) -> dict[str, Any]:
    """A simulator for each driver entry that has one."""
    known, made = plugins.names("sims"), {}
    for name, part in config.drivers.items():
        if part.driver in known:
            try:
                made[name] = plugins.find("sims", part.driver)(name, part)
            except ValueError as error:
                raise LinesideError(f"{name}: {error}") from None
    return made


def level(move: Simulation, t: float, rng: random.Random) -> float | str:
    """The value of a simulated tag `t` seconds after the start."""
    if move.texts:
        return move.texts[int(t / move.period * len(move.texts)) % len(move.texts)]
    if move.pulse is not None:
        return move.mean + float(t % move.period < move.pulse)
    turn = t / move.period
    value = move.mean + move.swing * math.sin(2 * math.pi * turn) + move.ramp * math.floor(turn)
    return value + (rng.gauss(0, move.noise) if move.noise else 0.0)


async def serve(config: Config, seed: int = 1) -> None:
    """Until cancelled. A tag that stands still is set once, so that what is written to it stays."""
    sims, rng = simulators(config), random.Random(seed)
    if not sims:
        raise LinesideError("no device of this site can be simulated", hint="`lineside run` needs no simulator for it")
    for name, sim in sims.items():
        try:
            await sim.start()
        except LinesideError as error:
            raise LinesideError(f"{name}: {error}") from None
        except OSError as error:
            raise LinesideError(f"{name}: {error.strerror or error}", hint=REMEDIES.get(error.errno or 0, "")) from None
    log.info("all devices of %s answer", config.device.id)
    loop = asyncio.get_running_loop()
    start, step = loop.time(), 0
    levels: dict[str, float | str] = {}
    odd: set[str] = set()  # tags that were moved to where their type does not reach
    try:
        while True:
            for tag, move in config.simulate.items():
                source, _, name = tag.partition(".")
                value = level(move, step * STEP, rng)
                if source in sims and value != levels.get(tag):
                    try:
                        sims[source].set(name, value)
                    except ValueError as error:
                        if tag not in odd:
                            log.warning("simulate.%s: %s; it stays where it is meanwhile", tag, error)
                        odd.add(tag)
                    levels[tag] = value
            step += 1
            await asyncio.sleep(max(0.0, start + step * STEP - loop.time()))
    finally:
        for sim in sims.values():
            await sim.stop()
        log.info("simulation ended")
