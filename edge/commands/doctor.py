"""`lineside doctor [SITE]`: what may be wrong on this machine, and what to do."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from importlib import metadata, util
from pathlib import Path
from typing import Any

import apsw
import msgpack

from ..clock import RELEASED
from ..config.load import load
from ..config.site import Config
from ..config.types import as_duration
from ..control import ask
from ..errors import LinesideError
from ..outlook import foretell
from ..reader import delivering
from ..records import backlog, journal_of
from ..room import Budget
from ..state import state_folder
from ..texts import MOST
from .arguments import some_seconds, state_option
from .bus import Bus

HELP = "look for what may be wrong on this machine and say what to do"
EXTRAS = {"plane": "fastapi", "vision": "cv2", "tflite engine": "ai_edge_litert", "onnx engine": "onnxruntime"}
MOST_WRITTEN = 20 * 10**9  # bytes a day: 10 years of that wear out a good card of 64 GB
OK, WARN, BAD = "ok", "warn", "bad"
MEND = "restart the daemon: it moves what can be read to a new file, and keeps this one as journal.db.damaged"
Finding = tuple[str, str, str, str]  # state, what, how it is, what to do


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "site", type=Path, nargs="?", help="site file (YAML); without one only the machine is looked at"
    )
    state_option(parser)
    told = "where no daemon runs: read the devices from here for so long, and judge their answers"
    parser.add_argument("--seconds", type=some_seconds, metavar="S", help=told)
    parser.add_argument("--json", action="store_true", help="one JSON object per finding on standard output")


def run(options: argparse.Namespace) -> int:
    findings = list(machine())
    if options.site:
        findings += site(options.site, options.state, options.seconds)
    for state, what, how, todo in findings:
        if options.json:
            print(json.dumps({"state": state, "what": what, "how": how, "todo": todo}, ensure_ascii=False))
        else:
            print(f"{state:<5} {what:<16} {how}{f'  ->  {todo}' if todo else ''}")
    return 1 if any(state == BAD for state, *_ in findings) else 0


def machine() -> Iterator[Finding]:
    """What does not depend on a site."""
    yield (
        OK,
        "lineside",
        f"{metadata.version('lineside')}, Python {platform.python_version()}, {platform.machine()}",
        "",
    )
    sqlite = tuple(map(int, apsw.sqlite_lib_version().split(".")))
    known = sqlite >= (3, 51, 3)
    yield (OK if known else BAD), "sqlite", apsw.sqlite_lib_version(), "" if known else "install apsw 3.51.3 or newer"
    clock = time.time_ns() > RELEASED
    yield (
        (OK if clock else BAD),
        "clock",
        time.strftime("%Y-%m-%d %H:%M:%S"),
        "" if clock else "set the clock, or give it NTP",
    )
    for extra, module in EXTRAS.items():
        there = util.find_spec(module) is not None
        yield (
            (OK if there else WARN),
            extra,
            "installed" if there else "not installed",
            "" if there else "needed only if the site uses it",
        )


def site(path: Path, given: Path | None, seconds: float | None = None) -> Iterator[Finding]:
    """What concerns one site: its faults, its journal, its daemon."""
    config = load(path)
    n = len(config.problems)
    todo = f"lineside check {path}" if n else ""
    yield (
        (BAD if n else OK),
        "site",
        f"faults: {n}" if n else f"tags: {len(config.tags())}, connections: {len(config.drivers)}",
        todo,
    )
    folder = state_folder(config.device.id, given)
    near = next(p for p in (folder, *folder.resolve().parents) if p.exists())
    free = shutil.disk_usage(near).free
    yield (
        (OK if free > 2 * 10**9 else WARN),
        "disk",
        f"{free / 1e9:.1f} GB free",
        "" if free > 2 * 10**9 else "free some space",
    )
    yield from journal(folder, config)
    for name, part in config.drivers.items():
        port = getattr(part, "port", str)()
        if port.startswith("/dev/") and not os.access(port, os.R_OK | os.W_OK):
            yield BAD, name, f"{port} cannot be opened", "add this user to the group dialout"
    asked = list(daemon(folder, sorted(delivering(config.sections))))
    yield from asked
    if asked[0][0] == OK:
        for name in config.drivers:
            yield from bus(folder, name)
    elif seconds and not config.problems:
        yield from asyncio.run(observed(config, given, seconds))


def journal(folder: Path, config: Config) -> Iterator[Finding]:
    try:
        db = journal_of(folder / "journal.db")
        (said,) = next(db.execute("PRAGMA quick_check(1)"))
        size = sum(p.stat().st_size for p in folder.glob("journal.db*"))
        blocks, samples = next(db.execute("SELECT count(*), coalesce(sum(n), 0) FROM block"))
    except LinesideError as error:
        yield WARN, "journal", str(error), ""
        return
    except apsw.Error as error:
        yield BAD, "journal", f"cannot be read: {error}", MEND
        return
    with contextlib.suppress(apsw.Error):
        yield lasting(db, folder, config)
    sound = said == "ok"
    how = f"{size / 1e6:.1f} MB; sealed blocks: {blocks}, with {samples:,} samples" if sound else str(said)
    yield (OK if sound else BAD), "journal", how, "" if sound else MEND
    with contextlib.suppress(apsw.Error):  # a damaged journal, or one of before: said already, or nothing to say
        for tag, n in db.execute("SELECT tag, count(*) FROM text GROUP BY tag HAVING count(*) > ?", (0.9 * MOST,)):
            (body,) = next(db.execute("SELECT body FROM tag WHERE id = ?", (tag,)))
            todo = "does it hold a time or a serial number? It may need another register"
            yield WARN, "text", f"{msgpack.unpackb(body)[0]} had {n:,} strings, there is room for {MOST:,}", todo


def lasting(db: apsw.Connection, folder: Path, config: Config) -> Finding:
    """How long the journal lasts without a link, against what the site asks for."""
    readers = sorted(delivering(config.sections))
    budget = Budget.on(folder, config.journal.at_most)
    told = foretell(db, budget, readers, time.time_ns(), folder)
    fits = told.holds is None or told.holds * 3600 >= config.journal.offline
    todo = (
        "" if fits else f"`journal: offline` asks for {as_duration(config.journal.offline)}: allow more by `at_most`, "
    )
    todo += "" if fits else "use a larger disk, or keep less by `deadband`"
    return (OK if fits else WARN), "buffer", f"{told.size()}; {told.words()}", todo


def waiting(reader: str, waits: dict[str, int]) -> Finding:
    return OK, "backlog", f"{reader}: {waits['records']:,} records, {waits['samples']:,} samples to be delivered", ""


def daemon(folder: Path, readers: list[str]) -> Iterator[Finding]:
    """What the running daemon says; where none runs, how far each reader got according to the journal."""
    try:
        status = ask(folder, {"do": "status"}, 5)
    except (LinesideError, OSError, ValueError) as error:
        yield WARN, "daemon", str(error), "or let `--seconds 20` read the devices from here"
        with contextlib.suppress(LinesideError, apsw.Error):  # journal() said so already
            db = journal_of(folder / "journal.db")
            yield from [waiting(reader, backlog(db, reader)) for reader in readers]
        return
    yield (
        OK,
        "daemon",
        f"up {status['uptime']:.0f} s, {status['samples']:,} samples, {status['dropped']:,} given up",
        "",
    )
    if written := status.get("disk", {}).get("written_a_day"):
        todo = (
            ""
            if written < MOST_WRITTEN
            else "it wears flash: lengthen `journal: durable_within`, keep less by `deadband`"
        )
        yield (WARN if todo else OK), "flash", f"{written / 1e6:,.0f} MB are written a day", todo
    if status["journal"] != "fine":
        yield BAD, "disk", status["journal"], "free some space; the daemon goes on by itself"
    for reader, waits in status["backlog"].items():
        yield waiting(reader, waits)
    yield from parts(status["parts"])


def parts(report: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Those that do not run, and those that say something about how they do."""
    for name, part in report.items():
        if part["state"] == "running" and part["reason"]:
            yield OK, name, part["reason"], ""
        elif part["state"] != "running":
            reason = part["reason"]
            todo = "" if reason.endswith(")") else "is it on, is the address right?"  # else it says itself what to do
            yield WARN, name, f"{part['state']}: {reason}", todo


def bus(folder: Path, name: str) -> Iterator[Finding]:
    """What a running driver says of its bus, unit by unit; nothing where none runs or it has nothing to say."""
    with contextlib.suppress(LinesideError, OSError, ValueError, KeyError):
        for state, what, how, todo in ask(folder, {"do": "tool", "driver": name, "want": "doctor"}, 10)["findings"]:
            yield str(state), str(what), str(how), str(todo)


async def observed(config: Config, state: Path | None, seconds: float) -> list[Finding]:
    """What each driver says of its bus after it has run here, beside the others, for `seconds`."""
    here = Bus(config, state)

    async def one(name: str) -> list[Finding]:
        async with here.serving(name) as driver:
            await asyncio.sleep(seconds)
            findings = list(parts({name: here.health.report()[name]}))
            if hasattr(driver, "tool"):
                with contextlib.suppress(LinesideError, ValueError, KeyError):
                    findings += map(tuple, (await driver.tool({"want": "doctor"}))["findings"])
            return findings

    return [finding for found in await asyncio.gather(*map(one, config.drivers)) for finding in found]
