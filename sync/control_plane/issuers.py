"""Who signs for a plane, as its processes tell each other; and `lineside plane issuer`, which has somebody new sign."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, select, update

from edge import LinesideError

from .. import chain, disown
from . import outside, tables
from .ca import Authority
from .database import insert_new
from .store import Store
from .verb import Verb
from .where import Where, beside

THEN = "Make the files of a proxy or a broker anew now, where there is one: `lineside plane proxy`, `lineside plane broker`"


def tell(connection: Connection, issuers: Sequence[str]) -> None:
    """These (PEM) sign here, or did."""
    insert_new(connection, tables.issuer, [{"digest": _digest(text), "pem": text} for text in issuers])


def known(connection: Connection) -> tuple[list[str], list[str]]:
    """(whose word counts, whose counts no more), as PEM."""
    rows = connection.execute(select(tables.issuer.c.pem, tables.issuer.c.distrusted)).all()
    return [row.pem for row in rows if not row.distrusted], [row.pem for row in rows if row.distrusted]


def distrust(connection: Connection, but: str, word: Callable[[list[str]], str]) -> int:
    """Nobody's word counts from now on but that of this one; how many others there are. `word` is what the root says of them."""
    t = tables.issuer
    those = t.c.digest != _digest(but)
    others = list(connection.scalars(select(t.c.pem).where(those)))
    if others:
        connection.execute(update(t).where(those).values(distrusted=1, word=word(others)))
    return len(others)


def disowned(connection: Connection) -> bytes:
    """What devices are told of those whose word counts no more, see disown.py."""
    t = tables.issuer
    rows = connection.execute(select(t.c.pem, t.c.word).where(t.c.distrusted > 0, t.c.word != "")).all()
    certs = (disown.rejecting(cert) for row in rows for cert in chain.read(row.pem))
    return "".join([*sorted({row.word for row in rows}), *certs]).encode()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def renew(store: Store, folder: Path, root_key: Path | None, distrusts: bool) -> str:
    """Have somebody new sign. Works beside a running plane, which takes it up within seconds. Raises LinesideError."""
    if outside.remembered(folder):
        raise LinesideError(
            "a command signs for this plane", hint="renew what stands behind it; the plane follows by itself"
        )
    authority, many = Authority(folder, root_key or folder / "ca.key"), 0
    now = authority.issuers[0]
    await store.write(lambda c: tell(c, authority.issuers))
    if distrusts:
        many = await store.write(lambda c: distrust(c, now, partial(authority.disown, root_key=root_key)))
    said = f"a new issuer signs, until {authority.until:%Y-%m-%d}"
    return f"{said}; of those before it, the word of {many} counts no more. {THEN}" if distrusts else said


async def _renew(where: Where, options: argparse.Namespace) -> None:
    with beside(where) as store:
        print(await renew(store, where.folder, options.root_key, options.distrust))


def _run(where: Where, options: argparse.Namespace) -> int:
    asyncio.run(_renew(where, options))
    return 0


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root-key", type=Path, metavar="FILE", help="where the root's key lies, if not in the folder")
    told = "what was signed before counts no more; devices ask for new certificates by themselves"
    parser.add_argument("--distrust", action="store_true", help=told)


VERBS = {"issuer": Verb("have somebody new sign certificates, for the same root", _run, _which, files=True)}
