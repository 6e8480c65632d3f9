"""`lineside plane`, and `lineside plane invite`."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from pathlib import Path

from edge import LinesideError, log

from ..device.identity import token
from . import tables
from .ca import Authority
from .ingest import INVITE_SECONDS, hashed
from .plane import Plane, Where
from .store import Store, insert_new

HELP = "run the control plane; `plane invite` prints a token for one device"


def arguments(parser: argparse.ArgumentParser) -> None:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    parser.add_argument(
        "do", nargs="?", choices=("run", "invite"), default="run", help="run the plane (default), or print a token"
    )
    folder = Path(base) / "lineside" / "plane"
    parser.add_argument("--folder", type=Path, default=folder, help=f"database and keys (default: {folder})")
    parser.add_argument(
        "--listen", default="127.0.0.1", metavar="ADDRESS", help="default: 127.0.0.1, this machine only"
    )
    parser.add_argument("--port", type=_port, default=8443, help="for devices, TLS (default: 8443)")
    parser.add_argument("--page-port", type=_port, default=8080, help="for people (default: 8080)")
    told = "host name or address it is reached under (may be given again)"
    parser.add_argument("--name", action="append", default=[], help=told)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; there are 1 to 65535, and 0 for any that is free")
    return int(text)


def run(options: argparse.Namespace) -> int:
    where = Where(options.folder, options.listen, options.port, options.page_port, tuple(options.name))
    asyncio.run(invite(where) if options.do == "invite" else serve(where))
    return 0


async def serve(where: Where) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    plane = Plane(where)
    try:
        await plane.start()
        (where.folder / "url").write_text(plane.url)
        print(f"open this link: {plane.link}", flush=True)
        await ended.wait()
    finally:
        await plane.stop()
        log.info("plane: stopped")


async def invite(where: Where) -> None:
    """A token for one device, valid for a day. Works beside a running plane: both use the same database."""
    import secrets

    try:
        url = (where.folder / "url").read_text()
    except FileNotFoundError:
        raise LinesideError(f"no plane has run in {where.folder}", hint="start `lineside plane` first") from None
    store = Store(f"sqlite:///{where.folder / 'plane.db'}")
    invitation = secrets.token_urlsafe(24)
    row = {"hash": hashed(invitation), "expires": time.time() + INVITE_SECONDS}
    await store.write(lambda c: insert_new(c, tables.invite, [row]))
    store.close()
    print(token(url, Authority(where.folder).fingerprint, invitation))
