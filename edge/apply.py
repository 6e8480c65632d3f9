"""Exchange the site of a running daemon: check, change by diff, judge by data, keep or roll back. No network needed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from .clock import SECOND
from .config.load import load
from .config.site import Config
from .errors import ConfigFault
from .event import Event
from .log import log
from .probing import probe
from .rehearse import rehearse_all
from .tags import TagTable
from .trial import LONGEST_TRIAL, before, long_enough, mark, worse
from .wiring import build

if TYPE_CHECKING:
    from .app import Daemon

LOOK_BACK = 5.0  # seconds before a change whose data are compared with those after it
PROBE = 5.0  # seconds in which a device answers that nothing was read from before


class RolledBack(ConfigFault):
    """The new site did worse than the old one, which runs again."""


async def apply_site(daemon: Daemon, path: Path, trial: float = 10.0, by: str = "local") -> list[str]:
    """Returns what was changed; its event says `by` whom. Raises ConfigFault, with the old site running, when the new one has
    faults, fails its own tests, cannot be wired, or gives worse data than the old one within `trial` seconds (longer for slow
    sources)."""
    raise_if_no_trial(trial)
    if daemon.changing.locked():
        raise ConfigFault("another change of the site is under way", hint="try again when it is judged")
    async with daemon.changing:
        said = await exchange(daemon, await asyncio.to_thread(load, path), path.name, trial, by=by)
        if daemon.sent.running:
            said.append(f"{path.name} runs in place of {daemon.sent.running}, which was sent, until something new is")
        daemon.sent.left()
        return said


async def exchange(
    daemon: Daemon, new: Config, called: str, trial: float, *, unattended: bool = False, by: str = "plane"
) -> list[str]:
    """The same of a site that is read already, for who holds `daemon.changing`. `unattended`: nobody is there to see what it does,
    so a new device has to answer first, and an alarm that it raises counts against it. Raises RolledBack where it was tried."""
    first = mark(daemon)
    await asyncio.to_thread(build, new, daemon.refused, daemon.folder)
    if new.problems:
        raise ConfigFault("; ".join(map(str, new.problems[:20])))
    if new.device.id != daemon.config.device.id:
        raise ConfigFault(f"this is device {daemon.config.device.id}, the site is for {new.device.id}")
    for outcome in await asyncio.to_thread(lambda: list(rehearse_all(new))):
        if outcome.faults:
            raise ConfigFault(f"its test {outcome.name!r} fails: {'; '.join(outcome.faults)}")
    if unattended:
        await _answer(daemon, new)
    looked = (daemon.clock.mono() - first.mono) / SECOND
    await asyncio.sleep(max(0.0, min(LOOK_BACK, trial / 2) - looked))
    was = before(daemon, first)
    said = await daemon.change(new)
    try:
        began = mark(daemon)
        changed = [part for name, part in new.drivers.items() if was.config.drivers.get(name) != part]
        await asyncio.sleep(long_enough(trial, changed))
        reason = worse(daemon, new, was, began, alarms=unattended)
    except Exception as error:  # nobody can say how it does
        log.exception("%s cannot be judged", called)
        reason = f"it cannot be judged: {type(error).__name__}: {error}"
    if reason:
        await daemon.change(was.config)
        daemon.accept(Event("config", called, "rolled_back", severity="medium", text=reason, data={"by": by}))
        raise RolledBack(f"rolled back: {reason}", hint="the old site runs again")
    daemon.accept(Event("config", called, "applied", text=", ".join(said) or "rules only", data={"by": by}))
    return said


async def _answer(daemon: Daemon, new: Config) -> None:
    """Read once from each device that is new here. What shares its port with what runs is not disturbed: it is judged by its data.
    One that was dead before may be so still."""
    held = {part.port() for part in daemon.config.drivers.values()}
    fresh = {
        name: part
        for name, part in new.drivers.items()
        if daemon.config.drivers.get(name) != part
        and not (part.port() and part.port() in held)
        and not (name in daemon.config.drivers and not daemon.live.good.get(name))
    }
    table = TagTable.numbered(new.tags())
    found = await asyncio.gather(*(probe(name, part, table, daemon.folder, PROBE) for name, part in fresh.items()))
    faults = [f"{name}: {one.fault}" for name, one in zip(fresh, found, strict=True) if one.fault and not one.late]
    if faults:
        raise ConfigFault("; ".join(faults), hint="nothing was changed")


def raise_if_no_trial(seconds: float) -> None:
    if not 0 <= seconds <= LONGEST_TRIAL:
        raise ConfigFault(f"a trial lasts 0 to {LONGEST_TRIAL:g} seconds, not {seconds:g}")
