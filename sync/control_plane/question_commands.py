"""`lineside plane command DEVICE VERB` and `lineside plane commands DEVICE`. They work beside a running plane."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import time
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from sqlalchemy import select

from edge import LinesideError

from . import tables
from .pictures import Pictures
from .questions import ENDS, Question, told
from .queued import queue
from .store import Store
from .verb import Verb, never
from .where import Where, beside, objects_of

LOOK = 0.5  # seconds between two looks for the answer


def run_ask(where: Where, options: argparse.Namespace) -> int:
    """0 where it was answered (or, without --wait, asked), 1 where not. Raises LinesideError."""
    names = ("tags", "camera", "n", "within", "every", "seconds", "expires", "id")
    said = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    try:
        question = Question.model_validate({"verb": options.question, **said})
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        words = first["msg"].removeprefix("Value error, ")
        raise LinesideError(f"{at}: {words}" if at else words, hint="`lineside plane command --help`") from None
    return asyncio.run(_ask(where, options, question))


async def _ask(where: Where, options: argparse.Namespace, question: Question) -> int:
    with beside(where) as store:
        await _known(store, options.device)
        data = question.data(f"{getpass.getuser()} at the plane")
        number = await store.write(lambda c: queue(c, options.device, question.verb, data))
        if options.wait is None:
            print(f"order {number} is queued; `lineside plane commands {options.device}` tells what becomes of it")
            return 0
        found = await _end(store, options.device, number, time.monotonic() + options.wait)
        show(found, options.json)
        if options.out is not None and found["pictures"]:
            await _fetch(where, store, found["pictures"][0], options.out, time.monotonic() + options.wait)
    return 0 if found["state"] == "done" else 1


async def _known(store: Store, device: str) -> None:
    t = tables.device
    if await store.read(lambda c: c.scalar(select(t.c.id).where(t.c.id == device))) is None:
        raise LinesideError(f"{device} is not enrolled here", hint="`lineside plane devices` lists them")


async def _end(store: Store, device: str, number: int, until: float) -> dict[str, Any]:
    while True:
        (found,) = await store.read(lambda c: told(c, device, 1, number))
        if found["state"] in ENDS or time.monotonic() > until:
            return found
        await asyncio.sleep(LOOK)


async def _fetch(where: Where, store: Store, digest: str, file: Path, until: float) -> None:
    """What the answer names follows after it, under the line's budget."""
    pictures = Pictures(store, objects_of(where))
    try:
        while (found := await pictures.whole(digest)) is None:
            if time.monotonic() > until:
                raise LinesideError(f"{digest} has not come yet", hint="it follows when nothing more urgent waits")
            await asyncio.sleep(LOOK)
    finally:
        pictures.close()
    try:
        await asyncio.to_thread(file.write_bytes, found[1])
    except OSError as error:
        raise LinesideError(f"{file} cannot be written: {error.strerror}") from None
    print(f"{file}: {len(found[1])} bytes")


def show(one: dict[str, Any], as_json: bool) -> None:
    """One order for people, or as a line of JSON."""
    if as_json:
        print(json.dumps(one, ensure_ascii=False))
        return
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(one["created"]))
    print(f"{one['number']}  {when}  {one['verb']:8}  {one['state']:8}  {one['by']}  {one['text']}".rstrip())
    answer = one["answer"] or {}
    for value in answer.get("values", []):
        old = "never read" if value["age"] is None else f"{value['age']:.1f} s old"
        print(f"  {value['tag']} = {value['value']} {value['unit']}  {value['quality']}, {old}")
    for finding in answer.get("findings", []):
        todo = f"  ->  {finding['todo']}" if finding["todo"] else ""
        print(f"  {finding['state']:<5} {finding['what']:<16} {finding['how']}{todo}")
    for event in answer.get("events", []):
        print(f"  {event['kind']} {event['key']} {event['state']}  {event['text']}".rstrip())
    for line in answer.get("log", []):
        print(f"  {line}")
    for digest in one["pictures"]:
        print(f"  {digest}")


def run_list(where: Where, options: argparse.Namespace) -> int:
    asyncio.run(_list(where, options))
    return 0


async def _list(where: Where, options: argparse.Namespace) -> None:
    with beside(where) as store:
        await _known(store, options.device)
        for one in reversed(await store.read(lambda c: told(c, options.device, options.last))):
            show(one if options.json else {**one, "answer": None, "pictures": []}, options.json)


def _ask_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = get_args(Question.model_fields["verb"].annotation)
    parser.add_argument("device")
    parser.add_argument("question", choices=verbs, metavar="VERB", help=", ".join(verbs))
    parser.add_argument("--tag", dest="tags", action="append", help="of `read` and `live` (may be given again)")
    parser.add_argument("--camera", help="of `capture`: the name of its driver")
    parser.add_argument("--n", type=int, metavar="N", help="of `tail`: events and lines (20)")
    parser.add_argument("--within", type=float, metavar="S", help="of `capture`: seconds for the next picture (10)")
    parser.add_argument("--every", type=float, metavar="S", help="of `live`: seconds between two messages (1)")
    parser.add_argument("--seconds", type=float, metavar="S", help="of `live`: how long (300); 0 ends it")
    parser.add_argument("--expires", type=float, metavar="S", help="seconds for which the device may begin (300)")
    parser.add_argument("--id", help="a second order with the same id is the same order")
    told = "wait for the answer, for so many seconds (60)"
    parser.add_argument("--wait", nargs="?", type=float, const=60.0, metavar="S", help=told)
    parser.add_argument("--out", type=Path, metavar="FILE", help="with --wait: the picture or bundle of the answer")
    parser.add_argument("--json", action="store_true", help="as one line of JSON")


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device")
    parser.add_argument("--last", type=int, default=20, metavar="N", help="how many (20)")
    parser.add_argument("--json", action="store_true", help="one order a line")


VERBS = {
    "command": Verb(
        "ask a device: read tags, take a picture, tail, self-test, support bundle, live", run_ask, _ask_arguments
    ),
    "commands": Verb("list what was asked of a device, and its answers", run_list, _list_arguments, never),
}
