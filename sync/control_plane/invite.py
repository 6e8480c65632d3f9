"""Invitations: what each is good for, and how one is traded for an enrolment. ../invitation.py has the token that carries one."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import segno
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, delete, select, update

from edge import Duration, LinesideError

from .. import wire
from ..invitation import token
from . import tables
from .ca import Authority
from .database import insert_new, upsert
from .evidence_tables import keyed
from .keys import Known
from .store import Store
from .tree import node
from .verb import Verb
from .where import Where, beside

DAY, LONGEST = 24 * 3600.0, 90 * 24 * 3600.0  # seconds
MOST = 1000  # devices with one token
SPENT = "this invitation was used already or has expired; ask for a new one"


@dataclass(frozen=True)
class Wish:
    """For `count` devices, within `seconds`; for the one called `device`, if it says so. They are noted as of this `kind` (class)
    and `site`."""

    device: str = ""
    kind: str = ""
    site: str = ""
    count: int = 1
    seconds: float = DAY

    def __post_init__(self) -> None:
        """Raises LinesideError for what cannot be."""
        if self.device and not wire.DEVICE.fullmatch(self.device):
            raise LinesideError(f"{self.device!r} is no device id")
        if self.device and self.count != 1:
            raise LinesideError("a token for one name is for one device", hint="leave out --count")
        if not 1 <= self.count <= MOST:
            raise LinesideError(f"{self.count} devices", hint=f"a token is for 1 to {MOST}")
        if not 60 <= self.seconds <= LONGEST:
            raise LinesideError("a token is good for a minute at least, and for 90 days at most")
        if len(self.kind) > 64:
            raise LinesideError("a class has up to 64 characters")
        object.__setattr__(self, "site", node(self.site))


async def invited(store: Store, wish: Wish) -> str:
    """A new invitation; only its hash is kept."""
    invitation = secrets.token_urlsafe(24)
    row = {"hash": wire.key_of(invitation), "expires": time.time() + wish.seconds, "left": wish.count}
    row |= {"device": wish.device, "class": wish.kind, "site": wish.site, "several": int(wish.count > 1)}
    await store.write(lambda c: insert_new(c, tables.invite, [row]))
    return invitation


def stands(connection: Connection, invitation: str) -> bool:
    """Whether there is such an invitation: who guesses is not to keep the writer busy."""
    i = tables.invite
    return connection.scalar(select(i.c.hash).where(i.c.hash == wire.key_of(invitation))) is not None


def trade(connection: Connection, invitation: str, device: str, known: Known) -> str:
    """Enrol the device, in the writer's transaction; or why not. Of several that come at once no more get in than it is for."""
    i, d = tables.invite, tables.device
    mine = i.c.hash == wire.key_of(invitation)
    used = connection.execute(update(i).where(mine, i.c.left > 0, i.c.expires > time.time()).values(left=i.c.left - 1))
    found = connection.execute(select(i).where(mine)).mappings().first() if used.rowcount else None
    if found is None:
        return SPENT
    old = connection.execute(select(d.c["class"], d.c.site).where(d.c.id == device)).mappings().first()
    if why := _refuses(found, old, device):
        connection.execute(update(i).where(mine).values(left=i.c.left + 1))
        return why
    connection.execute(delete(i).where(mine, i.c.left <= 0))
    insert_new(connection, keyed, [{"device": device, "key": known.key, "since": time.time()}])
    row = {"id": device, **known._asdict()}
    row |= {name: found[name] or (old[name] if old else "") for name in ("class", "site")}
    upsert(connection, d, {**row, "enrolled": time.time(), "seen": 0.0, "revoked": 0.0})
    return ""


def _refuses(found: Mapping[Any, Any], old: Mapping[Any, Any] | None, device: str) -> str:
    """Why an invitation is not for a device, which may be enrolled already. One that names no device is for new ones, and for who
    stands where it says: else it would take the device of another tenant, with all that it has told."""
    if found["device"]:
        return "" if found["device"] == device else f"this invitation is for {found['device']}"
    if old is None or (old["site"] == found["site"] and not found["several"]):
        return ""
    which = "a token for several is for new ones" if found["several"] else "this token is not for where it stands"
    return f"{device} is enrolled already, and {which}: `lineside plane invite --device {device}`"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="", metavar="NAME", help="for this device only")
    parser.add_argument("--class", dest="kind", default="", metavar="NAME", help="which kind of device it is")
    told = "where it stands in the tree of tenants, as in acme/east/suzhou/line-3"
    parser.add_argument("--site", default="", metavar="PATH", help=told)
    parser.add_argument("--count", type=int, default=1, metavar="N", help="for so many new devices (default: 1)")
    parser.add_argument("--valid", default="24h", metavar="TIME", help="how long (default: 24h)")
    told = "also as a QR code, here or as FILE.svg or FILE.png"
    parser.add_argument("--qr", nargs="?", const="-", metavar="FILE", help=told)


def wish_of(options: argparse.Namespace) -> Wish:
    """Raises LinesideError."""
    try:
        seconds = TypeAdapter(Duration).validate_python(options.valid)
    except ValidationError:
        raise LinesideError(f"--valid {options.valid!r} is no duration, as in 7d") from None
    return Wish(options.device, options.kind, options.site, options.count, seconds)


def picture(token: str, to: str) -> None:
    """The token as a QR code on the terminal (-), or in a file for its owner alone. Raises LinesideError."""
    code = segno.make(token, error="m", micro=False)
    if to == "-":
        code.terminal(out=sys.stdout, compact=True)
        return
    file = Path(to)
    if file.suffix not in (".svg", ".png"):
        raise LinesideError(f"{to} is no picture that can be made", hint="FILE.svg or FILE.png")
    try:
        file.touch(mode=0o600)
        file.chmod(0o600)
        code.save(str(file), scale=6)
    except OSError as error:
        raise LinesideError(f"cannot write {file}: {error.strerror}") from None


async def _invite(where: Where, options: argparse.Namespace) -> None:
    """Print a token. Works beside a running plane: both use the same database."""
    wish = wish_of(options)
    with beside(where) as store:
        try:
            url = (where.folder / "url").read_text()
        except FileNotFoundError:
            raise LinesideError(f"the plane in {where.folder} has not listened for devices yet") from None
        text = token(url, Authority(where.folder).fingerprint, await invited(store, wish))
    print(text)
    if options.qr:
        picture(text, options.qr)


def run(where: Where, options: argparse.Namespace) -> int:
    asyncio.run(_invite(where, options))
    return 0


VERBS = {"invite": Verb("print a token for a device", run, arguments)}
