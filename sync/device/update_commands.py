"""`lineside update SITE`: what updates there are for this device, and bringing one here, from the plane or from a USB stick."""

from __future__ import annotations

import argparse
import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge import SystemClock, load_site, site_and_state, state_folder

from ..updates.manifest import UpdateRefused
from . import identity
from .allowance import Allowance, Counted
from .certificate import Certificate
from .floor import Floors, second_place
from .options import SyncConfig
from .transport import Https, Transport
from .update_source import Absent, AtPlane, InFolder, Source

if TYPE_CHECKING:
    from .install import Models
    from .updates import Updates

HELP = "look for signed updates, at the plane or on a stick, and bring one here"
FOLDER = "updates"


def arguments(parser: argparse.ArgumentParser) -> None:
    site_and_state(parser)
    parser.add_argument("--from", dest="stick", type=Path, metavar="FOLDER", help="a repository that somebody brought")
    parser.add_argument("--take", metavar="KIND/NAME-VERSION", help="bring this one here; its place is printed")
    parser.add_argument("--install", metavar="model/NAME-VERSION", help="bring it here, prove it and switch to it")
    parser.add_argument("--back", metavar="NAME", help="of a model, to the one before")
    parser.add_argument("--trust", type=Path, metavar="FILE", help="the root to begin with, if the plane brought none")
    told = "I agree to a folder whose time is over; older than what this device has seen it may not be"
    parser.add_argument("--expired", action="store_true", help=told)
    parser.add_argument(
        "--now", action="store_true", help="though today's bytes are spent, or it is not the time for it"
    )


def opened(device: str, folder: Path, takes: list[str]) -> Updates:
    """The updates of a device whose state is in `folder`."""
    from .updates import Updates

    return Updates(folder / FOLDER, Floors((folder, second_place(device))), SystemClock(), tuple(takes))


def run(options: argparse.Namespace) -> int:
    site = load_site(options.site)
    folder = state_folder(site.device.id, options.state)
    try:
        return _run(site, folder, options)
    finally:
        hand_over(folder)


def hand_over(folder: Path) -> None:
    """With sudo: what was made belongs to the service's own user, as the folder of its state does."""
    if os.geteuid() or not (folder / FOLDER).exists():
        return
    owner = folder.stat()
    for path in (folder / FOLDER, *(folder / FOLDER).rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _run(site: Any, folder: Path, options: argparse.Namespace) -> int:
    sync = site.sections.get("sync")
    found = sync if isinstance(sync, SyncConfig) else None
    updates = opened(site.device.id, folder, found.takes if found else [])
    if options.back:
        print(_models(updates).back(options.back))
        return 0
    if options.trust:
        print(f"root {updates.trust(options.trust.read_bytes())} is trusted")
        if not (options.stick or options.take or options.install):
            return 0
    if options.stick:
        _work(updates, InFolder(options.stick), options)
        return 0
    me = identity.load(folder, site.device.id)
    if found and found.url.startswith("https:"):
        me = replace(me, url=found.url)
    asyncio.run(_at_plane(updates, me, found, options, folder))
    return 0


def _models(updates: Updates) -> Models:
    from .install import Models

    return Models(updates)


def _work(updates: Updates, source: Source, options: argparse.Namespace) -> None:
    updates.refresh(source, options.expired)
    if options.install:
        updates.bring(source, options.install)
        print(_models(updates).install(options.install))
        return
    if options.take:
        print(updates.bring(source, options.take))
        return
    for path in sorted(updates.artefacts()):
        try:
            print(f"{path}: {updates.manifest(path).size:,} bytes")
        except UpdateRefused as error:
            print(f"{path}: not for this device: {error}")


async def _at_plane(
    updates: Updates, me: identity.Identity, sync: SyncConfig | None, options: argparse.Namespace, folder: Path
) -> None:
    line: Transport = Https(me, Certificate(folder, me))
    allowance = None
    if sync is not None:
        gives = sync.gives
        allowance = Allowance(gives.a_day, sync.windows, SystemClock(), folder, sync.a_second or 0)

    async def turn() -> None:
        if allowance is None:
            return
        if (why := allowance.holds(pictures=True)) and not options.now:
            raise UpdateRefused(f"updates {why}", hint="what came is kept; run it again then, or with --now")
        while rest := allowance.rest():
            await asyncio.sleep(rest)

    try:
        source = AtPlane(Counted(line, allowance, much=True) if allowance else line, turn, me.url)
        await asyncio.to_thread(_work, updates, source, options)
    finally:
        line.close()


async def trust_plane(device: str, folder: Path, line: Transport) -> str:
    """Begin with the first root of a plane with which this device has just enrolled; what is to be said of it."""
    try:
        updates = opened(device, folder, [])
        source = AtPlane(line)
        root = await asyncio.to_thread(source.read, "metadata/1.root.json", 0)
        version = updates.trust(root[1])
        hand_over(folder)
    except (ImportError, Absent):
        return ""
    except UpdateRefused as error:
        return f"its updates are not taken: {error}"
    return f"updates are taken that those sign whom its root {version} names"
