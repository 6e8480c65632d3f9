"""`lineside sim SITE`: serve all devices of a site on real sockets, moved as its `simulate:` says."""

from __future__ import annotations

import argparse
import asyncio
import math
import random
from pathlib import Path
from typing import Any

from .. import plugins
from ..config.check import raise_if_faulty
from ..config.load import load
from ..config.site import Config, Simulation
from ..log import log

HELP = "simulate the devices of a site on their own addresses"
STEP = 0.1  # seconds between two moves of all tags


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path)
    parser.add_argument("--seed", type=int, default=1, help="of the noise")


def run(options: argparse.Namespace) -> int:
    config = raise_if_faulty(load(options.site))
    try:
        asyncio.run(serve(config, options.seed))
    except KeyboardInterrupt:
        return 0
    return 0


def simulators(config: Config) -> dict[str, Any]:
    """A simulator for each driver entry that has one."""
    known = plugins.names("sims")
    return {
        name: plugins.find("sims", part.driver)(name, part)
        for name, part in config.drivers.items()
        if part.driver in known
    }


def level(move: Simulation, t: float, rng: random.Random) -> float:
    """The value of a simulated tag `t` seconds after the start."""
    if move.pulse is not None:
        return float(t % move.period < move.pulse)
    turn = t / move.period
    value = move.mean + move.swing * math.sin(2 * math.pi * turn) + move.ramp * math.floor(turn)
    return value + (rng.gauss(0, move.noise) if move.noise else 0.0)


async def serve(config: Config, seed: int = 1) -> None:
    """Until cancelled. A tag that stands still is set once, so that what is written to it stays."""
    sims, rng = simulators(config), random.Random(seed)
    for sim in sims.values():
        await sim.start()
    log.info("all devices of %s answer", config.device.id)
    loop = asyncio.get_running_loop()
    start, step = loop.time(), 0
    levels: dict[str, float] = {}
    try:
        while True:
            for tag, move in config.simulate.items():
                source, _, name = tag.partition(".")
                value = level(move, step * STEP, rng)
                if source in sims and value != levels.get(tag):
                    sims[source].set(name, value)
                    levels[tag] = value
            step += 1
            await asyncio.sleep(max(0.0, start + step * STEP - loop.time()))
    finally:
        for sim in sims.values():
            await sim.stop()
        log.info("simulation ended")
