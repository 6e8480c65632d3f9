"""Whether a new site does worse than the old one, by the data that come in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from .clock import SECOND
from .config.site import Config
from .driver import DriverConfig
from .expressions import expression_names

if TYPE_CHECKING:
    from .app import Daemon

WORSE = 0.05  # how much smaller the share of good samples of a source may get
SLOWER = 0.5  # part of the samples that it gave, of those it promises, that a source has to give still
LONGEST_TRIAL = 600.0  # seconds
FEW = 5  # samples due in a time; of fewer nothing is said of their rate


class Mark(NamedTuple):
    """How many samples each source has given until `mono` (ns), how many of them were good, and which alarms stand."""

    mono: int
    all: dict[str, int]
    good: dict[str, int]
    alarms: frozenset[str]


def mark(daemon: Daemon) -> Mark:
    stand = frozenset(alarm["alarm"] for alarm in daemon.alarms() if alarm["active"])
    return Mark(daemon.clock.mono(), dict(daemon.live.all), dict(daemon.live.good), stand)


def long_enough(trial: float, drivers: Iterable[DriverConfig]) -> float:
    """Seconds in which each of these drivers has had its turn twice, and at least `trial`."""
    return max(trial, min(LONGEST_TRIAL, 2.5 * max((part.period() for part in drivers), default=0.0)))


def unknown(part: DriverConfig | None) -> int:
    """How many samples a driver begins with that only say that nothing is known yet of what can only be written."""
    return len(part.only_written()) if part else 0


class Before(NamedTuple):
    """What a site gave before a change: `first` and `last` are when that was looked at, `shares` those of good samples of each
    source since the daemon started."""

    config: Config
    first: Mark
    last: Mark
    shares: dict[str, float]


def before(daemon: Daemon, first: Mark) -> Before:
    last = mark(daemon)
    counts = {name: n - unknown(daemon.config.drivers.get(name)) for name, n in last.all.items()}
    shares = {name: last.good.get(name, 0) / n for name, n in counts.items() if n > 0}
    return Before(daemon.config, first, last, shares)


def worse(daemon: Daemon, new: Config, was: Before, began: Mark, *, alarms: bool) -> str:
    """Why the new site is worse than the old one; empty if it is not. With `alarms` also one that is raised by what was
    changed, though its rule was there before."""
    now = mark(daemon)
    for name, part in new.drivers.items():
        if not part.points():
            continue
        same = was.config.drivers.get(name) == part
        if not same and (why := _few_good(daemon, name, part, was, began, now)):
            return why
        if why := _slower(name, part, was, began, now, starved=same):
            return why
    raised = sorted(now.alarms - was.last.alarms) if alarms else []
    for alarm in raised:
        if alarm in was.config.alarms and alarm in new.alarms and _touched(alarm, was.config, new):
            return f"the alarm {alarm} was raised"
    return ""


def _few_good(daemon: Daemon, name: str, part: DriverConfig, was: Before, began: Mark, now: Mark) -> str:
    """Of a source whose options changed."""
    good = now.good.get(name, 0) - began.good.get(name, 0)
    n = now.all.get(name, 0) - began.all.get(name, 0) - unknown(part)
    share = was.shares.get(name)
    if share == 0.0:
        return ""  # it gave nothing before either
    silent = not part.period() or set(part.points()) <= set(part.only_written())
    if n <= 0 and silent:  # as a camera: it promises pictures, not samples
        outlet = daemon.drivers[name].outlet
        return "" if outlet is not None and outlet.state == "running" else f"{name} does not run"
    if not good:
        return f"{name} gave no good sample"
    if share is not None and good / n < share - WORSE:
        return f"{name} gave {good / n:.0%} good samples, {share:.0%} before"
    return ""


def _slower(name: str, part: DriverConfig, was: Before, began: Mark, now: Mark, *, starved: bool) -> str:
    """Of a source that gives less than before of what it promises. `starved`: its own options are as they were; then its samples
    are good, and only the time for them is gone (a device that was switched off meanwhile is nobody's fault)."""
    old = was.config.drivers.get(name)
    if part.pushes():
        return ""
    first, last = _kept(name, old, was.first, was.last), _kept(name, part, began, now)
    if first is None or last is None or last >= SLOWER * first:
        return ""
    n, good = (of.get(name, 0) - at.get(name, 0) for of, at in ((now.all, began.all), (now.good, began.good)))
    if starved and good < n * (1 - WORSE):
        return ""
    return f"{name} gave {last:.0%} of the samples that it promises, {first:.0%} before"


def _kept(name: str, part: DriverConfig | None, first: Mark, last: Mark) -> float | None:
    """Which part of the samples that a source promises came between two times."""
    if part is None:
        return None
    written = part.only_written()
    each = [part.period_of(tag) for tag in part.points() if tag not in written]
    due = (last.mono - first.mono) / SECOND * sum(1 / period for period in each if period)
    return (last.all.get(name, 0) - first.all.get(name, 0)) / due if due >= FEW else None


def _touched(alarm: str, old: Config, new: Config) -> bool:
    """Whether a rule, or anything that it reads, is not what it was."""
    if old.alarms[alarm] != new.alarms[alarm]:
        return True
    reads, seen = set(expression_names(new.alarms[alarm].when)), set[str]()
    while reads:
        name = reads.pop()
        seen.add(name)
        if name in new.virtual:
            if new.virtual[name] != old.virtual.get(name):
                return True
            reads |= set(expression_names(new.virtual[name].expression)) - seen
            continue
        source = name.partition(".")[0]
        if any(of.get(source) != to.get(source) for of, to in ((old.drivers, new.drivers), (old.stages, new.stages))):
            return True
    return False
