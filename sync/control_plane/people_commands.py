"""`lineside plane person`, `apikey`, `place` and `audit`, and the row that every verb leaves which changes something. They work
beside a running plane, on the same database."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, update

from edge import Duration, LinesideError

from . import audit, cases, people, tables
from .access import place_of
from .audit import LOCAL, Deed
from .permissions import ROLES
from .tree import node
from .unended import Under
from .verb import Verb, never
from .where import Where, beside, opened

T = TypeVar("T")
LONGEST_KEY = 366 * 24 * 3600.0  # seconds that a key is good for
PERSON = (
    "person list | add NAME [ROLE ...] [--at NODE] | bind NAME ROLE [--at NODE] | unbind NAME ROLE [--at NODE] | password NAME | "
    "signout NAME | remove NAME"
)
APIKEY = "apikey list | add NAME ROLE [--at NODE] [--valid 90d] | remove NAME"
AUDIT = "audit show | export FILE | check [EXPORT]"


def me() -> str:
    """Who works at this machine."""
    try:
        return f"{LOCAL}:{getpass.getuser()}"
    except (KeyError, OSError):
        return LOCAL


def recorded(where: Where, options: argparse.Namespace, verb: Verb) -> int:
    """What a verb does, and its row after that; a refusal has one as well, where there is a plane. Raises LinesideError."""
    names = _own(verb)
    told = {name: said for name, said in vars(options).items() if name in names and said not in (None, "", [], False)}
    words = [str(word) for word in (told.pop("do", None), *told.pop("words", ())) if word]
    what = " ".join(["plane", options.verb, *words[:1]])
    about = " ".join([*words[1:], *(f"{name}={said}" for name, said in told.items())])
    place = str(told.get("at") or told.get("site") or "")

    deed = Deed(me(), LOCAL, what, place, about, after=audit.digest(about))
    under = Under(lambda: deed)

    def record(result: str) -> None:
        with contextlib.closing(opened(where)) as store:
            asyncio.run(store.write(under.ends(audit.record, replace(deed, result=result))))

    if verb.files and (where.folder / "ca.pem").exists():
        with contextlib.closing(opened(where)) as store:
            asyncio.run(store.write(lambda c: under.note(c, deed)))
    try:
        with under.way():
            code = verb.run(where, options)
    except LinesideError as error:
        if (where.folder / "ca.pem").exists():
            record(f"refused: {error}")
        raise
    record("done" if code == 0 else f"ended with {code}")
    return code


def _own(verb: Verb) -> set[str]:
    """How the options are called that are the verb's own."""
    parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    verb.arguments(parser)
    return {action.dest for action in parser._actions}


def _on(where: Where, work: Callable[[Connection], T], reads: bool = False) -> T:
    """In one transaction of the plane's database. Raises LinesideError."""

    async def done() -> T:
        with beside(where) as store:
            return await (store.read if reads else store.write)(work)

    return asyncio.run(done())


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def _wrong(use: str) -> LinesideError:
    return LinesideError("that is not how it goes", hint=f"plane {use}")


def _words(use: str) -> Callable[[argparse.ArgumentParser], None]:
    def arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("words", nargs="*", metavar="WORD", help=f"{use}; a ROLE is one of {', '.join(ROLES)}")
        told = "at which node of the tree, as in acme/east (default: the root, the whole plane)"
        parser.add_argument("--at", default="", metavar="NODE", help=told)
        if use is APIKEY:
            parser.add_argument("--valid", default="24h", metavar="TIME", help="how long a key is good (default: 24h)")

    return arguments


def _lists(options: argparse.Namespace) -> bool:
    return options.words[:1] not in ([], ["list"])


# People


def _person(where: Where, options: argparse.Namespace) -> int:
    at = node(options.at)
    match options.words:
        case [] | ["list"]:
            for row in _on(where, people.listed, reads=True):
                print(_line(row))
        case ["add", name, *given]:
            people.named(name)
            roles = [people.bound(role, at) for role in given]
            kept = people.password(_asked(name))

            def new(connection: Connection) -> None:
                people.add(connection, name, kept)
                for role in roles:
                    people.bind(connection, name, *role)

            _on(where, new)
            print(f"{name} has an account" + ("" if roles else "; `person bind` gives a role"))
        case ["bind", name, role]:
            _on(where, lambda c: people.bind(c, name, role, at))
            print(f"{name} is {role} at {at or 'the root'}")
        case ["unbind", name, role]:
            _on(where, lambda c: people.unbind(c, name, role, at))
            print(f"{name} is no {role} at {at or 'the root'} any more")
        case ["password", name]:
            kept = people.password(_asked(name))
            _on(where, lambda c: people.another_password(c, name, kept))
            print(f"{name} has another password, and is signed in nowhere")
        case ["signout", name]:
            print(f"{_on(where, lambda c: people.end(c, name))} sessions of {name} are over")
        case ["remove", name]:
            _on(where, lambda c: people.remove(c, name))
            print(f"{name} has no account any more")
        case _:
            raise _wrong(PERSON)
    return 0


