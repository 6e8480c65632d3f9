"""`lineside plane config`: layers of configurations, what comes of them, and sending it."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edge import LinesideError

from . import config, config_send
from .config_send import Change
from .store import Store
from .twin import Want, want
from .updates import Updates
from .verb import Verb
from .where import Where, beside

USE = (
    "layers | put LAYER FILE | check LAYER FILE | history LAYER | layer LAYER [VERSION] | show DEVICE | text DEVICE | "
    "send LAYER | want LAYER NAME-VERSION | adopt DEVICE | revert DEVICE | leave DEVICE"
)
READS = ("layers", "history", "layer", "show", "text", "check")
MOST_LINES = 40  # of what changes, for one group of devices
SOME = 5  # devices named of a group


async def _do(store: Store, words: Sequence[str], body: str, published: Callable[[str], bool]) -> int:
    """Beside a running plane, as `plane invite`; it sees what is wanted within half a minute. The code is 1 where there are
    faults."""
    match words:
        case ["layers"]:
            found = (await store.read(config.newest)).values()
            for layer in found:
                print(_line(layer))
            if not found:
                print("no layer is kept yet; `lineside plane config put class/NAME FILE` keeps one", file=sys.stderr)
        case ["history", name]:
            for layer in await store.read(lambda c: config.versions(c, config.layer_named(name))):
                print(_line(layer))
        case ["layer", name, *version] if len(version) < 2:
            print((await _layer(store, name, *version)).body, end="")
        case ["put", name, _]:
            return await _put(store, name, body)
        case ["check", name, _]:
            return _tell(await config_send.check(store, name, body))
        case ["show", device]:
            return await _show(store, device)
        case ["send", name]:
            made = await config_send.send(store, name, _me(), lambda wants, again: _want(store, wants, again))
            for one in made:
                if not one.after.problems:
                    print(f"{one.after.version} is wanted of {_some(one.devices)}")
            return _faults(made)
        case ["want", name, version]:
            devices = await config_send.want_signed(
                store, name, version, _me(), lambda wants, again: _want(store, wants, again), published
            )
            print(f"config/{version}, which somebody signed, is wanted of {_some(devices)}")
        case ["text", device]:
            now = await config_send.stands(store, device)
            print(now["text"], end="")
            for problem in now["problems"]:
                print(f"fault    {problem}", file=sys.stderr)
            return int(bool(now["problems"]))
        case ["adopt", device]:
            layer = await config_send.adopt(store, device, _me(), lambda wants, again: _want(store, wants, again))
            print(f"{layer.place} says what was written at {device}, and is wanted there")
        case ["revert", device]:
            once_more = await config_send.revert(store, device, _me(), lambda wants, again: _want(store, wants, again))
            print(f"{once_more} is wanted of {device} once more")
        case ["leave", device]:
            await config_send.leave(store, device, _me(), lambda wants, again: _want(store, wants, again))
            print(f"nothing is wanted of {device} any more: its own file runs")
        case _:
            raise LinesideError("`plane config` does not take that", hint=USE)
    return 0


async def _want(store: Store, wants: Sequence[Want], again: bool) -> int:
    return await store.write(lambda c: want(c, wants, again))


async def _layer(store: Store, name: str, version: str = "") -> config.Layer:
    found = await store.read(lambda c: config.versions(c, config.layer_named(name)))
    for layer in found:
        if version in ("", str(layer.version)):
            return layer
    raise LinesideError(f"there is no {name}{f'@{version}' if version else ''}", hint="`lineside plane config layers`")


async def _put(store: Store, name: str, body: str) -> int:
    """Kept also where devices would have faults: a change of several layers has steps. Nothing is sent."""
    changes = await config_send.check(store, name, body)
    layer = await store.write(lambda c: config.put(c, name, body, _me()))
    print(f"{layer.place} is kept; `lineside plane config send {layer.name}` sends what comes of it")
    return _tell(changes)


def _tell(changes: Sequence[Change]) -> int:
    if not changes:
        print("no device has this layer yet")
    for one in changes:
        lines = one.lines
        many = f"{len(lines)} change{'s' * (len(lines) > 1)}" if lines else "no change"
        print(f"{_some(one.devices)}: {many}")
        for line in lines[:MOST_LINES]:
            print(f"    {line}")
        if len(lines) > MOST_LINES:
            print(f"    and {len(lines) - MOST_LINES} more")
    return _faults(changes)


def _faults(made: Sequence[Change]) -> int:
    for one in made:
        if one.after.problems:
            print(f"not for {_some(one.devices)}:", *one.after.problems, sep="\n    ")
    return int(any(one.after.problems for one in made))


async def _show(store: Store, device: str) -> int:
    """The document with where each value comes from, then what is wanted, runs, and why."""
    now = await config_send.stands(store, device)
    for one in now["values"]:
        print(f"{one['from']:28} {one['path']}: {one['value']}")
    print(f"layers   {', '.join(now['layers']) or 'none'}")
    print(f"makes    {now['version']}{' (not sent)' if now['unsent'] else ''}")
    wanted, told = now["wanted"], now["told"]
    print(
        f"wanted   {wanted['version']} since {_when(wanted['since'])} by {wanted['by']}"
        if wanted
        else "wanted   nothing"
    )
    if told:
        runs, why = told["running"] or "its own", f": {told['reason']}" if told["reason"] else ""
        print(f"tried    {told['tried'] or 'nothing'}\nruns     {runs}\nstate    {told['state']}{why}")
    for line in now["drift"]:
        print(f"draft    {line}")
    for problem in now["problems"]:
        print(f"fault    {problem}")
    return int(bool(now["problems"]))


def _line(layer: config.Layer) -> str:
    return f"{layer.place:40} {_when(layer.at)} by {layer.by}"


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def _some(devices: Sequence[str]) -> str:
    more = f" and {len(devices) - SOME} more" if len(devices) > SOME else ""
    return ", ".join(devices[:SOME]) + more


def _me() -> str:
    return getpass.getuser()


def _run(where: Where, options: argparse.Namespace) -> int:
    words = options.words
    try:
        body = Path(words[2]).read_text("utf-8") if len(words) == 3 and words[0] in ("put", "check") else ""
    except UnicodeDecodeError:
        raise LinesideError(f"{words[2]}: not UTF-8 text", hint="save it as UTF-8") from None

    async def work() -> int:
        with beside(where) as store:
            return await _do(store, words, body, Updates(where.folder).has)

    return asyncio.run(work())


def _words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="+", metavar="WORD", help=f"{USE}; a LAYER is {config.LAYERS}")


def _changes(options: argparse.Namespace) -> bool:
    return options.words[0] not in READS


VERBS = {"config": Verb("say what devices are configured to do, and send it", _run, _words, _changes)}
