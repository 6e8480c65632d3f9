"""`lineside plane`, and `lineside plane invite`, `backup`, `restore`, `broker`, `proxy`, `complete`, `check`, `test`, `try`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from edge import Duration, LinesideError, log

from ..invitation import token
from . import completeness, fleet, mosquitto, plane_check
from . import invite as invites
from .backup import backup, restore
from .ca import Authority, keep
from .objects import SECRETS
from .plane import ROLES, Plane, Where, opened
from .retention import KEPT
from .shown import HEADER

DO = (
    "run the plane (default), print a token, write everything to FILE, make a plane of such a FILE, set up a broker, make a "
    "certificate for a proxy, say what is missing of DEVICE TAG, check a FILE of rules, run its tests, try a CHANNEL of it, or "
    "print the schema of such files, list the devices, let a DEVICE in no more"
)
DOES = (
    "run",
    "invite",
    "backup",
    "restore",
    "broker",
    "proxy",
    "complete",
    "check",
    "test",
    "try",
    "schema",
    "devices",
    "revoke",
)
WITH_FILE = ("backup", "restore", "check", "test")
SHORTEST = 3600.0  # seconds that anything is kept
LITTER = (50_000, 20, 20)  # objects and rounds before Python looks for what is left over, see `serve`
HELP = "run the control plane; `plane invite` prints a token for a device, `plane backup FILE` keeps everything"


def arguments(parser: argparse.ArgumentParser) -> None:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    parser.add_argument("do", nargs="?", choices=DOES, default="run", help=DO)
    parser.add_argument(
        "words",
        nargs="*",
        metavar="FILE",
        help=f"of {', '.join(WITH_FILE)}; DEVICE TAG of complete; FILE CHANNEL of try; DEVICE of revoke",
    )
    folder = Path(base) / "lineside" / "plane"
    parser.add_argument("--folder", type=Path, default=folder, help=f"database and keys (default: {folder})")
    told = "postgresql://USER@HOST/NAME instead of a file in the folder, which remembers it"
    parser.add_argument("--database", default="", metavar="ADDRESS", help=told)
    told = f"forget what is older, as in samples=90d (CLASS: {', '.join(KEPT)}; may be given again; default: nothing)"
    parser.add_argument("--keep", type=_keep, action="append", default=[], metavar="CLASS=TIME", help=told)
    parser.add_argument(
        "--listen", default="127.0.0.1", metavar="ADDRESS", help="default: 127.0.0.1, this machine only"
    )
    parser.add_argument("--port", type=_port, default=8443, help="for devices, TLS (default: 8443)")
    parser.add_argument("--page-port", type=_port, default=8080, help="for people (default: 8080)")
    told = "the rules of the plane, where events go and who is told, see docs/plane-rules.md (default: none)"
    parser.add_argument("--config", type=Path, metavar="FILE", help=told)
    told = "host name or address it is reached under (may be given again)"
    parser.add_argument("--name", action="append", default=[], help=told)
    told = "what this process does (may be given again; default: all of it); others do the rest, on PostgreSQL"
    parser.add_argument("--role", action="append", default=[], choices=ROLES, help=told)
    told = "where devices find the plane, if a proxy stands before its processes: https://plane.example:8443"
    parser.add_argument("--url", type=_url("https"), help=told)
    told = "where people find it then: https://plane.example"
    parser.add_argument("--page-url", type=_url("https", "http"), metavar="URL", help=told)
    told = (
        "move pictures out of the database: to a folder, or to S3, https://s3.example/BUCKET; the folder remembers it"
    )
    parser.add_argument("--objects", default="", metavar="ADDRESS", help=told)
    told = (
        f"file with the key of that and its secret, a line each (default: {' and '.join(SECRETS)} of the environment)"
    )
    parser.add_argument("--objects-key", type=Path, metavar="FILE", help=told)
    told = "of the mosquitto whose files `plane broker` writes (default: 8883)"
    parser.add_argument("--broker-port", type=_port, default=8883, metavar="PORT", help=told)
    mosquitto.arguments(parser)
    completeness.arguments(parser)
    invites.arguments(parser)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; there are 1 to 65535, and 0 for any that is free")
    return int(text)


def _url(*schemes: str) -> Callable[[str], str]:
    def checked(text: str) -> str:
        try:
            parts = urlsplit(text)
            good = parts.scheme in schemes and parts.hostname and parts.port != 0 and not parts.username
        except ValueError:
            good = False
        if not good or parts.path.strip("/") or parts.query or parts.fragment:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no address of a plane, as in {schemes[0]}://plane.example:8443"
            )
        return text.rstrip("/")

    return checked


def _keep(text: str) -> tuple[str, float]:
    name, _, time_ = text.partition("=")
    if name not in KEPT:
        raise argparse.ArgumentTypeError(f"{text!r} names no class of {', '.join(KEPT)}, as in samples=90d")
    try:
        seconds = TypeAdapter(Duration).validate_python(time_)
    except ValidationError:
        raise argparse.ArgumentTypeError(f"{time_!r} is no duration, as in 90d") from None
    if seconds < SHORTEST:
        raise argparse.ArgumentTypeError(f"{time_!r} is less than an hour")
    return name, seconds


def run(options: argparse.Namespace) -> int:
    ports, names = (options.port, options.page_port), tuple(options.name)
    where = Where(options.folder, options.listen, *ports, names, options.database, tuple(options.keep))
    where = replace(where, broker=mosquitto.access(options), config=options.config, roles=tuple(options.role) or ROLES)
    where = replace(where, url=options.url or "", page_url=options.page_url or "")
    where = replace(where, objects=options.objects, objects_key=options.objects_key)
    if options.do == "complete":
        if len(options.words) != 2:
            raise LinesideError("it takes a device and a tag, as in `plane complete press-4 plc.oil_temp`")
        return completeness.run(where, options, *options.words)
    if options.do == "try":
        if len(options.words) != 2:
            raise LinesideError("it takes a file and a channel, as in `plane try plane.yaml shift_group`")
        return plane_check.try_channel(Path(options.words[0]), options.words[1])
    if options.do in ("devices", "revoke"):
        if len(options.words) != (options.do == "revoke"):
            raise LinesideError("`plane devices` takes nothing more, `plane revoke` one DEVICE")
        asyncio.run(of_devices(where, *options.words))
        return 0
    if len(options.words) != (options.do in WITH_FILE):
        raise LinesideError(f"a file belongs to `plane` {', '.join(WITH_FILE)}, and to nothing else")
    if options.do == "schema":
        print(plane_check.schema())
        return 0
    if options.do in ("check", "test"):
        return {"check": plane_check.check, "test": plane_check.test}[options.do](Path(options.words[0]))
    if options.do == "broker":
        broker_files(where, options.broker_port)
    elif options.do == "proxy":
        proxy_files(where)
    elif options.do == "backup":
        (file,) = map(Path, options.words)
        log.info("plane: %d rows are in %s, with the plane's keys", backup(where, file), file)
    elif options.do == "restore":
        log.info("plane: %d rows are restored to %s", restore(where, Path(options.words[0])), where.folder)
    else:
        asyncio.run(invite(where, options) if options.do == "invite" else serve(where))
    return 0


def broker_files(where: Where, port: int) -> None:
    config = mosquitto.write(where.folder / "broker", Authority(where.folder), where.all_names(), where.listen, port)
    print(f"start it with: mosquitto -c {config}")
    print(f"and the plane with: --broker mqtts://localhost:{port}")
    name = where.names[0] if where.names else "localhost"
    print(f'devices have: sync: {{url: "mqtts://{name}:{port}"}}')


def proxy_files(where: Where) -> None:
    """For a proxy that ends TLS itself: devices believe the plane's authority, and so whom it signed."""
    if not where.url:
        raise LinesideError("where do devices find the proxy?", hint="say it as in --url https://plane.example:8443")
    certificate, key = Authority(where.folder).proxy(where.all_names())
    print(f"the proxy's certificate: {certificate.resolve()}")
    print(f"and its key: {key.resolve()} (for a year; make both anew then)")
    print(f"it shows both to the plane as well, and believes it by: {(where.folder / 'ca.pem').resolve()}")
    print(f"of devices it asks for a certificate of the same authority, and hands it on in the header {HEADER}")


