"""`lineside plane rollout start|list|show|pause|resume|halt|back`. Works beside a running plane, whose worker carries it out."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge import LinesideError

from ..updates.manifest import PATH
from .rollout_options import CONFIG, RolloutOptions, from_words, load
from .rollout_plan import BACK, STUCK
from .rollouts import FROM, WORDS, R, act, listed, rollouts, start, summary
from .store import Store
from .updates import Updates
from .verb import Verb
from .where import Where, beside

DOES = ("start", "list", "show", *FROM)
LISTED = 20  # of the newest rollouts
SHOWN = 20  # devices of which a gate found something, and of each kind that have not gone back
STARTS = "`rollout start FILE.yaml`, or `rollout start model/washer-3 --class press`"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("do", choices=DOES, metavar="DO", help=", ".join(DOES))
    parser.add_argument(
        "what", nargs="?", default="", help="FILE or KIND/NAME-VERSION of `start`; else a rollout's number"
    )
    parser.add_argument("--json", action="store_true", help="`list` and `show` as JSON, a line each")
    start = parser.add_argument_group("start without a file")
    start.add_argument("--class", dest="kind", default="", metavar="NAME", help="devices of this class")
    start.add_argument("--site", default="", metavar="PATH", help="devices at this site or below it")
    start.add_argument("--device", action="append", default=[], metavar="NAME", help="this device (may be given again)")
    start.add_argument("--all", action="store_true", help="every device there is")
    start.add_argument("--waves", default="", metavar="LIST", help="as in 1,2%%,10%%,50%% (the default)")
    start.add_argument("--soak", default="", metavar="TIME", help="how long each device is watched (default: 10min)")
    start.add_argument("--shadow", action="store_true", help="a model beside the one that runs")
    start.add_argument("--back", action="store_true", help="at a breach each device goes back to what it had")


def plan_of(options: argparse.Namespace, what: str) -> RolloutOptions:
    """From a file, or from the options of the command line. Raises LinesideError."""
    given = {"--waves": options.waves, "--soak": options.soak, "--shadow": options.shadow, "--back": options.back}
    given |= {"--all": options.all, "--class": options.kind, "--site": options.site, "--device": options.device}
    if what != CONFIG and not PATH.fullmatch(what):
        if mixed := [name for name, said in given.items() if said]:
            raise LinesideError(f"{', '.join(mixed)} beside a file", hint=f"write it into {what}")
        if not Path(what).is_file():
            raise LinesideError(f"{what} is no file, and no artefact such as model/washer-3", hint=STARTS)
        return load(Path(what))
    chosen = {"class": options.kind, "site": options.site, "ids": options.device}
    said: dict[str, Any] = {"what": what, "devices": {k: v for k, v in chosen.items() if v}}
    said["devices"] |= {"all": True} if options.all else {}
    said |= {"waves": [_number(one) for one in options.waves.split(",")]} if options.waves else {}
    said |= {"soak": options.soak} if options.soak else {}
    said |= {"stage": "shadow"} if options.shadow else {}
    return from_words(said | ({"at_breach": "back"} if options.back else {}))


def _number(text: str) -> int | str:
    return int(text) if text.strip().isdecimal() else text


def run(where: Where, options: argparse.Namespace) -> int:
    """Raises LinesideError."""
    with beside(where) as store:
        asyncio.run(_run(store, options, Updates(where.folder).has))
    return 0


async def _run(store: Store, options: argparse.Namespace, published: Callable[[str], bool]) -> None:
    do, what = options.do, options.what
    if do == "start":
        if not what:
            raise LinesideError("what is to be rolled out?", hint=STARTS)
        plan = plan_of(options, what)
        number, many = await store.write(lambda c: start(c, plan, getpass.getuser(), published))
        print(f"rollout {number}: {plan.what} for {many} devices; `lineside plane rollout show {number}` follows it")
        return
    if do == "list":
        for said in await store.read(lambda c: [summary(c, one) for one in reversed(rollouts(c, newest=LISTED))]):
            print(json.dumps(said) if options.json else line(said))
        return
    if not what.isdecimal():
        wrong = f"{what!r} is no number of a rollout" if what else f"{do} which rollout?"
        raise LinesideError(wrong, hint="`lineside plane rollout list` shows them")
    number = int(what)
    if do in FROM:
        after = await store.write(lambda c: act(c, number, do, getpass.getuser()))
        print(f"rollout {number}: {after.plan.what} is {WORDS[after.state]} now")
        return
    found = await store.read(lambda c: [summary(c, one, whole=True) for one in rollouts(c, R.c.number == number)])
    if not found:
        raise LinesideError(f"there is no rollout {number}", hint="`lineside plane rollout list` shows them")
    hit = await store.read(lambda c: listed(c, number, hit=True, limit=SHOWN))
    if options.json:
        print(json.dumps({**found[0], "hit": hit}))
        return
    left = [await store.read(lambda c, s=state: listed(c, number, s, limit=SHOWN)) for state in (BACK, STUCK)]  # type: ignore[misc]
    rows = {row["device"]: row for row in (*hit, *left[0], *left[1])}
    print(line(found[0]), *_waves(found[0]), *_hit(list(rows.values())), sep="\n")


def line(said: dict[str, Any]) -> str:
    """One rollout, for people."""
    states = ", ".join(f"{n} {state}" for state, n in sorted(said["devices"].items()))
    at = time.strftime("%Y-%m-%d %H:%M", time.gmtime(said["created"]))
    wave = f"wave {said['wave'] + 1} of {said['waves']}" if said["waves"] else "no waves yet"
    stage = "" if said["stage"] == "run" else f" in {said['stage']}"
    why = f"; {said['reason']}" if said["reason"] else ""
    return f"{said['number']:4} {said['what']}{stage}  {said['state']} ({wave}{why})  by {said['by']} {at}  {states}"


def _waves(said: dict[str, Any]) -> list[str]:
    out = []
    for counts in said["in_waves"]:
        of = dict(counts)
        wave = of.pop("wave")
        out.append(f"     wave {wave + 1}: {', '.join(f'{n} {state}' for state, n in of.items())}")
    return out + ([f"     {said['waits_for']}"] if said["waits_for"] else [])


def _hit(rows: list[dict[str, Any]]) -> list[str]:
    """Why, of each."""
    found = [(f"{row['device']} (wave {row['wave'] + 1})", row["hit"] or row["state"], row["why"]) for row in rows]
    return [f"     {who}: {what}: {why}" if why else f"     {who}: {what}" for who, what, why in found]


def _changes(options: argparse.Namespace) -> bool:
    return options.do not in ("list", "show")


VERBS = {"rollout": Verb("bring a version of something to devices in waves", run, arguments, _changes)}
