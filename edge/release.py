"""Releases of this program beside each other. Which one runs is settled at the start by the one that was installed first: it goes
on as the one on trial, as the one that did well last, or as itself.

`updates/runtime` in the state folder holds a folder VERSION-DIGEST for each, with a Python environment in it, the links `current`,
`previous` and `candidate`, `trial.json` while one is on trial, and `ended.json`, how the last trial ended. A release that does not
start three times, or is not well in time, is given up without anybody's help. It does nothing to the journal that the one before
could not open (`migrations.OPENS`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .clock import SECOND, SystemClock
from .config.journal import JournalConfig
from .errors import LinesideError
from .links import CANDIDATE, CURRENT, PREVIOUS, led_to, point, to_disk
from .log import log

if TYPE_CHECKING:
    from .app import Daemon
    from .config.site import Config

RELEASE, BASE = "LINESIDE_RELEASE", "LINESIDE_BASE"  # the version that was handed over to, and who did
MOST_STARTS = 3  # of one on trial
WITHIN, STEADY = 180, 30  # seconds until it has to be well, and for how long without a break
LOOK = 1.0  # seconds between two looks


@dataclass(frozen=True)
class Trial:
    """`parts` ran when it began."""

    version: str
    generation: int
    parts: tuple[str, ...]
    starts: int = 0


@dataclass(frozen=True)
class Ended:
    """How the last trial ended: `running` or `rolled_back`."""

    version: str
    generation: int
    state: str
    reason: str


def home_of(state: Path) -> Path:
    return state / "updates" / "runtime"


def running() -> str:
    """The version of this process."""
    return os.environ.get(RELEASE) or metadata.version("lineside")


def on_trial(home: Path) -> Trial | None:
    said = _read(home / "trial.json")
    with contextlib.suppress(TypeError, KeyError):
        return Trial(**{**said, "parts": tuple(said["parts"])}) if said else None
    return None


def ended(home: Path) -> Ended | None:
    said = _read(home / "ended.json")
    with contextlib.suppress(TypeError):
        return Ended(**said) if said else None
    return None


def begin(home: Path, place: Path, trial: Trial) -> None:
    """At the next start `place` is on trial."""
    point(home / CANDIDATE, place)
    _keep(home / "trial.json", asdict(trial))


def confirm(home: Path, trial: Trial, reason: str) -> None:
    place, now = led_to(home / CANDIDATE), led_to(home / CURRENT)
    if place is None:
        return
    if now not in (None, place):
        assert now is not None
        point(home / PREVIOUS, now)
    point(home / CURRENT, place)
    _end(home, Ended(trial.version, trial.generation, "running", reason))


def give_up(home: Path, trial: Trial, reason: str) -> None:
    """What ran before runs again at the next start."""
    log.error("release %s is given up: %s", trial.version, reason)
    _end(home, Ended(trial.version, trial.generation, "rolled_back", reason))


def _end(home: Path, how: Ended) -> None:
    _keep(home / "ended.json", asdict(how))
    (home / "trial.json").unlink(missing_ok=True)
    (home / CANDIDATE).unlink(missing_ok=True)


# At the start


def hand_over(site: Config, state: Path, arguments: Sequence[str]) -> None:
    """Go on as the release that is to run, in the same process; returns where that is this one, or the site (the person's own file,
    which may have faults) allows no other: its `installs` has to name the runtime."""
    sync = site.tree.data.get("sync") if isinstance(site.tree.data, dict) else None
    allowed = sync.get("installs") if isinstance(sync, dict) else None
    if RELEASE in os.environ or not isinstance(allowed, list) or "runtime" not in allowed:
        return
    home = home_of(state)
    while (place := _chosen(home)) is not None:
        program, version = place / "bin" / "lineside", place.name.partition("-")[0]
        try:
            os.execve(program, [str(program), *arguments], _surroundings(version))
        except OSError as error:
            trial = on_trial(home)
            if trial is None:
                log.error("release %s cannot be started (%s); the one that was installed runs", version, error.strerror)
                return
            give_up(home, trial, f"it cannot be started: {error.strerror}")


def _chosen(home: Path) -> Path | None:
    trial, candidate = on_trial(home), led_to(home / CANDIDATE)
    if trial is not None and candidate is not None:
        if trial.starts < MOST_STARTS:
            _keep(home / "trial.json", asdict(trial) | {"starts": trial.starts + 1})
            return candidate
        give_up(home, trial, f"it was started {trial.starts} times and never was well")
    return led_to(home / CURRENT)


def again(arguments: Sequence[str]) -> NoReturn:
    """Begin anew as the one that was installed first, which chooses."""
    base, rest = sys.executable, {name: value for name, value in os.environ.items() if name not in (RELEASE, BASE)}
    if BASE in os.environ:
        base, before = json.loads(os.environ[BASE])
        rest |= before
    os.execve(base, [base, "-P", "-m", "edge.cli", *arguments], rest)


def _surroundings(version: str) -> dict[str, str]:
    """Ours, but for what would bring our own code into the release."""
    ours = {key: value for key, value in os.environ.items() if key.startswith("PYTHON")}
    rest = {key: value for key, value in os.environ.items() if key not in ours}
    return {**rest, RELEASE: version, BASE: json.dumps([sys.executable, ours])}


# While it runs


async def watch(daemon: Daemon) -> None:
    """Of one on trial: whether it is well in time. It needs no plane, and no part of `sync`."""
    home = home_of(daemon.folder)
    trial = on_trial(home)
    if trial is None or trial.version != os.environ.get(RELEASE):
        return
    began = well_since = daemon.clock.mono()
    why = "nothing was looked at yet"
    while (now := daemon.clock.mono()) - began < WITHIN * SECOND:
        if why := await _ill(daemon, trial):
            well_since = now
        elif now - well_since >= STEADY * SECOND:
            await asyncio.to_thread(confirm, home, trial, f"it was well for {STEADY} s")
            log.info("release %s is well, and runs from now on", trial.version)
            return
        await asyncio.sleep(LOOK)
    await asyncio.to_thread(
        give_up, home, trial, f"it was not well within {WITHIN} s: {why or 'it was, but not all the time'}"
    )
    daemon.restart()


async def _ill(daemon: Daemon, trial: Trial) -> str:
    """What runs no more of what ran before; "" where all is well."""
    if not await daemon.journal.commit():
        return f"the journal keeps nothing: {daemon.journal.trouble}"
    parts = daemon.health.parts
    known = [name for name in trial.parts if name in daemon.config.parts()]
    lost = [name for name in known if name not in parts or parts[name].state not in ("running", "")]
    return f"{lost[0]} does not run: {parts[lost[0]].reason if lost[0] in parts else 'it is not there'}" if lost else ""


def _read(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        said = json.loads(path.read_text())
        return said if isinstance(said, dict) else {}
    return {}


def _keep(path: Path, said: dict[str, Any]) -> None:
    fresh = path.with_suffix(".new")
    with fresh.open("w") as out:
        json.dump(said, out)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(path)
    to_disk(path.parent)


def main() -> int:
    """`python -m edge.release JOURNAL`: whether this release opens it; what stands in the way on standard output."""
    from .journal import Journal

    try:
        Journal(Path(sys.argv[1]), SystemClock(), JournalConfig()).close()
    except (LinesideError, OSError) as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