async def serve(where: Where) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    plane = Plane(where)
    try:
        await plane.start()
        gc.set_threshold(
            *LITTER
        )  # ten thousand connections are millions of objects, and all wait while they are looked through
        gc.freeze()
        if plane.url:
            keep(where.folder / "url", plane.url.encode())
        print(f"open this link: {plane.link}" if plane.link else f"does its part: {', '.join(where.roles)}", flush=True)
        await ended.wait()
    finally:
        await plane.stop()
        log.info("plane: stopped")


async def of_devices(where: Where, revoked: str = "") -> None:
    """Works beside a running plane, as `invite` does."""
    store = opened(where)
    try:
        if revoked:
            await fleet.revoke(store, revoked)
            print(f"{revoked} is let in no more; a token and `lineside enroll` make it known anew")
            return
        for row in await store.read(fleet.listed):
            print(fleet.words(row))
    finally:
        store.close()


async def invite(where: Where, options: argparse.Namespace) -> None:
    """Print a token. Works beside a running plane: both use the same database."""
    wish = invites.wish_of(options)
    try:
        url = (where.folder / "url").read_text()
    except FileNotFoundError:
        raise LinesideError(f"no plane has run in {where.folder}", hint="start `lineside plane` first") from None
    store = opened(where)
    try:
        text = token(url, Authority(where.folder).fingerprint, await invites.invited(store, wish))
    finally:
        store.close()
    print(text)
    if options.qr:
        invites.picture(text, options.qr)
