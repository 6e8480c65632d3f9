"""Exchange the site of a running daemon: check, change by diff, judge by data, keep or roll back. No network needed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .config.load import load
from .config.site import Config
from .driver import DriverConfig
from .errors import ConfigFault
from .event import Event
from .rehearse import rehearse_all
from .wiring import build

if TYPE_CHECKING:
    from .app import Daemon

WORSE = 0.05  # how much smaller the share of good samples of a source may get


LONGEST_TRIAL = 600.0  # seconds


async def apply_site(daemon: Daemon, path: Path, trial: float = 10.0) -> list[str]:
    """Returns what was changed. Raises ConfigFault, with the old site running, when the new one has faults, fails its own
    tests, cannot be wired, or gives worse data than the old one within `trial` seconds (longer for slow sources)."""
    raise_if_no_trial(trial)
    if daemon.changing.locked():
        raise ConfigFault("another change of the site is under way", hint="try again when it is judged")
    async with daemon.changing:
        return await _apply(daemon, path, trial)


async def _apply(daemon: Daemon, path: Path, trial: float) -> list[str]:
    new = await asyncio.to_thread(load, path)
    await asyncio.to_thread(build, new, daemon.refused, daemon.folder)
    if new.problems:
        raise ConfigFault("; ".join(map(str, new.problems[:20])))
    if new.device.id != daemon.config.device.id:
        raise ConfigFault(f"this is device {daemon.config.device.id}, the site is for {new.device.id}")
    for outcome in await asyncio.to_thread(lambda: list(rehearse_all(new))):
        if outcome.faults:
            raise ConfigFault(f"its test {outcome.name!r} fails: {'; '.join(outcome.faults)}")
    old, before = daemon.config, shares(daemon)
    said = await daemon.change(new)
    mark = dict(daemon.live.good), dict(daemon.live.all)
    await asyncio.sleep(long_enough(trial, (p for n, p in new.drivers.items() if old.drivers.get(n) != p)))
    if reason := worse(daemon, old, new, before, mark):
        await daemon.change(old)
        daemon.accept(Event("config", path.name, "rolled_back", severity="medium", text=reason))
        raise ConfigFault(f"rolled back: {reason}", hint="the old site runs again")
    daemon.accept(Event("config", path.name, "applied", text=", ".join(said) or "rules only"))
    return said


def raise_if_no_trial(seconds: float) -> None:
    if not 0 <= seconds <= LONGEST_TRIAL:
        raise ConfigFault(f"a trial lasts 0 to {LONGEST_TRIAL:g} seconds, not {seconds:g}")


def long_enough(trial: float, drivers: Iterable[DriverConfig]) -> float:
    """Seconds in which each of these drivers has had its turn twice, and at least `trial`."""
    return max(trial, min(LONGEST_TRIAL, 2.5 * max((part.period() for part in drivers), default=0.0)))


def shares(daemon: Daemon) -> dict[str, float]:
    """Share of good samples of each source since the daemon started."""
    counts = {name: n - unknown(daemon.config.drivers.get(name)) for name, n in daemon.live.all.items()}
    return {name: daemon.live.good.get(name, 0) / n for name, n in counts.items() if n > 0}


def unknown(part: DriverConfig | None) -> int:
    """How many samples a driver begins with that only say that nothing is known yet of what can only be written."""
    return len(part.only_written()) if part else 0


def worse(
    daemon: Daemon,
    old: Config,
    new: Config,
    before: dict[str, float],
    mark: tuple[dict[str, int], dict[str, int]],
) -> str:
    """Why the new site is worse than the old one; empty if it is not. Only sources whose options changed are judged."""
    for name, part in new.drivers.items():
        if old.drivers.get(name) == part or not part.points():
            continue
        good = daemon.live.good.get(name, 0) - mark[0].get(name, 0)
        n = daemon.live.all.get(name, 0) - mark[1].get(name, 0) - unknown(part)
        was = before.get(name)
        if was == 0.0:
            continue  # it gave nothing before either
        silent = not part.period() or set(part.points()) <= set(part.only_written())
        if n <= 0 and silent:  # as a camera: it promises pictures, not samples
            outlet = daemon.drivers[name].outlet
            if outlet is None or outlet.state != "running":
                return f"{name} does not run"
            continue
        if not good:
            return f"{name} gave no good sample"
        if was is not None and good / n < was - WORSE:
            return f"{name} gave {good / n:.0%} good samples, {was:.0%} before"
    return ""