def _line(row: dict[str, Any]) -> str:
    roles = ", ".join(f"{role} at {place or 'the root'}" for role, place in row["roles"]) or "no role"
    until = f"  signed in until {_when(row['until'])}" if row["until"] else ""
    return f"{row['name']:24} {row['by']:9} {roles}{until}"


def _asked(name: str) -> str:
    """A password, twice from a person or as one line from a program. Raises LinesideError."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    said = getpass.getpass(f"password of {name}: ")
    if said != getpass.getpass("once more: "):
        raise LinesideError("these were two different ones")
    return said


# Keys of programs


def _key(where: Where, options: argparse.Namespace) -> int:
    match options.words:
        case [] | ["list"]:
            for row in _on(where, people.keys, reads=True):
                over = "  OVER" if row["expires"] <= time.time() else ""
                at = row["place"] or "the root"
                print(f"{row['name']:24} {row['role']} at {at}  until {_when(row['expires'])}{over}")
        case ["add", name, given]:
            role, at = people.bound(given, options.at)
            seconds = _seconds(options.valid)
            print(_on(where, lambda c: people.add_key(c, name, role, at, seconds)))
            print("it is shown this once; a program says it as: Authorization: Bearer KEY", file=sys.stderr)
        case ["remove", name]:
            _on(where, lambda c: people.remove_key(c, name))
            print(f"{name} opens nothing any more")
        case _:
            raise _wrong(APIKEY)
    return 0


def _seconds(text: str) -> float:
    try:
        seconds = TypeAdapter(Duration).validate_python(text)
    except ValidationError:
        raise LinesideError(f"--valid {text!r} is no duration, as in 90d") from None
    if not 60 <= seconds <= LONGEST_KEY:
        raise LinesideError("a key is good for a minute at least, and for a year at most")
    return float(seconds)


# Places and the audit


def _place(where: Where, options: argparse.Namespace) -> int:
    device, at = options.device, node(options.at)

    def move(connection: Connection) -> str:
        before = place_of(connection, device)
        if before is None:
            raise LinesideError(f"{device} is not enrolled here", hint="`lineside plane devices` lists them")
        t = tables.device
        connection.execute(update(t).where(t.c.id == device).values(site=at))
        cases.spread(connection, at)
        return before

    print(f"{device} stood at {_on(where, move) or 'the root'}, and stands at {at or 'the root'}")
    return 0


def _where_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device", metavar="DEVICE")
    parser.add_argument("at", metavar="NODE", help="as in acme/east/suzhou/line-3; '' is the root")


def _audit(where: Where, options: argparse.Namespace) -> int:
    match options.words:
        case [] | ["show"]:
            for row in reversed(_on(where, lambda c: audit.newest(c, 200), reads=True)):
                print(json.dumps(row, ensure_ascii=False))
        case ["export", file]:
            number, head = _on(where, lambda c: audit.export(c, Path(file)), reads=True)
            print(f"{number} rows are in {file}; the last one is {head}")
        case ["check", *files] if len(files) < 2:
            known = audit.exported(Path(files[0])) if files else []

            def look(connection: Connection) -> tuple[int, str]:
                found = audit.checked(audit.rows(connection))
                audit.compared(connection, known)
                return found

            number, head = _on(where, look, reads=True)
            print(f"{number} rows follow from each other; the last one is {head}")
            if files:
                print(f"and the {len(known)} rows of {files[0]} are among them as they were")
        case _:
            raise _wrong(AUDIT)
    return 0


def _audit_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="WORD", help=AUDIT)


VERBS = {
    "person": Verb("give people accounts and roles", _person, _words(PERSON), _lists),
    "apikey": Verb("give programs keys", _key, _words(APIKEY), _lists),
    "place": Verb("move a device in the tree of tenants", _place, _where_to),
    "audit": Verb("show, export and check who did what", _audit, _audit_words, never),
}
